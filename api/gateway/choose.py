"""Which replica answers next, and by which name it is asked. Called by `exchange`. Pure: memory is handed in and out.

Two steps. Backends of a route share its requests exactly by weight, also when only one request is open at a time
(smooth weighted round robin, as nginx does it): a canary with weight 10 beside 90 gets every tenth request. Among the
ready replicas of the backend the one with the fewest open requests wins; between equals, the one least recently used.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence, Set
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready replica: where it listens, the model names its engine takes (that of its model first; none = any), and
    the key that it asks for ("" = none)."""

    replica: str
    deployment: str
    host: str
    port: int
    served: tuple[str, ...] = ()
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Backend:
    """One deployment behind a route, with its ready replicas; `weight` is above 0."""

    deployment: str
    weight: int
    endpoints: tuple[Endpoint, ...]


def backend_turn(backends: tuple[Backend, ...], credit: MutableMapping[str, int]) -> Backend:
    """The backend whose turn it is; `credit` (deployment → credit) is the memory of one route and moves on.

    Over any window in which `backends` stay the same, each gets its share within one request.
    """
    for backend in backends:
        credit[backend.deployment] = credit.get(backend.deployment, 0) + backend.weight
    chosen = max(backends, key=lambda backend: credit[backend.deployment])
    credit[chosen.deployment] -= sum(backend.weight for backend in backends)
    return chosen


def least_loaded(endpoints: tuple[Endpoint, ...], load: Mapping[str, int], used: Mapping[str, int]) -> Endpoint:
    """The endpoint with the fewest open requests (`load`, by replica), then the smallest `used` (a growing count)."""
    return min(endpoints, key=lambda endpoint: (load.get(endpoint.replica, 0), used.get(endpoint.replica, 0)))


def name_at(endpoint: Endpoint, names: Sequence[str]) -> str:
    """Of the names for what is asked, the first that the engine takes; its model's where it takes none of them."""
    if not endpoint.served:
        return names[0]
    return next((name for name in names if name in endpoint.served), endpoint.served[0])


def without(backends: tuple[Backend, ...], replicas: Set[str]) -> tuple[Backend, ...]:
    """`backends` less some replicas; backends left with none drop out."""
    rest = (
        Backend(backend.deployment, backend.weight, tuple(e for e in backend.endpoints if e.replica not in replicas))
        for backend in backends
    )
    return tuple(backend for backend in rest if backend.endpoints)

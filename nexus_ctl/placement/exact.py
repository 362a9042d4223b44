"""The best packing of a few demands on a few devices, by trying every way: `fit` asks where taking turns left one out.

Pure and deterministic, bounded by `STEPS`: past that many steps the best packing seen so far is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations

from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placement import Assignment, Demand, Option

DEMANDS, DEVICES, STEPS = 8, 4, 20_000

Packing = dict[str, Assignment]


def worth(demand: Demand) -> int:
    """What placing a demand counts: the bytes of its preferred option, however it is then run."""
    return demand.options[0].total_bytes if demand.options else 0


def pack(
    demands: Sequence[Demand],
    left_bytes: Mapping[str, int],
    allowed: Callable[[Demand], Sequence[str]],
    budget_bytes: int | None,
) -> Packing:
    """Assignments by name that are worth most together, then the most, then by the most preferred options."""
    search = _Search(sorted(demands, key=lambda d: (-worth(d), d.name)), allowed)
    search.walk(0, dict(left_bytes), budget_bytes, {}, (0, 0, 0))
    return search.best


class _Search:
    """Depth first: each demand in turn in every place it could have, then without one."""

    def __init__(self, demands: Sequence[Demand], allowed: Callable[[Demand], Sequence[str]]) -> None:
        self.best: Packing = {}
        self._value, self._steps = (0, 0, 0), 0
        self._demands, self._allowed = demands, allowed
        self._rest = [sum(worth(demand) for demand in demands[place:]) for place in range(len(demands) + 1)]

    def walk(
        self, place: int, left: dict[str, int], budget: int | None, packed: Packing, value: tuple[int, int, int]
    ) -> None:
        if value > self._value:
            self._value, self.best = value, dict(packed)
        self._steps += 1
        if place == len(self._demands) or self._steps > STEPS or value[0] + self._rest[place] < self._value[0]:
            return
        demand = self._demands[place]
        for index, option in enumerate(demand.options):
            if budget is not None and option.total_bytes > budget:
                continue
            for claims in _ways(option, self._allowed(demand), left):
                for room, claim in claims.items():
                    left[room] = left.get(room, 1 << 62) - claim
                packed[demand.name] = Assignment(demand.name, option.label, claims)
                after = None if budget is None else budget - option.total_bytes
                self.walk(place + 1, left, after, packed, (value[0] + worth(demand), value[1] + 1, value[2] - index))
                del packed[demand.name]
                for room, claim in claims.items():
                    left[room] += claim
        self.walk(place + 1, left, budget, packed, value)


def _ways(option: Option, allowed: Sequence[str], left: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Every way to lay an option out in what is left."""
    if option.host_bytes > left.get(HOST, option.host_bytes):
        return
    host = {HOST: option.host_bytes} if option.host_bytes else {}
    for devices in permutations(allowed, len(option.claims)):
        if all(left[device] >= claim for device, claim in zip(devices, option.claims, strict=True)):
            yield dict(zip(devices, option.claims, strict=True)) | host

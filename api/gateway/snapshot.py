"""The routing table, made ready to answer by: every public name resolved, every address taken apart.

Built by `watch` once per table, read by `exchange` and `app` for each request. Pure and frozen: a request that holds
a snapshot is not touched by the next one. The rule it keeps: what is wrong with a table is found here, at load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from api.gateway.choose import Backend, Endpoint
from api.gateway.openai import GatewayError
from api.gateway.preset import layered
from nexus_ctl.resources.routing import FORMAT, PresetEntry, RouteEntry, Table, decode, fingerprint


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its names (the public one first), the deployments declared, and the backends that are ready."""

    names: tuple[str, ...]
    deployments: tuple[str, ...]
    backends: tuple[Backend, ...]
    preset: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a name in `model` stands for. `preset` is None without one; `picked`: the client named it itself."""

    route: Route
    preset: PresetEntry | None
    picked: bool = False
    broken: bool = False
    """The route binds a preset that the table does not have (yet): better no answer than one without its locks."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One loaded table. `targets` holds every public name; `name:preset` is resolved on demand."""

    revision: int = 0
    fingerprint: str = ""
    routes: tuple[Route, ...] = ()
    presets: dict[str, PresetEntry] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)

    def target(self, model: str) -> Target:
        """What `model` stands for. Raises GatewayError: 404 that lists what there is, 503 while its preset lacks."""
        name, base = model, self.targets.get(model)
        preset = None
        if base is None:
            name, _, preset = model.rpartition(":")
            base = self.targets.get(name)
        if base is None:
            message = f"the model {model!r} does not exist; there is: {_listed(self.targets)}"
            raise GatewayError(404, message, code="model_not_found", param="model")
        if base.broken:
            message = f"preset {base.route.preset!r} of model {name!r} is not there"
            raise GatewayError(503, message, code="preset_missing", headers=((b"retry-after", b"1"),))
        if preset is None:
            return base
        picked = self.presets.get(preset)
        if picked is None:
            message = f"the model {name!r} has no preset {preset!r}; there is: {_listed(self.presets)}"
            raise GatewayError(404, message, code="preset_not_found", param="model")
        return Target(base.route, layered(base.preset, picked) if base.preset else picked, picked=True)


def load(data: bytes, keys: Mapping[str, str] = MappingProxyType({})) -> Snapshot:
    """The snapshot of a table file; `keys` are those that engines ask for, by replica.

    Raises ValueError with the reason (msgspec's errors are ValueErrors too).

    A name moves between routes in two writes, so for a moment two may claim it: the first route then keeps it.
    """
    table = decode(data)
    if table.format > FORMAT:
        raise ValueError(f"table format {table.format} is newer than this gateway's {FORMAT}")
    routes = tuple(_route(entry, table, keys) for entry in table.routes.values())
    targets: dict[str, Target] = {}
    for route in routes:
        preset = table.presets.get(route.preset)
        target = Target(route, preset, broken=bool(route.preset) and preset is None)
        for name in route.names:
            targets.setdefault(name, target)
    return Snapshot(table.revision, fingerprint(data), routes, dict(table.presets), targets)


def _route(entry: RouteEntry, table: Table, keys: Mapping[str, str]) -> Route:
    def endpoint(deployment: str, replica: str, address: str) -> Endpoint:
        host, port = _address(replica, address)
        served = tuple(table.served.get(deployment, {}).get(replica, []))
        return Endpoint(replica, deployment, host, port, served, keys.get(replica, ""))

    backends = (
        Backend(
            backend.deployment,
            backend.weight,
            tuple(
                endpoint(backend.deployment, replica, address)
                for replica, address in table.endpoints.get(backend.deployment, {}).items()
            ),
        )
        for backend in entry.backends
        if backend.weight > 0
    )
    if not entry.names:
        raise ValueError("a route has no name")
    deployments = tuple(backend.deployment for backend in entry.backends)
    return Route(tuple(entry.names), deployments, tuple(b for b in backends if b.endpoints), entry.preset)


def _address(replica: str, address: str) -> tuple[str, int]:
    url = urlsplit(address)
    if url.scheme != "http" or not url.hostname or not url.port:
        raise ValueError(f"the address of replica {replica!r} is not http://host:port: {address!r}")
    return url.hostname, url.port


def _listed(names: dict[str, Target] | dict[str, PresetEntry]) -> str:
    return ", ".join(sorted(names)) or "none"

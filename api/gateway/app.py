"""What every path answers: engines' operations become an `Exchange`, the rest the gateway answers itself.

Between `server` and `exchange`. A table of paths; an unknown one is 404, a wrong method 405, both in OpenAI's form.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from api.gateway.exchange import Exchange, Exchanges
from api.gateway.openai import JSON, OPERATIONS, GatewayError
from api.gateway.pool import Pool
from api.gateway.request import Limits, Request
from api.gateway.server import ClientConnection, Server
from api.gateway.snapshot import Snapshot, Target
from api.gateway.stats import Stats
from api.gateway.watch import Watch
from nexus_ctl.resources.routing import STATUS_PATH

_MODELS = b"/v1/models"
_TEXT = (b"content-type", b"text/plain; version=0.0.4")
_READ = (b"GET", b"HEAD")


class App:
    """One gateway: its table, its connections on both sides, its counters."""

    def __init__(self, watch: Callable[[Callable[[Snapshot], None]], Watch], limits: Limits) -> None:
        self.server = Server(self.handle, limits)
        self.pool = Pool()
        self.stats = Stats()
        self.watch = watch(self._loaded)
        self._shared = Exchanges(self.pool, self.stats)
        self._started = int(time.time())
        self._own: dict[bytes, Callable[[Request, ClientConnection], None]] = {
            _MODELS: self._models,
            b"/health": self._health,
            b"/ready": self._ready,
            STATUS_PATH.encode(): self._status,
            b"/metrics": self._metrics,
        }

    def handle(self, request: Request, client: ClientConnection) -> None:
        """Answer a request, or have it answered. Raises GatewayError for the server to tell."""
        path = request.target.partition(b"?")[0]
        operation = OPERATIONS.get(path)
        if operation is not None:
            if request.method != b"POST":
                raise _wrong_method(request, b"POST")
            Exchange(self._shared, request, client).begin(self.watch.snapshot, operation)
            return
        own = self._model if path.startswith(_MODELS + b"/") else self._own.get(path)
        if own is None:
            raise GatewayError(404, f"there is nothing at {_shown(path)}", code="unknown_path")
        if request.method not in _READ:
            raise _wrong_method(request, b"GET")
        own(request, client)

    def sweep(self, now: float) -> None:
        """End what is past its time on both sides."""
        self.server.sweep(now)
        self.pool.sweep(now)

    def _loaded(self, snapshot: Snapshot) -> None:
        endpoints = (e for route in snapshot.routes for backend in route.backends for e in backend.endpoints)
        self.stats.keep(endpoint.replica for endpoint in endpoints)

    def _models(self, request: Request, client: ClientConnection) -> None:
        snapshot = self.watch.snapshot
        models = [self._described(name, target, snapshot) for name, target in snapshot.targets.items()]
        _reply(client, 200, {"object": "list", "data": models})

    def _model(self, request: Request, client: ClientConnection) -> None:
        name = unquote(request.target.partition(b"?")[0].removeprefix(_MODELS + b"/").decode("latin-1"))
        snapshot = self.watch.snapshot
        _reply(client, 200, self._described(name, snapshot.target(name), snapshot))

    def _described(self, name: str, target: Target, snapshot: Snapshot) -> dict[str, object]:
        route = target.route
        return {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": "nexusctl",
            "nexus": {
                "model": route.names[0],
                "aliases": route.names[1:],
                "preset": route.preset or None,
                "presets": sorted(snapshot.presets),
                "replicas": sum(len(backend.endpoints) for backend in route.backends),
            },
        }

    def _health(self, request: Request, client: ClientConnection) -> None:
        _reply(client, 200, {"status": "ok"})

    def _ready(self, request: Request, client: ClientConnection) -> None:
        watch = self.watch
        state = {"ready": watch.ready, "revision": watch.snapshot.revision, "error": watch.error or None}
        _reply(client, 200 if watch.ready else 503, state)

    def _status(self, request: Request, client: ClientConnection) -> None:
        watch = self.watch
        _reply(client, 200, self.stats.status(watch.snapshot.revision, watch.snapshot.fingerprint, watch.error))

    def _metrics(self, request: Request, client: ClientConnection) -> None:
        gauges = {
            "table_revision": ("Revision of the table in force.", self.watch.snapshot.revision),
            "table_bad": ("1 while the table file cannot be used.", int(bool(self.watch.error))),
            "clients": ("Client connections open.", len(self.server.connections)),
            "engine_connections_opened": ("Connections to engines since the start.", self.pool.opened),
        }
        client.reply(200, self.stats.prometheus(gauges), (_TEXT,))


def _reply(client: ClientConnection, status: int, value: object) -> None:
    client.reply(status, msgspec.json.encode(value), (JSON,))


def _wrong_method(request: Request, allowed: bytes) -> GatewayError:
    message = f"{_shown(request.method)} is not for this path; {allowed.decode()} is"
    return GatewayError(405, message, code="wrong_method", headers=((b"allow", allowed),))


def _shown(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace")

"""One request for an engine, from the client's ask to the last byte of the answer.

Made by `app`, driven by `server` (the client) and `upstream` (the engine). `begin` is the path of a request, step by
step; what a later kind adds (who may call, how much, when) is a step between two of these. The rules it keeps: an
engine's bytes reach the client as they come, each read in one write; back-pressure passes through; whichever side
goes away, the other learns of it; the count of open requests is right whatever happens.
"""

from __future__ import annotations

import logging

from api.gateway import choose, preset
from api.gateway.choose import Endpoint
from api.gateway.headers import request_head
from api.gateway.openai import SOURCE_HEADER, GatewayError, Operation, model_of, with_model
from api.gateway.pool import Pool
from api.gateway.request import Request
from api.gateway.server import ClientConnection
from api.gateway.snapshot import Route, Snapshot, Target
from api.gateway.stats import TAIL_BYTES, Stats
from api.gateway.upstream import Call, Head

_log = logging.getLogger(__name__)
_OF_ENGINE = (SOURCE_HEADER, b"engine")
_EVENTS = b"text/event-stream"
_CLIENT_GONE = 499
"""How a request is counted whose client left before the answer was whole; nginx' number."""


class Exchanges:
    """What exchanges share: the connections, the counters and the turns between backends."""

    def __init__(self, pool: Pool, stats: Stats) -> None:
        self.pool = pool
        self.stats = stats
        self.credits: dict[str, dict[str, int]] = {}

    def endpoint(self, route: Route, tried: frozenset[str] = frozenset()) -> Endpoint | None:
        """The replica that answers next, none of `tried`; None when there is none."""
        backends = choose.without(route.backends, tried) if tried else route.backends
        if not backends:
            return None
        if len(backends) == 1:
            backend = backends[0]
        else:
            backend = choose.backend_turn(backends, self.credits.setdefault(route.names[0], {}))
        if len(backend.endpoints) == 1:
            return backend.endpoints[0]
        return choose.least_loaded(backend.endpoints, self.stats.in_flight, self.stats.used)


class Exchange:
    """The way of one request. Hears of the client as `server.Answering`, of the engine as `upstream.Answer`."""

    __slots__ = (
        "_body",
        "_call",
        "_client",
        "_deployment",
        "_endpoint",
        "_first",
        "_head",
        "_names",
        "_request",
        "_route",
        "_shared",
        "_tail",
    )

    def __init__(self, shared: Exchanges, request: Request, client: ClientConnection) -> None:
        self._shared = shared
        self._request = request
        self._client = client
        self._route: Route | None = None
        self._names: tuple[str, ...] = ()
        self._endpoint: Endpoint | None = None
        self._deployment = ""
        self._call: Call | None = None
        self._first = True
        self._head: Head | None = None
        self._tail = b""

    def begin(self, snapshot: Snapshot, operation: Operation) -> None:
        """The path of a request."""
        try:
            model = model_of(self._request.body)
            target = snapshot.target(model)
            self._route = target.route
            self._names = (model, model.rpartition(":")[0] if target.picked else model, target.route.names[0])
            self._body = self._prepared(target, operation)
            endpoint = self._chosen(target.route)
        except GatewayError as error:
            self._refuse(error)
        else:
            self._client.answered_by(self)
            self._send(endpoint)

    def _prepared(self, target: Target, operation: Operation) -> bytes:
        """The body to send on: the client's very bytes, unless a preset changes something."""
        body = self._request.body
        if target.preset is None:
            return body
        if operation.samples:
            return preset.applied(target.preset, operation, body)
        if target.picked:
            message = f"a preset has no effect on {operation.path.decode()}; ask for {target.route.names[0]!r}"
            raise GatewayError(400, message, code="preset_not_applicable", param="model")
        return body

    def _chosen(self, route: Route) -> Endpoint:
        endpoint = self._shared.endpoint(route)
        if endpoint is None:
            message = f"no replica of deployment {' or '.join(route.deployments)} is ready"
            raise GatewayError(503, message, code="not_ready", headers=((b"retry-after", b"1"),))
        return endpoint

    def _send(self, endpoint: Endpoint) -> None:
        request = self._request
        try:
            body = self._addressed(endpoint)
        except GatewayError as error:
            self._refuse(error)
            return
        head = request_head(request.target, endpoint, request.headers, len(body))
        self._endpoint, self._deployment = endpoint, endpoint.deployment
        self._shared.stats.opened(endpoint)
        self._call = self._shared.pool.call(endpoint, (head, body), self)

    def _addressed(self, endpoint: Endpoint) -> bytes:
        """The body for this engine: as prepared, unless it insists on another name for the model."""
        name = choose.name_at(endpoint, self._names)
        return self._body if name == self._names[0] else with_model(self._body, name)

    def _over(self) -> None:
        """The endpoint is done with this request."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            self._shared.stats.closed(endpoint)

    def _count(self, status: int) -> None:
        route = self._route.names[0] if self._route else ""
        self._shared.stats.answered(route, status, self._tail, self._deployment)

    # -- the engine ---------------------------------------------------------------------------------------------

    def received(self, head: Head | None, body: bytes, end: bool) -> None:
        if head is not None:
            self._head = head
            headers = head.headers
            if head.status >= 400:
                headers = [*headers, _OF_ENGINE]
            self._client.begin(head.status, head.reason, headers, head.length)
        if body:
            self._tail = (body if len(body) >= TAIL_BYTES else self._tail + body)[-TAIL_BYTES:]
        if end:
            self._over()
            self._count(self._head.status if self._head else 0)
        self._client.send(body, end=end)

    def failed(self, reason: str, *, sent: bool) -> None:
        endpoint, route = self._endpoint, self._route
        assert endpoint is not None
        assert route is not None
        self._over()
        error = GatewayError(
            502, f"replica {endpoint.replica} of deployment {endpoint.deployment}: {reason}", code="engine_failed"
        )
        _log.warning("%s", error)
        if self._head is not None:
            self._break_off(self._head, error)
            return
        other = self._shared.endpoint(route, frozenset({endpoint.replica})) if self._first and not sent else None
        self._first = False
        if other is None:
            self._refuse(error)
        else:
            self._send(other)

    def _break_off(self, head: Head, error: GatewayError) -> None:
        """The answer has begun and cannot be completed: a stream of events can say so, then the connection ends."""
        self._count(error.status)
        if any(name.lower() == b"content-type" and value.startswith(_EVENTS) for name, value in head.headers):
            self._client.send(b"\n\ndata: %b\n\n" % error.body(), end=False)
        self._client.cut()

    def _refuse(self, error: GatewayError) -> None:
        self._count(error.status)
        self._client.reply_error(error)

    # -- the client ---------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        self._over()
        self._count(_CLIENT_GONE)
        if self._call is not None:
            self._call.abort()

    def client_full(self) -> None:
        if self._call is not None:
            self._call.pause()

    def client_ready(self) -> None:
        if self._call is not None:
            self._call.resume()

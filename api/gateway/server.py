"""The client's side: HTTP/1.1 on a raw asyncio protocol, bytes in, `Request` out, an answer back.

Below `app`, above the sockets; `request` reads. The rules it keeps: one answer at a time and in order, however a
client pipelines; a request that waits is never forgotten; no client holds a connection for nothing, which a sweep
watches instead of a timer per request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Protocol, cast

from api.gateway.openai import GatewayError
from api.gateway.request import Limits, Request, RequestReader

_log = logging.getLogger(__name__)
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


class _Phase(IntEnum):
    """What a connection waits for; the index of its time limit in `Server.seconds`."""

    IDLE = 0
    """The next request."""
    HEAD = 1
    """The rest of a request's head."""
    BODY = 2
    """The rest of a request's body."""
    ANSWER = 3
    """The answer, without limit: an engine may think."""
    STALLED = 4
    """The client, to read."""
    LINGER = 5
    """The client, to stop sending."""


class Answering(Protocol):
    """Whoever is answering the present request, and must hear of the client meanwhile."""

    def client_gone(self) -> None:
        """The client went away; nothing more can be sent."""
        ...

    def client_full(self) -> None:
        """The client does not read as fast as it is sent to; send no more for now."""
        ...

    def client_ready(self) -> None:
        """The client reads again."""
        ...


class Server:
    """Every open client connection, and what they have in common."""

    def __init__(self, handle: Callable[[Request, ClientConnection], None], limits: Limits) -> None:
        self.handle = handle
        self.limits = limits
        self.seconds = (
            limits.idle_seconds,
            limits.head_seconds,
            limits.body_seconds,
            float("inf"),
            limits.stalled_seconds,
            limits.linger_seconds,
        )
        self.connections: set[ClientConnection] = set()
        self.draining = False
        self.now = asyncio.get_running_loop().time()
        """Time of the last sweep; asking the clock for every phase of every request costs more than it is worth."""

    def drain(self) -> None:
        """Let every connection go once its present answer is out."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close_when_idle()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in tuple(self.connections):
            connection.abort()

    def sweep(self, now: float) -> None:
        """End what is past its deadline."""
        self.now = now
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.expire()


class ClientConnection(asyncio.Protocol):
    """One client. Answers are sent by `begin`, then `send` until `end`; or by `reply` at once."""

    def __init__(self, server: Server) -> None:
        self.deadline = 0.0
        self._server = server
        self._reader = RequestReader(server.limits)
        self._refusal: GatewayError | None = None
        """What to answer after everything in `_reader.done`; nothing more is read."""
        self._current: Request | None = None
        self._answering: Answering | None = None
        self._pumping = False
        self._reading = True
        self._full = False
        self._closing = False
        self._head = b""
        self._chunked = False
        self._enter(_Phase.HEAD)  # who connects has something to say

    # -- the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by duck typing only
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = True
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.client_gone()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._refusal is not None:
            return
        try:
            self._reader.feed(data)
        except GatewayError as error:
            self._refusal = error
        self._pump()

    def pause_writing(self) -> None:
        self._full = True
        self._enter(_Phase.STALLED)
        if self._answering is not None:
            self._answering.client_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._closing:
            return
        self._enter(_Phase.ANSWER)
        if self._answering is not None:
            self._answering.client_ready()
        self._pump()

    def close_when_idle(self) -> None:
        """Close now if no request is being read or answered; the present answer is the last one otherwise."""
        if self._current is None and self._reader.partial is None and not self._reader.done:
            self._close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def expire(self) -> None:
        """The time of the present phase is over."""
        if self._phase is _Phase.IDLE or (self._phase is _Phase.HEAD and self._reader.partial is None):
            self._close()
        elif self._phase in (_Phase.HEAD, _Phase.BODY):
            self._refusal = GatewayError(408, "the request did not arrive in time", code="request_timeout")
            self._pump()
        else:
            self.abort()

    # -- one answer at a time -----------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start on the next request, if the one before is answered and the client takes answers.

        Every read, every end of an answer and every `resume_writing` comes by here. The flag makes a loop of what
        would recurse where answers are given at once.
        """
        if self._pumping:
            return
        self._pumping = True
        reader = self._reader
        try:
            while self._current is None and not self._full and not self._closing:
                if reader.done:
                    self._start(reader.done.popleft())
                elif self._refusal is not None:
                    self._start(None)
                else:
                    self._await()
                    break
        finally:
            self._pumping = False
        if self._reading == bool(reader.done) and not self._closing:  # read no further while requests wait
            self._reading = not self._reading
            (self._transport.resume_reading if self._reading else self._transport.pause_reading)()

    def _start(self, request: Request | None) -> None:
        """Have a request answered; None stands for what could not be read as one."""
        self._enter(_Phase.ANSWER)
        self._current = request or Request()
        try:
            if request is None and self._refusal is not None:
                raise self._refusal
            self._server.handle(self._current, self)
        except GatewayError as error:
            self.reply_error(error)
        except Exception:
            _log.exception("a request failed in the gateway itself")
            self.reply_error(GatewayError(500, "this is a bug in the gateway", code="internal_error"))

    def _await(self) -> None:
        """Nothing is to be answered: wait for the next request, or for the rest of this one."""
        reader = self._reader
        if reader.partial is None:
            if self._server.draining:
                self._close()
            elif self._phase is not _Phase.HEAD:
                self._enter(_Phase.IDLE)
            return
        phase = _Phase.BODY if reader.head_done else _Phase.HEAD
        if phase is not self._phase:
            self._enter(phase)
        if reader.continue_expected:
            reader.continue_expected = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self.deadline = self._server.now + self._server.seconds[phase]

    def answered_by(self, answering: Answering) -> None:
        """From now until the end of the answer, `answering` hears of the client."""
        self._answering = answering

    def begin(self, status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]], length: int | None) -> None:
        """The head of the answer, without framing; goes out with the first `send`. `length` None: not known yet."""
        request = self._current
        assert request is not None
        if self._server.draining:
            request.keep_alive = False
        self._chunked = False
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b""))]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif request.version == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            request.keep_alive = False  # HTTP/1.0: the end of the connection is the end of the body
        lines.append(b"\r\n" if request.keep_alive else b"connection: close\r\n\r\n")
        self._head = b"".join(lines)

    def send(self, body: bytes, *, end: bool) -> None:
        """A piece of the answer's body in one write; `end` with the last one."""
        if self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if end:
                body += b"0\r\n\r\n"
        if self._head:
            body = self._head + body
            self._head = b""
        if body:
            self._transport.write(body)
        if end:
            request, self._current, self._answering = self._current, None, None
            if request is None or not request.keep_alive:
                self._close()
            else:
                self._pump()

    def reply(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A whole answer of the gateway's own."""
        self.begin(status, b"", headers, len(body))
        self.send(b"" if self._current is not None and self._current.method == b"HEAD" else body, end=True)

    def reply_error(self, error: GatewayError) -> None:
        """An error of the gateway's own."""
        self.reply(error.status, error.body(), error.headers)

    def cut(self) -> None:
        """End an answer that cannot be completed, so that the client sees it is not whole."""
        self._answering = None
        self._close()

    def _close(self) -> None:
        """Close once everything written is out. A client still sending is heard out first, or it loses the answer."""
        self._closing = True
        if self._refusal is not None and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
            self._enter(_Phase.LINGER)
        else:
            self._transport.close()
            self._enter(_Phase.STALLED)

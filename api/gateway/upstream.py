"""The engines' side: one call to an engine, over one HTTP/1.1 connection that carries many, one after the other.

Below `exchange`, beside `pool`. The answer is parsed only for its frame and handed on as read: one call of
`Answer.received` per read of the socket. The rules it keeps: a request goes out twice only when an idle connection
turned out to be closed and not a byte came back; nothing touches a connection after it went back to the pool, for
whoever hears of the end may start the next call on it at once. (It cannot go back paused: a paused connection reads
nothing, so neither the end.)
"""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple, Protocol, cast

import httptools

from api.gateway.choose import Endpoint
from api.gateway.headers import HOP_BY_HOP


class Head(NamedTuple):
    """Head of an engine's answer. `length` is the size of the body in bytes, None when only its end will tell."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    """Without those that speak of the engine's connection or frame the body."""
    length: int | None


class Answer(Protocol):
    """Who is told of a call's answer. Exactly one of a `received` with `end`, or `failed`, comes last."""

    def received(self, head: Head | None, body: bytes, end: bool) -> None:
        """What one read brought: the head, if it was completed by it, and a piece of the body."""
        ...

    def failed(self, reason: str, *, sent: bool) -> None:
        """No (further) answer will come. `sent`: the engine may have seen the request."""
        ...


class Carrier(Protocol):
    """Where connections come from and go back to: the `Pool`."""

    def connect(self, call: Call) -> None:
        """Open a new connection for `call`, in the background."""
        ...

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next call."""
        ...

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection is closed."""
        ...


class Call:
    """One request on its way to an engine. `pause`, `resume` and `abort` may be called at any time."""

    __slots__ = ("_connection", "_pool", "aborted", "answer", "endpoint", "request", "retried")

    def __init__(self, pool: Carrier, endpoint: Endpoint, request: tuple[bytes, bytes], answer: Answer) -> None:
        self._pool = pool
        self._connection: UpstreamConnection | None = None
        self.endpoint = endpoint
        self.request = request
        self.answer = answer
        self.aborted = False
        self.retried = False

    def carried_by(self, connection: UpstreamConnection | None) -> None:
        """Which connection carries the call now."""
        self._connection = connection

    def pause(self) -> None:
        """Read no further: the receiver is full."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        """Give up. The connection closes, by which the engine knows to stop; `answer` hears nothing more."""
        self.aborted = True
        if self._connection is not None:
            self._connection.abandon()

    def again(self) -> None:
        """Send the request once more, over a new connection."""
        self.retried = True
        self._pool.connect(self)

    def answer_failed(self, reason: str, *, sent: bool) -> None:
        """Tell of the failure, unless nobody wants to know."""
        if not self.aborted:
            self.answer.failed(reason, sent=sent)


class UpstreamConnection(asyncio.Protocol):
    """One connection to an engine; carries one call at a time."""

    def __init__(self, pool: Carrier, address: tuple[str, int]) -> None:
        self.address = address
        self.idle_since = 0.0
        self.closing = False
        self._pool = pool
        self._call: Call | None = None
        self._used = False
        self._paused = False
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._started = False
        self._interim = False
        self._head: Head | None = None
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._framed = False
        self._until_close = False
        self._body: list[bytes] = []
        self._complete = False
        self._keep = False

    def carry(self, call: Call) -> None:
        """Send the call's request; its answer is read from here on."""
        self._call = call
        call.carried_by(self)
        self._transport.writelines(call.request)

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and not self.closing:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.closing:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close an idle connection."""
        self.closing = True
        self._transport.close()

    def abandon(self) -> None:
        """Drop the call and close at once."""
        self._call = None
        self.closing = True
        self._transport.abort()

    # -- the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by duck typing only
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the second event of a stream comes late
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:  # an idle connection has nothing to say: what comes belongs to nobody
            self.close()
            return
        self._started = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self.abandon()
                call.answer_failed(f"it answered what is not valid HTTP ({error})", sent=True)
                return
            self._keep = False
        head, self._head = self._head, None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if self._complete:
            self._finish(call, head, body)
        elif head is not None or body:
            call.answer.received(head, body, False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        call, self._call = self._call, None
        if call is None:
            self._pool.forget(self)
        elif self._used and not self._started and not call.retried:
            call.carried_by(None)
            call.again()
        elif self._until_close and exc is None:
            call.answer.received(None, b"", True)
        else:
            call.answer_failed("it closed the connection" + (f" ({exc})" if exc else ""), sent=True)

    def _finish(self, call: Call, head: Head | None, body: bytes) -> None:
        """Give the connection back first, speak last: the listener may at once use it again."""
        self._call = None
        call.carried_by(None)
        if self._keep and not self.closing and not self._transport.get_write_buffer_size():
            self._used = True
            self._reset()
            self._pool.release(self)
        else:
            self.close()
        call.answer.received(head, body, True)

    # -- the parser ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("a second answer to one request")

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-length":
            self._length = int(value)
        elif lower == b"transfer-encoding":
            self._framed = True
        elif lower not in HOP_BY_HOP:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer: the real one follows
            self._interim = True
            self._reason, self._headers = b"", []
            return
        if status in (204, 304):
            self._length = 0
        self._until_close = self._length is None and not self._framed
        self._head = Head(status, self._reason, self._headers, self._length)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self._complete = True
        # llhttp knows whether the connection stays open only within this callback.
        self._keep = self._parser.should_keep_alive()

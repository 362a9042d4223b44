"""A client's bytes read as requests. Between the socket (`server`) and whoever answers (`app`).

The rule it keeps: nothing is let through that two parsers could read differently. llhttp is strict about framing;
`_check_head` refuses what is left; every size is bounded while it is read, not after.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import httptools

from api.gateway.openai import GatewayError

Headers = list[tuple[bytes, bytes]]

_FRAMING = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. Seconds run from the first byte of the phase, so that dripping bytes gains nothing."""

    head_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024 * 1024
    idle_seconds: float = 75.0
    head_seconds: float = 15.0
    body_seconds: float = 120.0
    stalled_seconds: float = 120.0
    """How long a client may leave an answer unread before it is cut."""
    linger_seconds: float = 2.0
    """How long a refused upload is read and thrown away, so that the refusal is not lost to a reset."""


class Request:
    """One request, read whole. Header names are in lower case, in the order received."""

    __slots__ = ("body", "headers", "keep_alive", "method", "target", "version")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = "1.1"
        self.headers: Headers = []
        self.body = b""
        self.keep_alive = False


class RequestReader:
    """The requests of one connection. `done` fills with whole ones, in order; `partial` is one still being read."""

    def __init__(self, limits: Limits) -> None:
        self.done: deque[Request] = deque()
        self.partial: Request | None = None
        self.head_done = False
        self.continue_expected = False
        """The client waits for `100 Continue` before it sends the body of `partial`."""
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._resumed = False
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read on. Raises GatewayError at what cannot be read as a request; then nothing more can be fed."""
        in_head = self.partial is not None and not self.head_done
        try:
            self._feed(data)
            if in_head and not self.head_done:
                self._count_head(len(data))  # a header without end reaches no callback
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, GatewayError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise GatewayError(400, f"the request is not valid HTTP: {error}", code="bad_http") from error

    def _feed(self, data: bytes) -> None:
        """Parse. A request to switch protocol is read as what it is besides: HTTP/1.1 (RFC 9110 7.8 allows it).

        llhttp stops before the body of such a request (Java's client asks for h2c with every POST); a fresh parser
        that is told only how long the body is goes on from there.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.partial is None:
                return  # CONNECT: will be answered with 405; what follows is not HTTP
            framing = [b"%b: %b\r\n" % header for header in self.partial.headers if header[0] in _FRAMING]
            self._parser = httptools.HttpRequestParser(self)
            self._resumed = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
            if rest := data[upgrade.args[0] :]:
                self._feed(rest)

    def on_message_begin(self) -> None:
        if self._resumed:
            return
        self.partial = Request()
        self.head_done = self.continue_expected = False
        self._head_bytes = self._body_bytes = 0
        self._body = []

    def on_url(self, url: bytes) -> None:
        if self.partial is not None and not self._resumed:
            self.partial.target += url
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.partial is not None and not self.head_done:  # afterwards: trailers, which nobody asked for
            self.partial.headers.append((name.lower(), value))
            self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        if self.partial is not None and not self._resumed:
            self.head_done = True
            self.partial.method = self._parser.get_method()
            self.partial.version = self._parser.get_http_version()
            self._check_head(self.partial)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            raise self._too_large()

    def on_message_complete(self) -> None:
        request = self.partial
        if request is None or (self._parser.should_upgrade() and request.method != b"CONNECT"):
            return  # `_feed` goes on with the body
        # llhttp knows whether the connection stays open only within this callback.
        request.keep_alive = request.version == "1.1" and self._parser.should_keep_alive()
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self.partial = None
        self.continue_expected = self._resumed = False
        self._body = []
        self.done.append(request)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._limits.head_bytes:
            raise GatewayError(431, "the request head is too large", code="head_too_large")

    def _too_large(self) -> GatewayError:
        return GatewayError(413, f"a request body may have {self._limits.body_bytes} bytes", code="body_too_large")

    def _check_head(self, request: Request) -> None:
        """Refuse what llhttp lets pass and another server might read differently."""
        if request.version not in ("1.0", "1.1"):
            raise GatewayError(505, "HTTP/1.0 and HTTP/1.1 are spoken here", code="http_version")
        hosts = 0
        for name, value in request.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (value.lower() != b"chunked" or request.version == "1.0"):
                raise GatewayError(400, "only the chunked transfer coding is accepted", code="bad_http")
            elif name == b"content-length" and int(value) > self._limits.body_bytes:
                raise self._too_large()
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise GatewayError(417, "only 100-continue can be expected", code="expectation_failed")
                self.continue_expected = True
        if hosts > 1 or (hosts == 0 and request.version == "1.1"):
            raise GatewayError(400, "exactly one Host header is needed", code="bad_http")

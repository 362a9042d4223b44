"""Opening an address: proxies, trust, redirects, credentials, and foreign errors turned into ours at the door.

The client is the standard library's: `urllib.request` knows the proxy variables and `NO_PROXY`, `http.client` reads
straight into our buffer (no copy, no decoding, no pool we would not use), and it adds nothing to what must be kept
up to date. It costs 30 ms to import, so only what really talks to a network imports this module.

Rules: credentials go to the server they were given for and to no other, also not after a redirect; only http and
https are followed, never from https to http; nothing shown holds credentials.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from typing import IO, TypeVar

from nexus_ctl import __version__
from nexus_ctl.artifacts.source import Means
from nexus_ctl.artifacts.transfer.address import bare, basic, display, server
from nexus_ctl.errors import DeadlineExceeded, Retryable, Terminal

T = TypeVar("T")
_EXTRA_TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
BUSY = frozenset({408, 421, 425, 429, 500, 502, 503, 504})
"""Answers that mean: not now."""


class Unavailable(Retryable):
    """The source does not answer for now; `after_seconds` is what it asked for, if anything."""

    def __init__(self, detail: str, after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.after_seconds = after_seconds


class Stalled(DeadlineExceeded):
    """The source fell silent."""


class RangeUnsatisfiable(Exception):
    """The asked range lies beyond the file; `size_bytes` is its length as the server says it."""

    def __init__(self, size_bytes: int | None) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; credentials (which urllib keeps back) go along only to the same server."""

    def redirect_request(  # noqa: PLR0917  # urllib's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        before, after = server(req.full_url), server(newurl)
        if after[0] != "https" and (after[0] != "http" or before[0] == "https"):
            raise Terminal(f"{display(req.full_url)} redirects to {display(newurl)}, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, bare(newurl))  # type: ignore[arg-type]  # typeshed wants HTTPMessage
        secret = req.unredirected_hdrs.get("Authorization")
        if request is not None and secret is not None and before == after:
            request.add_unredirected_header("Authorization", secret)
        return request


class _Https(urllib.request.AbstractHTTPHandler):
    """https with the machine's trust, loaded (a tenth of a second) only when an https address is opened."""

    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(HTTPSConnection, req, context=_trust())


@cache
def _trust() -> ssl.SSLContext:
    """OpenSSL's default (SSL_CERT_FILE, SSL_CERT_DIR or the system's) and what other tools were told to trust."""
    trust = ssl.create_default_context()
    told = {os.environ[name] for name in _EXTRA_TRUST if os.path.isfile(os.environ.get(name, ""))}
    for bundle in told - {os.environ.get("SSL_CERT_FILE")}:
        trust.load_verify_locations(bundle)
    return trust


@cache
def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        _Https(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class Reply:
    """An answer whose body is still to be read. Reading raises Unavailable or Stalled."""

    def __init__(self, response: HTTPResponse, place: str, stall_seconds: float) -> None:
        self._response, self._place, self._stall_seconds = response, place, stall_seconds
        self.status = response.status
        self.url = response.url
        """Where the answer came from, after redirects; may hold credentials."""
        self.is_delimited = response.chunked
        """True when the body says itself where it ends."""

    def header(self, name: str) -> str:
        """A header's value; "" when it is not there."""
        return self._response.headers.get(name, "")

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read into the start of `buffer`; 0 at the end, also when that comes too early."""
        try:
            return self._response.readinto(buffer)
        except (OSError, HTTPException) as error:
            raise _fault(self._place, error, self._stall_seconds) from error

    def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises Terminal when it is longer than `limit_bytes`."""
        try:
            body = self._response.read(limit_bytes + 1)
        except (OSError, HTTPException) as error:
            raise _fault(self._place, error, self._stall_seconds) from error
        if len(body) > limit_bytes:
            raise Terminal(f"{self._place}: the answer is longer than {limit_bytes} bytes")
        return body


@contextmanager
def opened(
    url: str, *, token: str | None = None, headers: Mapping[str, str] | None = None, stall_seconds: float = 60.0
) -> Iterator[Reply]:
    """The answer to GET `url`, with a 2xx status, body unread.

    Raises Unavailable, Stalled or Terminal, RangeUnsatisfiable on 416. Errors of the block it opens pass untouched.
    """
    place = display(url)
    authorization = f"Bearer {token}" if token else None
    try:
        server(url)
        request = urllib.request.Request(
            bare(url), headers={"User-Agent": f"nexusctl/{__version__}", **(headers or {})}
        )
        authorization = authorization or basic(url)
        if authorization is not None:
            request.add_unredirected_header("Authorization", authorization)
        response = _opener().open(request, timeout=stall_seconds)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(place, error, authorized=authorization is not None) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _fault(place, error, stall_seconds) from error
    with response:
        yield Reply(response, place, stall_seconds)


def persist(attempt: Callable[[], T], means: Means) -> T:
    """What `attempt` returns, trying again while the source is unavailable. Raises its last error."""
    failures = 0
    while True:
        try:
            return attempt()
        except (Unavailable, Stalled) as error:
            failures += 1
            pause(error, failures, means)


def probe(url: str, token: str | None, means: Means) -> tuple[int | None, str | None]:
    """(length, validator) of what is at `url` now; None for what the server does not say.

    A GET of one byte rather than a HEAD, because signed addresses allow only GET.
    """
    return persist(lambda: _probe(url, token, means.patience.stall_seconds), means)


def pause(error: Unavailable | Stalled, failures: int, means: Means) -> None:
    """Wait before the next attempt; raises `error` when there shall be none."""
    patience = means.patience
    asked = (error.after_seconds or 0.0) if isinstance(error, Unavailable) else 0.0
    if failures >= patience.failures or asked > patience.longest_asked_seconds:
        raise error
    means.clock.sleep(max(asked, patience.delay_seconds(failures)))


def _fault(place: str, error: Exception, stall_seconds: float) -> Unavailable | Stalled | Terminal:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return Stalled(f"{place}: silent for {stall_seconds:g} s")
    if isinstance(reason, ssl.SSLCertVerificationError):
        hint = "point SSL_CERT_FILE at the certificates of your network"
        return Terminal(f"{place}: {reason.verify_message}", hint=hint, code="untrusted-certificate")
    if isinstance(reason, InvalidURL | ValueError):
        return Terminal(f"{place}: {reason}", hint="check the address", code="no-such-source")
    return Unavailable(f"{place}: {reason or type(reason).__name__}")


def _refusal(place: str, error: urllib.error.HTTPError, *, authorized: bool) -> Exception:
    status, said = error.code, f"{place}: HTTP {error.code} {error.reason}"
    if status == 416:
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        return RangeUnsatisfiable(int(total) if total.isdigit() else None)
    if status in BUSY:
        return Unavailable(said, _after_seconds(error))
    if status in (401, 403):
        hint = "the token is not accepted, or may not read this" if authorized else "give a token: spec.source.token"
        return Terminal(said, hint=hint, code="forbidden")
    if status in (404, 410):
        return Terminal(said, hint="check the address", code="no-such-source")
    return Terminal(said)


def _after_seconds(error: urllib.error.HTTPError) -> float | None:
    """What `Retry-After` asks for; a date counts from the server's own `Date`, so that no clock need agree."""
    asked, date = error.headers.get("Retry-After"), error.headers.get("Date")
    if asked is None:
        return None
    if asked.isdigit():
        return float(asked)
    try:
        return (parsedate_to_datetime(asked) - parsedate_to_datetime(date or asked)).total_seconds()
    except ValueError:
        return None


def _probe(url: str, token: str | None, stall_seconds: float) -> tuple[int | None, str | None]:
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    try:
        with opened(url, token=token, headers=headers, stall_seconds=stall_seconds) as reply:
            return _length(reply), _validator(reply)
    except RangeUnsatisfiable as answer:
        return answer.size_bytes, None  # an empty file has no first byte


def _length(reply: Reply) -> int | None:
    of_range = reply.status == 206
    stated = reply.header("Content-Range").rpartition("/")[2] if of_range else reply.header("Content-Length")
    return int(stated) if stated.isdigit() else None


def _validator(reply: Reply) -> str | None:
    """A strong ETag, else the date of the last change; what `If-Range` may hold (RFC 9110, 13.1.5)."""
    etag = reply.header("ETag")
    return etag if etag.startswith('"') else reply.header("Last-Modified") or None

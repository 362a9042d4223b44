"""Questions put to an engine's address: is it ready, what did it load, how busy is it. The port, and the real asker.

Execution asks here while a replica comes up or drains, and observing asks once; the runtimes themselves never probe.
The rule: no question ever raises, and each waits at most its time-out for the connection and each piece of answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health

if TYPE_CHECKING:
    from http.client import HTTPResponse

ANSWERS = {200: Health.READY, 503: Health.LOADING}
MOST_BYTES = 1 << 20
"""Of one answer to `ask`; chat templates make them long, nothing makes them longer."""
PIECE_BYTES = 1 << 16
CLOSE = {"Connection": "close"}


class Prober(Protocol):
    """Who asks an engine whether it is ready, and what it is. `key` is what it asks its callers for; "" = nothing."""

    def look(self, address: str, probe: ReadyProbe, key: str = "") -> Health:
        """One look at `address` (`http://host:port`; an empty one is DOWN)."""
        ...

    def ask(self, address: str, paths: Sequence[str], timeout_seconds: float, key: str = "") -> Mapping[str, Any]:
        """JSON answers by path; what is not answered in time and in good form is left out. No path: no call."""
        ...

    def open_requests(self, address: str, signal: BusySignal, timeout_seconds: float, key: str = "") -> int | None:
        """Requests that an engine works on by its own word; None where it does not tell.

        At least 1 where it took the question and did not answer in time: llama.cpp answers between two batches only.
        """
        ...


class HttpProber:
    """Asks by `GET probe.path` on a fresh connection, so that a look says something about new clients."""

    def look(self, address: str, probe: ReadyProbe, key: str = "") -> Health:
        from http.client import HTTPConnection, HTTPException  # a plan loads this module and never asks

        parts = urlsplit(address)
        if parts.hostname is None:
            return Health.DOWN
        connection = HTTPConnection(parts.hostname, parts.port, timeout=probe.timeout_seconds)
        try:
            connection.request("GET", probe.path, headers=CLOSE | _bearing(key))
            return ANSWERS.get(connection.getresponse().status, Health.DOWN)
        except (OSError, HTTPException):
            return Health.DOWN
        finally:
            connection.close()

    def ask(self, address: str, paths: Sequence[str], timeout_seconds: float, key: str = "") -> Mapping[str, Any]:
        """By `GET` of one path after the other on one connection, until one is not answered."""
        from http.client import HTTPConnection, HTTPException

        parts = urlsplit(address)
        answers: dict[str, Any] = {}
        if parts.hostname is None or not paths:
            return answers
        connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
        try:
            for path in paths:
                connection.request("GET", path, headers=_bearing(key))
                with connection.getresponse() as response:
                    body = _body(response, time.monotonic() + timeout_seconds)
                    if response.status == 200:
                        answers[path] = json.loads(body)
        except (OSError, HTTPException, ValueError, RecursionError):
            return answers
        finally:
            connection.close()
        return answers

    def open_requests(self, address: str, signal: BusySignal, timeout_seconds: float, key: str = "") -> int | None:
        """By one `GET signal.path` on a fresh connection."""
        from http.client import HTTPConnection, HTTPException

        parts = urlsplit(address)
        if parts.hostname is None:
            return None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
        try:
            connection.request("GET", signal.path, headers=CLOSE | _bearing(key))
            with connection.getresponse() as response:
                body = _body(response, time.monotonic() + timeout_seconds)
                return signal.count(body.decode()) if response.status == 200 else None
        except TimeoutError:
            return 1
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()


def _bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _body(response: HTTPResponse, deadline: float) -> bytes:
    """The whole body. Raises TimeoutError after the deadline, ValueError beyond `MOST_BYTES`."""
    body = b""
    while piece := response.read1(PIECE_BYTES):
        body += piece
        if len(body) > MOST_BYTES:
            raise ValueError(f"an answer of more than {MOST_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("an answer that does not end")
    return body

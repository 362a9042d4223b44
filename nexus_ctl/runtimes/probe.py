"""Readiness as a question put to an engine's address: the port, and the real asker over HTTP.

Execution asks here while a replica comes up, and observing asks once; the runtimes themselves never probe. The rule:
a look never raises, and waits at most the probe's `timeout_seconds` for the connection and for each piece of answer.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health

ANSWERS = {200: Health.READY, 503: Health.LOADING}


class Prober(Protocol):
    """Who asks an engine whether it is ready."""

    def look(self, address: str, probe: ReadyProbe) -> Health:
        """One look at `address` (`http://host:port`; an empty one is DOWN)."""
        ...


class HttpProber:
    """Asks by `GET probe.path` on a fresh connection, so that a look says something about new clients."""

    def look(self, address: str, probe: ReadyProbe) -> Health:
        from http.client import HTTPConnection, HTTPException  # a plan loads this module and never asks

        parts = urlsplit(address)
        if parts.hostname is None:
            return Health.DOWN
        connection = HTTPConnection(parts.hostname, parts.port, timeout=probe.timeout_seconds)
        try:
            connection.request("GET", probe.path, headers={"Connection": "close"})
            return ANSWERS.get(connection.getresponse().status, Health.DOWN)
        except (OSError, HTTPException):
            return Health.DOWN
        finally:
            connection.close()

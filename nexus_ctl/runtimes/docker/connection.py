"""The client to a Docker engine. The API version is negotiated, never pinned."""

from __future__ import annotations

from typing import Any

from docker import APIClient
from docker.tls import TLSConfig

from nexus_ctl.errors import RuntimeUnreachable, UsageError
from nexus_ctl.runtimes.docker.address import Address
from nexus_ctl.runtimes.docker.errors import translated
from nexus_ctl.runtimes.docker.ssh import bridge

TIMEOUT_SECONDS = 60
PING_SECONDS = 2


class Client(APIClient):
    """The SDK's client, for which the engine's own CA counts also where the environment names one for everybody
    (REQUESTS_CA_BUNDLE): requests puts that one first."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        chosen = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, chosen, cert)


def connect(address: Address, timeout_seconds: int = TIMEOUT_SECONDS) -> APIClient:
    """A client that has agreed on an API version with the engine.

    Raises RuntimeUnreachable, and UsageError for an engine that turns out to be on another machine.
    """
    url = bridge(address.url) if address.url.startswith("ssh:") else address.url
    with translated(address.url):
        return Client(base_url=url, version="auto", timeout=timeout_seconds, tls=_tls(address) or False)


def answers(address: Address, seconds: int = PING_SECONDS) -> bool:
    """Whether an engine of this machine answers there within that time."""
    try:
        connect(address, seconds).close()
    except (RuntimeUnreachable, UsageError):
        return False
    return True


def _tls(address: Address) -> TLSConfig | None:
    """By the files that are there; without a CA of its own the engine's certificate is checked as a public one."""
    if address.certificates is None:
        return None
    ca, cert, key = (address.certificates / name for name in ("ca.pem", "cert.pem", "key.pem"))
    return TLSConfig(
        client_cert=(str(cert), str(key)) if cert.exists() or key.exists() else None,
        ca_cert=str(ca) if ca.exists() else None,
        verify=True,
    )

"""Which Docker engine, and the client to it.

The address is, as for the docker command: the one given, else DOCKER_HOST, else the current docker context, else the
default socket. Only an engine of this machine will do: models are mounted from this machine's disk and replicas are
published on its loopback interface. The API version is negotiated, never pinned.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from docker import APIClient
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig

from nexus_ctl.errors import RuntimeUnreachable, UsageError
from nexus_ctl.runtimes.docker.errors import translated

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
TIMEOUT_SECONDS = 60
PING_SECONDS = 2


def engine_url(given: str = "") -> str:
    """The address of the engine to talk to. Raises UsageError for one that is not on this machine."""
    url = given or os.environ.get("DOCKER_HOST", "") or _context_url() or DEFAULT_UNIX_SOCKET
    parts = urlsplit(url)
    if parts.scheme in ("unix", "http+unix", "npipe") or parts.hostname in LOCAL_HOSTS:
        return url
    raise UsageError(
        f"the Docker engine at {url} is on another machine",
        hint="models are mounted from this machine's disk and replicas published on its loopback interface: "
        "run nexusctl on the engine's machine",
    )


def connect(url: str, timeout_seconds: int = TIMEOUT_SECONDS) -> APIClient:
    """A client that has agreed on an API version with the engine. Raises RuntimeUnreachable."""
    folder = os.environ.get("DOCKER_CERT_PATH", "")
    tls = None
    if os.environ.get("DOCKER_TLS_VERIFY") and folder:
        pair = (os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        tls = TLSConfig(client_cert=pair, ca_cert=os.path.join(folder, "ca.pem"), verify=True)
    with translated(url):
        return APIClient(base_url=url, version="auto", timeout=timeout_seconds, tls=tls or False)


def answers(url: str, seconds: int = PING_SECONDS) -> bool:
    """Whether an engine answers there within that time."""
    try:
        connect(url, seconds).close()
    except RuntimeUnreachable:
        return False
    return True


def _context_url() -> str:
    try:
        context = ContextAPI.get_current_context()
    except DockerException:  # a broken docker configuration file: docker itself then uses the default socket
        return ""
    return str(context.Host or "") if context is not None else ""

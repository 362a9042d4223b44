"""Which Docker engine: its address, found as the docker command finds it, and the files to trust it by.

    the one given, else DOCKER_HOST, else the context that DOCKER_CONTEXT names, else the current one, else the default

Called once per runtime. The rules: what names an engine and cannot be read is an error, never another engine; an engine
of another machine is refused here, or, behind ssh, where it is first spoken to (`ssh.py`): models are mounted from this
machine's disk, and replicas published on its loopback. Contexts are read from their files: the SDK looks for them
beside the working directory where there is no configuration file, and leaves out TLS where a context has no key.
Source: docker/cli, cli/command/cli.go (resolveContextName), cli/context/store.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nexus_ctl.errors import UsageError

DEFAULT = "unix:///var/run/docker.sock"
ELSEWHERE = (
    "models are mounted from this machine's disk and replicas published on its loopback interface: "
    "run nexusctl on the engine's machine, and reach its gateway from here with\n"
    "ssh -L 8600:127.0.0.1:8600 HOST"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens, and the folder of `ca.pem`, `cert.pem`, `key.pem` (each may be missing) where it is to
    be spoken to by TLS."""

    url: str
    certificates: Path | None = None


def find(given: str = "") -> Address:
    """The engine to talk to. Raises UsageError for one that is not on this machine, or a context that is not there."""
    address = Address(given, _own_certificates(given)) if given else _of_environment() or _of_context()
    scheme, host = urlsplit(address.url).scheme, urlsplit(address.url).hostname or ""
    if scheme in ("unix", "ssh") or (scheme in ("tcp", "http", "https") and is_here(host)):
        return address
    if scheme not in ("tcp", "http", "https"):
        raise UsageError(
            f"{address.url!r} is no address of a Docker engine", hint="unix://PATH, tcp://HOST:PORT, ssh://HOST"
        )
    raise elsewhere(address.url)


def elsewhere(url: str) -> UsageError:
    """The error for an engine of another machine."""
    return UsageError(f"the Docker engine at {url} is on another machine", hint=ELSEWHERE)


def is_here(host: str) -> bool:
    """Whether every address of that name is this machine's: one can listen on no other's."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        for family, kind, _, _, where in found:
            with socket.socket(family, kind) as trial:
                trial.bind((where[0], 0))
    except OSError:
        return False
    return True


def _of_environment() -> Address | None:
    url = os.environ.get("DOCKER_HOST", "")
    return Address(url, _own_certificates(url)) if url else None


def _own_certificates(url: str) -> Path | None:
    """What DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say; they are about TCP alone."""
    if not os.environ.get("DOCKER_TLS_VERIFY") or url.startswith(("unix:", "ssh:")):
        return None
    return Path(os.environ.get("DOCKER_CERT_PATH") or _configuration())


def _of_context() -> Address:
    folder = _configuration()
    name = os.environ.get("DOCKER_CONTEXT") or str(_json(folder / "config.json").get("currentContext") or "default")
    if name == "default":
        return Address(DEFAULT)
    key = hashlib.sha256(name.encode()).hexdigest()
    endpoint = (_json(folder / "contexts/meta" / key / "meta.json").get("Endpoints") or {}).get("docker") or {}
    if not endpoint.get("Host"):
        raise UsageError(
            f"the docker context {name!r} is not in {folder}, or names no engine",
            hint="choose another:\ndocker context ls",
        )
    certificates = folder / "contexts/tls" / key / "docker"
    if not certificates.is_dir():
        return Address(endpoint["Host"])
    if endpoint.get("SkipTLSVerify"):
        raise UsageError(
            f"the docker context {name!r} trusts any certificate, and nexusctl does not",
            hint=f"give it the engine's CA:\ndocker context update {name} --docker host={endpoint['Host']},ca=FILE",
        )
    return Address(endpoint["Host"], certificates)


def _configuration() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _json(file: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is no file. Raises UsageError for one that cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", hint="mend it, or set DOCKER_HOST") from error
    return found if isinstance(found, dict) else {}

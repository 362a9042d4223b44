"""The door for foreign errors: whatever the Docker SDK, its HTTP client or the socket raises becomes one of ours.

Called around every call to the engine. The rule: nothing foreign leaks, the cause stays chained, and the text is the
engine's own, with the way out beside it where there is one. What an answer means is a table, in the words of engines
20.10 to 28 and of Podman 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from docker.errors import APIError, DockerException
from urllib3.exceptions import HTTPError

from nexus_ctl.errors import NameInUse, NexusError, NotFound, Refused, Retryable, RuntimeUnreachable, Terminal

START_ENGINE = "is the Docker engine running?  systemctl status docker"
PERMISSION = "may this user use Docker?  sudo usermod -aG docker $USER, then log in again; or runtime.driver: process"
TLS = "DOCKER_TLS_VERIFY=1, and in DOCKER_CERT_PATH ca.pem of the engine's CA, cert.pem and key.pem that it accepts"
OTHER_DISK = "the engine does not see this machine's files: is it at the other end of a tunnel? run nexusctl over there"
NO_GPU_WORDS = r"could not select device driver|nvidia-container-cli|unresolvable CDI|unknown runtime"
GPU_HINT = "install the NVIDIA driver and the NVIDIA Container Toolkit, or ask for no GPU; check with:  nvidia-smi"
LEFTOVER_WORDS = r"task .*already exists|id already in use|container with given ID already exists"
LEFTOVER = "an engine that crashed left it in a state from which it cannot start; apply again makes it anew"


@dataclass(frozen=True, slots=True)
class Meaning:
    """An answer of the engine (`status` 0 = any) and what it means."""

    status: int
    words: str
    error: type[NexusError]
    hint: str = ""


MEANINGS = (
    Meaning(409, r"name .* is already in use", NameInUse),
    Meaning(500, r"container name .* is already in use", NameInUse),  # Podman
    Meaning(500, r"cannot remove container .* as it is (running|paused)", Refused),  # Podman
    Meaning(0, NO_GPU_WORDS, Terminal, GPU_HINT),
    Meaning(0, r"No such container", NotFound),
    Meaning(0, r"No such image|pull access denied|manifest .*(unknown|not found)|repository .* not found", Terminal),
    Meaning(0, r"unauthorized|authentication required|no basic auth", Terminal, "give the registry's credentials"),
    Meaning(0, LEFTOVER_WORDS, Retryable, LEFTOVER),
    Meaning(0, r"port is already allocated|address already in use", Refused, "another program listens there"),
    Meaning(0, r"no space left on device", Retryable, "free disk space:  docker system df"),
    Meaning(400, r"bind source path does not exist", Terminal, OTHER_DISK),
    Meaning(0, r"executable file not found|no such file or directory|permission denied", Terminal),
    Meaning(0, r"non-overlapping IPv4 address pool", Terminal, "remove unused networks:  docker network prune"),
    Meaning(0, r"network .* not found", Retryable, "the stack's network is gone; apply again makes it anew"),
    Meaning(404, "", NotFound),
    Meaning(400, "", Terminal),
    Meaning(403, "", Refused),
    Meaning(409, "", Refused),
)  # fmt: skip

WAYS_OUT = (
    (r"ermission denied", PERMISSION),
    (r"HTTPS server|SSL|TLS|certificate", TLS),
)
"""Why an engine may not answer, by the client's words."""


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Within the block every foreign error becomes ours; `subject` is the name the call is about."""
    try:
        yield
    except APIError as error:
        raise meaning(subject, error.response.status_code if error.response is not None else 0, said(error)) from error
    except (DockerException, HTTPError, OSError) as error:  # requests' errors are OSErrors
        raise unreachable(subject, str(error)) from error


def said(error: APIError) -> str:
    """The engine's own words."""
    explanation = error.explanation
    text = explanation.decode(errors="replace") if isinstance(explanation, bytes) else str(explanation or error)
    return " ".join(text.split())


def meaning(subject: str, status: int, words: str) -> NexusError:
    """What an answer of the engine means; a 5xx that nobody knows may pass, any other refusal will not by itself."""
    for row in MEANINGS:
        if row.status in (0, status) and re.search(row.words, words, re.IGNORECASE):
            return row.error(f"{subject}: {words}", hint=row.hint)
    return (Retryable if status >= 500 else Refused)(f"{subject}: {words}")


def unreachable(subject: str, words: str) -> RuntimeUnreachable:
    """The engine did not answer, or not to the end."""
    hint = next((hint for pattern, hint in WAYS_OUT if re.search(pattern, words)), START_ENGINE)
    return RuntimeUnreachable(f"{subject}: the Docker engine does not answer: {words}", hint=hint)

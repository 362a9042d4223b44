"""Nothing foreign leaks: whatever an engine says, or fails to say, comes out as one of ours, with its cause."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nexus_ctl.errors import (
    NameInUse,
    NexusError,
    NotFound,
    Refused,
    Retryable,
    RuntimeUnreachable,
    Terminal,
)
from nexus_ctl.resources.launch import Limits
from nexus_ctl.runtimes.docker.errors import GPU_HINT, LEFTOVER, OTHER_DISK, TLS, meaning, unreachable
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.nexus_ctl.runtimes.docker.conftest import make_replica

pytestmark = pytest.mark.usefixtures("sockets_left_by_the_sdk")

SAID = [
    (409, 'Conflict. The container name "/x" is already in use by container "6f"', NameInUse, ""),
    (409, "You cannot remove a running container 6f. Stop the container before removing", Refused, ""),
    (404, "No such container: x", NotFound, ""),
    (404, "No such image: ghcr.io/x:y", Terminal, ""),
    (404, "pull access denied for x, repository does not exist or may require 'docker login'", Terminal, ""),
    (404, "manifest for x:y not found: manifest unknown: manifest unknown", Terminal, ""),
    (500, "unauthorized: authentication required", Terminal, "give the registry's credentials"),
    (400, "invalid mount config for type bind: bind source path does not exist: /x", Terminal, OTHER_DISK),
    (500, 'could not select device driver "" with capabilities: [[gpu]]', Terminal, GPU_HINT),
    (500, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7", Terminal, GPU_HINT),
    (400, "Unknown runtime specified nvidia", Terminal, GPU_HINT),
    (500, "driver failed programming external connectivity: port is already allocated", Refused, None),
    (500, "listen tcp4 127.0.0.1:80: bind: address already in use", Refused, None),
    (500, 'task "6f": already exists: unknown', Retryable, LEFTOVER),
    (500, "write /var/lib/docker/x: no space left on device", Retryable, None),
    (400, 'exec: "nope": executable file not found in $PATH: unknown', Terminal, ""),
    (404, "network 9185fb not found", Retryable, None),
    (403, "network x has active endpoints", Refused, ""),
    (500, "something that nobody has seen", Retryable, ""),
    (500, 'creating container storage: the container name "x" is already in use by 6f', NameInUse, ""),
    (500, "cannot remove container 6f as it is running - running or paused containers", Refused, ""),
    (418, "something that nobody has seen", Refused, ""),
]


@pytest.mark.parametrize(("status", "words", "error", "hint"), SAID, ids=[f"{s}-{w[:24]}" for s, w, _, _ in SAID])
def test_meanings(status: int, words: str, error: type[NexusError], hint: str | None) -> None:
    found = meaning("demo-chat-0", status, words)
    assert type(found) is error
    assert found.detail == f"demo-chat-0: {words}"
    assert found.hint == hint if hint is not None else found.hint


VERSION = json.dumps({"ApiVersion": "1.41", "Version": "20.10"}).encode()


def answer(status: str, body: bytes, length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {said}\r\nConnection: close"
    return f"{head}\r\n\r\n".encode() + body


ODDITIES = {
    "silence": b"",
    "no HTTP": b"who is there?\r\n\r\n",
    "half an answer": answer("200 OK", b'{"Id": "abc"', length=500),
    "no JSON": answer("200 OK", b"<html>a proxy</html>"),
    "an error without JSON": answer("500 Internal Server Error", b"oops"),
    "an error in JSON": answer("500 Internal Server Error", b'{"message": "oops"}'),
    "a proxy's refusal": answer("502 Bad Gateway", b"<html>502</html>"),
}


@pytest.fixture
def odd_engine(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Starts an engine that agrees on a version and then always gives this answer; its address."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "odd.sock"))
    listener.listen(16)

    def serve(oddity: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(65536)
                connection.sendall(answer("200 OK", VERSION) if b"/version" in asked else oddity)

    def start(oddity: bytes) -> str:
        threading.Thread(target=serve, args=(oddity,), daemon=True).start()
        return f"unix://{tmp_path}/odd.sock"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def acts(runtime: DockerRuntime) -> list[Callable[[], object]]:
    """Every method of the port."""
    replica = make_replica("install", "image:1")
    return [
        runtime.list,
        lambda: runtime.inspect("x"),
        lambda: runtime.create(replica),
        lambda: runtime.start("x", {}),
        lambda: runtime.stop("x", 1),
        lambda: runtime.remove("x"),
        lambda: runtime.update("x", Limits()),
        lambda: list(runtime.logs("x")),
        lambda: runtime.progress("x"),
        lambda: runtime.image("x"),
        lambda: runtime.pull("x", None, lambda progress: None),
    ]


@pytest.mark.parametrize("oddity", ODDITIES.values(), ids=ODDITIES.keys())
def test_odd_answers(odd_engine: Callable[[bytes], str], oddity: bytes) -> None:
    runtime = DockerRuntime("install", odd_engine(oddity))
    for act in acts(runtime):
        with pytest.raises((RuntimeUnreachable, Retryable)) as caught:
            act()
        assert caught.value.__cause__ is not None
    runtime.close()


def test_nobody_there(tmp_path: Path) -> None:
    runtime = DockerRuntime("install", f"unix://{tmp_path}/none.sock")
    assert not runtime.answers()
    for act in acts(runtime):
        with pytest.raises(RuntimeUnreachable, match="does not answer") as caught:
            act()
        assert caught.value.hint.startswith("is the Docker engine running?")


def test_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("docker.transport.unixconn.UnixHTTPConnection.connect", refuse)
    with pytest.raises(RuntimeUnreachable) as caught:
        DockerRuntime("install", f"unix://{tmp_path}/none.sock").list()
    assert "docker $USER" in caught.value.hint


def test_an_engine_that_wants_tls_says_so() -> None:
    for words in ("Client sent an HTTP request to an HTTPS server.", "certificate verify failed", "SSLError(1)"):
        assert unreachable("tcp://127.0.0.1:2376", words).hint == TLS

"""The HTTP prober: every answer, and none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health
from nexus_ctl.runtimes.probe import HttpProber


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """An engine that says this once; its address and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join()


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Health.READY),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Health.LOADING),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", Health.DOWN),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Health.DOWN),
        (b"this is not HTTP\r\n\r\n", Health.DOWN),
        (b"", Health.DOWN),
    ],
)
def test_each_answer(answer: bytes, health: Health) -> None:
    with answering(answer) as (address, asked):
        assert HttpProber().look(address, ReadyProbe(path="/ready")) is health
    assert asked[0].startswith(b"GET /ready HTTP/1.1\r\n")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert HttpProber().look(address, ReadyProbe()) is Health.DOWN
    assert HttpProber().look("", ReadyProbe()) is Health.DOWN


def test_an_engine_that_never_answers_is_down_after_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert HttpProber().look(address, ReadyProbe(timeout_seconds=0.05)) is Health.DOWN

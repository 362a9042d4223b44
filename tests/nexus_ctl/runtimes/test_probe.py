"""The HTTP prober: every answer, and none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health
from nexus_ctl.runtimes.probe import MOST_BYTES, HttpProber


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


@contextmanager
def telling(answers: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """An engine that answers GET of these paths on a connection that stays open, 404 to others; what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"{self.client_address[1]} {self.path}")
            body = answers.get(self.path, b"{}")
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # the asker may have heard enough
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_ask_reads_every_path_on_one_connection() -> None:
    with telling({"/props": b'{"total_slots": 2}', "/v1/models": b'{"data": []}'}) as (address, asked):
        told = HttpProber().ask(address, ["/props", "/none", "/v1/models"], 30)
    assert told == {"/props": {"total_slots": 2}, "/v1/models": {"data": []}}
    assert [line.split()[1] for line in asked] == ["/props", "/none", "/v1/models"]
    assert len({line.split()[0] for line in asked}) == 1


@pytest.mark.parametrize("answer", [b"not json", b"[" * 100_000, b"\xff", b'"' + b"x" * MOST_BYTES + b'"', b""])
def test_ask_leaves_out_what_is_in_no_good_form(answer: bytes) -> None:
    with telling({"/props": answer}) as (address, _):
        assert HttpProber().ask(address, ["/props"], 30) == {}


def test_ask_where_nobody_answers_or_nothing_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert HttpProber().ask(address, ["/props"], 0.05) == {}
    assert HttpProber().ask(address, ["/props"], 30) == {}
    assert HttpProber().ask(address, [], 30) == {}
    assert HttpProber().ask("", ["/props"], 30) == {}


def test_ask_does_not_wait_for_an_answer_without_an_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b" "
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(endless)
                while True:
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        assert HttpProber().ask(f"http://127.0.0.1:{listener.getsockname()[1]}", ["/props"], 0.2) == {}
        thread.join()


SLOTS = BusySignal("/slots", flag="is_processing")


def test_open_requests_are_what_the_engine_says() -> None:
    with telling({"/slots": b'[{"is_processing": true}, {"is_processing": false}]'}) as (address, asked):
        assert HttpProber().open_requests(address, SLOTS, 30) == 1
    assert [line.split()[1] for line in asked] == ["/slots"]


@pytest.mark.parametrize("answer", [b"not json", b"\xff", b'"' + b"x" * MOST_BYTES + b'"', b""])
def test_open_requests_in_no_good_form_are_unknown(answer: bytes) -> None:
    with telling({"/slots": answer}) as (address, _):
        assert HttpProber().open_requests(address, SLOTS, 30) is None


def test_open_requests_are_unknown_where_nobody_tells() -> None:
    with telling({}) as (address, _):
        assert HttpProber().open_requests(address, SLOTS, 30) is None
    assert HttpProber().open_requests(address, SLOTS, 30) is None
    assert HttpProber().open_requests("", SLOTS, 30) is None


def test_an_engine_too_busy_to_answer_works_on_something() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert HttpProber().open_requests(address, SLOTS, 0.05) == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda prober, address, key: prober.look(address, ReadyProbe("/slots"), key),
        lambda prober, address, key: prober.ask(address, ["/slots"], 30, key),
        lambda prober, address, key: prober.open_requests(address, SLOTS, 30, key),
    ],
    ids=["look", "ask", "open_requests"],
)
@pytest.mark.parametrize("key", ["", "sk-1"])
def test_every_question_bears_the_key(ask: Callable[..., object], key: str) -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as (address, asked):
        ask(HttpProber(), address, key)
    assert (b"\r\nAuthorization: Bearer sk-1\r\n" in asked[0]) is bool(key)
    assert b"Bearer" not in asked[0] or key

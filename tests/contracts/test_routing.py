"""One contract for every `Routing`: the file with a gateway that answers over HTTP, and the fake in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from nexus_ctl.resources.routing import (
    STATUS_PATH,
    BackendEntry,
    DeploymentCounters,
    GatewayStatus,
    PresetEntry,
    RouteEntry,
    Table,
    fingerprint,
    with_endpoint,
    with_preset,
    with_route,
    without_endpoint,
)
from nexus_ctl.routing.file import RoutingFile
from nexus_ctl.routing.port import Routing
from tests.fakes.routing import FakeRouting


@dataclass
class Rig:
    """A routing under test, and the knobs on its gateway."""

    routing: Routing
    set_open: Callable[[str, int], None]
    stop_loading: Callable[[], None]
    stop_gateway: Callable[[], None]
    set_served: Callable[[str, DeploymentCounters], None]


class _Gateway(HTTPServer):
    """Answers as a gateway that loads the file at every request, until it is told to load no more."""

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path = path
        self.open_requests: dict[str, int] = {}
        self.served: dict[str, DeploymentCounters] = {}
        self.frozen: str | None = None

    def loaded(self) -> str:
        if self.frozen is not None:
            return self.frozen
        return fingerprint(self.path.read_bytes()) if self.path.exists() else ""


class _Handler(BaseHTTPRequestHandler):
    server: _Gateway

    def do_GET(self) -> None:
        loaded, counts = self.server.loaded(), self.server.open_requests
        status = GatewayStatus(0, loaded, in_flight=counts, since=1.0, deployments=self.server.served)
        found = self.path == STATUS_PATH
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(msgspec.json.encode(status) if found else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture(params=["file", "fake"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        fake = FakeRouting()
        yield Rig(
            fake,
            fake.open_requests.__setitem__,
            partial(setattr, fake, "gateway_loads", False),
            partial(setattr, fake, "gateway_running", False),
            fake.served.__setitem__,
        )
        return
    path = tmp_path / "gateway" / "table.json"
    gateway = _Gateway(path)
    thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
    thread.start()

    def stop() -> None:
        gateway.shutdown()
        gateway.server_close()

    yield Rig(
        RoutingFile(path, f"http://127.0.0.1:{gateway.server_port}"),
        gateway.open_requests.__setitem__,
        lambda: setattr(gateway, "frozen", gateway.loaded()),
        stop,
        gateway.served.__setitem__,
    )
    stop()
    thread.join()


def test_starts_empty(rig: Rig) -> None:
    assert rig.routing.read() == Table()


def test_a_change_is_there_for_the_next_reader_with_the_next_revision(rig: Rig) -> None:
    route = RouteEntry(["chat", "gpt"], [BackendEntry("chat", 3)], preset="precise")
    preset = PresetEntry({"temperature": 0.2, "stop": ["."]}, "Be exact.", ["temperature"])
    rig.routing.change(lambda table: with_endpoint(table, "chat", "chat-0", "http://127.0.0.1:1"))
    rig.routing.change(lambda table: with_preset(table, "precise", preset))
    written = rig.routing.change(lambda table: with_route(table, "chat", route))
    assert written == rig.routing.read()
    assert written == Table(
        revision=3,
        endpoints={"chat": {"chat-0": "http://127.0.0.1:1"}},
        presets={"precise": preset},
        routes={"chat": route},
    )


def test_the_names_an_engine_takes_come_and_go_with_its_replica(rig: Rig) -> None:
    for replica, names in (("a-0", ("qwen", "sql")), ("a-1", ("qwen",)), ("b-0", ())):
        deployment = replica[0]
        rig.routing.change(lambda table, d=deployment, r=replica, n=names: with_endpoint(table, d, r, "http://h:1", n))
    assert rig.routing.read().served == {"a": {"a-0": ["qwen", "sql"], "a-1": ["qwen"]}}
    rig.routing.change(lambda table: with_endpoint(table, "a", "a-0", "http://h:1"))
    assert rig.routing.read().served == {"a": {"a-1": ["qwen"]}}
    rig.routing.change(lambda table: without_endpoint(table, "a", "a-1"))
    assert rig.routing.read().served == {}
    assert rig.routing.read().endpoints == {"a": {"a-0": "http://h:1"}, "b": {"b-0": "http://h:1"}}


def test_a_change_that_changes_nothing_writes_nothing(rig: Rig) -> None:
    add = partial(with_endpoint, deployment="chat", replica="chat-0", address="http://127.0.0.1:1")
    first = rig.routing.change(add)
    assert rig.routing.change(add) == first
    assert rig.routing.change(lambda table: msgspec.structs.replace(table, revision=99)) == first
    assert rig.routing.read().revision == 1


def test_a_failing_edit_leaves_the_table_and_lets_the_next_writer_in(rig: Rig) -> None:
    def fails(table: Table) -> Table:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        rig.routing.change(fails)
    assert rig.routing.read() == Table()
    assert rig.routing.change(lambda table: with_endpoint(table, "a", "a-0", "http://h:1")).revision == 1


def test_in_flight_is_what_the_gateway_counts(rig: Rig) -> None:
    rig.routing.change(lambda table: with_endpoint(table, "chat", "chat-0", "http://h:1"))
    rig.set_open("chat-0", 2)
    assert rig.routing.in_flight("chat-0") == 2
    assert rig.routing.in_flight("chat-1") == 0


def test_nothing_counts_as_idle_until_the_gateway_has_the_present_table(rig: Rig) -> None:
    """A swap kills the request in flight (llama-swap #19, llama.cpp #22447): drain must not trust an old count."""
    rig.routing.change(lambda table: with_endpoint(table, "chat", "chat-0", "http://h:1"))
    assert rig.routing.in_flight("chat-0") == 0
    rig.stop_loading()
    rig.routing.change(lambda table: without_endpoint(table, "chat", "chat-0"))
    assert rig.routing.in_flight("chat-0") == 1
    rig.set_open("chat-0", 3)
    assert rig.routing.in_flight("chat-0") == 3


def test_in_flight_is_unknown_without_a_gateway(rig: Rig) -> None:
    rig.stop_gateway()
    assert rig.routing.in_flight("chat-0") is None


def test_counted_is_what_the_gateway_tells_and_nothing_without_one(rig: Rig) -> None:
    chat = DeploymentCounters(3, 40, 50, 1_800_000_000.5)
    rig.set_served("chat", chat)
    counted = rig.routing.counted()
    assert counted is not None
    assert (counted.deployments, counted.since > 0) == ({"chat": chat}, True)
    rig.stop_gateway()
    assert rig.routing.counted() is None

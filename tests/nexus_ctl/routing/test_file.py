"""The routing file under the things that happen to files: kill -9, many writers, damage, full disks, other servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import Conflict, MachineError
from nexus_ctl.resources.routing import Table, decode, encode, with_endpoint
from nexus_ctl.routing.file import RoutingFile

NOWHERE = "http://127.0.0.1:1"

WRITER = """
import sys
from pathlib import Path
from nexus_ctl.resources.routing import with_endpoint
from nexus_ctl.routing.file import RoutingFile
routing, name, count = RoutingFile(Path(sys.argv[1]), "http://127.0.0.1:1"), sys.argv[2], int(sys.argv[3])
for n in range(count):
    routing.change(lambda table: with_endpoint(table, name, f"{name}-{n}", "http://127.0.0.1:1"))
    print(n, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_eight_writers_lose_no_write(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    writers = [writer(path, f"d{n}", 10) for n in range(4)]
    routing = RoutingFile(path, NOWHERE)

    def write(name: str) -> None:
        for n in range(10):
            routing.change(lambda table, n=n: with_endpoint(table, name, f"{name}-{n}", "http://127.0.0.1:1"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, ("d4", "d5", "d6", "d7")))
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    table = routing.read()
    assert table.revision == 80
    assert {name: len(replicas) for name, replicas in table.endpoints.items()} == {f"d{n}": 10 for n in range(8)}


def test_kill_nine_at_any_moment_leaves_a_whole_table_and_a_free_lock(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    routing = RoutingFile(path, NOWHERE)
    for round_ in range(12):
        process = writer(path, f"w{round_}", 1_000_000)
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(1 + round_ * 3)]
        process.kill()
        rest, _ = process.communicate(timeout=60)
        acknowledged += [int(line) for line in rest.splitlines()[: rest.count("\n")]]
        assert process.returncode == -signal.SIGKILL
        replicas = decode(path.read_bytes()).endpoints[f"w{round_}"]
        assert [replicas.get(f"w{round_}-{n}") for n in acknowledged] == ["http://127.0.0.1:1"] * len(acknowledged)
        assert len(replicas) - len(acknowledged) in (0, 1)
        routing.change(lambda table: Table(revision=table.revision))
    assert {p.name for p in tmp_path.iterdir()} <= {"table.json", "table.json.lock", "table.json.tmp"}


def test_a_reader_never_sees_half_a_table(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    routing = RoutingFile(path, NOWHERE)
    routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1"))
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            routing.change(lambda table, n=n: with_endpoint(table, "d", "r", f"http://h:{n}"))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = [decode(path.read_bytes()).revision for _ in range(2000)]
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    "damage", [b"{", b'{"revision": "x"}', b"\xff\xfe", b"[]", b'{"routes": {"a": {}}}', b"\0" * 64]
)
def test_a_damaged_file_is_put_aside_and_read_as_empty(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "table.json"
    routing = RoutingFile(path, NOWHERE)
    path.write_bytes(damage)
    assert routing.read() == Table()
    path.write_bytes(damage)
    assert routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1")).revision == 1
    assert [(tmp_path / f"table.json.bad-{n}").read_bytes() for n in (1, 2)] == [damage, damage]


def test_a_table_of_a_newer_nexusctl_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(encode(Table(format=2)))
    before = path.read_bytes()
    routing = RoutingFile(path, NOWHERE)
    with pytest.raises(Conflict, match="format 2"):
        routing.read()
    with pytest.raises(Conflict):
        routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1"))
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    routing = RoutingFile(tmp_path / "file" / "table.json", NOWHERE)
    with pytest.raises(MachineError, match="lock"):
        routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1"))
    (tmp_path / "table.json").mkdir()
    with pytest.raises(MachineError, match="read"):
        RoutingFile(tmp_path / "table.json", NOWHERE).read()


def test_no_write_leaves_the_file_itself_untouched(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    routing = RoutingFile(path, NOWHERE)
    routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1"))
    before = os.stat(path)
    routing.change(lambda table: with_endpoint(table, "d", "r", "http://h:1"))
    after = os.stat(path)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[bytes]]]:
    """A server that is no gateway: answers every connection with the last element of a list, or never."""
    answers: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            if answers:
                connection.recv(65536)
                connection.sendall(answers[-1])
                connection.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", answers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"SSH-2.0-x\r\n", b""],
)
def test_something_else_on_the_port_is_no_gateway(
    tmp_path: Path, stranger: tuple[str, list[bytes]], answer: bytes
) -> None:
    url, answers = stranger
    answers.append(answer)
    assert RoutingFile(tmp_path / "table.json", url).in_flight("r") is None


def test_a_gateway_too_busy_to_answer_may_have_requests_open(
    tmp_path: Path, stranger: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_ctl.routing.file._ANSWER_SECONDS", 0.05)
    assert RoutingFile(tmp_path / "table.json", stranger[0]).in_flight("r") == 1


def test_waiting_for_a_gateway_that_is_not_there_ends_at_the_deadline(tmp_path: Path) -> None:
    assert not RoutingFile(tmp_path / "table.json", NOWHERE).wait_loaded(SystemClock(), 0.05)


def under(folder: Path, stack: str) -> RoutingFile:
    return RoutingFile(folder / f"{stack}.json", NOWHERE, shared=folder / "table.json")


def row(table: Table) -> Table:
    return with_endpoint(table, "d", "r", "http://h:1")


def test_stacks_of_one_folder_have_a_table_each(tmp_path: Path) -> None:
    assert under(tmp_path, "one").change(row).endpoints == {"d": {"r": "http://h:1"}}
    assert under(tmp_path, "two").read() == Table()
    assert not (tmp_path / "table.json").exists()


def test_the_first_to_write_takes_over_what_stacks_once_shared(tmp_path: Path) -> None:
    """A gateway that was started then goes on following the file that it was told."""
    shared, (one, two) = tmp_path / "table.json", (under(tmp_path, "one"), under(tmp_path, "two"))
    shared.write_bytes(encode(Table(revision=7, endpoints={"d": {"r": "http://h:1"}})))
    assert one.read() == two.read()
    assert not shared.is_symlink(), "reading moves nothing"
    assert one.has_shared()
    assert two.has_shared()
    assert one.change(row).revision == 7
    assert shared.resolve() == tmp_path / "one.json"
    assert one.change(lambda table: with_endpoint(table, "d", "r", "http://h:2")).revision == 8
    assert decode(shared.read_bytes()) == one.read()
    assert two.read() == Table()
    assert two.change(row).revision == 1
    assert (one.has_shared(), two.has_shared()) == (True, False)
    assert decode(shared.read_bytes()).revision == 8


def test_a_take_over_that_was_killed_halfway_is_ended_by_the_next_write(tmp_path: Path) -> None:
    shared, one = tmp_path / "table.json", under(tmp_path, "one")
    shared.write_bytes(encode(Table(revision=7)))
    (tmp_path / "one.json").write_bytes(shared.read_bytes())
    (tmp_path / "table.json.link").symlink_to("nowhere")
    assert one.has_shared()
    one.change(row)
    assert decode(shared.read_bytes()).revision == 8
    assert not (tmp_path / "table.json.link").is_symlink()


def test_a_shared_table_that_somebody_wrote_anew_is_left_alone(tmp_path: Path) -> None:
    shared, one = tmp_path / "table.json", under(tmp_path, "one")
    one.change(row)
    shared.write_bytes(b"theirs")
    assert not one.has_shared()
    one.change(lambda table: with_endpoint(table, "d", "r", "http://h:2"))
    assert shared.read_bytes() == b"theirs"


def test_a_damaged_shared_table_is_put_aside_by_who_takes_it_over(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_bytes(b"{")
    assert under(tmp_path, "one").change(row).revision == 1
    assert (tmp_path / "one.json.bad-1").read_bytes() == b"{"
    assert (tmp_path / "table.json").resolve() == tmp_path / "one.json"

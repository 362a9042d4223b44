"""One writer per state directory, whatever dies: real processes, real kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexus_ctl.clock import SystemClock
from nexus_ctl.errors import LockBusy, MachineError
from nexus_ctl.store.lock import StateLock
from tests.fakes.clock import FakeClock

HOLD = """
import subprocess, sys
from pathlib import Path
from nexus_ctl.clock import SystemClock
from nexus_ctl.store.lock import StateLock
with StateLock(Path(sys.argv[1]), "nexusctl serve", SystemClock()).acquire():
    child = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""

COUNT = """
import sys, time
from pathlib import Path
from nexus_ctl.clock import SystemClock
from nexus_ctl.store.lock import StateLock
state = Path(sys.argv[1])
with StateLock(state, "nexusctl apply", SystemClock()).acquire(timeout=100):
    (state / "inside").touch(exist_ok=False)
    seen = int((state / "count").read_text())
    (state / "count").write_text(str(seen + 1))
    (state / "inside").unlink()
"""


def start(script: str, state: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_busy_lock_names_its_holder(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(LockBusy) as caught, StateLock(tmp_path, "nexusctl apply", SystemClock()).acquire():
                pytest.fail("two holders")
            for part in (f"pid {holder.pid} ", f"@{os.uname().nodename}", "since 20", "nexusctl serve"):
                assert part in caught.value.detail
            assert "--lock-timeout" in caught.value.hint
        finally:
            os.kill(child, 9)
            holder.kill()


def test_kill_9_frees_the_lock_even_though_a_child_lives(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == holder.pid
        try:
            with StateLock(tmp_path, "nexusctl apply", SystemClock()).acquire() as mine:
                assert json.loads((tmp_path / "lock.json").read_text())["pid"] == mine.pid == os.getpid()
        finally:
            os.kill(child, 9)


def test_fifty_at_once_go_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    running = [start(COUNT, tmp_path) for _ in range(50)]
    outcomes = []
    for process in running:
        with process:
            process.communicate()
            outcomes.append(process.returncode)
    assert outcomes == [0] * 50
    assert (tmp_path / "count").read_text() == "50"


def test_waiting_ends_at_the_timeout(tmp_path: Path) -> None:
    clock = FakeClock()
    with StateLock(tmp_path, "first", clock).acquire():
        with pytest.raises(LockBusy), StateLock(tmp_path, "second", clock).acquire(timeout=30):
            pytest.fail("two holders")
        assert 30 <= clock.monotonic() < 31


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    first = StateLock(tmp_path, "first", FakeClock()).acquire()
    first.__enter__()

    class LettingGo(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            first.__exit__(None, None, None)

    with StateLock(tmp_path, "second", LettingGo()).acquire(timeout=30) as holder:
        assert holder.command == "second"


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    lock = StateLock(tmp_path, "apply", FakeClock())
    with pytest.raises(RuntimeError), lock.acquire():
        raise RuntimeError
    with lock.acquire():
        pass


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}'])
def test_a_broken_note_decides_nothing(tmp_path: Path, note: str) -> None:
    lock = StateLock(tmp_path, "apply", FakeClock())
    (tmp_path / "lock.json").write_text(note)
    with lock.acquire():
        (tmp_path / "lock.json").write_text(note)
        with pytest.raises(LockBusy, match="a process that has not said its name"), lock.acquire():
            pytest.fail("two holders")


def test_a_note_of_the_dead_is_not_believed(tmp_path: Path) -> None:
    lock = StateLock(tmp_path, "apply", FakeClock())
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    with lock.acquire():
        note = json.loads((tmp_path / "lock.json").read_text()) | {"pid": dead.pid}
        (tmp_path / "lock.json").write_text(json.dumps(note))
        with pytest.raises(LockBusy, match="a process that has not said its name"), lock.acquire():
            pytest.fail("two holders")


def test_an_impossible_directory_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(MachineError, match="Not a directory"),
        StateLock(tmp_path / "file" / "x", "a", FakeClock()).acquire(),
    ):
        pytest.fail("no lock there")


def test_a_note_that_cannot_be_written_is_a_machine_error_and_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock.json").mkdir()
    lock = StateLock(tmp_path, "apply", FakeClock())
    with pytest.raises(MachineError, match="Is a directory"), lock.acquire():
        pytest.fail("nobody could say who holds it")
    (tmp_path / "lock.json").rmdir()
    with lock.acquire():
        pass


def test_a_holder_of_another_user_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("os.kill", forbidden)
    monkeypatch.setattr("getpass.getuser", nameless)
    lock = StateLock(tmp_path, "apply", FakeClock())
    with lock.acquire(), pytest.raises(LockBusy, match=rf"pid {os.getpid()} \({os.getuid()}@"), lock.acquire():
        pytest.fail("two holders")


def serving(state: Path, clock: FakeClock | None = None) -> StateLock:
    return StateLock(state, "nexusctl serve", clock or FakeClock(), gives_way=True)


def test_who_gives_way_is_waited_for_and_hears_of_it(tmp_path: Path) -> None:
    """A command has its turn without having asked to wait; the waiter is forgotten with its lock."""
    daemon = serving(tmp_path)
    heard: list[bool] = []

    class Letting(FakeClock):
        """While the command sleeps, the daemon sees that somebody waits, and lets go."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            heard.append(daemon.wanted())
            held.close()

    held = ExitStack()
    held.enter_context(daemon.acquire())
    assert not daemon.wanted()
    with StateLock(tmp_path, "nexusctl apply", Letting()).acquire():
        assert heard == [True]
        assert not daemon.wanted(), "who has its turn waits no longer"
        with pytest.raises(LockBusy, match="nexusctl apply"), daemon.acquire():
            pytest.fail("two holders")


def test_who_gives_way_never_waits_nor_makes_others_wait(tmp_path: Path) -> None:
    with StateLock(tmp_path, "nexusctl apply", FakeClock()).acquire():
        with pytest.raises(LockBusy), serving(tmp_path).acquire():
            pytest.fail("two holders")
        assert not serving(tmp_path).wanted()


def test_a_turn_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    impatient = StateLock(tmp_path, "nexusctl apply", clock)
    with serving(tmp_path).acquire(), pytest.raises(LockBusy, match="nexusctl serve"), impatient.acquire():
        pytest.fail("two holders")
    assert 60 <= clock.monotonic() < 61


def test_those_who_give_way_do_not_wake_each_other(tmp_path: Path) -> None:
    """Two daemons in one folder would look in turns without end."""
    command, daemon = StateLock(tmp_path, "nexusctl apply", FakeClock()), serving(tmp_path)
    with command.acquire():
        before = daemon.taken()
    with daemon.acquire(), pytest.raises(LockBusy):
        serving(tmp_path).acquire().__enter__()
    assert daemon.taken() == before
    with command.acquire():
        assert daemon.taken() != before


@pytest.mark.parametrize(
    "note", ['{"pid": 1}', "[]", '{"pid": "x", "user": "", "host": "", "command": "", "since": ""}']
)
def test_a_note_that_is_none_counts_as_none(tmp_path: Path, note: str) -> None:
    (tmp_path / "lock.json").write_text(note)
    assert serving(tmp_path).taken() == 0
    with StateLock(tmp_path, "nexusctl apply", FakeClock()).acquire():
        assert serving(tmp_path).taken() == 1


def test_each_taking_of_the_lock_shows(tmp_path: Path) -> None:
    lock = StateLock(tmp_path, "nexusctl apply", FakeClock())
    assert lock.taken() == 0
    with lock.acquire():
        first = lock.taken()
    with lock.acquire():
        assert lock.taken() > first > 0

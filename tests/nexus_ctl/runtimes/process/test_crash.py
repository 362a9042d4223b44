"""kill -9 at every step: of who creates, starts and removes, and of the supervisor. Each time the next one converges.

A step is an audit event of the interpreter (a file opened, renamed, removed; a directory made; a process started; a
lock taken): the forked victim kills itself at its n-th one, for every n there is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_ctl.errors import NotFound, Refused
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.runtimes.process import supervisor
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from tests.contracts.runtime_suite import SERVE, until
from tests.nexus_ctl.runtimes.process.conftest import a_replica, get, open_runtime, processes_of
from tests.nexus_ctl.runtimes.process.test_process_runtime import answering

STEPS = ("open", "os.", "fcntl.", "subprocess.", "shutil.", "socket.", "ctypes.", "signal.")


def dies_at(step: int, act: Callable[[], None]) -> bool:
    """Runs the act in a forked process that kills itself at that step; False when the act was over before it."""
    victim = os.fork()
    if victim == 0:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(STEPS) and event != "os.kill":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            act()
        finally:
            left = sys.maxsize
            os._exit(0)
    _, status = os.waitpid(victim, 0)
    return os.WIFSIGNALED(status)


def ensure_running(runtime: ProcessRuntime) -> None:
    """What a reconciler does: looks, then makes what is missing."""
    seen = runtime.inspect("r")
    if seen is None:
        runtime.create(a_replica(*SERVE))
    runtime.start("r", {})


def clear(runtime: ProcessRuntime, state: Path) -> None:
    """Stops and removes; nothing may be left."""
    runtime.stop("r", 30)
    runtime.remove("r")
    until(lambda: not processes_of(state))


def test_killed_while_creating_and_starting(state: Path) -> None:
    runtime, step = open_runtime(state), 0
    while dies_at(step, lambda: ensure_running(open_runtime(state))):
        seen = runtime.inspect("r")
        assert seen is None or (seen.owner is not None and seen.state is not ReplicaState.DEAD), step
        ensure_running(runtime)
        assert get(answering(runtime)) == "ok"
        assert len(processes_of(state)) == 2, step
        assert [path.name for path in (state / "replicas").iterdir() if path.name != ".lock"] == ["r"]
        clear(runtime, state)
        step += 1
    assert step > 15
    clear(runtime, state)


def test_killed_while_removing(state: Path) -> None:
    runtime, step = open_runtime(state), 0
    runtime.create(a_replica("out", "words"))
    while dies_at(step, lambda: open_runtime(state).remove("r")):
        try:
            runtime.remove("r")
        except NotFound:
            assert runtime.list() == ()
        runtime.create(a_replica("out", "words"))
        assert [path.name for path in (state / "replicas").iterdir() if path.name != ".lock"] == ["r"]
        step += 1
    assert step > 5
    assert runtime.list() == ()


def test_killed_while_stopping(state: Path) -> None:
    runtime, step = open_runtime(state), 0
    ensure_running(runtime)
    while dies_at(step, lambda: open_runtime(state).stop("r", 30)):
        runtime.stop("r", 30)
        assert runtime.list()[0].state is ReplicaState.EXITED
        assert processes_of(state) == []
        runtime.start("r", {})
        step += 1
    assert step > 3
    assert runtime.list()[0].state is ReplicaState.EXITED


def test_the_supervisor_killed_at_every_step(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = open_runtime(state)
    orders: list[bytes] = []
    monkeypatch.setattr(
        "nexus_ctl.runtimes.process.launching.supervise", lambda _, order: orders.append(json.dumps(order).encode())
    )
    replica = a_replica("exit", "0")
    runtime.create(replica)
    runtime.start("r", {})
    monkeypatch.undo()

    def supervise(order: bytes) -> None:
        """As `launching.supervise` starts it, but in this process; the daemon it forks counts the steps on."""
        _, said_in = os.pipe()
        order_out, order_in = os.pipe()
        os.write(order_in, order)
        os.close(order_in)
        os.dup2(order_out, 0)
        os.dup2(said_in, 1)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as in a process of its own
        supervisor.main(str(state / "replicas/r"))

    for step in range(200):
        died = dies_at(step, lambda: supervise(orders[0]))
        until(lambda: not processes_of(state))
        until(lambda: runtime.list()[0].state is not ReplicaState.RUNNING)
        (seen,) = runtime.list()
        whole = seen.exit is not None and seen.exit.code == 0
        if seen.state is ReplicaState.EXITED and whole and not died:
            break
        assert seen.state in (ReplicaState.CREATED, ReplicaState.EXITED), step
    assert step > 20
    runtime.start("r", {})
    until(lambda: (exited := runtime.list()[0].exit) and exited.code == 0)
    try:
        runtime.remove("r")
    except Refused:  # the supervisor may be writing its last word
        runtime.stop("r", 30)
        runtime.remove("r")
    assert runtime.list() == ()

"""What a person sees of crash loops and failed roll-outs, and the way out of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_ctl.resources.replica import Exit
from nexus_ctl.store.lock import StateLock
from tests.fakes.workspace import CommandLine

Write = Callable[..., Path]
OOM = Exit(137, 9, out_of_memory=True)
BAD = {"contextSize: 2048": "contextSize: 900000"}


@pytest.fixture
def looping(nexusctl: CommandLine) -> CommandLine:
    """The demo, whose engine ran out of memory four times in a row and waits for its next try."""
    nexusctl.ok("apply", "--yes")
    world = nexusctl.world
    world.runtime.exits["chat"] = OOM
    [name] = [one for one in world.runtime.things if "chat" in one]
    world.runtime.things[name].lines.append("ggml_gallocr_reserve: failed")
    world.runtime.crash(name, OOM)
    for _ in range(3):
        assert nexusctl("apply", "--yes").code == 4
        world.clock.advance(world.store.backoffs.all("demo")[name].seconds_left(world.clock.now()))
    nexusctl("apply", "--yes")
    return nexusctl


@pytest.fixture
def reverted(nexusctl: CommandLine, write: Write) -> CommandLine:
    """The demo after a context that the engine cannot have, gone back from."""
    nexusctl.world.runtime.exits_on["900000"] = OOM
    nexusctl.ok("apply", "--yes")
    nexusctl.world.clock.advance(60)
    nexusctl.ok("apply", "--yes")
    write(**BAD)
    done = nexusctl("apply", "--yes")
    assert done.code == 4
    assert "deployment/chat reverted (revision 2 did not become ready: out-of-memory: " in done.out
    assert "back to revision 3)" in done.out
    return nexusctl


SAID = "restarted 4 times, next try in {} s, because it ran out of memory: lower contextSize"


def test_status_describe_and_plan_say_how_often_when_next_and_why(looping: CommandLine) -> None:
    [row] = looping.world.store.backoffs.all("demo").values()
    said = SAID.format(round(row.seconds_left(looping.world.clock.now())))
    assert said in looping.ok("plan").out
    status = looping.ok("status")
    assert said in status.out
    assert "RESTARTS" in status.out
    assert "4 (" in status.out
    described = looping.ok("describe", "deployment/chat").out
    assert said in described
    assert "ggml_gallocr_reserve: failed" not in described, "those were the words of another make of it"
    assert "CrashLoop" in described
    [replica] = [r for r in looping.ok("status", "-o", "json").json()["replicas"] if "chat" in r["name"]]
    assert (replica["lastEnd"]["inARow"], replica["lastEnd"]["outOfMemory"]) == (5, True)


def test_reconcile_tries_at_once(looping: CommandLine) -> None:
    held = looping("apply", "--yes")
    assert held.code == 4
    assert "crash_loop" in held.out
    looping.world.runtime.exits.clear()
    done = looping.ok("reconcile", "deployment/chat", "--yes")
    assert "deployment/chat restarted" in done.out
    assert looping.world.answers()
    assert looping("reconcile", "deployment/nobody").code == 2


def test_a_held_wish_is_told_everywhere_with_the_way_out(reverted: CommandLine) -> None:
    out = "nexusctl reconcile deployment/chat"
    again = reverted("apply", "--yes")
    assert again.code == 4
    assert "deployment/chat blocked (failed_before: revision 2 did not become ready" in again.out
    assert out in reverted.ok("plan").out
    assert reverted("plan", "--detailed-exitcode").code == 2
    status = reverted.ok("status").out
    assert "Failed(RolledBack)" in status
    assert out in status
    assert out in reverted.ok("describe", "deployment/chat").out
    history = reverted.ok("history", "deployment/chat").out
    assert "Reverted" in history
    assert "out-of-memory" in history
    assert "went back: revision 2 did not become ready" in history
    assert [one["reason"] for one in reverted.ok("events", "-o", "json").json() if one["type"] == "Warning"] == [
        "Reverted",
        "Blocked",
    ]


def test_a_held_wish_is_tried_again_on_request_and_by_rollback(reverted: CommandLine) -> None:
    assert "deployment/chat reverted" in reverted("reconcile", "deployment/chat", "--yes").out
    del reverted.world.runtime.exits_on["900000"]
    assert "deployment/chat replaced" in reverted.ok("reconcile", "--yes").out
    assert reverted("plan", "--detailed-exitcode").code == 0


def test_a_rollback_to_what_failed_is_a_wish_of_its_own(reverted: CommandLine) -> None:
    del reverted.world.runtime.exits_on["900000"]
    number = reverted.ok("history", "deployment/chat", "-o", "json").json()[0]["revision"]
    done = reverted.ok("rollback", "deployment/chat", "--to-revision", str(number), "--yes")
    assert "deployment/chat replaced" in done.out


def test_one_serve_at_a_time(nexusctl: CommandLine) -> None:
    first = StateLock(nexusctl.folder / "state", "nexusctl serve", nexusctl.world.clock, name="serve")
    with first.acquire():
        done = nexusctl("serve")
    assert done.code == 7
    assert "nexusctl serve" in done.err

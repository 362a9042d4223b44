"""What somebody sees on stderr while a plan is carried out: rows on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from nexus_ctl.cli.progress import PLAIN_SECONDS, live, told_plainly
from nexus_ctl.execution.report import Began, Fetching, Outcome, Status
from nexus_ctl.planning.action import StartReplica, StopReplica
from nexus_ctl.planning.plan import Node
from nexus_ctl.resources.artifact import Progress
from nexus_ctl.resources.envelope import Ref
from tests.fakes.clock import FakeClock

START = Node(1, Ref("Deployment", "chat"), StartReplica("demo-chat-0"), "not_found")
STOP = Node(2, Ref("Deployment", "chat"), StopReplica("demo-chat-1", 10.0), "orphan")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stands for stderr from here on; no fixture, for pytest puts its own capture in place between set-up and test."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    for name, value in {"TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    return shown


def words(terminal: Terminal) -> str:
    """What was drawn, without the codes that move the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_a_terminal_keeps_a_line_of_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with live(FakeClock()) as report:
        report(Began(START))
        report(Fetching(START, Progress("download", 5, 10)))
        report(Outcome(START, Status.DONE, note="[it] waited"))
        report(Began(STOP))
        report(Outcome(STOP, Status.FAILED))
    told = words(terminal)
    assert "deployment/chat: starting demo-chat-0, done\n" in told
    assert "deployment/chat: [it] waited\n" in told
    assert "deployment/chat: stopping demo-chat-1, failed\n" in told


def test_a_terminal_says_nothing_of_what_never_began_or_was_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with live(FakeClock()) as report:
        report(Began(STOP))
        report(Outcome(STOP, Status.SKIPPED))
        report(Outcome(START, Status.SKIPPED, note="#2 was skipped"))
        report(Began(START))
        report(Outcome(START, Status.DONE))
    told = words(terminal)
    assert "demo-chat-0, done" in told
    assert "was skipped" not in told
    assert "demo-chat-1," not in told


def test_elsewhere_it_is_a_line_per_beginning_and_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with live(FakeClock()) as report:
        report(Began(START))
        report(Outcome(START, Status.DONE))
        report(Outcome(STOP, Status.FAILED))
        report(Outcome(STOP, Status.DONE, note="it was gone"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "deployment/chat: starting demo-chat-0",
        "deployment/chat: failed stopping demo-chat-1",
        "deployment/chat: it was gone",
    ]


def test_elsewhere_a_download_is_told_of_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    with live(clock) as report:
        for _ in range(3):
            report(Fetching(START, Progress("download", 5, 10)))
            clock.advance(PLAIN_SECONDS / 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("deployment/chat: downloading") for line in lines)


def test_a_command_without_a_plan_tells_of_a_model_that_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    tell = told_plainly(clock)
    for _ in range(2):
        tell("qwen", Progress("verify", 5, 10))
        assert capsys.readouterr().err == ""
        clock.advance(PLAIN_SECONDS / 2)
    tell("qwen", Progress("verify", 5, 10))
    assert capsys.readouterr().err.startswith("model/qwen: verifying")

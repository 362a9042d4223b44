"""Ctrl-C on a running apply: the first lets what is in flight finish, the second leaves at once (R11 f)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.workspace import CommandLine

SCRIPT = """
import os, sys, time
from pathlib import Path
from tests.fakes.workspace import FakeWorkspace
from tests.fakes.world import FakeWorld
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run

world, folder = FakeWorld(), Path.cwd()
start = world.runtime.start

def slow_start(name, secrets):
    print("in flight", flush=True)
    while not (folder / "go").exists():
        time.sleep(0.01)
    start(name, secrets)
    print("finished", flush=True)

world.runtime.start = slow_start
words = ("apply", "--yes")
code = run(words, Invocation(words, lambda stack, command: FakeWorkspace(world, folder, stack, command, None)))
sys.exit(code)
"""


@pytest.fixture
def apply(nexusctl: CommandLine, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[3]
    environ = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in flight\n"
        yield process
        process.kill()


def until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    while word not in process.stderr.readline():
        assert process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_finishes_what_is_in_flight_and_starts_nothing_new(
    apply: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    apply.send_signal(number)
    until(apply, "finishing what is in flight")
    (tmp_path / "go").touch()
    out, err = apply.communicate(timeout=60)
    assert apply.returncode == 130
    assert out.startswith("finished\n")
    assert "deployment/chat skipped (interrupted)" in out
    assert "error[interrupted]" in err


def test_the_second_leaves_at_once(apply: subprocess.Popen[str]) -> None:
    apply.send_signal(signal.SIGINT)
    until(apply, "finishing what is in flight")
    apply.send_signal(signal.SIGINT)
    out, _ = apply.communicate(timeout=60)
    assert apply.returncode == 130
    assert "finished" not in out

"""On a real terminal (a pseudo one): colour, rows that redraw, and a question that is asked."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from tests.fakes.workspace import FakeWorkspace
from tests.fakes.world import FakeWorld
from nexus_ctl.cli.invocation import Invocation
from nexus_ctl.cli.main import run

world, folder = FakeWorld(), Path.cwd()
words = ("apply",)
sys.exit(run(words, Invocation(words, lambda stack, command: FakeWorkspace(world, folder, stack, command, None))))
"""


def on_a_terminal(folder: Path, typed: str, **environ: str) -> tuple[int, str]:
    """Exit code and everything the terminal was sent."""
    ours, theirs = pty.openpty()
    root = str(Path(__file__).parents[3])
    env = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "TERM": "xterm", "COLUMNS": "120", **environ}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen: list[bytes] = []

        def read() -> None:
            try:
                while data := os.read(ours, 65536):
                    seen.append(data)
            except OSError:  # what Linux says when the other end has closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        os.write(ours, typed.encode())
        code = process.wait(timeout=60)
        reader.join(timeout=60)
    os.close(ours)
    return code, b"".join(seen).decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("nexusctl")
def test_a_yes_is_asked_for_and_progress_stays_as_lines(tmp_path: Path) -> None:
    code, text = on_a_terminal(tmp_path, "y\n")
    assert code == 0, text
    assert "\x1b[32m+  \x1b[0m Deployment/chat" in text
    assert "Carry this out? [y/N]:" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"\rdeployment/chat: starting demo-chat-0-[0-9a-f]{8}, done$", plain, re.MULTILINE)
    assert "deployment/chat created" in plain


@pytest.mark.usefixtures("nexusctl")
def test_a_no_does_nothing(tmp_path: Path) -> None:
    code, text = on_a_terminal(tmp_path, "n\n", NO_COLOR="1")
    assert code == 6
    assert "error[not-confirmed]: a confirmation is missing\n  not confirmed; nothing was done\n" in text
    assert "\x1b[3" not in text

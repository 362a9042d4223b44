"""Runs a build's program as a bounded child: low priority, little memory, dead when its parent is.

`run` is called by `build`; the child goes through this module's own main, which bounds itself and becomes the program.
The rule kept: whatever ends the parent (an exception out of `tick`, a kill) ends the child, so that a lock that died
with its holder never lets two write.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

LOOK_SECONDS = 0.1
NICENESS = 10
_PR_SET_PDEATHSIG = 1


def run(command: Sequence[str], *, memory_bytes: int, tick: Callable[[], None]) -> str:
    """Run to the end; "" when the program succeeded, else the last of what it said.

    `tick` is called several times a second; what it raises ends the child. `memory_bytes` bounds what the program may
    allocate; files that it maps do not count.
    """
    whole = [sys.executable, "-m", __name__, str(os.getpid()), str(memory_bytes), *command]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as child,
    ):
        try:
            while not _ended(child):
                tick()
        except BaseException:
            child.kill()
            raise
        if child.returncode == 0:
            return ""
        said.seek(max(said.seek(0, os.SEEK_END) - 4096, 0))
        last = said.read().decode(errors="replace").strip().splitlines()[-2:]
        return "; ".join([f"it ended with {child.returncode}", *last])


def _ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def main(parent: str, memory_bytes: str, *command: str) -> None:
    """Bound this process and become `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.nice(NICENESS)
    limit = int(memory_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])

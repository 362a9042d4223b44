"""Programs as they are run by people: a child process, and what the kernel says that it cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

NEXUSCTL = str(Path(sys.executable).with_name("nexusctl"))


@dataclass(frozen=True)
class Spent:
    """What one run cost. CPU is user and system time of the child and of the children it waited for."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


def spend(words: Sequence[str], cwd: Path | None = None, environ: Mapping[str, str] = os.environ) -> Spent:
    """Run a command that must succeed; its output is dropped. Raises RuntimeError with what it said."""
    with tempfile.TemporaryFile() as out:
        start = perf_counter()
        process = subprocess.Popen(words, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            raise RuntimeError(f"{' '.join(words)} → {process.returncode}\n{out.read().decode(errors='replace')}")
    return Spent(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def cpu_milliseconds(commands: Mapping[str, Sequence[str]], rounds: int, cwd: Path | None = None) -> dict[str, float]:
    """Median CPU of each command, in milliseconds; the commands take turns, so that a noisy neighbour hits all."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for words in commands.values():
        spend(words, cwd)  # warm: byte code, page cache
    for _ in range(rounds):
        for name, words in commands.items():
            taken[name].append(spend(words, cwd).cpu_seconds * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}

"""What processes use of the machine, measured between two looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from nexus_ctl.clock import Clock
from nexus_ctl.views.top import Usage


def measure(pids: Sequence[int], seconds: float, clock: Clock) -> Mapping[int, Usage]:
    """CPU (cores) over `seconds` and resident memory, by pid, children included; a process that ended is left out."""
    import psutil

    def look(pid: int) -> tuple[float, int]:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        times = [one.cpu_times() for one in family]
        return sum(time.user + time.system for time in times), sum(one.memory_info().rss for one in family)

    before = {}
    for pid in pids:
        with suppress(psutil.Error):
            before[pid] = look(pid)[0]
    began = clock.monotonic()
    clock.sleep(seconds)
    elapsed = max(clock.monotonic() - began, 1e-9)
    found = {}
    for pid, cpu_before in before.items():
        with suppress(psutil.Error):
            cpu, rss = look(pid)
            found[pid] = Usage(max(0.0, cpu - cpu_before) / elapsed, rss)
    return found

"""Limits of an ordinary process: whole cores by affinity, private memory by RLIMIT_DATA.

What they are not: an affinity reserves nothing (others may use the same cores; the least used ones are taken), and
RLIMIT_DATA makes an allocation fail instead of killing (the engine then ends by its own error). It counts private
writable memory, so the mapped weights are free, as `Limits` means it. A plan reads `Capabilities.fractional_cpu`.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nexus_ctl.errors import Refused
from nexus_ctl.resources.launch import Limits


def fault(limits: Limits) -> str:
    """Why these limits cannot be had here; empty when they can."""
    cores, there = limits.cpu_cores, len(os.sched_getaffinity(0))
    if cores is not None and (cores != int(cores) or cores < 1):
        return f"{cores:g} cores: a process is pinned to whole cores; give a whole number, or use Docker"
    if cores is not None and cores > there:
        return f"{cores:g} cores asked, {there} there"
    return ""


def choose_cores(limits: Limits, taken: Iterable[int]) -> list[int]:
    """The cores to run on, those that fewest others are pinned to first; empty is all. `taken` repeats shared ones."""
    if limits.cpu_cores is None:
        return []
    pinned = Counter(taken)
    return sorted(sorted(os.sched_getaffinity(0), key=lambda core: (pinned[core], core))[: int(limits.cpu_cores)])


def apply(pid: int, limits: Limits, cores: list[int]) -> None:
    """Gives the running process `pid` these limits, all its threads, and reads them back. Raises Refused."""
    used = data_bytes(pid)
    if limits.memory_bytes is not None and limits.memory_bytes < used:
        raise Refused(f"{used} bytes are in use already, {limits.memory_bytes} would be allowed")
    soft = resource.RLIM_INFINITY if limits.memory_bytes is None else limits.memory_bytes
    wanted_cores = set(cores) or os.sched_getaffinity(0)
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):  # a thread may end at any moment
                os.sched_setaffinity(int(thread), wanted_cores)
        got = (resource.prlimit(pid, resource.RLIMIT_DATA)[0], os.sched_getaffinity(pid))
    except OSError as error:
        raise Refused(f"the limits of process {pid} could not be changed: {error}") from error
    if got != (soft, wanted_cores):
        raise Refused(f"process {pid} has {got} where {(soft, wanted_cores)} was set")


def data_bytes(pid: int) -> int:
    """What RLIMIT_DATA counts of the process now. Raises Refused when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Refused(f"process {pid} has ended") from error
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:")), 0)

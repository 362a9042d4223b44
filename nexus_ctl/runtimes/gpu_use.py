"""Whose the processes on a GPU are: the driver's account, held against our replicas and what the engine forgot.

A container's process is known by its control group, which ends in the container's id; a plain process by itself or one
of its ancestors. One file or two are read per process that holds GPU memory, whatever the number of replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nexus_ctl.resources.device import DeviceList, GpuUse, Holding
from nexus_ctl.resources.foreign_text import line
from nexus_ctl.resources.replica import ObservedReplica
from nexus_ctl.runtimes.docker.forgotten import CONTAINER_ID, Forgotten

ANCESTORS = 16


def gpu_use(
    devices: DeviceList,
    replicas: Sequence[ObservedReplica],
    forgotten: Callable[[], Iterable[Forgotten]] = tuple,
    proc: Path = Path("/proc"),
) -> GpuUse:
    """The devices with the bytes that each of `replicas` uses of them, and who else holds some.

    `forgotten` is asked only where a container that is none of `replicas` holds memory. Look at the devices first:
    whatever holds memory by then was made before the engine is asked what it knows.
    """
    by_id = {replica.runtime_id: replica.name for replica in replicas if replica.runtime_id}
    by_pid = {replica.pid: replica.name for replica in replicas if replica.pid is not None}
    ours: dict[str, dict[str, int]] = {}
    others: list[Holding] = []
    for device in devices.devices:
        for process in device.processes:
            container = _container(process.pid, proc)
            plain = (by_pid[pid] for pid in _lineage(process.pid, proc) if pid in by_pid)
            name = by_id[container] if container in by_id else next(plain, "")
            if not name:
                program = _program(process.pid, proc)
                others.append(Holding(process.pid, device.short_name, process.used_bytes, program, container))
            elif process.used_bytes is not None:
                used = ours.setdefault(device.id, {})
                used[name] = used.get(name, 0) + process.used_bytes
    unknown = {one.pid for one in forgotten()} if any(one.container_id for one in others) else set()
    return GpuUse(devices, ours, tuple(replace(one, forgotten=one.pid in unknown) for one in others))


def _container(pid: int, proc: Path) -> str:
    """The id of the container a process runs in; "" where it runs in none, or has just ended."""
    with suppress(OSError):
        found = CONTAINER_ID.findall((proc / str(pid) / "cgroup").read_text(encoding="utf-8"))
        return str(found[0]) if found else ""
    return ""


def _program(pid: int, proc: Path) -> str:
    """What a process calls itself, without arguments; "" for one that has just ended."""
    with suppress(OSError):
        return line((proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace"))
    return ""


def _lineage(pid: int, proc: Path) -> Iterator[int]:
    """A process, its parent, and so on."""
    for _ in range(ANCESTORS):
        yield pid
        try:
            text = (proc / str(pid) / "stat").read_text(encoding="utf-8")
        except OSError:
            return
        pid = int(text.rpartition(")")[2].split()[1])
        if pid <= 1:
            return

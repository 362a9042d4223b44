"""Whose the processes on a GPU are: the driver's account, held against our replicas and what the engine forgot.

A container's process is known by its control group, which ends in the container's id; a plain process by itself or one
of its ancestors. One file or two are read per process that holds GPU memory, whatever the number of replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from nexus_ctl.resources.device import DeviceList, GpuUse, Leftover
from nexus_ctl.resources.replica import ObservedReplica
from nexus_ctl.runtimes.docker.forgotten import CONTAINER_ID, Forgotten

ANCESTORS = 16


def gpu_use(devices: DeviceList, replicas: Sequence[ObservedReplica], proc: Path = Path("/proc")) -> GpuUse:
    """The devices with the bytes that each of `replicas` uses of them."""
    by_id = {replica.runtime_id: replica.name for replica in replicas}
    by_pid = {replica.pid: replica.name for replica in replicas if replica.pid is not None}
    ours: dict[str, dict[str, int]] = {}
    for device in devices.devices:
        for process in device.processes:
            name = _owner(process.pid, by_id, by_pid, proc)
            if name is not None and process.used_bytes is not None:
                used = ours.setdefault(device.id, {})
                used[name] = used.get(name, 0) + process.used_bytes
    return GpuUse(devices, ours)


def leftovers(devices: DeviceList, forgotten: Iterable[Forgotten]) -> tuple[Leftover, ...]:
    """What processes of containers that the engine does not know hold of the devices, in the devices' order.

    Look at the devices first: whatever holds memory by then was made before the engine is asked what it knows.
    """
    containers = {one.pid: one.container_id for one in forgotten}
    return tuple(
        Leftover(process.pid, containers[process.pid], device.short_name, process.used_bytes)
        for device in devices.devices
        for process in device.processes
        if process.pid in containers
    )


def _owner(pid: int, by_id: Mapping[str, str], by_pid: Mapping[int, str], proc: Path) -> str | None:
    """The replica a process belongs to; None for somebody else's, or one that has just ended."""
    with suppress(OSError):
        found = CONTAINER_ID.findall((proc / str(pid) / "cgroup").read_text(encoding="utf-8"))
        if found and found[0] in by_id:
            return by_id[found[0]]
    return next((by_pid[one] for one in _lineage(pid, proc) if one in by_pid), None)


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

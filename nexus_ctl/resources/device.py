"""A place that holds models, as a value: a GPU, a slice of one, or the machine's own RAM.

`runtimes.nvml` observes them, placement decides over them, views show them. All sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DeviceKind = Literal["gpu", "mig", "host"]


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that holds memory of a device; `used_bytes` is None where the driver does not tell."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Device:
    """One device at one moment. `id` is its UUID (`GPU-...`, `MIG-...`), or `host`.

    `reserved_bytes` is what the driver keeps for itself: part of the total, never free. `lost` means that the device
    does not answer: then it has no UUID and every number is 0.
    """

    id: str
    name: str
    kind: DeviceKind
    index: int
    total_bytes: int
    free_bytes: int
    used_bytes: int
    reserved_bytes: int = 0
    utilisation: int | None = None
    """Percent of the last moment in which it computed; None when not told."""
    processes: tuple[DeviceProcess, ...] = ()
    parent: str = ""
    """For a MIG slice the UUID of its GPU."""
    compute_capability: str = ""
    lost: bool = False

    @property
    def short_name(self) -> str:
        """As people call it: `gpu0`, `gpu0/MIG-5c6b4bd3` for a slice, `host`."""
        if self.kind == "host":
            return self.id
        return f"gpu{self.index}/{self.id[:12]}" if self.kind == "mig" else f"gpu{self.index}"


@dataclass(frozen=True, slots=True)
class Holding:
    """A process that holds memory of a device and is no running replica of this install.

    `device` is the short name; `used_bytes` is None where the driver does not tell; `program` is the process's name
    without its arguments, which may hold secrets. `container_id` is "" outside of containers, and `forgotten` says that
    the engine does not know (any more) what that id is.
    """

    pid: int
    device: str
    used_bytes: int | None
    program: str = ""
    container_id: str = ""
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class DeviceList:
    """What was found. `reason` says why there are no GPUs (no driver, ...); "" when the driver answered."""

    devices: tuple[Device, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """The devices, and how much of each nexusctl's own replicas use by the driver's account: device id → replica name →
    bytes. Where the driver does not tell a process's share, the replica is not in it. `holders` are all others."""

    devices: DeviceList = DeviceList(())
    ours: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    holders: tuple[Holding, ...] = ()

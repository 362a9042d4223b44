"""The machine as placement sees it: its devices, what our replicas hold of them, and what else does.

Filled by one look at the world, read by everything that plans memory. What a running replica holds is the larger of
what was counted on for it (its label) and what the driver says it uses, so that a wrong estimate is not repeated and a
replica that still loads is not overlooked. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nexus_ctl.planning.action import CreateReplica, RemoveReplica
from nexus_ctl.planning.change import Change, on_the_way
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.device import Device, GpuUse, Holding
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.placement import Room
from nexus_ctl.resources.stack import PlacementSettings


@dataclass(frozen=True, slots=True)
class Machine:
    """One observation. `placed` are the running replicas of this install, of every stack, by name."""

    gpus: GpuUse = GpuUse()
    free_bytes: int | None = None
    """Of the machine's RAM; None when unknown."""
    placed: Mapping[str, Placed] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()
    """Names of the replicas that belong to this stack."""

    def held_by(self, replica: str) -> Mapping[str, int]:
        """Bytes by place of one running replica; nothing for one that does not run."""
        if replica not in self.placed:
            return {}
        held = Counter(self.placed[replica].claims)
        for device, used in self.gpus.ours.items():
            if replica in used:
                held[device] = max(held[device], used[replica])
        return held

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes by place of this stack's running replicas together."""
        return self._sum(self.ours)

    def name_of(self, place: str) -> str:
        """A place as people call it; the id itself where nobody knows it."""
        return next((d.short_name for d in self.gpus.devices.devices if d.id == place), place)

    def used(self, device: Device) -> int:
        """Bytes of a device in use: what others take, and what our replicas were promised or took."""
        return self.others(device) + sum(self.held_by(replica).get(device.id, 0) for replica in self.placed)

    def others(self, device: Device) -> int:
        """Bytes of a device that are not this install's, the driver's own among them."""
        told = self.gpus.ours.get(device.id, {})
        ours = sum(told.values())
        if any(process.used_bytes is None for process in device.processes):
            untold = sum(placed.claims.get(device.id, 0) for name, placed in self.placed.items() if name not in told)
            ours += min(untold, max(0, device.used_bytes - ours))
        return max(0, device.used_bytes + device.reserved_bytes - ours)

    def holders_of(self, device: Device) -> tuple[Holding, ...]:
        """Who else holds memory of a device, the most first."""
        here = (one for one in self.gpus.holders if one.device == device.short_name)
        return tuple(sorted(here, key=lambda one: (-(one.used_bytes or 0), one.pid)))

    def rooms(self, settings: PlacementSettings) -> tuple[Room, ...]:
        """What each place offers this stack. The machine's RAM is one of them where its free part is known."""
        strangers = self._sum(self.placed.keys() - self.ours)
        found = [
            Room(
                id=device.id,
                total_bytes=device.total_bytes,
                budget_bytes=min(_budget(device, settings), device.total_bytes),
                others_bytes=self.others(device) + strangers.get(device.id, 0),
                reserve_bytes=settings.reserve,
                lost=device.lost,
            )
            for device in self.gpus.devices.devices
        ]
        if self.free_bytes is not None:
            total = self.free_bytes + self.held.get(HOST, 0)
            found.append(Room(HOST, total, min(settings.budgets.get(HOST, total), total)))
        return tuple(found)

    def _sum(self, replicas: Iterable[str]) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for replica in replicas:
            total.update(self.held_by(replica))
        return total


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """One device before and after a plan, in bytes used by everybody."""

    id: str
    name: str
    model: str
    total_bytes: int
    before_bytes: int
    after_bytes: int
    holders: tuple[Holding, ...] = ()
    """Who else holds some of it."""

    @property
    def moved(self) -> bool:
        """Whether the plan fills or empties it."""
        return self.before_bytes != self.after_bytes


def device_changes(changes: Iterable[Change], machine: Machine) -> tuple[DeviceChange, ...]:
    """What the plan does to each device, counted from its very actions: who is made, and who goes."""
    delta: Counter[str] = Counter()
    for change in changes:
        for index in on_the_way(change.steps):
            match change.steps[index].action:
                case CreateReplica(replica=replica):
                    placed = Placed.from_label(replica.owner.placement)
                    delta.update(placed.claims if placed is not None else {})
                case RemoveReplica(name=name):
                    delta.subtract(machine.held_by(name))
                case _:
                    pass
    found = []
    for device in machine.gpus.devices.devices:
        if not device.lost:
            used = machine.used(device)
            after = max(0, used + delta[device.id])
            name, model = device.short_name, device.name
            holders = machine.holders_of(device)
            found.append(DeviceChange(device.id, name, model, device.total_bytes, used, after, holders))
    return tuple(found)


def holding_words(one: Holding) -> str:
    """One line: who holds what, whose it is, and the way out."""
    held = "memory" if one.used_bytes is None else human_bytes(one.used_bytes)
    what = f"process {one.pid}{f' ({one.program})' if one.program else ''} holds {held} of {one.device}"
    if one.forgotten:
        why = "which the engine does not know: left by a crash of it, or another engine's; if it is nobody's"
        return f"{what} in container {one.container_id[:12]}, {why}: sudo kill {one.pid}"
    if one.container_id:
        return f"{what} in container {one.container_id[:12]}, which is none of this install's"
    return f"{what}, no replica of this install; if it is not needed: kill {one.pid}"


def _budget(device: Device, settings: PlacementSettings) -> int:
    named = (settings.budgets.get(name) for name in (device.id, str(device.index)))
    return next((budget for budget in named if budget is not None), device.total_bytes)

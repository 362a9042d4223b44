"""The machine as placement sees it: what is open, by the driver's account and by the replicas' own labels."""

from __future__ import annotations

from nexus_ctl.planning.machine import Machine
from nexus_ctl.resources.device import Device, DeviceList, DeviceProcess, GpuUse
from nexus_ctl.resources.memory import HOST
from nexus_ctl.resources.placed import Placed
from nexus_ctl.resources.stack import PlacementSettings

A = Device("GPU-a", "H100", "gpu", 0, 80, 50, 28, reserved_bytes=2, processes=(DeviceProcess(7, 20),))
LOST = Device("GPU-b", "H100", "gpu", 1, 0, 0, 0, lost=True)


def machine(ours: dict[str, int], *, device: Device = A, free: int | None = None, mine: str = "chat") -> Machine:
    placed = {"chat": Placed("whole", ("GPU-a",), {"GPU-a": 24, HOST: 5})}
    return Machine(GpuUse(DeviceList((device, LOST)), {"GPU-a": ours}), free, placed, frozenset({mine}))


def test_what_others_use_is_what_is_neither_ours_nor_open() -> None:
    first, second = machine({"chat": 20}).rooms(PlacementSettings(budgets={"0": 64}, reserve=5))
    assert (first.others_bytes, first.open_bytes) == (10, 64)
    assert machine({"chat": 20}).rooms(PlacementSettings(reserve=15))[0].open_bytes == 80 - 10 - 15
    assert (second.lost, second.open_bytes) == (True, 0)


def test_a_replica_holds_what_it_was_promised_until_it_takes_more() -> None:
    assert machine({"chat": 20}).held == {"GPU-a": 24, HOST: 5}
    assert machine({"chat": 28}).held == {"GPU-a": 28, HOST: 5}
    assert machine({}).held_by("unknown") == {}


def test_where_the_driver_does_not_tell_a_share_the_promise_counts() -> None:
    silent = Device("GPU-a", "H100", "gpu", 0, 80, 50, 28, 2, processes=(DeviceProcess(7, None),))
    assert machine({}, device=silent).others(silent) == 6
    assert machine({}).others(A) == 30, "a replica that has not begun to load is no stranger's memory"


def test_a_replica_of_another_stack_is_in_the_way_by_its_promise() -> None:
    assert machine({"chat": 20}, mine="other").rooms(PlacementSettings())[0].others_bytes == 10 + 24


def test_the_ram_is_a_room_of_what_is_free_and_what_is_ours() -> None:
    *_, host = machine({}, free=100).rooms(PlacementSettings())
    assert (host.id, host.total_bytes, host.open_bytes) == (HOST, 105, 105)
    *_, host = machine({}, free=100).rooms(PlacementSettings(budgets={"host": 60}))
    assert host.open_bytes == 60

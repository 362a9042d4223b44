"""Who holds what of the GPUs; the engine's own test is in `tests/e2e/test_docker_gpus.py`."""

from __future__ import annotations

from nexus_ctl.resources.device import Device, DeviceList, DeviceProcess, Leftover
from nexus_ctl.runtimes.docker.forgotten import Forgotten
from nexus_ctl.runtimes.gpu_use import leftovers

MIB = 2**20


def gpu(index: int, *processes: DeviceProcess) -> Device:
    return Device(f"GPU-{index}", "Fake", "gpu", index, 800 * MIB, 0, 800 * MIB, processes=processes)


def test_a_forgotten_process_is_named_on_every_device_it_holds() -> None:
    devices = DeviceList((gpu(0, DeviceProcess(7, 5 * MIB), DeviceProcess(8, 6 * MIB)), gpu(1, DeviceProcess(7, None))))
    forgotten = [Forgotten(7, "ab" * 32, "llama-server"), Forgotten(9, "cd" * 32, "holds no GPU memory")]
    assert leftovers(devices, forgotten) == (
        Leftover(7, "ab" * 32, "gpu0", 5 * MIB),
        Leftover(7, "ab" * 32, "gpu1", None),
    )

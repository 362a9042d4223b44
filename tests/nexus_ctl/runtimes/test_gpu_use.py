"""Who holds what of the GPUs; the engine's own test is in `tests/e2e/test_docker_gpus.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.resources.device import Device, DeviceList, DeviceProcess, Holding
from nexus_ctl.resources.replica import ObservedReplica, ReplicaState
from nexus_ctl.runtimes.docker.forgotten import Forgotten
from nexus_ctl.runtimes.gpu_use import gpu_use

MIB = 2**20
OURS, THEIRS, GONE = "aa" * 32, "bb" * 32, "cc" * 32


def gpu(index: int, *processes: DeviceProcess) -> Device:
    return Device(f"GPU-{index}", "Fake", "gpu", index, 800 * MIB, 0, 800 * MIB, processes=processes)


def a_process(proc: Path, pid: int, program: str, container: str = "", parent: int = 1) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cgroup").write_text(f"0::/docker/{container}\n" if container else "0::/user.slice\n")
    (folder / "comm").write_text(f"{program}\n")
    (folder / "stat").write_text(f"{pid} ({program}) S {parent} 0")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    a_process(tmp_path, 7, "llama-server", GONE)
    a_process(tmp_path, 8, "ollama\x1b[2J", THEIRS)
    a_process(tmp_path, 9, "llama-server", OURS)
    a_process(tmp_path, 10, "python3", parent=11)
    a_process(tmp_path, 11, "nexus-engine")
    a_process(tmp_path, 12, "blender")
    return tmp_path


def test_everybody_who_holds_memory_is_ours_or_named(proc: Path) -> None:
    devices = DeviceList((
        gpu(0, *(DeviceProcess(pid, pid * MIB) for pid in (7, 8, 9, 10, 12))),
        gpu(1, DeviceProcess(7, None), DeviceProcess(99, 1)),
    ))  # fmt: skip
    replicas = [replica("chat", OURS), replica("embed", "", pid=11)]
    found = gpu_use(devices, replicas, lambda: [Forgotten(7, GONE, "llama-server --api-key s3cret")], proc)
    assert found.ours == {"GPU-0": {"chat": 9 * MIB, "embed": 10 * MIB}}
    assert found.holders == (
        Holding(7, "gpu0", 7 * MIB, "llama-server", GONE, forgotten=True),
        Holding(8, "gpu0", 8 * MIB, "ollama", THEIRS),
        Holding(12, "gpu0", 12 * MIB, "blender"),
        Holding(7, "gpu1", None, "llama-server", GONE, forgotten=True),
        Holding(99, "gpu1", 1),
    )


def test_the_engine_is_asked_only_about_containers_that_are_not_ours(proc: Path) -> None:
    def asked() -> list[Forgotten]:
        raise AssertionError("nobody needs to know")

    devices = DeviceList((gpu(0, DeviceProcess(9, MIB), DeviceProcess(12, MIB)),))
    assert [one.pid for one in gpu_use(devices, [replica("chat", OURS)], asked, proc).holders] == [12]


def replica(name: str, runtime_id: str, pid: int | None = None) -> ObservedReplica:
    return ObservedReplica(name, runtime_id, None, ReplicaState.RUNNING, pid=pid)

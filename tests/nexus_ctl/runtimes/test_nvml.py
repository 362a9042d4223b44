"""Devices as NVML tells them: a stand-in driver with every oddity, no driver at all, and the real one where it is."""

from __future__ import annotations

import ctypes.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.runtimes import nvml
from tests.fakes.nvml.library import build, python_with

MIB = 1 << 20
SHOW = """
import json
from dataclasses import asdict
from nexus_ctl.runtimes.nvml import devices
found = devices()
print(json.dumps({"reason": found.reason, "devices": [asdict(device) for device in found.devices]}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    return build(tmp_path_factory.mktemp("nvml"))


def seen(library: Path, tmp_path: Path, *lines: str) -> dict[str, Any]:
    state = tmp_path / "gpus"
    state.write_text("\n".join(lines) + "\n")
    answer: dict[str, Any] = json.loads(python_with(library, state, SHOW))
    return answer


def test_tells_memory_processes_and_load(library: Path, tmp_path: Path) -> None:
    found = seen(library, tmp_path, "gpu GPU-a NVIDIA_H100 81559 1000 500 37", "process 41 700", "process 40 -1",
                 "gpu GPU-b NVIDIA_H100 81559 0 500 -1")  # fmt: skip
    first, second = found["devices"]
    assert found["reason"] == ""
    assert (first["id"], first["name"], first["kind"], first["index"]) == ("GPU-a", "NVIDIA H100", "gpu", 0)
    assert (first["total_bytes"], first["used_bytes"], first["reserved_bytes"]) == (81559 * MIB, 1000 * MIB, 500 * MIB)
    assert first["free_bytes"] == (81559 - 1500) * MIB
    assert first["processes"] == [{"pid": 40, "used_bytes": None}, {"pid": 41, "used_bytes": 700 * MIB}]
    assert (first["utilisation"], first["compute_capability"]) == (37, "9.0")
    assert (second["id"], second["index"], second["utilisation"], second["processes"]) == ("GPU-b", 1, None, [])


def test_an_old_driver_tells_less(library: Path, tmp_path: Path) -> None:
    (device,) = seen(library, tmp_path, "old", "gpu GPU-a T4 16384 100 50 0")["devices"]
    assert (device["total_bytes"], device["used_bytes"], device["reserved_bytes"]) == (16384 * MIB, 150 * MIB, 0)


def test_a_partitioned_gpu_is_its_slices(library: Path, tmp_path: Path) -> None:
    found = seen(library, tmp_path, "gpu GPU-a A100 40960 0 0 0", "slice MIG-1 A100_MIG_3g.20gb 20096 37",
                 "process 7 30", "slice MIG-2 A100_MIG_1g.5gb 4864 0")  # fmt: skip
    assert [(d["id"], d["kind"], d["parent"], d["total_bytes"] // MIB) for d in found["devices"]] == [
        ("MIG-1", "mig", "GPU-a", 20096),
        ("MIG-2", "mig", "GPU-a", 4864),
    ]
    assert found["devices"][0]["processes"] == [{"pid": 7, "used_bytes": 30 * MIB}]


def test_a_lost_gpu_hides_no_other(library: Path, tmp_path: Path) -> None:
    found = seen(library, tmp_path, "gpu GPU-a T4 16384 0 0 0", "lost", "gpu GPU-b T4 16384 0 0 0")
    assert [(device["id"], device["lost"]) for device in found["devices"]] == [("lost-0", True), ("GPU-b", False)]


@pytest.mark.parametrize(("line", "words"), [("init 9", "does not answer"), ("", "knows no GPU")])
def test_a_driver_without_gpus_is_an_answer(library: Path, tmp_path: Path, line: str, words: str) -> None:
    found = seen(library, tmp_path, line)
    assert found["devices"] == []
    assert words in found["reason"]


@pytest.mark.skipif(ctypes.util.find_library("nvidia-ml") is not None, reason="this machine has a driver")
def test_no_driver_is_an_answer() -> None:
    found = nvml.devices()
    assert found.devices == ()
    assert "does not answer" in found.reason


@pytest.mark.skipif(ctypes.util.find_library("nvidia-ml") is None, reason="this machine has no driver")
def test_the_real_driver_adds_up() -> None:
    for device in nvml.devices().devices:
        assert device.id.startswith(("GPU-", "MIG-"))
        told = device.free_bytes + device.used_bytes + device.reserved_bytes
        assert abs(told - device.total_bytes) <= 2 * MIB


def test_the_machines_memory_is_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nvml.host()
    assert (whole.id, whole.kind) == ("host", "host")
    assert 0 < whole.free_bytes <= whole.total_bytes == whole.free_bytes + whole.used_bytes
    limit = tmp_path / "memory.max"
    limit.write_text("1073741824\n")
    monkeypatch.setattr(nvml, "_CGROUP_LIMIT", limit)
    assert nvml.host().total_bytes == 1 << 30
    limit.write_text("max\n")
    assert nvml.host().total_bytes >= whole.total_bytes

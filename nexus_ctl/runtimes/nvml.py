"""GPUs and host memory as they are now: NVML through pynvml, RAM through the kernel.

The one door to both libraries. Called by observe before placement, and by `top`; a few milliseconds. The rule it
keeps: a machine without GPUs, without a driver, or with a broken one is an answer and no error; one lost GPU never
hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from nexus_ctl.resources.device import Device, DeviceList, DeviceProcess
from nexus_ctl.resources.memory import HOST

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def devices() -> DeviceList:
    """Every GPU, or its slices where it is partitioned, in the driver's order. Empty with a reason without a driver."""
    try:
        import pynvml
    except ImportError:
        return DeviceList((), "the nvidia-ml-py package is not installed")
    try:
        with _session(pynvml):
            count = pynvml.nvmlDeviceGetCount()
            found = tuple(device for index in range(count) for device in _devices_at(pynvml, index))
    except pynvml.NVMLError as error:
        return DeviceList((), f"the NVIDIA driver does not answer: {error}")
    return DeviceList(found, "" if found else "the NVIDIA driver knows no GPU")


def host() -> Device:
    """The machine's RAM as a device; a control group's limit counts where it is lower."""
    import psutil

    memory = psutil.virtual_memory()
    total = min(memory.total, _cgroup_limit() or memory.total)
    free = min(memory.available, total)
    return Device(HOST, "RAM", "host", 0, total, free, total - free)


def _cgroup_limit() -> int | None:
    try:
        text = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return None  # no control group, or not of version 2: no limit to mind
    return int(text) if text.isdigit() else None


@contextmanager
def _session(nvml: ModuleType) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _devices_at(nvml: ModuleType, index: int) -> tuple[Device, ...]:
    """The GPU at one index, or its slices; a lost one as such."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        slices = _slices(nvml, handle)
        if not slices:
            return (_device(nvml, handle, index),)
        parent = nvml.nvmlDeviceGetUUID(handle)
        return tuple(_device(nvml, part, index, parent) for part in slices)
    except nvml.NVMLError as error:
        if error.value not in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNKNOWN, nvml.NVML_ERROR_RESET_REQUIRED):
            raise
        return (Device(f"lost-{index}", str(error), "gpu", index, 0, 0, 0, lost=True),)


def _slices(nvml: ModuleType, handle: Any) -> list[Any]:
    """Handles of a GPU's MIG slices; empty where MIG is off or unknown."""
    current, _ = _told(nvml, nvml.nvmlDeviceGetMigMode, handle) or (0, 0)
    if current != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    parts = (_told(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot) for slot in range(count))
    return [part for part in parts if part is not None]


def _device(nvml: ModuleType, handle: Any, index: int, parent: str = "") -> Device:
    memory = _memory(nvml, handle)
    rates = _told(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    capability = _told(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle) or ()
    return Device(
        id=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        kind="mig" if parent else "gpu",
        index=index,
        total_bytes=memory.total,
        free_bytes=memory.free,
        used_bytes=memory.used,
        reserved_bytes=getattr(memory, "reserved", 0),
        utilisation=None if rates is None else rates.gpu,
        processes=_processes(nvml, handle),
        parent=parent,
        compute_capability=".".join(str(part) for part in capability),
    )


def _memory(nvml: ModuleType, handle: Any) -> Any:
    """The second version tells the driver's own reserve apart; drivers before 510 have only the first."""
    second = _told(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    return nvml.nvmlDeviceGetMemoryInfo(handle) if second is None else second


def _processes(nvml: ModuleType, handle: Any) -> tuple[DeviceProcess, ...]:
    """Every process that computes or draws there, by pid."""
    held: dict[int, int | None] = {}
    for query in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _told(nvml, query, handle) or ():
            held[process.pid] = process.usedGpuMemory
    return tuple(DeviceProcess(pid, used) for pid, used in sorted(held.items()))


def _told(nvml: ModuleType, ask: Callable[..., Any], *arguments: Any) -> Any:
    """The answer; None where this driver or device does not have it. Other errors pass."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        untold = (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_NOT_FOUND,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_INVALID_ARGUMENT,
        )
        if error.value in untold:
            return None
        raise

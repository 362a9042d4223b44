"""What vLLM would take of this machine's GPUs → sentences, JSON. The arithmetic is `placement.vllm.choice`'s."""

from __future__ import annotations

from typing import Any

from nexus_ctl.placement.vllm.choice import VllmWeighing
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.device import DeviceList
from nexus_ctl.views import choice


def text(found: VllmWeighing, gpus: DeviceList) -> str:
    """Whether it fits, with which share, and what the cache then holds."""
    one = found.weighing
    if one is None:
        return f"no GPU to hold it against: {gpus.reason or 'none is seen'}\n"
    said = f"vLLM on this machine: {choice.WORDS[one.fit]}: {choice.why(one, choice.names_of(gpus.devices))}\n"
    if found.utilization is None:
        return said
    told = f": {found.told}" if found.told else ""
    return f"{said}with memoryUtilization {found.utilization:.2f}{told}\n"


def to_json(name: str, checkpoint: Checkpoint, found: VllmWeighing) -> dict[str, Any]:
    """The estimate's own keys, and those that `models estimate` has of every model."""
    return {
        **found.estimate.to_json(),
        "model": name,
        "fit": None if found.weighing is None else choice.fit_json(found.weighing),
        "memoryUtilization": found.utilization,
        "read": {"requests": checkpoint.requests, "headerBytes": checkpoint.bytes_read},
    }

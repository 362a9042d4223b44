"""Whether this machine's GPUs can serve a repository of safetensors by vLLM, on how many of them and with which share.

Called by `models estimate`; pure and deterministic. The counterpart of `choice.weigh` for that engine. A claim is what
one sequence of full length needs, with the margins of the guesses; a declared share is held to as vLLM does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nexus_ctl.placement.llama_cpp.choice import Fit, Short, Weighing
from nexus_ctl.placement.vllm.budget import MOST_UTILISATION, fit_vllm, left_out, need_of, told_settings
from nexus_ctl.placement.vllm.settings import settings_of
from nexus_ctl.placement.vllm.shape import VllmShape, from_config
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.memory import HOST, Estimate, PlaceMemory
from nexus_ctl.resources.vllm import Vllm

COUNTS = (1, 2, 4, 8)
"""How many GPUs are tried, where nobody says."""
ANY_GPU = "gpu"
"""The place that stands for a GPU, where the machine has none."""


@dataclass(frozen=True, slots=True)
class VllmWeighing:
    """`weighing` None: there is no GPU to hold it against. `told` says in words what the share would give."""

    estimate: Estimate
    weighing: Weighing | None = None
    utilization: float | None = None
    told: str = ""


def weigh_vllm(checkpoint: Checkpoint, engine: Vllm, gpus: Sequence[Device]) -> VllmWeighing:
    """The fewest GPUs that serve it, else the fewest that it could have. Raises ValueError for a model without a
    formula, settings that vLLM refuses, and more GPUs than there are."""
    living = sorted((gpu for gpu in gpus if not gpu.lost), key=lambda gpu: (-gpu.free_bytes, gpu.index))
    shape, asked = from_config(checkpoint.config), engine.parallel.tensor
    if engine.model.max_length is not None and engine.model.max_length > shape.context:
        raise ValueError(f"the model knows {shape.context} tokens, not {engine.model.max_length}")
    if shape.heads % (asked or 1):
        raise ValueError(f"{asked} GPUs do not divide the model's {shape.heads} heads")
    if not living:
        return VllmWeighing(_estimate(checkpoint, shape, engine, ()))
    if (asked or 1) > len(living):
        raise ValueError(f"{asked} GPUs are asked for, {len(living)} are here")
    counts = [asked] if asked else [n for n in COUNTS if n <= len(living) and not shape.heads % n]
    found = [_weighed(checkpoint, shape, _over(engine, count), living[:count]) for count in counts]
    return min(found, key=_rank)


def _rank(one: VllmWeighing) -> int:
    """The best way to run comes first."""
    return list(Fit).index(one.weighing.fit) if one.weighing is not None else len(Fit)


def _over(engine: Vllm, count: int) -> Vllm:
    return engine.model_copy(update={"parallel": engine.parallel.model_copy(update={"tensor": count})})


def _estimate(checkpoint: Checkpoint, shape: VllmShape, engine: Vllm, devices: Sequence[Device]) -> Estimate:
    least = min(devices, key=lambda one: one.total_bytes, default=None)
    settings = settings_of(engine, least.name, least.total_bytes) if least is not None else settings_of(engine)
    need = need_of(checkpoint, shape, settings)
    names = [one.id for one in devices] or [ANY_GPU] * settings.tensor_parallel
    places = tuple(PlaceMemory(name, need.parts()) for name in names)
    return Estimate(PlaceMemory(HOST, ()), places, told_settings(need, settings), left_out(shape, settings))


def _weighed(checkpoint: Checkpoint, shape: VllmShape, engine: Vllm, devices: Sequence[Device]) -> VllmWeighing:
    found, share = _estimate(checkpoint, shape, engine, devices), engine.cache.memory_utilization
    need = found.devices[0].claim_bytes
    short: Short | None = None
    fit = Fit.WHOLE
    for one in devices:
        budget = int(one.total_bytes * (share or MOST_UTILISATION))
        wanted = budget if share is not None else need
        if need > budget:
            fit, short = Fit.TOO_LARGE, Short(one.id, need, budget)
            break
        if wanted > one.free_bytes:
            fit, short = Fit.NOT_NOW, Short(one.id, wanted, one.free_bytes)
    weights, label = checkpoint.weights, "whole" if len(devices) == 1 else f"over {len(devices)} GPUs"
    claims = {one.id: int(one.total_bytes * share) if share is not None else need for one in devices}
    weighing = Weighing("safetensors", weights.file_bytes, fit, label, claims, found, short, weights.parameters)
    least = min(devices, key=lambda one: one.total_bytes)
    given = share or math.ceil(need / least.total_bytes * 100) / 100
    if fit is Fit.TOO_LARGE:
        return VllmWeighing(found, weighing)
    settings = settings_of(engine, least.name, least.total_bytes)
    held = fit_vllm(checkpoint, shape, settings, int(least.total_bytes * given), [(least.id, least.total_bytes)])
    return VllmWeighing(found, weighing, given, held.told)

"""The ways one model can be run on a machine, as options for `fit`: whole, over several devices, partly on the host.

Each option is an estimate with the split made explicit, so that what is placed is what the engine is then told
(`--gpu-layers`, `--tensor-split`, `--fit off`). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nexus_ctl.placement.llama_cpp.companions import Beside, with_beside
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.placement.llama_cpp.shape import read_shape
from nexus_ctl.resources.memory import Accelerator, EngineSettings, Estimate
from nexus_ctl.resources.placement import Option
from nexus_ctl.resources.weights import GgufHeader

ALONE = Beside()


@dataclass(frozen=True, slots=True)
class Way:
    """An option, and the settings and estimate that it stands for."""

    option: Option
    settings: EngineSettings
    estimate: Estimate


def ways(
    header: GgufHeader,
    settings: EngineSettings,
    devices: Sequence[Accelerator],
    *,
    counts: Sequence[int] = (1,),
    partial: bool = False,
    beside: Beside = ALONE,
) -> tuple[Way, ...]:
    """In order of preference: whole, over each of `counts` devices in turn, then on one with fewer and fewer layers.

    Without devices the one way is the host. Settings that are given are kept: `gpu_layers` (then nothing is partial),
    and over several devices `split_mode` and `tensor_split`. What comes along is part of each estimate. Raises
    ValueError as `estimate` does.
    """
    layers = len(read_shape(header).layers) + 1
    if not devices or settings.gpu_layers == 0:
        return (_way("on the host", header, beside, replace(settings, gpu_layers=0), ()),)
    found = []
    for count in (count for count in counts if count <= len(devices)):
        if count == 1:
            found.append(_way("whole", header, beside, replace(settings, split_mode="none", main_gpu=0), devices[:1]))
        else:
            shares = settings.tensor_split or (1.0,) * count
            found.append(
                _way(f"over {count} devices", header, beside, replace(settings, tensor_split=shares), devices[:count])
            )
    if partial and settings.gpu_layers is None:
        found += [with_layers(header, settings, devices[0], kept, beside) for kept in range(layers - 1, 0, -1)]
    return tuple(found)


def with_layers(
    header: GgufHeader, settings: EngineSettings, device: Accelerator, kept: int, beside: Beside = ALONE
) -> Way:
    """With that many layers on one device, the output layer counted as one, and the rest in the machine's RAM."""
    layers = len(read_shape(header).layers) + 1
    fewer = replace(settings, split_mode="none", main_gpu=0, gpu_layers=kept)
    return _way(f"{kept} of {layers} layers", header, beside, fewer, (device,))


def _way(
    label: str, header: GgufHeader, beside: Beside, settings: EngineSettings, devices: Sequence[Accelerator]
) -> Way:
    memory = with_beside(estimate(header, settings, devices), beside, settings, devices)
    claims = tuple(place.claim_bytes for place in memory.devices)
    return Way(Option(label, claims, memory.host.claim_bytes), settings, memory)

"""What comes along with a model: a draft model, adapters, a projector. Each becomes one part of an estimate.

Pure; called after `estimate`. A draft is a whole second model in the same places; adapters follow the weights they
modify; a projector lies where it is told, with room for its own compute buffer.
Source: llama.cpp common/speculative.cpp, src/llama-adapter.cpp, tools/mtmd; the projector's ratio is published
(884 MiB of file, 1,158 MiB at run time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nexus_ctl.placement.llama_cpp.estimate import estimate as estimated
from nexus_ctl.resources.memory import HOST, Accelerator, Basis, EngineSettings, Estimate, Part, PartKind
from nexus_ctl.resources.weights import GgufHeader

PROJECTOR_MARGIN = 0.35
"""Share of a projector's weights that its compute buffer may take on top."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The headers of what comes along; whatever is not known yet is left out. `draft_settings` are made from those of
    the target; `offloads_projector` says that the projector goes to the first device, if there is one."""

    draft: GgufHeader | None = None
    draft_settings: Callable[[EngineSettings], EngineSettings] = lambda target: target
    adapters: tuple[GgufHeader, ...] = ()
    projector: GgufHeader | None = None
    offloads_projector: bool = True


def with_beside(
    estimate: Estimate, beside: Beside, target: EngineSettings, devices: Sequence[Accelerator] = ()
) -> Estimate:
    """The estimate with all that comes along. Raises ValueError where a draft model has no estimate."""
    if beside.adapters:
        estimate = with_adapters(estimate, beside.adapters)
    if beside.draft is not None:
        estimate = with_draft(estimate, estimated(beside.draft, beside.draft_settings(target), devices))
    if beside.projector is not None:
        first = next((device.place for device in estimate.devices), HOST)
        estimate = with_projector(estimate, beside.projector, first if beside.offloads_projector else HOST)
    return estimate


def with_draft(estimate: Estimate, draft: Estimate) -> Estimate:
    """The estimate with a draft model beside the main one: its own weights, caches and buffers, where it lies.

    Its overhead is left out: both live in one process.
    """
    for place in draft.places:
        parts = [part for part in place.parts if part.kind is not PartKind.OVERHEAD]
        size, margin = sum(part.bytes for part in parts), sum(part.margin_bytes for part in parts)
        estimate = estimate.with_parts(
            place.place, [Part(PartKind.DRAFT, size, draft.basis, margin, "a second model, all its parts")]
        )
    return estimate


def with_adapters(estimate: Estimate, adapters: Iterable[GgufHeader]) -> Estimate:
    """The estimate with LoRA adapters, spread over the places as the weights they modify are."""
    size = sum(header.weights_bytes for header in adapters)
    weights = {place.place: place.of(PartKind.WEIGHTS) for place in estimate.places}
    whole = sum(weights.values())
    for place, share in weights.items():
        part = Part(
            PartKind.ADAPTERS,
            -(-size * share // whole),
            Basis.FORMULA,
            0,
            "tensors of the adapters, as the weights lie",
        )
        estimate = estimate.with_parts(place, [part]) if share else estimate
    return estimate


def with_projector(estimate: Estimate, projector: GgufHeader, place: str) -> Estimate:
    """The estimate with a multimodal projector in one place."""
    size = projector.weights_bytes
    part = Part(PartKind.PROJECTOR, size, Basis.EXACT, round(size * PROJECTOR_MARGIN), "tensors of the projector")
    return estimate.with_parts(place, [part])

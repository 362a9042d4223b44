"""What one llama.cpp replica will take, place by place, in closed form: `estimate(header, settings, devices)`.

The steps stand in the modules beside this one: model shape, the server's own reading of its settings, layer split,
weights, caches, compute buffer. Called by plan, admission and `models estimate`, in about a millisecond. The rule it
keeps: what is exact says so, what is fitted carries a margin, what is assumed is named as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from nexus_ctl.placement.llama_cpp.compute_buffer import (
    DEVICE_ROWS,
    PIPELINE_COPIES,
    PIPELINE_FIRST_ROWS,
    PIPELINE_ROWS,
    compute_bytes,
    mask_elements,
)
from nexus_ctl.placement.llama_cpp.kv_cache import cells, layer_cache_bytes, layer_state_bytes
from nexus_ctl.placement.llama_cpp.offload import layer_places, tensor_bytes
from nexus_ctl.placement.llama_cpp.server_settings import PAD, Resolved, resolve
from nexus_ctl.placement.llama_cpp.shape import ModelShape, read_shape
from nexus_ctl.resources.memory import (
    HOST,
    Accelerator,
    Basis,
    EngineSettings,
    Estimate,
    Part,
    PartKind,
    PlaceMemory,
)
from nexus_ctl.resources.weights import GgufHeader

MIB = 1 << 20
DEVICE_OVERHEAD_BYTES = 350 * MIB
"""Context, kernels and pools of one process on one CUDA device, until it was learned. Published: about 330 MiB."""
HOST_OVERHEAD_BYTES = 24 * MIB
HOST_TOKEN_BYTES = 512
"""Private memory of the server itself: a constant and a sum per token of the vocabulary; `docs/memory-accuracy.md`."""
RUNTIME_MARGIN_BYTES = 64 * MIB
_MEASURED_RECURRENT = {"mamba", "mamba2", "falcon-h1", "lfm2"}
"""Recurrent architectures whose graphs the compute formula was held to; others get the margin of unknown ones."""


def estimate(header: GgufHeader, settings: EngineSettings, devices: Sequence[Accelerator] = ()) -> Estimate:
    """What a replica of this model takes with these settings on these devices; none = on the host alone.

    Raises ValueError for a header without the numbers every model has, and for settings the engine would refuse.
    """
    if devices and settings.split_mode in ("row", "tensor"):
        raise ValueError(f"what split mode {settings.split_mode} takes on each device is not known; layer and none are")
    shape = read_shape(header)
    sizes = resolve(settings, shape)
    places = layer_places(settings, len(shape.layers), devices)
    weights = tensor_bytes(header, places, settings, devices)
    pipeline = _is_pipelined(settings, shape, places, devices)
    used = [device for device in devices if device.id in places]
    parts = {
        device.id: _device_parts(shape, sizes, settings, places, device, pipeline=pipeline, first=device is used[0])
        for device in used
    }
    host = _host_parts(shape, sizes, settings, places, pipeline)
    return Estimate(
        host=PlaceMemory(HOST, (_weights(weights[HOST]), *host)),
        devices=tuple(PlaceMemory(d.id, (_weights(weights[d.id]), *parts[d.id])) for d in used),
        resolved=_shown(sizes, settings, places, devices),
        notes=_notes(shape),
    )


def largest_context(
    header: GgufHeader, settings: EngineSettings, budgets: Mapping[str, int], devices: Sequence[Accelerator] = ()
) -> int:
    """The largest context, in steps of 256 up to the model's own, whose claims fit the budgets; 0 when none does.

    `budgets` are bytes by place (device id or `HOST`); a place without one is not limited.
    """

    def fits(blocks: int) -> bool:
        wanted = replace(settings, context_size=blocks * PAD)
        places = estimate(header, wanted, devices).places
        return all(place.claim_bytes <= budgets.get(place.place, place.claim_bytes) for place in places)

    low, high = 0, max(read_shape(header).context, PAD) // PAD
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * PAD


def _weights(size: int) -> Part:
    return Part(PartKind.WEIGHTS, size, Basis.EXACT, 0, "sum of the tensors here, each padded")


def _is_pipelined(
    settings: EngineSettings, shape: ModelShape, places: Sequence[str], devices: Sequence[Accelerator]
) -> bool:
    return (
        len(devices) > 1
        and HOST not in places
        and settings.split_mode == "layer"
        and settings.kv_offload
        and not settings.cpu_experts
        and all(device.kind == "cuda" for device in devices)
    )


def _caches(
    shape: ModelShape, sizes: Resolved, settings: EngineSettings, places: Sequence[str], here: str
) -> tuple[Part, ...]:
    """KV cache and recurrent state that lie in one place."""

    def lies_here(place: str) -> bool:
        return (place if settings.kv_offload else HOST) == here

    mine = [layer for layer, place in zip(shape.layers, places, strict=False) if lies_here(place)]
    cache = sum(layer_cache_bytes(layer, shape, sizes, settings) for layer in mine)
    state = sum(layer_state_bytes(layer, shape, sizes) for layer in mine)
    attending = [layer for layer in mine if layer.attends]
    basis = Basis.EXACT if shape.known else Basis.ASSUMED
    inputs: dict[str, int | str] = {
        "layers": len(attending),
        "cells": sizes.context_per_stream,
        "windowCells": next((cells(layer, shape, sizes, settings) for layer in attending if layer.windowed), 0),
        "streams": sizes.streams,
        "keyNumbers": max((layer.kv_heads * layer.key_size for layer in attending), default=0),
        "valueNumbers": max((layer.kv_heads * layer.value_size for layer in attending), default=0),
        "cacheTypeK": settings.cache_type_k,
        "cacheTypeV": settings.cache_type_v,
    }
    parts = [Part(PartKind.KV_CACHE, cache, basis, 0, "layers * cells * streams * (K row + V row)", inputs)]
    if state:
        numbers: dict[str, int | str] = {
            "layers": sum(layer.recurs for layer in mine),
            "convolution": shape.conv_state,
            "state": shape.ssm_state,
            "slots": sizes.slots,
        }
        parts.append(Part(PartKind.RECURRENT, state, basis, 0, "4 B * layers * (convolution + state) * slots", numbers))
    return tuple(parts)


def _compute(size: int, share: float, formula: str, inputs: Mapping[str, int | str]) -> Part:
    return Part(PartKind.COMPUTE, size, Basis.FORMULA, round(size * share), formula, inputs)


def _margin(shape: ModelShape, sizes: Resolved, settings: EngineSettings) -> float:
    """Share of the compute buffer that may come on top where the formula was checked: on a host alone."""
    recurs = any(layer.recurs for layer in shape.layers)
    if not shape.known or (recurs and shape.architecture not in _MEASURED_RECURRENT):
        return 0.5
    if not settings.cache_type_k == settings.cache_type_v == "f16":
        return 0.2
    if shape.ssm_inner or shape.latent:
        return 0.15
    return 0.02 if sizes.flash_attention else 0.05


def _host_parts(
    shape: ModelShape, sizes: Resolved, settings: EngineSettings, places: Sequence[str], pipeline: bool
) -> tuple[Part, ...]:
    alone = all(place == HOST for place in places)
    here = [layer for layer, place in zip(shape.layers, places, strict=False) if place == HOST]
    if alone or here:
        size = compute_bytes(shape, sizes, settings, here, has_output=places[-1] == HOST)
    else:
        copies = PIPELINE_COPIES if pipeline else 1
        size = 4 * sizes.tokens * (shape.embedding + mask_elements(shape, sizes, settings)) * copies
    share = _margin(shape, sizes, settings) if alone else 0.5
    numbers = shape.vocabulary + (shape.embedding if settings.embeddings else 0)
    rows = sizes.slots if settings.embeddings or not shape.causal else max(sizes.slots, sizes.outputs)
    server = HOST_OVERHEAD_BYTES + HOST_TOKEN_BYTES * shape.vocabulary
    return (
        *_caches(shape, sizes, settings, places, HOST),
        _compute(size, share, "widest stage of the graph", _graph(shape, sizes)),
        Part(
            PartKind.OUTPUT,
            4 * rows * numbers,
            Basis.EXACT if shape.known else Basis.FORMULA,
            0,
            "4 B * rows * numbers",
            {"rows": rows, "numbers": numbers},
        ),
        Part(PartKind.OVERHEAD, server, Basis.ASSUMED, server // 2, "the server itself, with its vocabulary"),
    )


def _device_parts(
    shape: ModelShape,
    sizes: Resolved,
    settings: EngineSettings,
    places: Sequence[str],
    device: Accelerator,
    *,
    pipeline: bool,
    first: bool,
) -> tuple[Part, ...]:
    here = [layer for layer, place in zip(shape.layers, places, strict=False) if place == device.id]
    has_output = places[-1] == device.id
    rows = (PIPELINE_FIRST_ROWS if first else PIPELINE_ROWS) if pipeline else DEVICE_ROWS
    size = compute_bytes(
        shape,
        sizes,
        settings,
        here,
        rows=rows,
        has_output=has_output,
        mask_copies=PIPELINE_COPIES if pipeline else 1,
    )
    size += _widened_cache(shape, sizes, settings, places, device)
    whole = HOST not in places and settings.kv_offload
    share = 0.25 if pipeline and shape.known else 0.15 if whole and shape.known else 0.5
    return (
        *_caches(shape, sizes, settings, places, device.id),
        _compute(size, share, "widest stage of the graph", _graph(shape, sizes)),
        Part(
            PartKind.OVERHEAD,
            DEVICE_OVERHEAD_BYTES,
            Basis.ASSUMED,
            RUNTIME_MARGIN_BYTES,
            "driver context, kernels and pools",
        ),
    )


def _widened_cache(
    shape: ModelShape, sizes: Resolved, settings: EngineSettings, places: Sequence[str], device: Accelerator
) -> int:
    """CUDA's flash attention reads f16: a cache of another type costs an f16 copy of the largest layer here."""
    if device.kind != "cuda" or not sizes.flash_attention:
        return 0
    if settings.cache_type_k == settings.cache_type_v == "f16":
        return 0
    return max(
        (
            2
            * layer.kv_heads
            * (layer.key_size + layer.value_size)
            * cells(layer, shape, sizes, settings)
            * sizes.streams
            for layer, place in zip(shape.layers, places, strict=False)
            if place == device.id and layer.attends
        ),
        default=0,
    )


def _graph(shape: ModelShape, sizes: Resolved) -> dict[str, int | str]:
    return {
        "tokens": sizes.tokens,
        "embedding": shape.embedding,
        "feedForward": shape.widest_feed_forward,
        "cells": sizes.context_per_stream,
        "flashAttention": "on" if sizes.flash_attention else "off",
    }


def _shown(
    sizes: Resolved, settings: EngineSettings, places: Sequence[str], devices: Sequence[Accelerator]
) -> dict[str, int | str | bool]:
    on_devices = sum(place != HOST for place in places)
    names = {"context": "context", "context_per_stream": "contextPerStream", "flash_attention": "flashAttention"}
    resolved = {names.get(name, name): value for name, value in asdict(sizes).items()}
    resolved |= {"cacheTypeK": settings.cache_type_k, "cacheTypeV": settings.cache_type_v}
    return resolved | ({"gpuLayers": on_devices} if devices else {})


def _notes(shape: ModelShape) -> tuple[str, ...]:
    if shape.known:
        return ()
    return (f"{shape.architecture}: unknown architecture; every layer is counted as full attention",)

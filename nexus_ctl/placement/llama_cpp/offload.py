"""Which layer lies where, and which tensor follows it: llama.cpp's own split, simulated.

Third step of `estimate`. Layers count from 0; index `layer_count` is the output layer. Pure.
Source: llama.cpp src/llama-model.cpp (load_tensors, get_layer_buft_list).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from nexus_ctl.resources.memory import HOST, Accelerator, EngineSettings
from nexus_ctl.resources.weights import GgufHeader, Tensor

_BLOCK = re.compile(r"^blk\.(\d+)\.")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_HOST_ONLY = ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
_EVERYWHERE = ("rope_freqs", "rope_factors")
_FIRST_LAYER = ("per_layer_model_proj", "per_layer_proj_norm")

HOST_ALIGNMENT = 32
DEVICE_ALIGNMENT = 128
_CUDA_ROW_MULTIPLE = 512
_REPACKED, _REPACK_ROWS = frozenset({"q4_0", "q4_k", "iq4_nl"}), 8
"""What an AVX2 build repacks; source: ggml/src/ggml-cpu/repack.cpp. It moves bytes, except for tied embeddings."""


def layer_places(settings: EngineSettings, layer_count: int, devices: Sequence[Accelerator]) -> tuple[str, ...]:
    """The place of every layer, the output layer last."""
    total = layer_count + 1
    if not devices:
        return (HOST,) * total
    if settings.split_mode == "none":
        devices = (devices[min(settings.main_gpu, len(devices) - 1)],)
    on_devices = total if settings.gpu_layers is None else min(settings.gpu_layers, total)
    shares = [float(share) for share in settings.tensor_split[: len(devices)]]
    shares += [0.0] * (len(devices) - len(shares)) if shares else [float(d.free_bytes or 1) for d in devices]
    if sum(shares) <= 0:
        shares = [1.0] * len(devices)
    bounds = [part / sum(shares) for part in accumulate(shares)]
    start = total - on_devices

    def place(layer: int) -> str:
        if layer < start:
            return HOST
        return devices[min(bisect_right(bounds, (layer - start) / on_devices), len(devices) - 1)].id

    return tuple(place(layer) for layer in range(total))


def tensor_bytes(
    header: GgufHeader, places: Sequence[str], settings: EngineSettings, devices: Sequence[Accelerator]
) -> dict[str, int]:
    """Bytes of weights per place, padded as the engine's buffers pad them; tied embeddings count where copied."""
    kinds = {device.id: device.kind for device in devices}
    sums: dict[str, int] = dict.fromkeys((*kinds, HOST), 0)
    names = {tensor.name for tensor in header.tensors}
    tied = "output.weight" not in names
    used = {place for place in places if place != HOST}
    for tensor in header.tensors:
        for place in _tensor_places(tensor, places, settings, used, tied):
            sums[place] += _padded(header, tensor, kinds.get(place))
    return sums


def _tensor_places(
    tensor: Tensor, places: Sequence[str], settings: EngineSettings, used: set[str], tied: bool
) -> list[str]:
    if block := _BLOCK.match(tensor.name):
        layer = int(block[1])
        if layer >= len(places) - 1:
            return []  # prediction layers: loaded only by a context of their own
        if layer < settings.cpu_experts and _EXPERTS.search(tensor.name):
            return [HOST]
        return [places[layer]]
    stem = tensor.name.rsplit(".", 1)[0]
    if stem == "token_embd" and tied:
        copied = places[-1] != HOST or _repacked(tensor)
        return [HOST, places[-1]] if copied else [HOST]
    if stem in _HOST_ONLY:
        return [HOST]
    if stem in _EVERYWHERE:
        return sorted(used) or [HOST]
    if stem in _FIRST_LAYER:
        return [places[0]]
    return [places[-1]]


def _repacked(tensor: Tensor) -> bool:
    """Whether the CPU keeps such a matrix in an order of its own, in a buffer of its own."""
    return tensor.type in _REPACKED and tensor.dims[1] % _REPACK_ROWS == 0


def _padded(header: GgufHeader, tensor: Tensor, device_kind: str | None) -> int:
    if device_kind is None:
        return -(-tensor.size_bytes // HOST_ALIGNMENT) * HOST_ALIGNMENT
    size = tensor.size_bytes
    over = tensor.dims[0] % _CUDA_ROW_MULTIPLE
    if device_kind == "cuda" and over and tensor.type.startswith(("q", "iq", "tq", "mxfp", "nvfp")):
        size += tensor.size_bytes * (_CUDA_ROW_MULTIPLE - over) // tensor.elements
    return -(-size // DEVICE_ALIGNMENT) * DEVICE_ALIGNMENT

"""Bytes of weights on each of vLLM's GPUs, from the tensor table alone.

Second step of vLLM's arithmetic; pure. What is not loaded is not counted (a tied output, layers that only draft), what
cannot be split lies on every GPU, and numbers that vLLM converts while it loads count as what they become. Quantized
tensors (AWQ, GPTQ, FP8) count as they are in the file: packed integers, scales and zeros each by its own bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from nexus_ctl.placement.vllm.settings import VllmSettings
from nexus_ctl.placement.vllm.shape import VllmShape
from nexus_ctl.resources.weights import Tensor

_FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
_REPLICATED = re.compile(r"norm|router|\.gate\.weight|rotary|inv_freq|q_a_proj|kv_a_proj|g_idx|e_score_correction")
_KV_HEADS = re.compile(r"\.(k|v)_proj\.")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d{1,6})\.")
_NOT_LOADED = re.compile(r"rotary_emb\.inv_freq$|^mtp\.")
_ENDS = re.compile(r"embed|wte|lm_head")
_TOWER = re.compile(r"visual|vision|audio|encoder")
ON_THE_FLY = {"fp8": 1.0, "bitsandbytes": 0.5}
"""Bytes of a number of a linear layer that vLLM quantizes itself while it loads."""


def weights_per_gpu(tensors: Iterable[Tensor], shape: VllmShape, settings: VllmSettings) -> int:
    """Bytes of weights on the GPU that holds the most: of tensor-parallel ranks all alike, of pipeline stages the
    largest; less what is offloaded to main memory."""
    stages: Counter[int] = Counter()
    for tensor in tensors:
        for stage in _stages(tensor.name, shape, settings):
            stages[stage] += _share(tensor, shape, settings)
    return max(max(stages.values(), default=0) - settings.offload_bytes, 0)


def _stages(name: str, shape: VllmShape, settings: VllmSettings) -> Iterator[int]:
    """The pipeline stages that load it."""
    if _NOT_LOADED.search(name) or (shape.tied and name.endswith("lm_head.weight")):
        return
    match, last = _LAYER.search(name), settings.pipeline_parallel - 1
    if match is None or _TOWER.search(name):
        is_last = "lm_head" in name or (not _ENDS.search(name) and "norm" in name)
        yield last if is_last else 0
        if last and shape.tied and _ENDS.search(name):
            yield last
    elif int(match[1]) < shape.layers:
        per_stage = -(-shape.layers // settings.pipeline_parallel)
        yield min(int(match[1]) // per_stage, last)


def _share(tensor: Tensor, shape: VllmShape, settings: VllmSettings) -> int:
    size, ways = _loaded(tensor, shape, settings), settings.tensor_parallel
    if _REPLICATED.search(tensor.name):
        return size
    if _KV_HEADS.search(tensor.name):
        ways = min(ways, max(shape.kv_heads, 1))
    return -(-size // ways)


def _loaded(tensor: Tensor, shape: VllmShape, settings: VllmSettings) -> int:
    """Bytes of a tensor as vLLM keeps it."""
    if tensor.type not in _FLOATS or (shape.quantized and tensor.type == "f32"):
        return tensor.size_bytes
    each = ON_THE_FLY.get(settings.quantization, settings.number_bytes)
    is_linear = len(tensor.dims) > 1 and not _ENDS.search(tensor.name) and not _REPLICATED.search(tensor.name)
    return int(tensor.elements * (each if is_linear and not shape.quantized else settings.number_bytes))

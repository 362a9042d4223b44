"""From a Deployment's llama.cpp fields to the settings that memory depends on.

Called before `estimate`. Mirrors what `engines.llama_cpp` renders: a field left out stays the engine's own default,
and the raw `args` that decide memory are read too, so that no flag moves bytes unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.llama_cpp_companions import Draft
from nexus_ctl.resources.memory import EngineSettings

PLAIN = EngineSettings()
DRAFT_TOKENS = 3
"""llama-server's own `--spec-draft-n-max`."""
_ALL_LAYERS = 1 << 16
_ARGS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "n-cpu-moe": lambda value: {"cpu_experts": int(value)},
    "cpu-moe": lambda value: {"cpu_experts": _ALL_LAYERS if value else 0},
}
"""Raw arguments that decide memory and have no field of their own."""


def settings_of(engine: LlamaCpp) -> EngineSettings:
    """The settings of a declared engine. Raises ValueError when a raw argument that decides memory is no number."""
    memory, batching, gpu = engine.memory, engine.batching, engine.gpu
    given: dict[str, Any] = {
        "context_size": engine.context_size,
        "parallel": engine.parallel,
        "kv_unified": memory.kv_unified,
        "batch_size": batching.batch_size,
        "ubatch_size": batching.ubatch_size,
        "cache_type_k": memory.cache_type_k,
        "cache_type_v": memory.cache_type_v,
        "flash_attention": memory.flash_attention,
        "gpu_layers": gpu.layers if isinstance(gpu.layers, int) else None,
        "split_mode": gpu.split_mode,
        "tensor_split": None if gpu.tensor_split is None else tuple(gpu.tensor_split),
        "main_gpu": gpu.main_gpu,
        "swa_full": memory.swa_full,
        "kv_offload": memory.kv_offload,
        "embeddings": engine.embeddings.enabled or engine.reranking.enabled,
        "draft_tokens": 0 if engine.draft is None else engine.draft.n_max or DRAFT_TOKENS,
    }
    for name, value in engine.args.items():
        given |= _ARGS[name](value) if name in _ARGS else {}
    return EngineSettings(**{name: value for name, value in given.items() if value is not None})


def draft_settings(draft: Draft, target: EngineSettings) -> EngineSettings:
    """The settings of a draft model: context, slots and batches of its target, its own cache and layers."""
    return replace(
        target,
        cache_type_k=draft.cache_type_k or PLAIN.cache_type_k,
        cache_type_v=draft.cache_type_v or PLAIN.cache_type_v,
        gpu_layers=draft.gpu_layers if isinstance(draft.gpu_layers, int) else None,
        tensor_split=(),
        draft_tokens=0,
    )

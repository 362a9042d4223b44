"""vLLM's own arithmetic: its footprint is the budget it is given, so the question is what budget it needs.

The counterpart of `estimate` for that engine; pure. Weights are exact, from the safetensors table; the cache per token
is exact for the layers the configuration describes; activations, graphs and context are a first guess until the
engine's own log lines (`parse_report`) replace them. Nothing here was run on a GPU: every margin says so.
Source: vLLM documentation (optimization, cache configuration), vllm/v1/core/kv_cache_utils.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from nexus_ctl.resources.memory import HOST, Basis, Estimate, Part, PartKind, PlaceMemory
from nexus_ctl.resources.weights import SafetensorsHeader

GIB = 1 << 30
DEFAULT_UTILISATION = 0.92
BLOCK_TOKENS = 16
CONTEXT_BYTES, GRAPH_BYTES = GIB, GIB
"""Driver context with communication buffers, and captured graphs: first guesses, published as 0.5 to 1 and 0.3 to 2."""
_REPLICATED = re.compile(r"norm|router|\.gate\.weight|rotary|inv_freq")


@dataclass(frozen=True, slots=True)
class VllmShape:
    """What a model's `config.json` says of memory. `latent` = kv_lora_rank + rope size; 0 without latent attention."""

    layers: int
    hidden: int
    feed_forward: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    windowed_layers: int = 0
    window: int = 0
    latent: int = 0


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is told. `utilisation` None = the least that serves one full sequence, with the margins."""

    max_model_len: int
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    tensor_parallel: int = 1
    cache_bytes: int = 2
    """Bytes of one number of the cache: 2, or 1 with an fp8 cache."""
    utilisation: float | None = None


@dataclass(frozen=True, slots=True)
class VllmReport:
    """What vLLM logs at start, in bytes and tokens; None where the line is missing."""

    weights: int | None = None
    cache: int | None = None
    graphs: int | None = None
    tokens: int | None = None
    """Tokens that the cache holds."""
    context: int | None = None
    """Tokens of one sequence of full length."""


@dataclass(frozen=True, slots=True)
class VllmFit:
    """One GPU's share. `utilisation` is what to pass; `sequences` how many full-length ones the cache then holds.

    `estimate` claims the whole budget, since vLLM takes it; `missing_bytes` > 0 means that it would refuse to start.
    """

    estimate: Estimate
    utilisation: float
    sequences: float
    missing_bytes: int


def from_config(config: dict[str, object]) -> VllmShape:
    """The shape in a `config.json` (its `text_config` where it has one). Raises ValueError when a number lacks."""
    nested = config.get("text_config")
    fields = nested if isinstance(nested, dict) else config

    def number(name: str, default: int | None = None) -> int:
        value = fields.get(name, default)
        if value is None and default is not None:
            value = default
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"config.json: {name} is not a count: {value!r}")
        return value

    heads, hidden, layers = number("num_attention_heads"), number("hidden_size"), number("num_hidden_layers")
    kinds = fields.get("layer_types")
    windowed = sum(kind == "sliding_attention" for kind in kinds) if isinstance(kinds, list) else 0
    latent = number("kv_lora_rank", 0)
    return VllmShape(
        layers=layers,
        hidden=hidden,
        feed_forward=number("intermediate_size"),
        kv_heads=number("num_key_value_heads", heads),
        head_size=number("head_dim", hidden // max(heads, 1)),
        vocabulary=number("vocab_size"),
        context=number("max_position_embeddings"),
        windowed_layers=windowed,
        window=number("sliding_window", 0) if windowed else 0,
        latent=latent + number("qk_rope_head_dim", 0) if latent else 0,
    )


def weights_per_gpu(header: SafetensorsHeader, tensor_parallel: int) -> int:
    """Bytes of weights on each GPU: norms and routers are on every one, all else is split evenly, rounded up."""
    return sum(
        tensor.size_bytes if _REPLICATED.search(tensor.name) else -(-tensor.size_bytes // tensor_parallel)
        for tensor in header.tensors
    )


def sequence_cache_bytes(shape: VllmShape, settings: VllmSettings) -> int:
    """Bytes of cache for one sequence of `max_model_len` tokens on each GPU, in whole blocks.

    KV heads are repeated when there are fewer than GPUs; latent attention is not split at all. A windowed layer keeps
    the window and one batch.
    """
    if shape.latent:
        row = shape.latent * settings.cache_bytes
    else:
        row = 2 * max(shape.kv_heads // settings.tensor_parallel, 1) * shape.head_size * settings.cache_bytes
    seen = min(shape.window - 1 + settings.max_num_batched_tokens, settings.max_model_len) if shape.window else 0
    blocks = -(-settings.max_model_len // BLOCK_TOKENS) * (shape.layers - shape.windowed_layers)
    blocks += (-(-seen // BLOCK_TOKENS) + 1) * shape.windowed_layers
    return blocks * BLOCK_TOKENS * row


def activation_bytes(shape: VllmShape, settings: VllmSettings) -> int:
    """Peak of the profiling pass on each GPU: a first guess over the widest layer and the sampler."""
    per_token = 8 * shape.hidden + 4 * shape.feed_forward // settings.tensor_parallel
    return 2 * settings.max_num_batched_tokens * per_token + 8 * settings.max_num_seqs * shape.vocabulary


def fit_vllm(
    header: SafetensorsHeader,
    shape: VllmShape,
    settings: VllmSettings,
    total_bytes: int,
    report: VllmReport | None = None,
) -> VllmFit:
    """What one of the `tensor_parallel` GPUs of `total_bytes` must give. `report` of an earlier start replaces guesses.

    Raises ValueError when the GPUs do not divide the heads, or `max_model_len` is beyond the model's.
    """
    if settings.max_model_len > shape.context or settings.tensor_parallel < 1:
        raise ValueError(f"{settings.max_model_len} tokens; the model knows {shape.context}")
    if max(shape.kv_heads, settings.tensor_parallel) % min(shape.kv_heads, settings.tensor_parallel):
        raise ValueError(f"{settings.tensor_parallel} GPUs do not divide {shape.kv_heads} KV heads")
    known = report or VllmReport()
    weights = known.weights or weights_per_gpu(header, settings.tensor_parallel)
    activation, graphs = activation_bytes(shape, settings), known.graphs or GRAPH_BYTES
    one = sequence_cache_bytes(shape, settings)
    fixed = weights + activation + graphs + CONTEXT_BYTES
    margin = activation // 2 + (0 if known.graphs else GRAPH_BYTES // 2)
    needed = fixed + margin + one
    used = settings.utilisation or min(-(-needed * 1000 // total_bytes) / 1000, 1.0)
    budget = int(total_bytes * used)
    cache = known.cache if known.cache and settings.utilisation else max(budget - fixed - margin, 0)
    parts = (
        Part(PartKind.WEIGHTS, weights, Basis.LEARNED if known.weights else Basis.EXACT),
        Part(
            PartKind.KV_CACHE, cache, Basis.LEARNED if known.cache else Basis.ASSUMED, formula="what the budget leaves"
        ),
        Part(PartKind.COMPUTE, activation, Basis.ASSUMED, activation // 2),
        Part(PartKind.OVERHEAD, budget - weights - cache - activation, Basis.ASSUMED, formula="graphs and context"),
    )
    kept = tuple(replace(part, margin_bytes=0) for part in parts)  # the budget is the claim: nothing comes on top
    return VllmFit(
        Estimate(PlaceMemory(HOST, ()), (PlaceMemory("gpu", kept),), {"utilisation": f"{used:.3f}"}),
        used,
        round(cache / one, 2),
        max(needed - min(budget, total_bytes), 0),
    )


_SIZE = r"(\d+(?:\.\d+)?) ?Gi?B"
_GIB_LINE = {
    "weights": re.compile(rf"[Mm]odel (?:loading took|weights (?:take|took)) {_SIZE}"),
    "cache": re.compile(rf"(?:Available KV cache memory:|reserved for KV Cache is) {_SIZE}"),
    "graphs": re.compile(rf"(?:Estimated CUDA graph memory|Graph capturing finished in .*, took):? {_SIZE}"),
}
_TOKEN_LINE = {
    "tokens": re.compile(r"GPU KV cache size: ([\d,]+) tokens"),
    "context": re.compile(r"Maximum concurrency for ([\d,]+) tokens per request"),
}


def parse_report(lines: Iterable[str]) -> VllmReport:
    """What a start's log tells. Every GPU's worker says it of itself: of weights and graphs the most counts, of cache
    and tokens the least, as vLLM itself does it.

    Source: vllm/v1/worker/gpu_worker.py and vllm/v1/core/kv_cache_utils.py of 0.11 to 0.30 (until 0.29 the tokens and
    the concurrency stand on lines of their own), vllm/worker/worker.py of 0.8.
    """
    found: dict[str, int] = {}
    for line in lines:
        for name, pattern in _GIB_LINE.items():
            if match := pattern.search(line):
                size = int(float(match[1]) * GIB)
                found[name] = min(found.get(name, size), size) if name == "cache" else max(found.get(name, 0), size)
        for name, pattern in _TOKEN_LINE.items():
            if match := pattern.search(line):
                count = int(match[1].replace(",", ""))
                found[name] = min(found.get(name, count), count)
    return VllmReport(**found)


def short_of(told: VllmReport, budget_then: int, budget: int, max_length: int | None) -> str:
    """Why a start within `budget` bytes of each GPU would end, by what one within `budget_then` told; "" where one
    sequence of `max_length` tokens (None = the model's own) finds room, or nothing is known of the cache.

    What is not cache is the same whatever the budget: weights, the peak of the profiling pass, graphs, the driver's.
    """
    wanted = max_length or told.context
    if not told.cache or not told.tokens or not wanted:
        return ""
    fixed, per_token = budget_then - told.cache, told.cache / told.tokens
    needed = fixed + math.ceil(wanted * per_token)
    if needed <= budget:
        return ""
    fits = max(int((budget - fixed) / per_token), 0) // BLOCK_TOKENS * BLOCK_TOKENS
    way_out = f"maxLength {fits} would fit" if fits else "no context would fit in that"
    return (
        f"vLLM would not start: {wanted} tokens of context take {_gib(needed)} of each GPU ({_gib(fixed)} of it before "
        f"any cache, by an earlier start), and its budget is {_gib(budget)}; {way_out}"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"

"""vLLM's own arithmetic: its footprint is the budget it is given, so the question is what that leaves to the cache.

    budget = memoryUtilization x the GPU's memory
    cache  = budget - weights - peak of the profiling pass - communication - CUDA graphs

and vLLM refuses to start where one sequence of `maxLength` tokens does not fit that cache. The counterpart of
`estimate` for that engine; pure. Weights and the cache of each token are exact; the rest are first guesses, held
against figures that others published, until a start's own log (`report`) takes their place. Nothing here was run
on a GPU: every margin says so.
Source: vllm/v1/worker/gpu_worker.py, vllm/v1/core/kv_cache_utils.py, vllm/v1/kv_cache_interface.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nexus_ctl.placement.vllm.settings import GIB, VllmSettings
from nexus_ctl.placement.vllm.shape import Caching, VllmShape
from nexus_ctl.placement.vllm.weights import ON_THE_FLY, weights_per_gpu
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.memory import HOST, Basis, Estimate, Part, PartKind, PlaceMemory

DEFAULT_UTILISATION = 0.92
MOST_UTILISATION = 0.98
"""vLLM wants its whole budget free at its start, and the driver's own context takes some of every GPU."""
BLOCK_TOKENS = 16
LOGIT_BYTES = 32
"""Of each sequence and token of the vocabulary while sampling: logits, their sorted copy and its index, probabilities.
Published: 1.26 GiB for 256 sequences of a vocabulary of 128,256, which is 41."""
OTHER_BYTES, OTHER_PARALLEL_BYTES = GIB // 4, GIB // 2
"""What is not torch's, of one GPU and of several that talk to each other. Published: 0.20 and 0.25 GiB."""
GRAPH_BYTES = GIB // 2
"""Captured graphs. Published: 0.36 GiB, and up to 2 GiB."""
LOADED, PEAK, REST = "tensors as they are loaded, split over the GPUs", "profiling pass", "communication and graphs"


@dataclass(frozen=True, slots=True)
class VllmNeed:
    """What one GPU must give so that one sequence of `length` tokens is served, in bytes."""

    weights: int
    activation: int
    other: int
    graphs: int
    sequence: int
    length: int
    weights_basis: Basis = Basis.EXACT

    @property
    def guessed(self) -> int:
        """What it works with beside weights and cache."""
        return self.activation + self.other + self.graphs

    @property
    def fixed(self) -> int:
        """What is taken before any cache."""
        return self.weights + self.guessed

    @property
    def margin(self) -> int:
        """How much more that may be."""
        return self.activation // 2 + self.other + self.graphs

    @property
    def total(self) -> int:
        """All of it, as expected."""
        return self.fixed + self.sequence

    def parts(self) -> tuple[Part, ...]:
        """As an estimate shows it, each with its margin."""
        return (
            Part(PartKind.WEIGHTS, self.weights, self.weights_basis, 0, LOADED),
            Part(PartKind.KV_CACHE, self.sequence, Basis.EXACT, 0, f"one sequence of {self.length} tokens"),
            Part(PartKind.COMPUTE, self.activation, Basis.ASSUMED, self.activation // 2, PEAK),
            Part(PartKind.OVERHEAD, self.other + self.graphs, Basis.ASSUMED, self.other + self.graphs, REST),
        )


@dataclass(frozen=True, slots=True)
class VllmFit:
    """One GPU's share. `sequences` is how many of `length` tokens its cache holds; `refused` why vLLM would not start,
    "" where it would; `doubt` that it would not if the first guesses are low by their margin.

    `estimate` claims the whole budget on each of `devices`, since vLLM takes it: no margin comes on top.
    """

    estimate: Estimate
    length: int
    sequences: float
    refused: str = ""
    doubt: str = ""

    @property
    def told(self) -> str:
        """`the KV cache holds 34,400 tokens, 2.1 sequences of 16,384`; "" for a model without a cache."""
        if math.isinf(self.sequences):
            return ""
        many = f"{int(self.sequences * self.length):,} tokens, {self.sequences:.1f} sequences of {self.length:,}"
        return f"the KV cache would hold {many}; activations and graphs are first guesses until vLLM ran here"


def row_bytes(one: Caching, settings: VllmSettings) -> int:
    """Bytes that one layer keeps of each token on each GPU. KV heads are repeated when there are fewer than GPUs;
    latent attention is not split at all."""
    return max(one.kv_heads // settings.tensor_parallel, 1) * one.width * settings.cache_bytes


def sequence_cache_bytes(shape: VllmShape, settings: VllmSettings, length: int) -> int:
    """Bytes of cache for one sequence of `length` tokens on each GPU, in whole blocks.

    A windowed layer keeps its window, one batch, and a block more; a chunked one its chunk and one batch.
    """
    total = 0
    for one in shape.caches:
        seen = length
        if one.window and settings.windows:
            reach = one.window - (not one.chunked) + settings.max_num_batched_tokens
            seen = min(reach, length)
        blocks = -(-seen // BLOCK_TOKENS) + bool(one.window and settings.windows and not one.chunked)
        layers = -(-one.layers // settings.pipeline_parallel)
        total += layers * blocks * BLOCK_TOKENS * row_bytes(one, settings)
    return total


def activation_bytes(shape: VllmShape, settings: VllmSettings) -> int:
    """Peak of the profiling pass on each GPU, a first guess: the widest layer over a full batch, or the sampler."""
    dense = 4 * shape.hidden + 3 * shape.feed_forward // settings.tensor_parallel
    width = shape.expert_feed_forward // settings.tensor_parallel
    experts = 4 * shape.hidden + shape.experts_used * (max(2 * width, shape.hidden) + width)
    layer = max(dense, experts if shape.experts_used else 0)
    sampler = 0 if settings.pooling else LOGIT_BYTES * settings.max_num_seqs * shape.vocabulary
    return max(settings.number_bytes * settings.max_num_batched_tokens * layer, sampler)


def need_of(checkpoint: Checkpoint, shape: VllmShape, settings: VllmSettings) -> VllmNeed:
    """What each GPU must give; of several stages and ranks the one that must give the most."""
    length, alone = settings.max_model_len or shape.context, settings.tensor_parallel * settings.pipeline_parallel == 1
    converted = settings.quantization in ON_THE_FLY and not shape.quantized
    return VllmNeed(
        weights=weights_per_gpu(checkpoint.weights.tensors, shape, settings),
        activation=activation_bytes(shape, settings),
        other=OTHER_BYTES if alone else OTHER_PARALLEL_BYTES,
        graphs=GRAPH_BYTES if settings.graphs else 0,
        sequence=sequence_cache_bytes(shape, settings, length),
        length=length,
        weights_basis=Basis.FORMULA if converted else Basis.EXACT,
    )


def told_settings(need: VllmNeed, settings: VllmSettings) -> dict[str, int | str | bool]:
    """What the settings come to, as an estimate shows it."""
    return {
        "maxLength": need.length,
        "sequenceBytes": need.sequence,
        "maxBatchedTokens": settings.max_num_batched_tokens,
        "maxSequences": settings.max_num_seqs,
        "tensor": settings.tensor_parallel,
        "pipeline": settings.pipeline_parallel,
    }


def left_out(shape: VllmShape, settings: VllmSettings) -> tuple[str, ...]:
    """What takes memory and is not counted, each in words."""
    return tuple(f"not counted: {what}" for what in (*shape.uncounted, *settings.uncounted))


def fit_vllm(
    checkpoint: Checkpoint, shape: VllmShape, settings: VllmSettings, budget: int, devices: Iterable[tuple[str, int]]
) -> VllmFit:
    """What a budget of that many bytes of each of `devices` (id, bytes in all) is made of, and whether it suffices."""
    need, pairs = need_of(checkpoint, shape, settings), tuple(devices)
    cache, parts = max(budget - need.fixed, 0), _parts(need, budget)
    refused = doubt = ""
    if need.total > budget:
        outs = [f"maxLength {fits} would fit"] if (fits := largest_length(shape, settings, cache)) else []
        share = math.ceil(need.total / min((size for _, size in pairs), default=1) * 100) / 100
        outs += [f"memoryUtilization {share:.2f} would do"] if share <= MOST_UTILISATION else []
        way_out = "; ".join(outs) or "nothing would fit: more GPUs, or a smaller model"
        refused = (
            f"vLLM would not start: one sequence of {need.length} tokens takes {gib(need.sequence)} of cache on each "
            f"GPU, and the budget of {gib(budget)} leaves {gib(cache)} beside weights ({gib(need.weights)}) and what "
            f"it works with ({gib(need.guessed)}, a first guess); {way_out}"
        )
    elif need.total + need.margin > budget:
        lack = gib(need.total + need.margin - budget)
        doubt = (
            f"vLLM may not start: what it works with is a first guess ({gib(need.guessed)}); at its worst {lack} lack"
        )
    resolved = {"budgetBytes": budget} | told_settings(need, settings)
    places = tuple(PlaceMemory(name, parts) for name, _ in pairs)
    estimate = Estimate(PlaceMemory(HOST, ()), places, resolved, left_out(shape, settings))
    sequences = round(cache / need.sequence, 2) if need.sequence else math.inf
    return VllmFit(estimate, need.length, sequences, refused, doubt)


def largest_length(shape: VllmShape, settings: VllmSettings, cache: int) -> int:
    """The longest context, in whole blocks up to the model's own, of which one sequence fits `cache`; 0 when none."""
    low, high = 0, shape.context // BLOCK_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        fits = sequence_cache_bytes(shape, settings, middle * BLOCK_TOKENS) <= cache
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * BLOCK_TOKENS


def gib(size: int) -> str:
    """`14.96 GiB`"""
    return f"{size / GIB:.2f} GiB"


def _parts(need: VllmNeed, budget: int) -> tuple[Part, ...]:
    """The budget by what it goes to, all of it: a budget that is too small is shown cut off, never as more."""
    weights = min(need.weights, budget)
    worked = min(need.activation, budget - weights)
    cache = max(budget - need.fixed, 0)
    return (
        Part(PartKind.WEIGHTS, weights, need.weights_basis, 0, LOADED),
        Part(PartKind.KV_CACHE, cache, Basis.ASSUMED, 0, "what the budget leaves"),
        Part(PartKind.COMPUTE, worked, Basis.ASSUMED, 0, PEAK),
        Part(PartKind.OVERHEAD, budget - weights - worked - cache, Basis.ASSUMED, 0, REST),
    )

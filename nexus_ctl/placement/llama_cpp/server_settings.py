"""What llama-server makes of its settings before it allocates: slots, paddings, batches, outputs.

The first step of `estimate`, and the one other estimators leave out. Pure arithmetic.
Source: llama.cpp src/llama-context.cpp (constructor), tools/server/server.cpp (auto slots, embeddings); checked
against the running server by `benchmarks/memory.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus_ctl.placement.llama_cpp.shape import ModelShape
from nexus_ctl.resources.memory import EngineSettings

PAD = 256
"""Contexts are padded to multiples of this many cells."""
AUTO_SLOTS = 4
MAX_SLOTS = 256
"""Sequences that one context takes (`LLAMA_MAX_SEQ`)."""
CACHE_TYPES = frozenset({"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"})


@dataclass(frozen=True, slots=True)
class Resolved:
    """The sizes the engine works with. `context` cells in all, `context_per_stream` in each of `streams` caches."""

    context: int
    context_per_stream: int
    streams: int
    slots: int
    batch: int
    ubatch: int
    outputs: int
    flash_attention: bool
    unified: bool

    @property
    def tokens(self) -> int:
        """Tokens of the largest graph: a full batch, the same number for every slot."""
        return pad(min(self.context, self.ubatch), self.slots)


def pad(count: int, multiple: int = PAD) -> int:
    """`count` rounded up."""
    return -(-count // multiple) * multiple


def resolve(settings: EngineSettings, shape: ModelShape) -> Resolved:
    """The sizes llama-server would run with. Raises ValueError for settings it would refuse."""
    slots = AUTO_SLOTS if settings.parallel is None else settings.parallel
    unified = settings.parallel is None if settings.kv_unified is None else settings.kv_unified
    asked = settings.context_size or shape.context
    if slots < 1 or asked < 1 or settings.batch_size < 1 or settings.ubatch_size < 1:
        raise ValueError("context, slots and batches must be positive")
    if slots > MAX_SLOTS:
        raise ValueError(f"the engine takes at most {MAX_SLOTS} slots")
    unknown = {settings.cache_type_k, settings.cache_type_v} - CACHE_TYPES
    if unknown:
        raise ValueError(f"no cache type: {', '.join(sorted(unknown))}")
    flash = settings.flash_attention != "off"
    if not flash and settings.cache_type_v not in ("f32", "f16", "bf16"):
        raise ValueError(f"a V cache of {settings.cache_type_v} needs flash attention")
    if shape.latent and settings.cache_type_k != settings.cache_type_v:
        raise ValueError("latent attention keeps K and V in one cache: the two types must be equal")
    batch = min(settings.batch_size, settings.ubatch_size) if settings.embeddings else settings.batch_size
    batch = min(asked, batch) if shape.causal else batch
    context = pad(asked)
    per_stream = context if unified else pad(context // slots)
    pooled = settings.embeddings or not shape.causal
    return Resolved(
        context=context if unified else per_stream * slots,
        context_per_stream=per_stream,
        streams=1 if unified else slots,
        slots=slots,
        batch=batch,
        ubatch=min(batch, settings.ubatch_size),
        outputs=batch if pooled else min(batch, slots * (1 + settings.draft_tokens)),
        flash_attention=flash,
        unified=unified,
    )

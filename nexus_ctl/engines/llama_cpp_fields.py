"""llama.cpp's declared fields held against each other: what the engine would refuse, ignore or do otherwise.

Called by `llama_cpp.check`. The rule: an error is what cannot work as declared, a warning what works otherwise than it
reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.engines.fault import Fault
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import ALL_GPUS
from nexus_ctl.resources.llama_cpp import LlamaCpp

PATH = "spec.engine.llamaCpp"
UNQUANTIZED = ("f32", "f16", "bf16")
DEFAULT_BATCH = 2048
DEFAULT_UBATCH = 512
CELLS = 256
"""A slot's context is a multiple of this. Source: llama.cpp, `llama_context`: n_ctx_seq is padded."""


def check_fields(spec: DeploymentSpec, engine: LlamaCpp) -> Iterator[Fault]:
    """All faults between fields, in the order of the groups."""
    yield from _context(engine)
    yield from _batching(engine)
    yield from _memory(engine)
    yield from _gpu(spec, engine)
    yield from _vectors(engine)
    yield from _rope(engine)
    yield from _draft(engine)
    yield from _threads(spec, engine)


def _no_effect(path: str, detail: str, hint: str, severity: str = "warning") -> Fault:
    return Fault(f"{PATH}.{path}", "no-effect", detail, hint, "error" if severity == "error" else "warning")


def _slot_tokens(engine: LlamaCpp) -> int:
    """Tokens that a slot gets of the declared context; 0 where it is not declared, or one pool serves all."""
    return 0 if not engine.context_size or engine.memory.kv_unified else engine.context_size // engine.parallel


def _context(engine: LlamaCpp) -> Iterator[Fault]:
    each, slots = _slot_tokens(engine), engine.parallel
    if not each and engine.context_size and not engine.memory.kv_unified:
        yield Fault(
            f"{PATH}.contextSize", "context-too-small", f"{engine.context_size} tokens are fewer than {slots} slots",
            f"contextSize: {CELLS * slots}, or fewer slots",
        )  # fmt: skip
    elif each and slots > 1 and each < CELLS:
        yield Fault(
            f"{PATH}.contextSize", "context-too-small",
            f"{each} tokens for each of {slots} slots; the engine takes {CELLS} for each, {CELLS * slots} in all",
            f"contextSize: {CELLS * slots}, or fewer slots", "warning",
        )  # fmt: skip
    elif each and (engine.context_size or 0) % slots:
        yield Fault(
            f"{PATH}.contextSize", "uneven-slots",
            f"{engine.context_size} tokens do not divide by {slots} slots; each gets {each}",
            f"contextSize: {each * slots}, or memory.kvUnified: true", "warning",
        )  # fmt: skip


def _batching(engine: LlamaCpp) -> Iterator[Fault]:
    batching = engine.batching
    batch = batching.batch_size or DEFAULT_BATCH
    if batching.ubatch_size is not None and batching.ubatch_size > batch:
        yield Fault(
            f"{PATH}.batching.ubatchSize", "ubatch-over-batch",
            f"{batching.ubatch_size} tokens at once are more than the {batch} of batchSize; it would take those",
            f"batchSize: {batching.ubatch_size}, or ubatchSize: {batch}",
        )  # fmt: skip
    if batching.cache_reuse and not batching.cache_prompt:
        yield _no_effect("batching.cacheReuse", "cachePrompt is off; there is nothing to reuse", "cachePrompt: true")
    if batching.keep is not None and not batching.context_shift:
        yield _no_effect("batching.keep", "contextShift is off; nothing is ever dropped", "contextShift: true")


def _memory(engine: LlamaCpp) -> Iterator[Fault]:
    memory = engine.memory
    if memory.cache_type_v not in (None, *UNQUANTIZED) and memory.flash_attention == "off":
        yield _needs_flash("memory.cacheTypeV", memory.cache_type_v)
    if engine.loading.lazy == "on" and memory.load_mode in ("none", "dio"):
        words = f"loadMode {memory.load_mode} reads everything at the start"
        yield _no_effect("loading.lazy", words, "loadMode: mmap")


def _needs_flash(path: str, type_: str | None) -> Fault:
    words = f"a {type_} V cache needs flash attention, which is off"
    return Fault(f"{PATH}.{path}", "quantized-v-needs-flash-attention", words, "flashAttention: on, or cacheTypeV: f16")


def _gpu(spec: DeploymentSpec, engine: LlamaCpp) -> Iterator[Fault]:
    gpu, gpus = engine.gpu, spec.resources.gpus
    if gpu.main_gpu is not None and gpu.split_mode not in ("none", "row"):
        yield _no_effect(
            "gpu.mainGpu", f"mainGpu means nothing with splitMode {gpu.split_mode or 'layer'}",
            "splitMode: none (or row), or leave mainGpu out",
        )  # fmt: skip
    if gpu.tensor_split is not None and gpu.split_mode == "none":
        yield _no_effect(
            "gpu.tensorSplit", "splitMode none uses one GPU; there is nothing to share",
            "splitMode: layer, or leave tensorSplit out",
        )  # fmt: skip
    if gpu.tensor_split is not None and not any(gpu.tensor_split):
        yield Fault(f"{PATH}.gpu.tensorSplit", "invalid-value", "no GPU gets a share", "give one a share above 0")
    given = len(gpus.ids) if gpus is not None and gpus.ids is not None else gpus.count if gpus is not None else None
    there = len(gpu.devices) if gpu.devices is not None else given if isinstance(given, int) else None
    if gpu.tensor_split is not None and there not in (None, ALL_GPUS, len(gpu.tensor_split)):
        yield Fault(
            f"{PATH}.gpu.tensorSplit", "gpus-do-not-match", f"{len(gpu.tensor_split)} shares for {there} GPUs",
            "give each GPU its share, 0 for none", "error" if len(gpu.tensor_split) > (there or 0) else "warning",
        )  # fmt: skip
    count = len(gpu.devices) if gpu.devices is not None else there
    if gpu.main_gpu is not None and count is not None and count >= 0 and gpu.main_gpu >= count:
        yield Fault(
            f"{PATH}.gpu.mainGpu", "gpus-do-not-match", f"there is no GPU {gpu.main_gpu} among {count}",
            f"mainGpu: 0 to {count - 1}",
        )  # fmt: skip


def _vectors(engine: LlamaCpp) -> Iterator[Fault]:
    embeddings, reranking = engine.embeddings, engine.reranking
    if embeddings.pooling is not None and not (embeddings.enabled or reranking.enabled):
        yield _no_effect("embeddings.pooling", "embeddings are not enabled", "embeddings.enabled: true", "error")
    if reranking.enabled and embeddings.pooling not in (None, "rank"):
        yield Fault(
            f"{PATH}.embeddings.pooling", "reranking-pools-by-rank",
            f"reranking needs the pooling of a reranker, not {embeddings.pooling}",
            "leave pooling out, or serve embeddings by a Deployment of their own",
        )  # fmt: skip
    asked = "embeddings.enabled" if embeddings.enabled else "reranking.enabled" if reranking.enabled else ""
    if asked and (engine.draft is not None or engine.projector is not None):
        other = "draft" if engine.draft is not None else "projector"
        yield _no_effect(other, "a model of vectors or scores generates nothing", f"leave {other} out")
    ubatch, each = engine.batching.ubatch_size or DEFAULT_UBATCH, _slot_tokens(engine)
    if asked and each > ubatch:
        yield Fault(
            f"{PATH}.{asked}", "embedding-over-ubatch",
            f"texts of more than {ubatch} tokens are refused by the engine, though a slot holds {each}",
            f"batching.ubatchSize: {each} (and a batchSize not below it)", "warning",
        )  # fmt: skip
    if asked and ubatch % engine.parallel:
        fits = ubatch - ubatch % engine.parallel
        yield Fault(
            f"{PATH}.batching.ubatchSize", "batch-does-not-divide",
            f"{ubatch} tokens at once do not divide by {engine.parallel} slots; with an encoder the engine ends itself",
            f"ubatchSize: {fits}, or another parallel", "warning",
        )  # fmt: skip


def _rope(engine: LlamaCpp) -> Iterator[Fault]:
    rope = engine.rope
    if rope.scale is not None and rope.freq_scale is not None:
        yield Fault(
            f"{PATH}.rope.freqScale",
            "flag-given-twice",
            "scale and freqScale say the same thing",
            "keep one of the two",
        )
    yarn = {
        "yarnOriginalContext": rope.yarn_original_context, "yarnExtrapolation": rope.yarn_extrapolation,
        "yarnAttention": rope.yarn_attention, "yarnBetaSlow": rope.yarn_beta_slow, "yarnBetaFast": rope.yarn_beta_fast,
    }  # fmt: skip
    for name, value in yarn.items():
        if value is not None and rope.scaling in ("none", "linear"):
            yield _no_effect(f"rope.{name}", f"scaling is {rope.scaling}", "scaling: yarn")
    if rope.scaling == "none" and (rope.scale or rope.freq_scale):
        stretched = "scale" if rope.scale else "freqScale"
        yield _no_effect(f"rope.{stretched}", "scaling is none", "scaling: linear, or yarn")


def _draft(engine: LlamaCpp) -> Iterator[Fault]:
    draft = engine.draft
    if draft is None:
        return
    if draft.n_min is not None and draft.n_min > (draft.n_max or 3):
        yield Fault(
            f"{PATH}.draft.nMin", "draft-min-over-max",
            f"at most {draft.n_max or 3} tokens are guessed and fewer than {draft.n_min} thrown away: all of them",
            f"nMin: 0, or nMax: {draft.n_min}",
        )  # fmt: skip
    if draft.cache_type_v not in (None, *UNQUANTIZED) and engine.memory.flash_attention == "off":
        yield _needs_flash("draft.cacheTypeV", draft.cache_type_v)


def _threads(spec: DeploymentSpec, engine: LlamaCpp) -> Iterator[Fault]:
    threads, cores = engine.threads.generation, spec.resources.cpu
    if threads is not None and cores is not None and threads > cores:
        yield Fault(
            f"{PATH}.threads.generation", "more-threads-than-cores",
            f"{threads} threads on {cores:g} cores wait for each other and are slower than {cores:g}",
            f"generation: {max(int(cores), 1)}", "warning",
        )  # fmt: skip

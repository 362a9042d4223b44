"""llama.cpp's declared fields held against the headers of the files they name: what only the files can tell.

Called when a replica is to be made and headers could be read, before anything is stopped. Pure. The rule: an error is
what llama-server would refuse, or leave out with no more than a line in its log; what is only likely is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.llama_cpp_companions import Companion, companions
from nexus_ctl.engines.llama_cpp_fields import DEFAULT_UBATCH, PATH
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.weights import GgufHeader

SERVED = "spec.model"
CODE = "file-says-otherwise"
VOCABULARY_DIFFERENCE = 128
"""Tokens by which two vocabularies may differ. Source: llama.cpp, common/speculative.cpp."""
ADAPTER_ENDS = (".lora_a", ".lora_b")
RANK_POOLING = 4
PROJECTOR = "clip"


def check_headers(engine: LlamaCpp, headers: Mapping[str, GgufHeader]) -> tuple[Fault, ...]:
    """Faults by the headers known, each by the path of its reference (`spec.model`, `<engine>.draft.model`)."""
    model = headers.get(SERVED)
    if model is None:
        return ()
    found = list(_served(engine, model))
    for one in companions(engine):
        header = headers.get(f"{PATH}.{one.path}.model")
        if header is not None:
            found += _CHECKS[one.role](engine, one, model, header)
    return tuple(found)


def _served(engine: LlamaCpp, model: GgufHeader) -> Iterator[Fault]:
    kind = kind_of(model)
    if kind != "model":
        yield Fault(SERVED, CODE, f"the file is {_article(kind)}, no model", f"say which file by {PATH}.file")
        return
    yield from _training_length(engine, model)
    vectors = engine.embeddings.enabled or engine.reranking.enabled
    if model.field("attention.causal") is False:
        ubatch = engine.batching.ubatch_size or DEFAULT_UBATCH
        if not vectors:
            words = "an encoder makes vectors or scores, and none are served"
            yield Fault(SERVED, CODE, words, "embeddings.enabled: true", "warning")
        if ubatch % engine.parallel:
            words = f"an encoder's {ubatch} tokens at once must divide by {engine.parallel} slots, or the engine ends"
            hint = f"ubatchSize: {ubatch - ubatch % engine.parallel}"
            yield Fault(f"{PATH}.batching.ubatchSize", CODE, words, hint)
    ranks = model.field("pooling_type") == RANK_POOLING or any(t.name.startswith("cls") for t in model.tensors)
    if engine.reranking.enabled and not ranks:
        words = "the model has no head that scores; every document will get a score without a meaning"
        yield Fault(f"{PATH}.reranking.enabled", CODE, words, "serve a reranker", "warning")


def _training_length(engine: LlamaCpp, model: GgufHeader) -> Iterator[Fault]:
    trained, rope = model.field("context_length"), engine.rope
    if not isinstance(trained, int) or not engine.context_size:
        return
    stretch = rope.scale or (1 / rope.freq_scale if rope.freq_scale else 1)
    each = engine.context_size // (1 if engine.memory.kv_unified else engine.parallel)
    if each > trained * stretch:
        words = f"a slot is given {each} tokens, and the model was trained on {trained}; the engine cuts it to that"
        hint = f"contextSize: {trained * engine.parallel}, or rope.scaling and rope.scale for a model that bears it"
        yield Fault(f"{PATH}.contextSize", CODE, words, hint, "warning")


def kind_of(header: GgufHeader) -> str:
    """`model`, `adapter` or `projector`, as the file says of itself."""
    said = header.metadata.get("general.type")
    if header.architecture == PROJECTOR or said in ("mmproj", "projector"):
        return "projector"
    return "adapter" if said == "adapter" else "model"


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "adapter" else f"a {kind}"


def _wrong_kind(one: Companion, header: GgufHeader, wanted: str) -> Iterator[Fault]:
    kind = kind_of(header)
    if kind != wanted:
        words = f"the file of Model/{one.mount.model} is {_article(kind)}, no {wanted}"
        yield Fault(f"{PATH}.{one.path}.model", CODE, words, "say which by file")


def _draft(engine: LlamaCpp, one: Companion, model: GgufHeader, draft: GgufHeader) -> Iterator[Fault]:
    yield from _wrong_kind(one, draft, "model")
    assert engine.draft is not None
    if engine.draft.method != "simple" or kind_of(draft) != "model":
        return  # a trained head borrows the target's vocabulary
    differences = [
        f"{key.removeprefix('tokenizer.ggml.')} {model.metadata.get(key)} and {draft.metadata.get(key)}"
        for key in ("tokenizer.ggml.model", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")
        if model.metadata.get(key) != draft.metadata.get(key)
    ]
    sizes = model.vocabulary_size, draft.vocabulary_size
    if abs(sizes[0] - sizes[1]) > VOCABULARY_DIFFERENCE:
        differences.append(f"{sizes[0]} and {sizes[1]} tokens")
    if differences:
        words = f"its vocabulary is not the target's ({', '.join(differences)}); the engine would serve on without it"
        hint = "take a smaller model of the same family"
        yield Fault(f"{PATH}.{one.path}.model", CODE, words, hint)


def _adapter(engine: LlamaCpp, one: Companion, model: GgufHeader, adapter: GgufHeader) -> Iterator[Fault]:
    at = f"{PATH}.{one.path}.model"
    yield from _wrong_kind(one, adapter, "adapter")
    if kind_of(adapter) != "adapter":
        return
    hint = "take an adapter that was trained on this very model"
    if adapter.architecture != model.architecture:
        words = f"it was made for {adapter.architecture}, and the model is {model.architecture}"
        yield Fault(at, CODE, words, hint)
        return
    shapes = {tensor.name: tensor.dims for tensor in model.tensors}
    for tensor in adapter.tensors:
        base = next((tensor.name.removesuffix(end) for end in ADAPTER_ENDS if tensor.name.endswith(end)), "")
        dims = shapes.get(base)
        if not base:
            continue
        if dims is None:
            yield Fault(at, CODE, f"it changes {base}, which the model does not have", hint)
            return
        is_embedding = base == "token_embd.weight"
        wanted, found = (dims[0], tensor.dims[0]) if tensor.name.endswith(".lora_a") else (dims[1], tensor.dims[1])
        if not is_embedding and wanted != found:
            words = f"it changes a {base} of width {found}, and the model's is {wanted} wide"
            yield Fault(at, CODE, words, hint)
            return


def _projector(engine: LlamaCpp, one: Companion, model: GgufHeader, projector: GgufHeader) -> Iterator[Fault]:
    yield from _wrong_kind(one, projector, "projector")
    width, size = projector.metadata.get("clip.vision.projection_dim"), model.field("embedding_length")
    if isinstance(width, int) and isinstance(size, int) and width % size:
        words = f"it gives {width} numbers for a piece of an image, and the model's tokens have {size}"
        hint = "take the projector that was published with this very model"
        yield Fault(f"{PATH}.{one.path}.model", CODE, words, hint, "warning")


_CHECKS = {"draft": _draft, "adapter": _adapter, "projector": _projector}

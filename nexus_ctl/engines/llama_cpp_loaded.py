"""llama.cpp: what `/props` and `/v1/models` say was loaded, held against the declared fields.

Reached through `engines.table`. What the server does with a context, found on the real one: the part of each slot is
rounded up to a multiple of 256 tokens, and a part beyond the model's training length is cut to it, with one line in
the log. Rounding is not worth a word; a cut is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose

from pydantic.alias_generators import to_camel

from nexus_ctl.engines.flags import text
from nexus_ctl.engines.loaded import Answers, Unlike, fact, number
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.llama_cpp import LlamaCpp

PROPS = "/props"
MODELS = "/v1/models"
ADAPTERS = "/lora-adapters"
SLOTS = "/slots"
METRICS = "/metrics"
PATH = "spec.engine.llamaCpp"
ROUNDED_TO = 256
"""Source: llama.cpp, `llama_context`: n_ctx_seq is padded to 256."""
SAMPLING: Mapping[str, str] = {
    **{
        name: name
        for name in (
            *("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n"),
            *("presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base", "dry_allowed_length"),
            *("xtc_probability", "xtc_threshold", "mirostat", "seed"),
        )
    },
    "mirostat_learning_rate": "mirostat_eta",
    "mirostat_entropy": "mirostat_tau",
}
"""Field of `sampling` → its name in the settings that `/props` tells."""


def unlike(spec: DeploymentSpec, answers: Answers) -> tuple[Unlike, ...]:
    """The fields that the server did not load as declared."""
    engine = spec.engine.llama_cpp
    assert engine is not None  # the table chose this module by it
    return (
        *_name(spec, answers),
        *_slots(engine, answers),
        *_context(engine, answers),
        *_server(engine, answers),
        *_sampling(engine, answers),
        *_companions(engine, answers),
    )


def reads(spec: DeploymentSpec) -> tuple[str, ...]:
    """The paths to ask: no more than what is declared needs."""
    engine = spec.engine.llama_cpp
    assert engine is not None  # the table chose this module by it
    speculates = engine.draft is not None and engine.server.slots
    return (PROPS, MODELS, *([ADAPTERS] if engine.adapters else []), *([SLOTS] if speculates else []))


def busy(spec: DeploymentSpec) -> BusySignal | None:
    """Where it says what it works on: its slots, else its metrics; None where both are declared off. Slots first, for
    every read of the metrics begins their averages anew."""
    engine = spec.engine.llama_cpp
    assert engine is not None  # the table chose this module by it
    if engine.server.slots:
        return BusySignal(SLOTS, flag="is_processing")
    if engine.server.metrics:
        return BusySignal(METRICS, gauges=("llamacpp:requests_processing", "llamacpp:requests_deferred"))
    return None


def _name(spec: DeploymentSpec, answers: Answers) -> Iterator[Unlike]:
    """The model's name is on the command line, so another one says that another server answers here."""
    name = fact(answers, PROPS, "model_alias")
    if isinstance(name, str) and name != spec.model:
        yield Unlike("spec.model", spec.model, name or "no name")


def _slots(engine: LlamaCpp, answers: Answers) -> Iterator[Unlike]:
    slots = number(answers, PROPS, "total_slots")
    if slots is not None and slots != engine.parallel:
        yield Unlike(f"{PATH}.parallel", str(engine.parallel), str(slots))


def _context(engine: LlamaCpp, answers: Answers) -> Iterator[Unlike]:
    each = number(answers, PROPS, "default_generation_settings", "n_ctx")
    trained = number(answers, MODELS, "data", 0, "meta", "n_ctx_train")
    size = engine.context_size
    if each is None or size is None or (size == 0 and trained is None):
        return
    parts = 1 if engine.memory.kv_unified else engine.parallel
    wanted = (size or trained or 0) // parts
    larger = size > 0 and each >= wanted + ROUNDED_TO
    if each >= wanted and not larger:
        return
    slots = f" for each of {engine.parallel} slots" if engine.parallel > 1 else ""
    declared = f"{size or 'the training length'}" + (f" ({wanted}{slots})" if slots and parts > 1 else "")
    why = ", the model's training length" if each == trained and each < wanted else ""
    yield Unlike(f"{PATH}.contextSize", declared, f"{each}{slots}{why}")


def _server(engine: LlamaCpp, answers: Answers) -> Iterator[Unlike]:
    for key, field, wanted in (
        ("endpoint_metrics", "metrics", engine.server.metrics),
        ("endpoint_slots", "slots", engine.server.slots),
        ("ui", "webUi", engine.server.web_ui),
    ):
        found = fact(answers, PROPS, key)
        if isinstance(found, bool) and found is not wanted:
            yield Unlike(f"{PATH}.server.{field}", _word(wanted), _word(found))
    declared, found = engine.server.chat_template, fact(answers, PROPS, "chat_template")
    # A built-in template's name comes back as its text; only a text can be compared.
    if declared is not None and "{" in declared and isinstance(found, str) and found.strip() != declared.strip():
        yield Unlike(f"{PATH}.server.chatTemplate", "a text", "another one")


def _sampling(engine: LlamaCpp, answers: Answers) -> Iterator[Unlike]:
    """Defaults of requests, by the engine's own names; it computes in single precision."""
    for field, name in SAMPLING.items():
        declared = getattr(engine.sampling, field)
        found = fact(answers, PROPS, "default_generation_settings", "params", name)
        if declared is None or isinstance(found, bool) or not isinstance(found, int | float):
            continue
        if not isclose(declared, found, rel_tol=1e-5, abs_tol=1e-6):
            yield Unlike(f"{PATH}.sampling.{to_camel(field)}", text(declared), text(round(found, 6)))


def _companions(engine: LlamaCpp, answers: Answers) -> Iterator[Unlike]:
    """A draft model of another vocabulary is left out with one line in the log, and the server serves on without it."""
    speculates = fact(answers, SLOTS, 0, "speculative")
    if engine.draft is not None and speculates is False:
        yield Unlike(f"{PATH}.draft", engine.draft.model or engine.draft.method, "no speculation")
    for at, adapter in enumerate(engine.adapters):
        loaded = answers.get(ADAPTERS)
        if not isinstance(loaded, list):
            break
        scale = fact(answers, ADAPTERS, at, "scale")
        if scale is None:
            yield Unlike(f"{PATH}.adapters[{at}]", adapter.model, "none")
        elif isinstance(scale, int | float) and not isclose(scale, adapter.scale, rel_tol=1e-5, abs_tol=1e-6):
            yield Unlike(f"{PATH}.adapters[{at}].scale", text(adapter.scale), text(round(scale, 6)))
    senses = fact(answers, PROPS, "modalities")
    if engine.projector is not None and isinstance(senses, Mapping) and not any(senses.values()):
        yield Unlike(f"{PATH}.projector", engine.projector.model, "neither images nor sound")


def _word(value: bool) -> str:
    return str(value).lower()

"""vLLM: a Deployment → the command line of `vllm serve` and the container it needs. Reached through `engines.table`.

The rule: an engine downloads nothing and writes nowhere but in memory. Hub and telemetry are switched off, home and
caches lie on the container's tmpfs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import declarable, text, words
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Mount, Sandbox
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.resources.vllm import Vllm, VllmAdapter

IMAGE = "vllm/vllm-openai:latest"
PATH = "spec.engine.vllm"
KEY = "VLLM_API_KEY"
"""The variable by which vLLM takes the key that it asks for."""
SHM_BYTES = 8 << 30
"""Worker processes talk through /dev/shm; 64 MiB, the engine's default, is too little for tensor parallelism."""
ENV = {
    "HOME": "/tmp",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CACHE_ROOT": "/tmp/vllm",
}
OURS: Mapping[str, str] = MappingProxyType(
    {
        "model": "the Model gives the files",
        "served-model-name": "the Route gives the public names",
        "host": "the runtime gives the address",
        "port": "the runtime gives the address",
        "uds": "the gateway calls the engine by its address",
        "root-path": "probes and the gateway call the engine's own paths",
        "api-key": "the gateway must know the key; declare server.apiKey, by reference",
        "hf-token": "a command line is no place for a secret; give it to the Model's source",
        "ssl-keyfile": "the gateway calls the engine in clear on its own address",
        "ssl-certfile": "the gateway calls the engine in clear on its own address",
        "download-dir": "engines download nothing; declare a Model with that source",
        "config": "a file beside the manifest would be a second truth; declare its fields here",
    }
)
"""What nexusctl decides itself, and why it cannot be declared."""


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """The engine's part of the launch specification; `engines.table` adds the Deployment's."""
    engine = _engine(spec)
    model = f"/models/{spec.model}"
    tools = ("--enable-auto-tool-choice",) if engine.server.tool_parser is not None else ()
    beside = tuple(Mount(target, model=name) for target, name in _beside(engine).items())
    return LaunchSpec(
        argv=(
            *("vllm", "serve", model, "--served-model-name", spec.model, "--host", HOST, "--port", PORT),
            *words(engine),
            *tools,
            *_companions(engine),
            *("--allowed-origins", json.dumps(engine.server.cors_origins)),
            *_raw(engine),
        ),
        env=ENV,
        mounts=(Mount(target=model, model=spec.model), *beside),
        image=engine.image or IMAGE,
        port=8000,
        sandbox=Sandbox(shm_bytes=SHM_BYTES),
    )


def _beside(engine: Vllm) -> dict[str, str]:
    """Path in the replica → the Model that lies there, for all but the model that is served."""
    draft = engine.draft.model if engine.draft is not None else None
    adapters = {_adapter(at, one): one.model for at, one in enumerate(engine.adapters.modules)}
    return adapters | ({f"/models/draft/{draft}": draft} if draft is not None else {})


def _adapter(at: int, one: VllmAdapter) -> str:
    return f"/models/adapter/{at}-{one.model}"


def _companions(engine: Vllm) -> Iterator[str]:
    """The words of draft and adapters."""
    draft, modules = engine.draft, engine.adapters.modules
    if draft is not None:
        given = {"method": draft.method, "num_speculative_tokens": draft.n_max}
        model = {"model": f"/models/draft/{draft.model}"} if draft.model is not None else {}
        yield from ("--speculative-config", json.dumps(model | given))
    if modules:
        pairs = (f"{one.name or one.model}={_adapter(at, one)}" for at, one in enumerate(modules))
        yield from ("--enable-lora", "--lora-modules", *pairs)


def key(spec: DeploymentSpec) -> tuple[str, ValueFrom] | None:
    """The variable by which it takes the key that its callers must bear, and where that is; None without one."""
    declared = _engine(spec).server.api_key
    return (KEY, declared.value_from) if declared is not None else None


def answers_to(spec: DeploymentSpec) -> tuple[str, ...]:
    """The model names it takes: its Model's first, then its adapters'. Any other is answered with 404."""
    return (spec.model, *(one.name or one.model for one in _engine(spec).adapters.modules))


def makes_vectors(spec: DeploymentSpec) -> bool:
    """Whether it is declared to serve vectors or scores."""
    return _engine(spec).model.runner == "pooling"


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """Everything wrong with the engine's part of the spec; errors and warnings."""
    engine = _engine(spec)
    return (*_check_fields(spec, engine), *_check_args(engine), *_check_env(spec), *_check_gpus(spec, engine))


def _engine(spec: DeploymentSpec) -> Vllm:
    assert spec.engine.vllm is not None  # the table chose this module by it
    return spec.engine.vllm


def _raw(engine: Vllm) -> Iterator[str]:
    for name, value in sorted(engine.args.items()):
        if value is not False:
            yield f"--{name}"
            yield from [] if value is True else [text(value)]


def _check_fields(spec: DeploymentSpec, engine: Vllm) -> Iterator[Fault]:
    adapters, scheduler = engine.adapters, engine.scheduler
    taken = {spec.model}
    for at, one in enumerate(adapters.modules):
        name = one.name or one.model
        if name in taken:
            path = f"{PATH}.adapters.modules[{at}].{'name' if one.name else 'model'}"
            yield Fault(path, "adapter-name-taken", f"{name} is what another model here is called", "give it a name")
        taken.add(name)
    for field, value in (("maxActive", adapters.max_active), ("maxRank", adapters.max_rank)):
        if value is not None and not adapters.modules:
            yield Fault(f"{PATH}.adapters.{field}", "no-effect", "there are no adapters", "modules: [...]", "warning")
    length, batched = engine.model.max_length, scheduler.max_batched_tokens
    if length is not None and batched is not None and batched < length and engine.model.runner == "pooling":
        yield Fault(
            f"{PATH}.scheduler.maxBatchedTokens", "batch-under-length",
            f"{batched} tokens at once are fewer than the {length} of maxLength, and vectors are not made in pieces",
            f"maxBatchedTokens: {length}, or a maxLength not above it",
        )  # fmt: skip


def _check_args(engine: Vllm) -> Iterator[Fault]:
    declared = {flag.removeprefix("--"): path for flag, path in declarable(Vllm, PATH).items()} | {
        "enable-auto-tool-choice": f"{PATH}.server.toolParser",
        "allowed-origins": f"{PATH}.server.corsOrigins",
        "speculative-config": f"{PATH}.draft",
        "enable-lora": f"{PATH}.adapters.modules",
        "lora-modules": f"{PATH}.adapters.modules",
    }
    for name, value in engine.args.items():
        at, plain = f"{PATH}.args.{name}", name.lstrip("-").replace("_", "-")
        if name.startswith("-"):
            yield Fault(at, "unknown-flag", "a flag is written without dashes", f"args: {{{plain}: ...}}")
        elif plain in OURS:
            yield Fault(at, "flag-is-ours", f"--{plain} is nexusctl's to set: {OURS[plain]}", "leave it out")
        elif plain in declared:
            yield Fault(at, "flag-has-a-field", f"--{plain} is declared by {declared[plain]}", "declare it there")
        elif value is False:
            yield Fault(at, "no-effect", "false leaves the flag out", f"leave it out, or no-{plain}: true", "warning")


def _check_env(spec: DeploymentSpec) -> Iterator[Fault]:
    if KEY in spec.env:
        words = f"{KEY} sets --api-key behind the declared arguments"
        yield Fault(f"spec.env.{KEY}", "flag-by-environment", words, OURS["api-key"])


def _check_gpus(spec: DeploymentSpec, engine: Vllm) -> Iterator[Fault]:
    gpus = spec.resources.gpus
    needed = (engine.parallel.tensor or 1) * (engine.parallel.pipeline or 1)
    given = None if gpus is None else len(gpus.ids) if gpus.ids is not None else gpus.count
    if gpus is None:
        yield Fault(
            "spec.resources.gpus", "no-gpu", "vLLM's usual image needs a GPU, and none is asked for",
            "resources: {gpus: {count: 1}}", "warning",
        )  # fmt: skip
    elif isinstance(given, int) and given != needed:
        yield Fault(
            f"{PATH}.parallel", "gpus-do-not-match",
            f"tensor x pipeline uses {needed} GPUs, resources.gpus gives {given}",
            f"parallel: {{tensor: {given}}}, or gpus: {{count: {needed}}}",
            "error" if given < needed else "warning",
        )  # fmt: skip

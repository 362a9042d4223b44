"""Which module speaks for which engine: one row per field of `Engine`.

Controllers and the manifest's checks ask here, so a new engine is a field, a module and a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic.alias_generators import to_camel

from nexus_ctl.engines import custom, llama_cpp, llama_cpp_loaded, vllm, vllm_loaded
from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.loaded import Answers, Unlike
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import ALL_GPUS, GpuRequest, LaunchSpec, Limits, Sandbox
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.resources.weights import GgufHeader


@dataclass(frozen=True, slots=True)
class EngineRow:
    """What an engine's module offers. All of it is pure."""

    launch: Callable[[DeploymentSpec], LaunchSpec]
    check: Callable[[DeploymentSpec], tuple[Fault, ...]]
    reads: Callable[[DeploymentSpec], tuple[str, ...]] = lambda _spec: ()
    """Paths where a ready engine says what it loaded."""
    unlike: Callable[[DeploymentSpec, Answers], tuple[Unlike, ...]] = lambda _spec, _answers: ()
    """The declared fields that its answers contradict."""
    check_headers: Callable[[DeploymentSpec, Mapping[str, GgufHeader]], tuple[Fault, ...]] = lambda _spec, _headers: ()
    """What is wrong by the headers of the files, by the path of the reference to each."""
    makes_vectors: Callable[[DeploymentSpec], bool] = lambda _spec: False
    """Whether it is declared to serve vectors or scores in the stead of answers."""
    answers_to: Callable[[DeploymentSpec], tuple[str, ...]] = lambda _spec: ()
    """The model names it takes in a request, that of the model it serves first; none where it takes any."""

    busy: Callable[[DeploymentSpec], BusySignal | None] = lambda _spec: None
    """Where it says what it works on; None where it says it nowhere."""
    key: Callable[[DeploymentSpec], tuple[str, ValueFrom] | None] = lambda _spec: None
    """The variable by which it takes the key that its callers must bear, and where that is; None without one."""


ENGINES: Mapping[str, EngineRow] = {
    "llama_cpp": EngineRow(
        llama_cpp.launch,
        llama_cpp.check,
        llama_cpp_loaded.reads,
        llama_cpp_loaded.unlike,
        llama_cpp.check_files,
        llama_cpp.makes_vectors,
        busy=llama_cpp_loaded.busy,
        key=llama_cpp.key,
    ),
    "vllm": EngineRow(
        vllm.launch,
        vllm.check,
        vllm_loaded.reads,
        vllm_loaded.unlike,
        makes_vectors=vllm.makes_vectors,
        answers_to=vllm.answers_to,
        busy=vllm_loaded.busy,
        key=vllm.key,
    ),
    "custom": EngineRow(custom.launch, custom.check),
}


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """What to run for each replica of this Deployment: the engine's part, and the Deployment's around it."""
    engine, container, gpus = ENGINES[engine_of(spec)].launch(spec), spec.container, spec.resources.gpus
    count = gpus.count if gpus is not None else None
    sandbox = Sandbox(
        user=container.user or "",
        read_only_root=container.read_only_root,
        writable=tuple(container.writable),
        shm_bytes=engine.sandbox.shm_bytes if container.shm_size is None else container.shm_size,
        pids=container.pids,
        ulimits=container.ulimits,
    )
    return replace(
        engine,
        env={**engine.env, **{name: entry.value for name, entry in spec.env.items() if entry.value is not None}},
        secret_env=secret_env(spec),
        key_env=own[0] if (own := key(spec)) is not None else "",
        limits=Limits(cpu_cores=spec.resources.cpu, memory_bytes=spec.resources.memory),
        gpus=None
        if gpus is None
        else GpuRequest(
            count=count if isinstance(count, int) else ALL_GPUS if count is not None else 0,
            ids=tuple(gpus.ids or ()),
            capabilities=tuple(gpus.capabilities),
        ),
        sandbox=sandbox,
    )


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """What is wrong with the engine's part of the spec, and with its placement."""
    return (*ENGINES[engine_of(spec)].check(spec), *_check_placement(spec))


def _check_placement(spec: DeploymentSpec) -> Iterator[Fault]:
    placement, gpus, llama = spec.placement, spec.resources.gpus, spec.engine.llama_cpp
    if placement.partial_offload and (gpus is None or llama is None):
        why = "only llama.cpp leaves layers on the host" if llama is None else "no GPU is asked for"
        yield Fault("spec.placement.partialOffload", "no-effect", why, "leave it out")
    elif placement.partial_offload and llama is not None and isinstance(llama.gpu.layers, int):
        given = f"engine.llamaCpp.gpu.layers says {llama.gpu.layers} already"
        yield Fault("spec.placement.partialOffload", "no-effect", given, "leave one of the two out")
    if placement.strategy is not None and gpus is None:
        yield Fault("spec.placement.strategy", "no-effect", "no GPU is asked for", "leave it out")
    if gpus is not None and llama is not None and llama.gpu.split_mode in ("row", "tensor") and gpus.memory is None:
        why = f"what splitMode {llama.gpu.split_mode} takes on each GPU is not known"
        yield Fault("spec.resources.gpus", "memory-is-a-guess", why, "resources.gpus.memory", "warning")


def check_headers(spec: DeploymentSpec, headers: Mapping[str, GgufHeader]) -> tuple[Fault, ...]:
    """What is wrong with the engine's part of the spec, by the headers of the files that are known."""
    return ENGINES[engine_of(spec)].check_headers(spec, headers)


def reads(spec: DeploymentSpec) -> tuple[str, ...]:
    """Paths where this engine says what it loaded; none where nothing is known to compare."""
    return ENGINES[engine_of(spec)].reads(spec)


def unlike(spec: DeploymentSpec, answers: Answers) -> tuple[Unlike, ...]:
    """The declared fields that a ready engine did not load as declared, by its own answers."""
    return ENGINES[engine_of(spec)].unlike(spec, answers)


def makes_vectors(spec: DeploymentSpec) -> bool:
    """Whether this Deployment is declared to serve vectors or scores in the stead of answers."""
    return ENGINES[engine_of(spec)].makes_vectors(spec)


def answers_to(owner: Ownership) -> tuple[str, ...]:
    """The model names that a replica's engine takes in a request, that of the model it serves first; none = any.

    By what the replica was made from, not by what is declared now: a Model's new name makes no new replica. A label
    that cannot be read tells of none; such a replica is not current and leaves.
    """
    spec = made_of(owner)
    return ENGINES[engine_of(spec)].answers_to(spec) if spec is not None else ()


def key(spec: DeploymentSpec) -> tuple[str, ValueFrom] | None:
    """The variable by which an engine takes the key that its callers must bear, and where that is; None without one."""
    return ENGINES[engine_of(spec)].key(spec)


def key_of(owner: Ownership) -> ValueFrom | None:
    """Where the key of a living replica is, by what it was made from; None without one."""
    spec = made_of(owner)
    own = key(spec) if spec is not None else None
    return own[1] if own is not None else None


def secret_env(spec: DeploymentSpec) -> Mapping[str, ValueFrom]:
    """The references of all secrets that a replica is started with, by variable."""
    env = {name: one.value_from for name, one in spec.env.items() if one.value_from is not None}
    own = key(spec)
    return dict([own]) | env if own is not None else env


def secrets_at(*specs: DeploymentSpec | None) -> str:
    """The path where secrets are declared; `spec` where that is at more than one."""
    known = [spec for spec in specs if spec is not None]
    keyed = [engine_of(spec) for spec in known if key(spec) is not None]
    env = any(one.value_from is not None for spec in known for one in spec.env.values())
    if not keyed:
        return "spec.env"
    return "spec" if env else f"spec.engine.{to_camel(keyed[0])}.server.apiKey"


def made_of(owner: Ownership) -> DeploymentSpec | None:
    """What a living replica was made from; None where its label cannot be read."""
    try:
        return DeploymentSpec.model_validate(json.loads(owner.spec), by_alias=True, by_name=False)
    except ValueError:
        return None


def busy(spec: DeploymentSpec) -> BusySignal | None:
    """Where this engine says how many requests it works on; None where it does not."""
    return ENGINES[engine_of(spec)].busy(spec)


def engine_of(spec: DeploymentSpec) -> str:
    """The field of `Engine` that is given; the spec's own validation makes it exactly one."""
    return next(name for name in ENGINES if getattr(spec.engine, name) is not None)

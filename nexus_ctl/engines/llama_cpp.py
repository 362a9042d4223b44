"""llama.cpp: a Deployment → the command line of `llama-server`, and what is wrong with it before it runs.

Reached through `engines.table`. `launch` renders the declared fields by the `Flag` that each one names
(`resources/llama_cpp.py`), in declaration order, then the raw `args` by name; the same specification starts a process
and a container. `check` holds the raw `args` against llama-server's argument table and the fields against each other.

Slots: `--parallel N` is always given, and an explicit N does not share one KV pool as the engine's own `auto` does:
each slot gets `contextSize / parallel` tokens unless `memory.kvUnified` is set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import declarable, text, variables, words
from nexus_ctl.engines.llama_cpp_args import check_args, check_env
from nexus_ctl.engines.llama_cpp_companions import companion_words, companions, taken
from nexus_ctl.engines.llama_cpp_fields import PATH, check_fields
from nexus_ctl.engines.llama_cpp_headers import check_headers
from nexus_ctl.engines.llama_server.arguments import by_spelling
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Mount
from nexus_ctl.resources.llama_cpp import LlamaCpp
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.resources.weights import GgufHeader

PROGRAM = "llama-server"
IMAGE = "ghcr.io/ggml-org/llama.cpp:server"
KEY = "LLAMA_API_KEY"
"""The variable by which llama-server takes the key that it asks for."""
CUDA_IMAGE = "ghcr.io/ggml-org/llama.cpp:server-cuda"


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """The engine's part of the launch specification; `engines.table` adds the Deployment's."""
    engine = _engine(spec)
    model = f"/models/{spec.model}.gguf"
    beside = companions(engine)
    return LaunchSpec(
        argv=(
            *(PROGRAM, "--model", model, "--alias", spec.model, "--host", HOST, "--port", PORT),
            *words(engine),
            *companion_words(engine, beside),
            *_raw(engine),
        ),
        env=variables(engine),
        mounts=(Mount(model, model=spec.model, file=engine.file or ""), *(one.mount for one in beside)),
        image=engine.image or (IMAGE if spec.resources.gpus is None else CUDA_IMAGE),
    )


def key(spec: DeploymentSpec) -> tuple[str, ValueFrom] | None:
    """The variable by which it takes the key that its callers must bear, and where that is; None without one."""
    declared = _engine(spec).server.api_key
    return (KEY, declared.value_from) if declared is not None else None


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """Everything wrong with the engine's part of the spec; errors and warnings."""
    engine = _engine(spec)
    declared = {**declarable(LlamaCpp, PATH), **taken(engine, PATH)}
    return (
        *check_fields(spec, engine),
        *check_args(engine.args, f"{PATH}.args", declared),
        *check_env(spec.env, "spec.env", declared),
    )


def check_files(spec: DeploymentSpec, headers: Mapping[str, GgufHeader]) -> tuple[Fault, ...]:
    """What is wrong by the headers of the files, by the path of the reference to each."""
    return check_headers(_engine(spec), headers)


def makes_vectors(spec: DeploymentSpec) -> bool:
    """Whether it is declared to serve vectors or scores."""
    engine = _engine(spec)
    return engine.embeddings.enabled or engine.reranking.enabled


def _engine(spec: DeploymentSpec) -> LlamaCpp:
    assert spec.engine.llama_cpp is not None  # the table chose this module by it
    return spec.engine.llama_cpp


def _raw(engine: LlamaCpp) -> Iterator[str]:
    for name, value in sorted(engine.args.items()):
        argument = by_spelling().get(f"--{name}")
        if value is False:
            yield from [argument.off_name] if argument and argument.off_name else []
        else:
            yield f"--{name}"
            yield from [] if value is True else [text(value)]

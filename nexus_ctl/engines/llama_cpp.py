"""llama.cpp: a Deployment → the command line of `llama-server`, and what is wrong with it before it runs.

Reached through `engines.table`. `launch` renders the declared fields by the `Flag` that each one names
(`resources/llama_cpp.py`), in declaration order, then the raw `args` by name; the same specification starts a process
and a container. `check` holds the raw `args` against llama-server's argument table and the fields against each other.

Slots: `--parallel N` is always given, and an explicit N does not share one KV pool as the engine's own `auto` does:
each slot gets `contextSize / parallel` tokens unless `memory.kvUnified` is set.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import flags, text, words
from nexus_ctl.engines.llama_cpp_args import check_args, check_env
from nexus_ctl.engines.llama_server.arguments import by_spelling
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Mount
from nexus_ctl.resources.llama_cpp import LlamaCpp

PROGRAM = "llama-server"
IMAGE = "ghcr.io/ggml-org/llama.cpp:server"
CUDA_IMAGE = "ghcr.io/ggml-org/llama.cpp:server-cuda"
PATH = "spec.engine.llamaCpp"
UNQUANTIZED = ("f32", "f16", "bf16")
DEFAULT_BATCH = 2048
DEFAULT_UBATCH = 512


def launch(spec: DeploymentSpec) -> LaunchSpec:
    """The engine's part of the launch specification; `engines.table` adds the Deployment's."""
    engine = _engine(spec)
    model = f"/models/{spec.model}.gguf"
    return LaunchSpec(
        argv=(
            *(PROGRAM, "--model", model, "--alias", spec.model, "--host", HOST, "--port", PORT),
            *words(engine),
            *_raw(engine),
        ),
        mounts=(Mount(target=model, model=spec.model),),
        image=engine.image or (IMAGE if spec.resources.gpus is None else CUDA_IMAGE),
    )


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """Everything wrong with the engine's part of the spec; errors and warnings."""
    engine = _engine(spec)
    declared = {flag.name or flag.off: path for path, flag, _ in flags(engine, PATH)}
    return (
        *_check_fields(spec, engine),
        *check_args(engine.args, f"{PATH}.args", declared),
        *check_env(spec.env, "spec.env", declared),
    )


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


def _check_fields(spec: DeploymentSpec, engine: LlamaCpp) -> Iterator[Fault]:
    memory, batching, gpu, embeddings = engine.memory, engine.batching, engine.gpu, engine.embeddings
    batch, ubatch = batching.batch_size or DEFAULT_BATCH, batching.ubatch_size or DEFAULT_UBATCH
    slots_share = memory.kv_unified is True
    if engine.context_size and engine.context_size % engine.parallel and not slots_share:
        each = engine.context_size // engine.parallel
        yield Fault(
            f"{PATH}.contextSize",
            "uneven-slots",
            f"{engine.context_size} tokens do not divide by {engine.parallel} slots; each gets {each}",
            f"contextSize: {each * engine.parallel}, or memory.kvUnified: true",
            "warning",
        )
    if batching.ubatch_size is not None and ubatch > batch:
        yield Fault(
            f"{PATH}.batching.ubatchSize",
            "ubatch-over-batch",
            f"{ubatch} tokens at once are more than the {batch} of batchSize; the engine would take {batch}",
            f"batchSize: {ubatch}, or ubatchSize: {batch}",
        )
    if memory.cache_type_v not in (None, *UNQUANTIZED) and memory.flash_attention == "off":
        yield Fault(
            f"{PATH}.memory.cacheTypeV",
            "quantized-v-needs-flash-attention",
            f"a {memory.cache_type_v} V cache needs flash attention, which is off",
            "flashAttention: on, or cacheTypeV: f16",
        )
    if gpu.main_gpu is not None and gpu.split_mode not in ("none", "row"):
        yield Fault(
            f"{PATH}.gpu.mainGpu",
            "no-effect",
            f"mainGpu means nothing with splitMode {gpu.split_mode or 'layer'}",
            "splitMode: none (or row), or leave mainGpu out",
            "warning",
        )
    if gpu.tensor_split is not None and gpu.split_mode == "none":
        yield Fault(
            f"{PATH}.gpu.tensorSplit",
            "no-effect",
            "splitMode none uses one GPU; there is nothing to share",
            "splitMode: layer, or leave tensorSplit out",
            "warning",
        )
    if embeddings.pooling is not None and not embeddings.enabled:
        yield Fault(f"{PATH}.embeddings.pooling", "no-effect", "embeddings are not enabled", "embeddings.enabled: true")
    if embeddings.enabled and engine.context_size and not slots_share:
        each = engine.context_size // engine.parallel
        if each > ubatch:
            yield Fault(
                f"{PATH}.embeddings.enabled",
                "embedding-over-ubatch",
                f"texts of more than {ubatch} tokens are refused by the engine, though a slot holds {each}",
                f"batching.ubatchSize: {each} (and a batchSize not below it)",
                "warning",
            )
    threads, cores = engine.threads.generation, spec.resources.cpu
    if threads is not None and cores is not None and threads > cores:
        yield Fault(
            f"{PATH}.threads.generation",
            "more-threads-than-cores",
            f"{threads} threads on {cores:g} cores wait for each other and are slower than {cores:g}",
            f"generation: {max(int(cores), 1)}",
            "warning",
        )

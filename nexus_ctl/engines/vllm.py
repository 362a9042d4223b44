"""vLLM: a Deployment → the command line of `vllm serve` and the container it needs. Reached through `engines.table`.

The rule: an engine downloads nothing and writes nowhere but in memory. Hub and telemetry are switched off, home and
caches lie on the container's tmpfs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from nexus_ctl.engines.fault import Fault
from nexus_ctl.engines.flags import flags, text, words
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec, Mount, Sandbox
from nexus_ctl.resources.vllm import Vllm

IMAGE = "vllm/vllm-openai:latest"
PATH = "spec.engine.vllm"
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
        "api-key": "the gateway calls without a key, and a command line is no place for a secret",
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
    return LaunchSpec(
        argv=(
            *("vllm", "serve", model, "--served-model-name", spec.model, "--host", HOST, "--port", PORT),
            *words(engine),
            *tools,
            *_raw(engine),
        ),
        env=ENV,
        mounts=(Mount(target=model, model=spec.model),),
        image=engine.image or IMAGE,
        port=8000,
        sandbox=Sandbox(shm_bytes=SHM_BYTES),
    )


def check(spec: DeploymentSpec) -> tuple[Fault, ...]:
    """Everything wrong with the engine's part of the spec; errors and warnings."""
    engine = _engine(spec)
    return (*_check_args(engine), *_check_gpus(spec, engine))


def _engine(spec: DeploymentSpec) -> Vllm:
    assert spec.engine.vllm is not None  # the table chose this module by it
    return spec.engine.vllm


def _raw(engine: Vllm) -> Iterator[str]:
    for name, value in sorted(engine.args.items()):
        if value is not False:
            yield f"--{name}"
            yield from [] if value is True else [text(value)]


def _check_args(engine: Vllm) -> Iterator[Fault]:
    declared = {
        spelling.removeprefix("--"): path
        for path, flag, _ in flags(engine, PATH)
        for spelling in (flag.name, flag.off)
        if spelling
    } | {"enable-auto-tool-choice": f"{PATH}.server.toolParser"}
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

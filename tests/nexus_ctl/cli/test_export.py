"""`nexusctl export compose` over the demo stack: the declared deployments, with the files of the cache in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.resources.image import LocalImage
from tests.fakes.gguf_models import TINY
from tests.fakes.gguf_models import write as modelled
from tests.fakes.workspace import CommandLine
from tests.fakes.world import FakeWorld
from tests.nexus_ctl.cli.conftest import DEMO

IMAGE = "ghcr.io/ggml-org/llama.cpp:server"


@pytest.fixture
def nexusctl(write: Callable[..., Path], tmp_path: Path) -> CommandLine:
    world = FakeWorld(containers=True)
    assert world.images is not None
    world.images.registry[IMAGE] = LocalImage("sha256:" + "a" * 64, 1000, ("/app/llama-server",))
    return CommandLine(world, tmp_path)


def test_it_writes_what_is_declared(nexusctl: CommandLine) -> None:
    nexusctl.ok("apply")
    out = nexusctl.ok("export", "compose").out
    assert "# Only nexusctl's gateway does these, they are not in here: Preset/precise, Route/chat\n" in out
    document = yaml.safe_load(out)
    assert (document["name"], list(document["services"])) == ("demo", ["chat"])
    chat = document["services"]["chat"]
    [artifact] = nexusctl.world.artifacts.delivered.values()
    assert chat["entrypoint"] == ["/app/llama-server"]
    assert chat["volumes"][0]["source"] == artifact.path
    assert chat["command"][chat["command"].index("--ctx-size") + 1] == "2048"


def test_a_secret_value_is_not_in_it(nexusctl: CommandLine, write: Callable[..., Path]) -> None:
    nexusctl.world.secrets["MY_TOKEN"] = "do_not_print_me"
    nexusctl.ok("apply")
    write(DEMO.replace("spec: {model", "spec: {env: {SEARCH_TOKEN: {valueFrom: {env: MY_TOKEN}}}, model"))
    out = nexusctl.ok("export", "compose").out
    assert "${MY_TOKEN:?is not set}" in out
    assert "do_not_print_me" not in out


def test_what_cannot_be_written_is_said(nexusctl: CommandLine, write: Callable[..., Path]) -> None:
    done = nexusctl("export", "compose")
    assert (done.code, done.out) == (2, "")
    assert "the file of Model/smol is not here yet" in done.err
    write(DEMO.replace("{llamaCpp: {contextSize: 2048}}", '{custom: {command: [serve, "{port}"]}}'))
    done = nexusctl("export", "compose")
    assert (done.code, "Deployment/chat names no container image" in done.err) == (2, True)
    write("apiVersion: nexus/v1\nkind: Stack\nmetadata: {name: demo}\n")
    assert nexusctl("export", "compose").code == 2


GIB = 1 << 30
ON_GPUS = "spec: {{resources: {{gpus: {gpus}}}, replicas: {replicas}, model"
VLLM = DEMO.replace("{llamaCpp: {contextSize: 2048}}", "{vllm: {parallel: {tensor: 2}}}")


@pytest.fixture
def on_gpus(tmp_path: Path, write: Callable[..., Path]) -> CommandLine:
    """A machine of two GPUs of different size, and a model with a real header."""
    world = FakeWorld(containers=True, gpus={"GPU-a": GIB, "GPU-b": 2 * GIB}, ready_after=0)
    assert world.images is not None
    for name in (IMAGE.replace(":server", ":server-cuda"), "vllm/vllm-openai:latest"):
        world.images.registry[name] = LocalImage("sha256:" + "a" * 64, 1000, ("/app/llama-server",))
    nexusctl = CommandLine(world, tmp_path)
    write(DEMO.partition("---\napiVersion: nexus/v1\nkind: Deployment")[0])
    nexusctl.ok("apply")
    [key] = world.artifacts.sources
    world.artifacts.headers[key] = read_file(modelled(TINY["llama-gqa"], tmp_path / "tiny.gguf")).header
    return nexusctl


def running(nexusctl: CommandLine) -> list[tuple[list[str], list[str]]]:
    """The words that each replica was started with, less those of a first start, and its GPUs."""
    found = []
    for _, thing in sorted(nexusctl.world.runtime.things.items()):
        assert thing.launch is not None
        assert thing.launch.gpus is not None
        words = " ".join(thing.launch.argv[1:]).replace(" --verbosity 4", "").replace("{host}", "0.0.0.0")
        found.append((words.replace("{port}", str(thing.launch.port)).split(" "), list(thing.launch.gpus.ids)))
    return found


def exported(nexusctl: CommandLine) -> dict[str, tuple[list[str], list[str]]]:
    """Words and GPUs of each service."""
    services = yaml.safe_load(nexusctl.ok("export", "compose").out)["services"]
    return {
        name: (one["command"], one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"])
        for name, one in services.items()
    }


@pytest.mark.parametrize(
    ("manifest", "gpus", "names"),
    [
        (DEMO, "{count: 1}", ["chat"]),
        (DEMO, "{count: auto}", ["chat"]),
        (DEMO, "{count: 2}", ["chat"]),
        (DEMO, '{ids: ["1"]}', ["chat"]),
        (DEMO, "{count: 1, memory: 800Mi}", ["chat-0", "chat-1"]),
        (VLLM, "{count: 2}", ["chat"]),
        (VLLM, "{count: 2, memory: 500Mi}", ["chat"]),
    ],
)
def test_it_writes_where_each_replica_lies(
    on_gpus: CommandLine, write: Callable[..., Path], manifest: str, gpus: str, names: list[str]
) -> None:
    write(manifest.replace("spec: {model", ON_GPUS.format(gpus=gpus, replicas=len(names))))
    on_gpus.ok("apply")
    assert exported(on_gpus) == dict(zip(names, running(on_gpus), strict=True))


def test_what_runs_otherwise_than_declared_is_not_written(on_gpus: CommandLine, write: Callable[..., Path]) -> None:
    write(DEMO.replace("spec: {model", ON_GPUS.format(gpus="{count: 1}", replicas=1)))
    on_gpus.ok("apply")
    write(DEMO.replace("2048", "4096").replace("spec: {model", ON_GPUS.format(gpus="{count: 1}", replicas=1)))
    out = on_gpus.ok("export", "compose").out
    assert "# chat: no replica of it runs on GPUs as declared: the engine picks them\n" in out
    assert "device_ids" not in out

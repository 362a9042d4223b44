"""`nexusctl export compose` over the demo stack: the declared deployments, with the files of the cache in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nexus_ctl.resources.image import LocalImage
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

"""Quantized by the llama-quantize of the image that serves the result: planned, killed in the middle, served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.conftest import Workspace, eventually
from tests.e2e.test_docker_job import ask
from tests.nexus_ctl.artifacts.quantize.test_quantized import ours

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.usefixtures("sockets_left_by_the_sdk")]


@pytest.fixture
def quantizing(workspace: Workspace, docker_api: docker.APIClient, llama_full_image: str) -> Workspace:
    """A workspace whose model is quantized, and served by an image that holds the program."""
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    workspace.documents["Model/smol"]["quantize"] = {"type": "Q8_0"}
    workspace.llama["image"] = llama_full_image
    workspace.write()
    return workspace


def builders(api: docker.APIClient) -> list[dict[str, Any]]:
    """What builds or looks, in any state."""
    found: list[dict[str, Any]] = api.containers(all=True, filters={"label": "nexusctl/builder"})
    return found


def built(workspace: Workspace) -> dict[str, Any]:
    """The record of the one model that was built."""
    found = [json.loads(path.read_text()) for path in (workspace.folder / "cache" / "records").glob("*.json")]
    [record] = [one for one in found if one["built"]]
    return dict(record)


def test_the_image_quantizes_what_it_serves_also_after_a_kill(
    quantizing: Workspace, docker_api: docker.APIClient, llama_full_image: str, smollm2: Path, tmp_path: Path
) -> None:
    identity = docker_api.inspect_image(llama_full_image)["Id"]
    plan = quantizing.ok("plan").out
    tool = f"llama-quantize of {llama_full_image} ({identity.removeprefix('sha256:')[:7]})"
    assert f"quantize Q8_0: 138.1 MiB, 8.51 bits per weight, by {tool}" in plan
    assert builders(docker_api) == [], "looking leaves nothing"

    apply = quantizing.popen("apply", "--yes")
    partial = quantizing.folder / "cache" / "partial"
    eventually(
        lambda: any(path.stat().st_size > 1 << 20 for path in partial.glob("*.build/*")), "it has begun to write"
    )
    [one] = builders(docker_api)
    assert one["State"] == "running"
    apply.kill()
    apply.communicate()
    assert not list((quantizing.folder / "cache").glob("records/*"))

    quantizing.apply()
    assert builders(docker_api) == []
    assert not list(partial.glob("*"))
    record = built(quantizing)
    assert record["built"]["tool"] == f"llama-quantize of the image {identity}"
    ours(smollm2, tmp_path / "package.gguf", "Q8_0")
    assert record["files"][0]["sha256"] == hashlib.sha256((tmp_path / "package.gguf").read_bytes()).hexdigest()
    assert quantizing.run("plan", "--detailed-exitcode").code == 0
    ask(quantizing)
    quantizing.ok("delete", "-f", "nexus.yaml", "--yes")


def test_cancelled_it_ends_and_an_image_without_it_leaves_it_to_the_package(
    quantizing: Workspace, docker_api: docker.APIClient, llama_image: str
) -> None:
    apply = quantizing.popen("apply", "--yes")
    eventually(lambda: [one for one in builders(docker_api) if one["State"] == "running"], "it builds")
    apply.terminate()
    apply.communicate()
    eventually(lambda: builders(docker_api) == [], "the container is gone")
    quantizing.llama["image"] = llama_image
    quantizing.write()
    plan = quantizing.ok("plan").out
    assert ", by ggml of xllamacpp " in plan
    memory = [json.loads(path.read_text()) for path in (quantizing.folder / "cache" / "tools").glob("*.json")]
    assert sorted(one["llama-quantize"] for one in memory) == ["", "/app/llama-quantize"]

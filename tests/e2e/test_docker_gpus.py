"""GPUs from the manifest to the container, on a real engine: NVML is a stand-in library, and the engine's GPU hook does
nothing, so the model runs on the CPU; all that nexusctl decides and asks for is real."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from nexus_ctl.runtimes.docker.forgotten import forgotten
from tests.e2e.conftest import Workspace, eventually
from tests.fakes.checkpoints import Checkpoint
from tests.fakes.hub import FakeHub
from tests.fakes.nvml.library import build
from tests.fixtures import images
from tests.fixtures.private_engine import Engine, spare_engine

IMAGE = "nexusctl-test/llama-server:gpu"
pytestmark = [pytest.mark.docker, pytest.mark.e2e]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def gpu_engine(engine: Engine) -> Iterator[Engine]:
    """An engine that believes to have the NVIDIA Container Toolkit, with the image of llama.cpp."""
    with spare_engine() as spare:
        spare.add_program("nvidia-container-runtime-hook", "#!/bin/sh\nexit 0\n")
        spare.restart()
        api = docker.APIClient(spare.url, timeout=60)
        api.tag(images.build(api, images.llama_server()), IMAGE)
        api.close()
        yield spare


@pytest.fixture
def gpu_api(gpu_engine: Engine) -> Iterator[docker.APIClient]:
    """The SDK on that engine."""
    api = docker.APIClient(gpu_engine.url, timeout=60)
    yield api
    api.close()


@pytest.fixture
def gpus(workspace: Workspace, gpu_engine: Engine, library: Path) -> Iterator[Workspace]:
    """A workspace on that engine, on a machine whose driver tells of two GPUs."""
    state = workspace.folder / "gpus"
    workspace.environ |= {
        "DOCKER_HOST": gpu_engine.url,
        "LD_LIBRARY_PATH": str(library),
        "FAKE_NVML": str(state),
    }
    workspace.inside = ("nsenter", f"--net=/proc/{gpu_engine.pid()}/ns/net")
    has(workspace, a=800, b=1000)
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    workspace.llama["image"] = IMAGE
    workspace.documents["Deployment/chat"]["probe"] = {"progressDeadline": "30s"}
    workspace.documents["Deployment/chat"]["resources"] = {"gpus": {"count": 1}}
    workspace.write()
    yield workspace
    workspace.run("delete", "-f", "nexus.yaml", "--yes")


def has(workspace: Workspace, **mib: int) -> None:
    """The driver tells of these GPUs, by their size in MiB, each with 100 MiB used by somebody else."""
    lines = [f"gpu GPU-{name} Fake {size} 100 0 -1" for name, size in mib.items()]
    (workspace.folder / "gpus").write_text("\n".join(lines) + "\n")


def the_container(api: docker.APIClient) -> dict[str, Any]:
    (one,) = api.containers(filters={"label": "nexusctl/name=chat"})
    found: dict[str, Any] = api.inspect_container(one["Id"])
    return found


def test_what_the_plan_places_is_what_the_container_gets(gpus: Workspace, gpu_api: docker.APIClient) -> None:
    plan = gpus.ok("plan")
    assert "gpu0 800.0 MiB: 100.0 MiB used -> " in plan.out
    assert "whole: gpu0 chosen, 700.0 MiB open; gpu1 would do, 900.0 MiB open" in plan.out
    gpus.apply()
    found = the_container(gpu_api)
    assert found["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["GPU-a"]
    words = " ".join(found["Config"]["Cmd"])
    assert "--gpu-layers all" in words
    assert "--split-mode none" in words
    assert "--fit off" in words
    assert gpus.run("plan", "--detailed-exitcode").code == 0
    placed = gpus.ok("get", "deployments").out
    assert "gpu0" in placed
    assert "gpu0 " in gpus.ok("describe", "deployment/chat").out
    exported = yaml.safe_load(gpus.ok("export", "compose").out)["services"]["chat"]
    told = found["Config"]["Cmd"]
    at = told.index("--verbosity")
    assert told[at : at + 2] == ["--verbosity", "4"], "a first start tells what it allocates; an exported one need not"
    assert exported["command"] == told[:at] + told[at + 2 :]
    [device] = exported["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == found["HostConfig"]["DeviceRequests"][0]["DeviceIDs"]


def test_the_first_start_of_vllm_is_checked_by_the_headers_of_the_hub(gpus: Workspace) -> None:
    """Of a tiny model with a context of four million tokens, each of which takes 512 bytes. vLLM itself is not run."""
    has(gpus, a=2000)
    gpus.inside = ()  # the hub is on this loopback, and nothing is started
    vllm: dict[str, Any] = {"image": IMAGE, "cache": {"memoryUtilization": 0.9}}
    gpus.documents["Model/tiny"] = {"source": {"huggingFace": {"repo": "org/tiny"}}}
    gpus.documents["Deployment/chat"] |= {"model": "tiny", "engine": {"vllm": vllm}}
    shape = {"max_position_embeddings": 1 << 22, "num_key_value_heads": 2, "head_dim": 16}
    with FakeHub() as hub:
        hub.commit("org/tiny", Checkpoint("LlamaForCausalLM", "llama", shape).files())
        gpus.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        gpus.write()
        refused = gpus.ok("plan").out
        vllm["model"] = {"maxLength": 65536}
        gpus.write()
        fits = gpus.ok("plan").out
        told = gpus.ok("models", "estimate", "tiny", "--ctx", "65536", "-o", "json").json()
    gpus.environ["HF_HUB_OFFLINE"] = "1"  # who clears up need not wait for a hub that is gone
    assert "insufficient_gpu" in refused
    assert "one sequence of 4194304 tokens takes 2.00 GiB" in refused
    assert "would fit" in refused
    assert "gpu0 2.0 GiB: 100.0 MiB used -> " in fits
    assert "sequences of 65,536" in fits
    assert told["kvCacheBytes"] == 65536 * 512
    assert told["fit"]["fit"] == "whole"


def test_a_second_model_goes_to_the_other_gpu_and_a_third_nowhere(gpus: Workspace) -> None:
    for name in ("second", "third"):
        gpus.documents[f"Deployment/{name}"] = dict(gpus.documents["Deployment/chat"])
    has(gpus, a=700, b=700)
    gpus.write()
    done = gpus.run("apply", "--yes")
    assert done.code == 4
    assert "insufficient_gpu" in done.out
    assert "missing" in gpus.ok("plan").out
    listed = gpus.ok("get", "deployments").out
    assert "gpu0" in listed
    assert "gpu1" in listed


def test_one_gpu_for_two_generations_is_stop_first_with_the_figures(gpus: Workspace, gpu_api: docker.APIClient) -> None:
    has(gpus, a=700)
    gpus.apply()
    before = the_container(gpu_api)["Id"]
    gpus.llama["contextSize"] = 1024
    gpus.write()
    plan = gpus.ok("plan").out
    assert "  -/+ Deployment/chat" in plan
    assert "open while the old one runs" in plan
    gpus.apply()
    assert the_container(gpu_api)["Id"] != before
    assert gpus.run("plan", "--detailed-exitcode").code == 0


def test_memory_held_by_a_container_that_the_engine_does_not_know_is_named(
    gpus: Workspace, gpu_api: docker.APIClient, engine: Engine, tiny_image: str
) -> None:
    gpus.apply()
    other = docker.APIClient(engine.url, timeout=60)
    stranger = other.create_container(tiny_image, ["serve", "127.0.0.1", "8000"])["Id"]
    try:
        other.start(stranger)
        pids = [pid_of(the_container(gpu_api)["Id"]), pid_of(stranger)]
        with (gpus.folder / "gpus").open("a") as state:
            state.writelines(f"process {pid} 60\n" for pid in pids)
        (note,) = gpus.ok("top").err.splitlines()
        there = f" holds 60.0 MiB of gpu1 in container {stranger[:12]}, which the engine does not know: "
        assert note.startswith(f"note: process {pids[1]} (")
        assert there in note
        plan = gpus.ok("plan").out
        assert there in plan, "the plan names it too, though it moves nothing"
        assert f"process {pids[0]} " not in plan, "ours is ours"
    finally:
        other.remove_container(stranger, force=True)
        other.close()


def pid_of(container: str) -> int:
    """A process of the container, by this machine's account: the engine may number its own."""
    found: int = eventually(lambda: [one.pid for one in forgotten(()) if one.container_id == container], "it runs")[0]
    return found

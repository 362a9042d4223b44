"""The daemon, as a user runs it: what ends serves again without a command, and commands take turns with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

import docker
import openai
import pytest

from tests.e2e.conftest import Workspace, eventually, keeping
from tests.fixtures.private_engine import Engine

pytestmark = pytest.mark.e2e


def serving(workspace: Workspace) -> AbstractContextManager[subprocess.Popen[str]]:
    return keeping("e2e", workspace.popen("serve", "--resync", "5s"))


def answers(workspace: Workspace) -> bool:
    client = openai.OpenAI(base_url=workspace.url, api_key="none", max_retries=0, timeout=60)
    try:
        with client:
            return client.completions.create(model="chat", prompt="one", max_tokens=1).usage is not None
    except openai.OpenAIError:
        return False


def engines(workspace: Workspace) -> dict[str, int]:
    return {name: pid for name, pid in workspace.replicas().items() if "chat" in name}


def heals(workspace: Workspace, end: Callable[[], object], present: Callable[[], object]) -> None:
    """After `end`, the route answers again, by another run than before."""
    before = present()
    end()
    eventually(lambda: present() not in (before, {}, "") and answers(workspace), "it serves again without a command")


def test_killed_engines_serve_again_and_commands_take_turns(workspace: Workspace) -> None:
    workspace.apply()

    def kill() -> None:
        [pid] = engines(workspace).values()
        os.kill(pid, signal.SIGKILL)

    with serving(workspace) as daemon:
        heals(workspace, kill, lambda: engines(workspace))
        workspace.documents["Preset/precise"]["sampling"]["temperature"] = 0.2
        workspace.write()
        assert "preset/precise configured" in workspace.apply().out
        workspace.llama["contextSize"] = 1024
        workspace.write()
        assert "deployment/chat replaced" in workspace.apply().out
        assert workspace.run("serve").code == 7, "one daemon for each state directory"
        daemon.kill()
        daemon.wait()
    kill()
    eventually(lambda: not engines(workspace), "the engine is gone, and nobody is there to heal it")
    with serving(workspace):
        eventually(lambda: answers(workspace), "the next run heals what ended in between")
        gateway = next(pid for name, pid in workspace.replicas().items() if "gateway" in name)
        heals(workspace, lambda: os.kill(gateway, signal.SIGKILL), workspace.replicas)
    assert workspace.run("plan", "--detailed-exitcode").code == 0


@pytest.fixture
def containers(workspace: Workspace, llama_image: str) -> Workspace:
    """A workspace whose replicas are containers."""
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    workspace.llama["image"] = llama_image
    workspace.write()
    return workspace


@pytest.mark.docker
def test_killed_containers_and_engines_serve_again(
    containers: Workspace, docker_api: docker.APIClient, engine: Engine
) -> None:
    def run() -> str:
        """What tells one run of the container from another; "" while none runs."""
        rows = docker_api.containers(filters={"label": "nexusctl/set=e2e"})
        found = [docker_api.inspect_container(row["Id"]) for row in rows]
        return "".join(one["Id"] + one["State"]["StartedAt"] for one in found)

    def kill() -> None:
        [row] = docker_api.containers(filters={"label": "nexusctl/set=e2e"})
        docker_api.kill(row["Id"])

    containers.apply()
    with serving(containers):
        heals(containers, kill, run)
        heals(containers, lambda: engine.restart(signal.SIGKILL), run)
        engine.configure(**{"live-restore": True})
        try:
            engine.restart(signal.SIGKILL)
            before = run()
            engine.restart(signal.SIGKILL)
            eventually(lambda: answers(containers), "it goes on serving")
            assert run() == before, "with live-restore nothing is restarted"
            heals(containers, kill, run)
        finally:
            engine.configure()
            engine.restart(signal.SIGTERM)
            eventually(lambda: answers(containers), "and without it is healed once more")

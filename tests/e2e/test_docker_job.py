"""The main job on a real Docker engine: the same command line, the same model, containers instead of processes."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

import docker
import openai
import pytest

from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Health
from nexus_ctl.runtimes.probe import HttpProber
from tests.e2e.conftest import Workspace, eventually

pytestmark = [pytest.mark.docker, pytest.mark.e2e]

CUTS = 6


@pytest.fixture
def containers(workspace: Workspace, docker_api: docker.APIClient, llama_image: str) -> Workspace:
    """A workspace whose replicas are containers."""
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    workspace.llama["image"] = llama_image
    workspace.write()
    return workspace


def running(api: docker.APIClient) -> list[dict[str, Any]]:
    """Every container of the stack, by name."""
    found = api.containers(all=True, filters={"label": "nexusctl/set=e2e"})
    return sorted(found, key=lambda item: str(item["Names"]))


def ask(workspace: Workspace) -> None:
    with openai.OpenAI(base_url=workspace.url, api_key="none", max_retries=0, timeout=60) as client:
        assert client.completions.create(model="chat", prompt="one two", max_tokens=2).usage is not None


def test_from_a_manifest_to_an_answer_and_back_to_nothing(containers: Workspace, docker_api: docker.APIClient) -> None:
    plan = containers.ok("plan")
    assert "runtime docker" in plan.out
    containers.apply()
    ask(containers)
    [one] = running(docker_api)
    assert one["Labels"]["nexusctl/name"] == "chat"
    assert all(port["IP"] == "127.0.0.1" for port in one["Ports"] if "IP" in port)
    assert containers.run("plan", "--detailed-exitcode").code == 0
    before = one["Id"]
    containers.documents["Preset/precise"]["sampling"]["temperature"] = 0.1
    containers.write()
    containers.apply()
    assert [item["Id"] for item in running(docker_api)] == [before]
    containers.ok("delete", "-f", "nexus.yaml", "--yes")
    assert running(docker_api) == []


def test_replacements_and_reloads_under_load_drop_nothing(containers: Workspace, docker_api: docker.APIClient) -> None:
    containers.apply()
    failures: list[Exception] = []
    answered = [0]
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                ask(containers)
                answered[0] += 1
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=load) for _ in range(3)]
    for each in clients:
        each.start()
    try:
        for turn in range(3):
            containers.llama["contextSize"] = 512 + 256 * (turn + 1)
            containers.documents["Preset/precise"]["sampling"]["temperature"] = turn / 10
            containers.write()
            assert "deployment/chat replaced" in containers.apply().out
    finally:
        stop.set()
        for each in clients:
            each.join()
    assert failures == []
    assert answered[0] > 3
    assert len(running(docker_api)) == 1


def test_an_exported_compose_file_serves_the_same_model(
    containers: Workspace, compose: list[str], docker_api: docker.APIClient
) -> None:
    containers.documents["Deployment/chat"] |= {"env": {"GREETING": {"value": "5 $ $${HOME}"}}}
    containers.write()
    containers.apply()
    [ours] = [docker_api.inspect_container(one["Id"]) for one in running(docker_api)]
    (containers.folder / "compose.yaml").write_text(containers.ok("export", "compose").out)
    containers.ok("delete", "-f", "nexus.yaml", "--yes")

    def run(*words: str) -> str:
        return subprocess.run(
            [*compose, *words], cwd=containers.folder, check=True, capture_output=True, text=True
        ).stdout

    try:
        run("up", "--detach", "--quiet-pull")
        url = f"http://{run('port', 'chat', '8080').strip()}"
        assert url.startswith("http://127.0.0.1:")
        eventually(lambda: HttpProber().look(url, ReadyProbe()) is Health.READY, "the service is ready")
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            assert client.completions.create(model="smol", prompt="one two", max_tokens=2).usage is not None
        theirs = docker_api.inspect_container(run("ps", "--quiet", "chat").strip())
        told = ours["Config"]["Cmd"]
        assert told[-2:] == ["--verbosity", "4"], "a first start tells what it allocates; an exported one need not"
        assert theirs["Config"]["Cmd"] == told[:-2]
        assert sorted(theirs["Config"]["Env"]) == sorted(ours["Config"]["Env"])
        for key in ("Entrypoint", "User"):
            assert theirs["Config"][key] == ours["Config"][key]
        for key in ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Tmpfs", "Init", "LogConfig", "ShmSize"):
            assert theirs["HostConfig"][key] == ours["HostConfig"][key]
        assert [(m["Source"], m["Destination"], m["RW"]) for m in theirs["Mounts"]] == [
            (m["Source"], m["Destination"], m["RW"]) for m in ours["Mounts"]
        ]
    finally:
        run("down", "--timeout", "0")


def test_a_paused_and_a_killed_container_are_named_and_healed(
    containers: Workspace, docker_api: docker.APIClient
) -> None:
    containers.apply()
    [one] = running(docker_api)
    docker_api.pause(one["Id"])
    assert "running -> paused" in containers.ok("plan").out
    assert " paused " in containers.run("status").out
    assert "deployment/chat configured" in containers.apply().out
    ask(containers)
    assert [row["Id"] for row in running(docker_api)] == [one["Id"]]
    docker_api.kill(one["Id"])
    eventually(lambda: running(docker_api)[0]["State"] == "exited", "the engine saw it end")
    assert "running -> exited(137)" in containers.ok("plan").out
    assert "deployment/chat restarted" in containers.apply().out
    ask(containers)


def test_an_apply_killed_anywhere_is_finished_by_the_next(containers: Workspace, docker_api: docker.APIClient) -> None:
    began = time.monotonic()
    containers.apply()
    whole = time.monotonic() - began
    for cut in range(CUTS):
        containers.llama["contextSize"] = 768 if cut % 2 == 0 else 512
        containers.write()
        apply = containers.popen("apply", "--yes")
        time.sleep(whole * (cut + 0.5) / CUTS)
        apply.kill()
        apply.communicate()
        containers.apply()
        assert containers.run("plan", "--detailed-exitcode").code == 0
        [one] = running(docker_api)
        assert one["State"] == "running"
    ask(containers)


def test_a_foreign_container_with_our_name_is_left_alone_and_named(
    containers: Workspace, docker_api: docker.APIClient, tiny_image: str
) -> None:
    containers.apply()
    [one] = running(docker_api)
    name = one["Names"][0].lstrip("/")
    containers.ok("delete", "-f", "nexus.yaml", "--yes")
    foreign = docker_api.create_container(tiny_image, name=name)["Id"]
    try:
        blocked = containers.run("apply", "--yes")
        assert blocked.code == 4
        assert name in blocked.out + blocked.err
        assert docker_api.inspect_container(foreign)["Id"] == foreign
    finally:
        docker_api.remove_container(foreign, force=True)

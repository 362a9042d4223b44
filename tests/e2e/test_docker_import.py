"""A container that somebody started by hand becomes a manifest, and the manifest a replica that runs the same."""

from __future__ import annotations

from pathlib import Path

import docker
import openai
import pytest
import yaml

from tests.e2e.conftest import Workspace

pytestmark = [pytest.mark.docker, pytest.mark.e2e]


def test_from_a_running_container_to_a_replica_of_ours(
    workspace: Workspace, docker_api: docker.APIClient, llama_image: str, smollm2: Path
) -> None:
    host = docker_api.create_host_config(
        binds={str(smollm2.parent): {"bind": "/models", "mode": "ro"}},
        port_bindings={8080: ("127.0.0.1", None)},
        restart_policy={"Name": "unless-stopped"},
        mem_limit="2g",
    )
    words = ["-m", f"/models/{smollm2.name}", "-c", "768", "-np", "2", "--host", "0.0.0.0", "--temp", "0.5"]
    env = {"LLAMA_ARG_THREADS": "1", "GREETING": "5 ${HOME}"}
    legacy = docker_api.create_container(
        llama_image, words, environment=env, host_config=host, name="legacy-llama", ports=[8080]
    )["Id"]
    try:
        docker_api.start(legacy)
        done = workspace.ok("import", "docker/legacy-llama")
        assert "left out: its restart policy unless-stopped" in done.err
        assert docker_api.inspect_container(legacy)["State"]["Running"]
    finally:
        docker_api.remove_container(legacy, force=True)
    found = {one["kind"]: one for one in yaml.safe_load_all(done.out)}
    assert found["Model"]["spec"] == {"source": {"path": str(smollm2)}}
    workspace.documents = {
        "Stack/e2e": workspace.documents["Stack/e2e"] | {"runtime": {"driver": "docker", "pullPolicy": "Never"}}
    }
    workspace.write()
    (workspace.folder / "imported.yaml").write_text(done.out)
    workspace.ok("apply", "--yes", "-f", "nexus.yaml", "-f", "imported.yaml")
    try:
        [row] = docker_api.containers(filters={"label": "nexusctl/set=e2e"})
        ours = docker_api.inspect_container(row["Id"])
        argv = ours["Config"]["Cmd"]
        for pair in (("--ctx-size", "768"), ("--parallel", "2"), ("--threads", "1"), ("--temp", "0.5")):
            at = argv.index(pair[0])
            assert tuple(argv[at : at + 2]) == pair
        assert ours["HostConfig"]["Memory"] == 2 << 30
        assert "GREETING=5 ${HOME}" in ours["Config"]["Env"]
        own = workspace.run("import", f"docker/{ours['Name'].lstrip('/')}")
        assert (own.code, "is a replica of Deployment/legacy-llama" in own.err) == (2, True)
        assert workspace.run("import", "docker/nobody").code == 2
    finally:
        workspace.ok("delete", "-f", "nexus.yaml", "-f", "imported.yaml", "--yes")


def test_a_running_container_is_taken_over_without_a_restart(
    workspace: Workspace, docker_api: docker.APIClient, llama_image: str, smollm2: Path
) -> None:
    host = docker_api.create_host_config(
        binds={str(smollm2.parent): {"bind": "/models", "mode": "ro"}}, port_bindings={8080: None}
    )
    words = ["-m", f"/models/{smollm2.name}", "-c", "512", "-np", "1", "-t", "1", "--host", "0.0.0.0", "--port", "8080"]
    legacy = docker_api.create_container(llama_image, words, host_config=host, name="old-chat", ports=[8080])["Id"]
    docker_api.start(legacy)
    started = docker_api.inspect_container(legacy)["State"]["StartedAt"]
    imported = list(yaml.safe_load_all(workspace.ok("import", "docker/old-chat").out))
    workspace.documents = {
        "Stack/e2e": workspace.documents["Stack/e2e"] | {"runtime": {"driver": "docker", "pullPolicy": "Never"}},
        "Route/chat": {"backends": [{"deployment": "old-chat"}]},
    }
    workspace.write()
    manifest = workspace.folder / "imported.yaml"
    files = ("-f", "nexus.yaml", "-f", "imported.yaml")

    def running() -> list[str]:
        return [row["Id"] for row in docker_api.containers(all=True)]

    def ask() -> None:
        with openai.OpenAI(base_url=workspace.url, api_key="none", max_retries=0, timeout=60) as client:
            assert client.completions.create(model="chat", prompt="one two", max_tokens=2).usage is not None

    try:
        manifest.write_text(yaml.safe_dump_all(imported))
        plan = workspace.ok("plan", *files, "--adopt=if-unowned").out
        assert "  <   Deployment/old-chat" in plan
        workspace.ok("apply", "--yes", *files, "--adopt=if-unowned")
        assert running() == [legacy]
        assert docker_api.inspect_container(legacy)["State"]["StartedAt"] == started
        ask()
        assert workspace.run("plan", *files, "--detailed-exitcode").code == 0
        (workspace.folder / ".nexus" / "state.db").unlink()
        assert workspace.run("plan", *files).out.count("to create") == 0, "a lost database loses no container"
        imported[-1]["spec"]["engine"]["llamaCpp"]["contextSize"] = 768
        manifest.write_text(yaml.safe_dump_all(imported))
        workspace.ok("apply", "--yes", *files)
        assert legacy not in running()
        assert len(running()) == 1
        ask()
    finally:
        workspace.run("delete", *files, "--yes")
        for left in running():
            docker_api.remove_container(left, force=True)

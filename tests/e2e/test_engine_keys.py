"""The real engine behind a key: it answers nobody without, everybody through the gateway, and the key is nowhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import docker
import openai
import pytest

from nexus_ctl.routing.keys import KeyFiles
from tests.e2e.conftest import Workspace

CANARY, NEXT = "sk-canary-3f9a17", "sk-canary-71bd02"


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def keyed(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Workspace]:
    """A workspace that serves behind a key, as processes or as containers."""
    if request.param == "docker":
        workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
        workspace.llama["image"] = request.getfixturevalue("llama_image")
    workspace.llama["server"] = {"apiKey": {"valueFrom": {"env": "ENGINE_KEY"}}}
    workspace.documents["Deployment/chat"]["rollout"] = {"strategy": "startFirst"}
    workspace.environ["ENGINE_KEY"] = CANARY
    workspace.write()
    yield workspace
    shutil.rmtree(KeyFiles(workspace.folder / ".nexus" / "gateway" / "e2e.json").folder, ignore_errors=True)


def status(url: str, key: str = "") -> int:
    """What the engine itself answers to a caller who bears this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urlopen(Request(f"{url}/slots", headers=headers), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def ask(workspace: Workspace) -> None:
    with openai.OpenAI(base_url=workspace.url, api_key="the clients own", max_retries=0, timeout=60) as client:
        assert client.completions.create(model="chat", prompt="one two", max_tokens=2).usage is not None


@pytest.mark.e2e
def test_an_engine_behind_a_key(keyed: Workspace, request: pytest.FixtureRequest) -> None:
    said = [keyed.ok("plan"), keyed.apply()]
    first, url = keyed.routed()
    assert [status(url), status(url, "wrong"), status(url, CANARY)] == [401, 401, 200]
    ask(keyed)
    assert keyed.run("plan", "--detailed-exitcode").code == 0
    described = keyed.ok("describe", "deployment/chat")
    assert "LoadedAsDeclared" in described.out, "it was asked what it loaded"
    keyed.environ["ENGINE_KEY"] = NEXT
    changed = keyed.ok("plan")
    assert "spec.engine.llamaCpp.server.apiKey" in changed.out
    assert "secret_changed" in changed.out
    said += [described, changed, keyed.apply(), keyed.ok("events", "-o", "json"), keyed.ok("get", "all", "-o", "json")]
    second, url = keyed.routed()
    assert second != first
    assert [status(url), status(url, CANARY), status(url, NEXT)] == [401, 401, 200]
    ask(keyed)
    said += [keyed.ok("export", "compose"), keyed.ok("logs", "deployment/chat")]
    written = [file.read_bytes().decode(errors="replace") for file in state_files(keyed)]
    if request.node.callspec.params["keyed"] == "docker":
        api: docker.APIClient = request.getfixturevalue("docker_api")
        written += [json.dumps(api.inspect_container(second))]
    words = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in keyed.ours()]
    everything = [*written, *words, *(done.out + done.err for done in said)]
    assert not [text for text in everything if CANARY in text or NEXT in text]
    keys = KeyFiles(keyed.folder / ".nexus" / "gateway" / "e2e.json")
    assert dict(keys.all()) == {second: NEXT}
    keyed.ok("delete", "-f", "nexus.yaml", "--yes")
    assert keys.all() == {}


def state_files(workspace: Workspace) -> list[Path]:
    return [file for file in (workspace.folder / ".nexus").rglob("*") if file.is_file()]

"""Two stacks in one folder, one install: with the same names they serve side by side, neither touches the other."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from tests.e2e.conftest import Done, Workspace, eventually, free_port, keeping

pytestmark = pytest.mark.e2e

BOTH = ("--lock-timeout", "60s")
SERVE = ("serve", "--resync", "5s")


class Second:
    """Another Stack in the folder of `first`, with the same names, a gateway of its own and another preset."""

    def __init__(self, first: Workspace) -> None:
        self.first = first
        self.port = free_port()
        self.documents: dict[str, Any] = json.loads(json.dumps(first.documents))
        self.documents["Stack/other"] = self.documents.pop("Stack/e2e") | {"gateway": {"listen": self.listen}}
        self.documents["Preset/precise"] = {"sampling": {"temperature": 0.1}}
        self.write()

    @property
    def listen(self) -> str:
        return f"127.0.0.1:{self.port}"

    def write(self) -> None:
        texts = []
        for ref, spec in self.documents.items():
            kind, name = ref.split("/")
            texts.append({"apiVersion": "nexus/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        (self.first.folder / "other.yaml").write_text(yaml.safe_dump_all(texts))

    def run(self, *words: str) -> Done:
        return self.first.run(*words, "-f", "other.yaml")

    def ok(self, *words: str) -> Done:
        return self.first.ok(*words, "-f", "other.yaml")


@pytest.fixture
def other(workspace: Workspace) -> Iterator[Second]:
    made = Second(workspace)
    yield made
    made.run("delete", "--yes")


def answers(port: int) -> bool:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=60) as client:
        try:
            names = {model.id for model in client.models.list()}
            made = client.completions.create(model="chat", prompt="a", max_tokens=1)
        except openai.OpenAIError:
            return False
    return names == {"chat"} and made.usage is not None


def pids(folder: Path, stack: str = "") -> dict[str, int]:
    """Every replica that runs, of one stack or of whatever stack."""
    files = folder.glob(f".nexus/replicas/{stack}*/run.json")
    found = {one.parent.name: int(json.loads(one.read_text())["pid"]) for one in files}
    return {name: pid for name, pid in found.items() if Path(f"/proc/{pid}").exists()}


def settled(workspace: Workspace, other: Second) -> None:
    assert workspace.run("plan", "--detailed-exitcode").code == 0
    assert other.run("plan", "--detailed-exitcode").code == 0
    assert answers(workspace.port)
    assert answers(other.port)


def test_commands_and_daemons_of_both_take_turns(workspace: Workspace, other: Second) -> None:
    together = [workspace.popen("apply", "--yes", *BOTH), workspace.popen("apply", "--yes", *BOTH, "-f", "other.yaml")]
    said = [process.communicate(timeout=180) for process in together]
    assert [process.returncode for process in together] == [0, 0], said
    settled(workspace, other)
    for command in ("get", "status", "top", "events"):
        words = ("all", "-o", "json") if command == "get" else ("-o", "json")
        assert "other-" not in workspace.ok(command, *words).out, command
        assert "e2e-" not in other.ok(command, *words).out, command
    with ExitStack() as daemons:
        daemons.enter_context(keeping("e2e", workspace.popen(*SERVE)))
        daemons.enter_context(keeping("other", workspace.popen(*SERVE, "-f", "other.yaml")))
        before = pids(workspace.folder)
        for name, pid in before.items():
            if "chat" in name:
                os.kill(pid, signal.SIGKILL)

        def healed() -> bool:
            now = pids(workspace.folder)
            fresh = [name for name, pid in before.items() if "chat" in name and now.get(name, pid) != pid]
            return len(fresh) == 2 and answers(workspace.port) and answers(other.port)

        eventually(healed, "each daemon heals its own")
        assert {n: p for n, p in pids(workspace.folder).items() if "gateway" in n} == {
            n: p for n, p in before.items() if "gateway" in n
        }
        workspace.llama["contextSize"] = 1024
        workspace.write()
        theirs = pids(workspace.folder, "other-")
        assert "deployment/chat replaced" in workspace.apply().out
        assert pids(workspace.folder, "other-") == theirs
        assert other.run("serve").code == 7, "one daemon for each stack"
    settled(workspace, other)

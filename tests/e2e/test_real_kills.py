"""`kill -9` of a real apply at points spread over its whole life, on the real process runtime (T14)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CUTS = 10
CANARY = "sk-canary-5c8e1f0a"


def _duration(workspace: Workspace) -> float:
    began = time.monotonic()
    workspace.apply()
    return time.monotonic() - began


def test_an_apply_killed_anywhere_is_finished_by_the_next(workspace: Workspace) -> None:
    whole = _duration(workspace)
    for cut in range(CUTS):
        workspace.llama["contextSize"] = 1024 if cut % 2 == 0 else 512
        workspace.documents["Preset/precise"]["sampling"]["temperature"] = cut / 10
        workspace.write()
        apply = workspace.popen("apply", "--yes")
        time.sleep(whole * (cut + 0.5) / CUTS)
        apply.kill()
        apply.communicate()

        workspace.apply()
        assert workspace.run("plan", "--detailed-exitcode").code == 0
        assert len(workspace.replicas()) == 2, "one engine and one gateway: no orphan, no duplicate"
        folders = list((workspace.folder / ".nexus" / "replicas").glob("e2e-*"))
        assert len(folders) == 2
        table = json.loads((workspace.folder / ".nexus" / "gateway" / "e2e.json").read_text())
        [(name, _)] = table["endpoints"]["chat"].items()
        assert name in workspace.replicas()


def test_a_secret_is_nowhere_but_in_the_engine(workspace: Workspace) -> None:
    """T15: grep everything nexusctl writes or prints for the canary."""
    workspace.environ["API_TOKEN"] = CANARY
    workspace.documents["Deployment/chat"]["env"] = {"LLAMA_API_KEY_NOTE": {"valueFrom": {"env": "API_TOKEN"}}}
    workspace.write()
    said = [workspace.ok("plan"), workspace.ok("plan", "-o", "json"), workspace.apply()]
    [engine] = [pid for name, pid in workspace.replicas().items() if "chat" in name]
    environment = Path(f"/proc/{engine}/environ").read_bytes()
    assert CANARY.encode() in environment, "the engine has it"
    said += [workspace.ok("get", "all", "-o", "json"), workspace.ok("describe", "deployment/chat")]
    said += [workspace.ok("events", "-o", "json"), workspace.ok("logs", "deployment/chat"), workspace.ok("build")]
    workspace.environ["API_TOKEN"] = CANARY + "-changed"
    changed = workspace.ok("plan")
    assert "secret_changed" in changed.out
    said.append(changed)
    assert all(CANARY not in done.out + done.err for done in said)
    for file in (workspace.folder / ".nexus").rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file
    for pid in workspace.ours():
        assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()

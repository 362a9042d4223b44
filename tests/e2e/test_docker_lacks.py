"""What a container can lack is told in full (what, in the engine's words, and the way out), as a condition too, and
never as a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Workspace

pytestmark = [pytest.mark.docker, pytest.mark.e2e]


def custom(image: str, *words: str) -> dict[str, Any]:
    return {"custom": {"image": image, "command": ["tiny", *words], "port": 80}}


LACKS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a GPU": (
        {"resources": {"gpus": {"count": 1}}, "engine": custom("IMAGE", "serve", "0.0.0.0", "80")},
        "could not select device driver",
        "install the NVIDIA driver",
        "could not select device driver",
    ),
    "memory": (
        {"resources": {"memory": "20Mi"}, "engine": custom("IMAGE", "hog", "200")},
        "out of memory",
        "give it more memory",
        "out of memory",
    ),
    "its weights": (
        {"engine": custom("IMAGE", "err", "no such weights", "exit", "3")},
        "no such weights",
        "nexusctl logs",
        "exited(3)",
    ),
    "its program": ({"engine": {"custom": {"image": "IMAGE", "command": ["nope"], "port": 80}}}, "'nope'", "", ""),
}
"""Of a deployment: its spec, what the command says, the way out, and what the condition says."""


@pytest.mark.parametrize("lack", LACKS)
def test_what_is_missing_is_told(lack: str, workspace: Workspace, tiny_image: str) -> None:
    spec, words, way_out, condition = LACKS[lack]
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    chat = {**workspace.documents["Deployment/chat"], **spec}
    (engine,) = chat["engine"].values()
    chat["engine"] = {"custom": {**engine, "image": tiny_image}}
    workspace.documents["Deployment/chat"] = chat
    workspace.write()
    done = workspace.run("apply", "--yes")
    assert done.code == 4, done.err
    assert "Traceback" not in done.err
    for said in (words, way_out):
        assert said in done.err
    found = workspace.ok("get", "deployment/chat", "-o", "json").json()
    messages = str(found)
    assert condition in messages
    workspace.ok("delete", "-f", "nexus.yaml", "--yes")


def test_an_image_that_is_not_here_is_told_before_anything_is_made(workspace: Workspace) -> None:
    workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
    workspace.llama["image"] = "nexus-test/none:1"
    workspace.write()
    plan = workspace.run("plan")
    assert "image_unavailable" in plan.out
    assert "it is not on this machine, and pullPolicy is Never" in plan.out

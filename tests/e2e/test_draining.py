"""A request that a client sends to the engine itself, past the gateway, while its replica is replaced."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Workspace

LONG = 400
"""Tokens of an answer that takes a while."""
ENDLESS = 8000
"""Tokens of an answer that takes longer than an apply takes to begin, however busy the machine is."""


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def serving(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """A workspace that serves, as processes or as containers, and replaces stop-first: the wait begins at once."""
    if request.param == "docker":
        workspace.documents["Stack/e2e"]["runtime"] = {"driver": "docker", "pullPolicy": "Never"}
        workspace.llama["image"] = request.getfixturevalue("llama_image")
    workspace.llama["contextSize"] = ENDLESS + 192
    return workspace


def deploy(workspace: Workspace, **rollout: str) -> None:
    """Make it serve, with this way of being replaced, and wish another context."""
    workspace.documents["Deployment/chat"]["rollout"] = {"strategy": "stopFirst", **rollout}
    workspace.write()
    workspace.apply()
    workspace.llama["contextSize"] = 1024
    workspace.write()


@contextmanager
def an_answer(workspace: Workspace, tokens: int) -> Iterator[Iterator[str]]:
    """Ask the replica by its own address; the data of each event, from the second on: the first was heard already."""
    _, address = workspace.routed()
    wish = {"prompt": "one two", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(wish), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        events = (line.decode()[6:].strip() for line in answer if line.startswith(b"data: "))
        next(events)
        yield events


def replace_meanwhile(workspace: Workspace) -> subprocess.Popen[str]:
    """An apply that has come as far as waiting for the old replica."""
    apply = workspace.popen("apply", "--yes")
    assert apply.stderr is not None
    assert any("finish its requests" in line for line in apply.stderr)
    return apply


@pytest.mark.e2e
def test_it_is_finished_before_the_replica_stops(serving: Workspace) -> None:
    deploy(serving, drainDeadline="5m")
    assert "drains: the gateway's count and the engine's own (/slots), at most 5m" in serving.ok("plan").out
    with an_answer(serving, LONG) as events:
        apply = replace_meanwhile(serving)
        *_, last, end = events
    out, err = apply.communicate(timeout=120)
    assert apply.returncode == 0, err
    assert (json.loads(last)["choices"][0]["finish_reason"], end) == ("length", "[DONE]")
    assert "deployment/chat replaced" in out
    assert "DrainDeadline" not in serving.ok("events").out


@pytest.mark.e2e
def test_it_is_cut_at_the_deadline_and_that_is_told(serving: Workspace) -> None:
    deploy(serving, drainDeadline="500ms", stopDeadline="1s")
    with an_answer(serving, ENDLESS) as events:
        apply = replace_meanwhile(serving)
        heard = []
        with suppress(http.client.HTTPException, OSError):  # how it breaks off is the engine's way
            heard += events
        assert "[DONE]" not in heard
    _, err = apply.communicate(timeout=120)
    assert apply.returncode == 0, err
    told = "is stopped after 500ms: the gateway has 0 open, the engine works on 1"
    assert told in err
    assert told in next(line for line in serving.ok("events").out.splitlines() if "DrainDeadline" in line)

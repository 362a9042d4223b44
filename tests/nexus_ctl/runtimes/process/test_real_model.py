"""A real model, served by the stand-in under the process runtime from the launch specification of a Deployment."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.replica import Exit, Health, Replica, ReplicaState
from nexus_ctl.runtimes.probe import HttpProber
from nexus_ctl.runtimes.process.programs import STAND_IN
from nexus_ctl.runtimes.process.runtime import ProcessRuntime
from tests.contracts.runtime_suite import until
from tests.nexus_ctl.runtimes.process.conftest import OWNER, processes_of

SPEC = {
    "model": "smol",
    "engine": {"llamaCpp": {"contextSize": 1024, "parallel": 2, "threads": {"generation": 1, "batch": 1}}},
}


def a_real_replica(model: Path) -> Replica:
    """As execution makes it: the mount's source filled in."""
    launch = table.launch(DeploymentSpec.model_validate(SPEC))
    mounts = tuple(replace(mount, source=str(model)) for mount in launch.mounts)
    return Replica("r", OWNER, replace(launch, mounts=mounts))


@pytest.fixture
def llama(state: Path) -> ProcessRuntime:
    """A process runtime whose llama-server is the stand-in, also where a real one is on PATH."""
    return ProcessRuntime(state, OWNER.instance, {"llama-server": STAND_IN})


def ready(runtime: ProcessRuntime) -> str:
    """Waits until the model is loaded; the address."""

    def look() -> str:
        (seen,) = runtime.list()
        assert seen.state is ReplicaState.RUNNING, list(runtime.logs("r"))
        return seen.address if HttpProber().look(seen.address, ReadyProbe()) is Health.READY else ""

    address: str = until(look)
    return address


@pytest.mark.e2e
def test_it_serves_and_ends_politely(llama: ProcessRuntime, state: Path, smollm2: Path) -> None:
    llama.create(a_real_replica(smollm2))
    llama.start("r", {})
    address = ready(llama)
    question = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 8, "temperature": 0}
    ask = Request(f"{address}/v1/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urlopen(ask, timeout=60) as answer:
        told = json.load(answer)
    assert told["model"] == "smol"
    assert 1 <= told["usage"]["completion_tokens"] <= 8
    assert told["choices"][0]["message"]["role"] == "assistant"
    with urlopen(f"{address}/v1/models", timeout=60) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["smol"]
    with urlopen(f"{address}/metrics", timeout=60) as answer:
        assert b"llamacpp:tokens_predicted_total" in answer.read()
    with urlopen(f"{address}/props", timeout=60) as answer:
        assert json.load(answer)["total_slots"] == 2
    assert any("n_ctx_slot = 512" in line for line in llama.logs("r"))
    llama.stop("r", 30)
    (seen,) = llama.list()
    assert (seen.state, seen.exit) == (ReplicaState.EXITED, Exit(0))
    assert processes_of(state) == []


@pytest.mark.e2e
def test_it_ends_at_once_while_it_loads(llama: ProcessRuntime, smollm2: Path) -> None:
    llama.create(a_real_replica(smollm2))
    llama.start("r", {})
    until(lambda: llama.progress("r"))
    llama.stop("r", 30)
    (seen,) = llama.list()
    assert seen.exit == Exit(0)


@pytest.mark.e2e
def test_a_crash_is_told_and_a_start_brings_it_back(llama: ProcessRuntime, smollm2: Path) -> None:
    llama.create(a_real_replica(smollm2))
    llama.start("r", {})
    ready(llama)
    pid = llama.list()[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    until(lambda: llama.list()[0].state is ReplicaState.EXITED)
    assert llama.list()[0].exit == Exit(139, 11)
    llama.start("r", {})
    assert ready(llama)


def test_a_bad_model_ends_with_llama_cpp_s_words(llama: ProcessRuntime, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"this is no model")
    llama.create(a_real_replica(bad))
    llama.start("r", {})
    until(lambda: llama.list()[0].state is ReplicaState.EXITED)
    assert llama.list()[0].exit == Exit(1)
    assert any("invalid magic" in line for line in llama.logs("r"))


def test_what_the_stand_in_cannot_honour_is_a_capability(llama: ProcessRuntime, state: Path) -> None:
    assert "--ssl-cert-file" in llama.capabilities().refused_flags
    assert "--ctx-size" not in llama.capabilities().refused_flags
    real = ProcessRuntime(state, OWNER.instance, {"llama-server": ("/usr/bin/llama-server",)})
    assert real.capabilities().refused_flags == frozenset()

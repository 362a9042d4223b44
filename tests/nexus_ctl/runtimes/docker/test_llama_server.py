"""A real model, served by llama.cpp in a container made from a Deployment's launch specification."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from nexus_ctl.engines import table
from nexus_ctl.resources.deployment import DeploymentSpec
from nexus_ctl.resources.launch import ReadyProbe
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Exit, Health, Replica
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.probe import HttpProber
from tests.contracts.runtime_suite import until

pytestmark = [pytest.mark.docker, pytest.mark.e2e]


def test_it_answers_and_ends_politely(runtime: DockerRuntime, instance: str, llama_image: str, smollm2: Path) -> None:
    spec = DeploymentSpec.model_validate(
        {
            "model": "smollm2",
            "engine": {"llamaCpp": {"contextSize": 512, "threads": {"generation": 1, "batch": 1}}},
            "resources": {"cpu": 1, "memory": "2Gi"},
        }
    )
    launch = table.launch(spec)
    mounts = tuple(replace(mount, source=str(smollm2)) for mount in launch.mounts)
    owner = Ownership(instance, "demo", "Deployment", "chat", 0, "v1:0123456789abcdef", "{}")
    one = Replica("demo-chat-0-llama", owner, replace(launch, image=llama_image, mounts=mounts))
    runtime.create(one)
    runtime.start(one.name, {})
    seen = runtime.inspect(one.name)
    assert seen is not None
    until(lambda: HttpProber().look(seen.address, ReadyProbe()) is Health.READY or not _runs(runtime, one.name))
    body = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 5, "temperature": 0}
    request = Request(f"{seen.address}/v1/chat/completions", json.dumps(body).encode())
    with urlopen(request, timeout=60) as answer:
        reply = json.load(answer)
    assert reply["usage"]["completion_tokens"] == 5
    assert reply["model"] == "smollm2"
    runtime.stop(one.name, 30)
    ended = runtime.inspect(one.name)
    assert ended is not None
    assert ended.exit == Exit(0)


def _runs(runtime: DockerRuntime, name: str) -> bool:
    seen = runtime.inspect(name)
    assert seen is not None
    assert seen.exit is None, list(runtime.logs(name, tail=20))
    return True

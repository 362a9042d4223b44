"""A Docker runtime on the private engine, and replicas of `tiny` for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import docker
import pytest

from nexus_ctl.resources.launch import HOST, PORT, LaunchSpec
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Replica
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.fixtures.private_engine import Engine

MakeReplica = Callable[..., Replica]


def make_replica(
    instance: str, image: str, *words: str, name: str = "", set_name: str = "demo", **launch: Any
) -> Replica:
    """A replica of tiny that serves, or does what the words say."""
    owner = Ownership(instance, set_name, "Deployment", "chat", 0, "v1:0123456789abcdef", '{"a":1}')
    argv = ("tiny", *(words or ("serve", HOST, PORT)))
    return Replica(name or f"{set_name}-chat-0-{uuid4().hex[:8]}", owner, LaunchSpec(argv=argv, image=image, **launch))


def clean(api: docker.APIClient) -> None:
    """Leave the engine as it came up."""
    for row in api.containers(all=True):
        api.remove_container(row["Id"], force=True)
    api.prune_networks()


@pytest.fixture
def instance() -> str:
    """A fresh install id."""
    return f"i{uuid4().hex[:10]}"


@pytest.fixture
def runtime(engine: Engine, docker_api: docker.APIClient, instance: str) -> Iterator[DockerRuntime]:
    """A runtime of a fresh install; whatever it made is removed."""
    opened = DockerRuntime(instance, engine.url)
    yield opened
    opened.close()
    clean(docker_api)


@pytest.fixture
def replica(instance: str, tiny_image: str) -> MakeReplica:
    """Makes replicas of this install."""
    return lambda *words, **changes: make_replica(instance, changes.pop("image", tiny_image), *words, **changes)

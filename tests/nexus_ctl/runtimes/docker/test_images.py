"""Pulls from a real registry: progress, digests, credentials, and every way in which it can fail."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator

import docker
import pytest

from nexus_ctl.errors import Retryable, Terminal
from nexus_ctl.resources.artifact import Progress
from nexus_ctl.resources.image import Credentials
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.fixtures.registry import Registry, serving

pytestmark = pytest.mark.docker

BYTES = 3 * 1024 * 1024


@pytest.fixture
def registry(docker_api: docker.APIClient) -> Iterator[Registry]:
    """A registry with the image `weights:1`; what was pulled from it is removed again."""
    with serving() as registry:
        registry.put("weights", "1", layer())
        yield registry
        for row in docker_api.images():
            if any(registry.address in tag for tag in (*(row["RepoTags"] or ()), *(row["RepoDigests"] or ()))):
                docker_api.remove_image(row["Id"], force=True)


def layer() -> bytes:
    """A layer with one file of random bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = BYTES
        tar.addfile(entry, io.BytesIO(os.urandom(BYTES)))
    return buffer.getvalue()


def test_a_pull_tells_its_bytes_and_ends_with_the_image(runtime: DockerRuntime, registry: Registry) -> None:
    name, digest = registry.image("weights", "1"), registry.tags["weights:1"]
    assert runtime.image(name) is None
    assert runtime.offered_digest(name) == digest
    seen: list[Progress] = []
    found = runtime.pull(name, None, seen.append)
    assert found == runtime.image(name)
    assert found.digest == digest
    assert found.size_bytes >= BYTES
    assert seen[-1].done_bytes == seen[-1].total_bytes >= BYTES
    assert [step.done_bytes for step in seen] == sorted(step.done_bytes for step in seen)


def test_what_is_here_is_not_downloaded_again(runtime: DockerRuntime, registry: Registry) -> None:
    name = registry.image("weights", "1")
    first = runtime.pull(name, None, lambda _: None)
    registry.requests.clear()
    assert runtime.pull(name, None, lambda _: None) == first
    assert not [request for request in registry.requests if "/blobs/" in request]


def test_a_digest_is_that_image_whatever_the_tag_says_now(runtime: DockerRuntime, registry: Registry) -> None:
    first = registry.tags["weights:1"]
    second = registry.put("weights", "1", layer())
    pinned = f"{registry.address}/weights@{first}"
    assert runtime.pull(pinned, None, lambda _: None).digest == first
    assert runtime.offered_digest(registry.image("weights", "1")) == second
    with pytest.raises(Terminal, match="manifest unknown"):
        runtime.pull(f"{registry.address}/weights@sha256:{'0' * 64}", None, lambda _: None)


def test_credentials_by_call(runtime: DockerRuntime, registry: Registry) -> None:
    registry.login = "reader:s3cret"
    name = registry.image("weights", "1")
    for login in (None, Credentials("reader", "wrong")):
        with pytest.raises(Terminal) as caught:
            runtime.pull(name, login, lambda _: None)
        assert "credentials" in caught.value.hint
        assert "wrong" not in caught.value.detail
    assert runtime.pull(name, Credentials("reader", "s3cret"), lambda _: None).digest == registry.tags["weights:1"]
    assert runtime.offered_digest(name, Credentials("reader", "s3cret")) == registry.tags["weights:1"]


def test_an_image_that_is_nowhere(runtime: DockerRuntime, registry: Registry) -> None:
    for ask in (runtime.offered_digest, lambda name: runtime.pull(name, None, lambda _: None)):
        with pytest.raises(Terminal, match="no-such"):
            ask(registry.image("no-such", "1"))


def test_a_registry_that_is_away_may_come_back(runtime: DockerRuntime) -> None:
    for ask in (runtime.offered_digest, lambda name: runtime.pull(name, None, lambda _: None)):
        with pytest.raises(Retryable):
            ask("127.0.0.1:1/weights:1")


def test_wrong_bytes_never_become_an_image(runtime: DockerRuntime, registry: Registry) -> None:
    registry.corrupt = True
    name = registry.image("weights", "1")
    with pytest.raises(Retryable):
        runtime.pull(name, None, lambda _: None)
    assert runtime.image(name) is None
    registry.corrupt = False
    assert runtime.pull(name, None, lambda _: None).digest == registry.tags["weights:1"]

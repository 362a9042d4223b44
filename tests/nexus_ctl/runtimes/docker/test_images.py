"""Pulls from a real registry: progress, digests, credentials, and every way in which it can fail."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from nexus_ctl.errors import Retryable, Terminal
from nexus_ctl.resources.artifact import Progress
from nexus_ctl.resources.image import Credentials
from nexus_ctl.runtimes.docker.offers import UNPACKED_RATIO
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.fixtures.private_engine import Engine
from tests.fixtures.real_registry import real_registry
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


def test_a_pull_by_digest_makes_the_tag_name_it_here(runtime: DockerRuntime, registry: Registry) -> None:
    name, first = registry.image("weights", "1"), registry.tags["weights:1"]
    registry.put("weights", "1", layer())
    assert runtime.pull(name, None, lambda _: None, digest=first).digest == first
    found = runtime.image(name)
    assert found is not None
    assert found.digest == first


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


# what a pull would take


def test_only_what_is_missing_is_counted(runtime: DockerRuntime, registry: Registry, engine: Engine) -> None:
    layers = [layer() for _ in range(3)]
    registry.put("weights", "lower", *layers[:2])
    whole = registry.put("weights", "whole", *layers, packed=True)
    name = registry.image("weights", "whole")
    sizes = [len(gzip.compress(one)) for one in layers]
    size = runtime.pull_size(name, whole)
    assert (size.download_bytes, size.layers, size.layers_here) == (sum(sizes), 3, 0)
    assert size.unpacked_bytes == sum(round(one * UNPACKED_RATIO) for one in sizes)
    assert size.place == f"{engine.run_dir}/state/data"
    assert size.free_bytes is not None
    runtime.pull(registry.image("weights", "lower"), None, lambda _: None)
    size = runtime.pull_size(name, whole)
    assert (size.download_bytes, size.layers, size.layers_here) == (sizes[2], 3, 2)
    runtime.pull(name, None, lambda _: None)
    assert runtime.pull_size(name, whole).download_bytes == 0


def test_a_private_image_is_sized_with_the_login(runtime: DockerRuntime, registry: Registry) -> None:
    registry.login, registry.by_token = "reader:s3cret", True
    name, login = registry.image("weights", "1"), Credentials("reader", "s3cret")
    found = runtime.offered_digest(name, login)
    assert runtime.pull_size(name, found, login).layers == 1
    assert "login" in runtime.pull_size(name, found).unknown
    assert runtime.pull(name, login, lambda _: None).digest == found


def test_the_login_that_docker_keeps_counts_too(
    runtime: DockerRuntime, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.login = "reader:s3cret"
    kept = {"auths": {registry.address: {"auth": base64.b64encode(b"reader:s3cret").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert runtime.pull_size(registry.image("weights", "1"), registry.tags["weights:1"]).layers == 1


def test_without_the_registry_the_size_is_unknown_and_the_disk_is_known(runtime: DockerRuntime) -> None:
    size = runtime.pull_size("127.0.0.1:1/weights:1", f"sha256:{'0' * 64}")
    assert "not reachable from here" in size.unknown
    assert (size.download_bytes, size.fits) == (None, True)
    assert size.free_bytes is not None


def test_a_real_registry_agrees_with_a_real_pull(
    runtime: DockerRuntime, docker_api: docker.APIClient, tiny_image: str, tmp_path: Path
) -> None:
    with real_registry(tmp_path) as address:
        repository = f"{address}/ai/tiny"
        docker_api.tag(tiny_image, repository, "1")
        for step in docker_api.push(repository, "1", stream=True, decode=True):
            assert "error" not in step, step
        name, digest = f"{repository}:1", runtime.offered_digest(f"{repository}:1")
        assert runtime.pull_size(name, digest).download_bytes == 0, "its layer is tiny's own"
        for tag in (name, tiny_image):
            docker_api.remove_image(tag, force=True)
        size = runtime.pull_size(name, digest)
        seen: list[Progress] = []
        assert runtime.pull(name, None, seen.append).digest == digest
        assert size.download_bytes == seen[-1].total_bytes
        assert size.layers == 1
        docker_api.tag(name, *tiny_image.split(":"))
        docker_api.remove_image(name, force=True)

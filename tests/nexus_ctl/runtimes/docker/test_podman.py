"""What Podman leaves out or does otherwise behind its Docker-compatible socket, on a real one.

Run by `make podman`, with the contract suite: ENGINE_KIND=podman python -m tests.fixtures.private_engine -- pytest ...
"""

from __future__ import annotations

import os

import pytest

from nexus_ctl.errors import Refused, Retryable, Terminal
from nexus_ctl.resources.image import Credentials
from nexus_ctl.resources.launch import GpuRequest, Limits
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.port import Capabilities
from tests.fixtures.registry import serving
from tests.nexus_ctl.runtimes.docker.conftest import MakeReplica

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("ENGINE_KIND") != "podman", reason="needs Podman: make podman"),
]


def test_it_is_known_by_its_own_word(runtime: DockerRuntime) -> None:
    assert runtime.capabilities() == Capabilities(
        driver="podman", fractional_cpu=True, gpus=False, images=True, live_limits=False
    )


def test_what_it_would_leave_out_is_refused(runtime: DockerRuntime, replica: MakeReplica) -> None:
    with pytest.raises(Terminal, match="would leave out the GPUs"):
        runtime.create(replica(gpus=GpuRequest(count=1)))
    one = replica()
    runtime.create(one)
    with pytest.raises(Refused, match="cannot change limits"):
        runtime.update(one.name, Limits(cpu_cores=1))


def test_an_image_of_an_index_has_one_digest_before_and_after_the_pull(runtime: DockerRuntime) -> None:
    with serving() as registry:
        registry.login = "reader:s3cret"
        image = registry.put("ai/weights", "amd64", b"\0" * 1024)
        index = registry.put_index("ai/weights", "1", {"linux/amd64": image})
        name, login = registry.image("ai/weights", "1"), Credentials("reader", "s3cret")
        with pytest.raises(Terminal, match="wants a login"):
            runtime.offered_digest(name)
        with pytest.raises(Terminal, match="answers 404"):
            runtime.offered_digest(registry.image("ai/weights", "2"), login)
        assert runtime.offered_digest(name, login) == index
        assert runtime.pull_size(name, index, login).download_bytes == 1024
        assert runtime.pull(name, login, lambda _: None).digest == index
        runtime.api.remove_image(name, force=True)
    with pytest.raises(Retryable, match="not reachable"):
        runtime.offered_digest(name, login)

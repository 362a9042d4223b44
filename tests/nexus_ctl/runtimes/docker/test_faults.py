"""Every single call of a replica's life is spoiled once, in every way; after each the goal is still reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nexus_ctl.errors import NexusError, NotFound
from nexus_ctl.resources.replica import Replica, ReplicaState
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from tests.fixtures.faulting_proxy import Fault, Proxy, in_front_of
from tests.fixtures.private_engine import Engine
from tests.nexus_ctl.runtimes.docker.conftest import MakeReplica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("sockets_left_by_the_sdk")]


@pytest.fixture
def spoiled(engine: Engine, instance: str, tmp_path: Path) -> Iterator[tuple[Proxy, DockerRuntime]]:
    with in_front_of(f"{engine.run_dir}/docker.sock", tmp_path) as (proxy, url):
        runtime = DockerRuntime(instance, url)
        runtime.list()
        yield proxy, runtime
        runtime.close()


def bring_up(runtime: DockerRuntime, replica: Replica) -> None:
    """What a plan does: what does not run is removed and made anew."""
    seen = runtime.inspect(replica.name)
    if seen is not None and seen.state is ReplicaState.RUNNING:
        return
    if seen is not None:
        runtime.remove(replica.name)
    runtime.create(replica)
    runtime.start(replica.name, {})


def take_down(runtime: DockerRuntime, replica: Replica) -> None:
    """What a plan does about a replica that leaves."""
    if runtime.inspect(replica.name) is not None:
        with suppress(NotFound):  # a removal that nobody waited for may end at any time
            runtime.stop(replica.name, 5)
            runtime.remove(replica.name)


@pytest.mark.parametrize("fault", Fault)
def test_any_call_may_fail(
    fault: Fault,
    spoiled: tuple[Proxy, DockerRuntime],
    runtime: DockerRuntime,
    replica: MakeReplica,
    instance: str,
) -> None:
    proxy, shaky = spoiled
    one = replica()

    def failures(act: Callable[[DockerRuntime, Replica], None], restore: Callable[[], object]) -> int:
        """Spoils call after call of the act until it needs no further one; how many it took."""
        call = 0
        while True:
            restore()
            proxy.spoil(call, fault)
            try:
                act(shaky, one)
            except NexusError:
                act(shaky, one)
            else:
                if proxy.calls <= call:
                    return call
            assert len(runtime.list()) == (1 if act is bring_up else 0)
            call += 1

    assert failures(bring_up, lambda: take_down(runtime, one)) >= 7
    assert [seen.state for seen in runtime.list()] == [ReplicaState.RUNNING]
    assert failures(take_down, lambda: bring_up(runtime, one)) >= 5
    assert runtime.list() == ()
    assert runtime.api.networks(filters={"label": f"nexusctl/instance={instance}"}) == []

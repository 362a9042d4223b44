"""The engine is killed in the middle of things; after that, removing and making anew always leads to the goal."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import docker
import pytest

from nexus_ctl.errors import NexusError, NotFound, RuntimeUnreachable
from nexus_ctl.resources.replica import Replica, ReplicaState
from nexus_ctl.runtimes.docker.address import find
from nexus_ctl.runtimes.docker.connection import TIMEOUT_SECONDS
from nexus_ctl.runtimes.docker.events import DockerFeed
from nexus_ctl.runtimes.docker.runtime import DockerRuntime
from nexus_ctl.runtimes.watch import Relist, ReplicaEvent
from tests.contracts.runtime_suite import until
from tests.fixtures import images
from tests.fixtures.private_engine import Engine
from tests.nexus_ctl.runtimes.docker.conftest import make_replica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("sockets_left_by_the_sdk")]

KILLS = 8
PATIENCE_SECONDS = 3.5 * TIMEOUT_SECONDS
"""A call that an engine was killed in may go unanswered also by the next one, until the client's time-out."""


@pytest.fixture
def runtime(other_engine: Engine, instance: str) -> Iterator[DockerRuntime]:
    opened = DockerRuntime(instance, other_engine.url)
    yield opened
    opened.close()


@pytest.fixture
def image(other_engine: Engine) -> Iterator[str]:
    api = docker.APIClient(base_url=other_engine.url)
    yield images.build(api, images.tiny())
    api.close()


def converge(runtime: DockerRuntime, replica: Replica) -> None:
    """What a plan does about a replica that does not run: take it down whatever it is, make it anew, start it."""
    seen = runtime.inspect(replica.name)
    if seen is not None and seen.state is ReplicaState.RUNNING:
        return
    if seen is not None:
        runtime.remove(replica.name)
    runtime.create(replica)
    runtime.start(replica.name, {})


def tormented(runtime: DockerRuntime, replica: Replica, failures: list[BaseException], over: threading.Event) -> None:
    """One life after the other until the engine is gone, or it is over."""
    acts: list[Callable[[], object]] = [
        lambda: runtime.create(replica),
        lambda: runtime.start(replica.name, {}),
        lambda: runtime.stop(replica.name, 5),
        lambda: runtime.remove(replica.name),
    ]
    try:
        while not over.is_set():
            for act in acts:
                act()
    except BaseException as error:
        failures.append(error)


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_it_converges(
    other_engine: Engine, runtime: DockerRuntime, instance: str, image: str
) -> None:
    chance = random.Random(7)
    replicas = [make_replica(instance, image, name=f"demo-chat-{index}") for index in range(3)]
    everything: list[BaseException] = []
    for _ in range(KILLS):
        failures: list[BaseException] = []
        over = threading.Event()
        workers = [threading.Thread(target=tormented, args=(runtime, one, failures, over)) for one in replicas]
        for worker in workers:
            worker.start()
        threading.Event().wait(chance.uniform(0.05, 0.8))
        other_engine.restart(signal.SIGKILL)
        over.set()
        for worker in workers:
            worker.join(PATIENCE_SECONDS)
        assert not any(worker.is_alive() for worker in workers)
        everything += failures
        assert [error for error in failures if not isinstance(error, NexusError)] == []
        for one in replicas:
            until(lambda one=one: converged(runtime, one), PATIENCE_SECONDS)
        assert [seen.state for seen in runtime.list()] == [ReplicaState.RUNNING] * len(replicas)
        for one in replicas:
            runtime.stop(one.name, 5)
            runtime.remove(one.name)
        assert runtime.list() == ()
        assert runtime.api.networks(filters={"label": "nexusctl/managed-by=nexusctl"}) == []
    assert everything, "a kill met nobody at work"


def converged(runtime: DockerRuntime, replica: Replica) -> bool:
    """One attempt; a refusal is for the next one."""
    try:
        converge(runtime, replica)
    except NexusError:
        return False
    return True


def test_an_engine_that_lost_its_networks(
    other_engine: Engine, runtime: DockerRuntime, instance: str, image: str
) -> None:
    """As 20.10 loses them, killed while it removes one: it panics at every start until they are gone."""
    one = make_replica(instance, image)
    converge(runtime, one)
    networks = f"{other_engine.run_dir}/state/data/network/files/local-kv.db"
    panic = (
        f"[ ! -e {networks} ] || {{ echo 'github.com/docker/libnetwork.(*controller).reservePools(0x56)'; exit 2; }}"
    )
    real = 'PATH=$(echo "$PATH" | cut -d: -f2-)\nexec dockerd "$@"'
    other_engine.add_program("dockerd", f"#!/bin/sh\n{panic}\n{real}\n")
    other_engine.restart(signal.SIGKILL)
    until(lambda: converged(runtime, one))
    seen = runtime.inspect(one.name)
    assert seen is not None
    assert seen.state is ReplicaState.RUNNING
    assert len(runtime.api.networks(filters={"label": "nexusctl/managed-by=nexusctl"})) == 1


def test_while_it_is_down_everything_says_so_and_later_goes_on(
    other_engine: Engine, runtime: DockerRuntime, instance: str, image: str
) -> None:
    other_engine.configure(**{"live-restore": True})
    other_engine.restart()
    one = make_replica(instance, image)
    runtime.create(one)
    runtime.start(one.name, {})
    before = runtime.inspect(one.name)
    acts: list[Callable[[], object]] = [
        runtime.list,
        lambda: runtime.inspect(one.name),
        lambda: runtime.create(one),
        lambda: runtime.start(one.name, {}),
        lambda: runtime.stop(one.name, 1),
        lambda: runtime.remove(one.name),
        lambda: runtime.update(one.name, one.launch.limits),
        lambda: list(runtime.logs(one.name)),
        lambda: runtime.progress(one.name),
        DockerRuntime("else", other_engine.url).capabilities,
        DockerRuntime("else", other_engine.url).list,
    ]
    with other_engine.down(signal.SIGKILL):
        assert not runtime.answers()
        for act in acts[:-2] + acts[-1:]:
            with pytest.raises(RuntimeUnreachable, match="does not answer"):
                act()
    assert runtime.answers()
    assert runtime.inspect(one.name) == before
    with pytest.raises(NotFound):
        runtime.stop("nobody", 1)


def test_a_watch_outlives_the_engine(other_engine: Engine, runtime: DockerRuntime, instance: str, image: str) -> None:
    watch = runtime.watch()
    notices = iter(watch)
    assert next(notices) == Relist("the watch begins")
    one = make_replica(instance, image)
    runtime.create(one)
    runtime.start(one.name, {})
    told = [next(notices), next(notices)]
    assert [(n.name, n.action) for n in told if isinstance(n, ReplicaEvent)] == [
        (one.name, "create"),
        (one.name, "start"),
    ]
    other_engine.restart(signal.SIGKILL)
    rest = list(takewhile(lambda n: not isinstance(n, Relist), notices))
    assert {n.action for n in rest if isinstance(n, ReplicaEvent)} <= {"die", "kill", "stop"}
    assert [seen.name for seen in runtime.list()] == [one.name]
    runtime.remove(one.name)
    assert any(isinstance(n, ReplicaEvent) and n.action == "destroy" for n in notices)
    watch.close()
    assert list(notices) == []


def test_a_feed_is_closed_while_it_ends(other_engine: Engine, instance: str) -> None:
    for index in range(600):
        feed = DockerFeed(find(other_engine.url), instance, 0, lambda _id: None)
        failures: list[BaseException] = []
        reader = threading.Thread(target=read_out, args=(feed, failures))
        reader.start()
        feed.close()
        for _ in range(index):  # so that the reader's own end falls into the second close now and then
            pass
        feed.close()
        reader.join(10)
        assert not reader.is_alive()
        assert failures == []


def read_out(feed: DockerFeed, failures: list[BaseException]) -> None:
    """Read to the end; what is raised is for the caller."""
    try:
        list(feed)
    except BaseException as error:
        failures.append(error)


def test_processes_that_the_engine_forgot_are_named(
    other_engine: Engine, runtime: DockerRuntime, instance: str, image: str
) -> None:
    one = make_replica(instance, image)
    runtime.create(one)
    runtime.start(one.name, {})
    seen = runtime.inspect(one.name)
    assert seen is not None
    ours = [left for left in runtime.forgotten() if left.container_id == seen.runtime_id]
    assert ours == []
    with other_engine.down(signal.SIGKILL):
        records = Path(f"/proc/{_keeper(other_engine)}/root{other_engine.run_dir}/state/data/containers")
        shutil.rmtree(records / seen.runtime_id)
    assert runtime.inspect(one.name) is None
    left = [left for left in runtime.forgotten() if left.container_id == seen.runtime_id]
    assert [one for one in left if "tiny serve" in one.command]
    for process in left:
        with contextlib.suppress(ProcessLookupError):  # the engine, coming back, may end some of them itself
            os.kill(process.pid, signal.SIGKILL)
    until(lambda: not [left for left in runtime.forgotten() if left.container_id == seen.runtime_id])


def _keeper(engine: Engine) -> int:
    """A process of the engine's namespaces that lives on without dockerd."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"--inside" in words and b"python" in words[0] and str(engine.run_dir).encode() in words:
                return int(folder.name)
    raise AssertionError("no keeper")

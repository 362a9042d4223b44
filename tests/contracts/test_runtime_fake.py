"""FakeRuntime keeps the runtime contract; and what only a fake must do."""

from __future__ import annotations

import copy

import pytest

from nexus_ctl.errors import RuntimeUnreachable, Terminal
from nexus_ctl.resources.launch import Limits, ReadyProbe
from nexus_ctl.resources.replica import Exit, ReplicaState
from nexus_ctl.runtimes.probe import Health
from tests.contracts.runtime_suite import MIB, SERVE, RuntimeCase, RuntimeContract
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime


@pytest.fixture
def fake() -> FakeRuntime:
    return FakeRuntime(FakeClock(), "install-1")


@pytest.fixture
def case(fake: FakeRuntime) -> RuntimeCase:
    def make_file(name: str, text: str) -> str:
        path = f"/host/{name}"
        fake.files[path] = text
        fake.missing_files.add(path + ".gone")
        return path

    def put_serving(name: str, file: str) -> None:
        fake.put_serving(name, files={"spec.model": file})

    return RuntimeCase(
        runtime=fake,
        prober=fake,
        instance=fake.instance,
        get=fake.request,
        put_foreign=fake.put_foreign,
        put_serving=put_serving,
        forget=fake.vanish,
        kill=fake.kill,
        pause=fake.pause,
        make_file=make_file,
        written=lambda: [repr(fake.list()).encode()],
        reopen=lambda: fake,
    )


class TestFakeRuntime(RuntimeContract):
    """The contract."""


def test_a_restart_moves_the_address(case: RuntimeCase) -> None:
    name = case.run(*SERVE)
    first = case.seen(name).address
    case.runtime.stop(name, 1)
    case.runtime.start(name, {})
    assert case.seen(name).address not in ("", first)


def test_ready_after_virtual_time_with_signs_of_life(case: RuntimeCase, fake: FakeRuntime) -> None:
    fake.ready_after = 5
    name = case.run(*SERVE)
    address = case.seen(name).address
    assert fake.look(address, ReadyProbe()) is Health.LOADING
    tokens = []
    for _ in range(4):
        fake.clock.advance(1)
        tokens.append(fake.progress(name))
    assert len(set(tokens)) == 4
    fake.clock.advance(1)
    assert fake.look(address, ReadyProbe()) is Health.READY
    assert fake.look("", ReadyProbe()) is Health.DOWN
    fake.crash(name)
    assert fake.look(address, ReadyProbe()) is Health.DOWN


def test_silent_and_never_ready(case: RuntimeCase, fake: FakeRuntime) -> None:
    fake.never_ready.add("chat")
    fake.silent.add("chat")
    name = case.run(*SERVE)
    fake.clock.advance(1000)
    assert fake.look(case.seen(name).address, ReadyProbe()) is Health.LOADING
    assert fake.progress(name) == ""


def test_a_refused_start_stays_created(case: RuntimeCase, fake: FakeRuntime) -> None:
    fake.fail_start["chat"] = "no device"
    replica = case.replica(*SERVE)
    fake.create(replica)
    with pytest.raises(Terminal, match="no device"):
        fake.start(replica.name, {})
    assert case.seen(replica.name).state is ReplicaState.CREATED
    assert case.seen(replica.name).exit == Exit(127, error="no device")


def test_a_bad_model_ends_at_each_start(case: RuntimeCase, fake: FakeRuntime) -> None:
    fake.exits["chat"] = Exit(1)
    name = case.run(*SERVE)
    assert case.seen(name).exit == Exit(1)
    fake.start(name, {})
    assert case.seen(name).exit == Exit(1)


def test_over_the_memory_budget_the_newcomer_dies(case: RuntimeCase, fake: FakeRuntime) -> None:
    fake.memory_bytes = 500 * MIB
    first = case.run(*SERVE, limits=Limits(memory_bytes=300 * MIB))
    second = case.run(*SERVE, limits=Limits(memory_bytes=300 * MIB))
    assert case.seen(first).state is ReplicaState.RUNNING
    assert case.seen(second).exit == Exit(137, 9, out_of_memory=True)
    assert fake.peak_memory_bytes == 600 * MIB
    fake.stop(first, 1)
    fake.start(second, {})
    assert case.seen(second).state is ReplicaState.RUNNING


def test_unreachable(fake: FakeRuntime) -> None:
    fake.reachable = False
    with pytest.raises(RuntimeUnreachable):
        fake.list()


def test_a_copy_is_a_second_world(case: RuntimeCase, fake: FakeRuntime) -> None:
    name = case.run(*SERVE)
    other = copy.deepcopy(fake)
    other.vanish(name)
    other.clock.advance(5)
    assert other.list() == ()
    assert [seen.name for seen in fake.list()] == [name]
    assert fake.clock.monotonic() == 0


def test_calls_are_counted(case: RuntimeCase, fake: FakeRuntime) -> None:
    name = case.run(*SERVE)
    fake.list()
    assert fake.calls == [("create", name), ("start", name)]
    assert fake.lists == 1

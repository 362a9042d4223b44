"""The runtime contract: every sentence of `nexus_ctl/runtimes/port.py`, asked of any adapter.

An adapter joins by a test module with one class::

    class TestDocker(RuntimeContract):
        @pytest.fixture
        def case(self, ...) -> Iterator[RuntimeCase]: ...

The case runs `tiny` (see `tiny.py` for its words) as process, container or fake. Nothing here sleeps for luck: a test
waits for a condition, with a deadline that only a broken runtime meets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from nexus_ctl.errors import NameInUse, NexusError, NotFound, Refused, Terminal
from nexus_ctl.resources.backoff import run_of
from nexus_ctl.resources.busy import BusySignal
from nexus_ctl.resources.launch import HOST, PORT, GpuRequest, LaunchSpec, Limits, Mount, ReadyProbe
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import Exit, Health, ObservedReplica, Replica, ReplicaState
from nexus_ctl.resources.secret import ValueFrom
from nexus_ctl.runtimes.port import Runtime
from nexus_ctl.runtimes.probe import Prober
from nexus_ctl.runtimes.watch import Notice, Relist, ReplicaEvent

SERVE = ("serve", HOST, PORT)
MIB = 1024 * 1024
CANARY = "canary-7f3a9c-do-not-write-me-down"


@dataclass
class RuntimeCase:
    """One adapter, ready to be asked. All of it belongs to this test alone; the fixture takes everything down."""

    runtime: Runtime
    prober: Prober
    instance: str
    get: Callable[[str, str], str]
    """GET `path` at an address; the body."""
    put_foreign: Callable[[str], None]
    """Makes something that bears the name and is not this install's."""
    put_serving: Callable[[str, str], None] | None
    """(name, host path): starts something that is not ours, serves, and reads that file; None where nobody can."""
    forget: Callable[[str], None]
    """Somebody else takes the thing of that name away, running or not."""
    kill: Callable[[str], None]
    """Kills the engine from outside, as the kernel would: no clean-up of any kind."""
    pause: Callable[[str], None]
    """Halts the engine from outside: it keeps what it has, and does nothing."""
    make_file: Callable[[str, str], str]
    """(name, one line of text) → host path that can be mounted."""
    written: Callable[[], Iterable[bytes]]
    """Everything that the runtime wrote to disk, and what it tells everybody (labels, inspect output)."""
    reopen: Callable[[], Runtime]
    """The same runtime as another nexusctl would open it."""
    image: str = ""
    tells_out_of_memory: bool = True
    """Podman 4.3 on cgroup v1 shows the kernel's kill as any other."""
    numbers: Iterable[int] = field(default_factory=count)

    def launch(self, *words: str, **changes: Any) -> LaunchSpec:
        """tiny with these words."""
        return LaunchSpec(argv=("tiny", *words), image=self.image, **changes)

    def replica(self, *words: str, name: str = "", owner: Ownership | None = None, **changes: Any) -> Replica:
        """A replica of tiny under a fresh name."""
        name = name or f"{self.instance}-r{next(iter(self.numbers))}"
        return Replica(name, owner or self.owner(), self.launch(*words, **changes))

    def owner(self, **changes: Any) -> Ownership:
        """An owner of this install."""
        base = Ownership(
            instance=self.instance,
            set="demo",
            kind="Deployment",
            name="chat",
            replica=0,
            spec_hash="v1:0123456789abcdef",
            spec='{"a":1}',
        )
        return replace(base, **changes)

    def run(self, *words: str, **changes: Any) -> str:
        """Creates and starts; the name."""
        replica = self.replica(*words, **changes)
        self.runtime.create(replica)
        self.runtime.start(replica.name, {})
        return replica.name

    def seen(self, name: str) -> ObservedReplica:
        """inspect of something that must be there."""
        found = self.runtime.inspect(name)
        assert found is not None
        return found

    def ended(self, name: str) -> Exit:
        """Waits until it exited; how."""
        how: Exit = until(lambda: (seen := self.seen(name)).state is ReplicaState.EXITED and seen.exit)
        return how

    def answering(self, name: str) -> str:
        """Waits until it is ready; its address."""
        until(lambda: self.prober.look(self.seen(name).address, ReadyProbe()) is Health.READY)
        return self.seen(name).address


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)
    return value


def create_and_start(runtime: Runtime, replica: Replica) -> None:
    """Both; a runtime may find out at either."""
    runtime.create(replica)
    runtime.start(replica.name, {})


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Runs the acts at the same moment; each one's value, or the NexusError it raised."""
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return act()
        except NexusError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@contextmanager
def listening(runtime: Runtime) -> Iterator[list[Notice]]:
    """What a watch tells meanwhile; it has begun with a look at everything."""
    watch = runtime.watch()
    notices: list[Notice] = []
    heard = threading.Event()

    def read() -> None:
        for notice in watch:
            notices.append(notice)
            heard.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert heard.wait(60), "it begins with a look at everything"
        assert isinstance(notices[0], Relist)
        yield notices
    finally:
        watch.close()
        reader.join(60)
    assert not reader.is_alive()


def since(at_ns: int, notices: Iterable[Notice]) -> list[Notice]:
    """What happened after a moment; a stream begins with what happened a little before it was opened."""
    return [one for one in tuple(notices) if isinstance(one, ReplicaEvent) and one.at_ns > at_ns]


def told_of(name: str, notices: Iterable[Notice]) -> list[str]:
    """What was told of one thing, in order."""
    return [one.action for one in tuple(notices) if isinstance(one, ReplicaEvent) and one.name == name]


class RuntimeContract:
    """What every runtime keeps."""

    # create, list, inspect

    def test_created_is_there_and_does_not_run(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE)
        case.runtime.create(replica)
        seen = case.seen(replica.name)
        assert (seen.name, seen.state, seen.address, seen.exit, seen.started_at, seen.pid) == (
            replica.name,
            ReplicaState.CREATED,
            "",
            None,
            None,
            None,
        )
        assert seen.runtime_id
        assert case.runtime.list() == (seen,)
        assert list(case.runtime.logs(replica.name)) == []
        assert case.runtime.progress(replica.name) == ""

    def test_owner_comes_back_as_it_was_given(self, case: RuntimeCase) -> None:
        owner = case.owner(
            replica=3,
            generation=7,
            spec='{"text":"äöü 日本 \\"quoted\\" {host} ${x}\\n","n":[1,2.5,null]}',
            model_digest="sha256:" + "ab" * 32,
            image_digest="sha256:" + "cd" * 32,
            secrets_digest="ef" * 32,
            protected="true",
            version="0.1.0",
        )
        replica = case.replica(*SERVE, owner=owner)
        case.runtime.create(replica)
        assert case.seen(replica.name).owner == owner
        assert case.reopen().list()[0].owner == owner

    def test_list_is_only_ours_and_sorted(self, case: RuntimeCase) -> None:
        names = [f"{case.instance}-{letter}" for letter in "cab"]
        for name in names:
            case.runtime.create(case.replica(*SERVE, name=name))
        case.put_foreign(f"{case.instance}-aa")
        other = case.replica(*SERVE, name=f"{case.instance}-ab", owner=case.owner(instance="somebody-else"))
        case.runtime.create(other)
        assert [seen.name for seen in case.runtime.list()] == sorted(names)

    def test_inspect_sees_what_is_not_ours(self, case: RuntimeCase) -> None:
        name = f"{case.instance}-foreign"
        assert case.runtime.inspect(name) is None
        case.put_foreign(name)
        assert case.seen(name).owner is None

    # take over

    def test_a_stranger_that_serves_is_owned_as_it_is(self, case: RuntimeCase) -> None:
        """What it reads and where it answers is told; once it is ours, it is watched, ended, begun and removed so."""
        name, file = f"{case.instance}-legacy", case.make_file("legacy.gguf", "weights")
        assert case.runtime.candidate(name) is None
        if case.put_serving is None:
            assert not case.runtime.capabilities().adopts
            return
        assert case.runtime.capabilities().adopts
        case.put_serving(name, file)
        case.answering(name)
        found, before = case.runtime.candidate(name), case.seen(name)
        assert found is not None
        assert (found.refused, found.replica, found.replica.owner) == ("", before, None)
        assert found.files == {"spec.model": file}
        assert found.spec["engine"]
        with pytest.raises(NotFound):
            case.runtime.adopt(name, "0" * 12, case.owner())
        assert case.runtime.list() == ()
        for _ in range(2):  # what is ours already stays so
            case.runtime.adopt(name, before.runtime_id, case.owner())
        with pytest.raises(Refused):
            case.runtime.adopt(name, before.runtime_id, case.owner(name="other"))
        for runtime in (case.runtime, case.reopen()):
            assert runtime.list() == (replace(before, owner=case.owner()),)
        case.runtime.stop(name, 10)
        assert case.seen(name).state is ReplicaState.EXITED
        case.runtime.start(name, {})
        assert case.seen(name).runtime_id == before.runtime_id
        case.answering(name)
        case.runtime.stop(name, 10)
        case.runtime.remove(name)
        assert case.runtime.list() == ()

    def test_the_next_bearer_of_its_name_is_a_stranger_again(self, case: RuntimeCase) -> None:
        if case.put_serving is None:
            return
        name, file = f"{case.instance}-legacy", case.make_file("legacy.gguf", "weights")
        case.put_serving(name, file)
        case.runtime.adopt(name, case.seen(name).runtime_id, case.owner())
        case.forget(name)
        case.put_serving(name, file)
        assert case.runtime.list() == ()
        assert case.seen(name).owner is None
        for act in (
            lambda: case.runtime.stop(name, 0),
            lambda: case.runtime.start(name, {}),
            lambda: case.runtime.remove(name),
            lambda: case.runtime.update(name, Limits(1)),
        ):
            with pytest.raises(NotFound):
                act()
        case.answering(name)
        case.runtime.adopt(name, case.seen(name).runtime_id, case.owner())
        assert [seen.name for seen in case.runtime.list()] == [name]

    def test_what_cannot_be_told_or_is_owned_is_not_taken_over(self, case: RuntimeCase) -> None:
        name = f"{case.instance}-foreign"
        case.put_foreign(name)
        found = case.runtime.candidate(name)
        assert found is not None
        assert found.refused
        ours = case.run(*SERVE)
        told = case.runtime.candidate(ours)
        assert told is not None
        assert told.replica.owner == case.owner()
        with pytest.raises(Refused):
            case.runtime.adopt(ours, told.replica.runtime_id, case.owner(name="other"))

    def test_a_taken_name_is_refused(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE)
        case.runtime.create(replica)
        first = case.seen(replica.name)
        with pytest.raises(NameInUse):
            case.runtime.create(replica)
        with pytest.raises(NameInUse):
            case.runtime.create(replace(replica, owner=case.owner(name="other")))
        assert case.seen(replica.name) == first

    def test_a_foreign_name_is_refused(self, case: RuntimeCase) -> None:
        name = f"{case.instance}-foreign"
        case.put_foreign(name)
        with pytest.raises(NameInUse):
            case.runtime.create(case.replica(*SERVE, name=name))
        assert case.seen(name).owner is None

    def test_of_racing_creators_one_wins(self, case: RuntimeCase) -> None:
        name = f"{case.instance}-race"
        replicas = [case.replica(*SERVE, name=name, owner=case.owner(replica=index)) for index in range(6)]
        results = together(*(lambda replica=replica: case.reopen().create(replica) for replica in replicas))
        won = [index for index, result in enumerate(results) if result is None]
        assert len(won) == 1
        assert all(isinstance(result, NameInUse) for result in results if result is not None)
        owner = case.seen(name).owner
        assert owner is not None
        assert owner.replica == won[0]

    def test_a_mount_without_its_file_can_never_work(self, case: RuntimeCase) -> None:
        there = case.make_file("model.gguf", "weights")
        replica = case.replica(
            *SERVE, mounts=(Mount("/models/a.gguf", there), Mount("/models/b.gguf", there + ".gone"))
        )
        with pytest.raises(Terminal, match="gone"):
            case.runtime.create(replica)
        assert case.runtime.inspect(replica.name) is None

    def test_what_it_was_given_is_told_while_it_is_there(self, case: RuntimeCase) -> None:
        source = case.make_file("given.gguf", "m")
        name = case.run("show", "/models/m.gguf", mounts=(Mount("/models/m.gguf", source, "m"),))
        assert [one.files for one in case.runtime.list() if one.name == name] == [(source,)]
        plain = case.run(*SERVE)
        assert [one.files for one in case.runtime.list() if one.name == plain] == [()]

    def test_a_fraction_of_a_core_works_or_is_refused(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE, limits=Limits(cpu_cores=0.5))
        if case.runtime.capabilities().fractional_cpu:
            case.runtime.create(replica)
            assert case.seen(replica.name).limits.cpu_cores == 0.5
        else:
            with pytest.raises(Terminal, match=r"0\.5"):
                case.runtime.create(replica)
            assert case.runtime.inspect(replica.name) is None

    def test_gpus_are_never_just_left_out(self, case: RuntimeCase) -> None:
        gpus = GpuRequest(count=64)
        with pytest.raises((Terminal, Refused)):
            create_and_start(case.runtime, case.replica(*SERVE, gpus=gpus))

    # start

    def test_started_runs_and_answers(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        address = case.answering(name)
        assert address.startswith("http://")
        assert case.get(address, "/") == "ok"
        seen = case.seen(name)
        assert (seen.state, seen.exit) == (ReplicaState.RUNNING, None)
        assert seen.started_at is not None
        assert seen.started_at.tzinfo is not None

    def test_who_does_not_tell_what_it_works_on_is_not_guessed_at(self, case: RuntimeCase) -> None:
        address, slots = case.answering(case.run(*SERVE)), BusySignal("/slots", flag="is_processing")
        assert case.prober.open_requests(address, slots, 30) is None
        assert case.prober.open_requests("", slots, 30) is None

    def test_starting_twice_has_no_effect(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        first = case.seen(name)
        case.runtime.start(name, {})
        assert case.seen(name) == first

    def test_racing_starters_start_one_engine(self, case: RuntimeCase) -> None:
        replica = case.replica("out", "here", *SERVE)
        case.runtime.create(replica)
        results = together(*(lambda: case.reopen().start(replica.name, {}) for _ in range(3)))
        assert results == [None, None, None]
        case.answering(replica.name)
        assert list(case.runtime.logs(replica.name)) == ["here"]

    def test_replicas_do_not_share_an_address(self, case: RuntimeCase) -> None:
        addresses = {case.answering(name) for name in [case.run(*SERVE) for _ in range(3)]}
        assert len(addresses) == 3

    def test_environment_reaches_the_engine(self, case: RuntimeCase) -> None:
        name = case.run("env", "GREETING", env={"GREETING": "good day = 'x'"})
        case.ended(name)
        assert list(case.runtime.logs(name)) == ["GREETING=good day = 'x'"]

    def test_a_secret_reaches_the_engine_and_nothing_else(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE, secret_env={"TOKEN": ValueFrom(env="SOURCE")})
        case.runtime.create(replica)
        case.runtime.start(replica.name, {"TOKEN": CANARY})
        address = case.answering(replica.name)
        assert case.get(address, "/env/TOKEN") == CANARY
        assert not [text for text in case.written() if CANARY.encode() in text]
        case.runtime.stop(replica.name, 20)
        assert not [text for text in case.written() if CANARY.encode() in text]

    def test_a_secret_is_any_text(self, case: RuntimeCase) -> None:
        value = """it's "quoted" $HOME `id` \\ äöü\nand a second line"""
        replica = case.replica(*SERVE, secret_env={"TOKEN": ValueFrom(env="SOURCE")})
        case.runtime.create(replica)
        case.runtime.start(replica.name, {"TOKEN": value})
        assert case.get(case.answering(replica.name), "/env/TOKEN") == value

    def test_a_secret_without_value_is_refused(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE, secret_env={"TOKEN": ValueFrom(env="SOURCE")})
        case.runtime.create(replica)
        with pytest.raises(Refused, match="TOKEN"):
            case.runtime.start(replica.name, {})
        assert case.seen(replica.name).state is ReplicaState.CREATED

    def test_a_mounted_file_is_read_at_its_target(self, case: RuntimeCase) -> None:
        source = case.make_file("model.gguf", "the weights")
        name = case.run("show", "/models/m.gguf", mounts=(Mount("/models/m.gguf", source, "m"),))
        assert case.ended(name) == Exit(0)
        assert list(case.runtime.logs(name)) == ["the weights"]

    def test_an_unknown_program_is_named(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE)
        replica = replace(replica, launch=replace(replica.launch, argv=("no-such-program", "x")))
        with pytest.raises((Terminal, Refused), match="no-such-program"):
            create_and_start(case.runtime, replica)
        left = case.runtime.inspect(replica.name)
        assert left is None or left.state is ReplicaState.CREATED
        if left is not None:
            assert left.exit is not None
            assert left.exit.error
            case.runtime.remove(replica.name)

    # stop, restart, remove

    def test_stop_ends_it_politely(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        case.runtime.stop(name, 30)
        seen = case.seen(name)
        assert (seen.state, seen.exit, seen.address, seen.pid) == (ReplicaState.EXITED, Exit(0), "", None)
        assert seen in case.runtime.list()

    def test_stopping_what_does_not_run_has_no_effect(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE)
        case.runtime.create(replica)
        case.runtime.stop(replica.name, 30)
        assert case.seen(replica.name).state is ReplicaState.CREATED
        case.runtime.start(replica.name, {})
        case.answering(replica.name)
        case.runtime.stop(replica.name, 30)
        first = case.seen(replica.name)
        case.runtime.stop(replica.name, 30)
        assert case.seen(replica.name) == first

    def test_stop_kills_the_deaf_after_the_grace(self, case: RuntimeCase) -> None:
        name = case.run("deaf", *SERVE)
        case.answering(name)
        case.runtime.stop(name, 0.3)
        assert case.seen(name).exit == Exit(137, 9)

    def test_a_paused_one_runs_and_goes_on_when_let(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        address = case.answering(name)
        running = case.seen(name)
        case.pause(name)
        until(lambda: case.seen(name).paused)
        halted = case.seen(name)
        assert halted == replace(running, paused=True)
        assert (halted.condition, halted.address, case.runtime.list()) == ("paused", address, (halted,))
        assert case.prober.look(address, ReadyProbe(timeout_seconds=0.2)) is Health.DOWN
        case.runtime.start(name, {})
        assert case.seen(name) == halted, "it runs, so a start has no effect"
        case.runtime.resume(name)
        until(lambda: not case.seen(name).paused)
        assert case.answering(name) == address
        case.runtime.resume(name)
        assert case.seen(name) == running

    def test_a_paused_one_can_be_stopped(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        case.pause(name)
        until(lambda: case.seen(name).paused)
        case.runtime.stop(name, 30)
        assert (case.seen(name).state, case.seen(name).paused) == (ReplicaState.EXITED, False)
        case.runtime.resume(name)
        case.runtime.remove(name)
        with pytest.raises(NotFound):
            case.runtime.resume(name)

    def test_a_stopped_one_starts_again(self, case: RuntimeCase) -> None:
        name = case.run("out", "hello", *SERVE)
        case.answering(name)
        first = case.seen(name)
        case.runtime.stop(name, 30)
        case.runtime.start(name, {})
        assert case.get(case.answering(name), "/") == "ok"
        again = case.seen(name)
        assert (again.state, again.exit, again.runtime_id) == (ReplicaState.RUNNING, None, first.runtime_id)
        assert again.started_at is not None
        assert first.started_at is not None
        assert again.started_at >= first.started_at
        assert list(case.runtime.logs(name)) == ["hello", "hello"]

    def test_removed_is_forgotten_and_the_name_is_free(self, case: RuntimeCase) -> None:
        replica = case.replica("out", "old")
        case.runtime.create(replica)
        case.runtime.start(replica.name, {})
        case.ended(replica.name)
        first = case.seen(replica.name)
        case.runtime.remove(replica.name)
        assert case.runtime.inspect(replica.name) is None
        assert case.runtime.list() == ()
        case.runtime.create(replica)
        again = case.seen(replica.name)
        assert again.runtime_id != first.runtime_id
        assert (again.state, again.exit) == (ReplicaState.CREATED, None)
        assert list(case.runtime.logs(replica.name)) == []

    def test_sweeping_takes_nothing_from_a_replica_that_is_there(self, case: RuntimeCase) -> None:
        made = case.replica(*SERVE)
        case.runtime.create(made)
        case.runtime.sweep(made.owner.set)
        case.runtime.sweep("another")
        for _ in range(2):
            case.runtime.start(made.name, {})
            case.answering(made.name)
            case.runtime.stop(made.name, 5.0)
            case.runtime.sweep(made.owner.set)
        case.runtime.remove(made.name)
        case.runtime.sweep(made.owner.set)
        case.runtime.sweep(made.owner.set)
        assert case.runtime.list() == ()

    def test_remove_of_a_running_one_is_refused(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        first = case.seen(name)
        with pytest.raises(Refused):
            case.runtime.remove(name)
        assert case.seen(name) == first
        assert case.get(first.address, "/") == "ok"

    def test_of_racing_removers_one_wins(self, case: RuntimeCase) -> None:
        replica = case.replica(*SERVE)
        case.runtime.create(replica)
        results = together(*(lambda: case.reopen().remove(replica.name) for _ in range(3)))
        assert case.runtime.inspect(replica.name) is None
        assert results.count(None) >= 1
        assert all(isinstance(result, NotFound) for result in results if result is not None)

    def test_what_is_missing_is_not_found(self, case: RuntimeCase) -> None:
        name = f"{case.instance}-nobody"
        acts: list[Callable[[], Any]] = [
            lambda: case.runtime.start(name, {}),
            lambda: case.runtime.stop(name, 1),
            lambda: case.runtime.remove(name),
            lambda: case.runtime.update(name, Limits()),
            lambda: list(case.runtime.logs(name)),
            lambda: case.runtime.progress(name),
        ]
        for act in acts:
            with pytest.raises(NotFound, match=name):
                act()

    # how it ended

    def test_exit_code(self, case: RuntimeCase) -> None:
        name = case.run("exit", "3")
        assert case.ended(name) == Exit(3)
        assert case.seen(name).address == ""

    def test_exit_by_signal(self, case: RuntimeCase) -> None:
        assert case.ended(case.run("signal", "6")) == Exit(134, 6)

    def test_killed_from_outside(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        case.kill(name)
        ended = case.ended(name)
        assert (ended.code, ended.signal) == (137, 9)

    def test_out_of_memory(self, case: RuntimeCase) -> None:
        name = case.run("hog", "600", *SERVE, limits=Limits(memory_bytes=100 * MIB))
        ended = case.ended(name)
        assert ended.out_of_memory == case.tells_out_of_memory
        assert ended.code != 0

    def test_each_end_is_told_from_the_one_before(self, case: RuntimeCase) -> None:
        """By this, ends in a row are counted once each, whoever looks how often."""
        name = case.run("out", "last words", "exit", "3")
        case.ended(name)
        first = case.seen(name)
        assert first.started_at is not None
        assert first.ended_at is not None
        assert first.started_at <= first.ended_at
        assert run_of(first) == run_of(case.reopen().list()[0])
        case.runtime.start(name, {})
        until(lambda: run_of(case.seen(name)) != run_of(first) and case.seen(name).state is ReplicaState.EXITED)
        again = case.seen(name)
        assert again.ended_at is not None
        assert again.ended_at >= first.ended_at
        assert list(case.runtime.logs(name, tail=1)) == ["last words"]

    def test_a_watch_names_what_ended(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        with listening(case.runtime) as notices:
            case.kill(name)
            until(lambda: "die" in told_of(name, notices))

    def test_a_watch_names_what_was_taken_over_and_no_stranger(self, case: RuntimeCase) -> None:
        if case.put_serving is None:
            return
        names = [f"{case.instance}-{word}" for word in ("before", "after", "never")]
        for name in names:
            case.put_serving(name, case.make_file("legacy.gguf", "weights"))
            case.answering(name)
        before, after, never = names
        case.reopen().adopt(before, case.seen(before).runtime_id, case.owner())
        with listening(case.runtime) as notices:
            case.reopen().adopt(after, case.seen(after).runtime_id, case.owner(name="other"))
            for name in (never, before, after):
                case.kill(name)
            until(lambda: "die" in told_of(before, notices) and "die" in told_of(after, notices))
        assert told_of(never, notices) == []
        latest = max(one.at_ns for one in notices if isinstance(one, ReplicaEvent))
        case.forget(before)
        case.put_serving(before, case.make_file("legacy.gguf", "weights"))
        case.runtime.start(after, {})
        for name in (before, after):
            case.answering(name)
        with listening(case.runtime) as notices:
            case.kill(before)
            case.kill(after)
            until(lambda: "die" in told_of(after, since(latest, notices)))
        current = case.seen(before).runtime_id
        assert not [one for one in notices if isinstance(one, ReplicaEvent) and one.runtime_id == current]

    # limits

    def test_limits_are_read_back(self, case: RuntimeCase) -> None:
        limits = Limits(cpu_cores=1, memory_bytes=300 * MIB)
        name = case.run(*SERVE, limits=limits)
        case.answering(name)
        assert case.seen(name).limits == limits

    def test_update_changes_a_running_one(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE, limits=Limits(memory_bytes=300 * MIB))
        case.answering(name)
        first = case.seen(name)
        wanted = Limits(cpu_cores=1, memory_bytes=400 * MIB)
        if not case.runtime.capabilities().live_limits:
            with pytest.raises(Refused, match="limits"):
                case.runtime.update(name, wanted)
            assert case.seen(name) == first
            return
        case.runtime.update(name, wanted)
        assert case.seen(name) == replace(first, limits=wanted)
        assert case.get(first.address, "/") == "ok"
        case.runtime.stop(name, 30)
        case.runtime.start(name, {})
        case.answering(name)
        assert case.seen(name).limits == wanted

    def test_update_can_lift_limits(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE, limits=Limits(cpu_cores=1, memory_bytes=300 * MIB))
        case.answering(name)
        first = case.seen(name)
        if not case.runtime.capabilities().live_limits:
            with pytest.raises(Refused, match="limits"):
                case.runtime.update(name, Limits())
            assert case.seen(name) == first
            return
        case.runtime.update(name, Limits())
        assert case.seen(name) == replace(first, limits=Limits())
        assert case.get(first.address, "/") == "ok"

    def test_update_that_cannot_be_is_refused(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE, limits=Limits(cpu_cores=1))
        with pytest.raises(Refused):
            case.runtime.update(name, Limits(cpu_cores=100_000))
        assert case.seen(name).limits == Limits(cpu_cores=1)

    # logs and signs of life

    def test_logs_are_lines_of_both_streams(self, case: RuntimeCase) -> None:
        name = case.run("lines", "3", "err", "and äöü", "out", "")
        case.ended(name)
        assert sorted(case.runtime.logs(name)) == sorted(["line 0", "line 1", "line 2", "and äöü", ""])
        assert [line for line in case.runtime.logs(name) if line.startswith("line")] == ["line 0", "line 1", "line 2"]

    def test_tail(self, case: RuntimeCase) -> None:
        name = case.run("lines", "5000")
        case.ended(name)
        for tail in (0, 1, 700, 5000, 9000):
            expected = [f"line {number}" for number in range(5000)][5000 - min(tail, 5000) :]
            assert list(case.runtime.logs(name, tail=tail)) == expected

    def test_follow_sees_new_lines_and_ends_with_it(self, case: RuntimeCase) -> None:
        name = case.run("out", "old", "out", "first", *SERVE)
        address = case.answering(name)
        following = case.runtime.logs(name, tail=1, follow=True)
        assert next(following) == "first"
        case.get(address, "/say/second")
        assert next(following) == "second"
        case.get(address, "/say/third")
        case.runtime.stop(name, 30)
        assert list(following) == ["third"]

    def test_follow_of_what_ended_ends(self, case: RuntimeCase) -> None:
        name = case.run("lines", "3")
        case.ended(name)
        assert list(case.runtime.logs(name, follow=True)) == ["line 0", "line 1", "line 2"]

    def test_follow_of_what_never_started_ends(self, case: RuntimeCase) -> None:
        replica = case.replica("lines", "3")
        case.runtime.create(replica)
        assert list(case.runtime.logs(replica.name, follow=True)) == []

    def test_progress_changes_with_each_sign_of_life(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        address = case.answering(name)
        before = case.runtime.progress(name)
        case.get(address, "/say/alive")
        after = until(lambda: (token := case.runtime.progress(name)) != before and token)
        assert case.runtime.progress(name) == after
        case.get(address, "/say/alive")
        until(lambda: case.runtime.progress(name) != after)

    # what the runtime is, and who else looks

    def test_capabilities_name_the_driver(self, case: RuntimeCase) -> None:
        assert case.runtime.capabilities().driver
        assert case.runtime.capabilities() == case.reopen().capabilities()

    def test_another_nexusctl_sees_and_ends_the_same(self, case: RuntimeCase) -> None:
        name = case.run(*SERVE)
        case.answering(name)
        other = case.reopen()
        assert other.list() == case.runtime.list()
        other.stop(name, 30)
        other.remove(name)
        assert case.runtime.list() == ()
        with pytest.raises(NotFound):
            case.runtime.stop(name, 1)

"""The loop on a virtual clock (T16, T12): idle it does nothing, what ends comes back, and no lost event, refused call
or death of its own keeps it from the last applied wish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from controllers.endings import ObjectResult
from controllers.looking import Options
from controllers.loop import Loop
from nexus_ctl.errors import LockBusy, NexusError
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import Exit, ReplicaState
from nexus_ctl.runtimes.watch import Notice
from tests.builders import the_demo
from tests.fakes.faults import MODES, Died, Gate
from tests.fakes.ids import FakeIds
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
HOUR = 3600.0
Act = Callable[[FakeWorld], None]


@dataclass
class Scripted:
    """An inbox on the world's clock: acts of the outside world happen while the loop waits, and their events arrive,
    unless `lost` says that they do not."""

    world: FakeWorld
    acts: list[tuple[float, Act]] = field(default_factory=list)
    lost: Callable[[], bool] = lambda: False
    waiting: list[Notice] = field(default_factory=list)
    read: int = 0

    def wait(self, seconds: float) -> bool:
        clock = self.world.clock
        end = clock.monotonic() + seconds
        while self.acts and self.acts[0][0] <= end:
            at, act = self.acts.pop(0)
            clock.sleep(at - clock.monotonic())
            act(self.world)
            self._collect()
            if self.waiting:
                return True
        clock.sleep(end - clock.monotonic())
        self._collect()
        return bool(self.waiting)

    def take(self) -> tuple[Notice, ...]:
        self._collect()
        taken, self.waiting = tuple(self.waiting), []
        return taken

    def _collect(self) -> None:
        told = self.world.runtime.told[self.read :]
        self.read += len(told)
        self.waiting += [event for event in told if not self.lost()]


@dataclass
class Keeper:
    """A loop over a world, with what it said."""

    world: FakeWorld
    inbox: Scripted
    said: list[ObjectResult | NexusError] = field(default_factory=list)
    busy: bool = False
    wanted: bool = False
    turns: int = 0

    def run(self, seconds: float, wrap: Any = None) -> None:
        """So much virtual time, as one process."""
        end = self.world.clock.monotonic() + seconds
        Loop(
            session=self.world.session(wrap),
            ids=FakeIds(f"loop{self.world.runs}"),
            inbox=self.inbox,
            turn=self._turn,
            wanted=lambda: self.wanted,
            stopped=lambda: self.world.clock.monotonic() >= end,
            tell=self.said.append,
            report=lambda _: None,
            chance=lambda: 0.5,
        ).run()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.busy:
            raise LockBusy("held")
        self.turns += 1
        yield

    @property
    def words(self) -> list[str]:
        return [f"{one.ref} {one.ending}" if isinstance(one, ObjectResult) else one.code for one in self.said]


def keeper(stack: Stack, *acts: tuple[float, Act]) -> Keeper:
    """A loop over a world in which the stack was applied at time 0; acts are counted from then."""
    world = FakeWorld()
    offer(world, stack)
    world.apply(stack)
    began = world.clock.monotonic()
    return Keeper(world, Scripted(world, [(began + at, act) for at, act in acts]))


def kill(world: FakeWorld) -> None:
    for name, thing in sorted(world.runtime.things.items()):
        if thing.state is ReplicaState.RUNNING and thing.owner is not None:
            world.runtime.kill(name)
            return


def vanish(world: FakeWorld) -> None:
    for name, thing in sorted(world.runtime.things.items()):
        if thing.owner is not None:
            world.runtime.vanish(name)
            return


def pause(world: FakeWorld) -> None:
    for name, thing in sorted(world.runtime.things.items()):
        if thing.state is ReplicaState.RUNNING and thing.owner is not None:
            world.runtime.pause(name)
            return


def pause_gateway(world: FakeWorld) -> None:
    for name, thing in world.host.things.items():
        if thing.state is ReplicaState.RUNNING:
            world.host.pause(name)


def lose_table(world: FakeWorld) -> None:
    world.routing.table = type(world.routing.table)()


def kill_gateway(world: FakeWorld) -> None:
    for name in list(world.host.things):
        world.host.kill(name)


def starts(world: FakeWorld) -> int:
    return sum(verb == "start" for verb, _ in world.runtime.calls)


def test_an_idle_hour_is_resyncs_and_nothing_else() -> None:
    one = keeper(the_demo())
    one.run(60)
    revision, lists, calls = one.world.store.revision(), one.world.runtime.lists, len(one.world.runtime.calls)
    one.run(HOUR)
    assert one.world.store.revision() == revision, "not one status write"
    assert len(one.world.runtime.calls) == calls
    assert HOUR / 30 <= one.world.runtime.lists - lists <= HOUR / 27 + 2, "one list for each resync"
    assert one.said == []


def test_what_ends_serves_again_by_its_event() -> None:
    one = keeper(the_demo(), (100, kill))
    one.run(100 + one.world.ready_after + 1)
    assert one.words == ["Deployment/chat restarted"]
    assert one.world.answers()


def test_what_somebody_paused_goes_on_by_its_event() -> None:
    one = keeper(the_demo(), (100, pause), (100, pause_gateway))
    began = starts(one.world)
    one.run(104)
    assert sorted(one.words) == ["Deployment/chat configured", "Gateway/demo configured"]
    assert one.world.answers()
    assert starts(one.world) == began


@pytest.mark.parametrize("act", [kill, vanish, pause])
def test_a_lost_event_costs_a_resync_and_no_more(act: Act) -> None:
    one = keeper(the_demo(), (100, act))
    one.inbox.lost = lambda: True
    one.run(100 + 30 + one.world.ready_after + 1)
    assert one.world.answers()


def test_a_dead_gateway_and_a_lost_table_come_back() -> None:
    one = keeper(the_demo(), (10, lose_table), (10, kill_gateway))
    one.run(60)
    assert one.world.answers()
    assert [thing.state for thing in one.world.host.things.values()] == [ReplicaState.RUNNING]


def test_a_crash_loop_follows_its_back_off_also_across_restarts_of_the_loop() -> None:
    one = keeper(the_demo())
    one.world.runtime.exits["chat"] = Exit(137, 9, out_of_memory=True)
    kill(one.world)
    before = starts(one.world)
    for _ in range(12):
        one.run(HOUR / 12)
    assert 12 <= starts(one.world) - before <= 22, "five minutes apart in the end"
    one.world.runtime.exits.clear()
    one.run(301 + one.world.ready_after)
    assert one.world.answers()


def test_a_storm_of_events_is_a_look_a_second() -> None:
    one = keeper(the_demo(), *((10 + at / 50, lambda world: world.runtime._tell(
        next(iter(world.runtime.things.values())), "start")) for at in range(500)))  # fmt: skip
    lists = one.world.runtime.lists
    one.run(25)
    assert one.world.runtime.lists - lists <= 14


def test_a_replica_that_loads_for_ever_does_not_keep_others_from_being_healed() -> None:
    stack = the_demo(replicas=2)
    one = keeper(stack)
    first, second = sorted(one.world.runtime.things)
    one.world.runtime.kill(first)
    one.world.runtime.ready_after_by["chat"] = HOUR
    started = one.world.clock.monotonic()
    one.inbox.acts = [(started + 20, lambda world: world.runtime.kill(second))]
    sleep = one.world.clock.sleep

    def sleeping(seconds: float) -> None:
        sleep(seconds)
        while one.inbox.acts and one.inbox.acts[0][0] <= one.world.clock.monotonic():
            one.inbox.acts.pop(0)[1](one.world)

    one.world.clock.sleep = sleeping  # type: ignore[method-assign]
    one.run(60)
    assert one.world.runtime.things[second].state is ReplicaState.RUNNING


def test_it_gives_way_and_starts_nothing_while_somebody_waits_or_works() -> None:
    one = keeper(the_demo(), (10, kill))
    one.wanted = True
    one.run(60)
    assert one.turns == 0
    one.wanted, one.busy = False, True
    one.run(60)
    assert not one.world.answers()
    one.busy = False
    one.run(1 + one.world.ready_after + 1)
    assert one.world.answers()


def test_an_exchange_that_a_killed_apply_began_is_finished() -> None:
    one = keeper(the_demo())
    with suppress(Died):
        one.world.apply(the_demo(context=4096), wrap=Gate(one.world.clock, 6, "die_after").wrap)
    one.run(60)
    assert one.world.plan(the_demo(context=4096)).empty


def test_a_removal_that_was_not_finished_is_finished() -> None:
    one = keeper(the_demo())
    stack = the_demo()
    gate = Gate(one.world.clock, 8, "die_after")
    with suppress(Died):
        one.world.apply(stack, Options(delete=frozenset(stack.resources)), wrap=gate.wrap)
    assert gate.struck
    one.run(60)
    assert one.world.runtime.things == {}
    assert one.world.store.objects.all("demo") == ()


def test_what_serves_is_not_replaced_for_what_nobody_declared() -> None:
    secret = {"env": {"TOKEN": {"valueFrom": {"env": "TOKEN"}}}}
    world = FakeWorld(secrets={"TOKEN": "one"})
    offer(world, the_demo(**secret))
    world.apply(the_demo(**secret))
    [name] = list(world.runtime.things)
    world.secrets["TOKEN"] = "two"
    one = Keeper(world, Scripted(world))
    one.run(120)
    assert list(world.runtime.things) == [name]
    assert one.said == []
    assert not world.plan(the_demo(**secret)).empty, "an apply still would"


def test_nothing_applied_is_nothing_to_do() -> None:
    world = FakeWorld()
    one = Keeper(world, Scripted(world))
    one.run(120)
    assert (one.said, world.runtime.calls) == ([], [])


def test_a_runtime_that_is_away_is_asked_less_and_less_and_found_again() -> None:
    def away(world: FakeWorld) -> None:
        world.runtime.reachable = False

    def back(world: FakeWorld) -> None:
        world.runtime.reachable = True
        kill(world)

    one = keeper(the_demo(), (10, away), (610, back))
    one.run(660)
    assert one.words[:-1] == ["runtime-unreachable"] * (len(one.words) - 1)
    assert 20 <= len(one.words) <= 30
    assert one.world.answers()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_last_applied_wish_is_true_in_the_end(seed: int) -> None:
    """Seeded faults: events lost, replicas killed and removed, calls refused, the loop itself dying at any effect."""
    random = Random(seed)
    stack = the_demo(replicas=random.choice([1, 2, 3]))
    acts = [kill, vanish, pause, lose_table, kill_gateway, pause_gateway]
    one = keeper(stack)
    one.world.runtime.put_foreign("somebody-elses")
    one.inbox.lost = lambda: random.random() < 0.3
    for _ in range(15):
        now = one.world.clock.monotonic()
        one.inbox.acts = sorted(
            ((now + random.uniform(0, 90), random.choice(acts)) for _ in range(3)), key=lambda act: act[0]
        )
        gate = Gate(one.world.clock, random.randint(1, 25), random.choice(MODES))
        with suppress(Died):
            one.run(100, gate.wrap)
    one.inbox.acts, one.inbox.lost = [], lambda: False
    one.run(1300)
    assert one.world.answers()
    assert one.world.plan(stack).empty
    assert one.world.runtime.things["somebody-elses"].state is ReplicaState.RUNNING
    assert all(name != "somebody-elses" for _, name in one.world.runtime.calls)
    assert one.world.store.journal.unfinished("demo") == ()

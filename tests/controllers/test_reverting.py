"""A roll-out that fails goes back once, by itself, and the same wish is held until it changes (R16).

Answers skypilot-org/skypilot #4312 (roll back by itself when the new version fails).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from controllers.cycle import Result
from controllers.endings import Ending
from controllers.looking import Options
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import Exit, ReplicaState
from nexus_ctl.store.records import Revision
from tests.builders import the_demo
from tests.fakes.faults import MODES, Died, Gate
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
BAD = 900000
STRATEGIES = ("startFirst", "stopFirst")


def demo(context: int, strategy: str = "startFirst", **more: Any) -> Stack:
    return the_demo(context=context, rollout={"strategy": strategy}, **more)


def settled(strategy: str = "startFirst", **more: Any) -> FakeWorld:
    """A world in which revision 1 (context 2048) is stable and an engine with the bad context ends at once."""
    world = FakeWorld()
    world.runtime.exits_on[str(BAD)] = Exit(1)
    good = demo(2048, strategy, **more)
    offer(world, good)
    world.apply(good)
    world.clock.advance(60)
    world.apply(good)
    return world


def ending(result: Result) -> Ending:
    return next(one.ending for one in result.objects if one.ref == CHAT)


def change(world: FakeWorld, stack: Stack, **options: Any) -> Change:
    return next(one for one in world.plan(stack, Options(**options)).changes if one.ref == CHAT)


def history(world: FakeWorld) -> list[tuple[int, str, bool]]:
    return [(one.number, one.result, one.stable) for one in revisions(world)]


def revisions(world: FakeWorld) -> tuple[Revision, ...]:
    return world.store.history.revisions("demo", CHAT)


def contexts(world: FakeWorld) -> list[str]:
    """The context of every engine that runs."""
    running = [thing.launch for thing in world.runtime.things.values() if thing.state is ReplicaState.RUNNING]
    return sorted(launch.argv[launch.argv.index("--ctx-size") + 1] for launch in running if launch is not None)


def stalled(result: Result) -> str:
    conditions = result.assessed[CHAT].conditions
    return next((c.message for c in conditions if c.type == "Stalled" and c.status == "True"), "")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_failed_revision_goes_back_to_the_stable_one(strategy: str) -> None:
    world = settled(strategy)
    before = world.state()
    result = world.apply(demo(BAD, strategy))
    assert ending(result) is Ending.REVERTED
    assert world.state() == before
    assert world.answers()
    assert history(world) == [(2, "Reverted", False), (3, "Succeeded", True)]
    assert "exited(1)" in revisions(world)[0].why
    [stored] = [item for item in world.store.objects.all("demo") if item.ref == CHAT]
    assert stored.spec == demo(2048, strategy).resources[CHAT].normalised
    [event] = [one.event for one in world.store.events.read("demo", CHAT) if one.event.reason == "Reverted"]
    assert event.type == "Warning"
    assert "revision 2 did not become ready" in event.message
    assert "nexusctl reconcile deployment/chat" in stalled(result)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_revision_that_cannot_even_start_goes_back_too(strategy: str) -> None:
    world, wish = settled(strategy), demo(4096, strategy)
    before = world.state()
    world.runtime.fail_start["4096"] = "could not select device driver"
    assert ending(world.apply(wish)) is Ending.REVERTED
    assert world.state() == before
    assert change(world, wish).codes == ("failed_before",), "the next apply makes no second gap"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_wish_is_held_says_why_and_does_not_flap(strategy: str) -> None:
    world = settled(strategy)
    world.apply(demo(BAD, strategy))
    held = change(world, demo(BAD, strategy))
    assert (held.verb, held.codes, held.steps) == (Verb.BLOCKED, ("failed_before",), ())
    assert "exited(1)" in held.reasons[0].detail
    calls = len(world.runtime.calls)
    for _ in range(3):
        world.clock.advance(3600)
        assert ending(world.apply(demo(BAD, strategy))) is Ending.BLOCKED
    assert len(world.runtime.calls) == calls
    assert [number for number, _, _ in history(world)] == [2, 3]


def test_a_held_object_is_healed_as_what_serves() -> None:
    world = settled()
    world.apply(demo(BAD))
    [name] = list(world.runtime.things)
    world.runtime.kill(name)
    healing = change(world, demo(BAD))
    assert (healing.verb, healing.codes) == (Verb.RESTART, ("failed_before", "drift_exited"))
    world.apply(demo(BAD))
    assert contexts(world) == ["2048"]
    assert world.answers()


def test_a_changed_wish_tries_again_and_so_does_a_retry() -> None:
    world = settled()
    world.apply(demo(BAD))
    assert ending(world.apply(demo(4096))) is Ending.REPLACED
    world.clock.advance(60)
    assert ending(world.apply(demo(BAD))) is Ending.BLOCKED, "what failed once is known, whatever came between"
    retry = Options(retry=frozenset({CHAT}))
    assert ending(world.apply(demo(BAD), retry)) is Ending.REVERTED
    assert contexts(world) == ["4096"]
    del world.runtime.exits_on[str(BAD)]
    assert ending(world.apply(demo(BAD), retry)) is Ending.REPLACED
    assert contexts(world) == [str(BAD)]
    assert world.plan(demo(BAD)).empty


def test_without_a_stable_revision_the_old_replica_comes_back_and_the_wish_stays() -> None:
    world = FakeWorld()
    world.runtime.exits_on[str(BAD)] = Exit(1)
    offer(world, demo(2048))
    world.apply(demo(2048))
    assert ending(world.apply(demo(BAD))) is Ending.FAILED, "nobody knows yet whether revision 1 is any good"
    assert contexts(world) == ["2048"]
    assert change(world, demo(BAD)).verb is Verb.REPLACE_START_FIRST


def test_a_killed_engine_does_not_speak_against_its_revision() -> None:
    world = settled()
    world.runtime.exits_on[str(BAD)] = Exit(137, 9)
    assert ending(world.apply(demo(BAD))) is Ending.FAILED
    assert change(world, demo(BAD)).verb is Verb.REPLACE_START_FIRST


def test_replicas_exchanged_before_one_failed_go_back_too() -> None:
    world = settled(replicas=3)
    before = world.state()
    world.runtime.exits_on.clear()
    began: list[int] = []

    def third_is_bad() -> str:
        started = [name for verb, name in world.runtime.calls if verb == "start"]
        if len(set(started)) == 4 and not began:
            world.runtime.exits_on[str(BAD)] = Exit(1)
            began.append(1)
        return ""

    result = world.apply(demo(BAD, replicas=3), wrap=Gate(world.clock, watch=third_is_bad).wrap)
    assert began
    assert ending(result) is Ending.REVERTED
    assert contexts(world) == ["2048"] * 3
    assert world.state() == before


def test_a_revision_that_was_ready_is_healed_and_never_gone_back_from() -> None:
    world = settled()
    world.apply(demo(4096))
    world.runtime.exits_on["4096"] = Exit(1)
    [name] = list(world.runtime.things)
    world.runtime.crash(name)
    assert ending(world.apply(demo(4096))) is Ending.FAILED
    assert [item.spec for item in world.store.objects.all("demo") if item.ref == CHAT] == [
        demo(4096).resources[CHAT].normalised
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_anywhere_on_the_way_back_still_ends_with_the_old_revision_serving(strategy: str, mode: str) -> None:
    """Also a death between the stop of the old one and the failure of the new one."""
    gate = Gate(settled(strategy).clock)
    world = settled(strategy)
    world.apply(demo(BAD, strategy), wrap=gate.wrap)
    goal = world.state()
    for at in range(1, gate.count + 1):
        world = settled(strategy)
        with suppress(Died, Exception):
            world.apply(demo(BAD, strategy), wrap=Gate(world.clock, at, mode).wrap)
        for _ in range(3):
            world.clock.advance(600)
            world.apply(demo(BAD, strategy))
        assert world.answers(), f"{mode} at {at}: {gate.names[at - 1]}"
        assert world.state() == goal, f"{mode} at {at}: {gate.names[at - 1]}"


def test_a_death_while_the_new_one_loads_keeps_the_old_one_until_it_is_ready() -> None:
    """The old replica is let go only when the new one serves, whoever finishes the exchange."""
    for strategy in STRATEGIES:
        world = settled(strategy)
        gate = Gate(world.clock)
        good = demo(4096, strategy)
        settled(strategy).apply(good, wrap=gate.wrap)
        at = gate.names.index("runtime.start") + 1
        with suppress(Died):
            world.apply(good, wrap=Gate(world.clock, at, "die_after").wrap)
        old = next(t for t in world.runtime.things.values() if t.launch and "2048" in t.launch.argv)
        serving = old.state is ReplicaState.RUNNING

        def watch(world: FakeWorld = world, serving: bool = serving) -> str:
            kept = any(t.launch and "2048" in t.launch.argv for t in world.runtime.things.values())
            fine = world.answers() or (kept and not serving)
            return "" if fine else "nothing serves and nothing is left to go back to"

        world.apply(good, wrap=Gate(world.clock, watch=watch).wrap)
        assert contexts(world) == ["4096"]
        assert world.plan(good).empty

"""A replica that ends again and again is started less and less often, also across restarts of nexusctl (R21, R23).

Answers mostlygeek/llama-swap #608, #120, #92 (detect crashed engines and repair; crash-loop condition).
"""

from __future__ import annotations

from controllers.endings import Ending
from controllers.looking import Options
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import Exit, ReplicaState
from tests.builders import the_demo
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
OOM = Exit(137, 9, out_of_memory=True)


def crashing(times: int) -> FakeWorld:
    """The demo, whose engine ended so many times in a row and was healed as often as was due."""
    world = FakeWorld()
    offer(world, the_demo())
    world.apply(the_demo())
    world.runtime.exits["chat"] = OOM
    [name] = list(world.runtime.things)
    world.runtime.things[name].lines.append("ggml_gallocr_reserve: failed")
    world.runtime.crash(name, OOM)
    for _ in range(times - 1):
        world.apply(the_demo())
        world.clock.advance(known(world).seconds_left(world.clock.now()))
    return world


def known(world: FakeWorld) -> Backoff:
    [one] = world.store.backoffs.all("demo").values()
    return one


def chat(world: FakeWorld, options: Options | None = None) -> Change:
    return next(one for one in world.plan(the_demo(), options or Options()).changes if one.ref == CHAT)


def test_a_single_end_is_healed_at_once() -> None:
    world = crashing(1)
    assert (chat(world).verb, chat(world).codes) == (Verb.RESTART, ("drift_exited",))
    world.runtime.exits.clear()
    world.apply(the_demo())
    assert world.answers()
    assert known(world).failures == 1
    assert "ggml_gallocr_reserve: failed" in known(world).lines


def test_an_apply_within_the_pause_starts_nothing_and_says_when_and_why() -> None:
    world = crashing(4)
    world.apply(the_demo())
    starts = len(world.runtime.calls)
    result = world.apply(the_demo())
    assert len(world.runtime.calls) == starts
    [one] = [one for one in result.objects if one.ref == CHAT]
    assert one.ending is Ending.BLOCKED
    change = chat(world)
    assert (change.verb, change.codes) == (Verb.BLOCKED, ("crash_loop",))
    assert change.reasons[0].detail == known(world).words(world.clock.now())
    assert "restarted 4 times, next try in" in change.reasons[0].detail
    assert "because it ran out of memory: lower contextSize" in change.reasons[0].detail
    ready = next(c for c in result.assessed[CHAT].conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "CrashLoop")
    assert "next try in" in ready.message


def test_tries_get_rarer_up_to_the_cap() -> None:
    world = crashing(1)
    pauses = []
    for _ in range(9):
        world.apply(the_demo())
        pauses.append(known(world).seconds_left(world.clock.now()))
        world.clock.advance(pauses[-1])
    assert all(0.8 * most <= took <= most for took, most in zip(pauses, [2, 6, 18, 54, 162, *[300] * 4], strict=True))


def test_a_reader_counts_without_writing() -> None:
    world = crashing(3)
    world.apply(the_demo())
    world.clock.advance(300)
    world.apply(the_demo())
    before = world.store.backoffs.all("demo")
    [name] = list(world.runtime.things)
    world.runtime.exits.clear()
    world.apply(the_demo(), Options(retry=frozenset({CHAT})))
    world.runtime.crash(name, OOM)
    world.plan(the_demo())
    assert before != world.store.backoffs.all("demo"), "the retry forgot the row"
    rows = world.store.backoffs.all("demo")
    world.plan(the_demo())
    assert world.store.backoffs.all("demo") == rows


def test_a_retry_and_another_spec_wait_for_nothing() -> None:
    world = crashing(4)
    world.apply(the_demo())
    assert chat(world).verb is Verb.BLOCKED
    assert chat(world, Options(retry=frozenset({CHAT}))).verb is Verb.RESTART
    other = next(one for one in world.plan(the_demo(context=1024)).changes if one.ref == CHAT)
    assert other.verb is Verb.RESTART
    world.runtime.exits.clear()
    world.apply(the_demo(context=1024))
    assert world.answers()
    assert world.store.backoffs.all("demo") == {}, "what another make did is forgotten"


def test_a_run_that_stays_ready_is_forgiven() -> None:
    world = crashing(4)
    world.runtime.exits.clear()
    world.apply(the_demo())
    assert world.answers()
    world.clock.advance(60)
    [name] = list(world.runtime.things)
    world.runtime.crash(name, OOM)
    assert chat(world).verb is Verb.RESTART
    world.apply(the_demo())
    assert known(world).failures == 1


def test_the_gateway_waits_too() -> None:
    world = FakeWorld()
    offer(world, the_demo())
    world.apply(the_demo())
    world.host.exits["demo"] = Exit(1)
    [name] = list(world.host.things)
    world.host.crash(name)
    for _ in range(2):
        world.apply(the_demo())
    gateway = next(one for one in world.plan(the_demo()).changes if one.ref.kind == "Gateway")
    assert (gateway.verb, gateway.codes) == (Verb.BLOCKED, ("crash_loop",))


def test_other_replicas_are_healed_while_one_waits() -> None:
    world = FakeWorld()
    pair = the_demo(replicas=2)
    offer(world, pair)
    world.apply(pair)
    first, second = sorted(world.runtime.things)
    for _ in range(3):
        world.runtime.crash(first, OOM)
        world.apply(pair)
        world.clock.advance(6)
    world.runtime.crash(first, OOM)
    world.runtime.crash(second, OOM)
    change = next(one for one in world.plan(pair).changes if one.ref == CHAT)
    assert change.verb is Verb.RESTART
    assert set(change.codes) == {"crash_loop", "drift_exited"}
    world.apply(pair)
    assert world.runtime.things[first].state is ReplicaState.EXITED
    assert world.runtime.things[second].state is ReplicaState.RUNNING


def test_a_lost_store_forgets_the_ends_and_nothing_else() -> None:
    world = crashing(4)
    world.apply(the_demo())
    world.lose_store()
    assert chat(world).verb is Verb.RESTART

"""Replicas that run and serve nobody: hung ones, and ones that nothing leads to any more."""

from __future__ import annotations

from controllers.endings import Ending
from controllers.looking import Options
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.views.plan import text
from tests.builders import the_demo
from tests.fakes.runtime import Thing
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")


def settled(stack: Stack) -> FakeWorld:
    """A world in which the stack is stable."""
    world = FakeWorld()
    offer(world, stack)
    world.apply(stack)
    world.clock.advance(60)
    world.apply(stack)
    return world


def engines(world: FakeWorld) -> list[Thing]:
    return sorted((one for one in world.runtime.things.values() if one.deployment == "chat"), key=lambda one: one.name)


def change(world: FakeWorld, stack: Stack, *retry: Ref) -> Change:
    return next(one for one in world.plan(stack, Options(retry=frozenset(retry))).changes if one.ref == CHAT)


def test_one_whose_port_is_gone_is_made_anew() -> None:
    """Somebody took the container out of its network: nothing leads to it, and nothing ever will."""
    stack = the_demo()
    world = settled(stack)
    [lost] = engines(world)
    lost.address = ""
    found = change(world, stack)
    assert (found.verb, found.codes) == (Verb.RESTART, ("drift_exited",))
    assert found.drift == (f"{lost.name}: running -> out of reach: no port of it is published",)
    assert found.gap is not None
    world.apply(stack)
    [fresh] = engines(world)
    assert (fresh.runtime_id != lost.runtime_id, world.answers()) == (True, True)
    assert world.plan(stack).empty


def test_a_hung_one_is_waited_for_and_made_anew_when_somebody_says_so() -> None:
    """It may be busy, so nobody else decides; the plan says how to."""
    stack = the_demo()
    world = settled(stack)
    [hung] = engines(world)
    hung.hung = True
    found = change(world, stack)
    assert (found.verb, found.codes) == (Verb.UPDATE, ("not_ready",))
    assert "to make it anew: nexusctl reconcile deployment/chat" in text(world.plan(stack))
    assert change(world, stack, CHAT).verb is Verb.RESTART
    world.apply(stack, Options(retry=frozenset({CHAT})))
    [fresh] = engines(world)
    assert fresh.runtime_id != hung.runtime_id
    assert world.plan(stack).empty


def test_one_that_was_never_ready_is_not_made_anew_while_it_loads() -> None:
    stack = the_demo()
    world = settled(stack)
    [slow] = engines(world)
    slow.hung = True
    world.routing.table.endpoints.clear()
    assert change(world, stack, CHAT).verb is Verb.UPDATE


def test_a_hung_one_does_not_speak_against_a_new_revision() -> None:
    """Two replicas, one hung: a third comes up and stays, whatever becomes of the hung one."""
    world = settled(the_demo(replicas=2))
    engines(world)[1].hung = True
    wish = the_demo(replicas=3)
    result = world.apply(wish)
    assert next(one.ending for one in result.objects if one.ref == CHAT) is Ending.FAILED
    assert [one.state.value for one in engines(world)] == ["running"] * 3
    assert change(world, wish).codes == ("not_ready",), "the wish is not held"


def test_all_that_ended_together_are_a_gap() -> None:
    stack = the_demo(replicas=2)
    world = settled(stack)
    for one in engines(world):
        world.runtime.vanish(one.name)
    found = change(world, stack)
    assert found.verb is Verb.RESTART
    assert found.gap is not None


def test_the_row_of_a_renamed_one_goes() -> None:
    """`docker rename` by hand: it serves under its new name, and is not counted twice."""
    stack = the_demo()
    world = settled(stack)
    [one] = engines(world)
    former, one.name = one.name, "stolen"
    world.runtime.things["stolen"] = world.runtime.things.pop(former)
    assert f"{former}: vanished" in change(world, stack).drift
    world.apply(stack)
    assert list(world.routing.table.endpoints["chat"]) == ["stolen"]
    assert world.plan(stack).empty

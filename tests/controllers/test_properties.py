"""Properties of the planner (T2) and of apply (T3), over any two stacks and any tampering in between."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controllers.looking import Options
from nexus_ctl.planning.change import REMOVING, Verb
from nexus_ctl.planning.plan import Plan
from nexus_ctl.resources.declared import Stack
from tests.controllers.stacks import stacks
from tests.fakes.faults import Gate
from tests.fakes.world import FakeWorld, offer

PRUNE = Options(prune=True, max_prune=99)
TAMPERING = ("kill", "vanish", "withdraw", "nothing")


def made(stack: Stack) -> FakeWorld:
    """A world in which a stack was applied."""
    world = FakeWorld()
    offer(world, stack)
    world.apply(stack)
    return world


def tamper(world: FakeWorld, how: str) -> None:
    """Somebody else lays hands on the first replica."""
    names = sorted(world.runtime.things)
    if how == "kill" and names:
        world.runtime.kill(names[0])
    if how == "vanish" and names:
        world.runtime.vanish(names[0])
    if how == "withdraw":
        world.routing.table = type(world.routing.table)()


def check(plan: Plan, options: Options) -> None:
    """What holds for every plan whatsoever."""
    for node in plan.nodes:
        assert all(need < node.id for need in node.needs), "edges point backward"
        assert node.rescues is None or node.rescues < node.id
    for change in plan.changes:
        assert change.verb is Verb.NO_OP or change.reasons, f"{change.ref} has no reason"
        assert all(r.before != r.after for r in change.reasons if r.code == "field_changed"), change.reasons
        if not options.prune:
            assert change.verb not in REMOVING or change.ref.kind == "Gateway"
        if change.verb is Verb.NO_OP:
            assert change.steps == ()
    assert {node.ref for node in plan.nodes} <= {change.ref for change in plan.changes}


@given(stacks(), stacks(), st.sampled_from(TAMPERING), st.booleans())
def test_every_plan_is_whole_and_says_why(before: Stack, after: Stack, how: str, prune: bool) -> None:
    world = made(before)
    offer(world, after)
    tamper(world, how)
    check(world.plan(after, options := PRUNE if prune else Options()), options)


@given(stacks())
def test_after_apply_the_plan_is_empty_and_a_second_apply_changes_nothing(stack: Stack) -> None:
    world = made(stack)
    assert world.plan(stack).empty
    gate = Gate(world.clock)
    before = world.state()
    world.apply(stack, wrap=gate.wrap)
    assert set(gate.names) <= {"objects.declare"}
    assert world.state() == before


@given(stacks(), stacks())
def test_with_prune_any_stack_becomes_any_other(before: Stack, after: Stack) -> None:
    """But for what is protected, the way there leaves no trace: the world equals one made from scratch."""
    world = made(before)
    offer(world, after)
    world.apply(after, PRUNE)
    kept = {change.ref for change in world.plan(after, PRUNE).changes if change.verb is Verb.BLOCKED}
    assert all(change.verb in (Verb.NO_OP, Verb.BLOCKED) for change in world.plan(after, PRUNE).changes)
    fresh = made(after).state()
    found = world.state()
    assert found["things"] == fresh["things"]
    assert found["routes"] == fresh["routes"]
    assert {n: e for n, e in found["presets"].items() if not any(r.name == n for r in kept)} == fresh["presets"]


@given(stacks(), stacks())
def test_there_and_back_again(before: Stack, between: Stack) -> None:
    """Acto's walk S0 → S1 → S0: the first state comes back (T9)."""
    world = made(before)
    goal = world.state()
    offer(world, between)
    world.apply(between, PRUNE)
    world.apply(before, PRUNE)
    blocked = {c.ref.name for c in world.plan(before, PRUNE).changes if c.verb is Verb.BLOCKED}
    found = world.state()
    assert {n: e for n, e in found["presets"].items() if n not in blocked} == goal["presets"]
    assert (found["things"], found["endpoints"], found["routes"]) == (goal["things"], goal["endpoints"], goal["routes"])


@given(stacks(), stacks(), st.randoms())
def test_the_order_of_declarations_means_nothing(before: Stack, after: Stack, chance: random.Random) -> None:
    world = made(before)
    offer(world, after)
    items = list(after.resources.items())
    chance.shuffle(items)
    shuffled = Stack(after.name, after.settings, dict(items))
    assert str(world.plan(after, PRUNE)) == str(world.plan(shuffled, PRUNE))


@given(stacks(), stacks())
def test_planning_reads_and_never_writes(before: Stack, after: Stack) -> None:
    world = made(before)
    offer(world, after)
    state, revision = world.state(), world.store.revision()
    calls = (list(world.runtime.calls), list(world.host.calls), world.routing.writes)
    lists = world.runtime.lists
    world.plan(after, PRUNE)
    assert (world.state(), world.store.revision()) == (state, revision)
    assert (world.runtime.calls, world.host.calls, world.routing.writes) == calls
    assert world.runtime.lists == lists + 1, "one list call, whatever the number of replicas"

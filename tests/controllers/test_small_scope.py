"""Every state within a small scope (T7): one deployment, two generations, up to two interruptions, one external act.

Breadth first over what may happen to a world (an apply that dies after its k-th effect, a kill, a pause, a lost store,
a lost table), told apart by their canonical state; from every state a fault-free run reaches the declared world, and
then nothing happens any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.replica import ReplicaState
from tests.builders import a_deployment, a_model, a_stack
from tests.fakes.faults import Died, Gate
from tests.fakes.world import FakeWorld, offer

DEPTH = 2
GENERATIONS = (a_stack(a_model(), a_deployment()), a_stack(a_model(), a_deployment(context=4096)))
Act = Callable[[FakeWorld], None]


def dying(stack: Stack, at: int) -> Act:
    """An apply that dies right after its `at`-th effect."""

    def act(world: FakeWorld) -> None:
        with suppress(Died):
            world.apply(stack, wrap=Gate(world.clock, at, "die_after").wrap)

    return act


def kill(world: FakeWorld) -> None:
    for name, thing in sorted(world.runtime.things.items()):
        if thing.state is ReplicaState.RUNNING:
            world.runtime.kill(name)
            return


def pause(world: FakeWorld) -> None:
    for name, thing in sorted(world.runtime.things.items()):
        if thing.state is ReplicaState.RUNNING:
            world.runtime.pause(name)
            return


def lose_store(world: FakeWorld) -> None:
    world.lose_store()


def lose_table(world: FakeWorld) -> None:
    world.routing.table = type(world.routing.table)()


def begin() -> FakeWorld:
    world = FakeWorld()
    for stack in GENERATIONS:
        offer(world, stack)
    return world


def effects(stack: Stack, *before: Act) -> int:
    """How many effects an apply has after some acts."""
    world = begin()
    for act in before:
        act(world)
    gate = Gate(world.clock)
    world.apply(stack, wrap=gate.wrap)
    return gate.count


def canonical(world: FakeWorld) -> str:
    """What tells two worlds apart: what exists, what is published, what the store holds."""
    stored = [(str(item.ref), item.generation, item.spec_digest) for item in world.store.objects.all("demo")]
    return repr((sorted(world.state()["things"].items()), world.state(), stored, world.runtime.things.keys()))


@pytest.mark.slow
def test_from_every_reachable_state_a_plain_run_reaches_the_declared_world() -> None:
    frontier: list[tuple[Act, ...]] = [()]
    seen = {canonical(begin())}
    paths = 0
    for _ in range(DEPTH):
        reached: list[tuple[Act, ...]] = []
        for path in frontier:
            acts = [dying(stack, k + 1) for stack in GENERATIONS for k in range(effects(stack, *path))]
            for act in (*acts, kill, pause, lose_store, lose_table):
                world = begin()
                for each in (*path, act):
                    each(world)
                paths += 1
                if (state := canonical(world)) in seen:
                    continue
                seen.add(state)
                reached.append((*path, act))
                _settles(world)
        frontier = reached
    assert len(seen) > 30, f"{len(seen)} states over {paths} paths: the scope is too small to mean anything"


def _settles(world: FakeWorld) -> None:
    goal = GENERATIONS[1]
    for _ in range(4):
        world.apply(goal)
        if world.plan(goal).empty:
            break
    assert world.plan(goal).empty, str(world.plan(goal))
    [thing] = world.runtime.things.values()
    assert thing.state is ReplicaState.RUNNING
    assert list(world.routing.table.endpoints["chat"]) == [thing.name]

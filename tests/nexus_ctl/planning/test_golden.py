"""Plans as text (T1): one line per action, compared with a literal."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from controllers.looking import Options
from nexus_ctl.resources.declared import Stack
from tests.builders import a_deployment, a_model, a_preset, a_route, a_stack, the_demo
from tests.fakes.world import FakeWorld, offer


def golden(world: FakeWorld, stack: Stack, options: Options | None = None) -> str:
    """The plan with the hash of each replica name numbered in order of appearance."""
    text = str(world.plan(stack, options or Options()))
    hashes: dict[str, str] = {}
    return re.sub(r"(?<=-\d-)[0-9a-f]{8}", lambda m: hashes.setdefault(m[0], f"h{len(hashes) + 1}"), text)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def test_create(world: FakeWorld) -> None:
    offer(world, the_demo())
    assert golden(world, the_demo()) == dedent(
        """\
        [] -> #0 gateway:demo-gateway-0-h1, CreateReplica, not_found
        [0] -> #1 gateway:demo-gateway-0-h1, StartReplica, not_found
        [1] -> #2 gateway:demo-gateway-0-h1, AwaitReady, not_found
        [] -> #3 model:smol, FetchModel, not_found
        [3] -> #4 model:smol, PinModel, not_found
        [4] -> #5 deployment:demo-chat-0-h2, CreateReplica, not_found
        [5] -> #6 deployment:demo-chat-0-h2, StartReplica, not_found
        [6] -> #7 deployment:demo-chat-0-h2, AwaitReady, not_found
        [7] -> #8 deployment:demo-chat-0-h2, Publish, not_found
        [] -> #9 preset:precise, PutPreset, not_found
        [8,9] -> #10 route:chat, PutRoute, not_found"""
    )


def test_start_first(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo())
    assert golden(world, the_demo(context=4096)) == dedent(
        """\
        [] -> #0 deployment:demo-chat-0-h1, CreateReplica, field_changed
        [0] -> #1 deployment:demo-chat-0-h1, StartReplica, field_changed
        [1] -> #2 deployment:demo-chat-0-h1, AwaitReady, field_changed
        [2] -> #3 deployment:demo-chat-0-h1, Publish, field_changed
        [3] -> #4 deployment:demo-chat-0-h2, Withdraw, field_changed
        [4] -> #5 deployment:demo-chat-0-h2, Drain, field_changed
        [5] -> #6 deployment:demo-chat-0-h2, StopReplica, field_changed
        [6] -> #7 deployment:demo-chat-0-h2, RemoveReplica, field_changed
        [0!2] -> #8 deployment:demo-chat-0-h1, StopReplica, field_changed
        [8] -> #9 deployment:demo-chat-0-h1, RemoveReplica, field_changed"""
    )


def test_stop_first(world: FakeWorld) -> None:
    rollout = {"rollout": {"strategy": "stopFirst"}}
    offer(world, the_demo())
    world.apply(the_demo(**rollout))
    assert golden(world, the_demo(context=4096, **rollout)) == dedent(
        """\
        [] -> #0 deployment:demo-chat-0-h1, CreateReplica, field_changed
        [0] -> #1 deployment:demo-chat-0-h2, Withdraw, field_changed
        [1] -> #2 deployment:demo-chat-0-h2, Drain, field_changed
        [2] -> #3 deployment:demo-chat-0-h2, StopReplica, field_changed
        [3] -> #4 deployment:demo-chat-0-h1, StartReplica, field_changed
        [4] -> #5 deployment:demo-chat-0-h1, AwaitReady, field_changed
        [5] -> #6 deployment:demo-chat-0-h1, Publish, field_changed
        [6] -> #7 deployment:demo-chat-0-h2, RemoveReplica, field_changed
        [3!5] -> #8 deployment:demo-chat-0-h1, StopReplica, field_changed
        [8] -> #9 deployment:demo-chat-0-h1, RemoveReplica, field_changed
        [9] -> #10 deployment:demo-chat-0-h2, StartReplica, field_changed
        [10] -> #11 deployment:demo-chat-0-h2, AwaitReady, field_changed
        [11] -> #12 deployment:demo-chat-0-h2, Publish, field_changed
        [0!3] -> #13 deployment:demo-chat-0-h2, Publish, field_changed"""
    )


def test_replicas_are_exchanged_one_after_the_other(world: FakeWorld) -> None:
    offer(world, the_demo())
    world.apply(the_demo(replicas=2))
    lines = golden(world, the_demo(context=4096, replicas=2)).splitlines()
    second = next(line for line in lines if "demo-chat-1-h" in line and "CreateReplica" in line)
    last_of_first = next(line for line in lines if "demo-chat-0-h" in line and "#7 " in line)
    assert "RemoveReplica" in last_of_first
    assert second.startswith("[7] -> #10 ")


def test_prune_comes_last_and_backwards(world: FakeWorld) -> None:
    more = (a_model("other"), a_deployment("other", model="other"), a_route("other", "other"))
    offer(world, a_stack(*more))
    offer(world, the_demo())
    world.apply(a_stack(*the_demo().resources.values(), *more))
    colder = a_stack(a_model(), a_deployment(), a_preset(temperature=0.1), a_route(preset="precise"))
    assert golden(world, colder, Options(prune=True)) == dedent(
        """\
        [] -> #0 preset:precise, PutPreset, field_changed
        [0] -> #1 route:other, DeleteRoute, removed_from_set
        [0,1] -> #2 deployment:demo-other-0-h1, Withdraw, removed_from_set
        [2] -> #3 deployment:demo-other-0-h1, Drain, removed_from_set
        [3] -> #4 deployment:demo-other-0-h1, StopReplica, removed_from_set
        [4] -> #5 deployment:demo-other-0-h1, RemoveReplica, removed_from_set
        [0,5] -> #6 model:other, UnpinModel, removed_from_set"""
    )


def test_waves_order_what_is_otherwise_unrelated(world: FakeWorld) -> None:
    stack = a_stack(a_preset("late", wave="1"), a_preset("soon"))
    assert golden(world, stack) == dedent(
        """\
        [] -> #0 preset:soon, PutPreset, not_found
        [0] -> #1 preset:late, PutPreset, not_found"""
    )


def test_depends_on_orders_too(world: FakeWorld) -> None:
    stack = a_stack(a_preset("a", depends_on="Preset/b"), a_preset("b"))
    assert golden(world, stack) == dedent(
        """\
        [] -> #0 preset:b, PutPreset, not_found
        [0] -> #1 preset:a, PutPreset, not_found"""
    )


def test_what_waits_looks_through_the_idle(world: FakeWorld) -> None:
    """`c` needs `b`, which has nothing to do but needs `a`: so `c` waits for `a`."""
    standing = [a_preset("b", depends_on="Preset/a"), a_preset("c", depends_on="Preset/b")]
    world.apply(a_stack(a_preset("a"), *standing))
    changed = [a_preset("a", 0.1), standing[0], a_preset("c", 0.1, depends_on="Preset/b")]
    assert golden(world, a_stack(*changed)) == dedent(
        """\
        [] -> #0 preset:a, PutPreset, field_changed
        [0] -> #1 preset:c, PutPreset, field_changed"""
    )


@pytest.mark.parametrize("strategy", ["startFirst", "stopFirst"])
def test_as_many_replicas_as_may_be_roll(world: FakeWorld, strategy: str) -> None:
    def stack(context: int) -> Stack:
        return a_stack(a_model(), a_deployment(context=context, replicas=64, rollout={"strategy": strategy}))

    offer(world, stack(2048))
    world.apply(stack(2048))
    plan = world.plan(stack(4096))
    assert sum(change.restarts for change in plan.changes) == 64
    starts = [node for node in plan.nodes if type(node.action).__name__ == "StartReplica"]
    assert len(starts) == {"startFirst": 64, "stopFirst": 128}[strategy], "stop-first starts the old one again"

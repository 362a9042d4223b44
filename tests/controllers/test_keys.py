"""An engine that asks its callers for a key: who bears it, how it changes, and where its value never is."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.looking import Options
from nexus_ctl.planning.change import Change
from nexus_ctl.resources.conditions import EFFECTIVE
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.views.plan import text
from tests.builders import a_model, a_preset, a_resource, a_route, a_stack
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
CANARY, NEXT = "sk-canary-7b1f", "sk-canary-8c2e"
PATH = "spec.engine.llamaCpp.server.apiKey"


def stack(context: int = 2048, *, keyed: bool = True, **spec: Any) -> Stack:
    server = {"server": {"apiKey": {"valueFrom": {"env": "KEY"}}}} if keyed else {}
    engine = {"llamaCpp": {"contextSize": context, "threads": {"generation": 1}, **server}}
    deployment = a_resource("Deployment", "chat", {"model": "smol", "engine": engine, **spec})
    return a_stack(a_model(), deployment, a_preset(), a_route(preset="precise"))


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    made.secrets["KEY"] = CANARY
    made.runtime.answers["chat"] = {"/props": {"model_alias": "smol", "total_slots": 1}}
    offer(made, stack())
    made.apply(stack())
    return made


def change_of(world: FakeWorld, wanted: Stack) -> Change:
    return next(one for one in world.plan(wanted).changes if one.ref == CHAT)


def the_replica(world: FakeWorld) -> str:
    [name] = world.runtime.things
    return name


def test_the_engine_gets_it_and_whoever_asks_the_engine_bears_it(world: FakeWorld) -> None:
    name = the_replica(world)
    assert world.runtime.things[name].secrets == {"LLAMA_API_KEY": CANARY}
    assert world.keys.kept == {name: CANARY}
    stored = next(one for one in world.store.objects.all("demo") if one.ref == CHAT)
    assert [one.status for one in stored.conditions if one.type == EFFECTIVE] == ["True"], "it was asked what it loaded"
    assert change_of(world, stack()).steps == ()


def test_its_value_is_nowhere_else(world: FakeWorld) -> None:
    world.secrets["KEY"] = NEXT
    plan = world.plan(stack())
    told = [repr(plan), text(plan), repr(world.store.objects.all("demo")), repr(world.runtime.list())]
    told += [repr(world.routing.table), repr(world.store.events.read("demo"))]
    assert not [one for one in told if CANARY in one or NEXT in one]


def test_a_new_value_replaces_and_the_old_one_is_asked_by_the_old_to_its_end(world: FakeWorld) -> None:
    old = the_replica(world)
    world.secrets["KEY"] = NEXT
    change = change_of(world, stack())
    assert [(one.code, one.path) for one in change.reasons if one.code == "secret_changed"] == [
        ("secret_changed", PATH)
    ]
    world.runtime.works_until["chat"] = world.clock.monotonic() + world.ready_after + 7
    began = world.clock.monotonic()
    world.apply(stack(rollout={"strategy": "startFirst"}))
    assert world.clock.monotonic() - began >= world.ready_after + 7, "the old one told what it works on"
    new = the_replica(world)
    assert new != old
    assert world.keys.kept == {new: NEXT}


def test_a_key_more_or_less_is_a_change(world: FakeWorld) -> None:
    assert PATH in [one.path for one in change_of(world, stack(keyed=False)).reasons]
    world.apply(stack(keyed=False))
    assert world.keys.kept == {}
    assert PATH in [one.path for one in change_of(world, stack()).reasons]


def test_moving_the_reference_is_no_change(world: FakeWorld) -> None:
    world.secrets["OTHER"] = CANARY
    moved = stack()
    resource = moved.resources[CHAT]
    engine = {"llamaCpp": {"contextSize": 2048, "threads": {"generation": 1}}}
    engine["llamaCpp"]["server"] = {"apiKey": {"valueFrom": {"env": "OTHER"}}}
    again = a_resource("Deployment", "chat", {"model": "smol", "engine": engine})
    assert resource.spec != again.spec
    assert (
        change_of(world, a_stack(*(again if one.ref == CHAT else one for one in moved.resources.values()))).restarts
        == 0
    )


def test_a_lost_key_is_brought_back_without_a_restart(world: FakeWorld) -> None:
    name = the_replica(world)
    world.keys.kept.clear()
    change = change_of(world, stack())
    assert [one.detail for one in change.reasons] == ["without the key that its engine asks for"]
    assert change.restarts == 0
    world.apply(stack())
    assert world.keys.kept == {name: CANARY}
    assert the_replica(world) == name


def test_the_key_of_what_vanished_goes_with_its_row(world: FakeWorld) -> None:
    world.runtime.vanish(the_replica(world))
    world.apply(a_stack(a_model(), a_preset()))
    assert world.keys.kept != {}, "what is no longer declared is kept without --prune"

    world.apply(a_stack(a_model(), a_preset()), Options(prune=True))
    assert world.keys.kept == {}


@pytest.mark.parametrize("value", ["two words", "a,b", "schlüssel", "line\nline", "tab\t"])
def test_what_a_header_cannot_bear_is_refused_before_anything_stops(world: FakeWorld, value: str) -> None:
    world.secrets["KEY"] = value
    change = change_of(world, stack())
    assert (change.verb, change.reasons[0].code, change.reasons[0].path) == ("blocked", "secret_unavailable", PATH)
    assert value not in text(world.plan(stack()))
    assert world.runtime.things[the_replica(world)].state is ReplicaState.RUNNING


def test_a_failed_replacement_leaves_the_old_key(world: FakeWorld) -> None:
    old = the_replica(world)
    world.secrets["KEY"] = NEXT
    world.runtime.fail_start["chat"] = "no device"
    world.apply(stack(context=4096))
    assert world.keys.of(old) == CANARY
    assert world.answers()

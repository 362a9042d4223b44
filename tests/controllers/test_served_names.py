"""The model names beside a replica in the routing table: what its engine takes, by what the replica was made from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nexus_ctl.planning.action import PutRoute
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from tests.builders import a_deployment, a_model, a_resource, a_stack
from tests.fakes.world import FakeWorld, offer

ADAPTERS = {"adapters": {"modules": [{"model": "tone"}, {"model": "tone", "name": "sql"}]}}


def the_stack(engine: dict[str, Any], model: str = "smol", names: tuple[str, ...] = (), **settings: Any) -> Stack:
    """Deployment `chat` on an engine, and a route to it under other names."""
    route = {"backends": [{"deployment": "chat"}], "modelName": "public", "aliases": list(names)}
    models = [a_model(name) for name in ("smol", "tone")]
    if model not in ("smol", "tone"):
        models.append(a_resource("Model", model, dict(models[0].normalised)))
    return a_stack(*models, a_deployment(engine=engine, model=model, **settings), a_resource("Route", "chat", route))


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, the_stack({"vllm": {}}))
    return made


def served(world: FakeWorld) -> dict[str, list[list[str]]]:
    """The names in the table, by deployment."""
    return {name: list(replicas.values()) for name, replicas in world.routing.table.served.items()}


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ({"vllm": {}}, {"chat": [["smol"], ["smol"]]}),
        ({"vllm": ADAPTERS}, {"chat": [["smol", "tone", "sql"]] * 2}),
        ({"llamaCpp": {}}, {}),
        ({"custom": {"command": ["serve", "{host}:{port}"]}}, {}),
    ],
)
def test_the_table_has_the_names_an_engine_insists_on(
    world: FakeWorld, engine: dict[str, Any], names: dict[str, list[list[str]]]
) -> None:
    world.apply(the_stack(engine, replicas=2))
    assert served(world) == names
    assert len(world.routing.table.endpoints["chat"]) == 2
    assert world.plan(the_stack(engine, replicas=2)).empty


def test_a_replica_that_leaves_takes_its_names_along(world: FakeWorld) -> None:
    world.apply(the_stack({"vllm": {}}))
    world.apply(the_stack({"vllm": {}}, replicas=0))
    assert (world.routing.table.endpoints, world.routing.table.served) == ({}, {})


def test_another_public_name_is_a_live_change(world: FakeWorld) -> None:
    world.apply(the_stack({"vllm": {}}))
    plan = world.plan(the_stack({"vllm": {}}, names=("gpt",)))
    assert [type(node.action) for node in plan.nodes] == [PutRoute]


def test_a_replica_keeps_the_name_it_was_started_with(world: FakeWorld) -> None:
    """Another Model of the same bytes makes no new replica: its engine goes on under the former name."""
    world.apply(the_stack({"vllm": {}}))
    [before] = world.runtime.things
    renamed = the_stack({"vllm": {}}, model="smol2")
    world.apply(renamed)
    assert list(world.runtime.things) == [before]
    assert served(world) == {"chat": [["smol"]]}
    assert world.plan(renamed).empty


def test_a_table_without_the_names_is_mended_and_nothing_restarts(world: FakeWorld) -> None:
    """As one left by a nexusctl that did not know them."""
    stack = the_stack({"vllm": {}})
    world.apply(stack)
    world.routing.table = msgspec.structs.replace(world.routing.table, served={})
    plan = world.plan(stack)
    [change] = [change for change in plan.changes if change.verb is not Verb.NO_OP]
    assert (change.ref, change.verb, change.restarts) == (Ref("Deployment", "chat"), Verb.UPDATE, 0)
    assert [(reason.code, reason.source) for reason in change.reasons] == [("drift_field", "drift")]
    pids = [thing.pid for thing in world.runtime.things.values()]
    world.apply(stack)
    assert served(world) == {"chat": [["smol"]]}
    assert [thing.pid for thing in world.runtime.things.values()] == pids
    assert world.plan(stack).empty

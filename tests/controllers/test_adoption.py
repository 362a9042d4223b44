"""Adoption (R10): what somebody else started is taken over as it runs, when asked, and when it is nobody's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.reconciler import Options
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import ADOPT, Ref
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.views.plan import text
from tests.builders import a_deployment, a_model, a_route, a_stack
from tests.fakes.runtime import FakeRuntime
from tests.fakes.world import FakeWorld, offer

ASKED = Options(adopt=True)
CHAT = Ref("Deployment", "chat")


def legacy(**changes: Any) -> Stack:
    return a_stack(a_model(), a_deployment("chat", annotations={"adopt": "legacy"}, **changes), a_route("chat"))


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, legacy())
    made.runtime.put_foreign("legacy", serving=True)
    return made


def change(world: FakeWorld, stack: Stack, options: Options = ASKED) -> Change:
    return next(found for found in world.plan(stack, options).changes if found.ref == CHAT)


def things(world: FakeWorld) -> list[str]:
    return sorted(world.runtime.things)


def test_it_is_taken_over_without_a_touch_and_serves_through_the_route(world: FakeWorld) -> None:
    before = world.runtime.things["legacy"]
    found = change(world, legacy())
    assert (found.verb, found.gap, found.restarts) == (Verb.ADOPT, None, 0)
    printed = text(world.plan(legacy(), ASKED))
    assert "  <   Deployment/chat" in printed
    assert "legacy is taken over as it runs" in printed
    world.apply(legacy(), ASKED)
    assert things(world) == ["legacy"]
    assert [verb for verb, name in world.runtime.calls if name == "legacy"] == ["adopt"]
    assert world.runtime.things["legacy"].runtime_id == before.runtime_id
    assert world.routing.table.endpoints["chat"] == {"legacy": before.address}
    assert world.answers()
    assert world.plan(legacy()).empty
    assert world.plan(legacy(), ASKED).empty


def test_without_being_asked_it_is_left_alone(world: FakeWorld) -> None:
    assert change(world, legacy(), Options()).verb is Verb.CREATE
    world.apply(legacy())
    assert world.runtime.things["legacy"].owner is None
    assert len(things(world)) == 2


def test_the_first_real_change_makes_it_anew_under_our_rules(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    assert change(world, legacy(context=4096)).verb is Verb.REPLACE_START_FIRST
    world.apply(legacy(context=4096), ASKED)
    (name,) = things(world)
    assert name.startswith("demo-chat-0-")
    assert world.answers()


def test_further_replicas_are_made_beside_it(world: FakeWorld) -> None:
    world.apply(legacy(replicas=2), ASKED)
    assert len(things(world)) == 2
    assert "legacy" in things(world)
    assert world.plan(legacy(replicas=2), ASKED).empty


def test_deleting_the_deployment_takes_it_down(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    world.apply(legacy(), Options(delete=frozenset(legacy().resources)))
    assert things(world) == []


def test_a_lost_database_keeps_it(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    world.lose_store()
    world.apply(legacy())
    assert things(world) == ["legacy"]


THEIRS = Ownership("another", "prod", "Deployment", "chat", 0, "v1:0123456789abcdef", "{}")


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (lambda world: world.runtime.vanish("legacy"), "there is no container legacy"),
        (lambda world: world.runtime.put_foreign("legacy", THEIRS, serving=True), "belongs to Deployment/chat"),
        (lambda world: world.runtime.kill("legacy"), "does not run (exited(137))"),
        (lambda world: world.runtime.put_foreign("legacy"), "publishes no port"),
        (lambda world: _adopting_nothing(world.runtime), "takes nothing over"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_with_the_reason(world: FakeWorld, arrange: Any, words: str) -> None:
    arrange(world)
    before = things(world)
    found = change(world, legacy())
    assert found.verb is Verb.BLOCKED
    (reason,) = found.reasons
    assert (reason.code, reason.path) == ("not_adoptable", f"metadata.annotations.{ADOPT}")
    assert words in reason.detail
    world.apply(legacy(), ASKED)
    assert things(world) == before


def test_limits_that_would_change_it_are_refused(world: FakeWorld) -> None:
    (reason,) = change(world, legacy(resources={"memory": "1Gi"})).reasons
    assert "declare resources.cpu and resources.memory as they are" in reason.detail


def _adopting_nothing(runtime: FakeRuntime) -> None:
    runtime._capabilities = replace(runtime._capabilities, adopts=False)


def test_when_it_ends_it_is_made_anew(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    world.runtime.kill("legacy")
    world.apply(legacy())
    (name,) = things(world)
    assert name.startswith("demo-chat-0-")
    assert world.runtime.things[name].state is ReplicaState.RUNNING

"""Adoption (R10): what somebody else started is taken over as it runs, when asked, and when it is nobody's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.cycle import carry_out, plan_for
from controllers.looking import Options
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import ADOPT, Ref
from nexus_ctl.resources.ownership import Ownership
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.views.plan import text
from tests.builders import a_deployment, a_resource, a_route, a_stack
from tests.fakes.runtime import SERVED, FakeRuntime
from tests.fakes.world import FakeWorld, offer

ASKED = Options(adopt=True)
CHAT = Ref("Deployment", "chat")


def legacy(**changes: Any) -> Stack:
    model = a_resource("Model", "smol", {"source": {"path": SERVED}})
    return a_stack(model, a_deployment("chat", annotations={"adopt": "legacy"}, **changes), a_route("chat"))


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, legacy())
    made.runtime.put_serving("legacy")
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
    found = change(world, legacy(), Options())
    assert found.verb is Verb.CREATE
    assert found.notes[-1] == ("legacy goes on beside it; to take it over instead: nexusctl apply --adopt=if-unowned")
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
        (lambda world: world.runtime.put_serving("legacy", THEIRS), "belongs to Deployment/chat"),
        (lambda world: world.runtime.kill("legacy"), "does not run (exited(137))"),
        (lambda world: world.runtime.pause("legacy"), "is paused; let it go on (docker unpause legacy)"),
        (lambda world: world.runtime.put_foreign("legacy"), "publishes no port"),
        (
            lambda world: world.runtime.put_serving("legacy", files={"spec.model": "/srv/other.gguf"}),
            "spec.model is Model/smol, and legacy reads /srv/other.gguf",
        ),
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


def test_what_stays_otherwise_than_declared_is_told_without_values_of_variables(world: FakeWorld) -> None:
    told = {"model": "m", "engine": {"llamaCpp": {"contextSize": 1024}}, "env": {"PW": {"value": "hunter2"}}}
    world.runtime.put_serving("legacy", spec=told, left_out=("its restart policy always: nexusctl heals",))
    notes = change(world, legacy()).notes
    assert notes[-4:] == (
        "until then: spec.engine.llamaCpp.contextSize is 1024, declared is 2048",
        "until then: spec.engine.llamaCpp.threads.generation is unset, declared is 1",
        "until then: spec.env.PW.value differs",
        "until then: its restart policy always: nexusctl heals",
    )
    assert "hunter2" not in text(world.plan(legacy(), ASKED))
    world.apply(legacy(), ASKED)
    assert world.plan(legacy()).empty


def test_what_does_not_answer_stays_a_strangers(world: FakeWorld) -> None:
    world.runtime.never_ready.add("")  # what has no owner
    world.apply(legacy(), ASKED)
    assert world.runtime.things["legacy"].owner is None
    assert world.runtime.calls == []


def test_a_new_bearer_of_its_name_is_a_stranger(world: FakeWorld) -> None:
    """Compose made it anew, say."""
    world.apply(legacy(), ASKED)
    world.runtime.vanish("legacy")
    world.runtime.put_serving("legacy")
    assert change(world, legacy(), Options()).verb is Verb.CREATE
    world.runtime.calls.clear()
    world.apply(legacy(), Options(delete=frozenset(legacy().resources)))
    assert world.runtime.things["legacy"].state is ReplicaState.RUNNING
    assert world.runtime.calls == []


class Exchanged:
    """The routing table, at whose first change the container is made anew under the same name."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.routing, name)

    def change(self, edit: Any) -> None:
        self._world.routing.change(edit)
        self._world.runtime.vanish("legacy")
        self._world.runtime.put_serving("legacy")


def test_a_name_that_changes_hands_between_plan_and_deed_is_left_alone(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    gone = Options(delete=frozenset(legacy().resources))
    world.apply(legacy(), gone, wrap=lambda there, store: (replace(there, routing=Exchanged(world)), store))
    assert world.runtime.things["legacy"].state is ReplicaState.RUNNING


def test_a_rename_keeps_it(world: FakeWorld) -> None:
    world.apply(legacy(), ASKED)
    model = next(one for ref, one in legacy().resources.items() if ref.kind == "Model")
    renamed = a_stack(model, a_deployment("talk", annotations={"renamed_from": "chat"}), a_route("chat", "talk"))
    world.apply(renamed)
    assert things(world) == ["legacy"]
    assert world.routing.table.endpoints["talk"].keys() == {"legacy"}
    assert world.plan(renamed).empty


def test_of_two_stacks_one_gets_it(world: FakeWorld) -> None:
    first = replace(legacy(), name="first")
    process = world.session(set_name="demo")
    seen, plan = plan_for(process, legacy(), ASKED)
    world.apply(first, ASKED)
    done = {str(one.ref): one for one in carry_out(process, legacy(), seen, plan, report=lambda _: None).objects}
    assert done["Deployment/chat"].ending == "failed"
    owner = world.runtime.things["legacy"].owner
    assert owner is not None
    assert owner.set == "first"
    assert change(world, legacy()).codes == ("not_adoptable",)

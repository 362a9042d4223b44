"""The condition Effective: what a ready engine says it loaded, beside what is declared. It never fails anything."""

from __future__ import annotations

import pytest

from controllers.endings import Ending
from controllers.looking import Options, look
from controllers.reconciler import assess
from nexus_ctl.resources.conditions import Condition
from nexus_ctl.resources.envelope import Ref
from tests.builders import the_demo
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")


def answers(tokens: int, slots: int = 1) -> dict[str, object]:
    return {"/props": {"default_generation_settings": {"n_ctx": tokens}, "total_slots": slots}}


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, the_demo())
    return made


def effective(world: FakeWorld) -> Condition | None:
    """The condition that the store holds."""
    [chat] = [item for item in world.store.objects.all("demo") if item.ref == CHAT]
    return next((one for one in chat.conditions if one.type == "Effective"), None)


def test_an_engine_that_loaded_what_is_declared(world: FakeWorld) -> None:
    world.runtime.answers["chat"] = answers(2048)
    world.apply(the_demo())
    found = effective(world)
    assert found is not None
    assert (found.status, found.reason) == ("True", "LoadedAsDeclared")


def test_an_engine_that_loaded_something_else_is_named_and_fails_nothing(world: FakeWorld) -> None:
    world.runtime.answers["chat"] = answers(1024, slots=4)
    result = world.apply(the_demo())
    assert {item.ending for item in result.objects} == {Ending.CREATED}
    found = effective(world)
    assert found is not None
    assert (found.status, found.reason) == ("False", "LoadedOtherwise")
    assert found.message == (
        "spec.engine.llamaCpp.parallel: declared 1, engine says 4; "
        "spec.engine.llamaCpp.contextSize: declared 2048, engine says 1024"
    )
    assert world.plan(the_demo()).empty, "it is told, not acted upon"


def test_replicas_that_agree_are_told_once(world: FakeWorld) -> None:
    world.runtime.answers["chat"] = answers(1024)
    world.apply(the_demo(replicas=3))
    found = effective(world)
    assert found is not None
    assert found.message == "spec.engine.llamaCpp.contextSize: declared 2048, engine says 1024"


def test_an_engine_that_says_nothing_leaves_it_unknown(world: FakeWorld) -> None:
    world.apply(the_demo())
    assert world.runtime.asked > 0
    assert effective(world) is None


def test_a_replica_made_from_another_spec_is_not_held_to_this_one(world: FakeWorld) -> None:
    world.runtime.answers["chat"] = answers(2048)
    world.apply(the_demo())
    session = world.session()
    newer = the_demo(context=4096)
    assessed = assess(look(session.world, newer, session.scene, {}, Options()))
    assert "Effective" not in {one.type for one in assessed[CHAT].conditions}


def test_where_nothing_is_ready_nothing_is_asked(world: FakeWorld) -> None:
    world.plan(the_demo())
    assert world.runtime.asked == 0
    world.apply(the_demo())
    asked = world.runtime.asked
    [name] = [name for name, thing in world.runtime.things.items() if thing.deployment == "chat"]
    world.runtime.kill(name)
    world.plan(the_demo())
    assert world.runtime.asked == asked

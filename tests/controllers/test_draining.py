"""What a leaving replica is waited for: the gateway's count, the engine's own word, and never beyond the deadline."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nexus_ctl.views.plan import text
from tests.builders import the_demo
from tests.fakes.world import FakeWorld, offer

DEADLINE = {"rollout": {"strategy": "startFirst", "drainDeadline": "20s"}}
MOMENT = 0.5
"""Virtual seconds in which an idle replica is seen to be so."""


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, the_demo(**DEADLINE))
    made.apply(the_demo(**DEADLINE))
    return made


def left_after(world: FakeWorld) -> tuple[float, list[str]]:
    """Exchanges the replica; virtual seconds between the moment the new one was ready and the end of the old one, and
    what was told of a deadline."""
    began = world.clock.monotonic()
    world.apply(the_demo(context=4096, **DEADLINE))
    told = [one.event for one in world.store.events.read("demo") if one.event.reason == "DrainDeadline"]
    assert all((event.type, str(event.ref)) == ("Warning", "Deployment/chat") for event in told)
    assert len(world.runtime.things) == 1, "the old one is gone, however it was"
    return world.clock.monotonic() - began - world.ready_after, [event.message for event in told]


def test_an_idle_replica_leaves_at_once(world: FakeWorld) -> None:
    seconds, told = left_after(world)
    assert (seconds < MOMENT, told) == (True, [])


def test_a_request_past_the_gateway_is_waited_for(world: FakeWorld) -> None:
    world.runtime.works_until["chat"] = world.clock.monotonic() + world.ready_after + 7
    seconds, told = left_after(world)
    assert (7 <= seconds < 7 + MOMENT, told) == (True, [])


def test_the_gateways_request_is_waited_for_though_the_engine_says_nothing(world: FakeWorld) -> None:
    world.runtime.mute.add("chat")
    old = next(iter(world.runtime.things))
    world.routing.open_requests[old] = 2
    seconds, told = left_after(world)
    assert 20 <= seconds < 20 + MOMENT
    assert told == [f"{old} is stopped after 20s: the gateway has 2 open, the engine works on an unknown number"]


@pytest.mark.parametrize(
    ("unset", "gateway"),
    [(lambda world: None, "0"), (lambda world: setattr(world.routing, "gateway_running", False), "an unknown number")],
    ids=["with a gateway", "without a gateway"],
)
def test_what_is_open_at_the_deadline_is_cut_and_told(
    world: FakeWorld, unset: Callable[[FakeWorld], None], gateway: str
) -> None:
    unset(world)
    old = next(iter(world.runtime.things))
    world.runtime.works_until["chat"] = float("inf")
    seconds, told = left_after(world)
    assert 20 <= seconds < 20 + MOMENT
    assert told == [f"{old} is stopped after 20s: the gateway has {gateway} open, the engine works on 1"]


def test_where_nobody_tells_nothing_is_waited_for(world: FakeWorld) -> None:
    world.runtime.mute.add("chat")
    world.routing.gateway_running = False
    seconds, told = left_after(world)
    assert (seconds < MOMENT, told) == (True, [])


def test_without_time_to_drain_nothing_is_asked(world: FakeWorld) -> None:
    none = {"rollout": {"strategy": "startFirst", "drainDeadline": "0s"}}
    world.apply(the_demo(context=3072, **none))
    world.runtime.works_until["chat"] = float("inf")
    began = world.clock.monotonic()
    world.apply(the_demo(context=4096, **none))
    assert world.clock.monotonic() - began < world.ready_after + MOMENT
    assert not [one for one in world.store.events.read("demo") if one.event.reason == "DrainDeadline"]


def test_the_plan_says_what_is_waited_for(world: FakeWorld) -> None:
    engine = "        drains: the gateway's count and the engine's own (/slots), at most 20s\n"
    assert engine in text(world.plan(the_demo(context=4096, **DEADLINE)))
    assert engine in text(world.plan(the_demo(replicas=0, **DEADLINE)))

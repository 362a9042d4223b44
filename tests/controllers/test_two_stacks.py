"""Two stacks of one install, with the same names: each has its own rows, its own gateway, its own objects."""

from __future__ import annotations

import pytest

from controllers.looking import Options
from nexus_ctl.planning.change import Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.ownership import replica_name
from nexus_ctl.resources.replica import Replica
from tests.builders import a_deployment, a_model, a_preset, a_route, a_stack, the_demo
from tests.fakes.world import FakeWorld, offer


def other(temperature: float = 0.1, context: int = 2048, listen: str = "127.0.0.1:8601") -> Stack:
    """The names of the demo, in another stack."""
    resources = (a_model(), a_deployment(context=context), a_preset(temperature=temperature), a_route(preset="precise"))
    return a_stack(*resources, name="other", gateway={"listen": listen})


@pytest.fixture
def world() -> FakeWorld:
    """A world in which both are applied."""
    found = FakeWorld()
    for stack in (the_demo(), other()):
        offer(found, stack)
        found.apply(stack)
    return found


def test_each_has_its_own_and_sees_nothing_of_the_other(world: FakeWorld) -> None:
    assert len(world.runtime.things) == len(world.host.things) == 2
    for stack in (the_demo(), other()):
        plan = world.plan(stack)
        assert plan.empty, str(plan)
        assert plan.orphans == ()
    addresses = [list(table.table.endpoints["chat"].values()) for table in world.routings.values()]
    assert addresses[0] != addresses[1]
    temperatures = [table.table.presets["precise"].params["temperature"] for table in world.routings.values()]
    assert temperatures == [0.7, 0.1]


def test_a_change_a_prune_and_a_delete_of_one_leave_the_other_as_it_was(world: FakeWorld) -> None:
    demo = world.state()["endpoints"], world.routing.table, {n: t.pid for n, t in _things(world, "demo").items()}
    pins = world.artifacts.pins(world.instance, "demo")
    fewer = a_stack(a_preset(temperature=0.3), name="other", gateway={"listen": "127.0.0.1:8601"})
    steps = (
        (other(0.2, 4096), Options()),
        (fewer, Options(prune=True, max_prune=10)),
        (fewer, Options(delete=frozenset(fewer.resources))),
    )
    for stack, options in steps:
        world.apply(stack, options)
        now = {n: t.pid for n, t in _things(world, "demo").items()}
        assert (world.state()["endpoints"], world.routing.table, now) == demo
        assert world.artifacts.pins(world.instance, "demo") == pins
        assert world.plan(the_demo()).empty
        assert world.answers()
    assert _things(world, "other") == {}
    assert world.store.objects.all("other") == ()


def test_a_port_that_the_other_ones_gateway_has_is_refused_with_its_name() -> None:
    world = FakeWorld()
    for stack in (the_demo(), taken := other(listen="127.0.0.1:8600")):
        offer(world, stack)
    world.apply(the_demo())
    [blocked] = [change for change in world.plan(taken).blocked if change.ref == Ref("Gateway", "other")]
    assert blocked.codes == ("address_taken",)
    assert "the gateway of the stack demo listens on 127.0.0.1:8600" in blocked.reasons[0].detail
    assert "spec.gateway.listen" in blocked.reasons[0].detail
    world.apply(taken)
    assert [thing.owner.set for thing in world.host.things.values() if thing.owner] == ["demo"]
    assert world.plan(the_demo()).empty


def test_a_gateway_that_follows_anothers_table_is_exchanged_once() -> None:
    """What 0.1 left: gateways of all stacks of a folder followed one table; another stack took that over."""
    world = FakeWorld()
    offer(world, the_demo())
    world.apply(the_demo())
    [gateway] = world.host.things.values()
    assert gateway.owner is not None
    assert gateway.launch is not None
    world.host.vanish(gateway.name)
    former = replica_name("demo", "gateway", 0, world.instance, gateway.owner.spec_hash)
    world.host.create(Replica(former, gateway.owner, LaunchSpec(("old",), fixed_listen="127.0.0.1:8600")))
    world.host.start(former, {})
    world.clock.advance(10)
    assert world.plan(the_demo()).empty, "it is this one's, or could be"
    world.routing.shared_is_ours = False
    [change] = [change for change in world.plan(the_demo()).changes if change.verb is not Verb.NO_OP]
    assert (str(change.ref), change.verb) == ("Gateway/demo", Verb.REPLACE_STOP_FIRST)
    world.apply(the_demo())
    [now] = world.host.things.values()
    assert now.name == gateway.name
    assert world.plan(the_demo()).empty


def _things(world: FakeWorld, set_name: str) -> dict[str, object]:
    both = {**world.runtime.things, **world.host.things}
    return {name: thing for name, thing in both.items() if thing.owner is not None and thing.owner.set == set_name}

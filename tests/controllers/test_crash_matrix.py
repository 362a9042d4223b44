"""Crash at every effect, in seven modes, then run again: the same final state, no orphan, no duplicate (T4, R11).

Each scenario is applied once without a fault to learn its effects. Then, for every effect and every mode, a fresh
world goes through the fault and through ordinary runs until nothing is left to do. Counting is automatic: a new effect
in the product is a new column here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from controllers.looking import Options
from nexus_ctl.engines import table as engines
from nexus_ctl.errors import NexusError
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.image import LocalImage
from nexus_ctl.resources.replica import ReplicaState
from tests.builders import a_deployment, a_model, a_preset, a_resource, a_route, a_stack, the_demo
from tests.fakes.faults import MODES, Died, Gate
from tests.fakes.runtime import SERVED
from tests.fakes.world import FakeWorld, offer

ROUNDS = 4
"""Fault-free runs within which the world must have settled."""


@dataclass(frozen=True)
class Scenario:
    """From one stack to another. `serves`: the route must answer at every moment."""

    name: str
    before: Stack | None
    after: Stack
    options: Options = field(default_factory=Options)
    serves: bool = False
    arrange: Callable[[FakeWorld], None] = lambda _: None
    containers: bool = False


def _kill_chat(world: FakeWorld) -> None:
    for name, thing in world.runtime.things.items():
        if thing.deployment == "chat":
            world.runtime.kill(name)


def _remove_by_hand(world: FakeWorld) -> None:
    """Their network stays, as it does where the maker of the first was killed right after it had made the network."""
    for name in list(world.runtime.things):
        world.runtime.vanish(name)


def _adopted(**changes: Any) -> Stack:
    model = a_resource("Model", "smol", {"source": {"path": SERVED}})
    deployment = a_deployment(annotations={"adopt": "legacy"}, rollout={"strategy": "startFirst"}, **changes)
    return a_stack(model, deployment, a_preset(), a_route(preset="precise"))


def _adopt(world: FakeWorld) -> None:
    world.runtime.put_serving("legacy")
    world.apply(ADOPTED, Options(adopt=True))


def _keyed(value: str) -> Callable[[FakeWorld], None]:
    """Serves behind a key that has another value from now on."""

    def arrange(world: FakeWorld) -> None:
        world.secrets["KEY"] = "sk-old"
        world.apply(KEYED)
        world.secrets["KEY"] = value

    return arrange


def _behind_a_key() -> Stack:
    engine = {"llamaCpp": {"contextSize": 2048, "server": {"apiKey": {"valueFrom": {"env": "KEY"}}}}}
    deployment = a_resource("Deployment", "chat", {"model": "smol", "engine": engine})
    return a_stack(a_model(), deployment, a_preset(), a_route(preset="precise"))


FULL = the_demo()
IMAGE = engines.launch(a_deployment().spec).image
KEYED = _behind_a_key()
ADOPTED = _adopted()
QUANTIZED = a_stack(a_model(quantize="Q4_K_M"), a_deployment(), a_preset(), a_route(preset="precise"))
STOP_FIRST = {"rollout": {"strategy": "stopFirst"}}
SCENARIOS = (
    Scenario("create", None, FULL),
    Scenario("start-first", FULL, the_demo(context=4096), serves=True),
    Scenario("stop-first", the_demo(**STOP_FIRST), the_demo(context=4096, **STOP_FIRST)),
    Scenario("quantize", None, QUANTIZED),
    Scenario("quantize-what-serves", FULL, QUANTIZED, serves=True),
    Scenario("rolling", the_demo(replicas=2), the_demo(context=4096, replicas=2), serves=True),
    Scenario("scale-down", the_demo(replicas=3), the_demo(replicas=1), serves=True),
    Scenario("heal", FULL, FULL, arrange=_kill_chat),
    Scenario("delete", FULL, FULL, Options(delete=frozenset(FULL.resources))),
    Scenario(
        "delete-what-somebody-removed",
        FULL,
        FULL,
        Options(delete=frozenset(FULL.resources)),
        arrange=_remove_by_hand,
        containers=True,
    ),
    Scenario(
        "prune",
        a_stack(a_model(), a_deployment(), a_preset(), a_preset("extra"), a_route(preset="precise")),
        FULL,
        Options(prune=True),
        serves=True,
    ),
    Scenario(
        "adopt",
        None,
        ADOPTED,
        Options(adopt=True),
        arrange=lambda world: world.runtime.put_serving("legacy"),
    ),
    Scenario("replace-what-was-adopted", None, _adopted(context=4096), arrange=_adopt, serves=True),
    Scenario("another-key", None, KEYED, arrange=_keyed("sk-new"), serves=True),
    Scenario("delete-what-was-adopted", None, ADOPTED, Options(delete=frozenset(ADOPTED.resources)), arrange=_adopt),
    Scenario(
        "rename",
        FULL,
        a_stack(
            a_model(),
            a_deployment("talk", annotations={"renamed_from": "chat"}),
            a_preset(),
            a_route("chat", "talk", preset="precise"),
        ),
        serves=True,
    ),
)


def _prepared(scenario: Scenario) -> FakeWorld:
    world = FakeWorld(containers=scenario.containers)
    if world.images is not None:
        world.images.registry[IMAGE] = LocalImage("sha256:" + "a" * 64, 1000)
    offer(world, scenario.after)
    if scenario.before is not None:
        offer(world, scenario.before)
        world.apply(scenario.before)
    scenario.arrange(world)
    return world


def _watch(scenario: Scenario, world: FakeWorld) -> Callable[[], str]:
    return lambda: "the route has no ready replica" if scenario.serves and not world.answers() else ""


def _settle(scenario: Scenario, world: FakeWorld) -> None:
    for _ in range(ROUNDS):
        world.apply(scenario.after, scenario.options)
        if not world.plan(scenario.after, scenario.options).nodes:
            return
    pytest.fail(f"not settled after {ROUNDS} runs: {world.plan(scenario.after, scenario.options)}")


def _check(scenario: Scenario, world: FakeWorld, goal: Mapping[str, Any]) -> None:
    assert world.state() == goal
    assert world.store.journal.unfinished("demo") == ()
    inhabited = {thing.owner.set for thing in world.runtime.things.values() if thing.owner is not None}
    assert world.runtime.networks <= inhabited, "a network that nobody is in"
    owners = Counter(
        (thing.owner.kind, thing.owner.name, thing.owner.replica)
        for thing in world.runtime.things.values()
        if thing.owner is not None and thing.state is ReplicaState.RUNNING
    )
    assert all(count == 1 for count in owners.values()), f"duplicates: {owners}"


def _is_store(effect: str) -> bool:
    """A store that cannot be written ends the command; every other refusal is one action's."""
    return effect.startswith("objects")


def _goal(scenario: Scenario) -> tuple[list[str], Mapping[str, Any]]:
    world = _prepared(scenario)
    gate = Gate(world.clock, watch=_watch(scenario, world))
    world.apply(scenario.after, scenario.options, wrap=gate.wrap)
    assert world.plan(scenario.after, scenario.options).nodes == ()
    return gate.names, world.state()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("mode", MODES)
def test_any_single_fault_converges_to_the_same_world(scenario: Scenario, mode: str) -> None:
    names, goal = _goal(scenario)
    assert len(names) > 3, "the scenario must have effects to break"
    for at in range(1, len(names) + 1):
        world = _prepared(scenario)
        gate = Gate(world.clock, at, mode, _watch(scenario, world))
        with suppress(Died), suppress(NexusError) if _is_store(names[at - 1]) else nullcontext():
            world.apply(scenario.after, scenario.options, wrap=gate.wrap)
        assert gate.struck, f"effect {at} of {len(names)} was never reached"
        _settle(scenario, world)
        _check(scenario, world, goal)


@pytest.mark.parametrize("scenario", SCENARIOS[:3], ids=lambda scenario: scenario.name)
def test_two_deaths_in_a_row_converge_too(scenario: Scenario) -> None:
    names, goal = _goal(scenario)
    for at in range(1, len(names) + 1):
        for again in range(1, len(names) + 1, 3):
            world = _prepared(scenario)
            for k, mode in ((at, "die_after"), (again, "die_before")):
                with suppress(Died):
                    world.apply(scenario.after, scenario.options, wrap=Gate(world.clock, k, mode).wrap)
            _settle(scenario, world)
            _check(scenario, world, goal)


def test_memory_is_never_over_committed_in_stop_first() -> None:
    """One replica fits, two do not: at no moment may both run, whatever dies when."""
    before, after = the_demo(**STOP_FIRST), the_demo(context=4096, **STOP_FIRST)
    scenario = Scenario("tight", before, after)

    def tight() -> FakeWorld:
        world = FakeWorld(memory_bytes=100)
        world.runtime.memory_use["chat"] = 60
        offer(world, before)
        world.apply(before)
        return world

    world = tight()
    gate = Gate(world.clock)
    world.apply(after, wrap=gate.wrap)
    for at in range(1, gate.count + 1):
        world = tight()
        with suppress(Died):
            world.apply(after, wrap=Gate(world.clock, at, "die_after").wrap)
        _settle(scenario, world)
        assert world.runtime.peak_memory_bytes <= 100
        assert world.answers()

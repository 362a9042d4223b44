"""GPUs in the plan: where each replica comes to lie, what moves, what is refused with what would help, and never a
device over its size at any moment."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.errors import NexusError
from nexus_ctl.placement.llama_cpp.declared import settings_of
from nexus_ctl.placement.options import ways
from nexus_ctl.planning.action import CreateReplica
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.device import Holding
from nexus_ctl.resources.envelope import Ref, Resource
from nexus_ctl.resources.launch import LaunchSpec
from nexus_ctl.resources.memory import Accelerator
from nexus_ctl.resources.replica import ReplicaState
from nexus_ctl.views.plan import text, to_json
from tests.builders import a_deployment, a_model, a_stack
from tests.fakes.faults import MODES, Died, Gate
from tests.fakes.gguf_models import REALISTIC, TINY, write
from tests.fakes.world import FakeWorld, offer

GIB = 1 << 30
MODEL = a_model("m")


def chat(name: str = "chat", **fields: Any) -> Resource[Any]:
    return a_deployment(name, model="m", **({"resources": {"gpus": {"count": 1}}} | fields))


def whole_claim(header: Any, resource: Resource[Any]) -> int:
    """What the replica claims of one GPU."""
    (way,) = ways(header, settings_of(resource.spec.engine.llama_cpp), (Accelerator("a", GIB),))
    return way.option.claims[0]


@pytest.fixture
def header(tmp_path: Path) -> Any:
    return read_file(write(TINY["llama-gqa"], tmp_path / "llama.gguf")).header


@pytest.fixture
def large(tmp_path: Path) -> Any:
    return read_file(write(REALISTIC["Llama-3.1-8B"], tmp_path / "large.gguf")).header


def a_world(header: Any, **sizes: int) -> FakeWorld:
    """A world with these GPUs, whose one model has a real header."""
    world = FakeWorld(gpus=dict(sizes))
    offer(world, a_stack(MODEL))
    world.apply(a_stack(MODEL))
    [key] = world.artifacts.sources
    world.artifacts.headers[key] = header
    return world


def stack(*deployments: Resource[Any], **placement: Any) -> Stack:
    return a_stack(MODEL, *deployments, placement=placement)


def change_of(world: FakeWorld, wanted: Stack, name: str = "chat") -> Change:
    return next(change for change in world.plan(wanted).changes if change.ref == Ref("Deployment", name))


def launched(world: FakeWorld, name: str = "chat") -> list[LaunchSpec]:
    things = sorted(world.runtime.things.items())
    return [thing.launch for _, thing in things if thing.launch is not None and thing.deployment == name]


def devices_of(world: FakeWorld, name: str) -> list[tuple[str, ...]]:
    return [launch.gpus.ids for launch in launched(world, name) if launch.gpus is not None]


def test_the_plan_says_which_device_before_and_after_and_why(header: Any) -> None:
    world = a_world(header, a=2 * GIB, b=1 * GIB)
    world.runtime.gpu_others["b"] = GIB // 8
    plan = world.plan(stack(chat()))
    printed = text(plan)
    claim = whole_claim(header, chat())
    assert "gpu1 1.0 GiB: 128.0 MiB used -> " in printed, "pack takes the fullest that fits"
    assert "KV cache" in printed
    assert "whole: gpu1 chosen, 896.0 MiB open; gpu0 would do, 2.0 GiB open" in printed
    assert "Devices:\n  gpu1  1.0 GiB Fake GPU: 128.0 MiB used -> " in printed
    told = to_json(plan)
    second = next(one for one in told["devices"] if one["id"] == "b")
    assert second["usedAfterBytes"] - second["usedBeforeBytes"] == claim
    (action,) = (one for one in told["actions"] if one["ref"] == "Deployment/chat")
    assert action["placements"][0]["claimBytes"]["b"] == claim


def test_what_is_placed_is_what_the_engine_is_told(header: Any) -> None:
    world = a_world(header, a=2 * GIB)
    world.apply(stack(chat()))
    (launch,) = launched(world)
    words = " ".join(launch.argv)
    assert launch.gpus is not None
    assert launch.gpus.ids == ("a",)
    assert "--gpu-layers all" in words
    assert "--split-mode none" in words
    assert "--fit off" in words
    assert world.plan(stack(chat())).empty
    world.lose_store()
    assert all(change.verb is not Verb.REPLACE_START_FIRST for change in world.plan(stack(chat())).changes)
    assert not any(c.steps for c in world.plan(stack(chat())).changes if c.ref.kind == "Deployment")


def test_a_spread_stack_takes_the_emptiest_and_a_deployment_may_say_otherwise(header: Any) -> None:
    world = a_world(header, a=1 * GIB, b=2 * GIB)
    assert "gpu1 chosen" in text(world.plan(stack(chat(), strategy="spread")))
    packed = chat(placement={"strategy": "pack"})
    assert "gpu0 chosen" in text(world.plan(stack(packed, strategy="spread")))


def test_two_deployments_are_never_promised_the_same_bytes(header: Any) -> None:
    world = a_world(header, a=0, b=0)
    claim = whole_claim(header, chat())
    world.gpus.update(a=claim, b=claim)
    world.apply(stack(chat("one"), chat("two")))
    assert sorted([*devices_of(world, "one"), *devices_of(world, "two")]) == [("a",), ("b",)]
    third = change_of(world, stack(chat("one"), chat("two"), chat("three")), "three")
    assert third.codes == ("insufficient_gpu",)
    assert max(world.runtime.peak_gpu_bytes.values()) <= claim


def test_a_refusal_has_the_arithmetic_and_what_would_help(large: Any) -> None:
    big = chat(context=8192)
    claim = whole_claim(large, big)
    world = a_world(large, a=claim - 1, b=claim - 2)
    (reason,) = change_of(world, stack(big)).reasons
    assert reason.code == "insufficient_gpu"
    assert "gpu0 has " in reason.detail
    assert " missing" in reason.detail
    assert "way out: " in reason.detail
    assert "contextSize " in reason.detail
    assert "gpus.count 2 would fit" in reason.detail
    context = int(reason.detail.partition("contextSize ")[2].split()[0])
    assert change_of(world, stack(chat(context=context))).verb is Verb.CREATE, "what it names does fit"
    over_two = chat(context=8192, resources={"gpus": {"count": 2}})
    assert change_of(world, stack(over_two)).verb is Verb.CREATE
    before = world.state()
    world.apply(stack(big))
    assert world.state()["things"] == before["things"]


def test_who_else_holds_memory_is_named_where_it_matters(large: Any) -> None:
    world = a_world(large, a=24 * GIB, b=2 * GIB)
    world.runtime.gpu_others = {"a": 20 * GIB, "b": GIB}
    world.runtime.gpu_holders = (
        Holding(12, "gpu0", 4 * GIB, "ollama", "cd" * 32),
        Holding(11, "gpu0", 16 * GIB, "llama-server", "ab" * 32, forgotten=True),
        Holding(13, "gpu1", GIB, "blender"),
    )
    (reason,) = change_of(world, stack(chat())).reasons
    lines = reason.detail.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("gpu0 has 4.0 GiB open"))
    forgotten = (
        "process 11 (llama-server) holds 16.0 GiB of gpu0 in container abababababab, which the engine does not know: "
        "left by a crash of it, or another engine's; if it is nobody's: sudo kill 11"
    )
    known = "process 12 (ollama) holds 4.0 GiB of gpu0 in container cdcdcdcdcdcd, which is none of this install's"
    other = "process 13 (blender) holds 1.0 GiB of gpu1, no replica of this install; if it is not needed: kill 13"
    assert lines[at + 1 : at + 3] == [f"  {forgotten}", f"  {known}"]
    assert f"  {other}" in lines
    plan = world.plan(stack(chat()))
    assert text(plan).count(forgotten) == 2, "also where nothing moves"
    assert f"gpu0  24.0 GiB Fake GPU: 20.0 GiB used, unchanged\n    {forgotten}\n" in text(plan)
    assert to_json(plan)["devices"][0]["heldByOthers"] == [
        {"pid": 11, "program": "llama-server", "usedBytes": 16 * GIB, "containerId": "ab" * 32, "whose": "forgotten"},
        {"pid": 12, "program": "ollama", "usedBytes": 4 * GIB, "containerId": "cd" * 32, "whose": "foreign"},
    ]


def test_auto_takes_the_fewest_devices_that_hold_it(large: Any) -> None:
    auto = chat(resources={"gpus": {"count": "auto"}}, context=8192)
    claim = whole_claim(large, auto)
    world = a_world(large, a=claim - 1, b=claim - 1)
    world.apply(stack(auto))
    (launch,) = launched(world)
    assert launch.gpus is not None
    assert sorted(launch.gpus.ids) == ["a", "b"]
    words = " ".join(launch.argv)
    assert "--tensor-split 1" in words
    roomy = a_world(large, a=claim, b=claim)
    roomy.apply(stack(auto))
    assert [len(ids) for ids in devices_of(roomy, "chat")] == [1]


def test_partial_offload_leaves_layers_on_the_host(large: Any) -> None:
    part = chat(placement={"partialOffload": True})
    claim = whole_claim(large, part)
    world = a_world(large, a=claim - 1)
    world.apply(stack(part))
    (launch,) = launched(world)
    layers = int(launch.argv[launch.argv.index("--gpu-layers") + 1])
    assert 0 < layers < 33
    (reason,) = change_of(a_world(large, a=claim - 1), stack(chat())).reasons
    assert f"placement.partialOffload would fit {layers} of 33 layers" in reason.detail


def test_pins_are_kept_and_unknown_ones_refused(header: Any) -> None:
    world = a_world(header, a=2 * GIB, b=2 * GIB)
    world.apply(stack(chat(resources={"gpus": {"ids": ["b"]}}), chat("by-index", resources={"gpus": {"ids": ["1"]}})))
    assert devices_of(world, "chat") == [("b",)]
    assert devices_of(world, "by-index") == [("1",)]
    blocked = change_of(world, stack(chat("other", resources={"gpus": {"ids": ["7"]}})), "other")
    assert blocked.codes == ("insufficient_gpu",)
    assert "there are: gpu0, gpu1" in blocked.reasons[0].detail


def test_an_exchange_is_start_first_exactly_when_both_fit(header: Any) -> None:
    before, after = chat(context=1024), chat(context=2048)
    both = whole_claim(header, before) + whole_claim(header, after)
    roomy, tight = a_world(header, a=both), a_world(header, a=both - 1)
    for world, verb in ((roomy, Verb.REPLACE_START_FIRST), (tight, Verb.REPLACE_STOP_FIRST)):
        world.apply(stack(before))
        change = change_of(world, stack(after))
        assert change.verb is verb
        world.apply(stack(after))
        assert world.plan(stack(after)).empty
        assert world.runtime.peak_gpu_bytes["a"] <= world.gpus["a"]
    world = a_world(header, a=both - 1)
    world.apply(stack(before))
    change = change_of(world, stack(after))
    assert "insufficient_gpu" in change.codes
    assert any("open while the old one runs" in reason.detail for reason in change.reasons)
    forced = chat(context=2048, rollout={"strategy": "startFirst"})
    assert change_of(world, stack(forced)).verb is Verb.BLOCKED


def test_rolling_replicas_need_room_for_one_more_only(header: Any) -> None:
    before, after = chat(context=1024, replicas=3), chat(context=1280, replicas=3)
    world = a_world(header, a=whole_claim(header, before) + 3 * whole_claim(header, after))
    world.apply(stack(before))
    assert change_of(world, stack(after)).verb is Verb.REPLACE_START_FIRST
    world.apply(stack(after))
    assert world.runtime.peak_gpu_bytes["a"] <= world.gpus["a"]
    assert world.plan(stack(after)).empty


def test_one_that_is_lost_gives_its_own_place_to_its_successor(header: Any) -> None:
    """It runs and holds its memory, and nothing leads to it: it leaves before the new one comes."""
    wish = chat("low")
    world = a_world(header, a=whole_claim(header, wish))
    world.apply(stack(wish))
    [lost] = [thing for thing in world.runtime.things.values() if thing.deployment == "low"]
    lost.address = ""
    assert change_of(world, stack(wish), "low").verb is Verb.RESTART
    world.apply(stack(wish))
    assert len(launched(world, "low")) == 1
    assert world.runtime.peak_gpu_bytes["a"] <= world.gpus["a"]
    assert world.plan(stack(wish)).empty


def test_what_a_command_suspended_is_never_evicted(header: Any) -> None:
    low, high = chat("low"), chat("high", placement={"priority": 10})
    world = a_world(header, a=whole_claim(header, low))
    world.apply(stack(low))
    world.store.objects.suspend("demo", Ref("Deployment", "low"), "lunch")
    assert change_of(world, stack(low, high), "low").verb is Verb.NO_OP
    assert change_of(world, stack(low, high), "high").codes == ("insufficient_gpu",)
    world.store.objects.resume("demo", Ref("Deployment", "low"))
    assert change_of(world, stack(low, high), "low").codes == ("evicted",)


def test_a_higher_priority_evicts_and_the_plan_names_whom(header: Any) -> None:
    low, high = chat("low"), chat("high", placement={"priority": 10})
    world = a_world(header, a=whole_claim(header, low))
    world.apply(stack(low))
    (replica,) = [name for name, thing in world.runtime.things.items() if thing.deployment == "low"]
    plan = world.plan(stack(low, high))
    printed = text(plan)
    assert f"evicts {replica}" in printed
    assert "gives its place to Deployment/high" in printed
    assert plan.destroys, "a person is asked before a service ends"
    world.apply(stack(low, high))
    assert (len(launched(world, "high")), len(launched(world, "low"))) == (1, 0)
    assert change_of(world, stack(low, high), "low").codes == ("insufficient_gpu",)
    assert change_of(world, stack(low, high), "high").verb is Verb.NO_OP
    assert world.runtime.peak_gpu_bytes["a"] <= world.gpus["a"]
    same = chat("same", placement={"priority": 10})
    assert change_of(world, stack(low, high, same), "same").codes == ("insufficient_gpu",), "equals never evict"


def test_budgets_reserves_and_the_whole_stack_are_bounds(header: Any) -> None:
    claim = whole_claim(header, chat())
    world = a_world(header, a=2 * GIB, b=2 * GIB)
    wanted = stack(chat(), budgets={"0": claim - 1})
    assert "gpu1 chosen" in text(world.plan(wanted))
    assert change_of(world, stack(chat(), reserve=2 * GIB - claim + 1)).codes == ("insufficient_gpu",)
    assert change_of(world, stack(chat(), total=claim)).codes == ("insufficient_gpu",)
    refused = change_of(world, stack(chat(), total=claim)).reasons[0].detail
    assert "raise the stack's memory budget" in refused
    assert change_of(world, stack(chat(), total=2 * claim)).verb is Verb.CREATE


def test_declared_memory_stands_in_for_an_estimate(header: Any) -> None:
    world = a_world(header, a=4 * GIB)
    declared = chat(resources={"gpus": {"count": 1, "memory": "3Gi"}})
    plan = world.plan(stack(declared))
    assert "gpu0 4.0 GiB: 0 B used -> 3.0 GiB" in text(plan)
    world.artifacts.headers.clear()
    guessed = change_of(world, stack(chat()))
    assert any("whole: gpu0 chosen" in note for note in guessed.notes)


def test_without_a_driver_the_count_goes_to_the_engine(header: Any) -> None:
    world = a_world(header, a=GIB)
    world.gpus.clear()
    world.apply(stack(chat()))
    (launch,) = launched(world)
    assert launch.gpus is not None
    assert (launch.gpus.count, launch.gpus.ids) == (1, ())
    auto = chat("auto", resources={"gpus": {"count": "auto"}})
    assert change_of(world, stack(auto), "auto").codes == ("insufficient_gpu",)


def test_placements_are_conditions_and_a_column(header: Any) -> None:
    world = a_world(header, a=2 * GIB)
    result = world.apply(stack(chat()))
    assessed = result.assessed[Ref("Deployment", "chat")]
    placed = next(condition for condition in assessed.conditions if condition.type == "Placed")
    assert (placed.status, assessed.columns["GPU"]) == ("True", "gpu0")
    assert "gpu0 " in placed.message
    world.apply(stack(chat(), chat("big", context=1 << 20)))
    seen = world.apply(stack(chat(), chat("big", context=1 << 20))).assessed[Ref("Deployment", "big")]
    refused = next(condition for condition in seen.conditions if condition.type == "Placed")
    assert (refused.status, refused.reason) == ("False", "DoesNotFit")


def test_created_replicas_carry_their_place_in_the_plan(header: Any) -> None:
    world = a_world(header, a=2 * GIB)
    creates = [node.action for node in world.plan(stack(chat())).nodes if isinstance(node.action, CreateReplica)]
    assert all(action.replica.owner.placement for action in creates)


TIGHT = {
    "stop-first": (stack(chat(context=1024)), stack(chat(context=2048))),
    "eviction": (stack(chat("low")), stack(chat("low"), chat("high", placement={"priority": 10}))),
}
"""From one stack to another on a GPU that holds one replica and not two."""


def serving(world: FakeWorld) -> dict[str, Any]:
    """The world's state less the evicted replica that ended and was not removed: it stays, with its log, until there
    is room for it again."""
    state = world.state()
    things = {n: one for n, one in state["things"].items() if one[0] is ReplicaState.RUNNING or "low" not in n}
    return {**state, "things": things}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TIGHT)
def test_whatever_dies_when_no_device_is_ever_over_its_size(header: Any, name: str, mode: str) -> None:
    before, after = TIGHT[name]
    size = whole_claim(header, chat(context=2048)) + 1

    def prepared() -> FakeWorld:
        world = a_world(header, a=size)
        world.apply(before)
        return world

    goal = prepared()
    gate = Gate(goal.clock)
    goal.apply(after, wrap=gate.wrap)
    assert goal.plan(after).nodes == ()
    for at, effect in enumerate(gate.names, 1):
        world = prepared()
        with suppress(Died), suppress(NexusError) if effect.startswith("objects") else nullcontext():
            world.apply(after, wrap=Gate(world.clock, at, mode).wrap)
        for _ in range(3):
            world.apply(after)
        assert world.plan(after).nodes == (), f"{mode} at {at} ({effect})"
        assert serving(world) == serving(goal), f"{mode} at {at} ({effect})"
        assert world.runtime.peak_gpu_bytes["a"] <= size

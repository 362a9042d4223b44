"""Models that are built: the plan says every step with its bytes, replicas follow the result, stages are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.looking import Options
from controllers.model.requests import declared_request
from nexus_ctl.errors import Terminal
from nexus_ctl.planning.change import Change
from nexus_ctl.resources.artifact import Fallback, Forecast, Request
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.lock import Lock, Locked, LockedFile, asked
from nexus_ctl.views.plan import to_json
from tests.builders import a_deployment, a_model, a_resource, a_route, a_stack
from tests.fakes.world import FakeWorld, offer

SMOL = Ref("Model", "smol")


def a_quantized(kind: str = "Q4_K_M", **deployment: object) -> Stack:
    return a_stack(a_model(quantize=kind), a_deployment(**deployment), a_route())  # type: ignore[arg-type]


def change_of(world: FakeWorld, stack: Stack, ref: Ref = SMOL, **options: bool) -> Change:
    plan = world.plan(stack, Options(**options))  # type: ignore[arg-type]
    return next(change for change in plan.changes if change.ref == ref)


def test_the_plan_says_what_is_downloaded_and_what_is_built_of_it() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    change = change_of(world, stack)
    assert [type(step.action).__name__ for step in change.steps] == ["FetchModel", "QuantizeModel", "PinModel"]
    assert change.notes == (
        "download 1000 B (0 B already here) from http://models.test/smol.gguf",
        "quantize Q4_K_M: 500 B, 4.50 bits per weight, by a tool 1.0",
        "disk free 64.0 GiB -> 64.0 GiB",
    )
    assert change.download_bytes == 1000


def test_after_the_apply_nothing_is_left_to_do() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    world.apply(stack)
    assert world.artifacts.builds == 1
    assert world.plan(stack).nodes == ()
    assert world.answers()


def test_another_type_is_built_of_what_is_here_and_replaces_the_replica() -> None:
    world = FakeWorld()
    offer(world, a_quantized())
    world.apply(a_quantized())
    change = change_of(world, a_quantized("Q8_0"))
    assert [type(step.action).__name__ for step in change.steps] == ["QuantizeModel", "PinModel"]
    assert change.download_bytes == 0
    plan = world.plan(a_quantized("Q8_0"))
    assert plan.changes[-2].codes == ("model_files_changed",)
    world.apply(a_quantized("Q8_0"))
    assert world.plan(a_quantized("Q8_0")).nodes == ()


def test_a_source_that_is_gone_after_the_build_is_not_fetched_again() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    world.apply(stack)
    source = Request(stack.resources[SMOL].spec.source)
    del world.artifacts.delivered[source.key]
    assert world.plan(stack).nodes == ()


def test_a_source_that_moved_is_built_anew_on_refresh() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    world.apply(stack)
    world.artifacts.put(Request(stack.resources[SMOL].spec.source), b"a new version", size_bytes=700)
    assert world.plan(stack).nodes == ()
    change = change_of(world, stack, refresh=True)
    assert [type(step.action).__name__ for step in change.steps] == ["FetchModel", "QuantizeModel", "PinModel"]
    world.apply(stack, Options(refresh=True))
    assert (world.artifacts.builds, world.plan(stack).nodes) == (2, ())


def test_what_cannot_be_built_blocks_before_anything_moves() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    source = Request(stack.resources[SMOL].spec.source)
    world.artifacts.fetch(source, world.artifacts.resolve(source), lambda _: None)
    world.artifacts.fail_next = [Terminal("no tool", hint="get one")] * 2
    plan = world.plan(stack)
    by_ref = {change.ref: change for change in plan.changes}
    assert by_ref[SMOL].codes == ("build_unavailable",)
    assert "no tool (get one)" in by_ref[SMOL].reasons[0].detail
    assert by_ref[Ref("Deployment", "chat")].codes == ("dependency_blocked",)


def test_an_importance_matrix_of_another_model_is_there_first() -> None:
    world = FakeWorld()
    spec = {
        "source": {"url": "http://models.test/smol.gguf"},
        "quantize": {"type": "IQ2_XS", "imatrix": {"model": "matrix"}},
    }
    stack = a_stack(a_resource("Model", "smol", spec), a_model("matrix"))
    offer(world, stack)
    plan = world.plan(stack)
    kinds = [(type(node.action).__name__, node.ref.name) for node in plan.nodes]
    assert kinds.index(("PinModel", "matrix")) < kinds.index(("QuantizeModel", "smol"))
    world.apply(stack)
    assert world.plan(stack).nodes == ()


@pytest.mark.parametrize("kind", ["", "Q4_K_M"])
def test_the_conditions_tell_how_far_it_is(kind: str) -> None:
    world, stack = FakeWorld(), a_stack(a_model(quantize=kind))
    offer(world, stack)
    world.apply(stack)
    item = next(one for one in world.store.objects.all("demo") if one.ref == SMOL)
    held = {condition.type for condition in item.conditions if condition.status == "True"}
    assert {"Downloaded", "Verified", "Ready"} <= held
    assert ("Quantized" in held) == bool(kind)
    assert item.lifecycle == "READY"


def test_a_conversion_comes_before_the_quantization() -> None:
    spec = {
        "source": {"huggingFace": {"repo": "acme/model"}},
        "convert": {"type": "bf16"},
        "quantize": {"type": "Q4_K_M"},
    }
    world, stack = FakeWorld(), a_stack(a_resource("Model", "smol", spec))
    offer(world, stack)
    change = change_of(world, stack)
    steps = [type(step.action).__name__ for step in change.steps]
    assert steps == ["FetchModel", "ConvertModel", "QuantizeModel", "PinModel"]
    assert [note.partition(":")[0] for note in change.notes[1:-1]] == ["convert to GGUF, bf16", "quantize Q4_K_M"]
    world.apply(stack)
    assert (world.artifacts.builds, world.plan(stack).nodes) == (2, ())
    item = next(one for one in world.store.objects.all("demo") if one.ref == SMOL)
    held = {condition.type for condition in item.conditions if condition.status == "True"}
    assert held >= {"Downloaded", "Converted", "Quantized", "Verified", "Ready"}


def test_an_adapter_is_converted_after_its_base_is_there() -> None:
    spec = {"source": {"huggingFace": {"repo": "acme/tone"}}, "convert": {"base": "smol"}}
    world, stack = FakeWorld(), a_stack(a_resource("Model", "adapter", spec), a_model())
    offer(world, stack)
    plan = world.plan(stack)
    kinds = [(type(node.action).__name__, node.ref.name) for node in plan.nodes]
    assert kinds.index(("PinModel", "smol")) < kinds.index(("ConvertModel", "adapter"))
    world.apply(stack)
    assert world.plan(stack).nodes == ()


def test_the_base_of_an_adapter_is_the_one_that_is_locked() -> None:
    spec = {"source": {"huggingFace": {"repo": "acme/tone"}}, "convert": {"base": "smol"}}
    stack = a_stack(a_resource("Model", "adapter", spec), a_model())
    pinned = Locked(asked(stack.resources[SMOL].spec.source, "/"), {"smol.gguf": LockedFile(10, f"sha256:{'0' * 64}")})
    stack = replace(stack, lock=Lock({"smol": pinned}))
    _, base = declared_request(stack, "adapter").inputs
    assert (base.locked, base) == (pinned, declared_request(stack, "smol"))


def test_the_plan_says_the_bytes_of_builds_to_programs_too() -> None:
    world, stack = FakeWorld(), a_quantized()
    offer(world, stack)
    fallbacks = (Fallback("q4_k", "q5_0", 166), Fallback("q6_k", "q8_0", 14))
    world.artifacts.told = Forecast(
        500, "a tool 1.0", 6.17, tensors=272, fallbacks=fallbacks, quantized_before=("q4_1",)
    )
    [action] = [one for one in to_json(world.plan(stack))["actions"] if one["ref"] == "Model/smol"]
    assert (action["downloadBytes"], action["diskBytes"], action["temporaryBytes"]) == (1000, 1500, 1000)
    assert action["builds"] == [
        {
            "step": "quantize Q4_K_M",
            "tool": "a tool 1.0",
            "resultBytes": 500,
            "bitsPerWeight": 6.17,
            "tensors": 272,
            "fallbacks": [
                {"from": "q4_k", "to": "q5_0", "tensors": 166},
                {"from": "q6_k", "to": "q8_0", "tensors": 14},
            ],
            "quantizedBefore": ["q4_1"],
        }
    ]
    assert action["notes"][1:4] == [
        "quantize Q4_K_M: 500 B, 6.17 bits per weight, by a tool 1.0",
        "180 of 272 tensors fall back, their rows do not divide: 166 q4_k -> q5_0, 14 q6_k -> q8_0",
        "the source is quantized already (q4_1): what that lost stays lost",
    ]
    world.apply(stack)
    assert all(one["builds"] == [] for one in to_json(world.plan(stack))["actions"])


def test_of_a_conversion_and_a_quantization_only_the_last_is_held() -> None:
    spec = {"source": {"huggingFace": {"repo": "acme/model"}}, "convert": {}, "quantize": {"type": "Q4_K_M"}}
    world, stack = FakeWorld(), a_stack(a_resource("Model", "smol", spec))
    offer(world, stack)
    change = change_of(world, stack)
    assert [one.step for one in change.builds] == ["convert to GGUF, bf16", "quantize Q4_K_M"]
    assert (change.disk_bytes, change.temporary_bytes) == (2000, 1500)


@pytest.mark.parametrize(
    ("policy", "note"),
    [
        ("Retain", "keeps 1.5 KiB on disk (deletionPolicy)"),
        ("Delete", "deletes 500 B unless another stack uses them; 1000 B that it was built from stay until models gc"),
    ],
)
def test_a_deletion_says_how_many_bytes_stay(policy: str, note: str) -> None:
    spec = {"source": {"url": "http://models.test/smol.gguf"}, "quantize": {"type": "Q4_K_M"}, "deletionPolicy": policy}
    other = a_model("other")
    world, stack = FakeWorld(), a_stack(a_resource("Model", "smol", spec), other)
    offer(world, stack)
    world.apply(stack)
    change = change_of(world, a_stack(other), prune=True)
    assert change.notes == (note,)
    assert change.destroys_data == (policy == "Delete")
    world.apply(a_stack(other), Options(prune=True, max_prune=9))
    assert {one.size_bytes for one in world.artifacts.delivered.values()} == (
        {500, 1000} if policy == "Retain" else {1000}
    )

"""A deployment of more than one model: waits for each, is made from each, is counted with each, and guards each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.looking import Options
from controllers.model.requests import request_of
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.memory import PartKind
from tests.builders import a_deployment, a_model, a_route, a_stack
from tests.fakes.gguf_models import TINY, adapter, projector, write
from tests.fakes.runtime import Thing
from tests.fakes.world import EVERYTHING, FakeWorld, offer

CHAT = Ref("Deployment", "chat")
ENGINE: Mapping[str, Any] = {
    "contextSize": 2048,
    "draft": {"model": "tiny", "nMax": 4},
    "adapters": [{"model": "tone"}],
    "projector": {"model": "eyes"},
}


def the_stack(engine: Mapping[str, Any] = ENGINE, *, without: str = "") -> Stack:
    """One deployment with a draft model, an adapter and a projector."""
    models = [a_model(name) for name in ("smol", "tiny", "tone", "eyes", "other") if name != without]
    return a_stack(*models, a_deployment(engine={"llamaCpp": dict(engine)}), a_route())


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld()
    offer(made, the_stack())
    return made


def change_of(world: FakeWorld, stack: Stack, ref: Ref = CHAT, options: Options = EVERYTHING) -> Change:
    return next(change for change in world.plan(stack, options).changes if change.ref == ref)


def replica(world: FakeWorld) -> Thing:
    [thing] = [thing for thing in world.runtime.things.values() if thing.deployment == "chat"]
    return thing


def give_headers(world: FakeWorld, files: Mapping[str, Path]) -> None:
    """Real headers for the Models of these names."""
    for name, path in files.items():
        world.artifacts.headers[request_of(a_model(name).spec).key] = read_file(path).header


def test_every_model_is_mounted_and_the_next_plan_is_empty(world: FakeWorld) -> None:
    plan = world.plan(the_stack())
    order = [change.ref for change in plan.changes]
    assert all(order.index(Ref("Model", name)) < order.index(CHAT) for name in ("smol", "tiny", "tone", "eyes"))
    world.apply(the_stack())
    launch = replica(world).launch
    assert launch is not None
    assert {mount.model: bool(mount.source) for mount in launch.mounts} == dict.fromkeys(
        ("smol", "tiny", "tone", "eyes"), True
    )
    assert world.plan(the_stack()).empty


def test_the_replica_waits_for_each_of_its_models(world: FakeWorld) -> None:
    world.artifacts.sources.pop(request_of(a_model("tone").spec).key)
    blocked = change_of(world, the_stack())
    assert (blocked.verb, blocked.codes) == (Verb.BLOCKED, ("dependency_blocked",))
    assert "Model/tone" in blocked.reasons[0].detail


def test_a_model_that_comes_along_is_not_taken_away(world: FakeWorld) -> None:
    world.apply(the_stack())
    gone = change_of(world, the_stack(), Ref("Model", "tiny"), Options(delete=frozenset({Ref("Model", "tiny")})))
    assert (gone.verb, gone.codes) == (Verb.BLOCKED, ("in_use",))
    assert "Deployment/chat" in gone.reasons[0].detail


def test_another_content_of_a_companion_makes_a_new_replica(world: FakeWorld) -> None:
    world.apply(the_stack())
    before = replica(world).name
    world.artifacts.put(request_of(a_model("tiny").spec), b"other bytes", size_bytes=1000)
    world.apply(the_stack(), Options(refresh=True, only=frozenset({Ref("Model", "tiny")})))
    change = change_of(world, the_stack())
    assert [(reason.code, reason.path) for reason in change.reasons] == [
        ("model_files_changed", "spec.engine.llamaCpp.draft.model")
    ]
    world.apply(the_stack())
    assert replica(world).name != before


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"draft": {"model": "other", "nMax": 4}}, "spec.engine.llamaCpp.draft.model"),
        ({"draft": {"model": "tiny", "nMax": 5}}, "spec.engine.llamaCpp.draft.nMax"),
        ({"adapters": []}, "spec.engine.llamaCpp.adapters"),
        ({"adapters": [{"model": "tone", "scale": 0.5}]}, "spec.engine.llamaCpp.adapters"),
        ({"adapters": [{"model": "tone"}, {"model": "other"}]}, "spec.engine.llamaCpp.adapters"),
        ({"projector": {"model": "eyes", "offload": False}}, "spec.engine.llamaCpp.projector.offload"),
        ({"file": "*Q8_0*"}, "spec.engine.llamaCpp.file"),
    ],
)
def test_what_is_declared_of_companions_replaces(world: FakeWorld, changed: Mapping[str, Any], path: str) -> None:
    world.apply(the_stack())
    change = change_of(world, the_stack({**ENGINE, **changed}))
    assert change.verb in (Verb.REPLACE_START_FIRST, Verb.REPLACE_STOP_FIRST)
    assert [(reason.code, reason.path) for reason in change.reasons if reason.path] == [("field_changed", path)]


def test_a_draft_model_that_leaves_is_a_change_and_then_it_may_go(world: FakeWorld) -> None:
    world.apply(the_stack())
    bare = {key: value for key, value in ENGINE.items() if key != "draft"}
    change = change_of(world, the_stack(bare, without="tiny"))
    assert {reason.path for reason in change.reasons if reason.path.endswith("draft.model")}
    world.apply(the_stack(bare, without="tiny"), Options(prune=True))
    assert "tiny" not in {pin.model for pin in world.artifacts.pins(world.instance, "demo")}
    assert world.plan(the_stack(bare, without="tiny")).empty


def test_a_model_alone_is_known_by_its_identity_alone(world: FakeWorld) -> None:
    world.apply(the_stack({"contextSize": 2048}))
    owner = replica(world).owner
    assert owner is not None
    assert owner.model_digest == world.artifacts.delivered[request_of(a_model("smol").spec).key].identity


def test_each_file_is_a_part_of_the_estimate(world: FakeWorld, tmp_path: Path) -> None:
    files = {
        "smol": write(TINY["llama-gqa"], tmp_path / "smol.gguf"),
        "tiny": write(TINY["llama-gqa"], tmp_path / "tiny.gguf"),
        "tone": adapter(TINY["llama-gqa"], tmp_path / "tone.gguf"),
        "eyes": projector(512, tmp_path / "eyes.gguf"),
    }
    give_headers(world, files)
    world.apply(a_stack(*(one for one in the_stack().resources.values() if one.kind == "Model")))
    alone, whole = (change_of(world, the_stack(engine)) for engine in ({"contextSize": 2048}, ENGINE))
    assert alone.memory is not None
    assert whole.memory is not None
    host = whole.memory.host
    assert host.of(PartKind.DRAFT) > host.of(PartKind.WEIGHTS)
    assert host.of(PartKind.ADAPTERS) == read_file(files["tone"]).header.weights_bytes
    assert host.of(PartKind.PROJECTOR) == read_file(files["eyes"]).header.weights_bytes
    assert any("draft model" in note and "adapters" in note and "projector" in note for note in whole.notes)


def test_files_that_do_not_go_together_stop_nothing_and_start_nothing(world: FakeWorld, tmp_path: Path) -> None:
    give_headers(
        world,
        {
            "smol": write(TINY["llama-gqa"], tmp_path / "smol.gguf"),
            "tiny": write(TINY["llama-mqa"], tmp_path / "tiny.gguf"),
        },
    )
    world.apply(the_stack({"contextSize": 2048}))
    before = replica(world)
    blocked = change_of(world, the_stack())
    assert (blocked.verb, blocked.codes) == (Verb.BLOCKED, ("file_says_otherwise",))
    assert "vocabulary" in blocked.reasons[0].detail
    world.apply(the_stack())
    assert replica(world) == before


def test_what_is_no_gguf_is_never_given_to_llama_cpp(world: FakeWorld, tmp_path: Path) -> None:
    """A stop-first exchange would make a gap for an engine that cannot load it."""
    give_headers(world, {"smol": write(TINY["llama-gqa"], tmp_path / "smol.gguf")})
    world.apply(the_stack({"contextSize": 2048}))
    before = replica(world)
    world.artifacts.junk = set(world.artifacts.headers)
    blocked = change_of(world, the_stack({"contextSize": 4096}))
    assert (blocked.verb, blocked.codes) == (Verb.BLOCKED, ("file_says_otherwise",))
    assert blocked.reasons[0].path == "spec.model"
    assert "begins with 'root'" in blocked.reasons[0].detail
    world.apply(the_stack({"contextSize": 4096}))
    assert replica(world) == before


def test_a_context_beyond_the_training_is_said(world: FakeWorld, tmp_path: Path) -> None:
    give_headers(world, {"smol": write(TINY["llama-gqa"], tmp_path / "smol.gguf")})
    [note] = [note for note in change_of(world, the_stack({"contextSize": 65_536})).notes if "warning" in note]
    assert "trained on 32768" in note
    assert not [note for note in change_of(world, the_stack({"contextSize": 32_768})).notes if "warning" in note]


def test_where_it_is_not_clear_which_file_is_meant_the_files_are_named(world: FakeWorld) -> None:
    world.apply(the_stack({"contextSize": 2048}))
    request = request_of(a_model("tiny").spec)
    fetched = world.artifacts.delivered[request.key]
    world.artifacts.delivered[request.key] = replace(fetched, files=("/c/a-Q4.gguf", "/c/a-Q8.gguf"))
    blocked = change_of(world, the_stack())
    assert blocked.codes == ("model_file_unclear",)
    assert "a-Q4.gguf, a-Q8.gguf" in blocked.reasons[0].detail
    chosen = {**ENGINE, "draft": {"model": "tiny", "file": "*Q4*"}}
    assert change_of(world, the_stack(chosen)).verb is not Verb.BLOCKED
    world.apply(the_stack(chosen))
    launch = replica(world).launch
    assert launch is not None
    assert [mount.source for mount in launch.mounts if mount.model == "tiny"] == ["/c/a-Q4.gguf"]

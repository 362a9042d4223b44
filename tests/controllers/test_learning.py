"""Estimate, measure, correct: what an engine reports at its first start is the next estimate of the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.model.requests import request_of
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.engines import vllm
from nexus_ctl.planning.action import CreateReplica
from nexus_ctl.planning.change import Change
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.image import LocalImage
from nexus_ctl.resources.memory import Basis, PartKind
from nexus_ctl.resources.placed import Placed
from tests.builders import a_deployment, a_model, a_route, a_stack, the_demo
from tests.fakes.gguf_models import TINY, adapter, projector, write
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
LOG = (
    "load_tensors:   CPU_Mapped model buffer size =    20.00 MiB",
    "llama_kv_cache:        CPU KV buffer size =    11.00 MiB",
    "sched_reserve:        CPU compute buffer size =     9.00 MiB",
)


ALONG = (
    *LOG,
    "llama_adapter_lora_init_impl: CPU_Mapped LoRA buffer size =     0.50 MiB",
    "sched_reserve: reserving ...",
    "sched_reserve:        CPU compute buffer size =    10.00 MiB",
    "common_speculative_init_result: loading draft model '/models/draft/tiny.gguf'",
    "load_tensors:   CPU_Mapped model buffer size =     7.00 MiB",
    "llama_context: constructing llama_context",
    "llama_kv_cache:        CPU KV buffer size =     2.00 MiB",
    "sched_reserve: reserving ...",
    "sched_reserve:        CPU compute buffer size =     3.00 MiB",
    "clip_ctx: CLIP using CPU backend",
    "load_hparams: model size:         1.50 MiB",
    "reserve_compute_meta:        CPU compute buffer size =     0.25 MiB",
)
"""The same of an engine that loads an adapter, a draft model and a projector besides."""


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    made = FakeWorld()
    made.runtime._capabilities = replace(made.runtime._capabilities, engine_build="b1")
    offer(made, the_demo())
    made.apply(the_demo(replicas=0))
    [key] = made.artifacts.sources
    made.artifacts.headers[key] = read_file(write(TINY["llama-gqa"], tmp_path / "llama.gguf")).header
    made.runtime.says["chat"] = LOG
    return made


def chat(world: FakeWorld, **changes: Any) -> Change:
    return next(change for change in world.plan(the_demo(**changes)).changes if change.ref == CHAT)


def words(world: FakeWorld) -> tuple[str, ...]:
    (launch,) = (t.launch for t in world.runtime.things.values() if t.deployment == "chat" and t.launch is not None)
    return launch.argv


def test_the_first_start_is_asked_what_it_allocates_and_the_next_goes_by_it(world: FakeWorld) -> None:
    first = chat(world).memory
    assert first is not None
    assert first.host.of(PartKind.COMPUTE) != 9 << 20
    world.apply(the_demo())
    assert "--verbosity" in words(world)
    assert world.plan(the_demo()).empty
    world.apply(the_demo(replicas=0))
    second = chat(world).memory
    assert second is not None
    assert (second.host.of(PartKind.COMPUTE), second.host.of(PartKind.KV_CACHE)) == (9 << 20, 11 << 20)
    bases = {part.kind: part.basis for part in second.host.parts}
    assert (bases[PartKind.COMPUTE], bases[PartKind.OVERHEAD]) == (Basis.LEARNED, Basis.ASSUMED)
    world.apply(the_demo())
    assert "--verbosity" not in words(world), "what is known is not asked again"


def test_the_error_of_the_estimate_is_told_once(world: FakeWorld) -> None:
    world.apply(the_demo())
    world.apply(the_demo())
    told = [one.event.message for one in world.store.events.read("demo") if one.event.reason == "MemoryReported"]
    assert len(told) == 1
    assert told[0].startswith("reported 40.0 MiB in its buffers; ")
    assert "%" in told[0]


def test_another_context_model_or_build_is_another_lesson(world: FakeWorld) -> None:
    world.apply(the_demo())
    assert len(world.store.reports.all()) == 1
    other = chat(world, context=4096).memory
    assert other is not None
    assert other.host.of(PartKind.COMPUTE) != 9 << 20
    world.runtime._capabilities = replace(world.runtime._capabilities, engine_build="b2")
    world.apply(the_demo(replicas=0))
    anew = chat(world).memory
    assert anew is not None
    assert anew.host.of(PartKind.COMPUTE) != 9 << 20


def test_a_log_that_tells_nothing_is_read_once_and_corrects_nothing(world: FakeWorld) -> None:
    world.runtime.says["chat"] = ("hello",)
    before = chat(world).memory
    world.apply(the_demo())
    assert len(world.store.reports.all()) == 1
    world.apply(the_demo(replicas=0))
    assert chat(world).memory == before


def test_a_lost_store_forgets_lessons_and_restarts_nothing(world: FakeWorld) -> None:
    world.apply(the_demo())
    before = world.state()["things"]
    world.lose_store()
    world.apply(the_demo())
    assert world.state()["things"] == before
    assert len(world.store.reports.all()) == 1, "it is learned again from the log that is there"


def accompanied(draft: dict[str, Any], replicas: int = 1) -> Stack:
    """A deployment with all that can come along."""
    engine = {"contextSize": 2048, "adapters": [{"model": "tone"}], "projector": {"model": "eyes"}, "draft": draft}
    models = [a_model(name) for name in ("smol", "tiny", "tone", "eyes")]
    return a_stack(*models, a_deployment(engine={"llamaCpp": engine}, replicas=replicas), a_route())


def test_what_comes_along_is_learned_part_by_part(tmp_path: Path) -> None:
    world = FakeWorld()
    world.runtime._capabilities = replace(world.runtime._capabilities, engine_build="b1")
    files = {
        "smol": write(TINY["llama-gqa"], tmp_path / "smol.gguf"),
        "tiny": write(TINY["llama-gqa"], tmp_path / "tiny.gguf"),
        "tone": adapter(TINY["llama-gqa"], tmp_path / "tone.gguf"),
        "eyes": projector(TINY["llama-gqa"].embedding, tmp_path / "eyes.gguf"),
    }
    for name, path in files.items():
        world.artifacts.headers[request_of(a_model(name).spec).key] = read_file(path).header
    world.runtime.says["chat"] = ALONG

    def planned(**draft: Any) -> Mapping[PartKind, tuple[int, Basis]]:
        stack = accompanied({"model": "tiny", **draft})
        memory = next(change.memory for change in world.plan(stack).changes if change.ref == CHAT)
        assert memory is not None
        return {part.kind: (part.bytes, part.basis) for part in memory.host.parts}

    stack = accompanied({"model": "tiny"})
    offer(world, stack)
    assert planned()[PartKind.DRAFT][1] is not Basis.LEARNED
    world.apply(stack)
    assert "--verbosity" in words(world)
    world.apply(accompanied({"model": "tiny"}, replicas=0))
    known = planned()
    assert {kind: size for kind, (size, basis) in known.items() if basis is Basis.LEARNED} == {
        PartKind.WEIGHTS: 20 << 20,
        PartKind.KV_CACHE: 11 << 20,
        PartKind.COMPUTE: 10 << 20,
        PartKind.DRAFT: 12 << 20,
        PartKind.ADAPTERS: 1 << 19,
        PartKind.PROJECTOR: 7 << 18,
    }
    assert planned(nMax=3)[PartKind.DRAFT][1] is not Basis.LEARNED, "another way of drafting is another lesson"
    world.artifacts.headers[request_of(a_model("tone").spec).key] = read_file(
        adapter(TINY["llama-gqa"], tmp_path / "other.gguf", rank=8)
    ).header
    assert planned() == known, "what is told by an earlier start comes before the header"


def test_another_file_beside_the_model_is_another_lesson(tmp_path: Path) -> None:
    world = FakeWorld()
    stack = accompanied({"model": "tiny"})
    offer(world, stack)
    world.runtime._capabilities = replace(world.runtime._capabilities, engine_build="b1")
    world.artifacts.headers[request_of(a_model("smol").spec).key] = read_file(
        write(TINY["llama-gqa"], tmp_path / "smol.gguf")
    ).header
    keys = set()
    for file in (None, "a.gguf", "b.gguf"):
        changed = accompanied({"model": "tiny", **({"file": file} if file else {})})
        actions = [step.action for change in world.plan(changed).changes for step in change.steps if change.ref == CHAT]
        [made] = [action for action in actions if isinstance(action, CreateReplica)]
        placed = Placed.from_label(made.replica.owner.placement)
        assert placed is not None
        keys.add(placed.key)
    assert len(keys) == 3


VLLM = (
    "INFO [gpu_model_runner.py:2653] Model loading took 14.0000 GiB and 2.100 seconds",
    "INFO [gpu_worker.py:349] Available KV cache memory: 4.00 GiB",
    "INFO [kv_cache_utils.py:1229] GPU KV cache size: 65,536 tokens",
    "INFO [kv_cache_utils.py:1234] Maximum concurrency for 32,768 tokens per request: 2.00x",
)
"""What vLLM 0.11 logs; it was not run, for that takes a GPU."""


def served_by_vllm(utilization: float, max_length: int | None = None, **fields: Any) -> Stack:
    engine = {"model": {"maxLength": max_length} if max_length else {}, "cache": {"memoryUtilization": utilization}}
    more = {"resources": {"gpus": {"count": 1}}, "replicas": 1} | fields
    return a_stack(a_model("smol"), a_deployment(engine={"vllm": engine}, **more), a_route())


def test_what_vllm_left_to_its_cache_decides_which_context_is_refused() -> None:
    world = FakeWorld(gpus={"a": 25 << 30}, containers=True)
    assert world.images is not None
    world.images.here[vllm.IMAGE] = LocalImage("sha256:1", 1)
    first = served_by_vllm(0.8)
    offer(world, first)
    world.runtime.says["chat"] = VLLM
    world.apply(first)
    told = [one.event.message for one in world.store.events.read(first.name) if one.event.reason == "MemoryReported"]
    assert told == ["left 4.00 GiB of its budget to the cache, 65,536 tokens: 2.0 sequences of 32,768"]
    assert world.plan(first).empty

    def refused(stack: Stack) -> str:
        change = next(change for change in world.plan(stack).changes if change.ref == CHAT)
        return change.reasons[0].detail if change.codes[0] == "insufficient_gpu" else ""

    assert refused(served_by_vllm(0.8, 65_536)) == ""
    assert "maxLength 65536 would fit" in refused(served_by_vllm(0.8, 70_000))
    assert refused(served_by_vllm(0.9, 70_000)) == "", "a larger budget has room for it"
    assert "maxLength 16384 would fit" in refused(served_by_vllm(0.68)), "the length that was served is known"
    world.apply(served_by_vllm(0.8, 70_000))
    assert world.plan(first).empty, "nothing was stopped"

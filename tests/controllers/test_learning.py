"""Estimate, measure, correct: what an engine reports at its first start is the next estimate of the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_ctl.artifacts.gguf_header import read_file
from nexus_ctl.planning.change import Change
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.memory import Basis, PartKind
from tests.builders import the_demo
from tests.fakes.gguf_models import TINY, write
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
LOG = (
    "load_tensors:   CPU_Mapped model buffer size =    20.00 MiB",
    "llama_kv_cache:        CPU KV buffer size =    11.00 MiB",
    "sched_reserve:        CPU compute buffer size =     9.00 MiB",
)


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

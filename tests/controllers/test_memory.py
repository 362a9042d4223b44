"""The plan speaks memory: what a replica will take, whether two fit side by side, and what can never fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.planning.change import Change, Verb
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.memory import PartKind
from tests.builders import the_demo
from tests.fakes.gguf_models import TINY, write
from tests.fakes.world import FakeWorld, offer

CHAT = Ref("Deployment", "chat")
MIB = 2**20


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    """A world whose model has a real header."""
    made = FakeWorld()
    offer(made, the_demo())
    made.apply(the_demo(replicas=0))
    [key] = made.artifacts.sources
    made.artifacts.headers[key] = read_file(write(TINY["llama-gqa"], tmp_path / "llama.gguf")).header
    return made


def chat(world: FakeWorld, stack: Stack) -> Change:
    return next(change for change in world.plan(stack).changes if change.ref == CHAT)


def test_a_new_replica_is_shown_with_what_it_takes(world: FakeWorld) -> None:
    change = chat(world, the_demo())
    assert change.memory is not None
    assert change.memory.host.of(PartKind.KV_CACHE) > 0
    [line] = change.notes
    assert line.startswith("memory: ")
    assert "KV cache" in line
    doubled = chat(world, the_demo(context=4096)).memory
    assert doubled is not None
    assert doubled.host.of(PartKind.KV_CACHE) == 2 * change.memory.host.of(PartKind.KV_CACHE)


def test_the_strategy_follows_the_estimate_not_the_file(world: FakeWorld) -> None:
    world.apply(the_demo())
    change = chat(world, the_demo(context=4096))
    assert change.verb is Verb.REPLACE_START_FIRST
    assert change.memory is not None
    world.free_bytes = change.memory.host.claim_bytes - 1
    tight = chat(world, the_demo(context=4096))
    assert tight.verb is Verb.REPLACE_STOP_FIRST
    assert "insufficient_memory" in tight.codes


def test_what_can_never_fit_is_refused_with_the_context_that_would(world: FakeWorld) -> None:
    change = chat(world, the_demo())
    assert change.memory is not None
    private = change.memory.host.total_bytes - change.memory.host.of(PartKind.WEIGHTS)
    world.free_bytes = private - 1
    blocked = chat(world, the_demo())
    assert blocked.verb is Verb.BLOCKED
    assert blocked.codes == ("insufficient_memory",)
    assert "would fit" in blocked.reasons[0].detail
    before = world.state()
    world.apply(the_demo())
    assert world.state() == before, "nothing is made, and nothing is stopped"


def test_nothing_to_make_reads_no_header(world: FakeWorld) -> None:
    world.apply(the_demo())
    world.artifacts.headers.clear()
    change = chat(world, the_demo())
    assert (change.verb, change.memory) == (Verb.NO_OP, None)


def test_container_and_gpu_fields_are_refused_where_there_are_none(world: FakeWorld) -> None:
    blocked = chat(world, the_demo(container={"pids": 100}))
    assert blocked.codes == ("container_not_supported",)
    blocked = chat(world, the_demo(resources={"gpus": {"count": 1}}))
    assert blocked.codes == ("gpus_not_supported",)


def test_a_limit_below_what_a_replica_holds_is_warned_of(world: FakeWorld) -> None:
    [line] = chat(world, the_demo()).notes
    assert line.startswith("memory: ")
    each, warning = chat(world, the_demo(replicas=2, resources={"memory": "1Mi"})).notes
    assert each == line.replace("memory: ", "memory of each replica: ")
    assert warning.startswith("warning: spec.resources.memory: 1.0 MiB is less than the ")
    words = warning.partition("give it ")[2]
    enough = words.partition(",")[0]
    assert chat(world, the_demo(resources={"memory": enough})).notes == (line,)
    world.apply(the_demo(resources={"memory": enough}))
    [live] = chat(world, the_demo(resources={"memory": "1Mi"})).notes
    assert live == warning, "a live change is warned of too"

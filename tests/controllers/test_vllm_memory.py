"""The first start of vLLM in the plan, from the tables of a repository that is not here: what fits, what is refused,
and what would fit. The numbers of the model are true; no GPU was there."""

from __future__ import annotations

from typing import Any

from nexus_ctl.engines import vllm
from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.declared import Stack
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.image import LocalImage
from nexus_ctl.views.plan import text, to_json
from tests.builders import a_deployment, a_model, a_route, a_stack
from tests.fakes.vllm_models import a_checkpoint
from tests.fakes.world import FakeWorld, offer

GIB = 1 << 30
CHAT = Ref("Deployment", "chat")


def served(max_length: int | None, utilization: float | None = 0.9, **fields: Any) -> Stack:
    engine: dict[str, Any] = {"model": {"maxLength": max_length} if max_length else {}}
    engine["cache"] = {"memoryUtilization": utilization} if utilization else {}
    more = {"resources": {"gpus": {"count": 1}}, "replicas": 1} | fields
    engine |= more.pop("engine", {})
    return a_stack(a_model("smol"), a_deployment(engine={"vllm": engine}, **more), a_route())


def a_world(checkpoint: Checkpoint | None, **sizes: int) -> FakeWorld:
    world = FakeWorld(gpus=sizes or {"a": 24 * GIB}, containers=True)
    assert world.images is not None
    world.images.here[vllm.IMAGE] = LocalImage("sha256:1", 1)
    offer(world, served(None))
    [key] = world.artifacts.sources
    if checkpoint is not None:
        world.artifacts.checkpoints[key] = checkpoint
    return world


def told(world: FakeWorld, stack: Stack) -> tuple[str, str]:
    """(the code and detail of a refusal, else the notes)."""
    change = next(change for change in world.plan(stack).changes if change.ref == CHAT)
    refused = change.codes[0] == "insufficient_gpu"
    return (
        ("refused", f"{change.reasons[0].path}: {change.reasons[0].detail}")
        if refused
        else ("", "\n".join(change.notes))
    )


FITS = """\
chat  not_found
        gpu0 24.0 GiB: 0 B used -> 21.6 GiB (weights 15.0 GiB, KV cache 4.9 GiB, compute 1002.0 MiB, overhead 768.0 MiB)
        whole: gpu0 chosen, 24.0 GiB open
        the KV cache would hold 40,304 tokens, 2.5 sequences of 16,384; activations and graphs are first guesses until \
vLLM ran here
  +   Route/chat       not_found

Devices:
  gpu0  24.0 GiB Fake GPU: 0 B used -> 21.6 GiB

Plan: 4 to create, 1 unchanged; 0 restarts, 1000 B to download.
"""
REFUSED = """\
chat  insufficient_gpu
        spec.engine.vllm.model.maxLength: vLLM would not start: one sequence of 131072 tokens takes 16.00 GiB of cache \
on each GPU, and the budget of 21.60 GiB leaves 4.91 GiB beside weights (14.96 GiB) and what it works with (1.73 GiB, \
a first guess); maxLength 40240 would fit
  #   Route/chat       dependency_blocked
        Deployment/chat

Plan: 2 to create, 2 blocked, 1 unchanged; 0 restarts, 1000 B to download.
"""


def shown(world: FakeWorld, stack: Stack) -> str:
    """The plan from the deployment's line on."""
    return text(world.plan(stack)).partition("Deployment/")[2]


def test_a_first_start_that_fits_is_told_part_by_part() -> None:
    world = a_world(a_checkpoint())
    assert shown(world, served(16384)) == FITS
    [placed] = [one for one in to_json(world.plan(served(16384)))["actions"] if one.get("memory")]
    [gpu, _] = placed["memory"]["devices"]
    assert gpu["weightsBytes"] == 16_060_522_496
    assert gpu["totalBytes"] == int(21.6 * GIB)
    assert gpu["basis"]["weights"] == "exact"
    assert gpu["basis"]["kvCache"] == "assumed"


def test_a_first_start_without_room_for_one_sequence_is_refused() -> None:
    world = a_world(a_checkpoint())
    assert shown(world, served(None)) == REFUSED
    world.apply(served(None))
    assert not world.runtime.things
    assert told(world, served(40240))[0] == "", "what was named fits"


def test_nothing_is_claimed_of_what_is_not_understood() -> None:
    code, notes = told(a_world(None), served(131072))
    assert (code, "overhead 21.6 GiB" in notes, "KV cache" in notes) == ("", True, False)
    code, notes = told(a_world(a_checkpoint(is_encoder_decoder=True)), served(131072))
    assert code == ""
    assert "whether the KV cache finds room is not known" in notes
    code, notes = told(a_world(a_checkpoint()), served(131072, engine={"args": {"kv-cache-memory-bytes": "16G"}}))
    assert (code, "not known: with kv-cache-memory-bytes" in notes) == ("", True)


def test_the_margin_of_the_guesses_is_a_warning() -> None:
    assert "warning: vLLM may not start" in told(a_world(a_checkpoint()), served(36_000))[1]


def test_what_is_not_counted_is_named() -> None:
    spec = {"draft": {"method": "ngram"}}
    assert "not counted: the draft model" in told(a_world(a_checkpoint()), served(8192, engine=spec))[1]


def test_several_gpus_share_weights_and_cache() -> None:
    world, two = a_world(a_checkpoint(), a=24 * GIB, b=24 * GIB), {"resources": {"gpus": {"count": 2}}}
    code, notes = told(world, served(131072, engine={"parallel": {"tensor": 2}}, **two))
    assert (code, "weights 7.5 GiB, KV cache 12.1 GiB" in notes) == ("", True)


def test_what_vllm_refuses_beside_memory_is_refused_too() -> None:
    world = a_world(a_checkpoint(num_attention_heads=36), a=80 * GIB, b=80 * GIB, c=80 * GIB, d=80 * GIB, e=80 * GIB)
    spec = {"engine": {"parallel": {"tensor": 5}}, "resources": {"gpus": {"count": 5}}}
    assert (
        "parallel.tensor: vLLM would not start: tensor 5 does not divide the 36 heads"
        in told(world, served(8, **spec))[1]
    )
    large = a_world(a_checkpoint(), a=140 * GIB)
    assert "the model knows 131072 tokens, not 131073" in told(large, served(131073))[1]
    assert told(large, served(131073, env={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": {"value": "1"}}))[0] == ""


def test_an_earlier_start_outweighs_the_guess() -> None:
    """The closed form refuses 40,320 tokens here; this one's log said that they fit."""
    world, first = a_world(a_checkpoint()), served(16384)
    world.runtime.says["chat"] = (
        "INFO [gpu_worker.py:349] Available KV cache memory: 6.00 GiB",
        "INFO [kv_cache_utils.py:1229] GPU KV cache size: 49,152 tokens",
        "INFO [kv_cache_utils.py:1234] Maximum concurrency for 16,384 tokens per request: 3.00x",
    )
    assert told(world, served(40_320))[0] == "refused"
    world.apply(first)
    assert told(world, served(40_320))[0] == ""
    assert told(world, served(49_153))[0] == "refused"


def test_a_share_that_is_open_is_named_where_the_whole_is_not() -> None:
    """5 GiB of 24 are others'; one sequence of 8,192 tokens needs 18.9 GiB at the worst."""
    world = a_world(a_checkpoint())
    world.runtime.gpu_others["a"] = 5 * GIB
    code, why = told(world, served(8192, None))
    assert code == "refused"
    assert "memoryUtilization 0.79 would do" in why
    assert told(world, served(8192, 0.79))[0] == ""
    world.runtime.gpu_others["a"] = 6 * GIB
    assert "memoryUtilization" not in told(world, served(8192, None))[1]

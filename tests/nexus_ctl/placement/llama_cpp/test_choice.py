"""Which quantization fits a machine: the largest that does, and what the next one lacks; the same for any order."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.placement.llama_cpp.choice import (
    Candidate,
    Fit,
    Recommendation,
    Weighing,
    candidate,
    recommend,
    resized,
    weigh,
)
from nexus_ctl.placement.llama_cpp.estimate import estimate
from nexus_ctl.resources.device import Device
from nexus_ctl.resources.memory import Basis, EngineSettings, PartKind
from nexus_ctl.resources.weights import GgufHeader
from tests.fakes.gguf_models import REALISTIC, write

GIB = 1 << 30
SIZES = {"Q2_K": 3 * GIB, "Q4_K_M": 5 * GIB, "Q8_0": 8 * GIB + GIB // 2, "BF16": 16 * GIB}
CTX = EngineSettings(context_size=4096)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    """The header of an 8B model at 4 bits; the file is a hole."""
    return read_file(write(REALISTIC["Qwen3-8B"], tmp_path_factory.mktemp("choice") / "qwen3.gguf")).header


def ram(free: int, total: int = 64) -> Device:
    return Device("host", "RAM", "host", 0, total * GIB, free * GIB, (total - free) * GIB)


def gpu(index: int, free: int, total: int = 24) -> Device:
    return Device(f"GPU-{index}", "card", "gpu", index, total * GIB, free * GIB, (total - free) * GIB)


def chosen(known: GgufHeader, host: Device, *gpus: Device, settings: EngineSettings = CTX) -> Recommendation:
    offered = [candidate(label, size, known, "Q4_K_M") for label, size in SIZES.items()]
    random.Random(len(gpus)).shuffle(offered)
    return recommend(weigh(one, settings, host, gpus) for one in offered)


def chosen_alone(known: GgufHeader, label: str, host: Device, *gpus: Device) -> Weighing:
    return weigh(candidate(label, SIZES[label], known, "Q4_K_M"), CTX, host, gpus)


def summary(found: Recommendation) -> dict[str, str]:
    return {one.label: one.fit.value for one in found.weighed}


def test_on_a_host_alone_the_largest_quantized_one_that_fits(known: GgufHeader) -> None:
    found = chosen(known, ram(8))
    assert summary(found) == {"Q2_K": "whole", "Q4_K_M": "whole", "Q8_0": "not-now", "BF16": "not-now"}
    assert found.best is not None
    assert found.next_better is not None
    assert (found.best.label, found.next_better.label) == ("Q4_K_M", "Q8_0")
    short = found.next_better.short
    assert short is not None
    assert (short.room, short.open_bytes) == ("host", 8 * GIB)
    assert short.missing_bytes == found.next_better.claim_bytes - 8 * GIB


def test_unquantized_is_chosen_only_where_nothing_else_is(known: GgufHeader) -> None:
    best = chosen(known, ram(60)).best
    assert best is not None
    assert best.label == "Q8_0"
    alone = recommend([weigh(candidate("BF16", SIZES["BF16"], known, "Q4_K_M"), CTX, ram(60))]).best
    assert alone is not None
    assert alone.bits_per_weight > 15


def test_what_no_memory_would_hold_is_too_large_and_says_what_lacks(known: GgufHeader) -> None:
    found = chosen(known, ram(2, total=4))
    assert found.best is None
    assert summary(found)["Q8_0"] == "too-large"
    assert found.next_better is not None
    assert found.next_better.label == "Q2_K"


def test_whole_on_a_gpu_beats_a_larger_one_partly_on_it(known: GgufHeader) -> None:
    found = chosen(known, ram(60), gpu(0, 8))
    assert summary(found) == {"Q2_K": "whole", "Q4_K_M": "whole", "Q8_0": "partly", "BF16": "partly"}
    assert found.best is not None
    assert (found.best.label, found.best.how) == ("Q4_K_M", "whole")
    assert set(found.best.claims) == {"GPU-0", "host"}
    assert found.next_better is not None
    assert found.next_better.how.endswith("of 37 layers")
    assert found.next_better.short is not None
    assert found.next_better.short.room == "GPU-0"


def test_two_gpus_hold_what_one_cannot_and_a_lost_one_holds_nothing(known: GgufHeader) -> None:
    both = chosen(known, ram(60), gpu(0, 12), gpu(1, 12)).weighed[-1]
    assert (both.fit, both.how) == (Fit.WHOLE, "over 2 devices")
    lost = Device("", "card", "gpu", 1, 0, 0, 0, lost=True)
    assert chosen(known, ram(60), gpu(0, 12), lost).weighed[-1].fit is Fit.PARTLY


def test_as_many_layers_as_fit_and_not_one_more(known: GgufHeader) -> None:
    one = chosen_alone(known, "Q8_0", ram(60), gpu(0, 5))
    kept = int(one.how.split()[0])
    fewer, more = (
        weigh(candidate("Q8_0", SIZES["Q8_0"], known, "Q4_K_M"), replace(CTX, gpu_layers=n), ram(60), (gpu(0, 5),)).fit
        for n in (kept, kept + 1)
    )
    assert (one.fit, fewer, more) == (Fit.PARTLY, Fit.WHOLE, Fit.NOT_NOW)


def test_the_estimate_names_the_device_that_was_chosen(known: GgufHeader) -> None:
    one = chosen_alone(known, "Q4_K_M", ram(60), gpu(0, 2), gpu(1, 20))
    assert [place.place for place in one.estimate.places] == ["GPU-1", "host"]
    assert one.claims == {place.place: place.claim_bytes for place in one.estimate.places}
    spread = chosen_alone(known, "Q8_0", ram(60), gpu(0, 6), gpu(1, 7))
    assert spread.how == "over 2 devices"
    assert spread.claims == {place.place: place.claim_bytes for place in spread.estimate.places}


def test_a_full_gpu_leaves_the_host(known: GgufHeader) -> None:
    found = chosen(known, ram(60), gpu(0, 0))
    assert set(summary(found).values()) == {"on-host"}


def test_a_longer_context_costs_a_quantization(known: GgufHeader) -> None:
    short, long = (chosen(known, ram(9), settings=EngineSettings(context_size=c)).best for c in (1024, 40_960))
    assert short is not None
    assert long is None or long.file_bytes < short.file_bytes


def test_a_relatives_header_made_to_measure(known: GgufHeader) -> None:
    size = 8 * GIB
    made = weigh(candidate("Q8_0", size, known, "Q4_K_M"), CTX, ram(60))
    weights = next(part for part in made.estimate.host.parts if part.kind is PartKind.WEIGHTS)
    assert abs(weights.bytes - (size - known.data_offset)) < 1 << 20
    assert (weights.basis, weights.formula) == (Basis.FORMULA, "size of the file, spread as in Q4_K_M")
    own = weigh(candidate("Q4_K_M", known.file_bytes, known, "Q4_K_M"), CTX, ram(60))
    assert own.estimate.host == estimate(known, EngineSettings(context_size=4096, gpu_layers=0)).host
    with pytest.raises(ValueError, match="no tensors"):
        resized(GgufHeader("llama", {}, (), 0, 0), size)


def test_settings_that_the_engine_refuses_are_refused(known: GgufHeader) -> None:
    settings = EngineSettings(flash_attention="off", cache_type_v="q8_0")
    with pytest.raises(ValueError, match="needs flash attention"):
        weigh(Candidate("x", 1, known), settings, ram(60))


def test_nothing_on_offer_is_no_choice(tmp_path: Path) -> None:
    assert recommend([]) == Recommendation(None, None, ())

"""The estimator's own rules: how settings resolve, what follows what, and what never shrinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.placement.llama_cpp.companions import with_adapters, with_draft, with_projector
from nexus_ctl.placement.llama_cpp.estimate import estimate, largest_context
from nexus_ctl.placement.llama_cpp.offload import layer_places
from nexus_ctl.placement.llama_cpp.report import (
    drift,
    learning_key,
    parse_buffers,
    with_oracle,
    with_process_memory,
    with_report,
)
from nexus_ctl.placement.llama_cpp.server_settings import resolve
from nexus_ctl.placement.llama_cpp.shape import read_shape
from nexus_ctl.resources.memory import HOST, Accelerator, Basis, EngineSettings, PartKind
from nexus_ctl.resources.weights import GgufHeader
from tests.fakes.gguf_models import TINY

GIB = 1 << 30
ONE = (Accelerator("gpu-a", 24 * GIB),)
TWO = (Accelerator("gpu-a", 24 * GIB), Accelerator("gpu-b", 24 * GIB))
Headers = Mapping[str, GgufHeader]


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        (EngineSettings(context_size=4096), {"context": 4096, "streams": 1, "slots": 4, "unified": True}),
        (EngineSettings(), {"context": 32768}),
        (EngineSettings(context_size=512, parallel=4), {"context": 1024, "context_per_stream": 256, "streams": 4}),
        (EngineSettings(context_size=300, parallel=1), {"context": 512, "batch": 300, "ubatch": 300}),
        (EngineSettings(context_size=4096, parallel=3), {"outputs": 3, "tokens": 513, "context": 4608}),
        (EngineSettings(context_size=4096, parallel=2, draft_tokens=4), {"outputs": 10}),
        (EngineSettings(context_size=4096, parallel=2, kv_unified=True), {"context": 4096, "streams": 1}),
    ],
)
def test_settings_resolve_as_the_server_does(
    headers: Headers, given_settings: EngineSettings, expected: dict[str, Any]
) -> None:
    resolved = resolve(given_settings, read_shape(headers["llama-gqa"]))
    assert {name: getattr(resolved, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("model", "refused", "words"),
    [
        ("llama-gqa", EngineSettings(cache_type_v="q8_0", flash_attention="off"), "needs flash attention"),
        ("deepseek2", EngineSettings(cache_type_k="q8_0"), "must be equal"),
        ("llama-gqa", EngineSettings(parallel=0), "must be positive"),
        ("llama-gqa", EngineSettings(parallel=257), "at most 256 slots"),
        ("llama-gqa", EngineSettings(context_size=512, parallel=100_000), "at most 256 slots"),
        ("llama-gqa", EngineSettings(cache_type_k="q9_9"), "no cache type: q9_9"),
    ],
)
def test_what_the_engine_would_refuse_is_refused(
    headers: Headers, model: str, refused: EngineSettings, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        estimate(headers[model], refused)


def test_a_split_that_nobody_measured_is_refused(headers: Headers) -> None:
    with pytest.raises(ValueError, match="split mode row"):
        estimate(headers["llama-gqa"], EngineSettings(split_mode="row"), TWO)


def test_a_cache_is_the_product_of_its_numbers(headers: Headers) -> None:
    host = estimate(headers["llama-gqa"], EngineSettings(context_size=4096, parallel=1)).host
    assert host.of(PartKind.KV_CACHE) == 4 * 4096 * (128 + 128) * 2
    quarter = EngineSettings(context_size=4096, parallel=1, cache_type_k="q4_0", cache_type_v="q4_0")
    assert estimate(headers["llama-gqa"], quarter).host.of(PartKind.KV_CACHE) == 4 * 4096 * 256 // 32 * 18


def test_windowed_layers_keep_a_window(headers: Headers) -> None:
    long = EngineSettings(context_size=16384, parallel=1)
    kept = estimate(headers["gemma3"], long).host.of(PartKind.KV_CACHE)
    full = estimate(headers["gemma3"], replace(long, swa_full=True)).host.of(PartKind.KV_CACHE)
    assert kept == (2 * 16384 + 10 * 1024) * 2 * 128 * 2
    assert full == 12 * 16384 * 2 * 128 * 2


def test_recurrent_state_does_not_grow_with_the_context(headers: Headers) -> None:
    short, long = (
        estimate(headers["mamba"], EngineSettings(context_size=size, parallel=2)).host for size in (1024, 16384)
    )
    assert short.of(PartKind.RECURRENT) == long.of(PartKind.RECURRENT) == 4 * 4 * (3 * 512 + 16 * 512) * 2
    assert short.of(PartKind.KV_CACHE) == 0


def test_tied_embeddings_are_copied_to_the_device(headers: Headers) -> None:
    tied = estimate(headers["qwen2"], EngineSettings(), ONE)
    table = next(t.size_bytes for t in headers["qwen2"].tensors if t.name == "token_embd.weight")
    assert tied.host.of(PartKind.WEIGHTS) == table
    on_host = estimate(headers["qwen2"], EngineSettings()).host.of(PartKind.WEIGHTS)
    assert tied.devices[0].of(PartKind.WEIGHTS) >= on_host


@pytest.mark.parametrize(
    ("wanted", "devices", "expected"),
    [
        (EngineSettings(), (), "hhhhh"),
        (EngineSettings(), ONE, "aaaaa"),
        (EngineSettings(gpu_layers=2), ONE, "hhhaa"),
        (EngineSettings(gpu_layers=0), ONE, "hhhhh"),
        (EngineSettings(gpu_layers=99), TWO, "aaabb"),
        (EngineSettings(tensor_split=(1, 3)), TWO, "aabbb"),
        (EngineSettings(tensor_split=(0, 1)), TWO, "bbbbb"),
        (EngineSettings(split_mode="none", main_gpu=1), TWO, "bbbbb"),
    ],
)
def test_layers_split_as_the_engine_splits_them(
    wanted: EngineSettings, devices: tuple[Accelerator, ...], expected: str
) -> None:
    assert "".join(place[-1] if place != HOST else "h" for place in layer_places(wanted, 4, devices)) == expected


def test_experts_kept_on_the_host_leave_the_device(headers: Headers) -> None:
    all_there = estimate(headers["mixtral"], EngineSettings(), ONE)
    two_kept = estimate(headers["mixtral"], EngineSettings(cpu_experts=2), ONE)
    experts = sum(t.size_bytes for t in headers["mixtral"].tensors if "_exps" in t.name and t.name[4] in "01")
    moved = all_there.devices[0].of(PartKind.WEIGHTS) - two_kept.devices[0].of(PartKind.WEIGHTS)
    assert experts <= moved <= experts * 1.01 + 4096
    assert two_kept.host.of(PartKind.WEIGHTS) - all_there.host.of(PartKind.WEIGHTS) == experts


@pytest.mark.parametrize(("ubatch", "flash", "mib"), [(512, "auto", 148), (512, "off", 2156), (2048, "auto", 592)])
def test_one_devices_compute_buffer_is_what_was_measured(
    headers: Headers, ubatch: int, flash: Literal["auto", "off"], mib: int
) -> None:
    """Measured once on a device behind a network backend, for this shape at 32,768 tokens."""
    asked = EngineSettings(context_size=32768, parallel=1, ubatch_size=ubatch, flash_attention=flash)
    size = estimate(headers["Llama-3.1-8B"], asked, ONE).devices[0].of(PartKind.COMPUTE)
    assert abs(size / (1 << 20) - mib) < 0.6


def test_pipelines_keep_four_copies_of_their_inputs(headers: Headers) -> None:
    """Measured as above: 59 and 50 MB over two devices where one takes 21."""
    asked = EngineSettings(context_size=8192, parallel=1)
    one, two = (estimate(headers["llama-gqa"], asked, devices).devices for devices in (ONE, TWO))
    assert [round(device.of(PartKind.COMPUTE) / 1e6) for device in (*one, *two)] == [22, 60, 50]


def test_quantized_caches_cost_cuda_a_copy(headers: Headers) -> None:
    f16 = EngineSettings(context_size=8192, parallel=1)
    q8 = replace(f16, cache_type_k="q8_0", cache_type_v="q8_0")
    plain, widened = (estimate(headers["llama-gqa"], s, ONE).devices[0].of(PartKind.COMPUTE) for s in (f16, q8))
    assert widened - plain == 2 * 256 * 8192
    other = (Accelerator("gpu-a", GIB, "other"),)
    assert estimate(headers["llama-gqa"], q8, other).devices[0].of(PartKind.COMPUTE) == plain


CONTEXTS = st.integers(1, 64).map(lambda blocks: blocks * 256)


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(sorted(TINY)),
    sizes=st.tuples(CONTEXTS, CONTEXTS, st.integers(1, 8), st.integers(1, 1024)),
    devices=st.sampled_from([(), ONE, TWO]),
)
def test_more_context_never_takes_less(
    headers: Headers, name: str, sizes: tuple[int, int, int, int], devices: tuple[Accelerator, ...]
) -> None:
    context, more, slots, ubatch = sizes
    small = EngineSettings(context_size=context, parallel=slots, ubatch_size=ubatch)
    large = replace(small, context_size=context + more)
    for before, after in zip(
        estimate(headers[name], small, devices).places, estimate(headers[name], large, devices).places, strict=True
    ):
        assert before.of(PartKind.KV_CACHE) <= after.of(PartKind.KV_CACHE)
        assert before.of(PartKind.WEIGHTS) == after.of(PartKind.WEIGHTS)
        assert before.total_bytes <= after.total_bytes


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(sorted(TINY)), layers=st.integers(0, 16), split=st.tuples(st.integers(0, 9), st.integers(1, 9))
)
def test_a_split_moves_caches_and_never_makes_any(
    headers: Headers, name: str, layers: int, split: tuple[int, int]
) -> None:
    whole = EngineSettings(context_size=2048, parallel=2)
    parted = replace(whole, gpu_layers=layers, tensor_split=split)
    for kind in (PartKind.KV_CACHE, PartKind.RECURRENT):
        alone = estimate(headers[name], whole).host.of(kind)
        assert sum(place.of(kind) for place in estimate(headers[name], parted, TWO).places) == alone


def test_the_largest_context_fits_and_the_next_does_not(headers: Headers) -> None:
    asked, budget = EngineSettings(parallel=1), {"gpu-a": 8 * GIB}
    best = largest_context(headers["Llama-3.1-8B"], asked, budget, ONE)
    claims = [
        estimate(headers["Llama-3.1-8B"], replace(asked, context_size=size), ONE).devices[0].claim_bytes
        for size in (best, best + 256)
    ]
    assert 0 < best < 131_072
    assert claims[0] <= budget["gpu-a"] < claims[1]
    assert largest_context(headers["Llama-3.1-8B"], asked, {"gpu-a": GIB}, ONE) == 0


def test_an_unknown_architecture_is_counted_in_full_and_said_so(headers: Headers) -> None:
    known = headers["llama-gqa"]
    fields = {key.replace("llama.", "novel."): value for key, value in known.metadata.items()}
    novel = replace(known, architecture="novel", metadata=fields)
    guess = estimate(novel, EngineSettings(context_size=2048)).host
    sure = estimate(known, EngineSettings(context_size=2048)).host
    assert guess.of(PartKind.KV_CACHE) == sure.of(PartKind.KV_CACHE)
    assert guess.margin_bytes > sure.margin_bytes
    whole = estimate(novel, EngineSettings(context_size=2048))
    assert whole.basis is Basis.ASSUMED
    assert "unknown architecture" in whole.notes[0]


@pytest.mark.parametrize("value", ["many", -1, 1 << 50, (1, "x")])
def test_hostile_numbers_in_a_header_are_refused(headers: Headers, value: Any) -> None:
    known = headers["llama-gqa"]
    broken = replace(known, metadata={**known.metadata, "llama.block_count": value})
    with pytest.raises(ValueError, match=r"count|layers"):
        estimate(broken, EngineSettings())


NUMBERS = st.one_of(st.integers(-1, 4), st.integers(0, 1 << 41), st.booleans(), st.text(max_size=3))


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(TINY)),
    fields=st.dictionaries(
        st.integers(0, 40), st.one_of(NUMBERS, st.lists(NUMBERS, max_size=5).map(tuple)), max_size=3
    ),
    flash=st.sampled_from(["auto", "off"]),
)
def test_no_header_makes_it_fail_otherwise(
    headers: Headers, name: str, fields: dict[int, Any], flash: Literal["auto", "off"]
) -> None:
    known = headers[name]
    keys = sorted(key for key in known.metadata if key.startswith(f"{known.architecture}."))
    hostile = {keys[place % len(keys)]: value for place, value in fields.items()}
    asked = EngineSettings(context_size=1024, parallel=2, flash_attention=flash)
    try:
        made = estimate(replace(known, metadata={**known.metadata, **hostile}), asked, TWO)
    except ValueError:
        return
    assert all(part.bytes >= 0 and part.margin_bytes >= 0 for place in made.places for part in place.parts)


LOG = """
0.00.306.344 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.00.306.344 I load_tensors:        CUDA0 model buffer size =   100.00 MiB
0.00.309.685 I llama_context:  CUDA_Host  output buffer size =     0.38 MiB
0.00.309.798 I llama_kv_cache:      CUDA0 KV buffer size =    22.50 MiB
0.00.309.798 I llama_kv_cache:      CUDA0 KV buffer size =     7.50 MiB
0.00.323.778 I llama_kv_cache: size =   30.00 MiB (   512 cells,  30 layers,  2/2 seqs), K (f16):   11.25 MiB
0.00.326.901 I sched_reserve:      CUDA0 compute buffer size =    15.14 MiB
"""


def test_a_report_replaces_what_it_speaks_of(headers: Headers) -> None:
    buffers = parse_buffers(LOG.splitlines())
    assert [buffer.place for buffer in buffers] == ["CPU_Mapped", "CUDA0", "CUDA_Host", "CUDA0", "CUDA0", "CUDA0"]
    before = estimate(headers["llama-gqa"], EngineSettings(), ONE)
    after = with_report(before, buffers, {"CUDA0": "gpu-a"})
    assert after.devices[0].of(PartKind.KV_CACHE) == 30 << 20
    assert after.host.of(PartKind.WEIGHTS) == round(92.10 * (1 << 20))
    assert {part.kind: part.basis for part in after.devices[0].parts}[PartKind.COMPUTE] is Basis.LEARNED
    assert after.devices[0].of(PartKind.OVERHEAD) == before.devices[0].of(PartKind.OVERHEAD)
    assert after.devices[0].margin_bytes < before.devices[0].margin_bytes
    assert drift(before, before.devices[0]) == 0
    exact = with_oracle(before, {"gpu-a": 5 << 20})
    assert exact.devices[0].of(PartKind.COMPUTE) == 5 << 20


LATE = """
load_tensors:        CUDA0 model buffer size =   100.00 MiB
llama_adapter_lora_init_impl:      CUDA0 LoRA buffer size =     2.00 MiB
llama_context: constructing llama_context
llama_context:  CUDA_Host  output buffer size =     0.01 MiB
sched_reserve: reserving ...
sched_reserve:      CUDA0 compute buffer size =    15.00 MiB
common_speculative_init_result: loading draft model '/models/draft/small.gguf'
load_tensors:        CUDA0 model buffer size =    10.00 MiB
llama_context: constructing llama_context
sched_reserve: reserving ...
sched_reserve:      CUDA0 compute buffer size =     5.00 MiB
clip_ctx: CLIP using CUDA0 backend
load_hparams: model size:         3.00 MiB
reserve_compute_meta:      CUDA0 compute buffer size =     1.00 MiB
sched_reserve: reserving ...
sched_reserve:      CUDA0 compute buffer size =    18.00 MiB
"""
"""Adapters are attached at the first use, which may come after all else was loaded."""


def test_a_graph_reserved_anew_takes_the_place_of_the_models_own(headers: Headers) -> None:
    before = with_adapters(estimate(headers["llama-gqa"], EngineSettings(), ONE), [headers["llama-mqa"]])
    assert before.host.of(PartKind.ADAPTERS) > 0
    after = with_report(before, parse_buffers(LATE.splitlines()), {"CUDA0": "gpu-a"})
    kinds = (PartKind.COMPUTE, PartKind.DRAFT, PartKind.PROJECTOR, PartKind.ADAPTERS)
    assert [after.devices[0].of(kind) >> 20 for kind in kinds] == [18, 15, 4, 2]
    assert after.host.of(PartKind.ADAPTERS) == 0, "they lie where the engine says, and nowhere else"
    assert after.host.of(PartKind.OUTPUT) == before.host.of(PartKind.OUTPUT), "it grows with use"


def test_a_model_that_drafts_with_its_own_heads_has_a_second_context() -> None:
    context = ("llama_context: constructing llama_context", "llama_kv_cache:  CUDA0 KV buffer size =  4.00 MiB")
    assert [buffer.kind for buffer in parse_buffers([*context, *context])] == [PartKind.KV_CACHE, PartKind.DRAFT]


def test_a_projector_that_is_loaded_first_keeps_nothing_of_the_model() -> None:
    lines = LATE.splitlines()
    at = lines.index("clip_ctx: CLIP using CUDA0 backend")
    eyes = lines[at : at + 3]
    found = parse_buffers([lines[1], *eyes, *lines[2:at]])
    sums = {kind: sum(one.bytes for one in found if one.kind is kind) >> 20 for kind in {one.kind for one in found}}
    assert (sums[PartKind.PROJECTOR], sums[PartKind.COMPUTE], sums[PartKind.DRAFT]) == (4, 15, 15)


def test_what_a_process_holds_teaches_its_overhead(headers: Headers) -> None:
    before = estimate(headers["llama-gqa"], EngineSettings(), ONE)
    parts = before.devices[0].total_bytes - before.devices[0].of(PartKind.OVERHEAD)
    after = with_process_memory(before, {"gpu-a": parts + 123})
    assert after.devices[0].of(PartKind.OVERHEAD) == 123
    assert after.devices[0].total_bytes == parts + 123
    assert after.host == before.host


def test_learning_keys_part_what_allocates_differently() -> None:
    keys = {
        learning_key("a", EngineSettings(), "1", ["cuda"]),
        learning_key("b", EngineSettings(), "1", ["cuda"]),
        learning_key("a", EngineSettings(ubatch_size=1), "1", ["cuda"]),
        learning_key("a", EngineSettings(), "2", ["cuda"]),
        learning_key("a", EngineSettings(), "1", ["cuda", "cuda"]),
    }
    assert len(keys) == 5
    assert learning_key("a", EngineSettings(), "1", ["cuda"]) in keys


def test_companions_are_parts_of_their_own(headers: Headers) -> None:
    main = estimate(headers["llama-gqa"], EngineSettings(), ONE)
    draft = estimate(headers["llama-mqa"], EngineSettings(), ONE)
    both = with_draft(main, draft)
    overhead = sum(place.of(PartKind.OVERHEAD) for place in draft.places)
    assert both.total_bytes == main.total_bytes + draft.total_bytes - overhead
    size = headers["llama-mqa"].weights_bytes
    adapted = with_adapters(main, [headers["llama-mqa"]])
    assert size <= sum(place.of(PartKind.ADAPTERS) for place in adapted.places) <= size + 2
    seen = with_projector(main, headers["llama-mqa"], "gpu-a")
    assert seen.devices[0].of(PartKind.PROJECTOR) == size
    assert seen.devices[0].margin_bytes > main.devices[0].margin_bytes


def test_json_names_every_part_and_its_basis(headers: Headers) -> None:
    shown = estimate(headers["llama-gqa"], EngineSettings(context_size=4096), ONE).to_json()
    sizes = ["weightsBytes", "kvCacheBytes", "recurrentBytes", "computeBytes", "outputBytes", "draftBytes"]
    sizes += ["projectorBytes", "adaptersBytes", "overheadBytes"]
    assert [key for key in shown if key.endswith("Bytes")] == [*sizes, "totalBytes", "marginBytes"]
    assert shown["totalBytes"] == sum(shown[key] for key in sizes)
    assert [place["device"] for place in shown["devices"]] == ["gpu-a", "host"]
    assert sum(place["totalBytes"] for place in shown["devices"]) == shown["totalBytes"]
    assert shown["basis"] == {
        "weights": "exact", "kvCache": "exact", "compute": "formula", "output": "exact", "overhead": "assumed",
    }  # fmt: skip
    assert shown["settings"]["contextPerStream"] == 4096

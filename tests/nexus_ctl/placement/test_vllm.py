"""vLLM's arithmetic by hand: its cache, its split, its budget."""

from __future__ import annotations

import pytest

from nexus_ctl.placement.vllm import (
    GIB,
    VllmReport,
    VllmSettings,
    VllmShape,
    fit_vllm,
    from_config,
    parse_report,
    sequence_cache_bytes,
    short_of,
    weights_per_gpu,
)
from nexus_ctl.resources.memory import PartKind
from nexus_ctl.resources.weights import SafetensorsHeader, Tensor

CONFIG: dict[str, object] = {
    "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "sliding_window": None,
}  # fmt: skip
LLAMA = from_config(CONFIG)
LATENT = VllmShape(61, 7168, 18432, 128, 128, 1, 9000, latent=576)
WINDOWED = VllmShape(2, 1, 1, 1, 64, 1, 9000, 1, 1024)
WEIGHTS = SafetensorsHeader(
    (Tensor("model.layers.0.self_attn.q_proj.weight", (1 << 20, 8000), "bf16", 16_000 << 20),
     Tensor("model.norm.weight", (4096,), "bf16", 8192)),
    {}, 100, 0,
)  # fmt: skip


def test_reads_a_configuration() -> None:
    assert VllmShape(32, 4096, 14336, 8, 128, 128256, 131072) == LLAMA
    nested = {
        "text_config": CONFIG | {"sliding_window": 1024, "layer_types": ["sliding_attention", "full_attention"] * 16}
    }
    assert (from_config(nested).windowed_layers, from_config(nested).window) == (16, 1024)
    assert from_config(CONFIG | {"kv_lora_rank": 512, "qk_rope_head_dim": 64}).latent == 576
    with pytest.raises(ValueError, match="vocab_size"):
        from_config({key: value for key, value in CONFIG.items() if key != "vocab_size"})


@pytest.mark.parametrize(
    ("settings", "shape", "expected"),
    [
        (VllmSettings(8192), LLAMA, 32 * 8192 * 2 * 8 * 128 * 2),
        (VllmSettings(8192, cache_bytes=1), LLAMA, 32 * 8192 * 2 * 8 * 128),
        (VllmSettings(8192, tensor_parallel=4), LLAMA, 32 * 8192 * 2 * 2 * 128 * 2),
        (VllmSettings(8192, tensor_parallel=16), LLAMA, 32 * 8192 * 2 * 1 * 128 * 2),
        (VllmSettings(8193), LLAMA, 32 * 8208 * 2 * 8 * 128 * 2),
        (VllmSettings(8192, tensor_parallel=8), LATENT, 61 * 8192 * 1152),
        (VllmSettings(8192, max_num_batched_tokens=2049), WINDOWED, (8192 + 3088) * 256),
    ],
)  # fmt: skip
def test_one_sequence_takes_whole_blocks(settings: VllmSettings, shape: VllmShape, expected: int) -> None:
    assert sequence_cache_bytes(shape, settings) == expected


def test_norms_are_on_every_gpu() -> None:
    assert weights_per_gpu(WEIGHTS, 1) == WEIGHTS.weights_bytes
    assert weights_per_gpu(WEIGHTS, 4) == (4000 << 20) + 8192


def test_the_budget_is_the_claim() -> None:
    found = fit_vllm(WEIGHTS, LLAMA, VllmSettings(8192, utilisation=0.9), 80 * GIB)
    (gpu,) = found.estimate.devices
    assert gpu.claim_bytes == int(80 * GIB * 0.9)
    assert found.missing_bytes == 0
    assert found.sequences == round(gpu.of(PartKind.KV_CACHE) / sequence_cache_bytes(LLAMA, VllmSettings(8192)), 2)


def test_without_a_budget_it_asks_for_what_one_sequence_needs() -> None:
    found = fit_vllm(WEIGHTS, LLAMA, VllmSettings(8192), 80 * GIB)
    assert 0.25 < found.utilisation < 0.4
    assert 1 <= found.sequences < 1.2
    assert found.missing_bytes == 0


def test_what_cannot_start_says_how_much_is_missing() -> None:
    small = fit_vllm(WEIGHTS, LLAMA, VllmSettings(131072), 24 * GIB)
    assert small.utilisation == 1.0
    assert small.missing_bytes > 10 * GIB
    with pytest.raises(ValueError, match="knows 131072"):
        fit_vllm(WEIGHTS, LLAMA, VllmSettings(131073), 80 * GIB)
    with pytest.raises(ValueError, match="do not divide"):
        fit_vllm(WEIGHTS, LLAMA, VllmSettings(8192, tensor_parallel=3), 80 * GIB)


def test_a_report_replaces_the_guesses() -> None:
    log = [
        "INFO gpu_model_runner.py: Model loading took 14.99 GiB and 2.1 seconds",
        "INFO gpu_worker.py: Available KV cache memory: 50.20 GiB",
        "INFO: Graph capturing finished in 5 secs, took 0.36 GiB",
    ]
    report = parse_report(log)
    assert report == VllmReport(int(14.99 * GIB), int(50.2 * GIB), int(0.36 * GIB))
    before = fit_vllm(WEIGHTS, LLAMA, VllmSettings(8192), 80 * GIB)
    after = fit_vllm(WEIGHTS, LLAMA, VllmSettings(8192), 80 * GIB, report)
    assert after.utilisation < before.utilisation
    assert parse_report(["nothing"]) == VllmReport()


OF_0_8 = """
INFO 04-12 08:21:19 [worker.py:267] model weights take 21.21GiB; non_torch_memory takes 0.20GiB; PyTorch activation \
peak memory takes 0.37GiB; the rest of the memory reserved for KV Cache is 1.57GiB.
"""
OF_0_11 = """
(Worker_TP0 pid=1) INFO 11-06 10:51:20 [gpu_model_runner.py:2653] Model loading took 14.9900 GiB and 2.100 seconds
(Worker_TP0 pid=1) INFO 11-06 10:51:48 [gpu_worker.py:349] Available KV cache memory: 2.30 GiB
(Worker_TP1 pid=2) INFO 11-06 10:51:48 [gpu_worker.py:349] Available KV cache memory: 2.25 GiB
(EngineCore_DP0 pid=3) INFO 11-06 10:51:48 [kv_cache_utils.py:1229] GPU KV cache size: 75,840 tokens
(EngineCore_DP0 pid=3) INFO 11-06 10:51:48 [kv_cache_utils.py:1234] Maximum concurrency for 30,000 tokens per \
request: 2.48x
"""
OF_0_30 = """
INFO 08-01 10:00:00 [model_runner.py:407] Model loading took 14.99 GiB memory and 2.100000 seconds
INFO 08-01 10:00:09 [gpu_worker.py:721] Available KV cache memory: 2.25 GiB
INFO 08-01 10:00:09 [kv_cache_utils.py:2481] GPU KV cache size: 75,840 tokens, Maximum concurrency for 30,000 tokens \
per request: 2.53x
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (OF_0_8, VllmReport(int(21.21 * GIB), int(1.57 * GIB))),
        (OF_0_11, VllmReport(int(14.99 * GIB), int(2.25 * GIB), None, 75_840, 30_000)),
        (OF_0_30, VllmReport(int(14.99 * GIB), int(2.25 * GIB), None, 75_840, 30_000)),
    ],
)
def test_the_lines_of_several_releases(log: str, expected: VllmReport) -> None:
    assert parse_report(log.splitlines()) == expected


def test_an_earlier_start_says_which_context_still_finds_room() -> None:
    told = VllmReport(14 * GIB, 4 * GIB, None, 65_536, 32_768)
    assert short_of(told, 20 * GIB, 20 * GIB, None) == ""
    assert short_of(told, 20 * GIB, 20 * GIB, 65_536) == ""
    assert "maxLength 65536 would fit" in short_of(told, 20 * GIB, 20 * GIB, 65_537)
    assert "32768 tokens of context take 18.00 GiB" in short_of(told, 20 * GIB, 17 * GIB, None)
    assert "maxLength 16384 would fit" in short_of(told, 20 * GIB, 17 * GIB, None)
    assert "no context would fit" in short_of(told, 20 * GIB, 15 * GIB, None)
    assert short_of(VllmReport(14 * GIB, 4 * GIB), 20 * GIB, 1 * GIB, 99) == "", "without the tokens nothing is known"

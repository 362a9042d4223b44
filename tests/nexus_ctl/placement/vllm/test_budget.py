"""vLLM's arithmetic by hand and against what others published of real starts; none was seen on a GPU here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nexus_ctl.placement.vllm.budget import VllmFit, activation_bytes, fit_vllm, largest_length, sequence_cache_bytes
from nexus_ctl.placement.vllm.settings import GIB, VllmSettings, settings_of
from nexus_ctl.placement.vllm.shape import Caching, VllmShape, from_config
from nexus_ctl.placement.vllm.weights import weights_per_gpu
from nexus_ctl.resources.memory import Basis, PartKind
from nexus_ctl.resources.vllm import Vllm
from nexus_ctl.resources.weights import Tensor
from tests.fakes.vllm_models import LLAMA_8B, QWEN3_CODER_30B, QWEN_14B, a_checkpoint, table

LLAMA = from_config(LLAMA_8B)
WEIGHTS = a_checkpoint().weights
PLAIN = VllmSettings()


def keeping(*caches: Caching) -> VllmShape:
    return replace(LLAMA, caches=caches)


def test_reads_a_configuration() -> None:
    assert VllmShape(32, 4096, 14336, 32, 8, 128256, 131072, (Caching(32, 8, 256),)) == LLAMA
    with pytest.raises(ValueError, match="vocab_size"):
        from_config({key: value for key, value in LLAMA_8B.items() if key != "vocab_size"})
    with pytest.raises(ValueError, match="encoder and decoder"):
        from_config({"is_encoder_decoder": True})
    with pytest.raises(ValueError, match="1099511627775 layers"):
        from_config(LLAMA_8B | {"num_hidden_layers": (1 << 40) - 1})
    with pytest.raises(ValueError, match="whisper"):
        from_config({"model_type": "whisper"})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 16, "sliding_window": 1024},
         {Caching(16, 8, 256, 1024), Caching(16, 8, 256)}),
        ({"layer_types": ["chunked_attention"] * 24 + ["full_attention"] * 8, "attention_chunk_size": 8192},
         {Caching(24, 8, 256, 8192, chunked=True), Caching(8, 8, 256)}),
        ({"model_type": "mistral", "sliding_window": 4096}, {Caching(32, 8, 256, 4096)}),
        ({"sliding_window": 4096, "use_sliding_window": False}, {Caching(32, 8, 256)}),
        ({"model_type": "gemma2", "sliding_window": 4096}, {Caching(16, 8, 256, 4096), Caching(16, 8, 256)}),
        ({"model_type": "gemma3_text", "sliding_window": 512}, {Caching(27, 8, 256, 512), Caching(5, 8, 256)}),
        ({"num_kv_shared_layers": 12}, {Caching(20, 8, 256)}),
        ({"full_attention_interval": 4}, {Caching(8, 8, 256)}),
        ({"hybrid_override_pattern": "M-M*" * 8}, {Caching(8, 8, 256)}),
        ({"attn_layer_period": 8, "attn_layer_offset": 4}, {Caching(4, 8, 256)}),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, {Caching(32, 0, 576)}),
        ({"model_type": "bert"}, set()),
    ],
)  # fmt: skip
def test_which_layers_keep_what(changed: dict[str, Any], expected: set[Caching]) -> None:
    assert set(from_config(LLAMA_8B | changed).caches) == expected
    nested = from_config({"text_config": LLAMA_8B | changed})
    assert set(nested.caches) == expected
    assert "the encoder's own peak" in nested.uncounted


def test_recurrent_layers_are_named_as_not_counted() -> None:
    assert from_config(LLAMA_8B | {"full_attention_interval": 4}).uncounted == ("the states of its recurrent layers",)
    assert LLAMA.uncounted == ()


def test_positions_that_are_stretched() -> None:
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert from_config(LLAMA_8B | {"max_position_embeddings": 32768, "rope_scaling": yarn}).context == 131072
    assert LLAMA.context == 131072, "llama3's scaling is in the number already"


@pytest.mark.parametrize(
    ("settings", "length", "shape", "expected"),
    [
        (PLAIN, 8192, LLAMA, 32 * 8192 * 2 * 8 * 128 * 2),
        (VllmSettings(cache_bytes=1), 8192, LLAMA, 32 * 8192 * 2 * 8 * 128),
        (VllmSettings(tensor_parallel=4), 8192, LLAMA, 32 * 8192 * 2 * 2 * 128 * 2),
        (VllmSettings(tensor_parallel=16), 8192, LLAMA, 32 * 8192 * 2 * 1 * 128 * 2),
        (VllmSettings(pipeline_parallel=2), 8192, LLAMA, 16 * 8192 * 2 * 8 * 128 * 2),
        (PLAIN, 8193, LLAMA, 32 * 8208 * 2 * 8 * 128 * 2),
        (VllmSettings(tensor_parallel=8), 8192, keeping(Caching(61, 0, 576)), 61 * 8192 * 1152),
        (VllmSettings(max_num_batched_tokens=2049), 8192, keeping(Caching(1, 1, 128, 1024)), 3088 * 256),
        (VllmSettings(max_num_batched_tokens=2048), 8192, keeping(Caching(1, 1, 128, 1024, True)), 3072 * 256),
        (VllmSettings(windows=False), 8192, keeping(Caching(1, 1, 128, 1024)), 8192 * 256),
    ],
)  # fmt: skip
def test_one_sequence_takes_whole_blocks(settings: VllmSettings, length: int, shape: VllmShape, expected: int) -> None:
    assert sequence_cache_bytes(shape, settings, length) == expected


def test_weights_as_published() -> None:
    """14.96 GiB on one GPU for Llama 3 8B (vLLM pull request 10511); 13.9476 GB (of 2**30) on each of two for a Qwen
    2.5 of 14B (issue 13061), where the engine's own buffers are in the figure."""
    assert WEIGHTS.parameters == 8_030_261_248
    assert round(weights_per_gpu(WEIGHTS.tensors, LLAMA, PLAIN) / GIB, 2) == 14.96
    large = a_checkpoint(QWEN_14B)
    assert large.weights.parameters == 14_770_033_664
    half = weights_per_gpu(large.weights.tensors, from_config(QWEN_14B), VllmSettings(tensor_parallel=2)) / GIB
    assert 0 < 13.9476 - half < 0.02 * 13.9476


def test_the_cache_as_published() -> None:
    """24.0 GiB for 262,144 tokens, and 34,736 tokens in 3.18 GiB (vLLM issue 34076); 178,880 tokens in 8.11 GiB of each
    of four GPUs for Qwen3-235B (issue 21348)."""
    shape = from_config(QWEN3_CODER_30B)
    assert sequence_cache_bytes(shape, PLAIN, 262144) == 24 * GIB
    assert abs(largest_length(shape, PLAIN, int(3.18 * GIB)) - 34_736) < 64, "3.18 is rounded"
    huge = replace(shape, caches=(Caching(94, 4, 256),), context=1 << 20)
    assert abs(largest_length(huge, VllmSettings(tensor_parallel=4), int(8.11 * GIB)) / 178_880 - 1) < 0.02


def test_a_first_guess_of_the_peak_is_within_its_margin_of_what_was_published() -> None:
    """1.26 GiB with 256 sequences and 8,192 tokens at once, on one GPU and on two (pull request 10511); 0.19 without
    a sampler and with 2,048 tokens, on one of two (issue 13061)."""
    for parallel in (1, 2):
        guess = activation_bytes(LLAMA, VllmSettings(max_num_batched_tokens=8192, tensor_parallel=parallel))
        assert guess < 1.26 * GIB < 1.5 * guess
    alone = activation_bytes(from_config(QWEN_14B), VllmSettings(tensor_parallel=2, pooling=True))
    assert alone < 0.19 * GIB < 1.5 * alone


@pytest.mark.parametrize(
    ("name", "shape", "kind", "expected"),
    [
        ("model.norm.weight", (4096,), "BF16", 8192),
        ("model.layers.0.mlp.gate.weight", (8, 4096), "BF16", 65536),
        ("model.layers.0.mlp.up_proj.weight", (4096, 4096), "BF16", 4 << 20),
        ("model.layers.0.mlp.up_proj.weight", (4096, 4096), "F32", 4 << 20),
        ("model.layers.0.self_attn.k_proj.weight", (1024, 4096), "BF16", 1 << 20),
        ("model.layers.0.mlp.up_proj.qweight", (4096, 512), "I32", 1 << 20),
        ("model.layers.0.mlp.up_proj.weight", (4096, 4096), "F8_E4M3", 2 << 20),
        ("model.layers.32.mlp.up_proj.weight", (4096, 4096), "BF16", 0),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (64,), "F32", 0),
    ],
)  # fmt: skip
def test_a_tensor_on_each_of_eight_gpus(name: str, shape: tuple[int, ...], kind: str, expected: int) -> None:
    tensors = table({name: (shape, kind)}).tensors
    assert weights_per_gpu(tensors, LLAMA, VllmSettings(tensor_parallel=8)) == expected


def test_kv_heads_are_repeated_on_more_gpus_than_heads() -> None:
    tensors = (Tensor("model.layers.0.self_attn.v_proj.weight", (1024, 4096), "bf16", 8 << 20),)
    assert weights_per_gpu(tensors, LLAMA, VllmSettings(tensor_parallel=16)) == 1 << 20


def test_what_is_loaded_in_another_form() -> None:
    tensors = WEIGHTS.tensors
    whole, ends = weights_per_gpu(tensors, LLAMA, PLAIN), 2 * 128256 * 4096
    assert weights_per_gpu(tensors, replace(LLAMA, tied=True), PLAIN) == whole - ends
    assert weights_per_gpu(tensors, LLAMA, VllmSettings(number_bytes=4)) == 2 * whole
    assert weights_per_gpu(tensors, LLAMA, VllmSettings(offload_bytes=4 * GIB)) == whole - 4 * GIB
    norms = 65 * 4096 * 2
    assert weights_per_gpu(tensors, LLAMA, VllmSettings(quantization="fp8")) == (whole - 2 * ends - norms) // 2 + (
        2 * ends + norms
    )
    scales = table({"model.layers.0.mlp.up_proj.weight_scale": ((4096,), "F32")}).tensors
    assert weights_per_gpu(scales, replace(LLAMA, quantized=True), PLAIN) == 4096 * 4


def test_the_fullest_stage_of_a_pipeline_counts() -> None:
    layers = (WEIGHTS.weights_bytes - 4 * 128256 * 4096 - 8192) // 2
    assert (
        weights_per_gpu(WEIGHTS.tensors, LLAMA, VllmSettings(pipeline_parallel=2)) == layers + 2 * 128256 * 4096 + 8192
    )


def fit(settings: VllmSettings, size: int = 24 * GIB, share: float = 0.9) -> VllmFit:
    return fit_vllm(a_checkpoint(), LLAMA, settings, int(size * share), [("a", size)])


def test_the_budget_is_the_claim_and_all_of_it_is_told() -> None:
    found = fit(VllmSettings(8192))
    (gpu,) = found.estimate.devices
    assert gpu.claim_bytes == gpu.total_bytes == int(24 * GIB * 0.9)
    bases = {part.kind: part.basis for part in gpu.parts}
    assert bases[PartKind.WEIGHTS] is Basis.EXACT
    assert bases[PartKind.KV_CACHE] is bases[PartKind.COMPUTE] is bases[PartKind.OVERHEAD] is Basis.ASSUMED
    assert gpu.of(PartKind.KV_CACHE) == int(21.6 * GIB) - WEIGHTS.weights_bytes - 32 * 256 * 128256 - 3 * GIB // 4
    assert found.sequences == round(gpu.of(PartKind.KV_CACHE) / GIB, 2), "a sequence of 8,192 tokens takes one GiB"
    assert (found.refused, found.doubt) == ("", "")


def test_one_sequence_that_finds_no_room_is_refused_with_what_would() -> None:
    found = fit(VllmSettings(131072))
    assert "one sequence of 131072 tokens takes 16.00 GiB" in found.refused
    assert "the budget of 21.60 GiB leaves 4.91 GiB beside weights (14.96 GiB)" in found.refused
    assert found.refused.endswith("; maxLength 40240 would fit")
    assert fit(VllmSettings(40240)).refused == "", "what is named fits"
    assert "40240 would fit" in fit(VllmSettings(40241)).refused, "and a token more does not"


def test_a_share_that_would_do_is_named_where_there_is_one() -> None:
    found = fit(VllmSettings(40960))
    assert found.refused.endswith("memoryUtilization 0.91 would do")
    assert fit(VllmSettings(40960), share=0.91).refused == ""


def test_what_nothing_can_mend_says_so() -> None:
    assert fit(VllmSettings(8192), 12 * GIB).refused.endswith("nothing would fit: more GPUs, or a smaller model")


def test_within_the_margin_it_is_doubted_and_not_refused() -> None:
    found = fit(VllmSettings(36_000))
    assert found.refused == ""
    assert found.doubt.startswith("vLLM may not start")


def test_a_model_without_a_cache() -> None:
    config = LLAMA_8B | {"model_type": "bert"}
    found = fit_vllm(a_checkpoint(config), from_config(config), VllmSettings(), 22 * GIB, [("a", 24 * GIB)])
    assert (found.refused, found.told) == ("", "")


def engine(**fields: Any) -> Vllm:
    return Vllm.model_validate(fields)


def test_the_settings_of_a_deployment() -> None:
    assert settings_of(engine()) == PLAIN
    assert settings_of(engine(), "NVIDIA H100 80GB HBM3", 79 * GIB).max_num_batched_tokens == 8192
    assert settings_of(engine(), "NVIDIA A100-SXM4-80GB", 79 * GIB).max_num_seqs == 256
    found = settings_of(
        engine(
            model={"maxLength": 4096, "quantization": "fp8", "runner": "pooling"},
            cache={"dtype": "fp8_e5m2", "cpuOffloadGib": 1.5},
            parallel={"tensor": 2, "pipeline": 3},
            scheduler={"maxSequences": 8, "maxBatchedTokens": 512, "enforceEager": True},
            draft={"method": "ngram"},
            adapters={"modules": [{"model": "x"}]},
            args={"disable-hybrid-kv-cache-manager": True},
        )
    )
    assert found == VllmSettings(
        4096, 8, 512, 2, 3, 1, 2, "fp8", 3 * GIB // 2, False, False, True, ("the draft model", "adapters")
    )
    assert settings_of(engine(model={"dtype": "float32"})).number_bytes == 4
    with pytest.raises(ValueError, match="kv-cache-memory-bytes"):
        settings_of(engine(args={"kv-cache-memory-bytes": "4G"}))

"""The classes of models that are converted, and how each is laid out in a GGUF: a table, one row a class.

Read by `converted` and by `lora`. The rule kept: a class stands here once a test holds what it becomes against
transformers' own numbers; what llama.cpp takes for granted in an architecture, and a configuration may say otherwise,
is a condition of its row. Source of names: llama.cpp, gguf-py/gguf/tensor_mapping.py; of what is taken for granted:
llama.cpp, src/models/.
"""

from __future__ import annotations

from collections.abc import Mapping

from nexus_ctl.artifacts.convert.family import (
    Condition,
    Config,
    Family,
    Key,
    experts_of,
    layer_kinds,
    only,
    real,
    whole,
)
from nexus_ctl.artifacts.convert.positions import sections


def _gemma_scale(large: int) -> Condition:
    """Queries are scaled by their size; in the model of `large` layers by its width over its heads."""

    def check(config: Config) -> str:
        size = config["head_dim"]
        if config["num_hidden_layers"] == large:
            size = config["hidden_size"] // config["num_attention_heads"]
        return only("query_pre_attn_scalar", size)(config)

    return check


def _no_positions(config: Config) -> str:
    told = config.get("no_rope_layers")
    if told is None or [bool(one) for one in told] == [(at + 1) % 4 != 0 for at in range(len(told))]:
        return ""
    return "config.json: no_rope_layers is not every fourth"


def _deepstack(config: Config) -> int:
    """Into how many layers of the text what is seen is added once more."""
    return len(config["vision_config"]["deepstack_visual_indexes"])


_OF_ALL: dict[str, Key] = {
    "block_count": whole("num_hidden_layers"),
    "context_length": whole("max_position_embeddings"),
    "embedding_length": whole("hidden_size"),
    "feed_forward_length": whole("intermediate_size"),
    "vocab_size": whole("vocab_size"),
}
_RMS = _OF_ALL | {"attention.layer_norm_rms_epsilon": real("rms_norm_eps")}
_ATTENTION = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
}
_QK_NORM = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_EXPERTS = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.*.gate_proj": "ffn_gate_exps",
    "mlp.experts.*.up_proj": "ffn_up_exps",
    "mlp.experts.*.down_proj": "ffn_down_exps",
}
_SHARED = {
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
}
_SANDWICH = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_MOE_KEYS: dict[str, Key] = {
    "expert_count": experts_of,
    "expert_used_count": whole("num_experts_per_tok"),
}
_QWEN_MOE_KEYS = _RMS | _MOE_KEYS | {"expert_feed_forward_length": whole("moe_intermediate_size")}
_GRANITE_KEYS: dict[str, Key] = {
    "attention.scale": real("attention_multiplier", usual=1.0),
    "embedding_scale": real("embedding_multiplier", usual=1.0),
    "residual_scale": real("residual_multiplier", usual=1.0),
    "logit_scale": real("logits_scaling", usual=1.0),
}
_PARALLEL = {key: name for key, name in (_ATTENTION | _GATED).items() if name != "ffn_norm"}
_COHERE_KEYS = _OF_ALL | {"attention.layer_norm_epsilon": real("layer_norm_eps"), "logit_scale": real("logit_scale")}
_OLMO2 = {
    key: name
    for key, name in (_ATTENTION | _SANDWICH | _QK_NORM | _GATED).items()
    if name not in ("attn_norm", "ffn_norm")
}
_WINDOW: dict[str, Key] = {"attention.sliding_window": whole("sliding_window")}
_SILU = only("hidden_act", None, "silu")
_NO_WINDOW = only("use_sliding_window", None, False)
_TANH = "gelu_pytorch_tanh"
_ALL_EXPERTS = (only("decoder_sparse_step", None, 1), only("mlp_only_layers", None, []))
_GEMMA = (only("attention_bias", None, False), only("use_bidirectional_attention", None, False))
_LLAMA_RULES = frozenset({"linear", "yarn", "llama3"})
_LLAMA = Family("llama", _ATTENTION | _GATED, _RMS, (_SILU,), turned=True, scalings=_LLAMA_RULES)
_QWEN2_VL = Family(
    "qwen2vl",
    _ATTENTION | _GATED,
    _RMS | {"rope.dimension_sections": sections},
    (_SILU, _NO_WINDOW),
    base=1_000_000.0,
    scalings=frozenset({"yarn"}),
)

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "MixtralForCausalLM": Family(
        "llama",
        _ATTENTION
        | {
            "block_sparse_moe.gate": "ffn_gate_inp",
            "block_sparse_moe.experts.*.w1": "ffn_gate_exps",
            "block_sparse_moe.experts.*.w2": "ffn_down_exps",
            "block_sparse_moe.experts.*.w3": "ffn_up_exps",
        },
        _RMS | _MOE_KEYS,
        (_SILU,),
        turned=True,
        base=1_000_000.0,
        scalings=_LLAMA_RULES,
    ),
    "Qwen2ForCausalLM": Family("qwen2", _ATTENTION | _GATED, _RMS, (_SILU, _NO_WINDOW)),
    "Qwen2VLForConditionalGeneration": _QWEN2_VL,
    "Qwen2_5_VLForConditionalGeneration": _QWEN2_VL,
    "Qwen3ForCausalLM": Family("qwen3", _ATTENTION | _QK_NORM | _GATED, _RMS, (_SILU, _NO_WINDOW)),
    "Qwen3VLForConditionalGeneration": Family(
        "qwen3vl",
        _ATTENTION | _QK_NORM | _GATED,
        _RMS | {"rope.dimension_sections": sections, "n_deepstack_layers": _deepstack},
        (_SILU, only("attention_bias", None, False)),
        base=500_000.0,
        scalings=frozenset({"yarn"}),
    ),
    "Qwen2MoeForCausalLM": Family(
        "qwen2moe",
        _ATTENTION | _EXPERTS | _SHARED,
        _QWEN_MOE_KEYS | {"expert_shared_feed_forward_length": whole("shared_expert_intermediate_size")},
        (_SILU, _NO_WINDOW, only("norm_topk_prob", None, False), *_ALL_EXPERTS),
        output=True,
    ),
    "Qwen3MoeForCausalLM": Family(
        "qwen3moe",
        _ATTENTION | _QK_NORM | _EXPERTS,
        _QWEN_MOE_KEYS,
        (_SILU, _NO_WINDOW, only("norm_topk_prob", True), *_ALL_EXPERTS),
    ),
    "GemmaForCausalLM": Family(
        "gemma",
        _ATTENTION | _GATED,
        _RMS,
        (only("hidden_activation", None, _TANH), only("hidden_act", None, "gelu", _TANH), *_GEMMA),
        norm_plus=1.0,
        tied=True,
    ),
    "Gemma2ForCausalLM": Family(
        "gemma2",
        _ATTENTION | _SANDWICH | _GATED,
        _RMS
        | _WINDOW
        | {
            "attn_logit_softcapping": real("attn_logit_softcapping"),
            "final_logit_softcapping": real("final_logit_softcapping"),
        },
        (only("hidden_activation", None, _TANH), layer_kinds(2), _gemma_scale(46), *_GEMMA),
        norm_plus=1.0,
        tied=True,
    ),
    "Gemma3ForCausalLM": Family(
        "gemma3",
        _ATTENTION | _SANDWICH | _QK_NORM | _GATED,
        _RMS | _WINDOW,
        (
            only("hidden_activation", None, _TANH),
            layer_kinds(6),
            only("sliding_window_pattern", None, 6),
            only("attn_logit_softcapping", None),
            only("final_logit_softcapping", None),
            _gemma_scale(62),
            *_GEMMA,
        ),
        norm_plus=1.0,
        tied=True,
        base=1_000_000.0,
        local_base=10_000.0,
    ),
    "Phi3ForCausalLM": Family(
        "phi3",
        {
            "input_layernorm": "attn_norm",
            "self_attn.qkv_proj": "attn_qkv",
            "self_attn.o_proj": "attn_output",
            "post_attention_layernorm": "ffn_norm",
            "mlp.gate_up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
        },
        _RMS | {"attention.sliding_window": whole("sliding_window", usual=0)},
        (_SILU,),
        scalings=frozenset({"longrope"}),
    ),
    "SmolLM3ForCausalLM": Family(
        "smollm3",
        _ATTENTION | _GATED,
        _RMS,
        (_SILU, _NO_WINDOW, _no_positions),
        turned=True,
        base=2_000_000.0,
        tied=True,
    ),
    "GraniteForCausalLM": Family(
        "granite", _ATTENTION | _GATED, _RMS | _GRANITE_KEYS, (_SILU,), turned=True, scalings=_LLAMA_RULES
    ),
    "GraniteMoeForCausalLM": Family(
        "granitemoe",
        _ATTENTION
        | {
            "block_sparse_moe.router.layer": "ffn_gate_inp",
            "block_sparse_moe.input_linear": "ffn_gate_exps ffn_up_exps",
            "block_sparse_moe.output_linear": "ffn_down_exps",
        },
        _RMS | _MOE_KEYS | _GRANITE_KEYS,
        (_SILU,),
        turned=True,
    ),
    "Olmo2ForCausalLM": Family("olmo2", _OLMO2, _RMS, (_SILU, only("attention_bias", None, False)), output=True),
    "Olmo3ForCausalLM": Family(
        "olmo2",
        _OLMO2,
        _RMS | _WINDOW,
        (_SILU, only("attention_bias", None, False), layer_kinds(4)),
        base=500_000.0,
        output=True,
    ),
    "CohereForCausalLM": Family(
        "command-r",
        _PARALLEL,
        _COHERE_KEYS,
        (_SILU, only("use_qk_norm", None, False), only("attention_bias", None, False)),
        base=500_000.0,
        tied=True,
    ),
    "Cohere2ForCausalLM": Family(
        "cohere2",
        _PARALLEL,
        _COHERE_KEYS | _WINDOW,
        (_SILU, layer_kinds(4), only("attention_bias", None, False)),
        tied=True,
    ),
    "SeedOssForCausalLM": Family(
        "seed_oss",
        _ATTENTION | {"post_attention_layernorm": "post_attention_norm"} | _GATED,
        _RMS,
        (_SILU, only("attention_out_bias", None, False), only("mlp_bias", None, False)),
    ),
    "Ernie4_5ForCausalLM": Family("ernie4_5", _ATTENTION | _GATED, _RMS, (_SILU,), base=500_000.0, tied=True),
    "StableLmForCausalLM": Family(
        "stablelm",
        _ATTENTION | _GATED,
        _OF_ALL | {"attention.layer_norm_epsilon": real("layer_norm_eps", "norm_eps")},
        (_SILU, only("qk_layernorm", None, False)),
        output=True,
    ),
    "Starcoder2ForCausalLM": Family(
        "starcoder2",
        _ATTENTION | {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
        _OF_ALL | {"attention.layer_norm_epsilon": real("norm_epsilon")},
        (only("hidden_act", None, _TANH), only("use_bias", None, True)),
        tied=True,
    ),
}

"""Tiny models of many classes as a hub has them, each number told by a seed: configuration, tokenizer, safetensors.

What transformers computes on them is kept in `tests/data/converted/`, made by `python -m
tests.fixtures.expected_logits` where torch and transformers are (both too large for here). Sizes are such that every
mistake shows: heads, widths and windows all differ, norms are not 1, biases not 0, experts unlike each other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.hub_model import safetensors

VOCABULARY = 288
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Wrapping:
    """What a class that sees has around its text: keys of its configuration, and some of the tensors that see.

    `text`: the `model_type` of a nested configuration, "" where all is on one level; `unsaid` are its keys that files
    leave out, because its class has them so. `prefixes` stand instead of `model` and before `lm_head`.
    """

    outer: Mapping[str, Any]
    seeing: Mapping[str, tuple[int, ...]]
    text: str = ""
    unsaid: tuple[str, ...] = ()
    prefixes: tuple[str, str] = ("model", "")


@dataclass(frozen=True)
class Checkpoint:
    """A model: `layout` says which tensors its class has, `config` what is not as in `_USUAL`."""

    model: str
    layout: str
    config: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[int, ...] = (0, 1)
    """Which of `PROMPTS` are asked."""
    wrapping: Wrapping | None = None

    @property
    def full(self) -> dict[str, Any]:
        """All of `config.json`; values of None are left out."""
        named, around = {"architectures": [self.model]}, self.wrapping
        if around is None:
            return named | self._text
        if not around.text:
            return {**named, **around.outer, **self._text}
        outer = {key: value for key, value in self._text.items() if key.endswith("_token_id")}
        inner = {key: value for key, value in self._text.items() if key not in (*outer, *around.unsaid)}
        return {**named, **around.outer, **outer, "text_config": {"model_type": around.text, **inner}}

    @property
    def _text(self) -> dict[str, Any]:
        return {key: value for key, value in {**_USUAL, **self.config}.items() if value is not None}

    def tensors(self) -> dict[str, Numbers]:
        """Every tensor, by its name in the hub's files."""
        text = {name: _numbers(name, shape) for name, shape in rows(self.layout, self._text)}
        if self.wrapping is None:
            return text
        body, head = self.wrapping.prefixes
        named = {
            name.replace("model", body, 1) if name.startswith("model.") else head + name: numbers
            for name, numbers in text.items()
        }
        return named | {name: _numbers(name, shape) for name, shape in self.wrapping.seeing.items()}

    def files(self) -> dict[str, bytes]:
        """The repository: two files of weights, the configuration, and the simplest of tokenizers."""
        tensors = self.tensors()
        names = sorted(tensors)
        parts = {
            f"model-{at + 1:05d}-of-00002.safetensors": safetensors({name: tensors[name] for name in names[at::2]})
            for at in range(2)
        }
        return parts | {"config.json": json.dumps(self.full).encode(), "tokenizer.json": _tokenizer()}


_USUAL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5_000.0,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def _numbers(name: str, shape: tuple[int, ...]) -> Numbers:
    """Told by the name alone. Norms are about 1; other vectors about 0. This generator is frozen for ever."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    values = random.standard_normal(shape)
    if len(shape) > 1:
        return np.asarray(values * (0.2 if "embed" in name else 2 / np.sqrt(shape[-1])), dtype=np.float32)
    return np.asarray(values * 0.2 + (1 if "norm" in name and name.endswith("weight") else 0), dtype=np.float32)


def rows(layout: str, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every tensor."""
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocabulary, width)
    yield from _norm("model.norm", width, layout)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in _layer(layout.split(), config):
            yield f"model.layers.{layer}.{name}", shape


def _layer(layout: list[str], config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or width // heads
    queries, keys = heads * size, kv_heads * size
    for name in _norms(layout, config):
        yield from _norm(name, width, " ".join(layout))
    if "fused" in layout:
        yield "self_attn.qkv_proj.weight", (queries + 2 * keys, width)
    else:
        for name, rows in (("q", queries), ("k", keys), ("v", keys)):
            yield f"self_attn.{name}_proj.weight", (rows, width)
            if "bias" in layout or "all-bias" in layout:
                yield f"self_attn.{name}_proj.bias", (rows,)
    yield "self_attn.o_proj.weight", (width, queries)
    if "all-bias" in layout:
        yield "self_attn.o_proj.bias", (width,)
    if "qk-norm" in layout:
        yield from (("self_attn.q_norm.weight", (size,)), ("self_attn.k_norm.weight", (size,)))
    if "wide-qk-norm" in layout:
        yield from (("self_attn.q_norm.weight", (queries,)), ("self_attn.k_norm.weight", (keys,)))
    yield from _forward(layout, config)


def _norms(layout: list[str], config: Mapping[str, Any]) -> tuple[str, ...]:
    if "sandwich" in layout:
        inner = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        return ("input_layernorm", "post_attention_layernorm", *inner)
    if "after" in layout:
        return "post_attention_layernorm", "post_feedforward_layernorm"
    if config.get("use_parallel_residual") or "parallel" in layout:
        return ("input_layernorm",)
    return "input_layernorm", "post_attention_layernorm"


def _norm(name: str, width: int, layout: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    if "norm-bias" in layout.split():
        yield f"{name}.bias", (width,)


def _forward(layout: list[str], config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    experts, small = (
        config.get("num_experts") or config.get("num_local_experts"),
        config.get("moe_intermediate_size", inner),
    )
    if "fused" in layout:
        yield from (("mlp.gate_up_proj.weight", (2 * inner, width)), ("mlp.down_proj.weight", (width, inner)))
    elif "plain" in layout:
        for name, rows, columns in (("c_fc", inner, width), ("c_proj", width, inner)):
            yield from ((f"mlp.{name}.weight", (rows, columns)), (f"mlp.{name}.bias", (rows,)))
    elif "stacked" in layout:
        yield "block_sparse_moe.router.layer.weight", (experts, width)
        yield "block_sparse_moe.input_linear.weight", (experts, 2 * inner, width)
        yield "block_sparse_moe.output_linear.weight", (experts, width, inner)
    elif "mixtral" in layout:
        yield "block_sparse_moe.gate.weight", (experts, width)
        for expert in range(experts):
            for name, shape in (("w1", (inner, width)), ("w2", (width, inner)), ("w3", (inner, width))):
                yield f"block_sparse_moe.experts.{expert}.{name}.weight", shape
    elif experts:
        yield "mlp.gate.weight", (experts, width)
        for expert in range(experts):
            yield from _gated(f"mlp.experts.{expert}", width, small)
        if "shared" in layout:
            yield "mlp.shared_expert_gate.weight", (1, width)
            yield from _gated("mlp.shared_expert", width, config["shared_expert_intermediate_size"])
    else:
        yield from _gated("mlp", width, inner)


def _gated(name: str, width: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.gate_proj.weight", (inner, width)
    yield f"{name}.up_proj.weight", (inner, width)
    yield f"{name}.down_proj.weight", (width, inner)


def _tokenizer() -> bytes:
    vocabulary = {f"t{number}": number for number in range(VOCABULARY)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    cut = {"type": "ByteLevel", "add_prefix_space": False}
    return json.dumps({"model": model, "pre_tokenizer": cut}).encode()


def _rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_scaling": {"rope_type": kind, **values}}


_LLAMA3 = _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
_YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=16)
_GEMMA = {"head_dim": 24, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
_MOE = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
_GRANITE = {"attention_multiplier": 0.3, "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "logits_scaling": 2.5}
_COHERE = {"layer_norm_eps": 1e-5, "rms_norm_eps": None, "logit_scale": 0.25, "tie_word_embeddings": True}
_SEES: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
_SEES |= {"hidden_size": 16, "intermediate_size": 32}
_TOWER = "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight"
_OUTER, _INNER = ("language_model.model", "language_model."), ("model.language_model", "")
"""How names begin in files of the hub, and in those that transformers 5 writes."""
_CLIP = {"vision_config": {"model_type": "clip_vision_model", **_SEES}}
_PIXTRAL = {"vision_config": {"model_type": "pixtral", "head_dim": 8, **_SEES}}
_MROPE = {"mrope_section": [2, 3, 3]}
_QWEN2_SEES = {"depth": 1, "embed_dim": 16, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
_QWEN25_SEES = {"depth": 1, "hidden_size": 16, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 32}
_QWEN3_SEES = _QWEN25_SEES | {"depth": 3, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
_LONG = {
    "rope_scaling": {
        "type": "longrope",
        "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        "short_factor": [1.0, 1.0, 1.1, 1.1, 1.2, 1.3, 1.4, 1.5],
    },
    "hidden_act": "silu",
}

CHECKPOINTS: dict[str, Checkpoint] = {
    "llama": Checkpoint("LlamaForCausalLM", ""),
    "llama-tied-biased": Checkpoint(
        "LlamaForCausalLM", "all-bias", {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 24}
    ),
    "llama-linear": Checkpoint("LlamaForCausalLM", "", _rope("linear", factor=4.0)),
    "llama-yarn": Checkpoint("LlamaForCausalLM", "", _YARN),
    "llama-yarn-attention": Checkpoint(
        "LlamaForCausalLM",
        "",
        _rope(
            "yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.3, beta_fast=24.0, beta_slow=2.0
        ),
    ),
    "llama-llama3": Checkpoint("LlamaForCausalLM", "", _LLAMA3),
    "mistral": Checkpoint("MistralForCausalLM", "", {"head_dim": 32, "sliding_window": None}),
    "mixtral": Checkpoint("MixtralForCausalLM", "mixtral", {"num_local_experts": 6, "num_experts_per_tok": 2}),
    "qwen2": Checkpoint("Qwen2ForCausalLM", "bias"),
    "qwen2-yarn": Checkpoint("Qwen2ForCausalLM", "bias", _YARN),
    "qwen3": Checkpoint("Qwen3ForCausalLM", "qk-norm", {"head_dim": 24}),
    "qwen2moe": Checkpoint(
        "Qwen2MoeForCausalLM", "bias shared", _MOE | {"shared_expert_intermediate_size": 72, "norm_topk_prob": False}
    ),
    "qwen3moe": Checkpoint("Qwen3MoeForCausalLM", "qk-norm", _MOE | {"norm_topk_prob": True, "head_dim": 24}),
    "gemma": Checkpoint("GemmaForCausalLM", "", _GEMMA | {"num_key_value_heads": 1}),
    "gemma2": Checkpoint(
        "Gemma2ForCausalLM",
        "sandwich",
        _GEMMA
        | {
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 4.0,
        },
    ),
    "gemma3": Checkpoint(
        "Gemma3ForCausalLM",
        "sandwich qk-norm",
        _GEMMA
        | {
            "num_hidden_layers": 7,
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "rope_local_base_freq": 100.0,
            "rope_theta": 20_000.0,
            **_rope("linear", factor=8.0),
        },
    ),
    "phi3": Checkpoint(
        "Phi3ForCausalLM", "fused", {"original_max_position_embeddings": 128, "partial_rotary_factor": 0.75}
    ),
    "phi3-short": Checkpoint(
        "Phi3ForCausalLM",
        "fused",
        _LONG | {"original_max_position_embeddings": 256, "max_position_embeddings": 1024},
    ),
    "phi3-long": Checkpoint("Phi3ForCausalLM", "fused", _LONG | {"original_max_position_embeddings": 32}, prompts=(1,)),
    "smollm3": Checkpoint("SmolLM3ForCausalLM", "", {"tie_word_embeddings": True}),
    "granite": Checkpoint("GraniteForCausalLM", "", _GRANITE),
    "granitemoe": Checkpoint(
        "GraniteMoeForCausalLM", "stacked", _GRANITE | {"num_local_experts": 6, "num_experts_per_tok": 3}
    ),
    "olmo2": Checkpoint("Olmo2ForCausalLM", "after wide-qk-norm"),
    "olmo3": Checkpoint("Olmo3ForCausalLM", "after wide-qk-norm", {"sliding_window": 8, "rope_theta": None}),
    "olmo3-yarn": Checkpoint(
        "Olmo3ForCausalLM",
        "after wide-qk-norm",
        {
            "sliding_window": 8,
            "rope_theta": None,
            "rope_parameters": {
                "full_attention": {**_YARN["rope_scaling"], "rope_theta": 5_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5_000.0},
            },
        },
    ),
    "cohere": Checkpoint("CohereForCausalLM", "parallel", _COHERE),
    "cohere2": Checkpoint("Cohere2ForCausalLM", "parallel", _COHERE | {"sliding_window": 8}),
    "seed-oss": Checkpoint(
        "SeedOssForCausalLM", "bias", {"head_dim": 24, "attention_bias": True, "attention_out_bias": False}
    ),
    "gemma3-sees": Checkpoint(
        "Gemma3ForConditionalGeneration",
        "sandwich qk-norm",
        {
            "hidden_size": 32,
            "num_hidden_layers": 7,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "rms_norm_eps": 1e-6,
            "rope_theta": None,
            "tie_word_embeddings": True,
            "sliding_window": 8,
            **_rope("linear", factor=8.0),
        },
        wrapping=Wrapping(
            {
                "model_type": "gemma3",
                "mm_tokens_per_image": 4,
                "vision_config": {"model_type": "siglip_vision_model", **_SEES},
            },
            {_TOWER: (16, 16), "multi_modal_projector.mm_input_projection_weight": (16, 32)},
            "gemma3_text",
            (
                *("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings"),
                "max_position_embeddings",
            ),
            _OUTER,
        ),
    ),
    "mistral3": Checkpoint(
        "Mistral3ForConditionalGeneration",
        "",
        {"head_dim": 24, "sliding_window": None},
        wrapping=Wrapping(
            {"model_type": "mistral3", "tie_word_embeddings": False, **_PIXTRAL},
            {"vision_tower.ln_pre.weight": (16,), "multi_modal_projector.linear_1.weight": (64, 16)},
            "mistral",
            prefixes=_OUTER,
        ),
    ),
    "llava": Checkpoint(
        "LlavaForConditionalGeneration",
        "",
        {"num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": None},
        wrapping=Wrapping(
            {"model_type": "llava", **_CLIP},
            {f"model.{_TOWER}": (16, 16), "model.multi_modal_projector.linear_1.weight": (64, 16)},
            "llama",
            ("num_key_value_heads", "rms_norm_eps", "max_position_embeddings"),
            _INNER,
        ),
    ),
    "llava-next": Checkpoint(
        "LlavaNextForConditionalGeneration",
        "",
        {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16, "rms_norm_eps": 1e-6},
        wrapping=Wrapping(
            {"model_type": "llava_next", **_CLIP},
            {_TOWER: (16, 16), "image_newline": (64,)},
            "mistral",
            ("num_key_value_heads", "rms_norm_eps"),
            _OUTER,
        ),
    ),
    "qwen2vl": Checkpoint(
        "Qwen2VLForConditionalGeneration",
        "bias",
        {"rope_scaling": {"type": "mrope", **_MROPE}},
        wrapping=Wrapping(
            {"model_type": "qwen2_vl", "vision_config": _QWEN2_SEES}, {"visual.merger.ln_q.weight": (16,)}
        ),
    ),
    "qwen25vl": Checkpoint(
        "Qwen2_5_VLForConditionalGeneration",
        "bias",
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5_000.0, **_MROPE}},
        wrapping=Wrapping(
            {"model_type": "qwen2_5_vl", "vision_config": _QWEN25_SEES},
            {"model.visual.merger.ln_q.weight": (16,)},
            "qwen2_5_vl_text",
            prefixes=_INNER,
        ),
    ),
    "qwen25vl-yarn": Checkpoint(
        "Qwen2_5_VLForConditionalGeneration",
        "bias",
        {"tie_word_embeddings": True, "rope_scaling": {**_YARN["rope_scaling"], **_MROPE}},
        wrapping=Wrapping(
            {"model_type": "qwen2_5_vl", "vision_config": _QWEN25_SEES}, {"visual.merger.ln_q.weight": (16,)}
        ),
    ),
    "qwen3vl": Checkpoint(
        "Qwen3VLForConditionalGeneration",
        "qk-norm",
        {
            "head_dim": 24,
            "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 4, 4]},
        },
        wrapping=Wrapping(
            {"model_type": "qwen3_vl", "vision_config": _QWEN3_SEES},
            {"model.visual.merger.norm.weight": (16,), "model.visual.deepstack_merger_list.0.norm.weight": (64,)},
            "qwen3_vl_text",
            prefixes=_INNER,
        ),
    ),
    "qwen3vl-yarn": Checkpoint(
        "Qwen3VLForConditionalGeneration",
        "qk-norm",
        {
            "head_dim": 24,
            "tie_word_embeddings": True,
            "rope_scaling": {**_YARN["rope_scaling"], "mrope_section": [4, 4, 4]},
        },
        wrapping=Wrapping(
            {"model_type": "qwen3_vl", "tie_word_embeddings": True, "vision_config": _QWEN3_SEES},
            {"model.visual.merger.norm.weight": (16,)},
            "qwen3_vl_text",
            prefixes=_INNER,
        ),
    ),
    "ernie": Checkpoint("Ernie4_5ForCausalLM", "", {"head_dim": 24, "tie_word_embeddings": True, "use_bias": False}),
    "stablelm": Checkpoint(
        "StableLmForCausalLM",
        "bias norm-bias",
        {"use_qkv_bias": True, "partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5, "rms_norm_eps": None},
    ),
    "stablelm-parallel": Checkpoint(
        "StableLmForCausalLM",
        "norm-bias",
        {"use_parallel_residual": True, "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5, "rms_norm_eps": None},
    ),
    "starcoder2": Checkpoint(
        "Starcoder2ForCausalLM",
        "all-bias norm-bias plain",
        {
            "norm_epsilon": 1e-5,
            "rms_norm_eps": None,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_pytorch_tanh",
            "use_bias": True,
        },
    ),
}
"""One or more of each class that is converted, and of each rule that scales positions."""

PROMPTS = ((5, 17, 200, 33, 8), tuple((7 + 31 * at * at) % VOCABULARY for at in range(48)))
"""A short one, and one longer than the windows and the original contexts above."""

"""What a model's `config.json` says of memory: which layers keep what of each token, and how wide its batches are.

The first step of vLLM's arithmetic; pure. The rule: a configuration whose caches are not understood is refused
(ValueError), so that nothing is claimed of it; what is merely left out of the sum is named in `uncounted`.
Source: vllm/config/model.py, vllm/v1/kv_cache_interface.py and the configuration classes of transformers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_hidden_size"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "num_experts_per_tok": ("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
}
"""A number by the names that configurations give it, the usual one first."""
_WINDOW_PERIOD: Mapping[str, int] = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}
"""Every so many layers one sees everything, where the configuration does not list its layers."""
_ALL_WINDOWED = frozenset({"mistral", "mixtral", "starcoder2"})
_NO_FORMULA = frozenset({"minicpm3", "whisper", "t5", "bart", "mllama", "falcon", "mpt", "mamba", "mamba2", "rwkv"})
_ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "modernbert", "distilbert", "nomic_bert", "new", "electra"})
_WITHOUT_CACHE = frozenset({"linear_attention", "mamba", "mamba2", "conv", "recurrent", "moe", "mlp"})
_STRETCHED = frozenset({"yarn", "linear", "dynamic", "deepseek_yarn"})


MOST_LAYERS = 4096
"""More than this are no model."""


@dataclass(frozen=True, slots=True)
class Caching:
    """Layers that keep the same: `width` numbers of each token for each of `kv_heads` heads (K and V together).

    `kv_heads` 0: one latent row, the same on every GPU. `window` tokens back are kept, 0 = all; with `chunked` the
    window is a chunk of its own.
    """

    layers: int
    kv_heads: int
    width: int
    window: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class VllmShape:
    """Sizes of a model. `uncounted` says in words what its memory has beside what is counted here."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    caches: tuple[Caching, ...]
    experts_used: int = 0
    expert_feed_forward: int = 0
    tied: bool = False
    quantized: bool = False
    """Its configuration says how its weights are quantized."""
    uncounted: tuple[str, ...] = ()


def from_config(config: Mapping[str, Any]) -> VllmShape:
    """The shape in a `config.json` (its `text_config` where it has one). Raises ValueError when a number lacks, or no
    formula is known for its kind."""
    nested = next((config[name] for name in ("text_config", "llm_config") if isinstance(config.get(name), dict)), None)
    fields = nested if nested is not None else config
    read = _Numbers(fields)
    kind = str(fields.get("model_type", config.get("model_type", "")))
    if kind in _NO_FORMULA or config.get("is_encoder_decoder") is True:
        raise ValueError(f"config.json: no formula for the caches of a {kind or 'model with encoder and decoder'}")
    heads, hidden, layers = (read[name] for name in ("num_attention_heads", "hidden_size", "num_hidden_layers"))
    if not heads or not 0 < layers <= MOST_LAYERS:
        raise ValueError(f"config.json: a model with {heads} heads and {layers} layers")
    caches, uncounted = _caches(read, fields, kind, layers, read.get("head_dim", hidden // heads))
    if nested is not None:
        uncounted += ("the encoder's own peak",)
    tied = fields.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return VllmShape(
        layers=layers,
        hidden=hidden,
        feed_forward=read.get("intermediate_size", 4 * hidden),
        heads=heads,
        kv_heads=read.get("num_key_value_heads", heads),
        vocabulary=read["vocab_size"],
        context=_context(read, fields),
        caches=caches,
        experts_used=read.get("num_experts_per_tok", 0),
        expert_feed_forward=read.get("moe_intermediate_size", 0),
        tied=kind.startswith("gemma") if tied is None else bool(tied),
        quantized=any(isinstance(one.get("quantization_config"), dict) for one in (fields, config)),
        uncounted=uncounted,
    )


class _Numbers:
    """Counts of a configuration, under whichever name; of a list its largest."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> int:
        return self._count(name, None)

    def get(self, name: str, default: int) -> int:
        return self._count(name, default)

    def _count(self, name: str, default: int | None) -> int:
        names = _NAMES.get(name, (name,))
        value = next((self._fields[one] for one in names if self._fields.get(one) is not None), default)
        if isinstance(value, list) and value and all(type(one) is int for one in value):
            value = max(value)
        if type(value) is not int or not 0 <= value < 1 << 40:
            raise ValueError(f"config.json: {name} is not a count: {value!r}")
        return value


def _context(read: _Numbers, fields: Mapping[str, Any]) -> int:
    """Tokens that vLLM lets the model see: its own, or what its positions are stretched to."""
    own = read["max_position_embeddings"]
    rope = fields.get("rope_scaling") or fields.get("rope_parameters")
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type")) not in _STRETCHED:
        return own
    factor, before = rope.get("factor", 1), rope.get("original_max_position_embeddings", own)
    if not isinstance(factor, int | float) or not isinstance(before, int) or not 1 <= factor <= 4096:
        return own
    return max(own, int(before * factor))


def _caches(
    read: _Numbers, fields: Mapping[str, Any], kind: str, layers: int, head_size: int
) -> tuple[tuple[Caching, ...], tuple[str, ...]]:
    """(layers by what they keep, what is not counted)."""
    if kind in _ENCODERS:
        return (), ()
    if latent := read.get("kv_lora_rank", 0):
        more = ("the index of its sparse attention",) if fields.get("index_topk") else ()
        kinds = _layer_kinds(fields, kind, layers)
        keeping = sum(one not in _WITHOUT_CACHE for one in kinds)
        return (Caching(keeping, 0, latent + read.get("qk_rope_head_dim", 0)),), (*more, *_states(kinds))
    kv_heads = read.get("num_key_value_heads", read["num_attention_heads"])
    own = layers - read.get("num_kv_shared_layers", 0)
    kinds = _layer_kinds(fields, kind, layers)[: max(own, 0)]
    wide = (read.get("num_global_key_value_heads", kv_heads), read.get("global_head_dim", head_size))
    window, chunk = read.get("sliding_window", 0), read.get("attention_chunk_size", 0)
    shapes: Mapping[str, tuple[int, int, int, bool]] = {
        "sliding_attention": (kv_heads, head_size, window, False),
        "chunked_attention": (kv_heads, head_size, chunk, True),
    }
    found = Counter(shapes.get(one, (*wide, 0, False)) for one in kinds if one not in _WITHOUT_CACHE)
    return tuple(Caching(n, heads, 2 * size, back, cut) for (heads, size, back, cut), n in found.items()), _states(
        kinds
    )


def _states(kinds: Sequence[str]) -> tuple[str, ...]:
    return (
        ("the states of its recurrent layers",) if any(one in _WITHOUT_CACHE - {"moe", "mlp"} for one in kinds) else ()
    )


def _layer_kinds(fields: Mapping[str, Any], kind: str, layers: int) -> Sequence[str]:
    """What each layer is, in the words of `layer_types`."""
    given = fields.get("layer_types") or fields.get("layers_block_type")
    if isinstance(given, list) and len(given) == layers and all(isinstance(one, str) for one in given):
        return given
    pattern = fields.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return ["full_attention" if one == "*" else "mamba" if one == "M" else "mlp" for one in pattern]
    if isinstance(every := fields.get("full_attention_interval"), int) and every > 0:
        return ["linear_attention" if (at + 1) % every else "full_attention" for at in range(layers)]
    if isinstance(every := fields.get("attn_layer_period"), int) and every > 0:
        offset = fields.get("attn_layer_offset", 0)
        return ["full_attention" if at % every == offset else "mamba" for at in range(layers)]
    if isinstance(indices := fields.get("attn_layer_indices"), list):
        return ["full_attention" if at in indices else "mamba" for at in range(layers)]
    if fields.get("sliding_window") is None or fields.get("use_sliding_window") is False:
        return ["full_attention"] * layers
    if kind in _ALL_WINDOWED:
        return ["sliding_attention"] * layers
    every = fields.get("sliding_window_pattern", _WINDOW_PERIOD.get(kind, 1))
    every = every if isinstance(every, int) and every > 0 else 1
    return ["sliding_attention" if (at + 1) % every else "full_attention" for at in range(layers)]

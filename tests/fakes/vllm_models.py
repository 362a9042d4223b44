"""Well-known models as their repositories describe them: `config.json`, and the shapes of all tensors. No weights.

The sizes are those that the models were published with; that the tables come out at the published numbers of weights is
tested with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nexus_ctl.resources.checkpoint import Checkpoint
from nexus_ctl.resources.weights import SafetensorsHeader, Tensor

LLAMA_8B: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    "sliding_window": None, "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
}  # fmt: skip
QWEN_14B: dict[str, Any] = {
    "model_type": "qwen2", "num_hidden_layers": 48, "hidden_size": 5120, "intermediate_size": 13824,
    "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 131072,
    "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
QWEN3_CODER_30B: dict[str, Any] = {
    "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "intermediate_size": 5472,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
    "max_position_embeddings": 262144, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
}  # fmt: skip
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1}
Shapes = Mapping[str, tuple[tuple[int, ...], str]]


def dense(config: Mapping[str, Any], *, bias: bool = False) -> Shapes:
    """Name → (shape, type) of every tensor of a model built as Llama's are; `bias` as Qwen 2 has it."""
    return dict(_dense(config, bias=bias))


def table(shapes: Shapes) -> SafetensorsHeader:
    """The tensor table of them."""
    sized = ((name, dims, kind, _size(dims, kind)) for name, (dims, kind) in shapes.items())
    return SafetensorsHeader(tuple(Tensor(n, dims, kind.lower(), size) for n, dims, kind, size in sized), {}, 100, 0)


def a_checkpoint(config: Mapping[str, Any] = LLAMA_8B, **changed: Any) -> Checkpoint:
    """A dense model by its configuration."""
    told = {**config, **changed}
    return Checkpoint(told, table(dense(told, bias=told["model_type"] == "qwen2")))


def header_bytes(shapes: Shapes) -> tuple[bytes, int]:
    """(the first bytes of a safetensors file with these tensors, the bytes of the whole file)."""
    rows, at = {}, 0
    for name, (dims, kind) in shapes.items():
        end = at + _size(dims, kind)
        rows[name] = {"dtype": kind, "shape": list(dims), "data_offsets": [at, end]}
        at = end
    text = json.dumps(rows).encode()
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + at


def _size(dims: tuple[int, ...], kind: str) -> int:
    size = _BYTES[kind]
    for dim in dims:
        size *= dim
    return size


def _dense(config: Mapping[str, Any], *, bias: bool) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    hidden, wide, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    size = config.get("head_dim", hidden // heads)
    rows = {"q": heads * size, "k": config["num_key_value_heads"] * size, "v": config["num_key_value_heads"] * size}
    yield "model.embed_tokens.weight", ((words, hidden), "BF16")
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, count in rows.items():
            yield f"{at}.self_attn.{name}_proj.weight", ((count, hidden), "BF16")
            if bias:
                yield f"{at}.self_attn.{name}_proj.bias", ((count,), "BF16")
        yield f"{at}.self_attn.o_proj.weight", ((hidden, heads * size), "BF16")
        yield f"{at}.mlp.gate_proj.weight", ((wide, hidden), "BF16")
        yield f"{at}.mlp.up_proj.weight", ((wide, hidden), "BF16")
        yield f"{at}.mlp.down_proj.weight", ((hidden, wide), "BF16")
        yield f"{at}.input_layernorm.weight", ((hidden,), "BF16")
        yield f"{at}.post_attention_layernorm.weight", ((hidden,), "BF16")
    yield "model.norm.weight", ((hidden,), "BF16")
    yield "lm_head.weight", ((words, hidden), "BF16")

"""A model as the hub has it, made of a GGUF: configuration, tokenizer, safetensors; rows in their first order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SMOLLM_CUT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


def files_of(path: Path, shards: int = 2) -> dict[str, bytes]:
    """The files of a repository with the content of a Llama-like GGUF of f16 and f32 tensors."""
    reader = gguf.GGUFReader(path)
    heads = {"attn_q": _field(reader, "llama.attention.head_count")}
    heads["attn_k"] = _field(reader, "llama.attention.head_count_kv")
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for one in reader.tensors:
        parts = one.name.split(".")
        if parts[0] == "blk":
            name, role = f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{parts[3]}", parts[2]
        else:
            name, role = f"{_OUTER[parts[0]]}.{parts[1]}", ""
        values = np.asarray(one.data)
        if role in heads:
            rows, width = values.shape
            values = values.reshape(heads[role], rows // heads[role] // 2, 2, width).swapaxes(1, 2).reshape(rows, width)
        tensors[name] = np.ascontiguousarray(values)
    names = sorted(tensors)
    files = {
        f"model-{at + 1:05d}-of-{shards:05d}.safetensors": safetensors({n: tensors[n] for n in names[at::shards]})
        for at in range(shards)
    }
    return files | _texts(reader)


def adapter_files_of(path: Path, heads: int = 0, kv_heads: int = 0) -> dict[str, bytes]:
    """The files that PEFT writes for the content of a LoRA adapter; of a Llama-like model with so many heads."""
    reader = gguf.GGUFReader(path)
    tensors, rank = {}, min(int(size) for one in reader.tensors for size in one.shape)
    for one in reader.tensors:
        _, layer, role, _, end = one.name.split(".")
        values = np.asarray(one.data)
        if heads and end == "lora_b" and role in ("attn_q", "attn_k"):
            rows = len(values)
            count = heads if role == "attn_q" else kv_heads
            values = values.reshape(count, rows // count // 2, 2, rank).swapaxes(1, 2).reshape(rows, rank)
        half = end.removeprefix("lora_").upper()
        tensors[f"base_model.model.model.layers.{layer}.{_INNER[role]}.lora_{half}.weight"] = np.ascontiguousarray(
            values
        )
    alpha = _field(reader, "adapter.lora.alpha")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "init_lora_weights": True}
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": safetensors(tensors)}


def safetensors(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    table, begin = {}, 0
    for name, values in tensors.items():
        dtype = {"float16": "F16", "float32": "F32", "uint16": "BF16"}[str(values.dtype)]
        table[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [begin, begin + values.nbytes]}
        begin += values.nbytes
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(values.tobytes() for values in tensors.values())


def _texts(reader: gguf.GGUFReader) -> dict[str, bytes]:
    tokens, kinds = _field(reader, "tokenizer.ggml.tokens"), _field(reader, "tokenizer.ggml.token_type")
    special = [
        {"id": at, "content": tokens[at], "special": kind == 3, "normalized": False}
        for at, kind in enumerate(kinds)
        if kind != 1
    ]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": _field(reader, "llama.embedding_length"),
        "intermediate_size": _field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": _field(reader, "llama.block_count"),
        "num_attention_heads": _field(reader, "llama.attention.head_count"),
        "num_key_value_heads": _field(reader, "llama.attention.head_count_kv"),
        "max_position_embeddings": _field(reader, "llama.context_length"),
        "rms_norm_eps": float(_field(reader, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(_field(reader, "llama.rope.freq_base")),
        "vocab_size": len(tokens),
        "tie_word_embeddings": True,
    }
    tokenizer = {
        "added_tokens": special,
        "pre_tokenizer": SMOLLM_CUT,
        "model": {
            "type": "BPE",
            "vocab": {token: at for at, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in _field(reader, "tokenizer.ggml.merges")],
        },
    }
    settings = {
        "bos_token": tokens[_field(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": {"content": tokens[_field(reader, "tokenizer.ggml.eos_token_id")]},
        "unk_token": tokens[_field(reader, "tokenizer.ggml.unknown_token_id")],
        "pad_token": tokens[_field(reader, "tokenizer.ggml.padding_token_id")],
        "add_bos_token": bool(_field(reader, "tokenizer.ggml.add_bos_token")),
        "chat_template": _field(reader, "tokenizer.chat_template"),
    }
    written = {"config.json": config, "tokenizer.json": tokenizer, "tokenizer_config.json": settings}
    return {name: json.dumps(value).encode() for name, value in written.items()}


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    assert field is not None, name
    return field.contents()

# ruff: noqa: E501  # one model a line reads best
"""Model files of many architectures for tests and benchmarks: a true header, and weights that are a hole of zeros.

The real engine loads them, in milliseconds, since a sparse file costs no disk and no reading. Shapes come in two
sizes: `TINY` (a few MB, really loaded) and `REALISTIC` (the shapes of well-known models, for passes that read no
weights). Vocabularies are SentencePiece-like, made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Row = tuple[str, tuple[int, ...], str]
"""Name, dims with the contiguous one first, ggml type."""


@dataclass(frozen=True)
class Shape:
    """The numbers of one model. `extra` are further metadata under the architecture's name."""

    architecture: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int | list[int]
    feed_forward: int
    vocabulary: int
    head_size: int = 0
    context: int = 32_768
    tied: bool = False
    weight_type: str = "q8_0"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return self.head_size or self.embedding // self.heads

    def kv(self, layer: int) -> int:
        return self.kv_heads[layer] if isinstance(self.kv_heads, list) else self.kv_heads


def write(shape: Shape, path: Path) -> Path:
    """Write the file: header and table by the reference writer, the data a hole."""
    writer = gguf.GGUFWriter(str(path), shape.architecture, use_temp_file=False)
    arch = shape.architecture
    numbers: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.embedding,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": 10_000.0,
    }
    if shape.head_size:
        numbers |= {"attention.key_length": shape.head_size, "attention.value_length": shape.head_size}
    for key, value in (numbers | shape.extra).items():
        _add(writer, f"{arch}.{key}", value)
    _vocabulary(writer, shape)
    end = 0
    for name, dims, wanted in rows(shape):
        kind = "q8_0" if wanted == "q4_k" and dims[0] % 256 else wanted
        quant = gguf.GGMLQuantizationType[kind.upper()]
        block, block_bytes = gguf.GGML_QUANT_SIZES[quant]
        size = int(np.prod(dims, dtype=np.int64)) // block * block_bytes
        stored = (*reversed(dims[1:]), dims[0] // block * block_bytes)
        writer.add_tensor_info(name, stored, np.dtype("uint8"), size, raw_dtype=quant)
        end += -(-size // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.truncate(-(-path.stat().st_size // 32) * 32 + end)
    return path


def adapter(base: Shape, path: Path, *, rank: int = 4, layers: int | None = None, value: float = 0.0) -> Path:
    """Write a LoRA adapter for `base` that changes each layer's queries, every number of it `value`."""
    writer = gguf.GGUFWriter(str(path), base.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(base.layers if layers is None else layers):
        sizes = {"lora_a": (rank, base.embedding), "lora_b": (base.heads * base.head, rank)}
        for end, size in sizes.items():
            writer.add_tensor(f"blk.{layer}.attn_q.weight.{end}", np.full(size, value, dtype=np.float32))
    return _closed(writer, path)


def varied_adapter(base: Shape, path: Path, *, rank: int = 4, size: float = 0.05) -> Path:
    """Write a LoRA adapter for `base` that changes every matrix of each layer, no two numbers alike; alpha 2 x rank."""
    numbers = np.random.default_rng(7)
    writer = gguf.GGUFWriter(str(path), base.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * rank)
    width, inner = base.embedding, base.feed_forward
    for layer in range(base.layers):
        sizes = {
            "attn_q": (width, base.heads * base.head),
            "attn_k": (width, base.kv(layer) * base.head),
            "attn_v": (width, base.kv(layer) * base.head),
            "attn_output": (base.heads * base.head, width),
            "ffn_gate": (width, inner),
            "ffn_up": (width, inner),
            "ffn_down": (inner, width),
        }
        for name, (before, after) in sizes.items():
            for end, shape in {"lora_a": (rank, before), "lora_b": (after, rank)}.items():
                values = numbers.normal(0, size, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.{end}", values)
    return _closed(writer, path)


def projector(width: int, path: Path, *, embedding: int = 32, layers: int = 2, image: int = 56) -> Path:
    """Write a multimodal projector for a model of this width, which the engine loads (LLaVA's kind, all zeros)."""
    writer = gguf.GGUFWriter(str(path), "clip")
    writer.add_string("general.type", "mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    numbers = {
        "embedding_length": embedding,
        "feed_forward_length": 2 * embedding,
        "block_count": layers,
        "projection_dim": width,
        "attention.head_count": 2,
        "image_size": image,
        "patch_size": 14,
    }
    for name, value in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    for name, size in _projector_rows(width, numbers):
        writer.add_tensor(name, np.zeros(size, dtype=np.float32))
    return _closed(writer, path)


def _projector_rows(width: int, numbers: Mapping[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    embedding, feed_forward = numbers["embedding_length"], numbers["feed_forward_length"]
    layers, patch, image = numbers["block_count"], numbers["patch_size"], numbers["image_size"]
    yield "v.patch_embd.weight", (embedding, 3, patch, patch)
    yield "v.class_embd", (embedding,)
    yield "v.position_embd.weight", ((image // patch) ** 2 + 1, embedding)
    norms = ["v.pre_ln", "v.post_ln", *(f"v.blk.{layer}.ln{number}" for layer in range(layers) for number in (1, 2))]
    matrices = {"mm.0": (width, embedding), "mm.2": (width, width)}
    for layer in range(layers):
        matrices |= {f"v.blk.{layer}.attn_{end}": (embedding, embedding) for end in ("q", "k", "v", "out")}
        matrices |= {
            f"v.blk.{layer}.ffn_up": (feed_forward, embedding),
            f"v.blk.{layer}.ffn_down": (embedding, feed_forward),
        }
    for name in norms:
        yield from ((f"{name}.weight", (embedding,)), (f"{name}.bias", (embedding,)))
    for name, size in matrices.items():
        yield from ((f"{name}.weight", size), (f"{name}.bias", size[:1]))


def _closed(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _vocabulary(writer: gguf.GGUFWriter, shape: Shape) -> None:
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    plain = shape.vocabulary - len(special)
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*special, *(f"\u2581t{number:x}" for number in range(plain))])
    writer.add_token_scores([0.0] * len(special) + [-float(number) for number in range(plain)])
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * plain])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_token_type_count(2)


def rows(shape: Shape) -> Iterator[Row]:
    """The tensor table of a shape, in the order converters write it."""
    kind, width = shape.weight_type, shape.embedding
    yield "token_embd.weight", (width, shape.vocabulary), kind
    if shape.architecture == "bert":
        yield "position_embd.weight", (width, shape.context), "f32"
        yield "token_types.weight", (width, 2), "f32"
        yield from _norm("token_embd_norm", width, bias=True)
    for layer in range(shape.layers):
        for name, dims, row_kind in _LAYERS[shape.architecture](shape, layer):
            yield f"blk.{layer}.{name}", dims, row_kind
    if shape.architecture == "bert":
        return
    yield "token_embd_norm.weight" if shape.architecture == "lfm2" else "output_norm.weight", (width,), "f32"
    if not shape.tied:
        yield "output.weight", (width, shape.vocabulary), kind


def _norm(name: str, size: int, *, bias: bool = False) -> Iterator[Row]:
    yield f"{name}.weight", (size,), "f32"
    if bias:
        yield f"{name}.bias", (size,), "f32"


def _matrix(shape: Shape, name: str, rows_in: int, rows_out: int, *, bias: bool = False) -> Iterator[Row]:
    yield f"{name}.weight", (rows_in, rows_out), shape.weight_type
    if bias:
        yield f"{name}.bias", (rows_out,), "f32"


def _attention(shape: Shape, layer: int, *, bias: bool = False, norms: bool = False) -> Iterator[Row]:
    width, head = shape.embedding, shape.head
    yield from _matrix(shape, "attn_q", width, shape.heads * head, bias=bias)
    yield from _matrix(shape, "attn_k", width, shape.kv(layer) * head, bias=bias)
    yield from _matrix(shape, "attn_v", width, shape.kv(layer) * head, bias=bias)
    yield from _matrix(shape, "attn_output", shape.heads * head, width)
    if norms:
        yield from _norm("attn_q_norm", head)
        yield from _norm("attn_k_norm", head)


def _dense(shape: Shape) -> Iterator[Row]:
    for name in ("ffn_gate", "ffn_up"):
        yield from _matrix(shape, name, shape.embedding, shape.feed_forward)
    yield from _matrix(shape, "ffn_down", shape.feed_forward, shape.embedding)


def _experts(shape: Shape, *, bias: bool = False) -> Iterator[Row]:
    count, width = shape.extra["expert_count"], shape.embedding
    inner = shape.extra.get("expert_feed_forward_length", shape.feed_forward)
    yield "ffn_gate_inp.weight", (width, count), "f32"
    if bias:
        yield "ffn_gate_inp.bias", (count,), "f32"
    for name, dims in (("gate", (width, inner)), ("up", (width, inner)), ("down", (inner, width))):
        yield f"ffn_{name}_exps.weight", (*dims, count), shape.weight_type
        if bias:
            yield f"ffn_{name}_exps.bias", (dims[1], count), "f32"


def _plain(*, bias: bool = False, norms: bool = False) -> Callable[[Shape, int], Iterator[Row]]:
    def layer_rows(shape: Shape, layer: int) -> Iterator[Row]:
        yield from _norm("attn_norm", shape.embedding)
        yield from _attention(shape, layer, bias=bias, norms=norms)
        yield from _norm("ffn_norm", shape.embedding)
        yield from _experts(shape) if "expert_count" in shape.extra else _dense(shape)

    return layer_rows


def _gemma(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _plain(norms=shape.architecture == "gemma3")(shape, layer)
    yield from _norm("post_attention_norm", shape.embedding)
    yield from _norm("post_ffw_norm", shape.embedding)


def _cohere2(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _norm("attn_norm", shape.embedding)
    yield from _attention(shape, layer)
    yield from _dense(shape)


def _phi3(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _norm("attn_norm", shape.embedding)
    yield from _matrix(shape, "attn_qkv", shape.embedding, (shape.heads + 2 * shape.kv(layer)) * shape.head)
    yield from _matrix(shape, "attn_output", shape.embedding, shape.embedding)
    yield from _norm("ffn_norm", shape.embedding)
    yield from _matrix(shape, "ffn_up", shape.embedding, 2 * shape.feed_forward)
    yield from _matrix(shape, "ffn_down", shape.feed_forward, shape.embedding)


def _gpt_oss(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _norm("attn_norm", shape.embedding)
    yield from _norm("post_attention_norm", shape.embedding)
    yield from _attention(shape, layer, bias=True)
    yield "attn_output.bias", (shape.embedding,), "f32"
    yield "attn_sinks.weight", (shape.heads,), "f32"
    yield from _experts(shape, bias=True)


def _deepseek2(shape: Shape, layer: int) -> Iterator[Row]:
    extra, width = shape.extra, shape.embedding
    query, latent, rope = extra["attention.q_lora_rank"], extra["attention.kv_lora_rank"], extra["rope.dimension_count"]
    key, value = extra["attention.key_length_mla"], extra["attention.value_length_mla"]
    yield from _norm("attn_norm", width)
    yield from _matrix(shape, "attn_q_a", width, query)
    yield from _norm("attn_q_a_norm", query)
    yield from _matrix(shape, "attn_q_b", query, shape.heads * key)
    yield from _matrix(shape, "attn_kv_a_mqa", width, latent + rope)
    yield from _norm("attn_kv_a_norm", latent)
    yield "attn_k_b.weight", (key - rope, latent, shape.heads), shape.weight_type
    yield "attn_v_b.weight", (latent, value, shape.heads), shape.weight_type
    yield from _matrix(shape, "attn_output", shape.heads * value, width)
    yield from _norm("ffn_norm", width)
    if layer < extra["leading_dense_block_count"]:
        yield from _dense(shape)
        return
    yield from _experts(shape)
    yield "exp_probs_b.bias", (extra["expert_count"],), "f32"
    shared = extra["expert_feed_forward_length"] * extra["expert_shared_count"]
    for name in ("ffn_gate_shexp", "ffn_up_shexp"):
        yield from _matrix(shape, name, width, shared)
    yield from _matrix(shape, "ffn_down_shexp", shared, width)


def _mamba_block(shape: Shape) -> Iterator[Row]:
    inner, state = shape.extra["ssm.inner_size"], shape.extra["ssm.state_size"]
    rank, width = shape.extra["ssm.time_step_rank"], shape.extra["ssm.conv_kernel"]
    yield from _matrix(shape, "ssm_in", shape.embedding, 2 * inner)
    yield "ssm_conv1d.weight", (width, inner), "f32"
    yield "ssm_conv1d.bias", (inner,), "f32"
    yield from _matrix(shape, "ssm_x", inner, rank + 2 * state)
    yield from _matrix(shape, "ssm_dt", rank, inner, bias=True)
    yield "ssm_a", (state, inner), "f32"
    yield "ssm_d", (inner,), "f32"
    yield from _matrix(shape, "ssm_out", inner, shape.embedding)


def _mamba2_block(shape: Shape) -> Iterator[Row]:
    inner, state = shape.extra["ssm.inner_size"], shape.extra["ssm.state_size"]
    heads, groups, width = (shape.extra[f"ssm.{key}"] for key in ("time_step_rank", "group_count", "conv_kernel"))
    mixed = inner + 2 * groups * state
    yield from _matrix(shape, "ssm_in", shape.embedding, inner + mixed + heads)
    yield "ssm_conv1d.weight", (width, mixed), "f32"
    yield "ssm_conv1d.bias", (mixed,), "f32"
    yield "ssm_dt.bias", (heads,), "f32"
    yield "ssm_a", (1, heads), "f32"
    yield "ssm_d", (1, heads), "f32"
    yield "ssm_norm.weight", (inner // groups, groups), "f32"
    yield from _matrix(shape, "ssm_out", inner, shape.embedding)


def _mamba(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _norm("attn_norm", shape.embedding)
    yield from _mamba_block(shape) if shape.architecture == "mamba" else _mamba2_block(shape)


def _falcon_h1(shape: Shape, layer: int) -> Iterator[Row]:
    yield from _norm("attn_norm", shape.embedding)
    yield from _attention(shape, layer)
    yield from _mamba2_block(shape)
    yield "ffn_norm", (shape.embedding,), "f32"
    yield from _dense(shape)


def _lfm2(shape: Shape, layer: int) -> Iterator[Row]:
    width = shape.embedding
    yield from _norm("attn_norm", width)
    if shape.kv(layer):
        yield from _attention(shape, layer, norms=True)
    else:
        yield from _matrix(shape, "shortconv.in_proj", width, 3 * width)
        yield "shortconv.conv.weight", (shape.extra["shortconv.l_cache"], width), "f32"
        yield from _matrix(shape, "shortconv.out_proj", width, width)
    yield from _norm("ffn_norm", width)
    yield from _dense(shape)


def _bert(shape: Shape, layer: int) -> Iterator[Row]:
    width = shape.embedding
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield from _matrix(shape, name, width, width, bias=True)
    yield from _norm("attn_output_norm", width, bias=True)
    yield from _matrix(shape, "ffn_up", width, shape.feed_forward, bias=True)
    yield from _matrix(shape, "ffn_down", shape.feed_forward, width, bias=True)
    yield from _norm("layer_output_norm", width, bias=True)


_LAYERS: dict[str, Callable[[Shape, int], Iterator[Row]]] = {
    "llama": _plain(),
    "qwen2": _plain(bias=True),
    "qwen3": _plain(norms=True),
    "qwen3moe": _plain(norms=True),
    "gemma2": _gemma,
    "gemma3": _gemma,
    "cohere2": _cohere2,
    "phi3": _phi3,
    "gpt-oss": _gpt_oss,
    "deepseek2": _deepseek2,
    "mamba": _mamba,
    "mamba2": _mamba,
    "falcon-h1": _falcon_h1,
    "lfm2": _lfm2,
    "bert": _bert,
}


def _mla(latent: int, rope: int, heads: tuple[int, int], query: int, experts: tuple[int, int, int]) -> dict[str, Any]:
    (nope, value), (count, used, inner) = heads, experts
    return {
        "attention.q_lora_rank": query,
        "attention.kv_lora_rank": latent,
        "attention.key_length": latent + rope,
        "attention.value_length": latent,
        "attention.key_length_mla": nope + rope,
        "attention.value_length_mla": value,
        "rope.dimension_count": rope,
        "leading_dense_block_count": 1,
        "expert_count": count,
        "expert_used_count": used,
        "expert_shared_count": 1,
        "expert_feed_forward_length": inner,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "expert_gating_func": 2,
    }


def _moe(experts: int, used: int, inner: int | None = None) -> dict[str, Any]:
    own = {} if inner is None else {"expert_feed_forward_length": inner}
    return {"expert_count": experts, "expert_used_count": used} | own


def _ssm(inner: int, state: int, rank: int, groups: int | None = None) -> dict[str, Any]:
    own = {} if groups is None else {"ssm.group_count": groups}
    return {"ssm.conv_kernel": 4, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank} | own


_SOFTCAP = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}

TINY: dict[str, Shape] = {
    "llama-gqa": Shape("llama", 4, 512, 8, 2, 1536, 8_000),
    "llama-mqa": Shape("llama", 3, 256, 8, 1, 768, 4_000, tied=True),
    "llama-mha": Shape("llama", 3, 512, 8, 8, 1408, 4_000, weight_type="f16"),
    "llama-repacked": Shape("llama", 3, 512, 8, 4, 1536, 4_000, tied=True, weight_type="q4_k"),
    "mixtral": Shape("llama", 3, 256, 8, 4, 512, 4_000, extra=_moe(8, 2)),
    "qwen2": Shape("qwen2", 4, 448, 7, 1, 2432, 12_000, tied=True),
    "qwen3": Shape("qwen3", 4, 512, 8, 4, 1536, 12_000, head_size=128, tied=True),
    "qwen3moe": Shape("qwen3moe", 3, 256, 8, 2, 768, 4_000, head_size=64, extra=_moe(16, 4, 192)),
    "gemma2": Shape("gemma2", 4, 512, 4, 2, 1536, 8_000, 128, 8_192, tied=True, extra=_SOFTCAP | {"attention.sliding_window": 1024}),
    "gemma3": Shape("gemma3", 12, 256, 4, 1, 1024, 8_000, 128, tied=True, extra={"attention.sliding_window": 512}),
    "cohere2": Shape("cohere2", 4, 512, 8, 2, 1408, 8_000, tied=True, extra={"attention.sliding_window": 1024, "logit_scale": 0.25}),
    "phi3": Shape("phi3", 4, 384, 6, 6, 1024, 4_000, context=4096, extra={"attention.sliding_window": 2047, "rope.dimension_count": 64, "rope.scaling.original_context_length": 4096}),
    "gpt-oss": Shape("gpt-oss", 4, 384, 8, 2, 384, 8_000, 64, extra=_moe(8, 4, 384) | {"attention.sliding_window": 128}),
    "deepseek2": Shape("deepseek2", 3, 256, 8, 1, 768, 4_000, extra=_mla(128, 32, (64, 64), 96, (8, 2, 192))),
    "mamba": Shape("mamba", 4, 256, 0, 0, 0, 4_000, extra=_ssm(512, 16, 32)),
    "mamba2": Shape("mamba2", 4, 256, 0, 0, 0, 4_000, extra=_ssm(512, 64, 8, 1)),
    "falcon-h1": Shape("falcon-h1", 4, 256, 4, 2, 768, 4_000, 64, extra=_ssm(512, 64, 8, 1)),
    "lfm2": Shape("lfm2", 6, 384, 6, [0, 0, 2, 0, 2, 0], 1024, 4_000, tied=True, extra={"shortconv.l_cache": 3}),
    "bert": Shape("bert", 4, 384, 12, 12, 1536, 4_000, context=512, extra={"attention.causal": False, "pooling_type": 1}),
}  # fmt: skip
"""Small models that the real engine loads in a fraction of a second, one for every way of counting."""

_GPT_OSS = {"attention.sliding_window": 128}

REALISTIC: dict[str, Shape] = {
    "Llama-3.1-8B": Shape("llama", 32, 4096, 32, 8, 14336, 128_256, context=131_072, weight_type="q4_k"),
    "Qwen2.5-7B": Shape("qwen2", 28, 3584, 28, 4, 18944, 152_064, weight_type="q4_k"),
    "Qwen3-8B": Shape("qwen3", 36, 4096, 32, 8, 12288, 151_936, 128, 40_960, weight_type="q4_k"),
    "Qwen3-30B-A3B": Shape("qwen3moe", 48, 2048, 32, 4, 6144, 151_936, 128, 40_960, weight_type="q4_k", extra=_moe(128, 8, 768)),
    "Mixtral-8x7B": Shape("llama", 32, 4096, 32, 8, 14336, 32_000, weight_type="q4_k", extra=_moe(8, 2)),
    "Gemma-2-9B": Shape("gemma2", 42, 3584, 16, 8, 14336, 256_000, 256, 8_192, tied=True, weight_type="q4_k", extra=_SOFTCAP | {"attention.sliding_window": 4096}),
    "Gemma-3-27B": Shape("gemma3", 62, 5376, 32, 16, 21504, 262_144, 128, 131_072, tied=True, weight_type="q4_k", extra={"attention.sliding_window": 1024}),
    "gpt-oss-20b": Shape("gpt-oss", 24, 2880, 64, 8, 2880, 201_088, 64, 131_072, weight_type="q8_0", extra=_moe(32, 4, 2880) | _GPT_OSS),
    "DeepSeek-V3": Shape("deepseek2", 61, 7168, 128, 1, 18432, 129_280, context=163_840, weight_type="q4_k", extra=_mla(512, 64, (128, 128), 1536, (256, 8, 2048))),
    "Falcon-H1-7B": Shape("falcon-h1", 44, 3072, 12, 2, 12288, 130_048, 128, weight_type="q8_0", extra=_ssm(3072, 256, 24, 1)),
    "LFM2-1.2B": Shape("lfm2", 16, 2048, 32, [0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0], 8192, 65_536, context=128_000, tied=True, extra={"shortconv.l_cache": 3}),
    "Mamba-2.8B": Shape("mamba", 64, 2560, 0, 0, 0, 50_280, tied=True, extra=_ssm(5120, 16, 160)),
}  # fmt: skip
"""The shapes of models people run, for passes that read no weights."""

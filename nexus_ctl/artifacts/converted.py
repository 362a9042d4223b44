"""What a folder of safetensors becomes as a GGUF: its whole header, and from where each tensor is taken.

Called by the dry run over the network (a configuration, a tokenizer and the tables of tensors; no weights) and by the
converter's child over the files here, so that what is planned is what is made. The architectures are those that tests
hold against the original: dense models of the Llama and Qwen families. Source of the names and of the order of rows:
llama.cpp, gguf-py/gguf/tensor_mapping.py and the conversion of these models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nexus_ctl.artifacts import safetensors_header
from nexus_ctl.artifacts.gguf_bytes import Written, entry, head, table_row
from nexus_ctl.artifacts.gguf_header import read_header
from nexus_ctl.artifacts.header_window import BadHeader, Read
from nexus_ctl.artifacts.mixture import walk_order
from nexus_ctl.artifacts.quantized import padded
from nexus_ctl.artifacts.tokenizer import entries_of
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.quantization import ALL_F32, FILE_TYPES
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader, Tensor

MOST_BYTES = 64 << 20
"""The largest file that is read whole: tokenizers of 250,000 tokens have some 35 MB."""
HINT = (
    "convert it with llama.cpp's convert_hf_to_gguf.py, and name the GGUF as the source; or look for one:\n"
    "  nexusctl models search NAME"
)
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INNER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
WIDTHS = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a model by name, each with its size and a way to read it."""

    files: Mapping[str, tuple[Read, int]]

    def whole(self, name: str) -> bytes:
        """All of a small file; b"" when there is none. Raises ValueError when it is not small."""
        if name not in self.files:
            return b""
        read, size = self.files[name]
        if size > MOST_BYTES:
            raise ValueError(f"{name} has {size} bytes; at most {MOST_BYTES} are read")
        return read(0, size)


def local(files: Mapping[str, Path]) -> Folder:
    """Files of this machine."""

    def reader(path: Path) -> Read:
        def read(offset: int, length: int) -> bytes:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)

        return read

    return Folder({name: (reader(path), path.stat().st_size) for name, path in files.items()})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor's numbers come from. `heads` > 0: its rows are put into llama.cpp's order for so many heads."""

    file: str
    begin: int
    type: str
    heads: int = 0


@dataclass(frozen=True, slots=True)
class Converted:
    """`front` is every byte before the data; `origins` goes by the name in the result."""

    front: bytes
    header: GgufHeader
    origins: Mapping[str, Origin]


def converted(folder: Folder, kind: str) -> Converted:
    """The GGUF that a folder becomes, its numbers as `kind` (f32, f16, bf16).

    Raises Terminal (`conversion-impossible`) for anything but what is known to come out right.
    """
    with refused(HINT):
        return _converted(folder, kind)


@contextmanager
def refused(hint: str) -> Iterator[None]:
    """What is wrong with the files within becomes the refusal of the conversion."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, BadHeader) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise impossible(told, hint) from error


def impossible(detail: str, hint: str = HINT) -> Terminal:
    """The error for what is not converted here."""
    return Terminal(
        detail,
        hint=hint,
        code="conversion-impossible",
        summary="the model cannot be converted here",
    )


def _converted(folder: Folder, kind: str) -> Converted:
    if "adapter_config.json" in folder.files and "config.json" not in folder.files:
        raise ValueError("it is an adapter; name the Model that it changes as convert.base")
    if "config.json" not in folder.files or "tokenizer.json" not in folder.files:
        raise ValueError("config.json and tokenizer.json must be among the files")
    config = json.loads(folder.whole("config.json"))
    name = (config.get("architectures") or [""])[0]
    if name not in ARCHITECTURES:
        raise ValueError(f"{name or 'an unnamed architecture'} is not one of {', '.join(ARCHITECTURES)}")
    if config.get("quantization_config"):
        raise ValueError("the weights are quantized already, in another format")
    arch = ARCHITECTURES[name]
    origins, tensors = _tensors(folder, config, arch, kind)
    metadata = _metadata(config, arch, kind) | entries_of(
        folder.whole("tokenizer.json"),
        folder.whole("tokenizer_config.json"),
        folder.whole("chat_template.jinja"),
        next(tensor.dims[1] for tensor in tensors if tensor.name == "token_embd.weight"),
    )
    return assembled(metadata, tensors, origins)


def assembled(metadata: Mapping[str, Written], tensors: tuple[Tensor, ...], origins: Mapping[str, Origin]) -> Converted:
    """The file of these entries and tensors, in this order."""
    rows, offset = [], 0
    for tensor in tensors:
        rows.append(table_row(tensor, offset))
        offset += padded(tensor.size_bytes)
    front = b"".join((head(len(tensors), len(metadata)), *(entry(k, v) for k, v in metadata.items()), *rows))
    front += bytes(padded(len(front)) - len(front))
    header = read_header(_reader(front), len(front) + offset).header
    return Converted(front, header, origins)


def _reader(content: bytes) -> Read:
    return lambda offset, length: content[offset : offset + length]


def _metadata(config: Mapping[str, Any], arch: str, kind: str) -> dict[str, Written]:
    heads, embedding = config["num_attention_heads"], config["hidden_size"]
    size = config.get("head_dim") or embedding // heads
    found: dict[str, Written] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.file_type": ALL_F32 if kind == "f32" else FILE_TYPES[kind.upper()].number,
        "general.quantization_version": 2,
        f"{arch}.block_count": config["num_hidden_layers"],
        f"{arch}.context_length": config["max_position_embeddings"],
        f"{arch}.embedding_length": embedding,
        f"{arch}.feed_forward_length": config["intermediate_size"],
        f"{arch}.attention.head_count": heads,
        f"{arch}.attention.head_count_kv": config.get("num_key_value_heads") or heads,
        f"{arch}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        f"{arch}.attention.key_length": size,
        f"{arch}.attention.value_length": size,
        f"{arch}.rope.dimension_count": size,
        f"{arch}.rope.freq_base": _rope_base(config),
        f"{arch}.vocab_size": config["vocab_size"],
    }
    return found


def _rope_base(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rope.get("rope_type") or rope.get("type") or "default"
    if scaling != "default":
        raise ValueError(f"positions are scaled by the rule {scaling!r}, which is not converted here")
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)


def _tensors(
    folder: Folder, config: Mapping[str, Any], arch: str, kind: str
) -> tuple[dict[str, Origin], tuple[Tensor, ...]]:
    """Every tensor of every file, renamed; vectors stay wide. Raises ValueError for one that has no place."""
    heads = config["num_attention_heads"]
    turned = {"attn_q": heads, "attn_k": config.get("num_key_value_heads") or heads} if arch == "llama" else {}
    origins: dict[str, Origin] = {}
    tensors = []
    for file, (read, size) in sorted(folder.files.items()):
        if not file.endswith(".safetensors"):
            continue
        header = safetensors_header.read_header(read, size)
        begin = header.data_offset
        for one in header.tensors:
            new, role = renamed(one.name)
            if one.type not in WIDTHS or new in origins:
                raise ValueError(f"{one.name} is stored as {one.type}, or twice")
            if not (new == "output.weight" and config.get("tie_word_embeddings")):
                origins[new] = Origin(file, begin, one.type, turned.get(role, 0))
                dims = tuple(reversed(one.dims)) or (1,)
                to = kind if len(dims) > 1 and not new.endswith("_norm.weight") else "f32"
                tensors.append(Tensor(new, dims, to, prod(dims) * TYPE_BY_NAME[to].block_bytes))
            begin += one.size_bytes
    missing = {"token_embd.weight", "output_norm.weight"} - origins.keys()
    if missing:
        raise ValueError(f"the files lack {', '.join(sorted(missing))}")
    return origins, walk_order(tuple(tensors))


def renamed(name: str) -> tuple[str, str]:
    """(name in a GGUF, its role in a layer)."""
    if name in _OUTER:
        return _OUTER[name], ""
    found = _LAYER.fullmatch(name)
    if found is None or found[2] not in _INNER:
        raise ValueError(f"the tensor {name} has no place in a model of this architecture")
    role = _INNER[found[2]]
    return f"blk.{found[1]}.{role}.{found[3]}", role

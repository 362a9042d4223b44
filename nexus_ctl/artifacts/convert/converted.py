"""What a folder of safetensors becomes as a GGUF: its whole header, and from where each tensor is taken.

Called by the dry run over the network (a configuration, a tokenizer and the tables of tensors; no weights) and by the
converter's child over the files here, so that what is planned is what is made. Which classes of models there are says
`architectures`; where each tensor goes, `layout`; how positions are told, `positions`; the tokenizer, `tokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from struct import error as PackError  # noqa: N812
from typing import Any

from nexus_ctl.artifacts.convert import positions
from nexus_ctl.artifacts.convert.architectures import FAMILIES
from nexus_ctl.artifacts.convert.family import Family
from nexus_ctl.artifacts.convert.layout import Origin, laid_out, stored_in
from nexus_ctl.artifacts.convert.multimodal import WRAPPERS, text_config, text_tensor
from nexus_ctl.artifacts.convert.positions import Positions
from nexus_ctl.artifacts.convert.tokenizer import FILES, added_tokens, entries_of
from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.artifacts.headers.gguf import read_header
from nexus_ctl.artifacts.headers.gguf_bytes import Written, entry, head, table_row
from nexus_ctl.artifacts.headers.window import BadHeader, Read
from nexus_ctl.artifacts.quantize.mixture import walk_order
from nexus_ctl.artifacts.quantize.quantized import padded
from nexus_ctl.errors import Terminal
from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.resources.quantization import ALL_F32, FILE_TYPES
from nexus_ctl.resources.weights import GgufHeader, Tensor

LARGEST_HEAD = 1 << 16
HINT = (
    "convert it with llama.cpp's convert_hf_to_gguf.py, and name the GGUF as the source; or look for one:\n"
    "  nexusctl models search NAME"
)


@dataclass(frozen=True, slots=True)
class Converted:
    """`front` is every byte before the data; `origins` goes by the name in the result."""

    front: bytes
    header: GgufHeader
    origins: Mapping[str, Origin]
    notes: tuple[str, ...] = ()
    """What a person should know of it before."""


def converted(folder: Folder, kind: str) -> Converted:
    """The GGUF that a folder becomes, its numbers as `kind` (f32, f16, bf16).

    Raises Terminal (`conversion-impossible`) for anything but what is known to come out right.
    """
    with refused(HINT):
        return _converted(folder, kind)


_WRONG = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, PackError, BadHeader)
"""What files of anybody raise in those that read them: a key that lacks, a text for a number, a number out of range."""


@contextmanager
def refused(hint: str) -> Iterator[None]:
    """What is wrong with the files within becomes the refusal of the conversion."""
    try:
        yield
    except _WRONG as error:
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
    if "config.json" not in folder.files or not any(name in folder.files for name in FILES):
        raise ValueError("config.json and tokenizer.json, or tokenizer.model, must be among the files")
    whole = folder.table("config.json")
    config = text_config(whole)
    wrapped = config is not whole
    family = family_of(config)
    rope = positions_of(config, family)
    heads, kv_heads, _ = _heads(config)
    turned, named = {"attn_q": heads, "attn_k": kv_heads}, text_tensor if wrapped else str
    origins, tensors = laid_out(folder, config, family, kind, heads=turned, named=named)
    extra = {name: Tensor(name, (len(numbers),), "f32", 4 * len(numbers)) for name, numbers in rope.tensors.items()}
    rows = next(tensor.dims[1] for tensor in tensors if tensor.name == "token_embd.weight")
    words = entries_of(folder, config, rows)
    name = _name(folder, family, words["tokenizer.ggml.tokens"])
    metadata = _metadata(config, family, rope, kind) | name | words
    made = assembled(metadata, walk_order((*tensors, *extra.values())), {**origins, **rope.tensors})
    return replace(made, notes=(_left_out(folder),)) if wrapped else made


def _left_out(folder: Folder) -> str:
    """What is not converted of a model that sees, and where to have it from."""
    seeing = [one.tensor for one in stored_in(folder) if not text_tensor(one.tensor.name)]
    size = human_bytes(sum(one.size_bytes for one in seeing))
    return (
        f"text only: {size} of vision tensors ({len(seeing)}) left out; for images declare the mmproj file of a GGUF "
        "repository of this model as a Model, and name it as the deployment's projector"
    )


def family_of(config: Mapping[str, Any]) -> Family:
    """The row of a model. Raises ValueError where there is none, or the configuration is not as its row wants it."""
    name = (config.get("architectures") or [""])[0]
    if name not in FAMILIES:
        raise ValueError(
            f"{name or 'an unnamed architecture'} is not one of {', '.join(sorted({*FAMILIES, *WRAPPERS}))}"
        )
    if config.get("quantization_config"):
        raise ValueError("the weights are quantized already, in another format")
    if wrong := [told for condition in FAMILIES[name].conditions if (told := condition(config))]:
        raise ValueError("; ".join(wrong))
    return FAMILIES[name]


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


def _heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Heads of queries, of keys, and how many numbers one has."""
    heads: int = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    if not 0 < size <= LARGEST_HEAD:
        raise ValueError(f"config.json: a head of {size} numbers")
    return heads, config.get("num_key_value_heads") or heads, size


def positions_of(config: Mapping[str, Any], family: Family) -> Positions:
    """How the model tells positions. Raises ValueError for a rule that llama.cpp does not have for it."""
    seeing, windowed = positions.rules_of(config)
    if "mrope_section" in seeing and "rope.dimension_sections" not in family.keys:
        raise ValueError("config.json: mrope_section, which llama.cpp does not have for this architecture")
    base, (_, _, size) = positions.base_of(config, seeing, family.base), _heads(config)
    turned = positions.rotated(config, seeing, size)
    scaled = positions.scaled(config, seeing, turned, base, family.scalings)
    entries: dict[str, Written] = {"rope.dimension_count": turned, "rope.freq_base": base, **scaled.entries}
    if windowed is not seeing and positions.kind_of(windowed) != "default":
        raise ValueError("config.json: positions of layers with a window are scaled, which llama.cpp does not do")
    local = windowed.get("rope_theta") if windowed is not seeing else config.get("rope_local_base_freq")
    if family.local_base:
        entries["rope.freq_base_swa"] = float(local or family.local_base)
    elif local and float(local) != base:
        raise ValueError(
            "config.json: rope_theta of layers with a window is another, which llama.cpp does not tell apart"
        )
    return Positions(entries, scaled.tensors)


def _metadata(config: Mapping[str, Any], family: Family, rope: Positions, kind: str) -> dict[str, Written]:
    heads, kv_heads, size = _heads(config)
    own = {
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        **{key: find(config) for key, find in family.keys.items()},
        **rope.entries,
    }
    return {
        "general.architecture": family.architecture,
        "general.type": "model",
        "general.file_type": ALL_F32 if kind == "f32" else FILE_TYPES[kind.upper()].number,
        "general.quantization_version": 2,
        **{f"{family.architecture}.{key}": value for key, value in own.items()},
    }


def _name(folder: Folder, family: Family, tokens: object) -> dict[str, Written]:
    """llama.cpp knows by a model's name alone that its special tokens take the spaces after them.

    It then looks four tokens up, and does not load a model without one of them.
    """
    known = isinstance(tokens, list) and set(tokens) >= {"</s>", "<unk>", "<s>", "<|endoftext|>"}
    greedy = family.architecture == "phi3" and any(one.greedy for one in added_tokens(folder).values())
    return {"general.name": "Phi-3"} if greedy and known else {}

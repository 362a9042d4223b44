"""What a folder of safetensors becomes as a GGUF: its whole header, and from where each tensor is taken.

Called by the dry run over the network (a configuration, a tokenizer and the tables of tensors; no weights) and by the
converter's child over the files here, so that what is planned is what is made. Which classes of models, and how each is
laid out, says `architectures`; how positions are told, `positions`; the tokenizer, `tokenizer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from nexus_ctl.artifacts import positions, safetensors_header
from nexus_ctl.artifacts.architectures import FAMILIES, Family
from nexus_ctl.artifacts.folder import Folder
from nexus_ctl.artifacts.gguf_bytes import Written, entry, head, table_row
from nexus_ctl.artifacts.gguf_header import read_header
from nexus_ctl.artifacts.header_window import BadHeader, Read
from nexus_ctl.artifacts.mixture import walk_order
from nexus_ctl.artifacts.positions import Positions
from nexus_ctl.artifacts.quantized import padded
from nexus_ctl.artifacts.tokenizer import FILES, added_tokens, entries_of
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.quantization import ALL_F32, FILE_TYPES
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader, Tensor

HINT = (
    "convert it with llama.cpp's convert_hf_to_gguf.py, and name the GGUF as the source; or look for one:\n"
    "  nexusctl models search NAME"
)
_OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_OUTER = re.compile(r"(?P<outer>model\.embed_tokens|model\.norm|lm_head)\.(?P<kind>weight|bias)")
_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<inner>.+?)(?:\.(?P<kind>weight|bias))?")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
WIDTHS = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class Slab:
    """Rows of a tensor in a file: `begin` is their first byte, `rows` times `columns` their number.

    `heads` > 0: the rows are put into llama.cpp's order for so many heads. `plus` is added to every number.
    """

    file: str
    begin: int
    type: str
    rows: int
    columns: int
    heads: int = 0
    plus: float = 0.0


Origin = tuple[Slab, ...] | Sequence[float]
"""Where a tensor's numbers come from: slabs one behind the other, or the numbers themselves."""


@dataclass(frozen=True, slots=True)
class Converted:
    """`front` is every byte before the data; `origins` goes by the name in the result."""

    front: bytes
    header: GgufHeader
    origins: Mapping[str, Origin]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor goes: its names in the result (two: it is halved), its role in a layer, and of which expert."""

    names: tuple[str, ...]
    role: str = ""
    expert: int | None = None


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
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError, BadHeader) as error:
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
    config = folder.table("config.json")
    family = family_of(config)
    rope = positions_of(config, family)
    origins, tensors = _tensors(folder, config, family, kind)
    extra = {name: Tensor(name, (len(numbers),), "f32", 4 * len(numbers)) for name, numbers in rope.tensors.items()}
    rows = next(tensor.dims[1] for tensor in tensors if tensor.name == "token_embd.weight")
    metadata = _metadata(config, family, rope, kind) | _name(folder, family) | entries_of(folder, config, rows)
    return assembled(metadata, walk_order((*tensors, *extra.values())), {**origins, **rope.tensors})


def family_of(config: Mapping[str, Any]) -> Family:
    """The row of a model. Raises ValueError where there is none, or the configuration is not as its row wants it."""
    name = (config.get("architectures") or [""])[0]
    if name not in FAMILIES:
        raise ValueError(f"{name or 'an unnamed architecture'} is not one of {', '.join(FAMILIES)}")
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
    return heads, config.get("num_key_value_heads") or heads, config.get("head_dim") or config["hidden_size"] // heads


def positions_of(config: Mapping[str, Any], family: Family) -> Positions:
    """How the model tells positions. Raises ValueError for a rule that llama.cpp does not have for it."""
    seeing, windowed = positions.rules_of(config)
    base, (_, _, size) = positions.base_of(config, seeing, family.base), _heads(config)
    turned = positions.rotated(config, seeing, size)
    scaled = positions.scaled(config, seeing, turned, base, family.scalings)
    entries: dict[str, Written] = {"rope.dimension_count": turned, "rope.freq_base": base, **scaled.entries}
    if family.architecture == "gemma3":
        if windowed is not seeing and positions.kind_of(windowed) != "default":
            raise ValueError(
                "config.json: the positions of layers with a window are scaled, which llama.cpp does not do"
            )
        local = windowed.get("rope_theta") if windowed is not seeing else config.get("rope_local_base_freq")
        entries["rope.freq_base_swa"] = float(local or 10_000.0)
    return Positions(entries, scaled.tensors)


def _metadata(config: Mapping[str, Any], family: Family, rope: Positions, kind: str) -> dict[str, Written]:
    heads, kv_heads, size = _heads(config)
    own = {
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        **{key: value for key, find in family.keys.items() if (value := find(config)) is not None},
        **rope.entries,
    }
    return {
        "general.architecture": family.architecture,
        "general.type": "model",
        "general.file_type": ALL_F32 if kind == "f32" else FILE_TYPES[kind.upper()].number,
        "general.quantization_version": 2,
        **{f"{family.architecture}.{key}": value for key, value in own.items()},
    }


def _name(folder: Folder, family: Family) -> dict[str, Written]:
    """llama.cpp knows by a model's name alone that its special tokens take the spaces after them."""
    greedy = family.architecture == "phi3" and any(one.greedy for one in added_tokens(folder).values())
    return {"general.name": "Phi-3"} if greedy else {}


def _tensors(
    folder: Folder, config: Mapping[str, Any], family: Family, kind: str
) -> tuple[dict[str, Origin], tuple[Tensor, ...]]:
    """Every tensor of every file, renamed. Raises ValueError for one that has no place, and for one that lacks."""
    heads, kv_heads, _ = _heads(config)
    turned = {"attn_q": heads, "attn_k": kv_heads} if family.turned else {}
    found: dict[str, dict[int | None, tuple[Slab, ...]]] = {}
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for file, (read, size) in sorted(folder.files.items()):
        if not file.endswith(".safetensors"):
            continue
        header = safetensors_header.read_header(read, size)
        begin = header.data_offset
        for one in header.tensors:
            place = place_of(one.name, family.inner)
            if one.type not in WIDTHS or (place.names and place.expert in found.get(place.names[0], ())):
                raise ValueError(f"{one.name} is stored as {one.type}, or twice")
            for at, name in enumerate(place.names):
                plus = family.norm_plus if name.endswith("_norm.weight") else 0.0
                slabs = _slabs(one, file, begin, at, len(place.names))
                slabs = tuple(replace(slab, heads=turned.get(place.role, 0), plus=plus) for slab in slabs)
                found.setdefault(name, {})[place.expert] = slabs
                shapes.setdefault(name, set()).add(_halved(one.dims or (1,), len(place.names)))
            begin += one.size_bytes
    _settle_output(found, shapes, family, tied=bool(config.get("tie_word_embeddings", family.tied)))
    _whole(found, config["num_hidden_layers"])
    origins: dict[str, Origin] = {
        name: tuple(slab for _, slabs in sorted(by.items(), key=_expert) for slab in slabs)
        for name, by in found.items()
    }
    return origins, tuple(_tensor(name, by, shapes[name], kind) for name, by in found.items())


def _slabs(one: Tensor, file: str, begin: int, part: int, parts: int) -> tuple[Slab, ...]:
    """Its rows, all together; of one that is halved, those of this part of each of its matrices."""
    *outer, rows, columns = (1, *one.dims, 1) if len(one.dims) < 2 else (1, *one.dims)
    if rows % parts:
        raise ValueError(f"{one.name} has {rows} rows, which cannot be halved")
    size = TYPE_BY_NAME[one.type].block_bytes * columns
    if parts == 1:
        return (Slab(file, begin, one.type, prod(outer) * rows, columns),)
    half = rows // parts
    first = [matrix * rows + part * half for matrix in range(prod(outer))]
    return tuple(Slab(file, begin + row * size, one.type, half, columns) for row in first)


def _halved(dims: tuple[int, ...], parts: int) -> tuple[int, ...]:
    return dims if parts == 1 else (*dims[:-2], dims[-2] // parts, dims[-1])


def _settle_output(
    found: dict[str, dict[int | None, tuple[Slab, ...]]],
    shapes: dict[str, set[tuple[int, ...]]],
    family: Family,
    *,
    tied: bool,
) -> None:
    """A tied output is not written; where llama.cpp wants one all the same, it is the embedding's matrix again."""
    if tied:
        found.pop("output.weight", None)
    if tied and family.output and "token_embd.weight" in found:
        found["output.weight"], shapes["output.weight"] = found["token_embd.weight"], shapes["token_embd.weight"]
    needed = {"token_embd.weight", "output_norm.weight"} | (set() if tied else {"output.weight"})
    if missing := needed - found.keys():
        raise ValueError(f"the files lack {', '.join(sorted(missing))}")


def _whole(found: Mapping[str, Mapping[int | None, object]], layers: int) -> None:
    """Raises ValueError unless every layer has the same parts, and every part all of its experts."""
    roles: dict[str, set[int]] = {}
    for name, experts in found.items():
        _, layer, role = name.split(".", 2) if name.startswith("blk.") else ("", "", "")
        if layer:
            roles.setdefault(role, set()).add(int(layer))
        if None not in experts and set(experts) != set(range(len(experts))):
            raise ValueError(f"the files lack experts of {name}")
    for role, there in roles.items():
        if there != set(range(layers)):
            lacking = sorted(set(range(layers)) ^ there)
            raise ValueError(f"{role} is not in all of the {layers} layers (see layer {lacking[0]})")


def _expert(row: tuple[int | None, object]) -> int:
    return row[0] or 0


def _tensor(name: str, experts: Mapping[int | None, object], shapes: set[tuple[int, ...]], kind: str) -> Tensor:
    """Its row in the result's table; vectors, norms and routers stay wide."""
    if len(shapes) != 1:
        raise ValueError(f"the experts of {name} have different shapes")
    [shape] = shapes
    dims = (*reversed(shape), len(experts)) if None not in experts else tuple(reversed(shape))
    narrow = len(dims) > 1 and not name.endswith("_norm.weight") and "ffn_gate_inp" not in name
    to = kind if narrow else "f32"
    return Tensor(name, dims, to, prod(dims) * TYPE_BY_NAME[to].block_bytes)


def place_of(name: str, inner: Mapping[str, str]) -> Place:
    """Where a tensor goes, by the parts of a layer. Raises ValueError when it has no place."""
    if name.endswith(".rotary_emb.inv_freq"):
        return Place(())  # computed from the base; old files hold it too
    if found := _OUTER.fullmatch(name):
        return Place((f"{_OUTER_NAMES[found['outer']]}.{found['kind']}",))
    if found := _LAYER.fullmatch(name):
        expert = _EXPERT.search(found["inner"])
        roles = inner.get(_EXPERT.sub(".experts.*.", found["inner"]), "").split()
        names = tuple(f"blk.{found['layer']}.{role}.{found['kind'] or 'weight'}" for role in roles)
        if names:
            return Place(names, roles[0], int(expert[1]) if expert else None)
    raise ValueError(f"the tensor {name} has no place in a model of this architecture")

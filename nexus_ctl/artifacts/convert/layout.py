"""Where each tensor of a repository goes: its name in the GGUF, and the rows of the files that become it.

Called by `converted` with a row of `architectures`, on the tables of the safetensors files alone; `lora` asks for
single places. One tensor may become two (halves), many may become one (experts), and one may serve twice (a tied
output). The rule kept: a tensor without a place, or a place without its tensor, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from nexus_ctl.artifacts.convert.family import Family, experts_of
from nexus_ctl.artifacts.headers import safetensors
from nexus_ctl.artifacts.headers.folder import Folder
from nexus_ctl.resources.weights import TYPE_BY_NAME, Tensor

WIDTHS = ("f32", "f16", "bf16")
EMBEDDING, OUTPUT, LAST_NORM = "token_embd.weight", "output.weight", "output_norm.weight"
_OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_OUTER = re.compile(r"(?P<outer>model\.embed_tokens|model\.norm|lm_head)\.(?P<kind>weight|bias)")
_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<inner>.+?)(?:\.(?P<kind>weight|bias))?")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_COMPUTED = ".rotary_emb.inv_freq"
"""Of old files; it follows from the base."""


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
class Place:
    """Where a tensor goes: its names in the result (two: it is halved), its role in a layer, and of which expert."""

    names: tuple[str, ...]
    role: str = ""
    expert: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a file, and its first byte there."""

    tensor: Tensor
    file: str
    begin: int


@dataclass(slots=True)
class _Gathered:
    """What is found of one tensor of the result: its shape, rows first, and its slabs by expert (None: of no one)."""

    shapes: set[tuple[int, ...]] = field(default_factory=set)
    parts: dict[int | None, tuple[Slab, ...]] = field(default_factory=dict)

    @property
    def origin(self) -> tuple[Slab, ...]:
        return tuple(slab for _, slabs in sorted(self.parts.items(), key=lambda part: part[0] or 0) for slab in slabs)


def laid_out(
    folder: Folder,
    config: Mapping[str, Any],
    family: Family,
    kind: str,
    *,
    heads: Mapping[str, int],
    named: Callable[[str], str],
) -> tuple[dict[str, Origin], tuple[Tensor, ...]]:
    """Every tensor of every file, where it goes. `heads` are how many a role has, for families whose rows are turned;
    `named` is what a tensor is called in a model of text, "" of one that is left out.

    Raises ValueError for one that has no place, and for one that lacks.
    """
    found: dict[str, _Gathered] = {}
    for one in stored_in(folder):
        if not (name := named(one.tensor.name)):
            continue
        place = place_of(name, family.inner)
        if one.tensor.type not in WIDTHS:
            raise ValueError(f"{one.tensor.name} is stored as {one.tensor.type}, not as one of {', '.join(WIDTHS)}")
        turned = heads.get(place.role, 0) if family.turned else 0
        for at, name in enumerate(place.names):
            gathered = found.setdefault(name, _Gathered())
            if place.expert in gathered.parts:
                raise ValueError(f"{one.tensor.name} is in the files twice")
            plus = family.norm_plus if name.endswith("_norm.weight") else 0.0
            shape, slabs = _part(one, at, len(place.names), heads=turned, plus=plus)
            gathered.shapes.add(shape)
            gathered.parts[place.expert] = slabs
    _settle_output(found, family, tied=bool(config.get("tie_word_embeddings", family.tied)))
    _check(found, config["num_hidden_layers"], experts_of(config))
    return {name: one.origin for name, one in found.items()}, tuple(
        _tensor(name, one, kind) for name, one in found.items()
    )


def stored_in(folder: Folder) -> Iterator[Stored]:
    """All tensors of all files."""
    for file, (read, size) in sorted(folder.files.items()):
        if file.endswith(".safetensors"):
            header = safetensors.read_header(read, size)
            begin = header.data_offset
            for one in header.tensors:
                yield Stored(one, file, begin)
                begin += one.size_bytes


def _part(
    stored: Stored, part: int, parts: int, *, heads: int, plus: float
) -> tuple[tuple[int, ...], tuple[Slab, ...]]:
    """(shape, slabs) of the tensor, or of one of the parts that its rows are cut into, in each of its matrices."""
    one = stored.tensor
    *outer, rows, columns = one.dims if len(one.dims) > 1 else (*(one.dims or (1,)), 1)
    if rows % parts:
        raise ValueError(f"{one.name} has {rows} rows, which cannot be halved")
    own, size = rows // parts, TYPE_BY_NAME[one.type].block_bytes * columns
    shape = (*outer, own, columns) if len(one.dims) > 1 else (own,)
    matrices, height = (prod(outer), own) if parts > 1 else (1, prod(outer) * rows)
    first = (stored.begin + (matrix * rows + part * own) * size for matrix in range(matrices))
    return shape, tuple(Slab(stored.file, at, one.type, height, columns, heads, plus) for at in first)


def _settle_output(found: dict[str, _Gathered], family: Family, *, tied: bool) -> None:
    """A tied output is not written; where llama.cpp wants one all the same, it is the embedding's matrix again."""
    if tied:
        found.pop(OUTPUT, None)
        if family.output and EMBEDDING in found:
            found[OUTPUT] = found[EMBEDDING]
    needed = {EMBEDDING, LAST_NORM} if tied else {EMBEDDING, LAST_NORM, OUTPUT}
    if missing := needed - found.keys():
        raise ValueError(f"the files lack {', '.join(sorted(missing))}")


def _check(found: Mapping[str, _Gathered], layers: int, experts: int) -> None:
    """Raises ValueError unless every layer has the same parts, and what experts have is there of all of them."""
    by_role: dict[str, set[int]] = {}
    for name, one in found.items():
        if len(one.shapes) != 1:
            raise ValueError(f"the experts of {name} have different shapes")
        if None not in one.parts and not _all_of([part for part in one.parts if part is not None], experts):
            raise ValueError(f"{name} is made of {len(one.parts)} experts, the model has {experts}")
        if name.startswith("blk."):
            _, layer, role = name.split(".", 2)
            by_role.setdefault(role, set()).add(int(layer))
    for role, there in by_role.items():
        if not _all_of(there, layers):
            first = next(at for at in range(len(there) + 1) if at not in there)
            raise ValueError(f"{role} is in {len(there)} layers, not in layer {first}; the model has {layers}")


def _all_of(numbers: Collection[int], count: int) -> bool:
    """Whether they are all from 0 on; `count` may be any number that somebody wrote."""
    return len(numbers) == count and max(numbers) == count - 1


def _tensor(name: str, one: _Gathered, kind: str) -> Tensor:
    """Its row in the result's table; vectors, norms and routers stay wide."""
    [shape] = one.shapes
    dims = tuple(reversed(shape)) if None in one.parts else (*reversed(shape), len(one.parts))
    narrow = len(dims) > 1 and not name.endswith("_norm.weight") and "ffn_gate_inp" not in name
    to = kind if narrow else "f32"
    return Tensor(name, dims, to, prod(dims) * TYPE_BY_NAME[to].block_bytes)


def place_of(name: str, inner: Mapping[str, str]) -> Place:
    """Where a tensor goes, by the parts of a layer. Raises ValueError when it has no place."""
    if name.endswith(_COMPUTED):
        return Place(())
    if found := _OUTER.fullmatch(name):
        return Place((f"{_OUTER_NAMES[found['outer']]}.{found['kind']}",))
    if found := _LAYER.fullmatch(name):
        expert = _EXPERT.search(found["inner"])
        roles = inner.get(_EXPERT.sub(".experts.*.", found["inner"]), "").split()
        names = tuple(f"blk.{found['layer']}.{role}.{found['kind'] or 'weight'}" for role in roles)
        if names:
            return Place(names, roles[0], int(expert[1]) if expert else None)
    raise ValueError(f"the tensor {name} has no place in a model of this architecture")

"""Reads the header of a safetensors file: an 8-byte length and a JSON table, never the weights.

Called like `gguf`, over the same `read(offset, length)`; at most two requests. Keeps the same rule: bounded
memory, and a header or a `BadHeader` whatever the bytes are. Source of the format: safetensors' README ("Format").
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from nexus_ctl.artifacts.headers.window import BadHeader, Read
from nexus_ctl.resources.weights import SafetensorsHeader, Tensor

MAX_HEADER_BYTES = 32 << 20
_GUESS = 64 << 10
_BITS = (
    dict.fromkeys(("F64", "I64", "U64", "C64"), 64)
    | dict.fromkeys(("F32", "I32", "U32"), 32)
    | dict.fromkeys(("F16", "BF16", "I16", "U16"), 16)
    | dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8)
    | {"F4": 4}
)
"""Bits of an element by its name in the file."""


def read_header(read: Read, file_bytes: int = 0) -> SafetensorsHeader:
    """The tensor table of one file. `file_bytes` is its size; 0 = unknown, then nothing is checked against it.

    Raises BadHeader for anything malformed, larger than `MAX_HEADER_BYTES`, or beyond the end of the file.
    """
    head = read(0, _GUESS)
    if len(head) < 8:
        raise BadHeader("the file ends inside its header")
    length = int.from_bytes(head[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise BadHeader(f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are allowed")
    text = head[8 : 8 + length]
    if len(text) < length:
        text += read(8 + len(text), length - len(text))
    if len(text) != length:
        raise BadHeader("the file ends inside its header")
    try:
        table = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"the header is not the JSON it should be: {error}") from error
    if not isinstance(table, dict):
        raise BadHeader("the header is not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise BadHeader("__metadata__ is not a table of texts")
    placed = sorted((_row(name, row) for name, row in table.items()), key=lambda row: row[1])
    end = 0
    for tensor, begin in placed:
        if begin != end:
            raise BadHeader(f"tensor {tensor.name!r} is misplaced, at {begin}")
        end = begin + tensor.size_bytes
    if file_bytes and 8 + length + end != file_bytes:
        raise BadHeader(f"the file has {file_bytes} bytes, its header speaks of {8 + length + end}")
    return SafetensorsHeader(tuple(tensor for tensor, _ in placed), metadata, 8 + length, file_bytes)


def read_file(path: Path) -> SafetensorsHeader:
    """The header of a local file. Raises BadHeader, and OSError when it cannot be read."""
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return read_header(read, path.stat().st_size)


def merge_files(headers: Iterable[SafetensorsHeader]) -> SafetensorsHeader:
    """One header for a model in several files. Raises BadHeader when there is none or a tensor repeats."""
    parts = list(headers)
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if not parts or len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadHeader("no file, or a tensor is in two files")
    return SafetensorsHeader(tensors, parts[0].metadata, parts[0].data_offset, sum(part.file_bytes for part in parts))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _row(name: str, row: Any) -> tuple[Tensor, int]:
    match row:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if dtype in _BITS:
            dims = tuple(shape)
        case _:
            raise BadHeader(f"tensor {name!r} is not described as it should be")
    if not all(type(dim) is int and 0 <= dim < 1 << 48 for dim in dims) or len(dims) > 16:
        raise BadHeader(f"tensor {name!r} has impossible dimensions")
    size, rest = divmod(prod(dims) * _BITS[dtype], 8)
    if rest or begin < 0 or end - begin != size:
        raise BadHeader(f"tensor {name!r}: {end - begin} bytes given, {size} needed")
    return Tensor(name, dims, dtype.lower(), size), begin

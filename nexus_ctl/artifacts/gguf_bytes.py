"""The metadata of a GGUF file as bytes: where each entry lies, so that it can be copied as it is, whatever it holds.

Called by the quantizer's child on a file whose header was read and found well-formed before. Unlike `gguf_header` it
keeps nothing: a vocabulary is stepped over and copied in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from nexus_ctl.resources.weights import GGML_TYPES, Tensor

_U32, _U64, _HEAD = Struct("<I"), Struct("<Q"), Struct("<4sIQQ")
_WIDTH = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_NUMBER = {kind.name: number for number, kind in GGML_TYPES.items()}


def entries(content: memoryview) -> Iterator[tuple[str, int, int]]:
    """(key, first byte, byte after) of every metadata entry, in the file's order."""
    _, _, _, count = _HEAD.unpack_from(content)
    at = _HEAD.size
    for _ in range(count):
        length = _U64.unpack_from(content, at)[0]
        key = bytes(content[at + 8 : at + 8 + length]).decode()
        kind = _U32.unpack_from(content, at + 8 + length)[0]
        end = _after(content, at + 12 + length, kind)
        yield key, at, end
        at = end


def head(tensors: int, keys: int) -> bytes:
    """The first bytes of a file."""
    return _HEAD.pack(b"GGUF", 3, tensors, keys)


def number_entry(key: str, value: int) -> bytes:
    """An entry that holds an unsigned number of four bytes."""
    name = key.encode()
    return _U64.pack(len(name)) + name + _U32.pack(4) + _U32.pack(value)


def table_row(tensor: Tensor, offset: int) -> bytes:
    """One row of the tensor table; `offset` counts from the data section."""
    name = tensor.name.encode()
    dims = b"".join(map(_U64.pack, tensor.dims))
    kind = _U32.pack(_NUMBER[tensor.type])
    return _U64.pack(len(name)) + name + _U32.pack(len(tensor.dims)) + dims + kind + _U64.pack(offset)


def _after(content: memoryview, at: int, kind: int) -> int:
    if kind == _STRING:
        return at + 8 + int(_U64.unpack_from(content, at)[0])
    if kind != _ARRAY:
        return at + _WIDTH[kind]
    inner, count = _U32.unpack_from(content, at)[0], _U64.unpack_from(content, at + 4)[0]
    at += 12
    if inner != _STRING:
        return at + int(count) * _WIDTH[inner]
    for _ in range(count):
        at += 8 + _U64.unpack_from(content, at)[0]
    return at

"""The metadata of a GGUF file as bytes: written from values, or found in a file and copied as it is.

Called by the quantizer's child on a file whose header was read and found well-formed before, and by the conversion.
Unlike `gguf` it keeps nothing: a vocabulary is stepped over and copied in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct, pack

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


Written = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[str]


def entry(key: str, value: Written) -> bytes:
    """An entry: a whole number as u32, a fraction as f32, a truth, a text, a list of texts, of fractions as f32, or of
    whole numbers as i32."""
    name = _text(key)
    match value:
        case bool():
            return name + _U32.pack(7) + bytes([value])
        case int():
            return name + _U32.pack(4) + _U32.pack(value)
        case float():
            return name + _U32.pack(6) + pack("<f", value)
        case str():
            return name + _U32.pack(_STRING) + _text(value)
    texts = [one for one in value if isinstance(one, str)]
    if len(texts) == len(value):
        return b"".join((name, _U32.pack(_ARRAY), _U32.pack(_STRING), _U64.pack(len(texts)), *map(_text, texts)))
    kind, form = (6, "f") if isinstance(value[0], float) else (5, "i")
    return b"".join(
        (name, _U32.pack(_ARRAY), _U32.pack(kind), _U64.pack(len(value)), pack(f"<{len(value)}{form}", *value))
    )


def _text(value: str) -> bytes:
    content = value.encode()
    return _U64.pack(len(content)) + content


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

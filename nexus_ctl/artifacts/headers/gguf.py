"""Reads the header of a GGUF file: metadata and tensor table, never the weights.

Called by the model registry, the estimator's front ends and the download planner, on a local file or through range
requests: the parser only knows a function `read(offset, length)`. It reads forward in windows that grow, steps over
fixed-width arrays without fetching them and counts strings without keeping them. The rule it keeps: whatever the
bytes are, memory stays within `Limits` and the answer is a header or a `BadHeader`.

Source of the format: ggml's docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

from nexus_ctl.artifacts.headers.window import LIMITS, BadHeader, Limits, NotGguf, Read, Window
from nexus_ctl.resources.artifact import Artifact
from nexus_ctl.resources.launch import chosen
from nexus_ctl.resources.weights import GGML_TYPES, Counted, GgufHeader, Scalar, Tensor, Value, merge_shards


@dataclass(frozen=True, slots=True)
class HeaderRead:
    """A header and what it cost to read."""

    header: GgufHeader
    requests: int
    bytes_read: int


_SCALARS: dict[int, tuple[str, Struct]] = {
    0: ("u8", Struct("<B")),
    1: ("i8", Struct("<b")),
    2: ("u16", Struct("<H")),
    3: ("i16", Struct("<h")),
    4: ("u32", Struct("<I")),
    5: ("i32", Struct("<i")),
    6: ("f32", Struct("<f")),
    7: ("bool", Struct("<?")),
    10: ("u64", Struct("<Q")),
    11: ("i64", Struct("<q")),
    12: ("f64", Struct("<d")),
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = Struct("<I"), Struct("<Q")
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


class _Parser:
    """GGUF's grammar over a cursor."""

    def __init__(self, cursor: Window, limits: Limits) -> None:
        self._cursor, self._limits, self._kept = cursor, limits, 0

    def number(self, form: Struct) -> Any:
        return form.unpack(self._cursor.take(form.size))[0]

    def text(self, limit: int, what: str) -> str:
        length = self.number(_U64)
        if length > limit:
            raise BadHeader(f"{what} of {length} bytes; at most {limit} are allowed")
        self._keep(length)
        return self._cursor.take(length).decode("utf-8", errors="replace")

    def _keep(self, count: int) -> None:
        self._kept += count
        if self._kept > self._limits.kept_bytes:
            raise BadHeader(f"texts and lists of more than {self._limits.kept_bytes} bytes together")

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.text(self._limits.string_bytes, "a string")
        if kind == _ARRAY:
            return self._array()
        return self._scalar(kind)

    def _scalar(self, kind: int) -> Scalar:
        if kind not in _SCALARS:
            raise BadHeader(f"unknown metadata type {kind}")
        number: Scalar = self.number(_SCALARS[kind][1])
        return number

    def _array(self) -> Value:
        kind, count = self.number(_U32), self.number(_U64)
        if count > self._limits.array_items:
            raise BadHeader(f"an array of {count} items; at most {self._limits.array_items} are allowed")
        if kind == _STRING:
            if count <= self._limits.kept_strings:
                return tuple(self.text(self._limits.string_bytes, "a string") for _ in range(count))
            self._cursor.count_strings(count)
            return Counted("string", count)
        if kind not in _SCALARS:
            raise BadHeader(f"an array of metadata type {kind}; arrays hold numbers, truths or strings")
        name, form = _SCALARS[kind]
        if count > self._limits.kept_numbers:
            self._cursor.skip(count * form.size)
            return Counted(name, count)
        self._keep(32 * count)
        return tuple(item[0] for item in form.iter_unpack(self._cursor.take(count * form.size)))

    def tensor(self) -> tuple[Tensor, int]:
        """One row of the tensor table, and where its data begins relative to the data section."""
        name = self.text(self._limits.name_bytes, "a tensor name")
        rank = self.number(_U32)
        if not 1 <= rank <= self._limits.dims:
            raise BadHeader(f"tensor {name!r} has {rank} dimensions; 1 to {self._limits.dims} are allowed")
        dims = tuple(self.number(_U64) for _ in range(rank))
        number, offset = self.number(_U32), self.number(_U64)
        kind = GGML_TYPES.get(number)
        if kind is None:
            raise BadHeader(f"tensor {name!r} has type {number}, which this version does not know")
        elements = 1
        for dim in dims:
            elements *= dim
            if not 0 < dim < 1 << 48 or elements >= 1 << 56:
                raise BadHeader(f"tensor {name!r} has impossible dimensions {dims}")
        if dims[0] % kind.block:
            raise BadHeader(f"tensor {name!r}: rows of {dims[0]} do not divide into {kind.name}'s blocks")
        return Tensor(name, dims, kind.name, elements // kind.block * kind.block_bytes), offset


def read_header(read: Read, file_bytes: int = 0, limits: Limits = LIMITS) -> HeaderRead:
    """The header of one GGUF file. `file_bytes` is its size; 0 = unknown, then nothing is checked against it.

    Raises BadHeader for anything that is not a well-formed header within the limits, and for tensors that would lie
    beyond the end of the file; whatever `read` raises passes through.
    """
    cursor = Window(read, limits)
    parser = _Parser(cursor, limits)
    _magic(cursor, parser)
    tensor_count, key_count = parser.number(_U64), parser.number(_U64)
    if key_count > limits.keys or tensor_count > limits.tensors:
        raise BadHeader(f"{key_count} keys and {tensor_count} tensors; {limits.keys} and {limits.tensors} are allowed")
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = parser.text(limits.name_bytes, "a metadata key")
        if key in metadata:
            raise BadHeader(f"metadata key {key!r} stands twice")
        metadata[key] = parser.value(parser.number(_U32))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= limits.alignment or alignment & (alignment - 1):
        raise BadHeader(f"general.alignment is {alignment!r}; a power of two up to {limits.alignment} is allowed")
    metadata_bytes = cursor.position
    rows = [parser.tensor() for _ in range(tensor_count)]
    data_offset = -(-cursor.position // alignment) * alignment
    _check_table(rows, alignment, data_offset, file_bytes)
    architecture = metadata.get("general.architecture", "")
    if not isinstance(architecture, str):
        raise BadHeader("general.architecture is not a text")
    header = GgufHeader(
        architecture,
        metadata,
        tuple(tensor for tensor, _ in rows),
        data_offset,
        file_bytes,
        alignment,
        metadata_bytes=metadata_bytes,
        begins={tensor.name: data_offset + offset for tensor, offset in rows},
    )
    return HeaderRead(header, cursor.requests, cursor.bytes_read)


def read_file(path: Path, limits: Limits = LIMITS) -> HeaderRead:
    """The header of a local file; of a split model's first shard, the whole model's, its other shards beside it.

    Raises BadHeader, and OSError when a file cannot be read.
    """
    reads = [_read_one(shard, limits) for shard in shard_paths(path)]
    try:
        header = merge_shards(read.header for read in reads) if len(reads) > 1 else reads[0].header
    except ValueError as error:
        raise BadHeader(f"{path.name}: {error}") from error
    return HeaderRead(header, sum(read.requests for read in reads), sum(read.bytes_read for read in reads))


def header_of(artifact: Artifact, file: str = "") -> GgufHeader | None:
    """The header of a verified artifact, all its parts together; `file` says which of several files is meant.

    None for a file that is no GGUF, or a broken one, and where it is not clear which is meant.
    """
    try:
        return claimed_header(artifact, file)
    except NotGguf:
        return None


def claimed_header(artifact: Artifact, file: str = "") -> GgufHeader | None:
    """The same, but raises NotGguf for a file that is clearly something else."""
    try:
        return read_file(Path(chosen(artifact.files or (artifact.path,), file)[0])).header
    except NotGguf:
        raise
    except (BadHeader, OSError, ValueError):
        return None


def shard_paths(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` (any of its shards) belongs to, in order; `path` alone when not split."""
    return tuple(path.with_name(name) for name in shard_names(path.name))


def shard_names(name: str) -> tuple[str, ...]:
    """The names of all shards of a split model (`x-00001-of-00003.gguf`); the name itself when it is not one."""
    match = _SHARD.match(name)
    count = int(match["count"]) if match else 0
    if match is None or not count:
        return (name,)
    return tuple(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _read_one(path: Path, limits: Limits) -> HeaderRead:
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return read_header(read, path.stat().st_size, limits)


def _magic(cursor: Window, parser: _Parser) -> None:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise NotGguf(f"the file begins with {magic.decode('latin-1')!r}, not with GGUF's mark")
    version = parser.number(_U32)
    if version & 0xFFFF == 0:
        raise BadHeader("the file is big-endian; only little-endian files can be served")
    if version not in (2, 3):
        raise BadHeader(f"GGUF version {version}; 2 and 3 can be read", hint="convert the model again")


def _check_table(rows: list[tuple[Tensor, int]], alignment: int, data_offset: int, file_bytes: int) -> None:
    """Names are unique, data is aligned, in order without overlap, and inside the file."""
    if len({tensor.name for tensor, _ in rows}) != len(rows):
        raise BadHeader("a tensor name stands twice")
    end = 0
    for tensor, offset in sorted(rows, key=lambda row: row[1]):
        if offset % alignment or offset < end:
            raise BadHeader(f"tensor {tensor.name!r} is misplaced, at {offset}")
        end = offset + tensor.size_bytes
    if rows and file_bytes and data_offset + end > file_bytes:
        missing = data_offset + end - file_bytes
        raise BadHeader(f"the file is {missing} bytes shorter than its tensors", hint="download it again")

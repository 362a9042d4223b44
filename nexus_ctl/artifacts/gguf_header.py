"""Reads the header of a GGUF file: metadata and tensor table, never the weights.

Called by the model registry, the estimator's front ends and the download planner, on a local file or through range
requests: the parser only knows a function `read(offset, length)`. It reads forward in windows that grow, steps over
fixed-width arrays without fetching them and counts strings without keeping them. The rule it keeps: whatever the
bytes are, memory stays within `Limits` and the answer is a header or a `BadHeader`.

Source of the format: ggml's docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

from nexus_ctl.errors import Terminal
from nexus_ctl.resources.weights import GGML_TYPES, Counted, GgufHeader, Scalar, Tensor, Value, merge_shards

Read = Callable[[int, int], bytes]
"""`read(offset, length)`: that many bytes from there; fewer only at the end of the file."""


class BadHeader(Terminal):
    """The file is not what it claims to be, or asks for more than a header may."""

    code = "bad-header"
    summary = "the model file's header cannot be used"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may ask for. The largest real ones (a vocabulary of 262,144 with merges) stay below a third."""

    header_bytes: int = 64 << 20
    fetch_bytes: int = 4 << 20
    """The largest single read."""
    keys: int = 4096
    string_bytes: int = 4 << 20
    """A chat template is the longest string in practice, about 100 KiB."""
    kept_bytes: int = 16 << 20
    """Everything that is kept, together; an item of an array counts as 32 bytes."""
    array_items: int = 1 << 22
    kept_numbers: int = 2048
    """Number arrays up to this length are kept (values per layer); longer ones are counted."""
    kept_strings: int = 64
    """String arrays up to this length are kept (languages, tags); longer ones are counted."""
    tensors: int = 1 << 16
    name_bytes: int = 256
    dims: int = 4
    alignment: int = 1 << 20


LIMITS = Limits()


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
_FIRST_FETCH = 64 << 10
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


class _Cursor:
    """A place in the file with a window of bytes behind it. Windows double up to the limit: few requests, no waste."""

    def __init__(self, read: Read, limits: Limits) -> None:
        self._read, self._limits = read, limits
        self._window, self._start, self._fetch = b"", 0, _FIRST_FETCH
        self.position = self.requests = self.bytes_read = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes. Raises BadHeader where the file ends or the header would grow too large."""
        begin = self.position - self._start
        if begin + length > len(self._window):
            self._fill(length)
            begin = 0
        self.position += length
        return self._window[begin : begin + length]

    def skip(self, length: int) -> None:
        """Step over bytes without reading them, as far as they are not in the window already."""
        self.position += length
        self._check(self.position)

    def count_strings(self, count: int) -> None:
        """Step over `count` strings: lengths stand inside the data, so every byte is fetched, none is kept."""
        unpack, limit = _U64.unpack_from, self._limits.string_bytes
        done = 0
        while done < count:
            window, at = self._window, self.position - self._start
            end = len(window) - 8
            while done < count and 0 <= at <= end:
                length = unpack(window, at)[0]
                if length > limit:
                    raise BadHeader(f"a string of {length} bytes in an array; at most {limit} are allowed")
                at += 8 + length
                done += 1
            self.skip(at - (self.position - self._start))
            if done < count:
                self.take(8)
                self.position -= 8

    def _fill(self, length: int) -> None:
        self._check(self.position + length)
        kept = self._window[max(self.position - self._start, 0) :] if self.position >= self._start else b""
        at = self.position + len(kept)
        wanted = max(self._fetch, length - len(kept))
        fresh = self._read(at, min(wanted, self._limits.header_bytes - at))
        self.requests += 1
        self.bytes_read += len(fresh)
        self._fetch = min(self._fetch * 2, self._limits.fetch_bytes)
        self._window, self._start = kept + fresh, self.position
        if len(self._window) < length:
            raise BadHeader(f"the file ends inside its header, at byte {at + len(fresh)}")

    def _check(self, end: int) -> None:
        if end > self._limits.header_bytes:
            raise BadHeader(f"the header is larger than {self._limits.header_bytes} bytes")


class _Parser:
    """GGUF's grammar over a cursor."""

    def __init__(self, cursor: _Cursor, limits: Limits) -> None:
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
    cursor = _Cursor(read, limits)
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
    rows = [parser.tensor() for _ in range(tensor_count)]
    data_offset = -(-cursor.position // alignment) * alignment
    _check_table(rows, alignment, data_offset, file_bytes)
    architecture = metadata.get("general.architecture", "")
    if not isinstance(architecture, str):
        raise BadHeader("general.architecture is not a text")
    header = GgufHeader(architecture, metadata, tuple(tensor for tensor, _ in rows), data_offset, file_bytes, alignment)
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


def shard_paths(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` (any of its shards) belongs to, in order; `path` alone when not split."""
    return tuple(path.with_name(name) for name in shard_names(path.name))


def shard_names(name: str) -> tuple[str, ...]:
    """The names of all shards of a split model (`x-00001-of-00003.gguf`); the name itself when it is not one."""
    match = _SHARD.match(name)
    if match is None:
        return (name,)
    count = int(match["count"])
    return tuple(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _read_one(path: Path, limits: Limits) -> HeaderRead:
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return read_header(read, path.stat().st_size, limits)


def _magic(cursor: _Cursor, parser: _Parser) -> None:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise BadHeader(f"the file begins with {magic!r}, not with GGUF's mark")
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

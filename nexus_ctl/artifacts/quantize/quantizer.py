"""The child program that quantizes: llama.cpp's own arithmetic over the planned types, a few rows at a time.

    python -m nexus_ctl.artifacts.quantize.quantizer LIBRARY TYPE TARGET THREADS [--imatrix FILE] SOURCE...

Started by `build` through `bounded`. It calls ggml of the engine's package, since that exports the arithmetic and not
the loop around it; the loop here takes the types from the same mixture as the plan, holds a few megabytes per thread
whatever the model's size. SOURCE are all shards, in order.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

from nexus_ctl.artifacts.headers.gguf import read_header
from nexus_ctl.artifacts.headers.gguf_bytes import entries, entry, head, table_row
from nexus_ctl.artifacts.headers.window import Read
from nexus_ctl.artifacts.quantize.imatrix import read_imatrix
from nexus_ctl.artifacts.quantize.mixture import Mixture, may_quantize
from nexus_ctl.artifacts.quantize.quantized import SET_KEYS, SPLIT_KEYS, padded, quantized
from nexus_ctl.resources.weights import GGML_TYPES, TYPE_BY_NAME, GgufHeader, Tensor, merge_shards

CHUNK_ELEMENTS = 1 << 20
"""Numbers that a thread works on at once: 4 MiB before, at most as much after."""
_NUMBER = {kind.name: number for number, kind in GGML_TYPES.items()}


class _Traits(ctypes.Structure):
    """ggml_type_traits. Source: ggml.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    ]


@dataclass(frozen=True)
class _Ggml:
    """The library, with the types of what is called."""

    library: ctypes.CDLL

    @classmethod
    def load(cls, path: str) -> _Ggml:
        """Raises RuntimeError when this build lays its types out otherwise than this version knows."""
        library = ctypes.CDLL(path)
        library.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
        library.ggml_quantize_chunk.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.argtypes = [
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
            *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
        ]
        library.ggml_validate_row_data.restype = ctypes.c_bool
        library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        library.ggml_quantize_init.argtypes = [ctypes.c_int]
        library.ggml_quantize_init.restype = None
        self = cls(library)
        for name in ("f32", "q4_0", "q4_k", "iq2_xs"):
            known, told = TYPE_BY_NAME[name], self.traits(name)
            if (told.name.decode().lower(), told.block, told.block_bytes) != (name, known.block, known.block_bytes):
                raise RuntimeError(f"this build stores {name} in another way")
        return self

    def traits(self, kind: str) -> _Traits:
        return self.library.ggml_get_type_traits(_NUMBER[kind]).contents  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Source:
    """Where a tensor's bytes are: the mapped file and the first of them."""

    content: mmap.mmap
    begin: int


def main(library: str, kind: str, target: str, threads: str, *rest: str) -> None:
    """Write the quantized model to `target`, flushed to disk."""
    imatrix, sources = (rest[1], rest[2:]) if rest[:1] == ("--imatrix",) else ("", rest)
    ggml = _Ggml.load(library)
    matrix = read_imatrix(Path(imatrix)) if imatrix else {}
    contents = [_mapped(Path(source)) for source in sources]
    headers = [read_header(_reader(content), len(content)).header for content in contents]
    header = merge_shards(headers) if len(headers) > 1 else headers[0]
    wanted, mixed = quantized(header, kind, has_imatrix=bool(matrix))
    _check(matrix, wanted, mixed)
    types = {tensor.name: tensor for tensor in header.tensors}
    places = dict(_places(contents, headers))
    with open(target, "xb") as file, ThreadPoolExecutor(int(threads)) as pool:
        file.write(_front(contents[0], wanted))
        file.write(bytes(wanted.data_offset - file.tell()))
        for tensor in wanted.tensors:
            name = tensor.name
            work = _Retyping(ggml, types[name], tensor, places[name], matrix.get(name))
            for done in pool.map(work.rows, _spans(tensor)):
                file.write(done)
            file.write(bytes(padded(tensor.size_bytes) - tensor.size_bytes))
        file.flush()
        os.fsync(file.fileno())


def _check(matrix: Mapping[str, memoryview], wanted: GgufHeader, mixed: Mixture) -> None:
    """Raises RuntimeError when the importance matrix is of another model, or lacks what llama.cpp insists on."""
    for tensor in wanted.tensors:
        columns, there = tensor.dims[0] * prod(tensor.dims[2:]), matrix.get(tensor.name)
        if there is not None and len(there) != columns and may_quantize(tensor):
            raise RuntimeError(f"the importance matrix has {len(there)} columns for {tensor.name}, not {columns}")
        if there is None and matrix and tensor.name in mixed.wants_imatrix:
            raise RuntimeError(f"the importance matrix lacks {tensor.name}")


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)


def _reader(content: mmap.mmap) -> Read:
    return lambda offset, length: content[offset : offset + length]


def _places(contents: list[mmap.mmap], headers: list[GgufHeader]) -> Iterator[tuple[str, _Source]]:
    for content, header in zip(contents, headers, strict=True):
        for name, begin in header.begins.items():
            yield name, _Source(content, begin)


def _front(first: mmap.mmap, wanted: GgufHeader) -> bytes:
    """Everything before the data: metadata as it was but for the file type and the marks of a split, and the table."""
    content = memoryview(first)
    left_out = {*SPLIT_KEYS, *SET_KEYS}
    kept = [bytes(content[begin:end]) for key, begin, end in entries(content) if key not in left_out]
    kept += [entry(key, int(str(wanted.metadata[key]))) for key in SET_KEYS]
    content.release()
    rows, offset = [], 0
    for tensor in wanted.tensors:
        rows.append(table_row(tensor, offset))
        offset += padded(tensor.size_bytes)
    return b"".join((head(len(wanted.tensors), len(kept)), *kept, *rows))


def _spans(tensor: Tensor) -> Iterator[tuple[int, int, int]]:
    """(matrix, first row, row after) of each piece; a piece lies within one matrix, since experts have their own
    importance."""
    rows = tensor.dims[1] if len(tensor.dims) > 1 else 1
    step = max(CHUNK_ELEMENTS // tensor.dims[0], 1)
    for matrix in range(prod(tensor.dims[2:])):
        for first, after in pairwise([*range(0, rows, step), rows]):
            yield matrix, first, after


@dataclass(frozen=True)
class _Retyping:
    """One tensor on its way from its type to another; `importance` of its columns, for each matrix."""

    ggml: _Ggml
    old: Tensor
    new: Tensor
    source: _Source
    importance: memoryview | None

    def rows(self, span: tuple[int, int, int]) -> bytes:
        """The bytes of some rows in their new type. Raises RuntimeError on numbers that are none."""
        matrix, first, after = span
        width, count = self.new.dims[0], after - first
        before = TYPE_BY_NAME[self.old.type].row_bytes(width)
        all_rows = self.new.dims[1] if len(self.new.dims) > 1 else 1
        begin = self.source.begin + (matrix * all_rows + first) * before
        raw = self.source.content[begin : begin + count * before]
        if self.old.type == self.new.type:
            return raw
        size = count * TYPE_BY_NAME[self.new.type].row_bytes(width)
        made, weights = ctypes.create_string_buffer(size), None
        if self.importance is not None:
            columns = self.importance[matrix * width : (matrix + 1) * width]
            weights = (ctypes.c_float * width).from_buffer_copy(columns)
        library, number = self.ggml.library, _NUMBER[self.new.type]
        library.ggml_quantize_chunk(number, self._floats(raw, count * width), made, 0, count, width, weights)
        if not library.ggml_validate_row_data(number, made, size):
            raise RuntimeError(f"{self.new.name}: the source holds numbers that are none")
        return made.raw

    def _floats(self, raw: bytes, count: int) -> ctypes.Array[ctypes.c_float]:
        if self.old.type == "f32":
            return (ctypes.c_float * count).from_buffer_copy(raw)
        stored, numbers = ctypes.create_string_buffer(raw, len(raw)), (ctypes.c_float * count)()
        self.ggml.traits(self.old.type).to_float(ctypes.addressof(stored), ctypes.addressof(numbers), count)
        return numbers


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The child program that converts: safetensors in, one GGUF out, a few rows at a time.

    python -m nexus_ctl.artifacts.convert.converter TYPE TARGET NAME=PATH... [=PATH...]

Paths without a name are the model that an adapter changes, all its shards. Started by `build` through `bounded`. What
goes where was decided by `converted`, for an adapter by `lora`; here numbers are widened or narrowed (to the nearest,
ties to even), rows of queries and keys are put into llama.cpp's order where the family wants it, norms are raised where
it keeps them lowered, and experts are put one behind the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus_ctl.artifacts.convert.converted import converted
from nexus_ctl.artifacts.convert.layout import Origin, Slab
from nexus_ctl.artifacts.convert.lora import adapter
from nexus_ctl.artifacts.headers.folder import local
from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.quantize.quantized import padded
from nexus_ctl.resources.weights import merge_shards

CHUNK_ELEMENTS = 1 << 22
_STORED: Mapping[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype("<u2")}


def main(kind: str, target: str, *named: str) -> None:
    """Write the model to `target`, flushed to disk."""
    pairs = [(name, Path(path)) for name, _, path in (one.partition("=") for one in named)]
    files, shards = {name: path for name, path in pairs if name}, [path for name, path in pairs if not name]
    folder = local(files)
    model = merge_shards(read_file(path).header for path in shards) if shards else None
    plan = adapter(folder, model, kind) if model is not None else converted(folder, kind)
    with open(target, "xb") as out:
        out.write(plan.front)
        for tensor in plan.header.tensors:
            for piece in _pieces(files, plan.origins[tensor.name], tensor.type):
                out.write(piece)
            out.write(bytes(padded(tensor.size_bytes) - tensor.size_bytes))
        out.flush()
        os.fsync(out.fileno())


def _pieces(files: Mapping[str, Path], origin: Origin, kind: str) -> Iterator[bytes]:
    """The tensor's bytes in its new type, some rows at a time."""
    for part in origin:
        if isinstance(part, Slab):
            yield from _rows(files[part.file], part, kind)
        else:
            yield np.array(part, _STORED[kind]).tobytes()


def _rows(path: Path, slab: Slab, kind: str) -> Iterator[bytes]:
    before = np.memmap(path, _STORED[slab.type], "r", slab.begin, (slab.rows, slab.columns))
    order = _rows_for(slab.heads, slab.rows) if slab.heads else np.arange(slab.rows)
    step = max(CHUNK_ELEMENTS // slab.columns, 1)
    for first in range(0, slab.rows, step):
        made = _retyped(before[order[first : first + step]], slab.type, kind)
        yield (made + np.float32(slab.plus) if slab.plus else made).tobytes()


def _rows_for(heads: int, rows: int) -> NDArray[np.int64]:
    """Which old row becomes each new one: within a head, the halves that rotate together are interleaved."""
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def _retyped(numbers: NDArray[Any], before: str, after: str) -> NDArray[Any]:
    if before == after:
        return numbers
    wide = (numbers.astype("<u4") << 16).view("<f4") if before == "bf16" else numbers.astype("<f4")
    if after == "f32":
        return wide
    if after == "f16":
        return wide.astype("<f2")
    bits = np.ascontiguousarray(wide).view("<u4")
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return np.where(np.isnan(wide), np.uint16(0x7FC0), rounded)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Reads an importance matrix: for each tensor, how much each column matters, as `llama-imatrix` measured it.

Called by the quantizer's child. The GGUF form alone: the older one says neither its shape nor of what it is. Source of
the form: llama.cpp, tools/imatrix/README.md.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from struct import unpack

from nexus_ctl.artifacts.headers.gguf import read_file
from nexus_ctl.artifacts.headers.window import BadHeader

SUMS, COUNTS = ".in_sum2", ".counts"


def read_imatrix(path: Path) -> Mapping[str, memoryview]:
    """The importance of each column by tensor, as floats; of expert tensors one row after the other.

    A tensor that was never seen counts all its columns the same. Raises BadHeader when the file is none.
    """
    header = read_file(path).header
    found = {tensor.name: tensor for tensor in header.tensors}
    if header.metadata.get("general.type") != "imatrix" or any(one.type != "f32" for one in header.tensors):
        raise BadHeader(f"{path.name} is no importance matrix", hint="make one: llama-imatrix --output-format gguf")
    content = path.read_bytes()
    matrix = {}
    for name, sums in found.items():
        counts = found.get(name.removesuffix(SUMS) + COUNTS)
        if not name.endswith(SUMS) or counts is None:
            continue
        width = sums.dims[0]
        values = _numbers(content, header.begins[name], sums.elements)
        seen = _numbers(content, header.begins[counts.name], counts.elements)
        each = array("f", (value / n if (n := seen[at // width]) > 0 else 1.0 for at, value in enumerate(values)))
        matrix[name.removesuffix(SUMS)] = memoryview(each)
    return matrix


def _numbers(content: bytes, begin: int, count: int) -> tuple[float, ...]:
    return unpack(f"<{count}f", content[begin : begin + 4 * count])

"""The dry run: what the header of a quantized model will be, and so its exact size, from the header of its source.

Called while a plan is made, on a header that may have been read over the network, and again after the work, to hold the
result against it. Pure. Layout as llama.cpp writes it: the source's metadata with the file type set and the marks of a
split gone, tensors in walking order, each padded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from nexus_ctl.artifacts.quantize.mixture import Mixture, mixture, walk_order
from nexus_ctl.errors import Terminal
from nexus_ctl.resources.quantization import FILE_TYPES
from nexus_ctl.resources.weights import TYPE_BY_NAME, GgufHeader, Tensor, Value

ALIGNMENT = 32
QUANTIZATION_VERSION = 2
"""Of the block layouts. Source: ggml.h, GGML_QNT_VERSION."""
SPLIT_KEYS = {"split.no": 2, "split.count": 2, "split.tensors.count": 4}
"""What says that a file is a part of a model, and the bytes of each value."""
SET_KEYS = ("general.quantization_version", "general.file_type")
"""Written anew, as four bytes each, behind all others and in this order."""


def entry_bytes(key: str, value_bytes: int) -> int:
    """Bytes of one metadata entry: length and text of its key, type, value."""
    return 8 + len(key.encode()) + 4 + value_bytes


def table_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensor table."""
    return sum(8 + len(t.name.encode()) + 4 + 8 * len(t.dims) + 4 + 8 for t in tensors)


def padded(count: int, alignment: int = ALIGNMENT) -> int:
    """`count` rounded up."""
    return -(-count // alignment) * alignment


def quantized(header: GgufHeader, quantization: str, *, has_imatrix: bool) -> tuple[GgufHeader, Mixture]:
    """The result's header, `file_bytes` exact, and how each tensor came to its type.

    Raises Terminal (`quantization-impossible`) where llama.cpp would refuse.
    """
    if header.alignment != ALIGNMENT:
        raise impossible(f"general.alignment is {header.alignment}; only {ALIGNMENT} can be quantized")
    try:
        mixed = mixture(header, quantization, has_imatrix=has_imatrix)
    except ValueError as error:
        raise impossible(str(error)) from error
    if mixed.wants_imatrix and not has_imatrix:
        first, count = mixed.wants_imatrix[0], len(mixed.wants_imatrix)
        raise impossible(f"{quantization} needs an importance matrix for {count} tensors ({first}, ...)", IMATRIX_HINT)
    tensors = tuple(_retyped(tensor, mixed.types[tensor.name]) for tensor in walk_order(header.tensors))
    kept = header.metadata_bytes - sum(
        _present(header, key, SPLIT_KEYS.get(key, 4)) for key in (*SPLIT_KEYS, *SET_KEYS)
    )
    metadata_bytes = kept + sum(entry_bytes(key, 4) for key in SET_KEYS)
    data_offset = padded(metadata_bytes + table_bytes(tensors))
    metadata: dict[str, Value] = {
        key: value for key, value in header.metadata.items() if key not in SPLIT_KEYS and key not in SET_KEYS
    }
    metadata |= dict(zip(SET_KEYS, (QUANTIZATION_VERSION, FILE_TYPES[quantization].number), strict=True))
    result = GgufHeader(
        header.architecture,
        metadata,
        tensors,
        data_offset,
        data_offset + sum(padded(tensor.size_bytes) for tensor in tensors),
        metadata_bytes=metadata_bytes,
    )
    return result, mixed


IMATRIX_HINT = "make one with llama-imatrix over a text of your domain, and name it as quantize.imatrix.path"


def impossible(detail: str, hint: str = "") -> Terminal:
    """The error for a quantization that cannot be made of this model."""
    hint = hint or "choose another quantize.type"
    return Terminal(
        detail, hint=hint, code="quantization-impossible", summary="the model cannot be quantized like this"
    )


def _present(header: GgufHeader, key: str, value_bytes: int) -> int:
    return entry_bytes(key, value_bytes) if key in header.metadata else 0


def _retyped(tensor: Tensor, kind: str) -> Tensor:
    """Of another type; dimensions of one at the end are not written."""
    size = prod(tensor.dims[1:]) * TYPE_BY_NAME[kind].row_bytes(tensor.dims[0])
    rank = max((at for at, dim in enumerate(tensor.dims, 1) if dim > 1), default=1)
    return replace(tensor, dims=tensor.dims[:rank], type=kind, size_bytes=size)

"""Headers of model files that were read before they were here, remembered by what the files hold: that never changes.

Called by the cache (for plans) and the catalog before either asks for ranges. A header with its vocabulary is megabytes
to read and some ten kilobytes to remember.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from nexus_ctl.artifacts.headers.gguf import HeaderRead
from nexus_ctl.artifacts.shelf import Shelf, key_of
from nexus_ctl.resources.weights import Counted, GgufHeader, Tensor, Value

_FACTS = frozenset(one.name for one in fields(GgufHeader)) - {"metadata", "tensors"}


def remembered(shelf: Shelf, digests: Sequence[str | None], read: Callable[[], HeaderRead]) -> HeaderRead:
    """The header of the files with these SHA-256, in order: from memory at no cost, else as `read` gives it.

    Files of which one has no known digest are read each time.
    """
    known = [digest for digest in digests if digest is not None]
    if not known or len(known) < len(digests):
        return read()
    key = f"{key_of(' '.join(known))}.header"
    header = _remembered(shelf.read(key))
    if header is not None:
        return HeaderRead(header, 0, 0)
    found = read()
    shelf.write(key, _to_json(found.header))
    return found


def _to_json(header: GgufHeader) -> dict[str, Any]:
    metadata = {
        name: {"counted": [value.element_type, value.count]} if isinstance(value, Counted) else value
        for name, value in header.metadata.items()
    }
    facts = {name: getattr(header, name) for name in _FACTS}
    tensors = [[one.name, one.dims, one.type, one.size_bytes] for one in header.tensors]
    return {"facts": facts, "metadata": metadata, "tensors": tensors}


def _remembered(value: dict[str, Any] | None) -> GgufHeader | None:
    """The header as it was written; None for anything else."""

    def plain(stored: Any) -> Value:
        if isinstance(stored, dict):
            return Counted(*stored["counted"])
        return tuple(stored) if isinstance(stored, list) else stored

    try:
        if value is None or set(value["facts"]) != _FACTS:  # written by a version that knew other facts
            return None
        metadata = {name: plain(stored) for name, stored in value["metadata"].items()}
        tensors = tuple(Tensor(name, tuple(dims), kind, size) for name, dims, kind, size in value["tensors"])
        return GgufHeader(metadata=metadata, tensors=tensors, **value["facts"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None

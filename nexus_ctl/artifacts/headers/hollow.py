"""A model file without its weights: the true header, then a hole of the right size.

Made for the engine's pass that reads no weights (`runtimes.memory_oracle`), so that a model can be asked about before
it is downloaded. Takes the disk of its header alone.
"""

from __future__ import annotations

from pathlib import Path

from nexus_ctl.artifacts.headers.window import LIMITS, BadHeader, Read
from nexus_ctl.resources.weights import GgufHeader


def write_hollow(read: Read, header: GgufHeader, path: Path) -> Path:
    """A copy of one model file with its header and, for weights, a hole of the right size; takes no disk for them.

    Reads `header.data_offset` bytes. Raises BadHeader when the source ends early or the header is out of bounds.
    """
    if header.data_offset > LIMITS.header_bytes or header.shards > 1:
        raise BadHeader("one file with a bounded header is needed")
    content = read(0, header.data_offset)
    if len(content) != header.data_offset:
        raise BadHeader("the file ends inside its header")
    padded = sum(-(-tensor.size_bytes // header.alignment) * header.alignment for tensor in header.tensors)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(max(header.file_bytes, header.data_offset + padded))
    return path

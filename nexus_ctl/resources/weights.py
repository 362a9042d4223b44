"""What the header of a model file says, as values: GGUF and safetensors.

Read by `artifacts` (from disk or by range requests), spoken of by placement, planning and views. Nothing here reads a
file; a header holds facts about tensors, never their content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from nexus_ctl.resources.normal import digest


@dataclass(frozen=True, slots=True)
class TensorType:
    """How elements are stored: `block` elements take `block_bytes` bytes."""

    name: str
    block: int
    block_bytes: int

    def row_bytes(self, elements: int) -> int:
        """Bytes of one row. Raises ValueError when the row does not divide into blocks."""
        if elements % self.block:
            raise ValueError(f"{elements} elements do not divide into blocks of {self.block} ({self.name})")
        return elements // self.block * self.block_bytes


GGML_TYPES: Mapping[int, TensorType] = {
    number: TensorType(name, block, block_bytes)
    for number, name, block, block_bytes in (
        (0, "f32", 1, 4),
        (1, "f16", 1, 2),
        (2, "q4_0", 32, 18),
        (3, "q4_1", 32, 20),
        (6, "q5_0", 32, 22),
        (7, "q5_1", 32, 24),
        (8, "q8_0", 32, 34),
        (9, "q8_1", 32, 36),
        (10, "q2_k", 256, 84),
        (11, "q3_k", 256, 110),
        (12, "q4_k", 256, 144),
        (13, "q5_k", 256, 176),
        (14, "q6_k", 256, 210),
        (15, "q8_k", 256, 292),
        (16, "iq2_xxs", 256, 66),
        (17, "iq2_xs", 256, 74),
        (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50),
        (20, "iq4_nl", 32, 18),
        (21, "iq3_s", 256, 110),
        (22, "iq2_s", 256, 82),
        (23, "iq4_xs", 256, 136),
        (24, "i8", 1, 1),
        (25, "i16", 1, 2),
        (26, "i32", 1, 4),
        (27, "i64", 1, 8),
        (28, "f64", 1, 8),
        (29, "iq1_m", 256, 56),
        (30, "bf16", 1, 2),
        (34, "tq1_0", 256, 54),
        (35, "tq2_0", 256, 66),
        (39, "mxfp4", 32, 17),
        (40, "nvfp4", 64, 36),
        (41, "q1_0", 128, 18),
        (42, "q2_0", 64, 18),
    )
}
"""The tensor types of ggml by their number in a file. Source: ggml.h (enum ggml_type) and ggml-common.h (blocks)."""

TYPE_BY_NAME: Mapping[str, TensorType] = {kind.name: kind for kind in GGML_TYPES.values()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of a tensor table. `dims` as GGUF counts them: the contiguous dimension first."""

    name: str
    dims: tuple[int, ...]
    type: str
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.dims)


@dataclass(frozen=True, slots=True)
class Counted:
    """An array that was counted and stepped over, not kept: vocabulary, merges, scores."""

    element_type: str
    count: int


Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...] | Counted


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensor table of one model; a split model's shards are summed (see `merge_shards`).

    `file_bytes` is the size of the file, or of all shards together; 0 when the source did not say.
    """

    architecture: str
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int
    alignment: int = 32
    shards: int = 1
    metadata_bytes: int = 0
    """From the file's first byte to the tensor table; of the first shard. 0 when nobody counted."""
    begins: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """First byte of each tensor's data, by name; empty of a split model taken together, and of one not there yet."""

    @cached_property
    def vocabulary_size(self) -> int:
        """Tokens of the vocabulary: counted, else declared, else 0."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, Counted):
            return tokens.count
        if isinstance(tokens, tuple):
            return len(tokens)
        declared = self.field("vocab_size")
        return declared if isinstance(declared, int) else 0

    @cached_property
    def weights_bytes(self) -> int:
        """Bytes of all tensors, without padding."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @cached_property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(tensor.elements for tensor in self.tensors)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that memory depends on; equal headers have equal fingerprints."""
        fields = {
            key: [value.element_type, value.count] if isinstance(value, Counted) else value
            for key, value in self.metadata.items()
        }
        return digest([fields, [(t.name, t.dims, t.type) for t in self.tensors]])

    def field(self, name: str) -> Value | None:
        """The value of `<architecture>.<name>`; None when the file does not say."""
        return self.metadata.get(f"{self.architecture}.{name}")


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensor table of one safetensors file, or of all shards together. `dims` stand as written: rows first."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    data_offset: int
    file_bytes: int

    @cached_property
    def weights_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @cached_property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(tensor.elements for tensor in self.tensors)


def merge_shards(headers: Iterable[GgufHeader]) -> GgufHeader:
    """One header for a split model: metadata of the first shard, tensors of all.

    Raises ValueError when the shards are not exactly `split.no` 0 to `split.count` - 1, or tensors repeat or lack.
    """
    shards = sorted(headers, key=lambda header: _whole(header, "split.no"))
    if not shards:
        raise ValueError("a model needs at least one file")
    first = shards[0]
    numbers = [_whole(shard, "split.no") for shard in shards]
    count = _whole(first, "split.count") or 1
    if any((_whole(shard, "split.count") or 1) != count for shard in shards):
        raise ValueError("the files are shards of different models: split.count differs")
    if numbers != list(range(count)):
        have = ", ".join(str(number) for number in numbers)
        raise ValueError(f"shards 0 to {count - 1} are needed, found {have}")
    if any(shard.architecture not in (first.architecture, "") for shard in shards):
        raise ValueError("the files are shards of different models: general.architecture differs")
    tensors = tuple(tensor for shard in shards for tensor in shard.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("a tensor is in two shards")
    declared = _whole(first, "split.tensors.count")
    if declared and declared != len(tensors):
        raise ValueError(f"the shards hold {len(tensors)} tensors, split.tensors.count says {declared}")
    return GgufHeader(
        architecture=first.architecture,
        metadata=first.metadata,
        tensors=tensors,
        data_offset=first.data_offset,
        file_bytes=sum(shard.file_bytes for shard in shards),
        alignment=first.alignment,
        shards=count,
        metadata_bytes=first.metadata_bytes,
    )


def _whole(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(key, 0)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} is not a count: {value!r}")
    return value

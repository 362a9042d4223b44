"""The GGUF header reader: what it says of good files, what it costs, and that hostile ones end in BadHeader."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.artifacts.headers.gguf import read_file, read_header, shard_names
from nexus_ctl.artifacts.headers.window import BadHeader, Limits, Read
from nexus_ctl.resources.weights import GGML_TYPES, Counted, merge_shards


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def tensor(name: str, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def image(*, keys: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    return head + b"".join(keys) + b"".join(tensors)


def over(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


ARCHITECTURE = entry("general.architecture", 8, text("llama"))


def vocabulary(count: int) -> tuple[bytes, ...]:
    tokens = b"".join(text(f"token{number}") for number in range(count))
    scores = struct.pack(f"<{count}f", *range(count))
    return (
        entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, count) + tokens),
        entry("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, count) + scores),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file by the reference writer, with per-layer values, a long vocabulary and quantized tensors."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "lfm2", use_temp_file=False)
    writer.add_block_count(3)
    writer.add_head_count_kv([0, 4, 0])
    writer.add_array("general.languages", ["en", "de"])
    writer.add_token_list([f"t{number}" for number in range(5000)])
    writer.add_token_scores([0.5] * 5000)
    writer.add_tensor_info("a", (8, 64), np.dtype("float32"), 8 * 64 * 4)
    writer.add_tensor_info("q", (4, 36), np.dtype("uint8"), 4 * 36, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + 8 * 64 * 4 + 4096)
    return path


def test_says_what_the_reference_writer_wrote(written: Path) -> None:
    header = read_file(written).header
    assert header.architecture == "lfm2"
    assert header.field("attention.head_count_kv") == (0, 4, 0)
    assert header.metadata["general.languages"] == ("en", "de")
    assert header.metadata["tokenizer.ggml.scores"] == Counted("f32", 5000)
    assert header.vocabulary_size == 5000
    assert [(t.name, t.dims, t.type, t.size_bytes) for t in header.tensors] == [
        ("a", (64, 8), "f32", 2048),
        ("q", (64, 4), "q4_0", 144),
    ]
    assert header.weights_bytes == 2192
    assert header.file_bytes == written.stat().st_size


def test_agrees_with_the_reference_reader_on_types() -> None:
    for kind, (block, block_bytes) in gguf.GGML_QUANT_SIZES.items():
        if kind.name == "Q8_1":  # the package counts 40; ggml's block_q8_1 is two halves and 32 bytes
            continue
        assert (GGML_TYPES[int(kind)].block, GGML_TYPES[int(kind)].block_bytes) == (block, block_bytes), kind


def test_steps_over_numbers_without_fetching_them() -> None:
    wide = entry("x.scores", 9, struct.pack("<IQ", 12, 1 << 20) + bytes(8 << 20))
    data = image(keys=(wide, ARCHITECTURE), tensors=(tensor("w", (32,), 0, 0),))
    read = read_header(over(data))
    assert read.header.tensors[0].size_bytes == 128
    assert read.bytes_read < 256 << 10
    assert read.requests == 2


def test_a_vocabulary_of_a_quarter_million_is_a_handful_of_requests() -> None:
    data = image(keys=(ARCHITECTURE, *vocabulary(262_144)))
    read = read_header(over(data))
    assert read.header.vocabulary_size == 262_144
    assert read.requests <= 9
    assert read.bytes_read <= len(data)


def test_keeps_no_vocabulary_in_memory() -> None:
    data = image(keys=(ARCHITECTURE, *vocabulary(200_000)))
    tracemalloc.start()
    try:
        read_header(over(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


LIMITED = Limits(header_bytes=1 << 16, string_bytes=1 << 10, kept_bytes=1 << 12, array_items=1 << 10, keys=64)

HOSTILE = {
    "empty": (b"", "ends inside"),
    "not gguf": (b"PK\x03\x04" + bytes(40), "begins with"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "version 1": (image(version=1), "version 1"),
    "version 9": (image(version=9), "version 9"),
    "2^63 keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "keys"),
    "2^63 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "tensors"),
    "endless string": (image(keys=(text("k") + struct.pack("<IQ", 8, 1 << 62),)), "a string"),
    "endless key": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 40), "a metadata key"),
    "endless array": (image(keys=(entry("k", 9, struct.pack("<IQ", 4, 1 << 61)),)), "an array"),
    "endless string in array": (
        image(keys=(entry("k", 9, struct.pack("<IQ", 8, 100) + struct.pack("<Q", 1 << 60) + bytes(999)),)),
        "a string",
    ),
    "array of arrays": (image(keys=(entry("k", 9, struct.pack("<IQ", 9, 1)),)), "arrays hold"),
    "unknown metadata type": (image(keys=(entry("k", 77, b""),)), "unknown metadata type 77"),
    "key twice": (image(keys=(ARCHITECTURE, ARCHITECTURE)), "stands twice"),
    "architecture a number": (image(keys=(entry("general.architecture", 4, bytes(4)),)), "not a text"),
    "odd alignment": (image(keys=(entry("general.alignment", 4, struct.pack("<I", 24)),)), "power of two"),
    "huge alignment": (image(keys=(entry("general.alignment", 4, struct.pack("<I", 1 << 30)),)), "power of two"),
    "alignment a text": (image(keys=(entry("general.alignment", 8, text("32")),)), "power of two"),
    "more kept than allowed": (image(keys=tuple(entry(f"k{n}", 8, text("x" * 900)) for n in range(9))), "together"),
    "more header than allowed": (
        image(keys=tuple(entry(f"k{n}", 9, struct.pack("<IQ", 8, 100) + text("x" * 900) * 100) for n in range(3))),
        "larger than",
    ),
    "no dimensions": (image(tensors=(tensor("w", (), 0, 0),)), "dimensions"),
    "nine dimensions": (image(tensors=(tensor("w", (1,) * 9, 0, 0),)), "dimensions"),
    "zero dimension": (image(tensors=(tensor("w", (0,), 0, 0),)), "impossible"),
    "overflowing dimensions": (image(tensors=(tensor("w", (1 << 40, 1 << 40), 0, 0),)), "impossible"),
    "unknown tensor type": (image(tensors=(tensor("w", (32,), 4096, 0),)), "type 4096"),
    "broken blocks": (image(tensors=(tensor("w", (33,), 2, 0),)), "do not divide"),
    "tensor twice": (image(tensors=(tensor("w", (32,), 0, 0), tensor("w", (32,), 0, 128))), "stands twice"),
    "overlap": (image(tensors=(tensor("v", (64,), 0, 0), tensor("w", (32,), 0, 128))), "misplaced"),
    "crooked offset": (image(tensors=(tensor("w", (32,), 0, 7),)), "misplaced"),
    "beyond the end": (image(tensors=(tensor("w", (1 << 30,), 0, 0),)), "shorter than its tensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_words(name: str) -> None:
    data, words = HOSTILE[name]
    with pytest.raises(BadHeader, match=words):
        read_header(over(data), len(data), LIMITED)


def test_refuses_every_truncation(written: Path) -> None:
    data = written.read_bytes()
    header = read_header(over(data), len(data)).header
    for cut in [*range(200), *range(200, header.data_offset, 997), len(data) - 4095]:
        with pytest.raises(BadHeader):
            read_header(over(data[:cut]), cut)


@settings(max_examples=300, deadline=None)
@given(
    head=st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=9)), max_size=3),
    table=st.lists(st.tuples(st.integers(1, 160), st.binary(min_size=1, max_size=9)), max_size=3),
)
def test_survives_any_damage_to_a_real_header(
    written: Path, head: list[tuple[int, bytes]], table: list[tuple[int, bytes]]
) -> None:
    content = bytearray(written.read_bytes())
    end = read_header(over(bytes(content))).header.data_offset
    for place, piece in head + [(end - back, piece) for back, piece in table]:
        content[place : place + len(piece)] = piece
    tracemalloc.start()
    try:
        read_header(over(bytes(content)), len(content))
    except BadHeader:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 48 << 20


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_survives_any_bytes(junk: bytes) -> None:
    with pytest.raises(BadHeader):
        read_header(over(b"GGUF\x03\x00\x00\x00" + junk[:8].ljust(8, b"\x01") + b"\x07" + bytes(7) + junk), 10)


def shard(number: int, count: int, *names: str, total: int = 3) -> bytes:
    keys = [
        entry("split.no", 2, struct.pack("<H", number)),
        entry("split.count", 2, struct.pack("<H", count)),
        entry("split.tensors.count", 5, struct.pack("<i", total)),
    ]
    if number == 0:
        keys.append(ARCHITECTURE)
    rows = tuple(tensor(name, (8,), 0, 32 * place) for place, name in enumerate(names))
    return image(keys=tuple(keys), tensors=rows)


def test_a_split_model_is_the_sum_of_its_shards(tmp_path: Path) -> None:
    for number, names in enumerate((("a", "b"), ("c",))):
        data = shard(number, 2, *names)
        (tmp_path / shard_names("m-00001-of-00002.gguf")[number]).write_bytes(data + bytes(128))
    for start in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        header = read_file(tmp_path / start).header
        assert (header.architecture, header.shards, header.weights_bytes) == ("llama", 2, 96)
        assert [t.name for t in header.tensors] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ((shard(0, 2, "a", "b"),), "are needed, found 0"),
        ((shard(0, 2, "a", "b"), shard(0, 2, "c")), "are needed, found 0, 0"),
        ((shard(0, 2, "a", "b"), shard(1, 3, "c")), "split.count differs"),
        ((shard(0, 2, "a", "b"), shard(1, 2, "b")), "in two shards"),
        ((shard(0, 2, "a"), shard(1, 2, "c")), "split.tensors.count says 3"),
    ],
)
def test_wrong_sets_of_shards_are_refused(shards: tuple[bytes, ...], words: str) -> None:
    headers = [read_header(over(data)).header for data in shards]
    with pytest.raises(ValueError, match=words):
        merge_shards(headers)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("m.gguf", ("m.gguf",)),
        ("m-00001-of-00000.gguf", ("m-00001-of-00000.gguf",)),
        ("m-00002-of-00002.gguf", ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")),
    ],
)
def test_the_names_of_all_shards_follow_from_one(name: str, names: tuple[str, ...]) -> None:
    assert shard_names(name) == names

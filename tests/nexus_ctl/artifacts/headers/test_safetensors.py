"""The safetensors header reader: sizes per type, sums over files, and hostile files refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_ctl.artifacts.headers.safetensors import merge_files, read_header
from nexus_ctl.artifacts.headers.window import BadHeader, Read


def file(table: object, body: int = 0) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + bytes(body)


def over(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


def row(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_sums_what_the_table_says() -> None:
    table = {
        "__metadata__": {"format": "pt"},
        "w": row("BF16", [4, 8], 0, 64),
        "s": row("F8_E4M3", [3], 64, 67),
        "n": row("F32", [], 67, 71),
        "p": row("F4", [2, 3], 71, 74),
    }
    data = file(table, 74)
    header = read_header(over(data), len(data))
    assert (header.weights_bytes, header.parameters) == (74, 42)
    assert header.metadata == {"format": "pt"}
    assert [(t.name, t.type) for t in header.tensors] == [("w", "bf16"), ("s", "f8_e4m3"), ("n", "f32"), ("p", "f4")]


def test_a_large_table_takes_two_requests() -> None:
    table = {f"layers.{n}.weight": row("F16", [2], 4 * n, 4 * n + 4) for n in range(5000)}
    data = file(table, 20_000)
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    assert read_header(read, len(data)).weights_bytes == 20_000
    assert len(asked) == 2
    assert sum(asked) < len(data) + 16


def test_files_of_one_model_add_up() -> None:
    parts = [read_header(over(file({name: row("F32", [2], 0, 8)}, 8))) for name in ("a", "b")]
    assert merge_files(parts).weights_bytes == 16
    with pytest.raises(BadHeader, match="in two files"):
        merge_files([parts[0], parts[0]])


HOSTILE = {
    "empty": (b"", "ends inside"),
    "endless": ((1 << 60).to_bytes(8, "little") + b"{}", "allowed"),
    "cut": (file({"w": row("F32", [2], 0, 8)})[:20], "ends inside"),
    "not json": (file(b"{nope}"), "not the JSON"),
    "deep": (file(b"[" * 100_000), "not the JSON"),
    "a list": (file([]), "not a JSON object"),
    "twice": (file(b'{"a":{},"a":{}}'), "stands twice"),
    "unknown type": (file({"w": row("F99", [2], 0, 8)}), "not described"),
    "no offsets": (file({"w": {"dtype": "F32", "shape": [2]}}), "not described"),
    "negative": (file({"w": row("F32", [-2], 0, 8)}), "impossible"),
    "text for a number": (file({"w": row("F32", ["2"], 0, 8)}), "impossible"),  # type: ignore[list-item]
    "wrong size": (file({"w": row("F32", [2], 0, 9)}, 9), "8 needed"),
    "hole": (file({"w": row("F32", [2], 8, 16)}, 16), "misplaced"),
    "short file": (file({"w": row("F32", [2], 0, 8)}, 7), "speaks of"),
    "metadata a number": (file({"__metadata__": {"a": 1}}), "texts"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_words(name: str) -> None:
    data, words = HOSTILE[name]
    with pytest.raises(BadHeader, match=words):
        read_header(over(data), len(data))


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 150), piece=st.binary(min_size=1, max_size=6))
def test_survives_any_damage(place: int, piece: bytes) -> None:
    good = file({"w": row("F32", [2], 0, 8), "v": row("BF16", [4, 2], 8, 24)}, 24)
    data = good[:place] + piece + good[place + len(piece) :]
    try:
        header = read_header(over(data), len(data))
    except BadHeader:
        return
    assert header.weights_bytes + header.data_offset == len(data)

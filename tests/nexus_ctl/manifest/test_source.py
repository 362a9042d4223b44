from __future__ import annotations

import pytest

from nexus_ctl.errors import Diagnostic
from nexus_ctl.manifest import source
from nexus_ctl.manifest.nodes import find, plain, resolve


def read(text: str | bytes) -> tuple[list[object], list[Diagnostic]]:
    faults: list[Diagnostic] = []
    data = text.encode() if isinstance(text, str) else text
    nodes = source.read(data, "x.yaml", "/x.yaml", faults.append)
    return [plain(node, faults.append) for node in nodes], faults


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("on", "on"), ("yes", "yes"), ("No", "No"), ("22:22", "22:22"), ("1_000", "1_000"), ("0b1", "0b1"),
        ("2024-01-01", "2024-01-01"), ("=", "="), ("true", True), ("FALSE", False), ("~", None), ("Null", None),
        ("", None), ("1.10", 1.1), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("0o17", 15), ("0x1F", 31), ("-0", 0),
        ("+12", 12), ("-", "-"), (".", "."), ("0.0.0.0", "0.0.0.0"), ("1e", "1e"), ("+", "+"), ("true ", "true "),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    value = resolve(written)
    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize("written", ["010", "-07", "00", ".inf", "-.INF", ".nan", "1e999", str(2**63), "9" * 5000])
def test_numbers_that_cannot_be_told_or_stored_are_refused(written: str) -> None:
    with pytest.raises(ValueError):
        resolve(written)


def test_marks_count_characters_not_bytes() -> None:
    nodes = source.read("größe: {ä: wert}\n".encode(), "x.yaml", "/x.yaml", pytest.fail)
    _, place = find(nodes[0], ("größe", "ä"))
    assert (place.line, place.column, place.span) == (1, 12, 4)


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    values, faults = read("\ufeffa: 1\r\nb: [1,\r\n  2]\r\n")
    assert values == [{"a": 1, "b": [1, 2]}]
    assert faults == []


def test_an_alias_stands_for_the_whole_value() -> None:
    assert read("a: &x {b: [1]}\nc: *x\n") == ([{"a": {"b": [1]}, "c": {"b": [1]}}], [])


def test_anchors_end_with_their_document() -> None:
    _, faults = read("a: &x 1\n---\nb: *x\n")
    assert [one.code for one in faults] == ["unknown-alias"]


@pytest.mark.parametrize("text", ["[" * 10**6, "{a: " * 10**6, "- " * 10**6, "? " * 10**6])
def test_depth_is_bounded_before_anything_is_built(text: str) -> None:
    values, faults = read(text)
    assert values == []
    assert [one.code for one in faults] == ["too-deep"]


def test_aliases_cannot_hide_depth() -> None:
    deep = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40 + "\n"
    assert [one.code for one in read(deep)[1]] == ["too-deep"]


def test_a_file_over_the_limit_is_not_read() -> None:
    values, faults = read(b"#" * (source.MAX_FILE_BYTES + 1))
    assert values == []
    assert [one.code for one in faults] == ["file-too-large"]


def test_documents_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_DOCUMENTS", 3)
    assert [one.code for one in read("--- 1\n" * 3)[1]] == []
    assert [(one.code, one.location.line) for one in read("--- 1\n" * 9)[1]] == [("too-many-documents", 4)]


def test_documents_before_a_syntax_fault_are_kept() -> None:
    values, faults = read("a: 1\n---\nb: [\n")
    assert values == [{"a": 1}]
    assert [one.code for one in faults] == ["yaml-syntax"]

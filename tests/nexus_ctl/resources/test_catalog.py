"""File names → quantizations."""

from __future__ import annotations

import pytest

from nexus_ctl.resources.catalog import RepoFile, group_of, quantizations
from nexus_ctl.resources.foreign_text import is_plain, line, paragraphs


def offered(*names: str) -> list[tuple[str, int]]:
    found = quantizations(RepoFile(name, 10 + len(name), f"{place:064x}") for place, name in enumerate(names))
    return [(one.label, len(one.files)) for one in found]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen3-8b.q8_0.gguf", "Q8_0"),
        ("model-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("BF16/Big-BF16.gguf", "BF16"),
        ("smollm2-f16.gguf", "F16"),
        ("model.gguf", "model"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert offered(name) == [(label, 1)]


def test_parts_of_a_split_are_one_and_a_gap_is_none() -> None:
    parts = [f"Q8/big-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert offered(*parts) == [("Q8_0", 3)]
    assert offered(*parts[:2]) == []
    assert {group_of(part) for part in parts} == {"Q8/big-Q8_0"}


def test_what_is_no_model_of_its_own_is_left_out() -> None:
    names = ("mmproj-model-f16.gguf", "imatrix.gguf", "README.md", "a-lora-f16.gguf", "model-Q4_0.gguf")
    assert offered(*names) == [("Q4_0", 1)]


def test_two_of_one_name_keep_their_own() -> None:
    assert offered("a-Q4_0.gguf", "bb-Q4_0.gguf") == [("a-Q4_0", 1), ("bb-Q4_0", 1)]


def test_text_of_strangers() -> None:
    assert line("a\x1b[31mb\x1b]0;title\x07c\nd\te\u202ef\x00\x9b2J") == "abc d ef2J"
    assert paragraphs("a\r\nb\rc\x1bMd", 100) == "a\nb\ncd"
    assert (line(5), line(None), line("x" * 500)) == ("", "", "x" * 200)
    assert is_plain("größe 模型 👩‍💻")
    assert not any(map(is_plain, ("a\nb", "\x1b", "\u2066", "\ud800")))

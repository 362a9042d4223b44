"""A manifest that the documentation shows can be copied: it loads, and so do references within it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nexus_ctl.manifest.stack import load
from tests.docs.pages import PAGES, ROOT, blocks


def _whole(code: str) -> bool:
    """Whether a block is a set of whole documents; a piece of one begins further in."""
    documents = [document for document in yaml.safe_load_all(code) if document is not None]
    return all("apiVersion" in document for document in documents)


SHOWN = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "yaml"))
    if _whole(code)
]


@pytest.mark.parametrize("code", SHOWN)
def test_it_loads_without_a_word(code: str, tmp_path: Path) -> None:
    file = tmp_path / "nexus.yaml"
    file.write_text(code, encoding="utf-8")
    stack = load([str(file)], environ={})
    assert stack.resources
    assert stack.warnings == ()


def test_there_are_some() -> None:
    assert len(SHOWN) >= 4

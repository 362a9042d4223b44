"""`make docs` writes what the repository holds: every generated file, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.generate import ROOT, generate


def _files(root: Path) -> dict[str, str]:
    paths = (path for folder in ("docs", "schemas") for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths}


def test_writing_anew_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    lifecycle = (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    stale = lifecycle.replace("| `UNKNOWN` | download |", "| `UNKNOWN` | fly |")
    assert stale != lifecycle
    (tmp_path / "docs" / "lifecycle.md").write_text(stale, encoding="utf-8")
    generate(tmp_path)
    written, held = _files(tmp_path), _files(ROOT)
    assert {name for name, text in written.items() if held.get(name) != text} == set()
    assert {"docs/cli.md", "docs/lifecycle.md", "docs/reference/route.md", "schemas/nexus.json"} <= written.keys()


def test_it_needs_no_page_but_the_one_it_completes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for page in (tmp_path / "docs" / "reference").glob("*.md"):
        page.unlink()
    generate(tmp_path)
    assert _files(tmp_path) == _files(ROOT)

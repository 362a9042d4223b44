from __future__ import annotations

from pathlib import Path

import pytest

from nexus_ctl.resources.field import field_table
from nexus_ctl.resources.kinds import KINDS
from nexus_ctl.views.reference import reference, write_reference

PAGES = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_pages_are_fresh(kind: str) -> None:
    page = PAGES / f"{kind.lower()}.md"
    assert page.read_text(encoding="utf-8") == reference(kind), f"{page.name}: run make docs"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_field_has_a_row_with_a_meaning(kind: str) -> None:
    rows = {line.split("|")[1].strip(): line for line in reference(kind).split("\n") if line.startswith("| `spec")}
    for row in field_table(KINDS[kind].spec):
        assert " ".join(row.doc.split()).replace("|", "\\|") in rows[f"`{row.path}`"]


def test_pages_are_written_where_asked(tmp_path: Path) -> None:
    assert write_reference(tmp_path / "new") == sorted(f"{kind.lower()}.md" for kind in KINDS)
    assert (tmp_path / "new" / "model.md").read_text(encoding="utf-8") == reference("Model")

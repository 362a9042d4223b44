"""The page of the command line is as fresh as the commands."""

from __future__ import annotations

from pathlib import Path

from nexus_ctl.cli.reference import reference, write_reference
from nexus_ctl.cli.table import COMMANDS

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_repository_holds_the_page_of_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run make docs"


def test_every_command_is_on_it(tmp_path: Path) -> None:
    write_reference(tmp_path / "cli.md")
    page = (tmp_path / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"### `nexusctl {name}" not in page] == []
    assert "### `nexusctl models gc" in page

"""`python -m tests.docs.generate`: write every generated file of the repository anew, by the functions that own them.

Run by `make docs`. The tests beside those functions hold the files to them; nothing is decided here.
"""

from __future__ import annotations

import re
from pathlib import Path

from nexus_ctl.cli.reference import write_reference as write_cli
from nexus_ctl.manifest.json_schema import write_schemas
from nexus_ctl.resources.lifecycle import markdown
from nexus_ctl.views.reference import write_reference as write_kinds

ROOT = Path(__file__).parents[2]
STEPS = re.compile(r"^\| state \|.*(?:\n\|.*)*", re.MULTILINE)


def generate(root: Path) -> None:
    """Write `schemas/`, `docs/reference/`, `docs/cli.md` and the table in `docs/lifecycle.md` below `root`."""
    docs = root / "docs"
    write_kinds(docs / "reference")
    write_cli(docs / "cli.md")
    lifecycle = docs / "lifecycle.md"
    lifecycle.write_text(STEPS.sub(lambda _: markdown(), lifecycle.read_text(encoding="utf-8")), encoding="utf-8")
    write_schemas(root / "schemas")


if __name__ == "__main__":
    generate(ROOT)

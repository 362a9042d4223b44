"""The reference pages of the kinds, Markdown, from the field tables. A test keeps `docs/reference/` fresh."""

from __future__ import annotations

import json
from pathlib import Path

from nexus_ctl.resources.envelope import ANNOTATIONS, API_VERSION
from nexus_ctl.resources.field import EFFECTS, Row, field_table
from nexus_ctl.resources.kinds import KINDS


def reference(kind: str) -> str:
    """The page of a kind, by its name in `KINDS`."""
    row = KINDS[kind]
    lines = [
        f"# {row.name}",
        "",
        "<!-- Generated from the field table; `make docs` writes it anew. -->",
        "",
        f"{row.doc} Written as `apiVersion: {API_VERSION}`, `kind: {row.name}`;",
        f"on the command line also `{row.plural}` and `{row.short}`. An example that runs:",
        f"[examples/{row.name.lower()}/minimal.yaml](../../examples/{row.name.lower()}/minimal.yaml).",
        "",
        "`[]` stands for an item of a list, `{}` for a value of a map.",
        "",
        "| Field | Type | Default | A change | Meaning |",
        "| --- | --- | --- | --- | --- |",
        *map(_line, field_table(row.spec)),
        "",
        "## Annotations",
        "",
        "| Annotation | Meaning |",
        "| --- | --- |",
        *(f"| `{key}` | {_cell(doc)} |" for key, doc in ANNOTATIONS.items()),
        "",
    ]
    return "\n".join(lines)


def write_reference(directory: str | Path) -> list[str]:
    """Write every page into `directory`, which is made if need be. Returns the file names, sorted."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind.lower()}.md").write_text(reference(kind), encoding="utf-8")
    return sorted(f"{kind.lower()}.md" for kind in KINDS)


def _line(row: Row) -> str:
    default = f"`{json.dumps(row.written_default, ensure_ascii=False)}`" if row.written_default is not None else ""
    words = "**required**" if row.required else default
    cells = (f"`{row.path}`", row.type_name, words, EFFECTS[row.mark.on_change], row.doc)
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""Applied specs against declared ones → a unified diff in YAML, as `diff -u` users read it; or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from typing import Any

from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.views.diagnostics import Style, plain

ROLES = {"+": "create", "-": "remove", "@": "place"}


def text(applied: Mapping[Ref, Normal], declared: Mapping[Ref, Normal], style: Style = plain) -> str:
    """One part per object that differs, sorted by ref; "" when all are the same. An absent object is /dev/null."""
    refs = sorted(applied.keys() | declared.keys())
    return "".join(line for ref in refs for line in _part(ref, applied.get(ref), declared.get(ref), style))


def to_json(applied: Mapping[Ref, Normal], declared: Mapping[Ref, Normal]) -> list[dict[str, Any]]:
    """One row per object that differs, sorted by ref; `applied` or `declared` is null where it is absent. Keys are
    stable."""
    pairs = [(ref, applied.get(ref), declared.get(ref)) for ref in sorted(applied.keys() | declared.keys())]
    return [{"ref": str(ref), "applied": was, "declared": now} for ref, was, now in pairs if was != now]


def _part(ref: Ref, before: Normal | None, after: Normal | None, style: Style) -> Iterator[str]:
    lines = unified_diff(
        _yaml(before),
        _yaml(after),
        "/dev/null" if before is None else f"applied/{ref}",
        "/dev/null" if after is None else f"declared/{ref}",
    )
    for line in lines:
        head = line.startswith(("---", "+++"))
        yield style("plain" if head else ROLES.get(line[0], "plain"), line.rstrip("\n")) + "\n"


def _yaml(normal: Normal | None) -> list[str]:
    import yaml

    if normal is None:
        return []
    text: str = yaml.safe_dump({"spec": dict(normal)}, allow_unicode=True, default_flow_style=False)
    return text.splitlines(keepends=True)

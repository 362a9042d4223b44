"""The difference of two normal forms, field by field, with what each change does (R3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from nexus_ctl.resources.field import Mark, OnChange, Spec, field_table
from nexus_ctl.resources.normal import Normal, leaves


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs. `before`/`after` are JSON values; the field's default stands in where it is unset."""

    path: str
    before: Any
    after: Any
    mark: Mark

    @property
    def on_change(self) -> OnChange:
        return self.mark.on_change


def compare(spec: type[Spec], before: Normal, after: Normal) -> tuple[FieldChange, ...]:
    """Fields that differ, sorted by path; empty when the two mean the same."""
    old, new = leaves(spec, before), leaves(spec, after)
    defaults = _defaults(spec)
    changes = []
    for path in sorted(old.keys() | new.keys()):
        was, mark = old.get(path) or (defaults.get(path), new[path][1])
        now = new[path][0] if path in new else defaults.get(path)
        if was != now:
            changes.append(FieldChange(path, was, now, mark))
    return tuple(changes)


@cache
def _defaults(spec: type[Spec]) -> dict[str, Any]:
    return {row.path: row.default for row in field_table(spec) if not row.children and "{" not in row.path}

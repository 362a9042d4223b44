"""What an apply came to: one line per object, or JSON.

Takes the endings as plain words, since views stand below the controllers that make them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nexus_ctl.planning.plan import FORMAT_VERSION
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.views.diagnostics import Style, plain

UNCHANGED = "unchanged"
ROLES = {
    "created": "create",
    "configured": "update",
    "replaced": "replace",
    "restarted": "replace",
    "adopted": "update",
    "forgotten": "remove",
    "deleted": "remove",
    "pruned": "remove",
    "blocked": "blocked",
    "failed": "error",
    "reverted": "error",
    "skipped": "blocked",
}


@dataclass(frozen=True, slots=True)
class Applied:
    """One object's end: the word (`created`, `failed`, ...), and for a bad one why."""

    ref: Ref
    ending: str
    detail: str = ""
    code: str = ""


def spoken(ref: Ref) -> str:
    """`model/qwen3`: the form people type and lines begin with."""
    return f"{ref.kind.lower()}/{ref.name}"


def lines(objects: Iterable[Applied], style: Style = plain) -> str:
    """One line per object in the order given: `deployment/chat replaced`, `model/legacy blocked (protected)`."""
    return "".join(
        f"{spoken(one.ref)} {style(ROLES.get(one.ending, 'plain'), one.ending)}"
        f"{' (' + one.detail.partition(chr(10))[0] + ')' if one.detail else ''}\n"
        for one in objects
    )


def names(objects: Iterable[Applied]) -> str:
    """Only what was changed, one name per line."""
    still = (UNCHANGED, "blocked", "skipped")
    return "".join(f"{spoken(one.ref)}\n" for one in objects if one.ending not in still)


def to_json(set_name: str, objects: Iterable[Applied]) -> dict[str, Any]:
    """Keys are stable."""
    rows = [
        {"ref": str(one.ref), "result": one.ending, "detail": one.detail, "code": one.code or None} for one in objects
    ]
    summary: dict[str, int] = {}
    for row in rows:
        summary[str(row["result"])] = summary.get(str(row["result"]), 0) + 1
    return {"formatVersion": FORMAT_VERSION, "set": set_name, "objects": rows, "summary": summary}

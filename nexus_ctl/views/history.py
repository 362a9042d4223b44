"""The revisions of an object → a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.store.records import Revision
from nexus_ctl.views.table import age, table

HEADERS = ("REVISION", "GENERATION", "AGE", "RESULT", "STABLE", "DIGEST", "ACTOR", "CAUSE", "WHY")


def text(revisions: Sequence[Revision], now: datetime, *, show_headers: bool = True) -> str:
    """The table, oldest first."""
    rows = [
        (
            str(one.number),
            str(one.generation),
            age(one.created_at, now),
            one.result,
            "yes" if one.stable else "no",
            one.digest,
            one.actor,
            one.cause,
            one.why.partition("\n")[0],
        )
        for one in revisions
    ]
    return table(HEADERS, rows, show_headers=show_headers)


def to_json(revisions: Sequence[Revision]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "revision": one.number,
            "generation": one.generation,
            "createdAt": stamp(one.created_at),
            "result": one.result,
            "stable": one.stable,
            "digest": one.digest,
            "actor": one.actor,
            "cause": one.cause,
            "opId": one.op_id,
            "why": one.why or None,
            "spec": dict(one.spec),
        }
        for one in revisions
    ]

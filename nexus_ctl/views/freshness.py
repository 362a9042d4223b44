"""How old an answer is, in words: `as of 3h ago (the hub does not answer: …)`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.catalog import Fresh
from nexus_ctl.views.table import age

_NOW = timedelta(seconds=5)


def as_of(fresh: Fresh, now: datetime) -> str:
    """`as of now`, or how long ago and why."""
    when = "now" if now - fresh.as_of < _NOW else f"{age(fresh.as_of, now)} ago"
    return f"as of {when}" + (f" ({fresh.why})" if fresh.why else "")


def to_json(fresh: Fresh) -> dict[str, Any]:
    """Keys are stable."""
    return {"asOf": stamp(fresh.as_of), "stale": bool(fresh.why), "why": fresh.why or None}

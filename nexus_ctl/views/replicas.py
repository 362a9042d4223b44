"""Replicas as rows: what a runtime says of each, and what its probe answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.observed import ReplicaView
from nexus_ctl.views.table import age, table

HEADERS = ("REPLICA", "STATE", "HEALTH", "ADDRESS", "PID", "UP", "RESTARTS")
NOTHING: Mapping[str, Backoff] = {}


def text(views: Iterable[ReplicaView], now: datetime, backoffs: Mapping[str, Backoff] = NOTHING) -> str:
    """The table; "" without any. RESTARTS counts ends in a row that were healed, and says when the last one was."""
    rows = [
        (
            view.replica.name,
            view.replica.condition,
            view.health.value,
            view.replica.address,
            "" if view.replica.pid is None else str(view.replica.pid),
            age(view.replica.started_at, now) if view.replica.address else "",
            _restarts(view, backoffs.get(view.replica.name), now),
        )
        for view in views
    ]
    return table(HEADERS, rows) if rows else ""


def _restarts(view: ReplicaView, known: Backoff | None, now: datetime) -> str:
    if known is None:
        return ""
    return f"{known.failures if view.replica.address else known.restarts} ({age(known.failed_at, now)} ago)"


def ends(backoffs: Iterable[Backoff], now: datetime) -> str:
    """Replicas that ended, each with what comes next and its last words; "" without any."""
    lines = []
    for one in backoffs:
        lines.append(f"{one.replica} {one.exit}: {one.words(now)}\n")
        lines += [f"    {line}\n" for line in one.lines]
    return "".join(lines)


def to_json(views: Iterable[ReplicaView], backoffs: Mapping[str, Backoff] = NOTHING) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "name": view.replica.name,
            "state": "paused" if view.replica.paused else view.replica.state.value,
            "health": view.health.value,
            "address": view.replica.address or None,
            "pid": view.replica.pid,
            "exit": str(view.replica.exit) if view.replica.exit else None,
            "startedAt": stamp(view.replica.started_at) if view.replica.started_at else None,
            "lastEnd": _end_json(backoffs.get(view.replica.name)),
        }
        for view in views
    ]


def _end_json(known: Backoff | None) -> dict[str, Any] | None:
    if known is None:
        return None
    how = known.exit
    return {
        "inARow": known.failures,
        "exitCode": how.code,
        "signal": how.signal or None,
        "outOfMemory": how.out_of_memory,
        "at": stamp(known.failed_at),
        "nextTryAt": stamp(known.next_at),
        "lines": list(known.lines),
    }

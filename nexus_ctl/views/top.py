"""What replicas use of the machine → a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nexus_ctl.planning.sizes import human_bytes
from nexus_ctl.views.table import table

HEADERS = ("REPLICA", "OBJECT", "PID", "CPU", "MEMORY", "IN-FLIGHT", "UP")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process takes: cores over the time measured, resident bytes."""

    cpu_cores: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One running replica. `usage` and `in_flight` are None where nothing tells."""

    replica: str
    object: str
    pid: int | None
    usage: Usage | None
    in_flight: int | None
    up: str


def text(rows: Sequence[Row], *, show_headers: bool = True) -> str:
    """The table; CPU in percent of one core."""
    lines = [
        (
            row.replica,
            row.object,
            "" if row.pid is None else str(row.pid),
            f"{row.usage.cpu_cores * 100:.0f}%" if row.usage else "",
            human_bytes(row.usage.rss_bytes) if row.usage else "",
            "" if row.in_flight is None else str(row.in_flight),
            row.up,
        )
        for row in rows
    ]
    return table(HEADERS, lines, show_headers=show_headers)


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "replica": row.replica,
            "object": row.object,
            "pid": row.pid,
            "cpuCores": round(row.usage.cpu_cores, 3) if row.usage else None,
            "rssBytes": row.usage.rss_bytes if row.usage else None,
            "inFlight": row.in_flight,
        }
        for row in rows
    ]

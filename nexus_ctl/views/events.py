"""Events → a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nexus_ctl.clock import stamp
from nexus_ctl.store.records import RecordedEvent
from nexus_ctl.views.applied import spoken
from nexus_ctl.views.table import age, table

HEADERS = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE")


def text(events: Sequence[RecordedEvent], now: datetime, *, show_headers: bool = True) -> str:
    """The table, in the order given; of a message of several lines the first."""
    rows = [
        (
            age(one.last, now),
            one.event.type,
            one.event.reason,
            spoken(one.event.ref),
            str(one.count),
            one.event.message.partition("\n")[0],
        )
        for one in events
    ]
    return table(HEADERS, rows, show_headers=show_headers)


def line(one: RecordedEvent) -> str:
    """One event as a watcher sees it: it does not know how wide the next will be."""
    event = one.event
    times = f" (x{one.count})" if one.count > 1 else ""
    return f"{stamp(one.last)[:19]}Z  {event.type:<7}  {event.reason}{times}  {spoken(event.ref)}  {event.message}"


def to_json(events: Sequence[RecordedEvent]) -> list[dict[str, Any]]:
    """Keys are stable."""
    return [
        {
            "id": one.id,
            "type": one.event.type,
            "reason": one.event.reason,
            "message": one.event.message,
            "regarding": str(one.event.ref),
            "generation": one.event.generation,
            "count": one.count,
            "first": stamp(one.first),
            "last": stamp(one.last),
            "opId": one.event.op_id,
            "actor": one.event.actor,
        }
        for one in events
    ]

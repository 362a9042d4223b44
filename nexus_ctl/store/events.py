"""Events: what happened, told once (R25). The same again counts up, a flood is combined, a torrent is cut, age ends it.

The rules are those of client-go's event correlator: an equal event within ten minutes raises the count of the one
there is; the eleventh different message about one thing for one reason becomes "(combined from similar events)"; and
each thing may speak 25 times at once and then once in five minutes. Warnings have an allowance of their own, so that
chatter cannot silence them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from nexus_ctl.clock import Clock
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database
from nexus_ctl.store.records import Event, RecordedEvent

COMBINED = "(combined from similar events): "
SWEEP_EVERY = 64
"""Old events are removed at every so many sightings."""
FEW = 10
"""Up to so many objects are asked for by name; beyond, reading all that was told lately is cheaper."""
THING = ("set", "kind", "name", "type", "reason")
NEXT_IDS = (
    update(tables.meta).values(event_id=tables.meta.c.event_id + bindparam("count")).returning(tables.meta.c.event_id)
)
AGAIN = update(tables.events).where(tables.events.c.id == bindparam("before_id"))
Kept = dict[str, Any]
"""A row of the table."""
Lately = dict[tuple[Any, ...], list[Kept]]
"""Rows by what they are about (`THING`)."""


@dataclass(frozen=True, slots=True)
class EventLimits:
    """How much is told and kept."""

    window: timedelta = timedelta(minutes=10)
    """Within it, events are the same or similar."""
    similar: int = 10
    """Different messages about one thing for one reason before they are combined."""
    burst: int = 25
    """Events of one type about one thing at once."""
    refill_seconds: float = 300.0
    """Until one more may be told."""
    keep: timedelta = timedelta(days=7)
    keep_count: int = 10_000


@dataclass(slots=True)
class Allowance:
    """A token bucket per (set, ref, type), in memory: a new process may speak afresh."""

    limits: EventLimits
    _buckets: dict[tuple[str, Ref, str], tuple[float, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, event: Event, now: float) -> bool:
        """True when this event may be told. `now` in seconds, monotonic."""
        key = (event.set, event.ref, event.type)
        with self._lock:
            tokens, before = self._buckets.get(key, (float(self.limits.burst), now))
            tokens = min(float(self.limits.burst), tokens + (now - before) / self.limits.refill_seconds)
            allowed = tokens >= 1
            self._buckets[key] = (tokens - 1 if allowed else tokens, now)
            return allowed


@dataclass(frozen=True, slots=True)
class Events:
    """The events of every set."""

    database: Database
    clock: Clock
    limits: EventLimits
    allowance: Allowance

    def emit(self, event: Event) -> RecordedEvent | None:
        """Tell an event; it as kept, or None when its object has spoken too much of late."""
        return self.emit_all([event])[0]

    def emit_all(self, told: Sequence[Event]) -> tuple[RecordedEvent | None, ...]:
        """The same of many, in this order, all or none."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        allowed = [event if self.allowance.take(event, monotonic) else None for event in told]
        events = [event for event in allowed if event is not None]
        if not events:
            return (None,) * len(told)
        with self.database.write(exclusive=True) as connection:
            last = _last_id(connection, len(events))
            ids = range(last - len(events) + 1, last + 1)
            lately = self._lately(connection, events, now)
            kept = [self._keep(event, new_id, now, lately) for event, new_id in zip(events, ids, strict=True)]
            fresh = {row["id"]: row for row, replaced in kept if replaced is None}
            for row, replaced in kept:
                if replaced in fresh:
                    fresh[row["id"]] = fresh.pop(replaced) | row
                elif replaced is not None:
                    connection.execute(AGAIN, row | {"before_id": replaced})
            if fresh:
                connection.execute(insert(tables.events), list(fresh.values()))
            if any(new_id % SWEEP_EVERY == 0 for new_id in ids):
                self._sweep(connection, now)
        recorded = iter([_recorded(row) for row, _ in kept])
        return tuple(next(recorded) if event is not None else None for event in allowed)

    def read(self, set_name: str, ref: Ref | None = None, *, after: int = 0) -> tuple[RecordedEvent, ...]:
        """Events of a set or of one object with an id above `after`, in the order they were last seen.

        To watch, ask again with the last id: an event that repeats comes back with a higher id and count.
        """
        table = tables.events
        about = and_(table.c.set == set_name, table.c.id > after)
        if ref is not None:
            about = and_(about, table.c.kind == ref.kind, table.c.name == ref.name)
        with self.database.read() as connection:
            rows = connection.execute(select(table).where(about).order_by(table.c.id)).mappings()
            return tuple(_recorded(dict(row)) for row in rows)

    def _lately(self, connection: Connection, events: Sequence[Event], now: datetime) -> Lately:
        """What was told within the window of what the events are about, by set, kind, name, type and reason."""
        table = tables.events
        about = table.c.last >= now - self.limits.window
        if len(events) <= FEW:
            refs = {(event.set, event.ref.kind, event.ref.name) for event in events}
            about = and_(about, or_(*(_about(*words) for words in sorted(refs))))
        else:
            about = and_(about, table.c.set.in_(sorted({event.set for event in events})))
        lately: Lately = {}
        for row in connection.execute(select(table).where(about)).mappings():
            lately.setdefault(tuple(row[word] for word in THING), []).append(dict(row))
        return lately

    def _keep(self, event: Event, new_id: int, now: datetime, lately: Lately) -> tuple[dict[str, Any], int | None]:
        """The row of this event, and the id of the row it takes the place of, None for a new one; noted in `lately`."""
        similar = lately.setdefault((event.set, event.ref.kind, event.ref.name, event.type, event.reason), [])
        message = tables.storable(event.message)
        before = _same(similar, message, event.generation)
        if before is None and len(similar) >= self.limits.similar:
            before, message = _combined(similar), COMBINED + message
        latest = {
            "id": new_id,
            "message": message,
            "op_id": event.op_id,
            "actor": event.actor,
            "last": now,
            "generation": event.generation,
        }
        if before is not None:
            replaced = before["id"]
            before |= latest | {"count": before["count"] + 1}
            return dict(before), replaced
        about = {"set": event.set, "kind": event.ref.kind, "name": event.ref.name}
        fresh = {"type": event.type, "reason": event.reason, "count": 1, "first": now}
        similar.append(about | fresh | latest)
        return dict(similar[-1]), None

    def _sweep(self, connection: Connection, now: datetime) -> None:
        table = tables.events
        newest = select(table.c.id).order_by(table.c.id.desc()).offset(self.limits.keep_count).limit(1)
        surplus = connection.execute(newest).scalar() or 0
        connection.execute(delete(table).where(or_(table.c.last < now - self.limits.keep, table.c.id <= surplus)))


def _about(set_name: str, kind: str, name: str) -> ColumnElement[bool]:
    table = tables.events
    return and_(table.c.set == set_name, table.c.kind == kind, table.c.name == name)


def _last_id(connection: Connection, count: int) -> int:
    """The last of so many new ids."""
    new_id: int = connection.execute(NEXT_IDS, {"count": count}).scalar_one()
    return new_id


def _same(similar: Sequence[Kept], message: str, generation: int) -> Kept | None:
    return next((row for row in similar if row["message"] == message and row["generation"] == generation), None)


def _combined(similar: Sequence[Kept]) -> Kept | None:
    return next((row for row in similar if row["message"].startswith(COMBINED)), None)


def _recorded(row: Mapping[str, Any]) -> RecordedEvent:
    event = Event(
        type=row["type"],
        reason=row["reason"],
        message=row["message"],
        set=row["set"],
        ref=Ref(row["kind"], row["name"]),
        generation=row["generation"],
        op_id=row["op_id"],
        actor=row["actor"],
    )
    return RecordedEvent(id=row["id"], event=event, count=row["count"], first=row["first"], last=row["last"])

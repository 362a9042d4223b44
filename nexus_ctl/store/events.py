"""Events: what happened, told once (R25). The same again counts up, a flood is combined, a torrent is cut, age ends it.

The rules are those of client-go's event correlator: an equal event within ten minutes raises the count of the one
there is; the eleventh different message about one thing for one reason becomes "(combined from similar events)"; and
each thing may speak 25 times at once and then once in five minutes. Warnings have an allowance of their own, so that
chatter cannot silence them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, and_, delete, insert, or_, select, update
from sqlalchemy.engine import RowMapping

from nexus_ctl.clock import Clock
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database
from nexus_ctl.store.records import Event, RecordedEvent

COMBINED = "(combined from similar events): "
SWEEP_EVERY = 64
"""Old events are removed at every so many sightings."""


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
        if not self.allowance.take(event, self.clock.monotonic()):
            return None
        now = self.clock.now()
        with self.database.write(exclusive=True) as connection:
            new_id = _next_id(connection)
            self._write(connection, event, new_id, now)
            if new_id % SWEEP_EVERY == 0:
                self._sweep(connection, now)
            kept = connection.execute(select(tables.events).where(tables.events.c.id == new_id)).mappings().one()
            return _recorded(kept)

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
            return tuple(map(_recorded, rows))

    def _write(self, connection: Connection, event: Event, new_id: int, now: datetime) -> None:
        """Insert the event, or raise the count of the row it repeats."""
        table = tables.events
        similar = (
            connection.execute(
                select(table).where(
                    table.c.set == event.set,
                    table.c.kind == event.ref.kind,
                    table.c.name == event.ref.name,
                    table.c.last >= now - self.limits.window,
                    table.c.type == event.type,
                    table.c.reason == event.reason,
                )
            )
            .mappings()
            .all()
        )
        message = tables.storable(event.message)
        row = _same(similar, message, event.generation)
        if row is None and len(similar) >= self.limits.similar:
            row, message = _combined(similar), COMBINED + message
        latest = {"id": new_id, "message": message, "op_id": event.op_id, "actor": event.actor, "last": now}
        if row is not None:
            again = latest | {"count": row["count"] + 1, "generation": event.generation}
            connection.execute(update(table).where(table.c.id == row["id"]).values(again))
            return
        about = {"set": event.set, "kind": event.ref.kind, "name": event.ref.name, "generation": event.generation}
        fresh = {"type": event.type, "reason": event.reason, "count": 1, "first": now}
        connection.execute(insert(table).values(**about, **fresh, **latest))

    def _sweep(self, connection: Connection, now: datetime) -> None:
        table = tables.events
        newest = select(table.c.id).order_by(table.c.id.desc()).offset(self.limits.keep_count).limit(1)
        surplus = connection.execute(newest).scalar() or 0
        connection.execute(delete(table).where(or_(table.c.last < now - self.limits.keep, table.c.id <= surplus)))


def _next_id(connection: Connection) -> int:
    statement = update(tables.meta).values(event_id=tables.meta.c.event_id + 1).returning(tables.meta.c.event_id)
    new_id: int = connection.execute(statement).scalar_one()
    return new_id


def _same(similar: Sequence[RowMapping], message: str, generation: int) -> RowMapping | None:
    return next((row for row in similar if row["message"] == message and row["generation"] == generation), None)


def _combined(similar: Sequence[RowMapping]) -> RowMapping | None:
    return next((row for row in similar if row["message"].startswith(COMBINED)), None)


def _recorded(row: RowMapping) -> RecordedEvent:
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

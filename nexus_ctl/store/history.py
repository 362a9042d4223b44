"""The revisions of objects (R16): one per spec, numbered by when it was last declared, trimmed but never of its safety.

A spec that comes back keeps its row, and with it that it was stable, under the newest number. The history of an object
outlives the object: declared again, it numbers on, so that `rollback --to-revision` never means two things.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, select, update

from nexus_ctl.clock import Clock
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.store.database import Database
from nexus_ctl.store.records import Revision
from nexus_ctl.store.tables import about, revisions

ORIGIN_FIELDS = ("cause", "actor", "commit", "op_id", "created_at")


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a revision exists: the cause in words, who, which commit, which operation, when."""

    cause: str
    actor: str
    commit: str
    op_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of every set."""

    database: Database
    clock: Clock
    limit: int

    def revisions(self, set_name: str, ref: Ref) -> tuple[Revision, ...]:
        """The specs an object has had, oldest first; also of an object that is gone."""
        with self.database.read() as connection:
            return _revisions(connection, set_name, ref)

    def mark_result(self, set_name: str, ref: Ref, generation: int, result: str, *, stable: bool = False) -> bool:
        """Note how the roll-out of a generation ended. False where a newer generation has taken its place."""
        here = and_(about(revisions, set_name, ref), revisions.c.generation == generation)
        values = {"result": result, "stable_since": self.clock.now() if stable else None}
        with self.database.write() as connection:
            return connection.execute(update(revisions).where(here).values(values)).rowcount > 0

    def record(
        self, connection: Connection, set_name: str, ref: Ref, *, spec: Normal, digest: str, origin: Origin
    ) -> int:
        """Make `spec` the newest revision, trim, and return its generation; within the caller's transaction."""
        history = _revisions(connection, set_name, ref)
        generation = max((revision.generation for revision in history), default=0) + 1
        newest = history[-1].number if history else 0
        known = next((revision for revision in history if revision.digest == digest), None)
        values = {field: getattr(origin, field) for field in ORIGIN_FIELDS} | {"generation": generation, "result": ""}
        here = about(revisions, set_name, ref)
        if known:
            number = newest if known.number == newest else newest + 1
            same = and_(here, revisions.c.number == known.number)
            connection.execute(update(revisions).where(same).values(values | {"number": number}))
            return generation
        identity = {"set": set_name, "kind": ref.kind, "name": ref.name, "number": newest + 1}
        connection.execute(insert(revisions).values(identity | values | {"spec": spec, "digest": digest}))
        if surplus := _surplus(history, self.limit - 1):
            connection.execute(delete(revisions).where(here, revisions.c.number.in_(sorted(surplus))))
        return generation

    def rename(self, connection: Connection, set_name: str, old: Ref, new: Ref) -> None:
        """Let `new` go on with the history of `old`; within the caller's transaction."""
        connection.execute(delete(revisions).where(about(revisions, set_name, new)))
        connection.execute(update(revisions).where(about(revisions, set_name, old)).values(name=new.name))


def _surplus(history: tuple[Revision, ...], limit: int) -> Collection[int]:
    """Numbers beyond the newest `limit`, but never the newest stable one: a revert must find it."""
    stable = [revision.number for revision in history if revision.stable][-1:]
    return {revision.number for revision in history[: max(0, len(history) - limit)]}.difference(stable)


def _revisions(connection: Connection, set_name: str, ref: Ref) -> tuple[Revision, ...]:
    statement = select(revisions).where(about(revisions, set_name, ref)).order_by(revisions.c.number)
    found = []
    for row in connection.execute(statement).mappings():
        value = {key: row[key] for key in row if key not in ("set", "kind", "name")}
        found.append(Revision(ref=ref, **value))
    return tuple(found)

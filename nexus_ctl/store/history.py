"""The revisions of objects (R16): one per spec, numbered by when it was last declared, trimmed but never of its safety.

A spec that comes back keeps its row, and with it that it was stable, under the newest number. The history of an object
outlives the object: declared again, it numbers on, so that `rollback --to-revision` never means two things.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, delete, insert, select, update
from sqlalchemy.engine import RowMapping

from nexus_ctl.clock import Clock
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.store.database import Database
from nexus_ctl.store.records import Revision
from nexus_ctl.store.tables import about, revisions

REVERTED = "Reverted"
"""The result of a revision whose roll-out failed and was gone back from by itself."""
FEW = 20
"""Of so many objects each is asked for by itself; of more, the whole set at once."""
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
class Wish:
    """A spec to be made the newest revision of an object."""

    ref: Ref
    spec: Normal
    digest: str


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

    def mark_result(
        self,
        set_name: str,
        ref: Ref,
        generation: int,
        result: str,
        *,
        ready: bool = False,
        stable: bool = False,
        why: str = "",
    ) -> bool:
        """Note how the roll-out of a generation ended. False where a newer generation has taken its place.

        `ready`: it is Ready now. What never was loses the trust it may have earned under an earlier generation.
        """
        here = and_(about(revisions, set_name, ref), revisions.c.generation == generation)
        now = self.clock.now()
        values: dict[str, Any] = {"result": result, "why": why}
        if ready:
            values["ready_since"] = now
        elif not stable:
            values["stable_since"] = case((revisions.c.ready_since.is_(None), None), else_=revisions.c.stable_since)
        if stable:
            values["stable_since"] = now
        with self.database.write() as connection:
            return connection.execute(update(revisions).where(here).values(values)).rowcount > 0

    def mark_stable(self, set_name: str, ref: Ref, generation: int) -> None:
        """Trust a generation from now on: it has stayed Ready."""
        here = and_(about(revisions, set_name, ref), revisions.c.generation == generation)
        with self.database.write() as connection:
            connection.execute(update(revisions).where(here).values(stable_since=self.clock.now()))

    def reverted(self, set_name: str) -> Mapping[Ref, Mapping[str, Revision]]:
        """Per object, the revisions that were gone back from, by the digest of their spec."""
        table = revisions
        statement = select(table).where(table.c.set == set_name, table.c.result == REVERTED)
        found: dict[Ref, dict[str, Revision]] = {}
        with self.database.read() as connection:
            for row in connection.execute(statement).mappings():
                one = _revision(row)
                found.setdefault(one.ref, {})[one.digest] = one
        return found

    def maturing(self, set_name: str) -> tuple[Revision, ...]:
        """Revisions that ended Ready and are not trusted yet."""
        table = revisions
        statement = select(table).where(
            table.c.set == set_name, table.c.ready_since.is_not(None), table.c.stable_since.is_(None)
        )
        with self.database.read() as connection:
            return tuple(_revision(row) for row in connection.execute(statement).mappings())

    def record(
        self, connection: Connection, set_name: str, wishes: Sequence[Wish], origin: Origin
    ) -> Mapping[Ref, int]:
        """Make each spec the newest revision of its object, trim, and return the generations; within the caller's
        transaction."""
        known = _known(connection, set_name, [wish.ref for wish in wishes])
        fresh: list[dict[str, Any]] = []
        generations = {}
        for wish in wishes:
            history = known.get(wish.ref, ())
            generation = max((revision.generation for revision in history), default=0) + 1
            newest = history[-1].number if history else 0
            generations[wish.ref] = generation
            values = {field: getattr(origin, field) for field in ORIGIN_FIELDS}
            values |= {"generation": generation, "result": "", "why": "", "ready_since": None}
            again = next((revision for revision in history if revision.digest == wish.digest), None)
            whose = about(revisions, set_name, wish.ref)
            if again:
                number = newest if again.number == newest else newest + 1
                same = and_(whose, revisions.c.number == again.number)
                connection.execute(update(revisions).where(same).values(values | {"number": number}))
                continue
            identity = {"set": set_name, "kind": wish.ref.kind, "name": wish.ref.name, "number": newest + 1}
            fresh.append(identity | values | {"spec": wish.spec, "digest": wish.digest})
            if surplus := _surplus(history, self.limit - 1):
                connection.execute(delete(revisions).where(whose, revisions.c.number.in_(sorted(surplus))))
        if fresh:
            connection.execute(insert(revisions), fresh)
        return generations

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
    return tuple(map(_revision, connection.execute(statement).mappings()))


def _known(connection: Connection, set_name: str, refs: Sequence[Ref]) -> Mapping[Ref, tuple[Revision, ...]]:
    """The revisions of these objects; one question for many."""
    if len(refs) <= FEW:
        return {ref: found for ref in refs if (found := _revisions(connection, set_name, ref))}
    statement = select(revisions).where(revisions.c.set == set_name).order_by(revisions.c.number)
    known: dict[Ref, tuple[Revision, ...]] = {}
    for revision in map(_revision, connection.execute(statement).mappings()):
        known[revision.ref] = (*known.get(revision.ref, ()), revision)
    return known


def _revision(row: RowMapping) -> Revision:
    value = {key: row[key] for key in row if key not in ("set", "kind", "name")}
    return Revision(ref=Ref(row["kind"], row["name"]), **value)

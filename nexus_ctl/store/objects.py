"""Objects: what is declared of each, and what was last assessed.

Rules kept here: a new generation only for another normal form (R2); a write only where something differs; every write
with a new resource version, which is the compare-and-swap token. Nothing here says what exists in the world: delete
the database and apply again, and no container restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from nexus_ctl.clock import Clock
from nexus_ctl.errors import Conflict
from nexus_ctl.resources.conditions import Condition, merge
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import digest
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database
from nexus_ctl.store.history import History, Origin, Wish
from nexus_ctl.store.records import Assessed, Declaration, StoredObject, Suspension
from nexus_ctl.store.tables import about, at, here, objects

NEXT_VERSION = (
    update(tables.meta).values(revision=tables.meta.c.revision + bindparam("count")).returning(tables.meta.c.revision)
)
ONE = select(objects).where(here(objects))
UPDATE = update(objects).where(here(objects))
"""Built once: an apply executes them for each object."""
FEW = 100
"""Up to so many refs are asked for by name; beyond, reading the whole set is cheaper."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of every set. Methods that change return False, or None, where there is no such object."""

    database: Database
    clock: Clock
    history: History

    def all(self, set_name: str) -> tuple[StoredObject, ...]:
        """Every object of a set, sorted by ref."""
        with self.database.read() as connection:
            return self._load(connection, objects.c.set == set_name)

    def get(self, set_name: str, ref: Ref) -> StoredObject | None:
        """One object."""
        with self.database.read() as connection:
            return self._one(connection, set_name, ref)

    def declare(
        self,
        set_name: str,
        *declarations: Declaration,
        cause: str,
        actor: str = "",
        commit: str = "",
        op_id: str = "",
    ) -> tuple[StoredObject, ...]:
        """Record wishes, all or none, and return the objects as they then are, in the order given.

        Another normal form: next generation and a revision. Other labels or annotations: a resource version. Equal:
        nothing is written. A requested deletion is taken back. Raises Conflict where `expect` is not what is stored.
        """
        origin = Origin(cause, actor, commit, op_id, self.clock.now())
        names = [(declaration.ref.kind, declaration.ref.name) for declaration in declarations]
        wanted = objects.c.set == set_name
        if len(names) <= FEW:
            wanted = and_(wanted, tuple_(objects.c.kind, objects.c.name).in_(names))
        with self.database.write(exclusive=True) as connection:
            stored = {found.ref: found for found in self._load(connection, wanted)}
            if self._declare(connection, set_name, declarations, stored, origin):
                stored = {found.ref: found for found in self._load(connection, wanted)}
        return tuple(stored[declaration.ref] for declaration in declarations)

    def forget(self, set_name: str, ref: Ref) -> bool:
        """Strike an object whose deletion is complete. Its revisions stay, and number on if it is declared again."""
        with self.database.write(exclusive=True) as connection:
            gone = connection.execute(delete(objects).where(about(objects, set_name, ref))).rowcount > 0
            if gone:
                _next_version(connection)
            return gone

    def request_deletion(self, set_name: str, ref: Ref) -> bool:
        """Mark an object for deletion; the time of the first request counts. Membership stays until `forget` (R17)."""
        with self.database.write(exclusive=True) as connection:
            found = self._one(connection, set_name, ref)
            if found is None or found.deletion_requested_at is not None:
                return False
            return self._update(connection, set_name, ref, {"deletion_requested_at": self.clock.now()})

    def rename(self, set_name: str, old: Ref, new: Ref) -> StoredObject:
        """Move an object with its history and status to another name (R19). Moved already: no effect.

        Raises Conflict where `old` is not there, or `new` is another object.
        """
        with self.database.write(exclusive=True) as connection:
            source, target = self._one(connection, set_name, old), self._one(connection, set_name, new)
            if source is None and target is not None and old.name in target.former_names:
                return target
            if source is None or target is not None or old.kind != new.kind:
                reason = f"{old} is not there" if source is None else f"{new} is another object"
                raise Conflict(f"cannot rename {old} to {new}: {reason}")
            self.history.rename(connection, set_name, old, new)
            moved = {"name": new.name, "former_names": [*source.former_names, old.name]}
            self._update(connection, set_name, old, moved)
            found = self._one(connection, set_name, new)
            assert found is not None
            return found

    def write_status(
        self,
        set_name: str,
        ref: Ref,
        conditions: Iterable[Condition],
        *,
        observed_generation: int,
        lifecycle: str = "",
        columns: Mapping[str, str] | None = None,
        expect: int | None = None,
    ) -> bool:
        """Store a fresh assessment, merged with the one before (`conditions.merge`); False where it is equal.

        Raises Conflict where `expect` is given and somebody wrote in between.
        """
        status = Assessed(ref, tuple(conditions), observed_generation, lifecycle, dict(columns or {}), expect)
        return self.write_statuses(set_name, [status]) > 0

    def write_statuses(self, set_name: str, statuses: Sequence[Assessed]) -> int:
        """The same of many, all or none; how many differed."""
        if not statuses:
            return 0
        now, wrote = self.clock.now(), []
        with self.database.write(exclusive=True) as connection:
            if len(statuses) <= FEW:
                found = {one.ref: self._one(connection, set_name, one.ref) for one in statuses}
            else:
                found = {one.ref: one for one in self._load(connection, objects.c.set == set_name)}
            for status in statuses:
                stored = found.get(status.ref)
                if stored is None:
                    continue
                _compare(status.ref, stored, status.expect)
                merged = merge(stored.conditions, status.conditions, now, status.observed_generation)
                before = (stored.conditions, stored.observed_generation, stored.lifecycle, dict(stored.columns))
                if before == (merged, status.observed_generation, status.lifecycle, dict(status.columns)):
                    continue
                values = {
                    "conditions": [condition.to_json() for condition in merged],
                    "observed_generation": status.observed_generation,
                    "lifecycle": status.lifecycle,
                    "columns": dict(status.columns),
                }
                wrote.append(at(set_name, status.ref) | values)
            self._update_all(connection, wrote)
        return len(wrote)

    def suspend(self, set_name: str, ref: Ref, reason: str, until: datetime | None = None) -> bool:
        """Keep the spec as it is but act on it no more, until then or until resumed (R26)."""
        with self.database.write(exclusive=True) as connection:
            values = {"suspended_reason": reason, "suspended_until": until}
            return self._update(connection, set_name, ref, values)

    def resume(self, set_name: str, ref: Ref) -> bool:
        """End a suspension; False where there is none."""
        with self.database.write(exclusive=True) as connection:
            found = self._one(connection, set_name, ref)
            if found is None or found.suspended is None:
                return False
            return self._update(connection, set_name, ref, {"suspended_reason": None, "suspended_until": None})

    def _declare(
        self,
        connection: Connection,
        set_name: str,
        wishes: Sequence[Declaration],
        stored: Mapping[Ref, StoredObject],
        origin: Origin,
    ) -> bool:
        """True where it wrote."""
        changed: dict[Ref, dict[str, Any]] = {}
        specs: list[Wish] = []
        for wish in wishes:
            found = stored.get(wish.ref)
            _compare(wish.ref, found, wish.expect)
            values: dict[str, Any] = {
                "labels": dict(wish.labels),
                "annotations": dict(wish.annotations),
                "deletion_requested_at": None,
            }
            wished = digest(wish.spec)
            if found is None or found.spec_digest != wished:
                specs.append(Wish(wish.ref, wish.spec, wished))
                changed[wish.ref] = values | {"spec": wish.spec, "spec_digest": wished}
            elif any(getattr(found, name) != value for name, value in values.items()):
                changed[wish.ref] = values
        for ref, generation in self.history.record(connection, set_name, specs, origin).items():
            changed[ref]["generation"] = generation
        old = [ref for ref in changed if ref in stored]
        self._update_all(connection, [at(set_name, ref) | changed[ref] for ref in old])
        fresh = {"conditions": [], "lifecycle": "", "columns": {}, "observed_generation": 0, "former_names": []}
        stamps = {"created_at": origin.created_at, "updated_at": origin.created_at}
        rows = [
            {"set": set_name, "kind": ref.kind, "name": ref.name} | fresh | stamps | values
            for ref, values in changed.items()
            if ref not in stored
        ]
        if rows:
            connection.execute(insert(objects), _versioned(connection, rows))
        return bool(changed)

    def _one(self, connection: Connection, set_name: str, ref: Ref) -> StoredObject | None:
        row = connection.execute(ONE, at(set_name, ref)).one_or_none()
        return _object(row, self.clock.now()) if row is not None else None

    def _load(self, connection: Connection, where: ColumnElement[bool]) -> tuple[StoredObject, ...]:
        rows = connection.execute(select(objects).where(where))
        now = self.clock.now()
        return tuple(sorted((_object(row, now) for row in rows), key=lambda found: found.ref))

    def _update_all(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Update objects that are known to be there; each row is its new values and where it is (`tables.at`)."""
        now = self.clock.now()
        for _, alike in groupby(_versioned(connection, rows) if rows else (), key=lambda row: row.keys()):
            connection.execute(UPDATE, [row | {"updated_at": now} for row in alike])

    def _update(self, connection: Connection, set_name: str, ref: Ref, values: Mapping[str, Any]) -> bool:
        stamps = {
            "resource_version": select(tables.meta.c.revision + 1).scalar_subquery(),
            "updated_at": self.clock.now(),
        }
        statement = update(objects).where(about(objects, set_name, ref)).values({**values, **stamps})
        if connection.execute(statement).rowcount == 0:
            return False
        _next_version(connection)
        return True


def _compare(ref: Ref, found: StoredObject | None, expect: int | None) -> None:
    """Compare-and-swap: `expect` 0 means "not there yet"."""
    version = found.resource_version if found else 0
    if expect is not None and expect != version:
        raise Conflict(
            f"{ref} was changed by somebody else (resource version {version}, expected {expect})", hint="plan again"
        )


def _next_version(connection: Connection, count: int = 1) -> int:
    """The last of so many new resource versions."""
    version: int = connection.execute(NEXT_VERSION, {"count": count}).scalar_one()
    return version


def _versioned(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with a new resource version."""
    first = _next_version(connection, len(rows)) - len(rows) + 1
    return [row | {"resource_version": first + number} for number, row in enumerate(rows)]


def _object(row: Row[Any], now: datetime) -> StoredObject:
    value = dict(row._mapping)
    kind, name = value.pop("kind"), value.pop("name")
    reason, until = value.pop("suspended_reason"), value.pop("suspended_until")
    suspended = reason is not None and (until is None or until > now)
    value["conditions"] = tuple(map(Condition.from_json, value["conditions"]))
    value["former_names"] = tuple(value["former_names"])
    return StoredObject(ref=Ref(kind, name), suspended=Suspension(reason, until) if suspended else None, **value)

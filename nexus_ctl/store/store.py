"""The store: desired objects and their history, journal and audit, events, ratings, memory reports. The only opener.

Execution and the reconciler write, the CLI and the status API read. The truth about the world is not here (design.md
6): a lost or damaged database costs history, never a restart. Opening is slow to import (SQLAlchemy), so commands that
need no state must not import this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sqlalchemy import select

from nexus_ctl.clock import Clock
from nexus_ctl.store import tables
from nexus_ctl.store.backoffs import Backoffs, Wishes
from nexus_ctl.store.database import Database
from nexus_ctl.store.events import Allowance, EventLimits, Events
from nexus_ctl.store.history import History
from nexus_ctl.store.journal import Journal
from nexus_ctl.store.objects import Objects
from nexus_ctl.store.opening import open_database
from nexus_ctl.store.ratings import Ratings
from nexus_ctl.store.reports import Reports

HISTORY_LIMIT = 10
"""Revisions kept per object (R16), and beyond them the newest stable one."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open database and its parts. May be shared among threads; every method is one transaction."""

    database: Database
    objects: Objects
    history: History
    journal: Journal
    events: Events
    ratings: Ratings
    backoffs: Backoffs
    wishes: Wishes
    reports: Reports
    warnings: tuple[str, ...]
    """What the user should be told about how it was opened."""

    @classmethod
    def open(
        cls,
        target: str | Path,
        clock: Clock,
        *,
        history_limit: int = HISTORY_LIMIT,
        event_limits: EventLimits | None = None,
    ) -> Store:
        """Open, make or migrate. `target`: a path (SQLite file) or URL; `sqlite://` lives in memory.

        A damaged SQLite file is put aside (`state.db.bad-1`) and made afresh, with a warning. Raises StoreError where
        the database cannot be reached or written, or belongs to a newer nexusctl.
        """
        database, warnings = open_database(target)
        return cls.over(database, clock, history_limit=history_limit, event_limits=event_limits, warnings=warnings)

    @classmethod
    def over(
        cls,
        database: Database,
        clock: Clock,
        *,
        history_limit: int = HISTORY_LIMIT,
        event_limits: EventLimits | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Store:
        """A store over a database that is open and has the current schema."""
        history = History(database, clock, history_limit)
        limits = event_limits or EventLimits()
        return cls(
            database=database,
            objects=Objects(database, clock, history),
            history=history,
            journal=Journal(database, clock),
            events=Events(database, clock, limits, Allowance(limits)),
            ratings=Ratings(database, clock),
            backoffs=Backoffs(database),
            wishes=Wishes(database),
            reports=Reports(database, clock),
            warnings=warnings,
        )

    def revision(self) -> int:
        """A number that grows with every write to any object; two equal ones mean that no object changed."""
        with self.database.read() as connection:
            revision: int = connection.execute(select(tables.meta.c.revision)).scalar_one()
            return revision

    def close(self) -> None:
        """Give the connection back; SQLite folds its write-ahead log into the file."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Memory reports: what engines said they took, by what decides it, for the next estimate of the same.

The key is `placement.report.learning_key`: model, settings, build and kinds of device. The values are plain JSON; what
they mean is placement's. Losing them costs accuracy, never correctness: the estimate is there without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from nexus_ctl.clock import Clock
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database

KEPT = 1000
"""Reports kept; beyond them the oldest go."""


@dataclass(frozen=True, slots=True)
class Reports:
    """The table of reports. Each method is one transaction."""

    database: Database
    clock: Clock

    def all(self) -> Mapping[str, Any]:
        """Every report by key."""
        with self.database.read() as connection:
            rows = connection.execute(select(tables.reports.c.key, tables.reports.c.report)).all()
            return dict((key, report) for key, report in rows)  # noqa: C402  # rows are no pairs to the type checker

    def put(self, key: str, report: Any) -> None:
        """Keep a report, in place of an earlier one under the same key."""
        table = tables.reports
        with self.database.write(exclusive=True) as connection:
            connection.execute(delete(table).where(table.c.key == key))
            connection.execute(insert(table).values(key=key, report=report, at=self.clock.now()))
            newest = select(table.c.key).order_by(table.c.at.desc(), table.c.key).limit(KEPT)
            connection.execute(delete(table).where(table.c.key.not_in(newest)))

"""Back-off of replicas that ended (R21), so that our own restart does not begin to hammer; and the applied settings.

The cycle writes here what `resources.backoff.fold` made of a look; a write only where something differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select

from nexus_ctl.resources.backoff import Backoff
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import Normal
from nexus_ctl.resources.replica import Exit
from nexus_ctl.store.database import Database
from nexus_ctl.store.tables import about, backoffs, wishes

PLAIN = ("replica", "failures", "run", "failed_at", "next_at", "ready_run", "ready_since")


@dataclass(frozen=True, slots=True)
class Backoffs:
    """What is remembered of replicas that ended, of every set."""

    database: Database

    def all(self, set_name: str) -> Mapping[str, Backoff]:
        """Of a set, by the replica's name."""
        with self.database.read() as connection:
            rows = connection.execute(select(backoffs).where(backoffs.c.set == set_name)).mappings()
            found = [
                Backoff(
                    ref=Ref(row["kind"], row["name"]),
                    exit=Exit(**row["exit"]),
                    lines=tuple(row["lines"]),
                    **{name: row[name] for name in PLAIN},
                )
                for row in rows
            ]
        return {one.replica: one for one in found}

    def put(self, set_name: str, ref: Ref, rows: Iterable[Backoff]) -> None:
        """All that is to be remembered of one object's replicas; what is left out is forgotten."""
        values = [
            {name: getattr(one, name) for name in PLAIN}
            | {"set": set_name, "kind": ref.kind, "name": ref.name, "exit": asdict(one.exit), "lines": one.lines}
            for one in rows
        ]
        with self.database.write() as connection:
            connection.execute(delete(backoffs).where(about(backoffs, set_name, ref)))
            if values:
                connection.execute(insert(backoffs), values)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The settings of every stack as last applied."""

    database: Database

    def settings(self, set_name: str) -> Normal | None:
        """The normal form of a stack's settings; None where nothing was applied yet."""
        with self.database.read() as connection:
            found: Normal | None = connection.execute(
                select(wishes.c.settings).where(wishes.c.set == set_name)
            ).scalar_one_or_none()
            return found

    def put(self, set_name: str, settings: Normal) -> None:
        """Remember them; nothing is written where they are equal."""
        if self.settings(set_name) == settings:
            return
        with self.database.write() as connection:
            connection.execute(delete(wishes).where(wishes.c.set == set_name))
            connection.execute(insert(wishes).values({"set": set_name, "settings": settings}))

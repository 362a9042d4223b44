"""Ratings: one per person and model of a set, the newest counts. Opinions only; nothing is decided by them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, select

from nexus_ctl.clock import Clock
from nexus_ctl.resources.catalog import Rating
from nexus_ctl.store.database import Database
from nexus_ctl.store.tables import ratings


@dataclass(frozen=True, slots=True)
class Ratings:
    """The ratings of every set."""

    database: Database
    clock: Clock

    def rate(self, set_name: str, subject: str, actor: str, stars: int, note: str) -> Rating:
        """Write down what somebody thinks; what the same person thought before is replaced."""
        rating = Rating(subject, actor, stars, note, self.clock.now())
        same = and_(ratings.c.set == set_name, ratings.c.subject == subject, ratings.c.actor == actor)
        values = {"subject": subject, "actor": actor, "stars": stars, "note": note, "at": rating.at}
        with self.database.write(exclusive=True) as connection:
            connection.execute(delete(ratings).where(same))
            connection.execute(insert(ratings).values(set=set_name, **values))
        return rating

    def all(self, set_name: str) -> tuple[Rating, ...]:
        """Every rating of a set, newest first."""
        columns = [ratings.c[name] for name in ("subject", "actor", "stars", "note", "at")]
        order = (ratings.c.at.desc(), ratings.c.subject, ratings.c.actor)
        with self.database.read() as connection:
            rows = connection.execute(select(*columns).where(ratings.c.set == set_name).order_by(*order))
            return tuple(Rating(*row) for row in rows)

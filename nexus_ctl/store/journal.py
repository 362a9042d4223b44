"""The journal of effects (R11): begun on the disk before the world is touched, ended when the outcome is known.

It holds only what has no known end, so a start reads nothing but what a crash left. Ending an effect moves its row to
the audit trail in the same transaction: no effect without its audit line, and nothing to trim. The trail is
append-only. After a crash, observe what `unfinished` names and end it with `done` or `failed`; nobody edits state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from nexus_ctl.clock import Clock
from nexus_ctl.errors import Bug
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.observed import Timing
from nexus_ctl.store import tables
from nexus_ctl.store.database import Database
from nexus_ctl.store.records import AuditLine, Outcome, Unfinished

BEGIN = insert(tables.journal)
END = (
    delete(tables.journal)
    .where(tables.journal.c.op_id == bindparam("ended_op"), tables.journal.c.seq == bindparam("ended_seq"))
    .returning(tables.journal)
)
AUDIT = insert(tables.audit)
"""Built once: an apply executes them for each of its effects."""
TIMED = {"StartReplica": "Publish", "Withdraw": "StopReplica"}
"""Spans that plans tell: the action one begins with, and the one of the same replica that it ends with."""
TIMED_LINES = 1000
LATELY = 5
"""So many spans of an object count, the newest."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Begin and end of effects. `op_id` names one run of a command or of the loop, `seq` the effect within it."""

    database: Database
    clock: Clock

    def begin(
        self, op_id: str, seq: int, *, set_name: str, ref: Ref, action: str, actor: str = "", command: str = ""
    ) -> None:
        """Write down, durably, what is about to be done. Raises Bug when that effect has begun already."""
        row = {
            "op_id": op_id,
            "seq": seq,
            "set": set_name,
            "kind": ref.kind,
            "name": ref.name,
            "action": action,
            "actor": actor,
            "command": command,
            "begun_at": self.clock.now(),
        }
        with self.database.write() as connection:
            try:
                connection.execute(BEGIN, row)
            except IntegrityError as error:
                raise Bug(f"effect {op_id}/{seq} has begun already") from error

    def done(self, op_id: str, seq: int) -> None:
        """The effect is in the world."""
        self._end(op_id, seq, "done", "")

    def failed(self, op_id: str, seq: int, error: str) -> None:
        """The effect is not in the world, and why."""
        self._end(op_id, seq, "failed", error)

    def unfinished(self, set_name: str) -> tuple[Unfinished, ...]:
        """Effects of a set with an unknown outcome, in the order they were begun."""
        table = tables.journal
        statement = select(table).where(table.c.set == set_name).order_by(table.c.begun_at, table.c.op_id, table.c.seq)
        with self.database.read() as connection:
            return tuple(Unfinished(**_with_ref(row)) for row in connection.execute(statement).mappings())

    def audit(self, set_name: str, ref: Ref | None = None, *, limit: int = 1000) -> tuple[AuditLine, ...]:
        """The newest `limit` lines of a set or of one object, oldest first."""
        table = tables.audit
        about = table.c.set == set_name
        if ref is not None:
            about = and_(about, table.c.kind == ref.kind, table.c.name == ref.name)
        with self.database.read() as connection:
            rows = connection.execute(select(table).where(about).order_by(table.c.id.desc()).limit(limit)).mappings()
            return tuple(AuditLine(**_with_ref(row)) for row in rows)[::-1]

    def timings(self, set_name: str) -> Mapping[Ref, Timing]:
        """What starting and stopping took lately, by object; read from the newest lines of the audit trail."""
        table = tables.audit
        wanted = or_(*(table.c.action.startswith(f"{word} ") for words in TIMED.items() for word in words))
        done = and_(table.c.set == set_name, table.c.outcome == "done", wanted)
        columns = (table.c.op_id, table.c.kind, table.c.name, table.c.action, table.c.begun_at, table.c.ended_at)
        with self.database.read() as connection:
            rows = connection.execute(select(*columns).where(done).order_by(table.c.id.desc()).limit(TIMED_LINES)).all()
        ends: dict[tuple[str, str, str], datetime] = {}
        spans: dict[Ref, dict[str, list[float]]] = {}
        for op_id, kind, name, action, begun_at, ended_at in rows:  # newest first: a span's end comes before its start
            word, _, subject = action.partition(" ")
            if word in TIMED.values():
                ends[op_id, word, subject] = ended_at
            elif (end := ends.get((op_id, TIMED[word], subject))) is not None:
                taken = spans.setdefault(Ref(kind, name), {}).setdefault(word, [])
                taken.append((end - begun_at).total_seconds())
        lately = {ref: {word: max(found[:LATELY]) for word, found in words.items()} for ref, words in spans.items()}
        return {
            ref: Timing(found["StartReplica"], found.get("Withdraw"))
            for ref, found in lately.items()
            if "StartReplica" in found
        }

    def _end(self, op_id: str, seq: int, outcome: Outcome, error: str) -> None:
        with self.database.write() as connection:
            begun = connection.execute(END, {"ended_op": op_id, "ended_seq": seq}).mappings().one_or_none()
            if begun is None:
                raise Bug(f"effect {op_id}/{seq} was never begun, or has ended already")
            ending = {"ended_at": self.clock.now(), "outcome": outcome, "error": error}
            connection.execute(AUDIT, {**begun, **ending})


def _with_ref(row: RowMapping) -> dict[str, Any]:
    value = dict(row)
    ref = Ref(value.pop("kind"), value.pop("name"))
    return value | {"ref": ref}

"""The tables. A change here needs a migration beside it: a test compares the two, and another opens every old release.

All names begin with `nexus_`, so that a PostgreSQL database may be shared with others. JSON is kept as canonical text
(equal values are equal text), times as RFC 3339 text (sorts as it should): both read the same on every database.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
)
from sqlalchemy.sql.elements import ColumnElement

from nexus_ctl.clock import moment, stamp
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.resources.normal import canonical_json

SCHEMA = "0004"
"""The newest migration. Numbers, so that an older nexusctl can tell a newer database from a foreign one."""


def storable(text: str) -> str:
    """`text` without what a database refuses (NUL, lone surrogates); foreign logs hold both."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class Prose(TypeDecorator[str]):
    """Text from outside: log lines, error messages, reasons that people typed."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Json(TypeDecorator[Any]):
    """A JSON value as canonical text. Never NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return storable(canonical_json(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else stamp(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else moment(value)


metadata = MetaData()

meta = Table(
    "nexus_meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("written_by", Text, nullable=False),
)
"""One row: the counters, and the newest nexusctl that set up the schema. Every later schema keeps `written_by`."""

objects = Table(
    "nexus_objects",
    metadata,
    Column("set", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("resource_version", BigInteger, nullable=False),
    Column("spec", Json, nullable=False),
    Column("spec_digest", String(64), nullable=False),
    Column("labels", Json, nullable=False),
    Column("annotations", Json, nullable=False),
    Column("conditions", Json, nullable=False),
    Column("lifecycle", Text, nullable=False),
    Column("columns", Json, nullable=False),
    Column("observed_generation", Integer, nullable=False),
    Column("suspended_reason", Prose),
    Column("suspended_until", Instant),
    Column("former_names", Json, nullable=False),
    Column("deletion_requested_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

revisions = Table(
    "nexus_revisions",
    metadata,
    Column("set", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("spec", Json, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("cause", Prose, nullable=False),
    Column("actor", Prose, nullable=False),
    Column("commit", Text, nullable=False),
    Column("op_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("result", Text, nullable=False),
    Column("stable_since", Instant),
    Column("ready_since", Instant),
    Column("why", Prose, nullable=False, server_default=""),
)
"""No foreign key to `objects`: the history of a deleted object outlives it."""

journal = Table(
    "nexus_journal",
    metadata,
    Column("op_id", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("set", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("action", Prose, nullable=False),
    Column("actor", Prose, nullable=False),
    Column("command", Prose, nullable=False),
    Column("begun_at", Instant, nullable=False),
)
"""Only effects whose end is not known; ending one moves its row to `audit`."""

audit = Table(
    "nexus_audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    *(Column(column.name, column.type, nullable=False) for column in journal.columns),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("error", Prose, nullable=False),
    Index("nexus_audit_effect", "op_id", "seq", unique=True),
    sqlite_autoincrement=True,
)

events = Table(
    "nexus_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("set", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("type", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Prose, nullable=False),
    Column("op_id", Text, nullable=False),
    Column("actor", Prose, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first", Instant, nullable=False),
    Column("last", Instant, nullable=False),
    Index("nexus_events_about", "set", "kind", "name", "last"),
    Index("nexus_events_last", "last"),
)

backoffs = Table(
    "nexus_backoffs",
    metadata,
    Column("set", Text, primary_key=True),
    Column("replica", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("run", Text, nullable=False),
    Column("exit", Json, nullable=False),
    Column("lines", Json, nullable=False),
    Column("failed_at", Instant, nullable=False),
    Column("next_at", Instant, nullable=False),
    Column("ready_run", Text, nullable=False),
    Column("ready_since", Instant),
)
"""One row per replica that ended by itself (R21); another make of it has another name."""

wishes = Table(
    "nexus_wishes",
    metadata,
    Column("set", Text, primary_key=True),
    Column("settings", Json, nullable=False),
)
"""The Stack's own settings as last applied: with `objects`, all that `serve` keeps true."""


ratings = Table(
    "nexus_ratings",
    metadata,
    Column("set", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("stars", Integer, nullable=False),
    Column("note", Prose, nullable=False),
    Column("at", Instant, nullable=False),
)
"""What people think of models. The subject is a Model's name or `hf:owner/name`, declared or not."""


reports = Table(
    "nexus_reports",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("report", Json, nullable=False),
    Column("at", Instant, nullable=False),
)


def here(table: Table) -> ColumnElement[bool]:
    """The rows of `table` about the object that `at` names when the statement is executed: it is built only once."""
    return and_(
        table.c.set == bindparam("at_set"), table.c.kind == bindparam("at_kind"), table.c.name == bindparam("at_name")
    )


def at(set_name: str, ref: Ref) -> dict[str, str]:
    """The parameters of `here`."""
    return {"at_set": set_name, "at_kind": ref.kind, "at_name": ref.name}


def about(table: Table, set_name: str, ref: Ref) -> ColumnElement[bool]:
    """The rows of `table` about one object."""
    return and_(table.c.set == set_name, table.c.kind == ref.kind, table.c.name == ref.name)

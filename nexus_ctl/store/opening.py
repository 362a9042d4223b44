"""Opening: make the schema, bring an old one up, refuse a newer one, put a damaged file aside.

Never refuse to run because a file is broken (R11 e): the truth about the world is in the world, and the next run
records it again. When the schema is current, opening costs one query (and SQLite's own check of the file); Alembic is
imported only to migrate. A fresh database is made from the tables at once; a test proves that it is what the
migrations would have made.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import URL, Column, Connection, MetaData, String, Table, insert, inspect, select, text, update

from nexus_ctl import __version__
from nexus_ctl.errors import StoreError
from nexus_ctl.store import tables
from nexus_ctl.store.database import DAMAGED, Database, is_damaged, parse_url

VERSION_TABLE = "nexus_version"
_version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
_stored_version = select(_version.c.version_num)

_SETUP_LOCK = 0x6E65787573
"""Key of PostgreSQL's advisory lock around making or migrating the schema ("nexus" in ASCII)."""


def open_database(target: str | Path) -> tuple[Database, tuple[str, ...]]:
    """A database with the current schema, and what the user should be told about how it was opened.

    `target` is a path (a SQLite file, made with its directory where missing) or any SQLAlchemy URL. Raises StoreError
    when it cannot be reached or written, or was written by a newer nexusctl.
    """
    url = parse_url(target)
    file = _file(url)
    if file is None:
        return _prepared(url), ()
    with _alone_in(file.parent):
        try:
            return _prepared(url, check=True), ()
        except StoreError as error:
            if not is_damaged(error):
                raise
            aside = _put_aside(file)
            warning = f"the state database was damaged ({error.detail}); it was put aside as {aside} and made afresh"
        return _prepared(url), (warning,)


def _prepared(url: URL, *, check: bool = False) -> Database:
    database = Database(url)
    try:
        if check:
            _check(database)
        _bring_up(database)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: Database) -> None:
    """Read the whole file once, as SQLite's `quick_check` does; raises a damaged StoreError on the first fault."""
    with database.read() as connection:
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise StoreError(f"{database.name}: {verdict}", code=DAMAGED)


def _bring_up(database: Database) -> None:
    if _is_current(database):
        return
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
        if not inspect(connection).has_table(VERSION_TABLE):
            _create(connection)
            return
        stored = connection.execute(_stored_version).scalar_one()
        if stored < tables.SCHEMA:
            from nexus_ctl.store.migrate import upgrade

            upgrade(connection)
            connection.execute(update(tables.meta).values(written_by=__version__))
        elif stored > tables.SCHEMA:
            writer = connection.execute(select(tables.meta.c.written_by)).scalar_one()
            raise StoreError(
                f"{database.name} has schema {stored}, written by nexusctl {writer}; "
                f"this is nexusctl {__version__}, which knows schemas up to {tables.SCHEMA}",
                hint=f"pip install 'nexusctl>={writer}'",
            )


def _is_current(database: Database) -> bool:
    """The one query of a normal start. False also where it fails: the careful way then finds out why."""
    try:
        with database.read() as connection:
            return connection.execute(_stored_version).scalar() == tables.SCHEMA
    except StoreError as error:
        if is_damaged(error):
            raise
        return False


def _create(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=tables.SCHEMA))
    connection.execute(insert(tables.meta).values(id=1, revision=0, event_id=0, written_by=__version__))


def _file(url: URL) -> Path | None:
    """The file of a SQLite database; None for one in memory and for servers."""
    name = url.database if url.get_backend_name() == "sqlite" else None
    return None if name in (None, "", ":memory:") or name.startswith("file:") else Path(name)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One opener at a time.

    The second to find a file damaged must not take away what the first made afresh; and SQLite's switch to WAL, of a
    new file, fails at once instead of waiting when two do it together.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        hint = "make sure that its directory exists and is writable for this user"
        raise StoreError(f"{directory}: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put_aside(file: Path) -> Path:
    """Rename the database with its write-ahead log to the first free `<name>.bad-<n>`, which SQLite can still open."""
    aside = next(free for n in count(1) if not (free := file.with_name(f"{file.name}.bad-{n}")).exists())
    for suffix in ("-wal", "-shm", ""):
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside

"""The connection: how transactions begin, how threads share it, and how a driver's errors become ours.

One connection per store, handed from thread to thread by a pool of one: SQLite has one writer anyway, and an
in-memory database lives exactly as long as its connection. A write takes the write lock first (`BEGIN IMMEDIATE`, or
the row lock of `nexus_meta`), so that what it read is still so when it writes, and two processes cannot deadlock.
SQLite runs in WAL with synchronous=FULL: a write that returned is on the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from nexus_ctl.errors import StoreError
from nexus_ctl.store import tables

DAMAGED = "store-damaged"
"""The code of a StoreError that says: the file is not, or no longer, a sound SQLite database."""

BUSY_SECONDS = 10.0
"""How long a statement waits for another process's transaction; ours last milliseconds."""

SQLITE_HINTS = {
    sqlite3.SQLITE_BUSY: "another process is writing to it: try again",
    sqlite3.SQLITE_LOCKED: "another process is writing to it: try again",
    sqlite3.SQLITE_READONLY: "make the file and its directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make sure that its directory exists and is writable for this user",
    sqlite3.SQLITE_IOERR: "check the disk and the permissions of the directory",
    sqlite3.SQLITE_FULL: "free some disk space",
    sqlite3.SQLITE_CORRUPT: "run the command again: the damaged file is put aside and the state made afresh",
    sqlite3.SQLITE_NOTADB: "run the command again: the damaged file is put aside and the state made afresh",
}
SERVER_HINT = "check that the database server runs and that the state URL is right"


class Database:
    """An engine, and the two ways to use it. Safe to share among threads; never nest transactions."""

    def __init__(self, url: URL) -> None:
        """Connects to nothing yet. Raises StoreError when the URL names no usable driver."""
        self.name = url.render_as_string(hide_password=True)
        try:
            self._engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            hint = "pip install 'nexusctl[postgres]'" if url.get_backend_name() == "postgresql" else ""
            raise StoreError(f"{self.name}: {error}", hint=hint) from error
        self._writer = self._engine.execution_options(nexus_writes=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view. Raises StoreError."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, exclusive: bool = False) -> Iterator[Connection]:
        """All or nothing, on the disk when it returns. `exclusive`: nobody else writes so meanwhile. Raises StoreError.

        SQLite has one writer in any case; elsewhere the row of `nexus_meta` is the lock.
        """
        with self._translated(), self._writer.begin() as connection:
            if exclusive and connection.dialect.name != "sqlite":
                connection.execute(select(tables.meta.c.id).with_for_update())
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            code = _sqlite_code(error)
            damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            raise StoreError(
                f"{self.name}: {getattr(error, 'orig', None) or error}".strip(),
                hint=SERVER_HINT if code is None else SQLITE_HINTS.get(code, ""),
                code=DAMAGED if damaged else "",
            ) from error


def parse_url(target: str | Path) -> URL:
    """A path is a SQLite file. Raises StoreError on text that is no SQLAlchemy URL."""
    if isinstance(target, Path):
        return URL.create("sqlite", database=str(target))
    try:
        return make_url(target)
    except ArgumentError as error:
        hint = "write sqlite:////path/to/state.db or postgresql+psycopg://user@host/name"
        raise StoreError("the state URL cannot be read", hint=hint) from error


def is_damaged(error: StoreError) -> bool:
    """True when the file itself is broken."""
    return error.code == DAMAGED


def _engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=not sqlite,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False} if sqlite else {},
    )
    if sqlite:
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late to hold what was read
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=FULL").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("nexus_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _sqlite_code(error: BaseException | None) -> int | None:
    """SQLite's primary result code, None for anything else."""
    origin = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(origin, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF

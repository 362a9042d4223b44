"""Every released database opens; tables and migrations say the same; a migration happens whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from nexus_ctl import __version__
from nexus_ctl.errors import StoreError
from nexus_ctl.store import migrate, tables
from nexus_ctl.store.opening import VERSION_TABLE
from nexus_ctl.store.store import Store
from tests.fixtures.released_store import CHAT, DATA, TINY, fill

OpenStore = Callable[..., Store]
NEWEST, NEXT_SCHEMA = tables.SCHEMA, f"{int(tables.SCHEMA) + 1:04}"
RELEASES = sorted({path.name.split(".")[0] for path in DATA.glob("*.sql")})


def contents(store: Store) -> list[object]:
    """Everything a caller can read."""
    return [
        store.objects.all("prod"),
        *(store.history.revisions("prod", ref) for ref in (CHAT, TINY)),
        store.journal.unfinished("prod"),
        store.journal.audit("prod"),
        store.events.read("prod"),
        store.revision(),
    ]


def shape(engine: Engine) -> dict[str, object]:
    """Tables, columns, keys and indexes as the database reports them."""
    found = inspect(engine)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (index["name"] or "", index["column_names"], bool(index["unique"]))
                for index in found.get_indexes(table)
            ),
        )
        for table in sorted(found.get_table_names())
    }


def test_there_is_a_fixture_of_every_schema_and_a_migration_to_the_newest(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(migrate.config(connection))
        assert script.get_heads() == [tables.SCHEMA]
        assert sorted(found.revision for found in script.walk_revisions()) == RELEASES
    engine.dispose()


def test_a_fresh_database_is_what_the_migrations_make(url: str, open_store: OpenStore) -> None:
    open_store(url).close()
    engine = create_engine(url)
    fresh = shape(engine)
    with engine.begin() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with engine.begin() as connection:
        migrate.upgrade(connection)
        command.check(migrate.config(connection))
    assert shape(engine) == fresh
    assert {VERSION_TABLE, "nexus_objects"} <= set(fresh)
    engine.dispose()
    with open_store(url) as migrated:
        fill(migrated)
        assert len(migrated.objects.all("prod")) == 2


@pytest.mark.parametrize("release", RELEASES)
def test_every_released_sqlite_database_opens(release: str, tmp_path: Path, open_store: OpenStore) -> None:
    file = tmp_path / "state.db"
    connection = sqlite3.connect(file)
    connection.executescript((DATA / f"{release}.sqlite.sql").read_text())
    connection.close()
    expected = open_store("sqlite://")
    fill(expected)
    with open_store(file) as store:
        assert store.warnings == ()
        assert contents(store) == contents(expected)
        store.journal.done("op2", 2)
        assert len(store.journal.audit("prod")) == 2


@pytest.mark.postgres
@pytest.mark.parametrize("release", RELEASES)
def test_every_released_postgres_database_opens(release: str, server: str, open_store: OpenStore) -> None:
    url = server.replace("/postgres?", f"/released_{release}?")
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE released_{release}")
    admin.dispose()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql((DATA / f"{release}.postgres.sql").read_text().replace("%", "%%"))
    engine.dispose()
    expected = open_store("sqlite://")
    fill(expected)
    with open_store(url) as store:
        assert contents(store) == contents(expected)
        store.journal.done("op2", 2)
        assert len(store.journal.audit("prod")) == 2


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the next release has a migration: its file, to be written by the test."""
    monkeypatch.setattr(tables, "SCHEMA", NEXT_SCHEMA)
    present = migrate.config
    versions = Path(migrate.__file__).parent / "migrations" / "versions"
    (tmp_path / "versions").mkdir()

    def with_next(*given: object) -> Config:
        settings = present(*given)  # type: ignore[arg-type]
        settings.set_main_option("path_separator", "newline")
        settings.set_main_option("version_locations", f"{versions}\n{tmp_path / 'versions'}")
        return settings

    monkeypatch.setattr(migrate, "config", with_next)
    return tmp_path / "versions" / f"{NEXT_SCHEMA}_next.py"


NEXT = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{NEXT_SCHEMA}", "{NEWEST}"
def upgrade():
    with op.batch_alter_table("nexus_objects") as table:
        table.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))
"""


@pytest.fixture
def old_url(url: str, open_store: OpenStore) -> str:
    """A filled database of the present schema, written by an older nexusctl."""
    with open_store(url) as store:
        fill(store)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE nexus_meta SET written_by = '0.0.1'"))
    engine.dispose()
    return url


def state(url: str) -> tuple[str, str, bool]:
    """(schema version, written by, has the new column)."""
    engine = create_engine(url)
    with engine.connect() as connection:
        version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()
        writer = connection.execute(text("SELECT written_by FROM nexus_meta")).scalar_one()
    columns = {column["name"] for column in inspect(engine).get_columns("nexus_objects")}
    engine.dispose()
    return version, writer, "mood" in columns


def test_an_older_schema_is_brought_up(old_url: str, next_schema: Path, open_store: OpenStore) -> None:
    next_schema.write_text(NEXT)
    with open_store(old_url) as store:
        assert len(store.objects.all("prod")) == 2
    assert state(old_url) == (NEXT_SCHEMA, __version__, True)


def test_a_migration_that_fails_changes_nothing(old_url: str, next_schema: Path, open_store: OpenStore) -> None:
    next_schema.write_text(NEXT + "    op.execute('SELECT nonsense FROM nowhere')\n")
    with pytest.raises(StoreError, match="nowhere"):
        open_store(old_url)
    assert state(old_url) == (NEWEST, "0.0.1", False)

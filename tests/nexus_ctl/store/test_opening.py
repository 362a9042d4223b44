"""Opening never refuses to run for a broken file, refuses a newer schema clearly, and names the way out."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from nexus_ctl import __version__
from nexus_ctl.errors import StoreError
from nexus_ctl.resources.envelope import Ref
from nexus_ctl.store import database
from nexus_ctl.store.records import Declaration
from nexus_ctl.store.store import Store
from nexus_ctl.store.tables import SCHEMA

CHAT = Ref("Deployment", "chat")
OpenStore = Callable[..., Store]


def filled(open_store: OpenStore, target: Path, count: int = 1) -> None:
    with open_store(target) as store:
        wishes = [Declaration(Ref("Preset", f"p{number}"), {"text": "x" * 1000}) for number in range(count)]
        store.objects.declare("prod", *wishes, cause="apply")


def execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_what_was_written_is_there_after_reopening(url: str, open_store: OpenStore) -> None:
    with open_store(url) as store:
        declared = store.objects.declare("prod", Declaration(CHAT, {"a": 1}), cause="apply")
        assert store.warnings == ()
    again = open_store(url)
    assert again.objects.all("prod") == declared
    assert again.warnings == ()


def test_sqlite_is_durable_and_lets_readers_read(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store(tmp_path / "new" / "dir" / "state.db")
    with store.database.write() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2]
        assert open_store(tmp_path / "new" / "dir" / "state.db").objects.all("prod") == ()


def test_a_memory_database_is_private_and_shared_by_its_threads(open_store: OpenStore) -> None:
    store, other = open_store("sqlite://"), open_store("sqlite://")
    with ThreadPoolExecutor(4) as pool:
        for number in range(8):
            wish = Declaration(Ref("Preset", f"p{number}"), {})
            pool.submit(store.objects.declare, "prod", wish, cause="apply").result()
    assert len(store.objects.all("prod")) == 8
    assert other.objects.all("prod") == ()


def test_many_may_open_a_new_database_at_once(url: str, open_store: OpenStore) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(url), range(6)))
    stores[0].objects.declare("prod", Declaration(CHAT, {}), cause="apply")
    assert [len(store.objects.all("prod")) for store in stores] == [1] * 6


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 100)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def holed(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(b"\xff" * 8192)


@pytest.mark.parametrize("damage", [garbage, truncated, holed])
def test_a_damaged_file_is_put_aside_and_made_afresh(
    tmp_path: Path, open_store: OpenStore, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "state.db"
    for number in (1, 2):
        filled(open_store, file, 100)
        damage(file)
        damaged = file.read_bytes()
        with open_store(file) as store:
            (warning,) = store.warnings
            assert str(tmp_path / f"state.db.bad-{number}") in warning
            assert store.objects.all("prod") == ()
            store.objects.declare("prod", Declaration(CHAT, {}), cause="apply")
        assert (tmp_path / f"state.db.bad-{number}").read_bytes() == damaged
        with open_store(file) as store:
            assert store.warnings == ()
            assert [found.ref for found in store.objects.all("prod")] == [CHAT]


def test_the_log_of_a_damaged_file_in_use_goes_with_it(tmp_path: Path, open_store: OpenStore) -> None:
    file = tmp_path / "state.db"
    filled(open_store, file, 100)
    other = open_store(file)
    other.objects.declare("prod", Declaration(CHAT, {}), cause="apply")
    holed(file)
    with open_store(file) as store:
        assert len(store.warnings) == 1
        assert store.objects.all("prod") == ()
    assert (tmp_path / "state.db.bad-1-wal").stat().st_size > 0
    with open_store(file) as store:
        assert (store.warnings, store.objects.all("prod")) == ((), ())


def test_of_many_who_find_it_damaged_one_puts_it_aside(tmp_path: Path, open_store: OpenStore) -> None:
    file = tmp_path / "state.db"
    garbage(file)
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(file), range(6)))
    assert sum(len(store.warnings) for store in stores) == 1
    assert len(list(tmp_path.glob("state.db.bad-*"))) == 1
    stores[0].objects.declare("prod", Declaration(CHAT, {}), cause="apply")
    assert [len(store.objects.all("prod")) for store in stores] == [1] * 6


def test_an_empty_file_is_a_new_database(tmp_path: Path, open_store: OpenStore) -> None:
    (tmp_path / "state.db").touch()
    store = open_store(tmp_path / "state.db")
    assert (store.warnings, store.revision()) == ((), 0)


def test_a_newer_schema_is_refused_and_left_alone(url: str, open_store: OpenStore) -> None:
    with open_store(url) as store:
        declared = store.objects.declare("prod", Declaration(CHAT, {"a": 1}), cause="apply")
    execute(url, "UPDATE nexus_version SET version_num = '0999'")
    execute(url, "UPDATE nexus_meta SET written_by = '7.1.0'")
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "schema 0999, written by nexusctl 7.1.0" in caught.value.detail
    assert f"this is nexusctl {__version__}" in caught.value.detail
    assert caught.value.hint == "pip install 'nexusctl>=7.1.0'"
    execute(url, f"UPDATE nexus_version SET version_num = '{SCHEMA}'")
    assert open_store(url).objects.all("prod") == declared


def test_a_read_only_database_says_so(tmp_path: Path, open_store: OpenStore) -> None:
    filled(open_store, tmp_path / "state.db")
    store = open_store(f"sqlite:///file:{tmp_path}/state.db?mode=ro&uri=true")
    assert len(store.objects.all("prod")) == 1
    with pytest.raises(StoreError, match="readonly database") as caught:
        store.objects.declare("prod", Declaration(CHAT, {}), cause="apply")
    assert caught.value.hint == "make the file and its directory writable for this user"


def test_a_locked_database_says_so(tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    store = open_store(tmp_path / "state.db")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked") as caught:
        store.objects.declare("prod", Declaration(CHAT, {}), cause="apply")
    assert "another process" in caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    assert store.objects.declare("prod", Declaration(CHAT, {}), cause="apply")[0].generation == 1


def test_what_cannot_be_a_file_says_so(tmp_path: Path, open_store: OpenStore) -> None:
    with pytest.raises(StoreError, match="unable to open") as caught:
        open_store(tmp_path)
    assert "directory" in caught.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        open_store(tmp_path / "file" / "state.db")


def test_an_unreachable_server_says_so_without_the_password(open_store: OpenStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(f"postgresql+psycopg://ann:canary@/state?host={tmp_path}")
    assert "canary" not in f"{caught.value.detail} {caught.value.hint}"
    assert "check that the database server runs" in caught.value.hint


@pytest.mark.parametrize("target", ["state.db", "nosuch://x", "postgresql+nosuch://x", ""])
def test_a_wrong_url_says_so(target: str, open_store: OpenStore) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(target)
    assert caught.value.detail


def imported(program: str) -> set[str]:
    """Which of the slow libraries a program imports."""
    show = "import sys; print(*({'sqlalchemy', 'alembic'} & set(sys.modules)))"
    return set(
        subprocess.run(
            [sys.executable, "-c", f"{program}\n{show}"], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_only_the_store_imports_sqlalchemy_and_only_a_migration_alembic(tmp_path: Path) -> None:
    light = "import nexus_ctl.store, nexus_ctl.store.records, nexus_ctl.store.lock, nexus_ctl.store.instance"
    assert imported(light) == set()
    opening = (
        "from pathlib import Path\nfrom nexus_ctl.clock import SystemClock\nfrom nexus_ctl.store.store import Store\n"
        f"for _ in range(2): Store.open(Path({str(tmp_path / 'state.db')!r}), SystemClock()).close()"
    )
    assert imported(opening) == {"sqlalchemy"}

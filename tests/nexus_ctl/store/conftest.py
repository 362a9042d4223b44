"""The whole suite runs on SQLite and on PostgreSQL; each test has a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from nexus_ctl.store.store import Store
from tests.fakes.clock import FakeClock
from tests.fixtures import postgres_server

OpenStore = Callable[..., Store]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if not postgres_server.program("postgres"):
        pytest.skip("no PostgreSQL server program (Debian package postgresql)")
    with postgres_server.running() as url:
        yield url


@pytest.fixture(scope="session")
def schema_numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def postgres_url(server: str, schema_numbers: Iterator[int]) -> str:
    """A schema of its own in the server."""
    schema = f"case_{next(schema_numbers)}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    return f"{server}&options=-csearch_path%3D{schema}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each sort."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_store(clock: FakeClock) -> Iterator[OpenStore]:
    """Opens stores, and closes them at the end."""
    opened: list[Store] = []

    def opening(target: str | Path, **options: object) -> Store:
        opened.append(Store.open(target, clock, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(url: str, open_store: OpenStore) -> Store:
    return open_store(url)

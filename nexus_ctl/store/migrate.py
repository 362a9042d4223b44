"""Migrations: the one place that imports Alembic, and only for a database whose schema is older than `tables`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema up to `to` within the connection's transaction: a crash leaves the old one."""
    command.upgrade(config(connection), to)


def config(connection: Connection) -> Config:
    """Alembic's settings, without a file: `env.py` takes the connection from here."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings

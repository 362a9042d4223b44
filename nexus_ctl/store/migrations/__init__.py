"""Alembic's folder. A new migration: a file in `versions/`, `tables.SCHEMA` raised, a fixture in tests/data/store/."""

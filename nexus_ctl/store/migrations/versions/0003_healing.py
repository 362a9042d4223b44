"""Healing: what a failed revision died of and since when one is ready, back-off per replica, the applied settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002."""
    with op.batch_alter_table("nexus_revisions") as table:
        table.add_column(sa.Column("ready_since", sa.String(length=27), nullable=True))
        table.add_column(sa.Column("why", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "nexus_backoffs",
        sa.Column("set", sa.Text(), nullable=False),
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("exit", sa.Text(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.String(length=27), nullable=False),
        sa.Column("next_at", sa.String(length=27), nullable=False),
        sa.Column("ready_run", sa.Text(), nullable=False),
        sa.Column("ready_since", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("set", "replica"),
    )
    op.create_table(
        "nexus_wishes",
        sa.Column("set", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("set"),
    )

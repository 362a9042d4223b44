"""Run by Alembic, with the connection that `nexus_ctl.store.migrate` hands in and in that connection's transaction."""

from __future__ import annotations

from alembic import context

from nexus_ctl.store.opening import VERSION_TABLE
from nexus_ctl.store.tables import metadata


def ours(name: str | None, type_: str, _parents: object) -> bool:
    """A database may be shared: only our own tables are compared."""
    return type_ != "table" or (name or "").startswith("nexus_")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    include_name=ours,
)
with context.begin_transaction():
    context.run_migrations()

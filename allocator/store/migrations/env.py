"""Runs migrations on the connection that `allocator.store.migrations` passes in; the transaction is the caller's."""

from __future__ import annotations

from alembic import context

from allocator.store.migrations import VERSION_TABLE
from allocator.store.tables import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    version_table=VERSION_TABLE,
    # SQLite cannot alter most of a table in place: Alembic copies it.
    render_as_batch=True,
)
context.run_migrations()

"""Priorities, quotas and disciplines of queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Queues that are there have equal priority and no quotas, and their jobs share by weight."""
    op.add_column("queue", sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("queue", sa.Column("quotas", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("queue", sa.Column("discipline", sa.Text(), nullable=False, server_default="fair"))

"""What jobs run, retries, dependencies, arrays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that are there run nothing that is known, and do not try again."""
    for name in ("process", "retries", "after", "waits_for"):
        op.add_column("job", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("job", sa.Column("array_index", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("failures", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("not_before", sa.Double(), nullable=True))

"""Constraints on where a job may run, taints of nodes, and whether a job can be resized or divided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that are there have no constraints and are neither resizable nor divisible; nodes have no taints."""
    op.add_column("job", sa.Column("constraints", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("resizable", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("divisible", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("node", sa.Column("taints", sa.Text(), nullable=False, server_default="[]"))

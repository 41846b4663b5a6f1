"""Why the engines of nodes can begin nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nodes that are there have said of no trouble."""
    op.add_column("node", sa.Column("trouble", sa.Text(), nullable=True))

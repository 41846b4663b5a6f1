"""What the engines of nodes can do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nodes that are there do not say; they are taken to be able to do everything, as before."""
    op.add_column("node", sa.Column("capabilities", sa.Text(), nullable=True))

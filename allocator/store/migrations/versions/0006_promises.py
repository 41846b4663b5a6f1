"""Classes of jobs, what was learned of their throughput; deadlines, minimum throughputs, and work done so far."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that are there have no class and no promise, and what they did before is not known."""
    op.create_table(
        "estimate",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("observations", sa.Double(), nullable=False),
        sa.Column("log_mean", sa.Double(), nullable=False),
        sa.Column("log_squares", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_estimate")),
    )
    op.add_column("job", sa.Column("job_class", sa.Text(), nullable=False, server_default='""'))
    op.add_column("job", sa.Column("deadline", sa.Double(), nullable=True))
    op.add_column("job", sa.Column("minimum_throughput", sa.Double(), nullable=True))
    op.add_column("job", sa.Column("work_done_seconds", sa.Double(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("work_counted_time", sa.Double(), nullable=True))

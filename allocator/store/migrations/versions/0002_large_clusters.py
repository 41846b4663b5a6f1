"""What each round writes gets small: credits and pace as binary columns, and no index that changes with live jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVE, ENDED = "end_time IS NULL", "end_time IS NOT NULL"


def upgrade() -> None:
    """The memory that is there stays as it is: it is read in either form, and replaced by the next round."""
    op.add_column("memory", sa.Column("credits", sa.LargeBinary(), nullable=True))
    for name in ("ix_job_revision_sequence", "ix_job_state_sequence", "ix_job_queue_state_sequence"):
        op.drop_index(name, "job")
    _index("ix_job_live", LIVE, "sequence")
    _index("ix_job_ended_revision", ENDED, "revision", "sequence")
    _index("ix_job_ended_state", ENDED, "state", "sequence")
    _index("ix_job_ended_queue", ENDED, "queue", "state", "sequence")


def _index(name: str, condition: str, *columns: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "job", list(columns), sqlite_where=where, postgresql_where=where)

"""The first schema: queues, nodes, jobs, receipts, rounds, and how far all of it has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables and the one row that says: nothing has happened yet."""
    _create_cluster()
    _create_jobs()
    _create_rounds()


def _create_cluster() -> None:
    op.create_table(
        "queue",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("cordoned", sa.Boolean(), nullable=False),
        sa.Column("max_live_jobs", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_queue"),
    )
    op.create_table(
        "node",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("flavor", sa.Text(), nullable=False),
        sa.Column("cpu_millicores", sa.BigInteger(), nullable=False),
        sa.Column("gpu_millis", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("bandwidth_bytes_per_second", sa.BigInteger(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("availability", sa.Text(), nullable=False),
        sa.Column("health", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_node"),
    )


def _create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("sequence", NUMBER, nullable=False, autoincrement=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("priority_class", sa.Text(), nullable=False),
        sa.Column("preemptible", sa.Boolean(), nullable=False),
        sa.Column("restart_cost_seconds", sa.Double(), nullable=False),
        sa.Column("expected_duration_seconds", sa.Double(), nullable=True),
        sa.Column("configurations", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("submit_time", sa.Double(), nullable=False),
        sa.Column("allocation", sa.Text(), nullable=True),
        sa.Column("pending_reason", sa.Text(), nullable=True),
        sa.Column("first_start_time", sa.Double(), nullable=True),
        sa.Column("last_start_time", sa.Double(), nullable=True),
        sa.Column("end_time", sa.Double(), nullable=True),
        sa.Column("preemption_count", sa.BigInteger(), nullable=False),
        sa.Column("last_preemption", sa.Text(), nullable=True),
        sa.Column("measured_throughput", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_job"),
        sa.UniqueConstraint("id", name="uq_job_id"),
    )
    op.create_index("ix_job_revision_sequence", "job", ["revision", "sequence"])
    op.create_index("ix_job_state_sequence", "job", ["state", "sequence"])
    op.create_index("ix_job_queue_state_sequence", "job", ["queue", "state", "sequence"])
    op.create_table(
        "receipt",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_receipt"),
    )
    op.create_index("ix_receipt_time", "receipt", ["time"])


def _create_rounds() -> None:
    op.create_table(
        "round",
        sa.Column("number", NUMBER, nullable=False, autoincrement=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_round"),
    )
    op.create_table(
        "memory",
        sa.Column("id", NUMBER, nullable=False, autoincrement=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_memory"),
    )
    position = op.create_table(
        "position",
        sa.Column("id", NUMBER, nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("next_sequence", sa.BigInteger(), nullable=False),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("committed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_position"),
    )
    op.bulk_insert(position, [{"id": 1, "revision": 0, "next_sequence": 1, "recorded": 0, "committed": 0}])

"""The tables: columns for what is searched, sorted or counted; JSON text (for many numbers, binary) for the parts
that are only read whole.

Amounts are integers (see `allocator.domain.resources`), times are seconds since the epoch as doubles. Text that people
may write freely is JSON text too: it may hold characters that PostgreSQL refuses in plain text. There are no foreign
keys: ended jobs outlive their queue and their nodes.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Integer, LargeBinary, MetaData, Text, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Number = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit integer on both; as a primary key it is SQLite's own row id."""


class Row(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own contract
        int: BigInteger(),
        float: Double(),
        str: Text(),
        bytes: LargeBinary(),
    }


ENDED = "end_time IS NOT NULL"


def _index_of_some(name: str, condition: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


class QueueRow(Row):
    """A queue there is; deleted ones leave no row."""

    __tablename__ = "queue"

    name: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    cordoned: Mapped[bool]
    max_live_jobs: Mapped[int | None]
    priority: Mapped[int] = mapped_column(server_default="0")
    quotas: Mapped[str] = mapped_column(server_default="[]")
    discipline: Mapped[str] = mapped_column(server_default="fair")


class NodeRow(Row):
    """A node there is; removed ones leave no row."""

    __tablename__ = "node"

    name: Mapped[str] = mapped_column(primary_key=True)
    flavor: Mapped[str]
    cpu_millicores: Mapped[int]
    gpu_millis: Mapped[int]
    memory_bytes: Mapped[int]
    bandwidth_bytes_per_second: Mapped[int]
    disk_bytes: Mapped[int]
    extra: Mapped[str]
    labels: Mapped[str]
    availability: Mapped[str]
    health: Mapped[str]
    simulated: Mapped[bool]
    taints: Mapped[str] = mapped_column(server_default="[]")
    capabilities: Mapped[str | None]
    trouble: Mapped[str | None]


class JobRow(Row):
    """Every job that was ever admitted. `end_time` is present exactly if it has ended.

    Live jobs are in memory: indexes are for finding the ended ones, and for loading the live ones once. A round changes
    thousands of live jobs, and none of these indexes with them.
    """

    __tablename__ = "job"
    __table_args__ = (
        _index_of_some("ix_job_live", "end_time IS NULL", "sequence"),
        _index_of_some("ix_job_ended_revision", ENDED, "revision", "sequence"),
        _index_of_some("ix_job_ended_state", ENDED, "state", "sequence"),
        _index_of_some("ix_job_ended_queue", ENDED, "queue", "state", "sequence"),
    )

    sequence: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(unique=True)
    revision: Mapped[int]
    queue: Mapped[str]
    state: Mapped[str]
    name: Mapped[str]
    weight: Mapped[float]
    priority_class: Mapped[str]
    preemptible: Mapped[bool]
    restart_cost_seconds: Mapped[float]
    expected_duration_seconds: Mapped[float | None]
    configurations: Mapped[str]
    labels: Mapped[str]
    constraints: Mapped[str | None]
    """NULL for a job that has none."""
    resizable: Mapped[bool] = mapped_column(server_default=false())
    divisible: Mapped[bool] = mapped_column(server_default=false())
    submit_time: Mapped[float]
    allocation: Mapped[str | None]
    pending_reason: Mapped[str | None]
    first_start_time: Mapped[float | None]
    last_start_time: Mapped[float | None]
    end_time: Mapped[float | None]
    preemption_count: Mapped[int]
    last_preemption: Mapped[str | None]
    measured_throughput: Mapped[str]
    message: Mapped[str]
    job_class: Mapped[str] = mapped_column(server_default='""')
    deadline: Mapped[float | None]
    minimum_throughput: Mapped[float | None]
    work_done_seconds: Mapped[float] = mapped_column(server_default="0")
    work_counted_time: Mapped[float | None]
    process: Mapped[str | None]
    retries: Mapped[str | None]
    """NULL: none."""
    after: Mapped[str | None]
    array_index: Mapped[int | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    not_before: Mapped[float | None]
    waits_for: Mapped[str | None]


class EstimateRow(Row):
    """What is known of a configuration of a class of jobs; forgotten ones leave no row. See `domain.estimates`."""

    __tablename__ = "estimate"

    name: Mapped[str] = mapped_column(primary_key=True)
    """Queue, class, flavor and replicas as a JSON list: a class is written freely."""
    observations: Mapped[float]
    log_mean: Mapped[float]
    log_squares: Mapped[float]
    value: Mapped[float]
    time: Mapped[float]


class PolicyRow(Row):
    """A policy that was applied; the largest version is in force. Queues are rows of their own."""

    __tablename__ = "policy"

    version: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    time: Mapped[float]
    content: Mapped[str]
    """Every value, as a policy file without queues."""
    text: Mapped[str]
    """The file as it was sent."""
    author: Mapped[str]
    comment: Mapped[str]


class ReceiptRow(Row):
    """What was answered to a request id."""

    __tablename__ = "receipt"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    time: Mapped[float] = mapped_column(index=True)
    answers: Mapped[str]


class RoundRow(Row):
    """The summary of one round."""

    __tablename__ = "round"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    time: Mapped[float]
    summary: Mapped[str]


class MemoryRow(Row):
    """What the last recorded round handed to the next: one row."""

    __tablename__ = "memory"

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    content: Mapped[str]
    credits: Mapped[bytes | None]
    """Three columns of one length, one after the other, little-endian: sequences (64-bit integers), credits and pace
    (doubles). NULL in a record from before there was this column: then `content` has them by job id.
    """


class PositionRow(Row):
    """How far the facts have come: one row, changed in every transaction (see `state.Position`)."""

    __tablename__ = "position"

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    revision: Mapped[int]
    next_sequence: Mapped[int]
    recorded: Mapped[int]
    committed: Mapped[int]


class AgentLeaseRow(Row):
    """The longest lease that any agent may hold, in seconds: at most one row."""

    __tablename__ = "agent_lease"

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    seconds: Mapped[float]


ONLY = 1
"""The id in tables of one row."""

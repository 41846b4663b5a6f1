"""Bulk statements that make an overlay durable, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from allocator.domain.job import Job
from allocator.store import mapping
from allocator.store.job_mapping import MUTABLE_JOB_COLUMNS, job_changes, job_row
from allocator.store.mapping import Row
from allocator.store.overlay import Overlay
from allocator.store.state import Position
from allocator.store.tables import (
    ONLY,
    AgentLeaseRow,
    EstimateRow,
    JobRow,
    MemoryRow,
    NodeRow,
    PolicyRow,
    PositionRow,
    QueueRow,
    ReceiptRow,
    RoundRow,
)
from allocator.store.tables import Row as Mapped

Statement = Any
"""An executable of SQLAlchemy's core; its generic types say nothing here."""


class StrayWriter(Exception):
    """The database is not where this writer left it: somebody else has written to it."""


class Statements:
    """The statements in the words of one dialect (`sqlite` or `postgresql`), built once."""

    def __init__(self, dialect: str) -> None:
        self._insert: Callable[[Table], Statement] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect]
        self._put_job = self._put(JobRow)
        self._put_queue = self._put(QueueRow)
        self._put_node = self._put(NodeRow)
        self._put_receipt = self._put(ReceiptRow)
        self._put_estimate = self._put(EstimateRow)
        self._put_policy = self._put(PolicyRow)
        self._put_round = self._put(RoundRow)
        self._put_memory = self._put(MemoryRow)
        self._put_lease = self._put(AgentLeaseRow)
        self._end_job = _Change(MUTABLE_JOB_COLUMNS)
        # Which index a job is in depends on its end time: while that is not mentioned, no index is touched.
        self._change_live_job = _Change(tuple(name for name in MUTABLE_JOB_COLUMNS if name != "end_time"))
        position = table(PositionRow).c
        self._advance = update(table(PositionRow)).where(
            position.id == ONLY,
            position.revision == bindparam("from_revision"),
            position.recorded == bindparam("from_recorded"),
            position.committed == bindparam("from_committed"),
        )

    def write(self, connection: Connection, overlay: Overlay) -> None:
        """Everything that changed with `overlay`. Raises StrayWriter if the database was changed by another hand."""
        before = overlay.state.position
        self._move(connection, before, overlay.position)
        self._write_jobs(connection, overlay.state.jobs, overlay.jobs.values())
        _many(connection, self._put_queue, [mapping.queue_row(found) for found in overlay.queues.values() if found])
        _remove(connection, QueueRow, "name", overlay.queues)
        _many(connection, self._put_node, [mapping.node_row(found) for found in overlay.nodes.values() if found])
        _remove(connection, NodeRow, "name", overlay.nodes)
        estimates = {mapping.estimate_name(name): found for name, found in overlay.estimates.items()}
        _many(connection, self._put_estimate, [mapping.estimate_row(found) for found in estimates.values() if found])
        _remove(connection, EstimateRow, "name", estimates)
        _many(connection, self._put_receipt, [mapping.receipt_row(found) for found in overlay.receipts.values()])
        _many(connection, self._put_policy, [mapping.policy_row(found) for found in overlay.policies])
        if overlay.lease_seconds is not None:
            connection.execute(self._put_lease, {"id": ONLY, "seconds": overlay.lease_seconds})

    def write_round(self, connection: Connection, row: Row, memory: Row) -> None:
        """One round's record."""
        connection.execute(self._put_round, row)
        connection.execute(self._put_memory, {"id": ONLY, **memory})

    def prune(self, connection: Connection, *, receipts_before: float, rounds_before: int) -> None:
        """Drop receipts given before a time and rounds below a number; both are found by an index."""
        connection.execute(delete(table(ReceiptRow)).where(ReceiptRow.time < receipts_before))
        connection.execute(delete(table(RoundRow)).where(RoundRow.number < rounds_before))

    def _write_jobs(self, connection: Connection, durable: Mapping[str, Job], jobs: Iterable[Job]) -> None:
        """New jobs, and those with another spec, as whole rows; of the others only what changes while a job lives."""
        whole: list[Row] = []
        changed: list[Row] = []
        ended: list[Row] = []
        for job in jobs:
            before = durable.get(job.id)
            if before is None or before.spec is not job.spec:
                whole.append(job_row(job))
                continue
            changes = job_changes(job)
            changes["the_sequence"] = job.sequence
            (changed if job.end_time is None else ended).append(changes)
        _many(connection, self._put_job, whole)
        self._change_live_job.execute(connection, changed)
        self._end_job.execute(connection, ended)

    def _move(self, connection: Connection, before: Position, after: Position) -> None:
        moved = connection.execute(
            self._advance,
            {
                "from_revision": before.revision,
                "from_recorded": before.recorded,
                "from_committed": before.committed,
                "revision": after.revision,
                "next_sequence": after.next_sequence,
                "recorded": after.recorded,
                "committed": after.committed,
            },
        )
        if moved.rowcount != 1:
            raise StrayWriter(f"the database is no longer at revision {before.revision}")

    def _put(self, row: type[Mapped]) -> Statement:
        """Insert, or replace the row with the same key."""
        target = table(row)
        key = [column.name for column in target.primary_key]
        insert = self._insert(target)
        replaced = {column.name: insert.excluded[column.name] for column in target.c if column.name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=replaced)


class _Change:
    """Sets columns of jobs; rows have these columns, and the job's `the_sequence`.

    A round changes thousands of jobs: rows go to the driver as they are, which saves half of the time. What they hold,
    numbers and text, needs no translation.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        target = table(JobRow)
        known = target.c.sequence == bindparam("the_sequence")
        self._statement = update(target).where(known).values({name: bindparam(name) for name in columns})
        self._compiled: SQLCompiler | None = None

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self._compiled is None:
            compiled = self._statement.compile(dialect=connection.dialect)
            assert isinstance(compiled, SQLCompiler)
            self._compiled = compiled
        order = self._compiled.positiontup
        values = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
        connection.exec_driver_sql(str(self._compiled), values)


def table(row: type[Mapped]) -> Table:
    """What is behind a mapped class: everything here is core, no row becomes an object of the ORM."""
    found = row.__table__
    assert isinstance(found, Table)
    return found


def _many(connection: Connection, statement: Statement, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(statement, rows)


def _remove(connection: Connection, row: type[Mapped], key: str, found: Mapping[str, object | None]) -> None:
    """Delete the rows of what is None."""
    gone = [name for name, value in found.items() if value is None]
    if gone:
        column = table(row).c[key]
        connection.execute(delete(table(row)).where(column == bindparam("gone")), [{"gone": name} for name in gone])

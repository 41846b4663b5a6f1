"""Bulk statements that make an overlay durable, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite

from allocator.domain.job import Job
from allocator.store import mapping
from allocator.store.mapping import MUTABLE_JOB_COLUMNS, Row
from allocator.store.overlay import Overlay
from allocator.store.state import Position
from allocator.store.tables import ONLY, JobRow, MemoryRow, NodeRow, PositionRow, QueueRow, ReceiptRow, RoundRow
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
        self._put_round = self._put(RoundRow)
        self._put_memory = self._put(MemoryRow)
        self._change_job = (
            update(table(JobRow))
            .where(table(JobRow).c.sequence == bindparam("the_sequence"))
            .values({name: bindparam(name) for name in MUTABLE_JOB_COLUMNS})
        )
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
        _many(connection, self._put_receipt, [mapping.receipt_row(found) for found in overlay.receipts.values()])

    def write_round(self, connection: Connection, row: Row, memory: str) -> None:
        """One round's record."""
        connection.execute(self._put_round, row)
        connection.execute(self._put_memory, {"id": ONLY, "content": memory})

    def prune(self, connection: Connection, *, receipts_before: float, rounds_before: int) -> None:
        """Drop receipts given before a time and rounds below a number; both are found by an index."""
        connection.execute(delete(table(ReceiptRow)).where(ReceiptRow.time < receipts_before))
        connection.execute(delete(table(RoundRow)).where(RoundRow.number < rounds_before))

    def _write_jobs(self, connection: Connection, durable: Mapping[str, Job], jobs: Iterable[Job]) -> None:
        """New jobs, and those with another spec, as whole rows; of the others only what changes while a job lives."""
        whole: list[Row] = []
        changes: list[Row] = []
        for job in jobs:
            before = durable.get(job.id)
            if before is not None and before.spec is job.spec:
                changes.append({**mapping.job_changes(job), "the_sequence": job.sequence})
            else:
                whole.append(mapping.job_row(job))
        _many(connection, self._put_job, whole)
        _many(connection, self._change_job, changes)

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

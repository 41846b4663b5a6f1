"""Reads from the database: ended jobs, receipts, rounds, and everything at start. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Select, select, text, tuple_
from sqlalchemy.exc import SQLAlchemyError

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.errors import NotFound, StoreUnavailable
from allocator.domain.job import Job, JobState
from allocator.intake.ports import Receipt
from allocator.rounds.report import RoundSummary
from allocator.store.feed import LAST, ChangeFeed, Cursor
from allocator.store.job_mapping import JOB_COLUMNS, job_from
from allocator.store.mapping import estimate_from, memory_from, node_from, policy_from, queue_from, receipt_from, write
from allocator.store.overlay import Overlay
from allocator.store.state import Archive, Position, State
from allocator.store.summaries import read_summary
from allocator.store.tables import (
    ENDED,
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
from allocator.store.writing import table

JOB, RECEIPT, ROUND, POLICY = table(JobRow), table(ReceiptRow), table(RoundRow), table(PolicyRow)
JOB_ROW = tuple(JOB.c[name] for name in JOB_COLUMNS)
HAS_ENDED = text(ENDED)
"""In the words of the indexes, so that they are used."""
KEYS_PER_QUERY = 500


class History:
    """The SQL half of `allocator.store.reads.Reads`; any thread. Raises StoreUnavailable if the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def job(self, job_id: str) -> Job:
        if not may_exist(job_id):
            raise NotFound("job", job_id)
        with self._reading() as connection:
            row = connection.execute(select(*JOB_ROW).where(JOB.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound("job", job_id)
        return job_from(row)

    def ended_jobs(
        self, queue: str | None, states: Iterable[JobState], after_sequence: int, limit: int
    ) -> tuple[Job, ...]:
        """See `Reads.list_jobs`; `states` are final. One query per state, each of which an index answers in order."""
        if not may_exist(queue or ""):
            return ()
        page = select(*JOB_ROW).where(HAS_ENDED, JOB.c.sequence > min(after_sequence, LAST))
        if queue is not None:
            page = page.where(JOB.c.queue == queue)
        page = page.order_by(JOB.c.sequence).limit(limit)
        with self._reading() as connection:
            rows = [row for state in states for row in connection.execute(page.where(JOB.c.state == state.value))]
        rows.sort(key=lambda row: row.sequence)
        return tuple(job_from(row) for row in rows[:limit])

    def ended_since(self, cursor: tuple[int, int], revision: int, limit: int) -> tuple[Job, ...]:
        """The first `limit` ended jobs whose last change lies behind `cursor`, up to `revision`, in that order."""
        order = (JOB.c.revision, JOB.c.sequence)
        behind = tuple(min(part, LAST) for part in cursor)
        changed = select(*JOB_ROW).where(HAS_ENDED, tuple_(*order) > behind, JOB.c.revision <= revision)
        with self._reading() as connection:
            return tuple(job_from(row) for row in connection.execute(changed.order_by(*order).limit(limit)))

    def round(self, number: int) -> RoundSummary:
        with self._reading() as connection:
            query = select(ROUND.c.summary).where(ROUND.c.number == min(number, LAST))
            summary = connection.execute(query).scalar_one_or_none()
        if summary is None:
            raise NotFound("round", str(number))
        return read_summary(summary)

    def rounds(self, before: int | None, limit: int) -> tuple[RoundSummary, ...]:
        query = select(ROUND.c.summary).order_by(ROUND.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(ROUND.c.number < min(before, LAST))
        with self._reading() as connection:
            return tuple(map(read_summary, connection.execute(query).scalars()))

    def policy(self, version: int) -> AppliedPolicy:
        with self._reading() as connection:
            query = select(POLICY).where(POLICY.c.version == max(-LAST, min(version, LAST)))
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("policy version", str(version))
        return policy_from(row)

    def policies(self, limit: int) -> tuple[AppliedPolicy, ...]:
        query = select(POLICY).order_by(POLICY.c.version.desc()).limit(limit)
        with self._reading() as connection:
            return tuple(map(policy_from, connection.execute(query)))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the database cannot be read: {error}") from error


class SqlArchive:
    """Implements `state.Archive` for the writer: looks up on its connection, and remembers for one batch."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._jobs: dict[str, Job | None] = {}
        self._receipts: dict[str, Receipt | None] = {}

    def begin(self, connection: Connection, job_ids: Iterable[str], request_ids: Iterable[str]) -> None:
        """A batch begins that will ask for these, and perhaps for others."""
        self._connection = connection
        self._jobs = dict.fromkeys(filter(may_exist, job_ids))
        self._receipts = dict.fromkeys(request_ids)
        for some in _portions(self._jobs):
            for row in self._rows(select(*JOB_ROW).where(JOB.c.id.in_(some))):
                self._jobs[row.id] = job_from(row)
        for some in _portions(self._receipts):
            for row in self._rows(select(RECEIPT).where(RECEIPT.c.request_id.in_([write(key) for key in some]))):
                receipt = receipt_from(row)
                self._receipts[receipt.request_id] = receipt

    def job(self, job_id: str) -> Job | None:
        if not may_exist(job_id):
            return None
        if job_id not in self._jobs:
            rows = self._rows(select(*JOB_ROW).where(JOB.c.id == job_id))
            self._jobs[job_id] = job_from(rows[0]) if rows else None
        return self._jobs[job_id]

    def receipt(self, request_id: str) -> Receipt | None:
        if request_id not in self._receipts:
            rows = self._rows(select(RECEIPT).where(RECEIPT.c.request_id == write(request_id)))
            self._receipts[request_id] = receipt_from(rows[0]) if rows else None
        return self._receipts[request_id]

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        assert self._connection is not None
        return self._connection.execute(query).all()


def may_exist(name: str) -> bool:
    """Whether a job id or a queue's name could be one of ours; a driver may choke on what is not."""
    return name.isascii() and "\0" not in name


def read_position(connection: Connection) -> Position:
    """How far the database has come."""
    row = connection.execute(select(table(PositionRow)).where(PositionRow.id == ONLY)).one()
    return Position(row.revision, row.next_sequence, row.recorded, row.committed)


def load(connection: Connection, archive: Archive, feed_limit: int) -> State:
    """Everything that is live, in the caller's transaction."""
    state = State(archive, ChangeFeed(limit=0))
    overlay = Overlay(state)
    live = select(*JOB_ROW).where(JOB.c.end_time.is_(None)).order_by(JOB.c.sequence)
    policy = connection.execute(select(POLICY).order_by(POLICY.c.version.desc()).limit(1)).one_or_none()
    overlay.restore(
        queues=(queue_from(row) for row in connection.execute(select(table(QueueRow)))),
        nodes=(node_from(row) for row in connection.execute(select(table(NodeRow)))),
        jobs=(job_from(row) for row in connection.execute(live)),
        estimates=(estimate_from(row) for row in connection.execute(select(table(EstimateRow)))),
        policy=None if policy is None else policy_from(policy),
    )
    overlay.position = read_position(connection)
    state.merge(overlay)
    lease = connection.execute(select(table(AgentLeaseRow)).where(AgentLeaseRow.id == ONLY)).one_or_none()
    if lease is not None:
        state.lease_seconds = lease.seconds
    memory = connection.execute(select(table(MemoryRow)).where(MemoryRow.id == ONLY)).one_or_none()
    if memory is not None:
        sequences = {job.id: job.sequence for job in state.jobs.values()}
        state.memory = memory_from(memory.content, memory.credits, sequences.get)
    newest = select(ROUND.c.summary).order_by(ROUND.c.number.desc()).limit(1)
    summary = connection.execute(newest).scalar_one_or_none()
    if summary is not None:
        state.latest_round = read_summary(summary)
    # What changed before lies in the database; from here on the feed is complete.
    state.feed = ChangeFeed(feed_limit, start=Cursor.after(state.position.revision))
    return state


def _portions(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(list(keys))
    while some := list(islice(remaining, KEYS_PER_QUERY)):
        yield some

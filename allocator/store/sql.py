"""The durable store: facts in SQLite or PostgreSQL, with everything live in memory too.

What a future or a call has answered survives kill -9 and power loss. One program at a time may have a database open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.errors import StoreUnavailable
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.plan import Commit, Plan
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake import commands as c
from allocator.rounds.report import RoundSummary
from allocator.store import steps
from allocator.store.database import parse, reading_engine
from allocator.store.feed import Cursor
from allocator.store.heartbeats import QuietHeartbeats
from allocator.store.history import History
from allocator.store.image import Image
from allocator.store.journal import Journal, RoundRecord
from allocator.store.mapping import memory_row
from allocator.store.overlay import Overlay
from allocator.store.reads import LiveReads
from allocator.store.state import LIVE
from allocator.store.summaries import round_row
from allocator.store.writer import Work, Writer


class SqlStore(LiveReads):
    """Implements `rounds.ports.Store`, `intake.ports.Ledger` and `store.reads.Reads`. Any thread may call.

    `url`: `sqlite:///path` or `postgresql://user@host/name`. Commands wait up to `group_commit_seconds` for others to
    share their fsync; a batch holds at most `max_batch` commands (or jobs in them), and while `max_waiting` commands
    wait, further ones are refused with ResourceExhausted. Request ids are remembered for `receipt_retention_seconds`
    of the time that rounds tell, and the newest `round_retention` rounds are kept. `on_batch(commands, seconds)` is
    called by the writer's thread after each batch, `on_change(command)` after each command that made a new revision:
    they must be quick.

    Use as a context manager, or call `open` and `close`. Nothing but `open` works before `open`.
    """

    def __init__(
        self,
        url: str,
        *,
        group_commit_seconds: float = 0.003,
        max_batch: int = 2000,
        max_waiting: int = 50_000,
        receipt_retention_seconds: float = 7 * 86400.0,
        round_retention: int = 100_000,
        on_batch: Callable[[int, float], None] | None = None,
        on_change: Callable[[c.Command], None] | None = None,
    ) -> None:
        self._url = parse(url)
        self._on_batch = on_batch
        self._on_change = on_change or (lambda _command: None)
        self._group_commit_seconds = group_commit_seconds
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._journal = Journal(
            self._url, receipt_retention_seconds=receipt_retention_seconds, round_retention=round_retention
        )
        self._engine = reading_engine(self._url)
        self._history = History(self._engine)
        self._writer: Writer | None = None
        self._heartbeats = QuietHeartbeats()

    def open(self) -> Self:
        """Take the database, create or check its schema, load what is live.

        Raises FailedPrecondition if another program has it open or the schema is not this program's, and
        StoreUnavailable if it cannot be reached.
        """
        self._image = Image(self._journal.open())
        self._writer = Writer(
            self._journal,
            self._image,
            group_commit_seconds=self._group_commit_seconds,
            max_batch=self._max_batch,
            max_waiting=self._max_waiting,
            on_batch=self._on_batch,
        )
        return self

    def close(self) -> None:
        """Finish what was handed in and let go of the database. Reads of live facts go on working."""
        if self._writer is not None:
            self._writer.close()
        self._journal.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Ledger ---

    def execute(self, command: c.Command, now: float) -> Future[Any]:
        # While the database does not take what it is given, agents shall notice: another program may have it.
        known = self._heartbeats.answer(command, self._image) if self._writer and self._writer.is_well else None
        if known is not None:
            return known
        job_ids, request_ids, size = _footprint(command)
        changes = False

        def step(overlay: Overlay) -> Any:
            nonlocal changes
            before = overlay.revision
            answer = steps.execute(overlay, command, now)
            changes = overlay.revision != before
            return answer

        def tell(done: Future[Any]) -> None:
            if changes and done.exception() is None:
                self._on_change(command)

        work = Work(
            step,
            size=size,
            job_ids=job_ids,
            request_ids=request_ids,
        )
        work.future.add_done_callback(tell)
        if self._heartbeats.sets_out(command):
            work.future.add_done_callback(self._heartbeats.arrived)
        return self._submit(work)

    # --- Store ---

    def snapshot(self, now: float) -> Snapshot:
        return self._image.snapshot(now)

    def commit(self, plan: Plan, now: float) -> Commit:
        changing = [change.job_id for change in plan.changes]
        waiting = [job_id for job_id, _ in plan.waiting]
        work = Work(lambda overlay: steps.commit(overlay, plan, now), urgent=True, job_ids=changing + waiting)
        answer = self._submit(work).result()
        assert isinstance(answer, Commit)
        return answer

    def record(self, summary: RoundSummary, memory: Memory) -> None:
        # Written out here, on the round's thread: the writer has others to serve.
        record = RoundRecord(round_row(summary), memory_row(memory), summary.round, summary.time)
        work = Work(lambda overlay: steps.record(overlay, summary, memory), urgent=True, record=record)
        self._submit(work).result()

    def memory(self) -> Memory:
        return self._image.memory()

    # --- leases ---

    def promised_lease(self) -> float:
        """Seconds of the longest lease that any agent may hold; 0 if none was promised yet."""
        return self._image.state.lease_seconds

    def promise_lease(self, seconds: float) -> None:
        """To be called before agents are promised longer ones, and when all that were longer are over. Durable when it
        returns. Raises StoreUnavailable.
        """
        self._submit(Work(lambda overlay: steps.promise(overlay, seconds), urgent=True)).result()

    # --- Reads, the rest ---

    def get_job(self, job_id: str) -> Job:
        return self._image.live_job(job_id) or self._history.job(job_id)

    def list_jobs(
        self, queue: str | None = None, states: Collection[JobState] = (), after_sequence: int = 0, limit: int = 1000
    ) -> tuple[Job, ...]:
        wanted = frozenset(states or JobState)
        live = self._image.live_jobs(queue, wanted & LIVE, after_sequence, limit) if wanted & LIVE else ()
        if wanted <= LIVE:
            return live
        # Asked second: a job that ends in between is in both, none is in neither.
        ended = self._history.ended_jobs(queue, wanted - LIVE, after_sequence, limit)
        found = {job.sequence: job for job in (*live, *ended)}
        return tuple(found[sequence] for sequence in sorted(found)[:limit])

    def jobs_changed_since(self, cursor: tuple[int, int], limit: int = 1000) -> tuple[Job, ...]:
        found = self._image.recent_changes(cursor, limit)
        if found is not None:
            return found
        # What ends while this is read is left for the next call: otherwise the cursor would pass by what is not here.
        revision, live = self._image.live_changes(cursor, limit)
        ended = self._history.ended_since(cursor, revision, limit)
        return tuple(sorted((*live, *ended), key=Cursor.of)[:limit])

    def get_round(self, number: int) -> RoundSummary:
        return self._history.round(number)

    def get_policy(self, version: int) -> AppliedPolicy:
        return self._history.policy(version)

    def list_policies(self, limit: int = 100) -> tuple[AppliedPolicy, ...]:
        return self._history.policies(limit)

    def list_rounds(self, before: int | None = None, limit: int = 100) -> tuple[RoundSummary, ...]:
        return self._history.rounds(before, limit)

    def _submit(self, work: Work) -> Future[Any]:
        if self._writer is None:
            work.future.set_exception(StoreUnavailable("the store is not open yet"))
            return work.future
        return self._writer.submit(work)


def _footprint(command: c.Command) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """(job ids, request ids) that applying it may ask for, and how many items it has."""
    match command:
        case c.SubmitJobs():
            after = [each.job_id for spec in command.specs if isinstance(spec, JobSpec) for each in spec.after]
            request_ids = (command.request_id,) if command.request_id else ()
            return tuple(dict.fromkeys(after)), request_ids, max(1, len(command.specs))
        case c.CancelJobs():
            return command.job_ids, (), max(1, len(command.job_ids))
        case c.UpdateJobs():
            return tuple(update.job_id for update in command.updates), (), max(1, len(command.updates))
        case c.ReportProgress():
            return (command.job_id,), (), 1
        case c.Heartbeat():
            return tuple(report.job_id for report in command.reports), (), 1 + len(command.reports)
    return (), (), 1

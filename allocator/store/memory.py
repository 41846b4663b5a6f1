"""A store without a disk: the same behaviour as `SqlStore` for replays and tests, and gone with the process."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import Any, TypeVar

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.errors import AllocatorError, NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.plan import Commit, Plan
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.commands import Command
from allocator.intake.ports import Receipt
from allocator.rounds.report import RoundSummary
from allocator.store import steps
from allocator.store.feed import FEED_LIMIT, LAST, ChangeFeed, Cursor
from allocator.store.image import Image
from allocator.store.overlay import Overlay
from allocator.store.reads import LiveReads, only_live
from allocator.store.state import LIVE, State

Answer = TypeVar("Answer")


class MemoryStore(LiveReads):
    """Implements `rounds.ports.Store`, `intake.ports.Ledger` and `store.reads.Reads`.

    Everything has taken effect when a call returns; futures come back completed. With `keep_final=False` jobs that end
    are forgotten, so that memory stays bounded by what is live. Receipts and rounds are kept as in `SqlStore`.
    """

    def __init__(
        self,
        *,
        keep_final: bool = True,
        receipt_retention_seconds: float = 7 * 86400.0,
        round_retention: int = 100_000,
        feed_limit: int | None = None,
    ) -> None:
        """`feed_limit`: so many changed jobs are at hand for watchers, 0 if nobody watches; None: all that are kept."""
        self._archive = _Archive(keep_final=keep_final)
        if feed_limit is None and not keep_final:
            feed_limit = FEED_LIMIT
        self._image = Image(State(self._archive, ChangeFeed(limit=feed_limit)))
        self._rounds: OrderedDict[int, RoundSummary] = OrderedDict()
        self._receipt_retention_seconds = receipt_retention_seconds
        self._round_retention = round_retention
        self._turn = threading.Lock()

    # --- Ledger ---

    def execute(self, command: Command, now: float) -> Future[Any]:
        return self.execute_all((command,), now)[0]

    def execute_all(self, commands: Iterable[Command], now: float) -> list[Future[Any]]:
        """`execute` of each, in one change, as `SqlStore` does with commands that wait for its writer."""

        def step(overlay: Overlay) -> list[Future[Any]]:
            return [_executed(overlay, command, now) for command in commands]

        return self._change(step)

    # --- Store ---

    def snapshot(self, now: float) -> Snapshot:
        return self._image.snapshot(now)

    def commit(self, plan: Plan, now: float) -> Commit:
        return self._change(lambda overlay: steps.commit(overlay, plan, now))

    def record(self, summary: RoundSummary, memory: Memory) -> None:
        self._change(lambda overlay: steps.record(overlay, summary, memory))
        with self._turn:
            self._rounds[summary.round] = summary
            while len(self._rounds) > self._round_retention:
                self._rounds.popitem(last=False)
            self._archive.prune_receipts(summary.time - self._receipt_retention_seconds)

    def memory(self) -> Memory:
        return self._image.memory()

    # --- Reads, the rest ---

    def get_job(self, job_id: str) -> Job:
        job = self._image.live_job(job_id) or self._archive.job(job_id)
        if job is None:
            raise NotFound("job", job_id)
        return job

    def list_jobs(
        self, queue: str | None = None, states: Collection[JobState] = (), after_sequence: int = 0, limit: int = 1000
    ) -> tuple[Job, ...]:
        wanted = frozenset(states or JobState)
        if only_live(states):
            return self._image.live_jobs(queue, wanted, after_sequence, limit)
        with self._turn:
            live = self._image.live_jobs(queue, wanted & LIVE, after_sequence, limit)
            final = self._archive.final_jobs(queue, wanted, after_sequence)
        return tuple(sorted((*live, *final), key=lambda job: job.sequence)[:limit])

    def jobs_changed_since(self, cursor: tuple[int, int], limit: int = 1000) -> tuple[Job, ...]:
        found = self._image.recent_changes(cursor, limit)
        if found is None:
            everything = sorted(self.list_jobs(limit=LAST), key=Cursor.of)
            found = tuple(job for job in everything if Cursor.of(job) > cursor)[:limit]
        return found

    def get_round(self, number: int) -> RoundSummary:
        summary = self._rounds.get(number)
        if summary is None:
            raise NotFound("round", str(number))
        return summary

    def get_policy(self, version: int) -> AppliedPolicy:
        applied = self._archive.policies.get(version)
        if applied is None:
            raise NotFound("policy version", str(version))
        return applied

    def list_policies(self, limit: int = 100) -> tuple[AppliedPolicy, ...]:
        return tuple(islice(reversed(self._archive.policies.values()), limit))

    def list_rounds(self, before: int | None = None, limit: int = 100) -> tuple[RoundSummary, ...]:
        with self._turn:
            newest_first = list(self._rounds.values())[::-1]
        start = 0 if before is None else bisect.bisect_right(newest_first, -before, key=lambda found: -found.round)
        return tuple(islice(newest_first, start, start + limit))

    def _change(self, step: Callable[[Overlay], Answer]) -> Answer:
        with self._turn:
            overlay = Overlay(self._image.state)
            answer = step(overlay)
            self._archive.add(overlay)
            self._image.merge(overlay)
            return answer


def _executed(overlay: Overlay, command: Command, now: float) -> Future[Any]:
    """The command's answer, or why it was refused; then nothing has changed."""
    future: Future[Any] = Future()
    try:
        answer = steps.execute(overlay, command, now)
    except AllocatorError as error:
        future.set_exception(error)
    else:
        future.set_result(answer)
    return future


class _Archive:
    """Final jobs, receipts and policies, in dictionaries."""

    def __init__(self, *, keep_final: bool) -> None:
        self._keep_final = keep_final
        self._jobs: dict[str, Job] = {}
        self._receipts: OrderedDict[str, Receipt] = OrderedDict()
        self.policies: dict[int, AppliedPolicy] = {}
        """Every one that was applied, by version."""

    def job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def receipt(self, request_id: str) -> Receipt | None:
        return self._receipts.get(request_id)

    def add(self, overlay: Overlay) -> None:
        """Take over what leaves the live facts."""
        self._receipts.update(overlay.receipts)
        self.policies.update({applied.version: applied for applied in overlay.policies})
        for job in overlay.jobs.values():
            if job.state.is_final and self._keep_final:
                self._jobs[job.id] = job

    def final_jobs(self, queue: str | None, states: Collection[JobState], after_sequence: int) -> list[Job]:
        return [
            job
            for job in self._jobs.values()
            if job.sequence > after_sequence and job.state in states and (queue is None or job.spec.queue == queue)
        ]

    def prune_receipts(self, before: float) -> None:
        """Forget those older than `before`."""
        while self._receipts and next(iter(self._receipts.values())).time < before:
            self._receipts.popitem(last=False)

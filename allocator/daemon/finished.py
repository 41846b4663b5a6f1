"""Counts jobs that ended, by how they ended, from the store's feed of changes."""

from __future__ import annotations

from collections import Counter

from allocator.domain.job import JobState
from allocator.metrics import Metrics
from allocator.rounds.report import RoundReport
from allocator.store.feed import Cursor
from allocator.store.reads import Reads

PAGE = 10_000


class FinishedJobs:
    """An Observer: after each round it counts what ended since the last one."""

    def __init__(self, reads: Reads, metrics: Metrics) -> None:
        self._reads = reads
        self._metrics = metrics
        self._cursor: Cursor | None = None

    def observe(self, report: RoundReport) -> None:
        if self._cursor is None:
            self._cursor = Cursor.after(report.snapshot.revision)
        ended: Counter[JobState] = Counter()
        while changed := self._reads.jobs_changed_since(self._cursor, PAGE):
            ended.update(job.state for job in changed if job.state.is_final)
            self._cursor = Cursor.of(changed[-1])
        for state, count in ended.items():
            self._metrics.count_finished(state, count)

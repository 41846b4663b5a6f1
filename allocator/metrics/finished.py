"""Counts the jobs that end, by reading a store's feed of changed jobs once per round."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, NamedTuple, Protocol

from allocator.domain.job import Job
from allocator.metrics.collector import Metrics
from allocator.rounds.report import RoundReport

_PAGE = 1000


class ChangedJobs(Protocol):
    """The part of a store's reads that is needed here. A job is in its final state exactly once in the feed."""

    def current_revision(self) -> int: ...

    def jobs_changed_since(self, cursor: Any, limit: int) -> tuple[Job, ...]:
        """The first `limit` jobs whose last change, (revision, sequence), lies behind `cursor`, in that order."""
        ...


class _Cursor(NamedTuple):
    revision: int
    sequence: int


class FinishedJobs:
    """Implements `rounds.ports.Observer`: what ended since the last round, begun when this was made."""

    def __init__(self, jobs: ChangedJobs, metrics: Metrics) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._cursor = _Cursor(jobs.current_revision(), sys.maxsize)

    def observe(self, report: RoundReport) -> None:  # noqa: ARG002 (a round has ended is all that it needs to know)
        """Read on from where the last call ended."""
        while True:
            page = self._jobs.jobs_changed_since(self._cursor, _PAGE)
            for state, count in Counter(job.state for job in page).items():
                if state.is_final:
                    self._metrics.count_finished(state, count)
            if not page:
                return
            self._cursor = _Cursor(page[-1].revision, page[-1].sequence)
            if len(page) < _PAGE:
                return

"""The newest versions of jobs in the order in which they changed, for watchers that are nearly up to date.

A compacted feed: a job that changes again moves to the end, so a reader may miss intermediate versions and never misses
the newest one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple

from allocator.domain.job import Job

LAST = 2**63 - 1

FEED_LIMIT = 20_000
"""How many changed jobs a store keeps at hand when it can look older ones up."""


class Cursor(NamedTuple):
    """A place in the feed: after the job `sequence` as changed by `revision`. Many jobs may share one revision."""

    revision: int = 0
    sequence: int = 0

    @classmethod
    def after(cls, revision: int) -> Cursor:
        """Behind everything that `revision` changed."""
        return cls(revision, LAST)

    @classmethod
    def of(cls, job: Job) -> Cursor:
        """Behind this version of the job."""
        return cls(job.revision, job.sequence)


class ChangeFeed:
    """Holds the jobs that changed last, at most `limit` of them (None: every job there ever was;
    0: none, and no order is kept).

    `start` is where it begins: it knows all changes behind this cursor and nothing for certain before.
    """

    def __init__(self, limit: int | None, start: Cursor = Cursor()) -> None:  # noqa: B008 - a constant
        self.start = start
        self._limit = limit
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def append(self, jobs: Iterable[Job]) -> None:
        """Add new versions, all newer than what is here."""
        if self._limit == 0:
            return
        ordered = sorted(jobs, key=attrgetter("revision", "sequence"))
        if self._limit is not None and len(ordered) > self._limit:
            # Everything that is here would be pushed out again.
            self._jobs.clear()
            self.start = Cursor.of(ordered[-self._limit - 1])
            ordered = ordered[-self._limit :]
        for job in ordered:
            self._jobs[job.id] = job
            self._jobs.move_to_end(job.id)
        if self._limit is not None:
            while len(self._jobs) > self._limit:
                self.start = max(self.start, Cursor.of(self._jobs.popitem(last=False)[1]))

    def since(self, cursor: tuple[int, int], limit: int) -> tuple[Job, ...] | None:
        """The first `limit` jobs behind `cursor`; None if it lies before `start`, or nothing is held."""
        if self._limit == 0 or cursor < self.start:
            return None
        newest_first = list(takewhile(lambda job: Cursor.of(job) > cursor, reversed(self._jobs.values())))
        return tuple(newest_first[: -limit - 1 : -1])

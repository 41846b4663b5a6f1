"""A queue: who fairness is between.

Queues form a tree by their names (`research/vision` lies below `research`). A queue's weight is its part of its
parent's budget, relative to its siblings that want something now; jobs live in leaves. What it is guaranteed, and how
far it may lend and borrow, its quotas say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from allocator.domain.bounds import weight_violations
from allocator.domain.errors import Violation
from allocator.domain.quota import MOST_QUOTAS, Quota

MOST_QUEUE_PRIORITY = 1_000_000
"""In either direction."""

_SEGMENT = re.compile(r"[a-z0-9]([a-z0-9._\-]{0,61}[a-z0-9])?\Z")


class Discipline(Enum):
    """How the jobs of one queue share what it gets."""

    FAIR = "fair"
    """By their weights, all at once."""
    FIFO = "fifo"
    """In order of admission, within their priority class: each as much as it can use, before the next."""


@dataclass(frozen=True, slots=True)
class Queue:
    """`weight`, 1e-6 to 1e6, is relative to the siblings; a cordoned queue takes no new jobs, what it holds goes on.

    `max_live_jobs` bounds pending plus running jobs; None means no bound. Siblings of a higher `priority` are given
    their parent's budget first, as much as they can use. `quotas` are sorted by flavor and resource; what none of them
    names is guaranteed to nobody, and nobody is kept from it. `discipline` is for the queue's own jobs.
    """

    name: str
    weight: float = 1.0
    cordoned: bool = False
    max_live_jobs: int | None = None
    priority: int = 0
    quotas: tuple[Quota, ...] = ()
    discipline: Discipline = Discipline.FAIR

    @property
    def parent(self) -> str | None:
        """Name of the enclosing queue; None at the top."""
        head, separator, _ = self.name.rpartition("/")
        return head if separator else None

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with this queue, whatever else exists."""
        found = []
        if not all(_SEGMENT.match(segment) for segment in self.name.split("/")):
            found.append(
                Violation(
                    "name",
                    "must be one or more segments joined by '/', each of a-z 0-9 . _ -, starting and ending with a "
                    f"letter or digit, at most 63 long; got {self.name!r}",
                )
            )
        found += weight_violations(self.weight)
        if self.max_live_jobs is not None and self.max_live_jobs < 0:
            found.append(
                Violation("max_live_jobs", f"must be at least 0, or absent for no bound; got {self.max_live_jobs}")
            )
        if not -MOST_QUEUE_PRIORITY <= self.priority <= MOST_QUEUE_PRIORITY:
            found.append(
                Violation(
                    "priority",
                    f"must be a whole number from {-MOST_QUEUE_PRIORITY} to {MOST_QUEUE_PRIORITY}, got {self.priority}",
                )
            )
        return (*found, *self._quota_violations())

    def _quota_violations(self) -> list[Violation]:
        found = []
        if len(self.quotas) > MOST_QUOTAS:
            found.append(Violation("quotas", f"must be at most {MOST_QUOTAS}, got {len(self.quotas)}"))
        seen: set[tuple[str, str]] = set()
        for index, quota in enumerate(self.quotas):
            where = f"quotas[{index}]"
            found += [violation.under(where) for violation in quota.violations()]
            key = (quota.flavor, quota.resource)
            if key in seen:
                found.append(Violation(where, f"{quota.resource} on {quota.flavor} was given before: each pair once"))
            seen.add(key)
        return found

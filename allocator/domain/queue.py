"""A queue: who fairness is between.

Queues form a tree by their names (`research/vision` lies below `research`). A queue's weight is its part of its
parent's budget, relative to its siblings that want something now; jobs live in leaves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from allocator.domain.bounds import weight_violations
from allocator.domain.errors import Violation

_SEGMENT = re.compile(r"[a-z0-9]([a-z0-9._\-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Queue:
    """`weight`, 1e-6 to 1e6, is relative to the siblings; a cordoned queue takes no new jobs, what it holds goes on.

    `max_live_jobs` bounds pending plus running jobs; None means no bound.
    """

    name: str
    weight: float = 1.0
    cordoned: bool = False
    max_live_jobs: int | None = None

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
        return tuple(found)

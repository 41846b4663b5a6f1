"""What a queue is entitled to of one resource on one flavor, and how far it may lend and borrow.

The words are those of cohorts in Kueue. `nominal` is what the queue is guaranteed when it demands it. What it leaves
idle, others may use; `lending_limit` bounds how much of it. It may itself use more than its nominal quota while there
is something to be had; `borrowing_limit` bounds how much more. The quota of a queue with queues below it is that of all
of them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.bounds import name_violations
from allocator.domain.errors import Violation
from allocator.domain.resources import FIELD_BY_RESOURCE, GPU_MILLIS, MAX_AMOUNT, is_resource_name

MOST_QUOTAS = 256
"""On one queue."""


@dataclass(frozen=True, slots=True, order=True)
class Quota:
    """Amounts in the integer units of `domain.resources`. A limit that is None is none."""

    flavor: str
    resource: str
    nominal: int = 0
    borrowing_limit: int | None = None
    lending_limit: int | None = None

    @property
    def most(self) -> int | None:
        """The largest use; None without a bound."""
        return None if self.borrowing_limit is None else self.nominal + self.borrowing_limit

    @property
    def kept(self) -> int:
        """What nobody else may use, also while it is idle."""
        return 0 if self.lending_limit is None else self.nominal - self.lending_limit

    def violations(self) -> tuple[Violation, ...]:
        found = [*name_violations("flavor", self.flavor)]
        if not is_resource_name(self.resource):
            known = ", ".join(FIELD_BY_RESOURCE)
            found.append(Violation("resource", f"must be {known}, or the name of an extra; got {self.resource!r}"))
        for field in ("nominal", "borrowing_limit", "lending_limit"):
            amount = getattr(self, field)
            if amount is not None and not 0 <= amount <= MAX_AMOUNT:
                absent = "" if field == "nominal" else ", or absent for no limit"
                found.append(Violation(field, f"must be between 0 and {MAX_AMOUNT}{absent}; got {amount}"))
            elif amount is not None and self.resource == "gpu" and amount % GPU_MILLIS:
                found.append(Violation(field, f"must be whole GPUs, a multiple of {GPU_MILLIS}; got {amount}"))
        if self.lending_limit is not None and self.lending_limit > self.nominal:
            found.append(
                Violation(
                    "lending_limit",
                    f"must be at most the nominal quota, {self.nominal}: nobody lends what is not theirs; "
                    f"got {self.lending_limit}",
                )
            )
        return tuple(found)

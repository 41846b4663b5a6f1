"""Priority classes: which jobs are served before which, and whose jobs nobody may stop.

Without a policy that says otherwise there are three, `BUILT_IN`. Classes are served one after the other, the largest
number first, each with what those above leave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from allocator.domain.errors import Violation

DEFAULT_CLASS = "normal"
"""Of jobs that name none; every policy must have it."""
MOST_CLASSES, MOST_PRIORITY = 32, 1_000_000
"""In one policy; of one of them, in either direction."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._\-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """A larger `priority` is served first. Of a class that is not `preemptible` no job that runs is stopped for others;
    of the others, only those are not that say so themselves.
    """

    name: str
    priority: int
    preemptible: bool = True

    def violations(self) -> tuple[Violation, ...]:
        found = [*class_name_violations("name", self.name)]
        if not -MOST_PRIORITY <= self.priority <= MOST_PRIORITY:
            found.append(
                Violation(
                    "priority",
                    f"must be a whole number from {-MOST_PRIORITY} to {MOST_PRIORITY}, got {self.priority}",
                )
            )
        return tuple(found)


BUILT_IN: tuple[PriorityClass, ...] = (
    PriorityClass("low", -100),
    PriorityClass(DEFAULT_CLASS, 0),
    PriorityClass("high", 100),
)


def class_name_violations(field: str, name: str) -> tuple[Violation, ...]:
    """What is wrong with the name, whatever classes there are."""
    if _NAME.match(name):
        return ()
    return (
        Violation(
            field,
            f"must be of a-z 0-9 . _ -, start and end with a letter or digit, and be at most 63 long; got {name!r}",
        ),
    )


def unknown_class(name: str, classes: Iterable[PriorityClass]) -> Violation | None:
    """Why a job may not be in the class of this name; None if it may."""
    known = [each.name for each in classes]
    if name in known:
        return None
    return Violation("priority_class", f"must be one of {', '.join(known)}; got {name!r}")

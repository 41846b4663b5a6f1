"""What an operator has said: a policy file as it was read, and a policy that was applied."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.errors import Violation
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue

MOST_POLICY_TEXT = 2**20
"""Characters of a policy file."""
MOST_AUTHOR, MOST_COMMENT = 253, 4096
"""Characters of who applied it, and why."""


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """Everything that a policy file says. `queues` and their quotas are in the order of the file. What the file leaves
    out has its default, but for the queues in `cordon_unsaid`: they stay open or closed as they are.
    """

    policy: Policy
    queues: tuple[Queue, ...] = ()
    cordon_unsaid: frozenset[str] = frozenset()

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with it, whatever else exists."""
        found = [violation.under("policy") for violation in self.policy.violations()]
        seen: set[str] = set()
        for index, queue in enumerate(self.queues):
            where = f"queue[{index}]"
            found += [violation.under(where) for violation in queue.violations()]
            if queue.name in seen:
                found.append(Violation(where, f"{queue.name!r} was given before: each name once"))
            seen.add(queue.name)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy that was made to be in force. `version` counts up from 1; the largest is in force. `text` is the file as
    it was sent, queues included, which may have changed since; `policy` is what rounds follow.
    """

    version: int
    time: float
    policy: Policy
    text: str = ""
    author: str = ""
    comment: str = ""

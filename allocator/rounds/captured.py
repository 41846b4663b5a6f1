"""What is kept of a round so that it can be decided again, and the digests by which two decisions are compared. Pure.

Everything here is immutable and belongs to a round that is over: it may be handed to another thread as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocator.domain.job import Job
from allocator.domain.plan import Commit, Plan
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.report import RoundReport, RoundSummary

if TYPE_CHECKING:
    from allocator.solvers.solution import Solution

_PAGE = 50_000
"""Each page is sought from the newest change backwards, so few of them."""
LAST = 2**63 - 1
"""Behind every revision, and every job that one changed."""


@dataclass(frozen=True, slots=True)
class SeenRound:
    """A round as it was: what it saw, decided and did. `before` and `after` are the memory handed to it and by it."""

    snapshot: Snapshot
    before: Memory
    policy: Policy
    plan: Plan
    solution: Solution
    commit: Commit
    after: Memory
    summary: RoundSummary

    @classmethod
    def of(cls, report: RoundReport) -> SeenRound:
        """Without the formulation, which is large and follows from the rest."""
        assert report.before is not None
        assert report.after is not None
        assert report.policy is not None
        return cls(
            report.snapshot,
            report.before,
            report.policy,
            report.plan,
            report.solution,
            report.commit,
            report.after,
            report.summary,
        )


def plan_digest(plan: Plan) -> bytes:
    """SHA-256 of everything the plan says, in its order."""
    digest = hashlib.sha256()
    parts = (plan.revision, plan.round, plan.changes, plan.kept, plan.missed, plan.floating, plan.shared)
    for part in parts:
        digest.update(repr(part).encode())
    digest.update("".join(_waiting(plan.waiting)).encode())
    return digest.digest()


def _waiting(waiting: Sequence[tuple[str, PendingReason]]) -> Iterator[str]:
    """Many jobs wait for the very same reason: it is written once, and then named by its number."""
    by_identity: dict[int, int] = {}
    by_text: dict[str, int] = {}
    for job_id, reason in waiting:
        number = by_identity.get(id(reason))
        if number is None:
            text = repr(reason)
            number = by_text.get(text)
            if number is None:
                number = by_text[text] = len(by_text)
                yield text
            by_identity[id(reason)] = number
        yield f"{job_id!r} {number}\n"


def solution_digest(solution: Solution) -> bytes:
    """SHA-256 of the bits of shares and prices, and of what is claimed of them."""
    digest = hashlib.sha256()
    for array in (solution.shares, solution.prices, solution.limit_prices):
        digest.update(repr(array.shape).encode())
        digest.update(array.astype("<f8").tobytes())
    numbers = (float(solution.objective), float(solution.bound), float(solution.gap), int(solution.iterations))
    digest.update(repr((numbers, solution.status.value, solution.solver)).encode())
    return digest.digest()


def memory_digest(memory: Memory) -> bytes:
    """SHA-256 of everything the memory holds, to the bit."""
    digest = hashlib.sha256()
    for array in (memory.sequences, memory.credits, memory.pace):
        digest.update(len(array).to_bytes(8, "little"))
        digest.update(array.tobytes())
    for prices in (memory.prices, memory.limit_prices):
        digest.update(repr(sorted((name, float(price)) for name, price in prices.items())).encode())
    history = sorted((queue, *map(float, had)) for queue, had in memory.history.items())
    work = [(kind.flavor, *kind.demand.items(), int(kind.popularity), int(kind.value)) for kind in memory.work]
    digest.update(repr((float(memory.time), history, work)).encode())
    return digest.digest()


class ChangedJobs(Protocol):
    """The part of a store that tells which jobs have changed."""

    def jobs_changed_since(self, cursor: tuple[int, int], limit: int = 1000) -> tuple[Job, ...]:
        """The first `limit` jobs whose last change, (revision, sequence), lies behind `cursor`, in that order."""
        ...


class EndedJobs:
    """Jobs that have ended from one round to the next, from the store's feed: also those that no round saw."""

    def __init__(self, store: ChangedJobs) -> None:
        self._store = store
        self._cursor: tuple[int, int] | None = None
        self._later: list[Job] = []

    def by(self, revision: int) -> tuple[Job, ...]:
        """Those that have ended since the last call and by `revision`; the first call only says where to begin."""
        if self._cursor is None:
            self._cursor = (revision, LAST)
            return ()
        found = self._later
        while changed := self._store.jobs_changed_since(self._cursor, _PAGE):
            found += [job for job in changed if job.state.is_final]
            self._cursor = (changed[-1].revision, changed[-1].sequence)
            if len(changed) < _PAGE:
                break
        self._later = [job for job in found if job.revision > revision]
        return tuple(job for job in found if job.revision <= revision)

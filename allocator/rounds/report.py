"""What a round did, for whoever watches: the whole report in memory, and a summary small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from allocator.domain.plan import Commit, Plan
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot

if TYPE_CHECKING:  # clients read summaries, and need no numerical libraries for that
    from allocator.formulation.build import Formulation
    from allocator.market.clearing import Cleared
    from allocator.solvers.solution import Solution

STAGES: tuple[str, ...] = ("snapshot", "formulate", "solve", "place", "commit", "push")
"""In order; the names of the round-stage histogram."""


class RoundOutcome(Enum):
    """How much the round's answer can be trusted."""

    OPTIMAL = "optimal"
    """Certified within the policy's gap."""
    INACCURATE = "inaccurate"
    """Feasible and certified, but with a larger gap than asked for."""
    FALLBACK = "fallback"
    """The first choice of solver failed; another one's certified answer was used."""
    STALE = "stale"
    """No solver answered: whatever ran keeps running, nothing was started."""
    RULED = "ruled"
    """Decided by rules, without an optimum; only in replays of other schedulers (`rounds.ruled`)."""


@dataclass(frozen=True, slots=True)
class FlavorUsage:
    """One resource of one flavor, in the resource's integer unit; `price` in objective units per display unit.

    `capacity`: nodes that are ready, cordoned ones included. `requested`: what live jobs ask for here, each in its
    fastest eligible configuration. `allocated`: held after the commit.
    """

    flavor: str
    resource: str
    capacity: int
    requested: int
    allocated: int
    price: float

    @property
    def utilization(self) -> float:
        return self.allocated / self.capacity if self.capacity else 0.0


@dataclass(frozen=True, slots=True)
class QueueUsage:
    """One queue after the commit. Shares are dominant shares: the largest, over resources, of what the queue's jobs
    hold to what all ready nodes have together. `fair_share` is what the fluid optimum gives, `actual_share` what is
    placed.
    """

    queue: str
    weight: float
    pending: int
    running: int
    fair_share: float
    actual_share: float


class LimitKind(Enum):
    """What sets a limit."""

    SIDE_CONSTRAINT = "limit"
    """A side constraint of the policy."""
    FLOATING = "floating"
    """A floating resource: how many of it there are."""
    QUOTA = "quota"
    """A queue's quota: what it is guaranteed, and what it may use at most."""
    LENDING = "lending"
    """A queue's lending limit: what of its quota others may use."""


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """A limit after the commit, binding or not. Amounts are in `unit`: that of the side constraint, or the resource's
    display unit. A side constraint has neither queue nor flavor nor resource, a floating resource only the latter.
    """

    kind: LimitKind
    name: str
    """As it can be asked for: a side constraint's or floating resource's own, of a quota `QUEUE:FLAVOR/RESOURCE`, of a
    lending limit the same and `,lend`.
    """
    queue: str
    flavor: str
    resource: str
    unit: str
    used: float | None
    """By all jobs that run, of a quota those of its queue and below; None of a lending limit."""
    least: float | None
    """What is guaranteed; None: nothing is, by limits of this kind."""
    most: float | None
    """None: no limit."""
    price: float
    """In objective units per unit; 0 where it does not bind."""


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """A round in a few numbers, flat and serialisable. Counts are of jobs unless said otherwise.

    `gap` is that of the solution. `rounding_loss` is the part of the optimum's value, at the optimum's
    own marginal utilities, that the integer placement does not reach: 0 is none. `stages` are (name, seconds). `lost`
    is (flavor, resource, integer units x seconds): what preemptions and moves throw away.
    """

    round: int
    revision: int
    time: float
    outcome: RoundOutcome
    solver: str
    iterations: int
    fairness: float
    objective: float
    bound: float
    gap: float
    rounding_loss: float
    started: int
    moved: int
    kept: int
    rejected: int
    preempted: tuple[tuple[str, int], ...]
    """(PreemptionReason value, count)"""
    waiting: tuple[tuple[str, int], ...]
    """(PendingCause value, count)"""
    lost: tuple[tuple[str, str, float], ...]
    flavors: tuple[FlavorUsage, ...]
    queues: tuple[QueueUsage, ...]
    stages: tuple[tuple[str, float], ...]
    resized: int = 0
    """Jobs that go on with another number of replicas, or another part of their demand."""
    policy_version: int = 0
    """Of the policy that it was decided by; 0: none was applied yet, and it was the daemon's own."""


@dataclass(frozen=True, slots=True)
class RoundReport:
    """Everything a round saw, decided and did."""

    snapshot: Snapshot
    formulation: Formulation
    solution: Solution
    plan: Plan
    commit: Commit
    summary: RoundSummary
    market: Cleared | None = None
    before: Memory | None = None
    """What it decided with."""
    after: Memory | None = None
    """What it handed on."""
    policy: Policy | None = None
    again: float | None = None
    """Of a round decided by rules: when whoever decided wants to be asked again if nothing happens before."""

"""What explanations say, as plain values: numbers and enumerations, never only prose.

Money is in parts of 1: what all queues may spend together. Prices are money per display unit (core, GPU, GiB, GB/s).
Shares of a job are parts of its time (of its demand, if it is divisible); shares of a queue are dominant shares: the
largest, over resources, of an amount to what all ready nodes have together. Amounts of a queue are in display units.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.domain.cluster import EngineCapability
from allocator.domain.job import JobState
from allocator.domain.process import Dependency
from allocator.domain.reason import NEVER, PendingCause, PendingReason
from allocator.explain.scarcity import Binding
from allocator.rounds.promise import JobPromise


class Tier(Enum):
    """How far away a job that waits is."""

    NEVER = "never"
    """It cannot start until nodes, quotas or the job itself change."""
    NOT_NOW = "not_now"
    """It can start when others end, or when it is owed more than they are."""
    NEXT_ROUND = "next_round"
    """The last round could not finish its work; the next one will look again."""


@dataclass(frozen=True, slots=True)
class ConfigurationCost:
    """One configuration at the prices that the job's class paid; `cost` is for running in it all the time."""

    configuration: int
    flavor: str
    replicas: int
    speed: float
    """Throughput relative to its fastest that can run; a restart it would take counts against it."""
    share: float
    """That the optimum gives it here."""
    cost: float
    limits_cost: float
    """The part of `cost` that limits charge."""
    possible: bool
    """Whether it can have any share as the cluster is."""


class Assumption(Enum):
    """What an estimate of a start takes for granted."""

    NO_ARRIVALS = "no_arrivals"
    """No other job comes, and nodes, queues and policy stay as they are."""
    EXPECTED_DURATIONS_HOLD = "expected_durations_hold"
    """Jobs that say how long they run need that long, in their fastest configuration."""
    UNKNOWN_LAST_AS_LONG_AGAIN = "unknown_last_as_long_again"
    """A job that does not say, or that has run for longer than it said, and has run for a, is drawn to run longer than
    for t more with probability a / (a + t): as long again in the middle (Lindy). a is the policy's horizon at least."""
    ROUNDS_SKIPPED = "rounds_skipped"
    """Later rounds are not all decided: the time between two of them grows up to a quarter of the time from now."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a job will start: seconds from the last round, per scenario, ascending; None: not within the horizon."""

    starts: tuple[float | None, ...]
    horizon_seconds: float
    rounds: int
    """Decided, in all scenarios together."""
    assumptions: tuple[Assumption, ...]

    def quantile(self, part: float) -> float | None:
        """So large a part of the scenarios has started by then."""
        return self.starts[min(len(self.starts) - 1, int(part * len(self.starts)))] if self.starts else None


class ChangeKind(Enum):
    """What may be changed for a job."""

    WEIGHT = "weight"
    """Its weight."""
    FLAVOR = "flavor"
    """One more configuration: the gang of its fastest one, on another flavor, taken to be as fast there."""
    NOMINAL_QUOTA = "nominal_quota"
    """What its queue is guaranteed."""
    BORROWING_LIMIT = "borrowing_limit"
    """How much a queue may use beyond that."""
    LENDING_LIMIT = "lending_limit"
    """How much another queue lends."""
    NODES = "nodes"
    """So many nodes more of one flavor, each like its largest."""
    LIMIT = "limit"
    """What a side constraint of the policy allows."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change; which fields say something depends on `kind`. Amounts are in integer units of the resource."""

    kind: ChangeKind
    weight: float = 0.0
    flavor: str = ""
    queue: str = ""
    amounts: tuple[tuple[str, int], ...] = ()
    """(resource, the new quota or limit)."""
    nodes: int = 0
    also: tuple[Change, ...] = ()
    """Changed together with it: limits of queues above, other side constraints."""
    limit: str = ""
    """Name of the side constraint."""
    most: float = 0.0
    """What it would allow, in `unit`."""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a job if nobody ends and nobody comes: two claims, found by deciding on a copy of the facts.

    `share` is what the optimum of the next round gives it, exact to the solver's gap. `starts_after_seconds`, from the
    last round, is when it starts, whole, all rounds until then being decided; None: not within the horizon, for which
    `waits_for` is the last reason. A larger share without a start is the work of integers: gangs, pieces, hysteresis.
    """

    share: float
    starts_after_seconds: float | None
    waits_for: PendingCause | None = None


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A change, and what comes of it."""

    change: Change
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class WhatHelps:
    """Changes that would start a job at all, or in half the time, or give it a larger share; soonest first."""

    unchanged: Outcome | None
    """Without any change; None: the bound on rounds was reached before that was known."""
    found: tuple[Counterfactual, ...]
    useless: tuple[Change, ...]
    """Tried, and none of that."""
    horizon_seconds: float
    rounds: int
    """Decided, in all replays together."""
    complete: bool
    """False: the bound on rounds ended the search."""


@dataclass(frozen=True, slots=True)
class JobWeight:
    """What a job weighed in the round, relative to the others of its queue: `declared` times both factors."""

    declared: float
    counts: float
    service_factor: float
    """For what it has received or has left, or for how late it will be: as the policy's weighting says."""
    aging_factor: float
    """For how long it had nothing."""
    received_seconds: float
    """Run time in its best configuration that all it had is worth."""
    waited_seconds: float
    """The rest of the time since it was submitted."""


@dataclass(frozen=True, slots=True)
class PastUsage:
    """Why a queue's weight counted `factor` times what was declared: what it had of what was scarce, in parts of all
    there was, older times counting less, and what its weight entitled it to among its siblings.
    """

    factor: float
    had: float
    entitled: float
    half_life_seconds: float


@dataclass(frozen=True, slots=True)
class JobThroughput:
    """What is known of how fast it runs in one configuration, in work per second; see `domain.estimates`."""

    index: int
    """Into the job's configurations."""
    declared: float | None
    """None: nobody said."""
    measured: float | None
    """By the job itself, else by its class; None: neither has run there."""
    observations: float
    """Of its class there, older ones counting less."""
    uncertainty: float
    """Standard error of the class's mean, as a part of it; 0 without observations."""
    used: float
    """What rounds use."""
    wrong: bool
    """Whether what was declared is off by more than can be told by chance."""


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """Why a job is where it is. What is None, nobody can say: no round has looked, or it does not take part."""

    job_id: str
    queue: str
    state: JobState
    tier: Tier | None
    reason: PendingReason | None
    round: int | None
    """The last one, if it looked at the job."""
    time: float | None
    owed_share: float | None = None
    received_share: float | None = None
    """Right after the round: 1 if it runs."""
    credit_seconds: float | None = None
    budget: float | None = None
    spends: float | None = None
    """Less than its budget if it is satisfied."""
    configurations: tuple[ConfigurationCost, ...] = ()
    bindings: tuple[Binding, ...] = ()
    position: int | None = None
    """Among the jobs that wait and could run, in the order in which a round asks them; from 1."""
    waiting: int | None = None
    estimate: Estimate | None = None
    what_helps: WhatHelps | None = None
    weight: JobWeight | None = None
    """None: the policy changes no job's weight."""
    promise: JobPromise | None = None
    """None: it has neither a deadline nor a minimum throughput."""
    throughputs: tuple[JobThroughput, ...] = ()
    """Of its configurations in which it can run, where something was measured, or is not declared."""
    waits_for: tuple[Dependency, ...] = ()
    """Jobs that have to end first, and how, while it is pending."""
    failures: int = 0
    """How often it has failed and was put back into its queue."""
    not_before: float | None = None
    """While it is pending after it has failed: when it is tried again."""
    lacking: tuple[EngineCapability, ...] = ()
    """While it runs: what the engine of a node of its cannot do, so that it keeps the part of its demand, or the number
    of replicas, that it has.
    """


class Shortfall(Enum):
    """Why a guarantee is not met."""

    CAPACITY = "capacity"
    """All queues together ask for more of their quotas than there is: everybody gets less in proportion."""
    SPENT_ELSEWHERE = "spent_elsewhere"
    """Its jobs were given what it costs, and got other flavors for it, which serve them better."""


@dataclass(frozen=True, slots=True)
class Borrower:
    """A queue that uses more than its nominal quota, by `amount`."""

    queue: str
    amount: float


@dataclass(frozen=True, slots=True)
class QueueAmounts:
    """One resource of one flavor, for one queue and those below it, in display units."""

    flavor: str
    """Empty: the resource floats, and is of none."""
    resource: str
    nominal: float | None
    """None: no quota."""
    most: float | None
    """Nominal and borrowing limit; None: no limit."""
    demand: float
    """What its jobs ask for here, each in its fastest configuration."""
    constrained_demand: float
    """What they could use at once, within quotas and what nodes have."""
    optimum: float
    """What the optimum gives it, what it holds for good included."""
    holds: float
    """After the round."""
    guaranteed: float
    """What of its nominal quota it asks for."""
    shortfall: Shortfall | None
    """None: the guarantee is met."""
    limit_price: float
    """Of its own limit."""
    lent: float
    """Of its nominal quota, what others may use now."""
    borrowers: tuple[Borrower, ...]
    """Queues elsewhere that use more than their own quota here, the largest first, if it lends something."""


@dataclass(frozen=True, slots=True)
class QueueExplanation:
    """Whether a queue gets its share."""

    queue: str
    round: int
    time: float
    weight: float
    entitlement: float
    """Its part of all money if everybody could spend theirs: weights, as they count now, down the tree, among those who
    want something.
    """
    budget: float
    """What it may spend: more than that where others cannot, less where it cannot, or has not to."""
    spends: float
    demand: float
    """Dominant share."""
    constrained_demand: float
    fair_share: float
    """Entitlement, or what it could use if that is less."""
    adjusted_fair_share: float
    """What the optimum gives it, after what others leave over."""
    actual_share: float
    amounts: tuple[QueueAmounts, ...]
    past: PastUsage | None = None
    """None: the policy pays nothing back."""
    counts: float = 0.0
    """What its weight comes to among its siblings: with what is paid back, and with the weights of its jobs as far as
    the policy's `crowd_strength` says. 0: from a daemon that does not tell.
    """

    @property
    def fairness_error(self) -> float:
        """Above 0: it holds more than the optimum gives it."""
        return self.actual_share - self.adjusted_fair_share


_NEXT = (PendingCause.SCHEDULER_STALE, PendingCause.CHANGED_SINCE_SNAPSHOT)


def tier_of(cause: PendingCause) -> Tier:
    """How far away a job with this cause is."""
    if cause in NEVER:
        return Tier.NEVER
    return Tier.NEXT_ROUND if cause in _NEXT else Tier.NOT_NOW

"""Questions and answers of what-ifs, as plain values.

Money is in parts of 1: what all queues may spend together. Prices are money per display unit (core, GPU, GiB, GB/s).
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.cluster import Labels
from allocator.domain.job import Job
from allocator.domain.plan import Change as JobChange
from allocator.domain.reason import PendingReason
from allocator.domain.resources import Resources
from allocator.intake.commands import Command, ItemResult
from allocator.rounds.promise import JobPromise
from allocator.rounds.report import LimitUsage, RoundSummary

MOST_CHANGES = 1000
"""Of one question."""
MOST_ADDED_NODES = 10_000
"""By all changes of one question."""
MOST_ROUNDS = 1000
MOST_JOBS = 1000
"""Jobs that are followed one by one."""
MOST_TOLD = 1000
"""Starts, preemptions, moves and resizes that are listed; all are counted."""
MOST_OFFERS = 32


@dataclass(frozen=True, slots=True)
class AddNodes:
    """`count` new nodes of a flavor; None: with the capacity that most nodes of the flavor have. Of a new flavor the
    capacity must be given. Without `labels` they have those, and with them the rack, of no other node: none.
    """

    flavor: str
    count: int = 1
    capacity: Resources | None = None
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """The node is gone at once, whatever runs there: as if it were lost."""

    node: str


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Other values for fields of `domain.policy.Policy`, by name, as text: numbers, or one of the words it takes."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SetLimit:
    """Another amount for a side constraint or floating resource of the policy: `most`, or the part `most_part` of what
    there is; with neither there is no such limit.
    """

    name: str
    most: float | None = None
    most_part: float | None = None


Change = AddNodes | RemoveNode | SetPolicy | SetLimit | Command


@dataclass(frozen=True, slots=True)
class Question:
    """What to change, whom to follow (besides what is submitted), and how many rounds to replay after the first."""

    changes: tuple[Change, ...] = ()
    job_ids: tuple[str, ...] = ()
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Amount:
    """One resource of one flavor, in display units: what a queue's live jobs ask for, each in its fastest
    configuration; what the optimum gives them on average; and what they hold after the round. Without a flavor the
    resource floats.
    """

    flavor: str
    resource: str
    demand: float
    optimum: float
    held: float


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue with all below it. `money`: what its jobs may spend, in parts of the 1 that all have together, and what
    those hold that nobody may stop, at the prices. `amounts` without those that are 0 throughout.
    """

    queue: str
    money: float
    amounts: tuple[Amount, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A round as it would be: its summary, its queues by name, its changes (the first MOST_TOLD), and every limit."""

    summary: RoundSummary
    queues: tuple[QueueView, ...]
    changes: tuple[JobChange, ...]
    limits: tuple[LimitUsage, ...] = ()


@dataclass(frozen=True, slots=True)
class Fate:
    """What a round makes of one job.

    `share`: the part of the time (of its demand, if divisible) that the optimum gives it; None where it cannot run at
    all, or stays where it is whatever the optimum says. `configuration`: index of the one it runs in after the round;
    None if it waits, then for `reason`. `promise`: how its deadline and minimum throughput stand; None if it has
    neither.
    """

    share: float | None
    runs_before: bool
    configuration: int | None
    reason: PendingReason | None
    promise: JobPromise | None = None

    @property
    def starts(self) -> bool:
        return self.configuration is not None and not self.runs_before


@dataclass(frozen=True, slots=True)
class JobView:
    """One job before and after the changes; None where it is not alive. The starts: seconds from the first round until
    it runs for the first time in the rounds that were replayed, None if it does not. `never`: of a submitted one, why
    no node that there would be could ever run it, and what could, in words; empty if one could.
    """

    job: Job
    before: Fate | None
    after: Fate | None
    starts_before: float | None
    starts_after: float | None
    never: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`submitted`: per item of all submits, in order, the job as it would be admitted or why it would be refused, and
    `jobs` in the order in which they were asked for, those that were submitted first.
    """

    before: View
    after: View
    submitted: tuple[ItemResult, ...]
    jobs: tuple[JobView, ...]
    rounds: int
    """Rounds that were replayed after the first."""
    interval: float
    """Seconds from one to the next."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of node that can be bought, and its cost in any unit. None: with the capacity that most of the flavor
    have.
    """

    flavor: str
    cost: float
    capacity: Resources | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """`worth`: what one such node has at the prices from before, in money; 0 of a flavor that nobody had to pay for."""

    flavor: str
    count: int
    cost: float
    worth: float


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """`purchases`: every offer, the one with most worth per cost first, also those of which nothing is bought. `gains`:
    by which the welfare of each queue with live jobs grows; `welfare` before and after. `complete`: False if it was cut
    short.
    """

    purchases: tuple[Purchase, ...]
    spent: float
    left: float
    welfare_before: float
    welfare_after: float
    gains: tuple[tuple[str, float], ...]
    before: View
    after: View
    solves: int
    complete: bool

"""What a round looks at: immutable, sorted, complete."""

from __future__ import annotations

import math
import operator
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.estimates import Estimate
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.remembered import remembered
from allocator.domain.resources import Resources

LimitName = tuple[str, str, str]
"""(queue, flavor, resource): what a limit is known by from one round to the next."""


class Since(NamedTuple):
    """What has become of an earlier snapshot's jobs."""

    jobs: tuple[Job, ...]
    """The earlier one's, the very object."""
    changed: tuple[Job, ...]
    """Every job that is new or another object since, once, in its newest version; those that have ended, that are held
    now, or that are held no more, too.
    """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every fact a decision may use. `jobs` are the live ones (pending or running), by sequence; the rest by name. Jobs
    that may not start yet, whatever there is room for, are in `held` instead.

    `round` is the number of the round that looks, one above the last one recorded. `applied` is the policy that was
    applied last; None: none was, and whoever runs the rounds has one.
    """

    revision: int
    round: int
    time: float
    queues: tuple[Queue, ...]
    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]
    estimates: tuple[Estimate, ...] = ()
    """By name; the same object until one changes."""
    applied: AppliedPolicy | None = None
    since: Since | None = field(default=None, compare=False, repr=False)
    """For those who remember an earlier one, so that they need not look at every job; None: nobody kept count."""
    held: tuple[Job, ...] = ()
    """Pending jobs that wait for others to end, or for their next try (`Job.is_held`), by sequence. Captures have none.
    """
    next_sequence: int = field(default=1, compare=False)
    """Of the next job to be admitted; no round decides by it."""

    def __post_init__(self) -> None:
        for kind, keys in (
            ("queues", [queue.name for queue in self.queues]),
            ("nodes", [node.name for node in self.nodes]),
            ("jobs", [job.sequence for job in self.jobs]),
            ("estimates", [estimate.name for estimate in self.estimates]),
            ("held", [job.sequence for job in self.held]),
        ):
            if not all(map(operator.lt, keys, keys[1:])):
                raise AssertionError(f"snapshot {kind} are not strictly sorted")

    @classmethod
    def of_sorted(
        cls,
        revision: int,
        round: int,  # noqa: A002 - the field's name
        time: float,
        queues: tuple[Queue, ...],
        nodes: tuple[Node, ...],
        jobs: tuple[Job, ...],
        estimates: tuple[Estimate, ...] = (),
        applied: AppliedPolicy | None = None,
        since: Since | None = None,
        held: tuple[Job, ...] = (),
        next_sequence: int = 1,
    ) -> Self:
        """Of what its owner keeps sorted: without a look at every job, which takes longer than all the rest."""
        found = object.__new__(cls)
        values = (revision, round, time, queues, nodes, jobs, estimates, applied, since, held, next_sequence)
        for name, value in zip(cls.__slots__, values, strict=True):
            object.__setattr__(found, name, value)
        return found

    def policy(self, otherwise: Policy) -> Policy:
        """The one in force: what was applied, or `otherwise` where nothing was."""
        return otherwise if self.applied is None else self.applied.policy

    @property
    def held_until(self) -> float:
        """When the first of those that are held for a time is to be seen; infinite if there is none."""
        return _first_time(self.held)

    @property
    def flavors(self) -> tuple[str, ...]:
        """Names of the flavors that any node has, sorted."""
        return _flavors(self.nodes)


@remembered
def _flavors(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    return tuple(sorted({node.flavor for node in nodes}))


@remembered
def _first_time(held: tuple[Job, ...]) -> float:
    return min(
        [job.not_before for job in held if job.not_before is not None and not job.waits_for],
        default=math.inf,
    )


class WorkKind(NamedTuple):
    """One kind of the work that comes: what a replica of it takes, how often there is one, and what that is worth."""

    flavor: str
    demand: Resources
    """Of one replica."""
    popularity: int
    """Replicas of live jobs that could run as this."""
    value: int
    """Of one replica, against the others on the flavor; above 0."""


class QueueHistory(NamedTuple):
    """What a queue, with all that is below it, had of what was scarce, and what its weight entitled it to; both decay.

    In seconds of all there was, at the prices of the time: see `formulation.usage_history`.
    """

    had: float
    entitled: float
    had_pace: float = 0.0
    """Per second since then, before decay."""
    entitled_pace: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What one round hands to the next, settled from what was applied; not to be changed.

    Jobs are named by their sequence. `sequences` (n, signed 64-bit, strictly ascending) names those that anything is
    remembered about; aligned with it, `credits` (n, doubles): seconds of run time owed (above 0) or received in advance
    (below 0) at `time`, and `pace` (n, doubles): by how much each credit changes per second since then, the share the
    optimum gave minus 1 if the job runs. Jobs that are not named have 0 and 0.

    `prices`: capacity prices of the last solution by (flavor, resource), and `limit_prices` those of queues' limits by
    (queue, flavor, resource), for warm starts; the last known ones where the last solution had none.

    `work`: what comes, as far as can be told from the live jobs, for choosing among nodes; none: nothing is known. It
    is the same object for as long as it is about right, so that what is computed from it can be kept.

    `history`: of each queue at `time`; none where policies pay nothing back.
    """

    time: float = 0.0
    sequences: array[int] = field(default_factory=lambda: array("q"))
    credits: array[float] = field(default_factory=lambda: array("d"))
    pace: array[float] = field(default_factory=lambda: array("d"))
    prices: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limit_prices: Mapping[LimitName, float] = field(default_factory=dict)
    work: tuple[WorkKind, ...] = ()
    history: Mapping[str, QueueHistory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.sequences.typecode, self.credits.typecode, self.pace.typecode) != ("q", "d", "d"):
            raise AssertionError("a memory's arrays are of type q, d and d")
        if not len(self.sequences) == len(self.credits) == len(self.pace):
            raise AssertionError("a memory's arrays are not of one length")

    @classmethod
    def of(
        cls,
        time: float = 0.0,
        credits: Mapping[int, float] | None = None,  # noqa: A002 - the field's name
        pace: Mapping[int, float] | None = None,
        prices: Mapping[tuple[str, str], float] | None = None,
        limit_prices: Mapping[LimitName, float] | None = None,
        work: tuple[WorkKind, ...] = (),
        history: Mapping[str, QueueHistory] | None = None,
    ) -> Self:
        """From mappings by sequence, for few jobs."""
        owed, rates = credits or {}, pace or {}
        sequences = sorted(owed.keys() | rates.keys())
        return cls(
            time,
            array("q", sequences),
            array("d", [owed.get(sequence, 0.0) for sequence in sequences]),
            array("d", [rates.get(sequence, 0.0) for sequence in sequences]),
            prices or {},
            limit_prices or {},
            work,
            history or {},
        )

    def credit(self, sequence: int, now: float) -> float:
        """Seconds owed to a job at `now`. Of many jobs, read the arrays."""
        index = bisect_left(self.sequences, sequence)
        if index == len(self.sequences) or self.sequences[index] != sequence:
            return 0.0
        return self.credits[index] + self.pace[index] * max(0.0, now - self.time)

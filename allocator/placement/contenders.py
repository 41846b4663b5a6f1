"""What placement knows of each live job: what it could run as, how much it is owed, where it is.

Order among jobs, best first: priority class, then credit, then jobs with a share before those without, then
admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Configuration, Job
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.eligibility import open_nodes_of, why_never
from allocator.placement.packing import Gang, Shape, Spaces

Floats = NDArray[np.float64]
Rank = tuple[float, float, int, int]

SHARE_FLOOR = 1e-6
"""A smaller share is what an interior-point solver leaves behind where the optimum has none."""


@dataclass(frozen=True, slots=True)
class Option:
    """A configuration that the job may run in: an index into its spec's, and the share the optimum gave it."""

    configuration: int
    shape: Shape
    share: float


@dataclass(slots=True, eq=False)
class Contender:
    """A live job during a round. `gang` is its place now, None while it has none.

    `evicted` says why it lost the place it had, `moved` that it chose another one itself.
    """

    job: Job
    rank: Rank
    credit: float
    options: tuple[Option, ...]
    share: float
    pinned: bool
    never: PendingReason | None = None
    gang: Gang | None = None
    configuration: int = -1
    evicted: PreemptionReason | None = None
    moved: bool = False

    @property
    def runs(self) -> bool:
        """Whether it ran when the round began."""
        return self.job.allocation is not None

    @property
    def waits(self) -> bool:
        """Whether it has no place now."""
        return self.gang is None

    @property
    def in_old_place(self) -> bool:
        """Whether it is where it was when the round began."""
        return self.runs and self.gang is not None and self.evicted is None and not self.moved

    def evict(self, reason: PreemptionReason) -> None:
        """Note that it has lost its place; whoever calls has released it."""
        self.gang = None
        self.configuration = -1
        self.evicted = reason

    def settle_in(self, option: Option, gang: Gang) -> None:
        """Note its new place; whoever calls has taken it."""
        self.gang = gang
        self.configuration = option.configuration


def contenders(
    snapshot: Snapshot,
    formulation: Formulation,
    spaces: Spaces,
    shares: Floats | None = None,
    memory: Memory | None = None,
    policy: Policy | None = None,
) -> list[Contender]:
    """One per live job, in order of the snapshot. Without shares (no solver answered) nobody is owed anything."""
    choices = _Choices(snapshot, spaces)
    rows = _row_options(snapshot, formulation, choices, shares)
    row_share = [sum(option.share for option in options) for options in rows]
    limit = policy.credit_limit_seconds if policy is not None else 0.0
    found = []
    for job in snapshot.jobs:
        never = formulation.never.get(job.id)
        row = formulation.rows.get(job.id)
        share = 0.0
        options: tuple[Option, ...] = ()
        if row is not None:
            options, share = rows[row], row_share[row]
        elif job.id in formulation.pinned:
            # It held its place all the time. Should it lose it, that is what it is owed: share 1.
            share = 1.0
            options, never = choices.outside_problem(job, share)
        elif never is not None and never.cause is PendingCause.INSUFFICIENT_CAPACITY:
            # The formulation left it out because pinned jobs hold all of something. Those may be evicted here.
            options, never = choices.outside_problem(job, share)
        credit = min(limit, max(-limit, memory.credit(job.id, snapshot.time))) if memory is not None else 0.0
        rank = (-job.priority, -credit, 0 if share > SHARE_FLOOR else 1, job.sequence)
        found.append(Contender(job, rank, credit, options, share, job.id in formulation.pinned, never))
    return found


def _row_options(
    snapshot: Snapshot, formulation: Formulation, choices: _Choices, shares: Floats | None
) -> list[tuple[Option, ...]]:
    """Per row of the problem: largest share first, then fastest, then first named."""
    jobs: Mapping[str, Job] = {job.id: job for job in snapshot.jobs}
    utility = formulation.problem.utility
    if shares is None:
        shares = np.zeros_like(utility)
    if shares.shape != utility.shape:
        raise ValueError(f"shares must have the shape of the problem {utility.shape}, got {shares.shape}")
    result = []
    for group, columns, row_shares, speeds in zip(
        formulation.groups, formulation.configurations, shares.tolist(), utility.tolist(), strict=True
    ):
        share = {index: value for index, value in zip(columns, row_shares, strict=True) if value > SHARE_FLOOR}
        speed = dict(zip(columns, speeds, strict=True))
        options = [Option(index, shape, share.get(index, 0.0)) for index, shape in choices.that_can_run(jobs[group[0]])]
        options.sort(key=lambda o: (-o.share, -speed.get(o.configuration, 0.0), o.configuration))
        result.append(tuple(options))
    return result


class _Choices:
    """Which configurations of a job could run if the nodes were empty; also those for which the problem has no room."""

    def __init__(self, snapshot: Snapshot, spaces: Spaces) -> None:
        self._open_nodes = open_nodes_of(snapshot.nodes)
        self._shapes = spaces.shapes
        self._known: dict[tuple[str, int, int], Shape | None] = {}

    def that_can_run(self, job: Job) -> list[tuple[int, Shape]]:
        """(index into the spec's configurations, shape), in order of the spec."""
        found = []
        for index, c in enumerate(job.spec.configurations):
            if c.throughput > 0:
                shape = self._shape(c)
                if shape is not None:
                    found.append((index, shape))
        return found

    def _shape(self, configuration: Configuration) -> Shape | None:
        """None if it cannot run. Jobs share the objects of their demands, and hashing those is what costs."""
        key = (configuration.flavor, configuration.replicas, id(configuration.demand))
        if key not in self._known:
            can_run = self._open_nodes.verdict(configuration).cause is None
            value = (configuration.flavor, configuration.replicas, configuration.demand)
            self._known[key] = self._shapes.of(*value) if can_run else None
        return self._known[key]

    def outside_problem(self, job: Job, share: float) -> tuple[tuple[Option, ...], PendingReason | None]:
        """Options of a job without a row, fastest first; if there is none, why."""
        configurations = job.spec.configurations
        options = [Option(index, shape, share) for index, shape in self.that_can_run(job)]
        if not options:
            able = (c for c in configurations if job.throughput(c) > 0)
            return (), why_never((c, self._open_nodes.verdict(c)) for c in able)
        options.sort(key=lambda o: (-job.throughput(configurations[o.configuration]), o.configuration))
        return tuple(options), None

"""What placement knows of each live job: what it could run as, how much it is owed, where it is.

Order among jobs, best first: priority class, then credit, then jobs with a share before those without, then
admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.eligibility import OpenNodes, why_never
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
    rows = _row_options(snapshot, formulation, spaces, shares)
    row_share = [sum(option.share for option in options) for options in rows]
    outside = _OutsideProblem(snapshot, spaces)
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
            options, never = outside.options(job, share)
        elif never is not None and never.cause is PendingCause.INSUFFICIENT_CAPACITY:
            # The formulation left it out because pinned jobs hold all of something. Those may be evicted here.
            options, never = outside.options(job, share)
        credit = min(limit, max(-limit, memory.credit(job.id, snapshot.time))) if memory is not None else 0.0
        rank = (-job.priority, -credit, 0 if share > SHARE_FLOOR else 1, job.sequence)
        found.append(Contender(job, rank, credit, options, share, job.id in formulation.pinned, never))
    return found


def _row_options(
    snapshot: Snapshot, formulation: Formulation, spaces: Spaces, shares: Floats | None
) -> list[tuple[Option, ...]]:
    """Per row of the problem: eligible configurations, largest share first, then fastest, then first named."""
    jobs: Mapping[str, Job] = {job.id: job for job in snapshot.jobs}
    utility = formulation.problem.utility
    if shares is None:
        shares = np.zeros_like(utility)
    if shares.shape != utility.shape:
        raise ValueError(f"shares must have the shape of the problem {utility.shape}, got {shares.shape}")
    result = []
    able = (formulation.problem.throughput > 0).tolist()
    for group, columns, row_shares, speeds, runs_there in zip(
        formulation.groups, formulation.configurations, shares.tolist(), utility.tolist(), able, strict=True
    ):
        configurations = jobs[group[0]].spec.configurations
        ranked = []
        for index, share, speed, runs in zip(columns, row_shares, speeds, runs_there, strict=True):
            if index < 0 or not runs or configurations[index].flavor not in spaces.by_flavor:
                continue
            configuration = configurations[index]
            shape = spaces.shapes.of(configuration.flavor, configuration.replicas, configuration.demand)
            ranked.append((-share if share > SHARE_FLOOR else 0.0, -speed, index, Option(index, shape, share)))
        result.append(tuple(entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])))
    return result


class _OutsideProblem:
    """Options of jobs that have no row in the problem."""

    def __init__(self, snapshot: Snapshot, spaces: Spaces) -> None:
        self._open_nodes = OpenNodes(snapshot.nodes)
        self._spaces = spaces

    def options(self, job: Job, share: float) -> tuple[tuple[Option, ...], PendingReason | None]:
        """Every configuration that could run on empty nodes, fastest first; if there is none, why."""
        able = [(index, c) for index, c in enumerate(job.spec.configurations) if job.throughput(c) > 0]
        judged = [(index, c, self._open_nodes.verdict(c)) for index, c in able]
        fitting = [(index, c) for index, c, verdict in judged if verdict.cause is None]
        if not fitting:
            return (), why_never((c, verdict) for _, c, verdict in judged)
        fitting.sort(key=lambda entry: (-job.throughput(entry[1]), entry[0]))
        of = self._spaces.shapes.of
        return tuple(Option(index, of(c.flavor, c.replicas, c.demand), share) for index, c in fitting), None

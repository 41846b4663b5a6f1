"""Identical jobs become one row: by concavity they share alike, so the optimum is the same and the problem small.

Identical means: the same configurations that can run, each with the same flavor, demand and throughput, the same
budget, and, for running jobs to which it makes a difference, the same current configuration and restart cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from allocator.domain.job import Configuration, Job
from allocator.domain.reason import PendingReason
from allocator.formulation.problem import Floats, Integers

LEAST_KEPT = 0.05
"""However dear a restart is, this part of the throughput of another configuration still counts."""

LEAST_BUDGET, MOST_BUDGET = 1e-15, 1.0
"""Of the total of 1: keeps weights that differ by more than floats can tell apart above zero, and numbers that went
astray on the way (inf, nan) from stopping the round.
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One configuration that can run: its index in the spec, and its throughput for the jobs of the shape."""

    index: int
    configuration: Configuration
    throughput: float


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all jobs with the same configurations have in common; without columns, `reason` says why they cannot run."""

    number: int
    columns: tuple[Column, ...]
    reason: PendingReason | None

    def position(self, index: int) -> int:
        """Position of the configuration `index` of the spec among the columns; -1 if it is not there."""
        return next((k for k, column in enumerate(self.columns) if column.index == index), -1)


Judge = Callable[[Job], tuple[tuple[Column, ...], PendingReason | None]]
"""What of a job can run; asked once per distinct configurations and measurements."""


class Shapes:
    """The shape of each job. Jobs mostly share the objects of their configurations, so identity is tried first."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._by_identity: dict[int, Shape] = {}
        self._by_value: dict[tuple[tuple[Configuration, ...], tuple[tuple[str, float], ...]], Shape] = {}
        self.all: list[Shape] = []
        """In order of first appearance; `number` is the position here."""

    def of(self, job: Job) -> Shape:
        """The jobs asked about must live as long as this does: identity is theirs."""
        configurations, measured = job.spec.configurations, job.measured_throughput
        if measured:
            return self._by_content(job)
        shape = self._by_identity.get(id(configurations))
        if shape is None:
            shape = self._by_identity[id(configurations)] = self._by_content(job)
        return shape

    def _by_content(self, job: Job) -> Shape:
        key = (job.spec.configurations, job.measured_throughput)
        shape = self._by_value.get(key)
        if shape is None:
            shape = self._by_value[key] = Shape(len(self.all), *self._judge(job))
            self.all.append(shape)
        return shape


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that takes part; `current` is the position of the column it runs in, -1 if it does not run."""

    job: Job
    shape: Shape
    current: int


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows in order of their first job."""

    members: tuple[tuple[str, ...], ...]
    """Job ids, in the order they came."""
    shape: Integers
    """(n,) number of the row's shape."""
    current: Integers
    """(n,) column in which the row's jobs run; -1 where restarts change nothing."""
    kept: Floats
    """(n,) part of the throughput that counts in any other column than `current`."""
    weight: Floats
    """(n,) budget of one job."""


def group(candidates: Iterable[Candidate], weight_per_unit: dict[str, float], horizon_seconds: float) -> Groups:
    """`weight_per_unit`: by queue, the budget of a job of weight 1. A restart costs its part of `horizon_seconds`."""
    rows: dict[tuple[int, int, float, float], list[str]] = {}
    for candidate in candidates:
        spec, shape, current = candidate.job.spec, candidate.shape, candidate.current
        kept = 1.0
        if current >= 0 and spec.restart_cost_seconds > 0 and len(shape.columns) > 1:
            kept = max(LEAST_KEPT, 1 - spec.restart_cost_seconds / horizon_seconds)
        weight = min(MOST_BUDGET, max(LEAST_BUDGET, weight_per_unit[spec.queue] * spec.weight))
        key = (shape.number, current if kept < 1 else -1, kept, weight)
        row = rows.get(key)
        if row is None:
            rows[key] = [candidate.job.id]
        else:
            row.append(candidate.job.id)
    return Groups(
        members=tuple(tuple(ids) for ids in rows.values()),
        shape=np.array([key[0] for key in rows], dtype=np.int64),
        current=np.array([key[1] for key in rows], dtype=np.int64),
        kept=np.array([key[2] for key in rows], dtype=np.float64),
        weight=np.array([key[3] for key in rows], dtype=np.float64),
    )

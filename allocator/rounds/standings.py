"""Whether what jobs were promised holds: deadlines and minimum throughputs, as of a round's optimum. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.domain.job import Job
from allocator.formulation.build import Formulation
from allocator.formulation.problem import Floats, Integers
from allocator.formulation.promises import TOLERANCE
from allocator.rounds.promise import JobPromise, PromiseState


@dataclass(frozen=True, slots=True, eq=False)
class Standings:
    """How the promises of a round stand (m,): see `formulation.promises.Promises`."""

    position: Integers
    """(m,) in the snapshot, ascending."""
    needed: Floats
    given: Floats
    """(m,) part of its time in its best configuration, by the optimum."""
    left: Floats
    missed: Integers
    """Positions of the jobs whose deadline has passed."""

    @property
    def at_risk(self) -> Integers:
        """Positions of the jobs that are given less than they need."""
        found: Integers = self.position[self.given < self.needed * (1 - TOLERANCE)]
        return found

    def counts(self) -> Mapping[PromiseState, int]:
        """Live jobs with a promise, each once: a deadline that is past is missed, whatever else was asked for."""
        wanting = np.setdiff1d(self.position, self.missed)
        short = np.intersect1d(self.at_risk, wanting)
        return {
            PromiseState.KEPT: len(wanting) - len(short),
            PromiseState.AT_RISK: len(short),
            PromiseState.MISSED: len(self.missed),
        }


def standings(formulation: Formulation, shares: Floats) -> Standings:
    """Of the optimum's `shares` (n, K), or zeros where there is none."""
    promises, live = formulation.promises, formulation.live
    at = promises.position
    row = formulation.row[at]
    given = np.zeros(len(at))
    inside = np.flatnonzero(row >= 0)
    if inside.size:
        speeds = live.shapes.throughput[live.shape[at[inside]]]
        utility = formulation.problem.utilities(shares)[row[inside]]
        given[inside] = utility * formulation.problem.reference[row[inside]] / speeds.max(axis=1)
    pinned = np.flatnonzero((row < 0) & live.jobs.runs[at])
    if pinned.size:
        speeds = live.shapes.throughput[live.shape[at[pinned]]]
        here = speeds[np.arange(len(pinned)), live.jobs.configuration[at[pinned]]]
        given[pinned] = here / speeds.max(axis=1) * live.jobs.millis[at[pinned]] / 1000
    return Standings(at, promises.needed, given, promises.left, promises.missed)


def promise_of(found: Standings, job: Job, position: int, now: float) -> JobPromise | None:
    """How the job at a position of the snapshot stands at `now`, the time of the round."""
    spec = job.spec
    if not spec.wants_promise:
        return None
    place = int(np.searchsorted(found.position, position))
    wants = place < len(found.position) and int(found.position[place]) == position
    needed, given = (float(found.needed[place]), float(found.given[place])) if wants else (0.0, 0.0)
    left = float(found.left[place]) if wants else np.inf
    missed = spec.deadline is not None and spec.deadline <= now
    state = PromiseState.MISSED if missed else PromiseState.KEPT
    if not missed and given < needed * (1 - TOLERANCE):
        state = PromiseState.AT_RISK
    return JobPromise(
        state=state,
        deadline=spec.deadline,
        minimum_throughput=spec.minimum_throughput,
        needed_share=needed,
        given_share=given,
        expected_end=now + left / given if np.isfinite(left) and given > 0 else None,
    )

"""What share of its time each job needs from now on to meet its deadline, or to have its minimum throughput.

    needed = work that is left / (deadline - now),   minimum throughput / throughput in its best configuration

in parts of what it does in its best configuration, the larger of the two. Work that is left is the expected duration
less what was done (`Job.work_done`); who takes longer than expected counts as having a twentieth of it still to do.
A deadline that has passed asks for nothing any more.

Whole jobs on whole nodes get their share by turns, and lag behind it by about the policy's hysteresis and minimum run:
who aimed at the deadline would miss it by a little. So a deadline asks for as much run time more as that, or a fifth of
the expected duration if that is less, and for a restart. What is asked for is rounded up to steps, so that jobs in the
same need stay alike; what a job falls behind, it asks for in the next round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.formulation.claims import Claimants
from allocator.formulation.live import Live
from allocator.formulation.problem import Floats, Integers

if TYPE_CHECKING:
    from allocator.formulation.build import Formulation

TOLERANCE = 0.01
"""What an optimum's gap may leave open of a promise."""
STEPS = 64
"""A promise is so many of these parts of a job's time."""
SPARE = 0.2
"""Part of its expected duration that a job asks for beyond what it needs, at most."""
OVERDUE = 0.05
"""Part of its expected duration that is left of a job that has taken longer."""
_SOME, _NEARLY = 0.05, 1e-9
"""Part of its time that a job is given fast enough at least, to have its turns only there."""


@dataclass(frozen=True, slots=True, eq=False)
class Promises:
    """The live jobs (m,) that want something from now on: those whose deadline has passed only if they want a minimum
    throughput.
    """

    position: Integers
    """(m,) in the snapshot, ascending."""
    needed: Floats
    """(m,) part of its time in its best configuration; above 1 where even all of it does not do."""
    asked: Floats
    """(m,) the same with time to spare, at most 1."""
    left: Floats
    """(m,) seconds of run time in its best configuration that are left to do; inf without a deadline."""
    missed: Integers
    """Positions of the live jobs whose deadline has passed."""

    @property
    def steps(self) -> Integers:
        """(m,) `asked` in whole steps."""
        return np.ceil(self.asked * STEPS - 1e-9).astype(np.int64)

    def step_of_job(self, jobs: int) -> Integers:
        """(J,) `steps`; 0 of a job that is promised nothing."""
        found = np.zeros(jobs, dtype=np.int64)
        found[self.position] = self.steps
        return found


def promises(live: Live, now: float, lag: float) -> Promises:
    """As of `now`, in seconds since the epoch; `lag` is by how many seconds jobs are behind their share."""
    jobs = live.jobs
    timed = jobs.deadline > now
    timed &= np.isfinite(jobs.deadline)
    wanting = np.flatnonzero(timed | (jobs.minimum > 0))
    missed = np.flatnonzero(jobs.deadline <= now)
    if not wanting.size:
        none = np.zeros(0)
        return Promises(wanting, none, none, none, missed)
    speeds = live.shapes.throughput[live.shape[wanting]]
    best = np.maximum(speeds.max(axis=1), np.finfo(np.float64).tiny)
    in_time = timed[wanting]
    left = _work_left(live, wanting, speeds, best, now)
    spare = np.minimum(lag, SPARE * jobs.duration[wanting])
    spare += live.profiles.restart_cost[jobs.profile[wanting]]
    time = np.where(in_time, jobs.deadline[wanting] - now, 1.0)
    always = jobs.minimum[wanting] / best
    return Promises(
        position=wanting,
        needed=np.maximum(np.where(in_time, left / time, 0.0), always),
        asked=np.clip(np.maximum(np.where(in_time, (left + spare) / time, 0.0), always), 0.0, 1.0),
        left=np.where(in_time, left, np.inf),
        missed=missed,
    )


def _work_left(live: Live, wanting: Integers, speeds: Floats, best: Floats, now: float) -> Floats:
    """(m,) seconds in their best configuration."""
    jobs = live.jobs
    runs = jobs.runs[wanting]
    here = np.take_along_axis(speeds, np.maximum(jobs.configuration[wanting], 0)[:, None], axis=1)[:, 0]
    speed = np.where(runs, here / best * jobs.millis[wanting] / WHOLE, 0.0)
    since = np.where(runs & np.isfinite(jobs.work_counted[wanting]), jobs.work_counted[wanting], now)
    done = jobs.work_done[wanting] + speed * np.maximum(now - since, 0.0)
    expected = np.where(np.isfinite(jobs.duration[wanting]), jobs.duration[wanting], 0.0)
    left: Floats = np.maximum(expected - done, OVERDUE * expected)
    return left


def set_apart(claim: Claimants, step: Integers) -> Claimants:
    """With a profile of their own for those candidates that are promised another part of their time, or differ in
    anything else: `step` (n,), 0 of those who are like all others.
    """
    some = np.flatnonzero(step > 0)
    if not some.size:
        return claim
    known, width = len(claim.alike), int(step.max()) + 1
    key = claim.profile[some] * width + step[some]
    distinct, numbered = np.unique(key, return_inverse=True)
    base = distinct // width
    claims = np.stack([claim.claim[base], distinct % width], axis=1)
    number = np.unique(claims, axis=0, return_inverse=True)[1].ravel()
    profile = claim.profile.copy()
    profile[some] = known + numbered.ravel()
    return replace(
        claim,
        profile=profile,
        alike=np.concatenate([claim.alike, claim.alike[base]]),
        claim=np.concatenate([claim.claim, claim.claim.max(initial=-1) + 1 + number]),
        steps=np.concatenate([claim.steps, claim.steps[base]]),
    )


def least_utility(step: Integers, best: Floats, able: Floats, reference: Floats) -> Floats:
    """(n,) the utility that rows are promised whose jobs are promised `step`s of their time in their `best`
    configuration, of those that can run the fastest being `able`: at most all of their time there.
    """
    found: Floats = np.minimum(step / STEPS * best, able) / reference
    return found


def in_turns(formulation: Formulation, shares: Floats) -> Floats:
    """(n, K) the shares by which whole jobs take turns: who is promised a part of its time has its turns where it runs
    fast enough for that, if the optimum gives it any time there.

    The optimum may mix fast and slow configurations, but what a job was given of each is not remembered: one that was
    let run in the slow one would stay there, with nothing owed, until it is too late. Time in slow ones is made up by
    as much work in a fast one. Where there is no promise, or only slow ones are given, shares stay as they are.
    """
    promised = formulation.promises
    row = formulation.row[promised.position]
    inside = np.flatnonzero(row >= 0)
    if not inside.size:
        return shares
    row, first = np.unique(row[inside], return_index=True)  # the jobs of a row are promised the same
    problem, live = formulation.problem, formulation.live
    best = live.shapes.throughput[live.shape[promised.position[inside[first]]]].max(axis=1)
    speed = problem.utility[row] * (problem.reference[row] / best)[:, None]
    enough = speed >= (promised.steps[inside[first]] / STEPS * (1 - _NEARLY))[:, None]
    fast, slow = np.where(enough, shares[row], 0.0), np.where(enough, 0.0, shares[row])
    change = np.flatnonzero((fast.sum(axis=1) > _SOME) & (slow.sum(axis=1) > 0))
    if not change.size:
        return shares
    fast, most = fast[change], fast[change].argmax(axis=1)
    made_up = (slow * speed)[change].sum(axis=1) / speed[change, most]
    fast[np.arange(change.size), most] += np.minimum(made_up, 1.0 - fast.sum(axis=1))
    found = shares.copy()
    found[row[change]] = fast
    return found

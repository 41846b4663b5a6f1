"""Weights that change with time: what a round multiplies the weights of queues and jobs by, and why.

    queue   weight x usage factor (`usage_history`)
    job     weight x service or lateness factor x aging factor

The factors of jobs are powers of 2, so that jobs that are alike stay alike but for a few classes (Tiresias, NSDI 2019,
has discrete queues for the same reason), each at most the policy's limit and at least one over it. With a the time
since submission and s what the job has received, in seconds of run time in its best configuration:

- Least attained service: 1 up to s = `service_seconds`, 1/2 up to twice that, 1/4 up to four times that, ...
- Shortest remaining: the same with what is left, d - s, where the job says that it runs for d. Where nobody knows, it
  is taken to have as much left as it has had, so that attained service decides. (Short jobs first is best for the mean
  completion time: Smith's rule, Naval Research Logistics Quarterly 3, 1956.)
- Finish time: rho^2, where rho is the time from submission to the end, if from now on the job has an equal share, over
  what it would have been with an equal share all the time: (a + left / e) / (all / e). An equal share is what its
  weight would buy it of every flavor if everybody took their part of the machines home; e is how fast it runs on that,
  relative to its best configuration. (Themis, NSDI 2020, and Gavel, OSDI 2020, section 4, compare with the present
  pace; a job that takes turns has none.) Where nobody knows how long the job takes, what it has received is compared
  with what an equal share would have given it: rho = (a e + `service_seconds`) / (s + `service_seconds`).
- Aging: 2 for each `aging_seconds` in a - s, the time for which it had nothing.

Jobs of a queue that serves in order are served in order: nothing changes their weights.

A queue counts by its weight alone, however many jobs it has, unless the policy has a `crowd_strength`: then its weight
is multiplied by the weights of all live jobs below it together, as they are now, to that power. At 1, and with equal
weights of queues, every job counts alike, whatever queue it is in, and short jobs go first everywhere and not only in
their own queue. In between is a part of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.domain.policy import BY_DECLARATION, FINISH_TIME, SHORTEST_REMAINING, Policy
from allocator.domain.queue import Discipline, Queue
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.live import Live
from allocator.formulation.problem import Floats, Integers
from allocator.formulation.usage_history import Repayment, history_at, repayments, weighed

_LATENESS_POWER = 2
"""Steps of 2 of the factor are steps of 1.4 of rho."""


@dataclass(frozen=True, slots=True, eq=False)
class JobFactors:
    """Of each live job (J,), exponents of 2."""

    service: Integers
    """By what it has received, what it has left, or how late it will be."""
    aging: Integers

    @property
    def steps(self) -> Integers:
        """(J,) both together."""
        return self.service + self.aging


@dataclass(frozen=True, slots=True, eq=False)
class Weightings:
    """All that changes weights in a round."""

    queues: tuple[Queue, ...]
    """With the weights of this round."""
    repaid: Mapping[str, Repayment]
    """By queue; empty where nothing is paid back."""
    jobs: JobFactors | None
    """None where jobs weigh what they were given."""


def weighed_queues(snapshot: Snapshot, live: Live, memory: Memory, policy: Policy) -> Weightings:
    """Those of queues alone."""
    if not policy.usage_strength > 0:
        return Weightings(snapshot.queues, {}, None)
    there = np.unique(live.profiles.queue[live.jobs.profile]).tolist()
    past = history_at(memory, snapshot.time, policy.usage_half_life_seconds)
    found = repayments(snapshot.queues, [live.queues[number] for number in there], past, policy)
    return Weightings(weighed(snapshot.queues, found), found, None)


def changes_jobs(policy: Policy) -> bool:
    """Whether the policy changes weights of jobs at all."""
    return policy.weighting != BY_DECLARATION or math.isfinite(policy.aging_seconds)


def job_factors(snapshot: Snapshot, live: Live, policy: Policy, equal_pace: Floats | None = None) -> JobFactors:
    """`equal_pace` (P,), by profile, for finish times: how fast a job runs on its equal share, relative to its best
    configuration.
    """
    age = np.maximum(0.0, snapshot.time - live.jobs.submitted)
    served = received(live, snapshot.time)
    most = math.floor(math.log2(policy.weight_factor_limit))
    service = np.zeros(len(age), dtype=np.int64)
    if policy.weighting == FINISH_TIME and equal_pace is not None:
        rho = lateness(age, served, live.jobs.duration, equal_pace[live.jobs.profile], policy.service_seconds)
        service = np.rint(_LATENESS_POWER * np.log2(rho))
    elif policy.weighting != BY_DECLARATION:
        seconds = left_to_go(served, live.jobs.duration) if policy.weighting == SHORTEST_REMAINING else served
        service = -np.ceil(np.log2(np.maximum(1.0, seconds / policy.service_seconds)))
    aging = np.floor(np.maximum(0.0, age - served) / policy.aging_seconds)
    in_order = {queue.name for queue in snapshot.queues if queue.discipline is Discipline.FIFO}
    free = np.array([name not in in_order for name in live.queues], dtype=np.bool_)
    changed = free[live.profiles.queue[live.jobs.profile]]
    return JobFactors(
        np.where(changed, np.clip(service, -most, most), 0).astype(np.int64),
        np.where(changed, np.minimum(aging, most), 0).astype(np.int64),
    )


def received(live: Live, now: float) -> Floats:
    """(J,) seconds of run time in its best configuration that all a job had until `now` is worth."""
    jobs = live.jobs
    found = jobs.work_done.copy()
    running = np.flatnonzero(jobs.runs)
    if running.size:
        throughput = live.shapes.throughput[live.shape[running]]
        best = throughput.max(axis=1)
        here = np.take_along_axis(throughput, jobs.configuration[running][:, None], axis=1)[:, 0]
        speed = np.divide(here, best, out=np.zeros(len(here)), where=best > 0) * jobs.millis[running] / WHOLE
        found[running] += speed * np.maximum(0.0, now - jobs.work_counted[running])
    return found


def crowded(weightings: Weightings, live: Live, jobs: Integers, policy: Policy) -> Weightings:
    """With queues that count more the more these live `jobs` (positions) below them weigh."""
    if not policy.crowd_strength > 0 or not len(jobs):
        return weightings
    profile = live.jobs.profile[jobs]
    weight = live.profiles.weight[profile]
    if weightings.jobs is not None:
        weight = np.ldexp(weight, weightings.jobs.steps[jobs])
    together = np.bincount(live.profiles.queue[profile], weights=weight, minlength=len(live.queues))
    crowd: dict[str, float] = {}
    for name, amount in zip(live.queues, together.tolist(), strict=True):
        above = name if amount > 0 else ""
        while above:
            crowd[above] = crowd.get(above, 0.0) + amount
            above = above.rpartition("/")[0]
    queues = tuple(
        replace(queue, weight=queue.weight * crowd[queue.name] ** policy.crowd_strength)
        if queue.name in crowd
        else queue
        for queue in weightings.queues
    )
    return replace(weightings, queues=queues)


def left_to_go(served: Floats, duration: Floats) -> Floats:
    """(J,) seconds that jobs have yet to run; `duration` is inf of those that nobody knows."""
    found: Floats = np.where(np.isfinite(duration) & (duration > served), duration - served, served)
    return found


def lateness(age: Floats, served: Floats, duration: Floats, pace: Floats, unit: float) -> Floats:
    """(J,) rho, above 0; `duration` is inf of those that nobody knows, which `unit` seconds are added to."""
    known = np.isfinite(duration)
    whole = np.where(known, np.maximum(np.where(known, duration, 0.0), served), served + unit)
    left = np.where(known, np.maximum(np.where(known, duration, 0.0) - served, 0.0), unit)
    found: Floats = np.maximum((age * pace + left) / whole, 1e-9)
    return found


def equal_paces(live: Live, part: Floats, capacity: Floats, flavor: Integers, amounts: Floats) -> Floats:
    """(P,) by profile, how fast a job runs on its `part` (P,) of all capacity (F, R), relative to its best
    configuration: the fastest first, at most one on each flavor, until its time is used up. `flavor` (kinds,) and
    `amounts` (kinds, R) are what kinds of gangs need.
    """
    shape = live.profiles.shape
    throughput = np.where(live.fits[live.shapes.kind], live.shapes.throughput, 0.0) if len(live.fits) else None
    if throughput is None or not len(shape) or not len(capacity):
        return np.zeros(len(shape))
    room = capacity[flavor]
    times = np.divide(room, amounts, out=np.full(amounts.shape, np.inf), where=amounts > 0).min(axis=1, initial=np.inf)
    best = live.shapes.throughput.max(axis=1)
    utility = np.divide(throughput, best[:, None], out=np.zeros(throughput.shape), where=best[:, None] > 0)
    order = np.argsort(-utility, axis=1, kind="stable")
    pace, time_left = np.zeros(len(shape)), np.ones(len(shape))
    taken = np.zeros((len(shape), len(capacity)), dtype=np.bool_)
    every = np.arange(len(shape))
    for rank in range(order.shape[1]):
        column = order[shape, rank]
        kind = live.shapes.kind[shape, column]
        fits = np.where(part > 0, times[kind], 0.0)  # nothing of everything is nothing
        share = np.minimum(time_left, part * fits)
        share = np.where(taken[every, flavor[kind]] | (utility[shape, column] <= 0), 0.0, share)
        pace += share * utility[shape, column]
        time_left -= share
        taken[every, flavor[kind]] |= share > 0
    return pace

"""What weightings are for, in small replays: short jobs end earlier, and nobody ends as late."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from simulations.replay import ReplayOptions, replay
from simulations.workload import Arrival, Workload
from tests.simulations.worlds import node, on, workload

HOUR = 3600.0
GPUS = 4
Floats = NDArray[np.float64]


def trace(seed: int, hours: tuple[int, ...], every: float, hogs: int = 0) -> Workload:
    """Jobs of one GPU that come at random, after some that hold GPUs for six hours and may not be stopped."""
    dice = random.Random(seed)
    ways, now = (on(gpus=1),), 0.0
    hog = JobSpec("main", ways, preemptible=False, expected_duration_seconds=6 * HOUR)
    arrivals = [Arrival(0.0, hog, 6 * HOUR)] * hogs
    for _ in range(20):
        now += dice.expovariate(1 / every)
        duration = dice.choice(hours) * HOUR
        arrivals.append(Arrival(now, JobSpec("main", ways, expected_duration_seconds=duration), duration))
    return workload([node("n1", gpus=GPUS, cores=64, gib=256)], arrivals)


def replayed(work: Workload, policy: Policy) -> tuple[Floats, Floats]:
    """When each job came, and when it had ended; in order of arrival."""
    jobs = replay(work, ReplayOptions(policy=policy, interval_seconds=300.0, timings=False)).table("jobs")
    submitted, ended = jobs.numbers("submit_s"), jobs.numbers("end_s")
    order = np.argsort(submitted, kind="stable")
    assert submitted[order].tolist() == [arrival.time for arrival in work.arrivals]
    return submitted[order], ended[order]


def finish_time_ratios(work: Workload, submitted: Floats, ended: Floats) -> Floats:
    """How long each job took against how long it would have taken with an equal share, 1 / n of the GPUs while n jobs
    were there: judged from outside, from when jobs came and went.
    """
    grid = np.unique(np.concatenate([submitted, ended, [1e9]]))
    there = ((submitted[:, None] <= grid[:-1]) & (ended[:, None] > grid[:-1])).sum(axis=0)
    pace = np.minimum(1.0, GPUS / np.maximum(there, 1))
    found = []
    for arrival, came, went in zip(work.arrivals, submitted, ended, strict=True):
        first = int(np.searchsorted(grid, came))
        had = np.concatenate([[0.0], np.cumsum((pace * np.diff(grid))[first:])])
        alone = float(np.interp(arrival.duration, had, grid[first:])) - came
        found.append((went - came) / alone)
    return np.array(found)


def test_short_jobs_end_earlier_where_least_attained_service_counts() -> None:
    work = trace(0, (1, 1, 1, 12), every=900.0)
    short = np.array([arrival.duration <= HOUR for arrival in work.arrivals])
    took = {}
    for weighting in ("none", "least-attained-service"):
        submitted, ended = replayed(work, Policy(weighting=weighting, service_seconds=HOUR / 4))
        took[weighting] = (ended - submitted)[short].mean()
    assert took["least-attained-service"] < 0.8 * took["none"]


def test_nobody_is_as_late_where_finish_times_count() -> None:
    """While GPUs are held nobody can be given what the others have: those who came then are late, and catch up."""
    work = trace(1, (1, 1, 2, 4), every=1800.0, hogs=GPUS - 1)
    worst = {}
    for weighting in ("none", "finish-time"):
        ratios = finish_time_ratios(work, *replayed(work, Policy(weighting=weighting)))
        worst[weighting] = ratios[GPUS - 1 :].max()
    assert worst["finish-time"] < 0.95 * worst["none"]

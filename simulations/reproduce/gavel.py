"""Gavel's continuous single-GPU workload: mean completion time by policy, in rounds as Gavel has them.

5,000 jobs on 36 V100, 36 P100 and 36 K80; the mean is over jobs 4,000 to 4,999. Rounds of 360 s, targets at most every
1,920 s, throughputs known exactly, restarts for free (Narayanan et al., OSDI 2020, section 7, and the notebooks that
came with its simulator, which the numbers are from). Others come after the 5,000 until those are done, as there.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from simulations.replay import ReplayOptions, replay
from simulations.reproduce.table import PERCENT, Reproduction, Row
from simulations.traces import gavel

FOLDER = "gavel-2020"
ROUND_SECONDS = 360.0
FIRST, LAST = 4000, 5000
PUBLISHED = {
    ("gavel-fifo", 4.0): 17.08,
    ("gavel-fifo", 4.8): 22.24,
    ("max-min", 4.0): 23.49,
    ("max-min", 4.8): 35.79,
    ("gavel-max-min", 4.0): 16.82,
    ("gavel-max-min", 4.8): 18.97,
}
"""Hours, by scheduler and jobs per hour."""
ALLOWED, OVERLOADED = 3.0, 6.0
"""Percent. Their own simulator, run again, is off by as much: 1.5 % and, in overload, 6 %."""
OVERLOAD = ("max-min", 4.8)
"""Of these, the one in which the machines are full."""
HOURS_AFTER = 360.0
"""So long after the last of the jobs that count has come, on average, all of them have ended. The longest of all needs
166 h on the fastest model.
"""
_HOUR = 3600.0


def reproduce(traces: Path, *, cases: tuple[tuple[str, float], ...] = tuple(PUBLISHED)) -> Reproduction:
    """`traces` holds the folder of the trace."""
    begin = time.perf_counter()
    rows = []
    for scheduler, rate in cases:
        since = time.perf_counter()
        hours = completion_hours(traces / FOLDER, scheduler, rate)
        allowed = OVERLOADED if (scheduler, rate) == OVERLOAD else ALLOWED
        seconds = time.perf_counter() - since
        expected = PUBLISHED[scheduler, rate]
        rows.append(Row((scheduler, f"{rate:.1f}"), expected, hours, allowed, PERCENT, seconds))
    return Reproduction(
        "gavel",
        "Mean completion time of jobs 4,000 to 4,999, one GPU each, on 36 V100 + 36 P100 + 36 K80",
        "Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads, OSDI 2020",
        ("scheduler", "jobs per hour"),
        "hours",
        tuple(rows),
        time.perf_counter() - begin,
    )


def completion_hours(folder: Path, scheduler: str, jobs_per_hour: float) -> float:
    """Mean over the jobs that count; NaN if not all of them end in time."""
    workload = gavel.read(folder, restart_cost_seconds=0.0, jobs_per_hour=jobs_per_hour)
    counted = {arrival.spec.name for arrival in workload.arrivals[FIRST:LAST]}
    horizon = (LAST / jobs_per_hour + HOURS_AFTER) * _HOUR
    options = ReplayOptions(scheduler=scheduler, interval_seconds=ROUND_SECONDS, horizon_seconds=horizon, timings=False)
    jobs = replay(workload, options).table("jobs")
    chosen = np.array([name in counted for name in jobs.values("name")])
    return float(jobs.numbers("completion_s")[chosen].mean() / _HOUR)

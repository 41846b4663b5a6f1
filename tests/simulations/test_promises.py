"""What learning throughputs and paying for deadlines is worth, in replays with a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.scenario import Scenario
from simulations.synthetic import generate
from simulations.workload import Workload

MADE = {
    "name": "promises",
    "flavors": [
        {"name": "fast", "nodes": 1, "cores": 64, "memory_gib": 512, "gpus": 4},
        {"name": "slow", "nodes": 1, "cores": 64, "memory_gib": 512, "gpus": 4},
    ],
    "queues": [{"name": "q", "arrivals": 1}],
    "arrivals": {"at_start": 20, "per_hour": 10, "hours": 2},
}
KIND = {"arrivals": 1, "cores": 4, "memory_gib": 16, "gpus": 1, "median_seconds": 2400, "sigma": 0.3}


def made(*classes: dict[str, object], seed: int) -> Workload:
    return generate(Scenario.model_validate({**MADE, "classes": [{**KIND, **each} for each in classes]}), seed)


def test_learning_what_was_declared_wrongly_gets_the_same_done_sooner() -> None:
    """Both classes say that flavors are alike. One is four times as fast on the fast flavor, the other is not."""
    alike = {"throughput": {"fast": 1.0, "slow": 1.0}, "restart_cost_seconds": 30}
    workload = made(
        {"name": "bound", **alike, "true_speed": {"fast": 0.5, "slow": 1.0}},
        {"name": "quick", **alike, "true_speed": {"fast": 2.0, "slow": 0.5}},
        seed=3,
    )
    options = ReplayOptions(interval_seconds=60.0)
    learned = replay(workload, options)
    never = replay(workload, replace(options, learning=False))
    assert learned.summary["jobs"]["by_state"] == never.summary["jobs"]["by_state"]
    assert learned.summary["run"]["end_s"] < 0.75 * never.summary["run"]["end_s"]


def met(result: ReplayResult, factor: float) -> float:
    """Part of the timed jobs that were done within `factor` times their run time after they were submitted."""
    jobs = result.table("jobs")
    timed = np.array([name.startswith("timed") for name in jobs.values("name")])
    late = jobs.numbers("completion_s")[timed] > factor * jobs.numbers("ideal_run_s")[timed]
    ended = np.array([state == "succeeded" for state in jobs.values("state")])[timed]
    return float((ended & ~late).mean())


def test_promised_jobs_are_in_time() -> None:
    """A fifth of the jobs want to be done in twice their run time; the queue is busy for four times as many jobs."""
    both = {"throughput": {"fast": 1.0, "slow": 1.0}, "restart_cost_seconds": 30, "duration_known": True}
    classes = ({"name": "timed", **both, "deadline_factor": 2.0}, {"name": "other", **both, "arrivals": 4})
    workload = made(*classes, seed=1)
    plain = tuple(replace(each, spec=replace(each.spec, deadline=None)) for each in workload.arrivals)
    options = ReplayOptions(interval_seconds=60.0, horizon_seconds=4 * 3600.0)
    kept = met(replay(workload, options), 2.0)
    without = met(replay(replace(workload, arrivals=plain), options), 2.0)
    assert kept == 1.0
    assert without < 0.2

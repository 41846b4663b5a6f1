"""Small workloads for schedulers by rules, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from allocator.domain.job import JobSpec
from allocator.rounds.ports import Observer
from simulations.conditions import IDEAL, Conditions
from simulations.faults import Faults
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.workload import Arrival, Workload
from tests.simulations.schedulers.counting import Asked
from tests.simulations.worlds import node, on, workload


def run(
    made: Workload,
    scheduler: str,
    placement: str = "",
    *,
    interval: float = 0.0,
    seed: int = 0,
    faults: Faults | None = None,
    conditions: Conditions = IDEAL,
    observers: Sequence[Observer] = (),
    horizon: float = math.inf,
) -> ReplayResult:
    """The whole replay, its invariants checked throughout in every round."""
    options = ReplayOptions(
        interval_seconds=interval,
        horizon_seconds=horizon,
        scheduler=scheduler,
        placement=placement,
        seed=seed,
        timings=False,
        full_check_every=1,
        conditions=conditions,
    )
    return replay(made, options, faults=faults, observers=observers)


def starts(result: ReplayResult) -> dict[str, float]:
    """First starts by name."""
    jobs = result.table("jobs")
    return dict(zip(map(str, jobs.values("name")), jobs.numbers("first_start_s").tolist(), strict=True))


def ends(result: ReplayResult) -> dict[str, float]:
    """By name."""
    jobs = result.table("jobs")
    return dict(zip(map(str, jobs.values("name")), jobs.numbers("end_s").tolist(), strict=True))


def machines(count: int, jobs: Sequence[Asked]) -> Workload:
    """Identical machines of one core, and jobs of so many replicas of one core, named by their numbers."""
    nodes = [node(f"m{number}", "cpu", cores=1, gpus=0) for number in range(count)]
    arrivals = [
        Arrival(
            asked.submitted,
            JobSpec(
                "main",
                (on("cpu", replicas=asked.machines, cores=1, gib=0),),
                name=str(number),
                expected_duration_seconds=asked.estimate,
            ),
            asked.run,
        )
        for number, asked in enumerate(jobs)
    ]
    return workload(nodes, arrivals)

"""Max-min, finish-time fairness and dominant resource fairness as whole replays: who gets what over time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from simulations.faults import ListedFaults, Outage
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.scenario import load_scenario
from simulations.sizing import Sizing
from simulations.synthetic import generate
from simulations.workload import Arrival, Workload

CASES = os.environ.get("ALLOCATOR_CASES")
BY_TURNS = ("max-min", "gavel-max-min", "gavel-fifo", "finish-time", "gavel-finish-time")
HOUR = 3600.0


def run(work: Workload, scheduler: str, *, interval: float = 360.0, horizon: float = float("inf")) -> ReplayResult:
    options = ReplayOptions(
        scheduler=scheduler, interval_seconds=interval, horizon_seconds=horizon, full_check_every=10, timings=False
    )
    return replay(work, options)


def gpu_nodes(**counts: int) -> tuple[Node, ...]:
    one = Resources.of({"gpu": 1000})
    names = [(f"{flavor}-{number}", flavor) for flavor, count in counts.items() for number in range(count)]
    return tuple(Node(name, flavor, one) for name, flavor in sorted(names))


def job(seconds: float, *, at: float = 0.0, name: str = "", **speeds: float) -> Arrival:
    """One GPU; so long on its fastest flavor."""
    ways = tuple(Configuration(flavor, 1, Resources.of({"gpu": 1000}), speed) for flavor, speed in speeds.items())
    return Arrival(at, JobSpec("all", ways, name=name, expected_duration_seconds=seconds), seconds)


def workload(nodes: tuple[Node, ...], arrivals: list[Arrival]) -> Workload:
    return Workload("made for a test", 0.0, nodes, (Queue("all"),), tuple(arrivals))


def seconds_by_flavor(result: ReplayResult) -> dict[tuple[str, str], float]:
    """How long each job held each flavor, until the horizon."""
    runs = result.table("runs")
    found: dict[tuple[str, str], float] = {}
    ends = np.nan_to_num(runs.numbers("end_s"), nan=result.summary["run"]["end_s"])
    for name, flavor, start, end in zip(
        runs.values("job"), runs.values("flavor"), runs.numbers("start_s"), ends, strict=True
    ):
        found[str(name), str(flavor)] = found.get((str(name), str(flavor)), 0.0) + float(end - start)
    return found


@pytest.mark.parametrize("scheduler", ["max-min", "gavel-max-min"])
def test_three_jobs_on_two_flavors_take_turns(scheduler: str) -> None:
    """Three that are alike on one fast and one slow GPU: a third of each, for each."""
    jobs = [job(1e6, name=name, fast=3.0, slow=1.0) for name in "abc"]
    had = seconds_by_flavor(run(workload(gpu_nodes(fast=1, slow=1), jobs), scheduler, horizon=60 * HOUR))
    assert len(had) == 6
    for (_, flavor), seconds in had.items():
        assert seconds == pytest.approx(20 * HOUR, rel=0.1), flavor


def test_throughput_decides_who_gets_the_fast_flavor() -> None:
    """The worked example of OSDI 2020, section 4.1: shares of (v100, k80) are (.45, 0), (.45, .09), (.09, .91)."""
    jobs = [job(1e7, name=f"{speed:g}", v100=speed, k80=1.0) for speed in (4.0, 3.0, 2.0)]
    result = run(workload(gpu_nodes(v100=1, k80=1), jobs), "gavel-max-min", horizon=80 * HOUR)
    names = dict(zip(result.table("jobs").values("job"), result.table("jobs").values("name"), strict=True))
    had = {(names[job_id], flavor): seconds for (job_id, flavor), seconds in seconds_by_flavor(result).items()}
    shares = [had.get((name, "v100"), 0.0) / (80 * HOUR) for name in ("4", "3", "2")]
    assert shares == pytest.approx([0.45, 0.45, 0.09], abs=0.04)
    assert had["2", "k80"] / (80 * HOUR) == pytest.approx(0.91, abs=0.04)


def test_the_first_come_is_on_the_fastest_flavor_and_others_move_up_when_targets_are_computed() -> None:
    """Targets are computed at 0, when the first has gone and 1,920 s have passed, and so on."""
    jobs = [job(1800.0, name="first", fast=2.0, slow=1.0), job(9000.0, name="second", fast=2.0, slow=1.0)]
    runs = run(workload(gpu_nodes(fast=1, slow=1), jobs), "gavel-fifo").table("runs")
    found = sorted(zip(runs.numbers("start_s").tolist(), map(str, runs.values("flavor")), strict=True))
    assert found == [(0.0, "fast"), (0.0, "slow"), (2160.0, "fast")]
    assert max(runs.numbers("end_s")) == 2160.0 + 9000.0 - 2160.0 / 2


@pytest.mark.parametrize("scheduler", BY_TURNS)
def test_whole_replays_hold_every_invariant_and_are_the_same_twice(scheduler: str) -> None:
    made = Sizing(nodes=12, jobs_at_start=30, arrivals_per_hour=20.0, arrival_hours=3.0).applied_to(
        load_scenario("small")
    )
    work = generate(made, seed=3)
    faults = ListedFaults((Outage(work.nodes[0].name, 4000.0, 9000.0), Outage(work.nodes[5].name, 5000.0, 8000.0)))
    options = ReplayOptions(scheduler=scheduler, interval_seconds=360.0, full_check_every=1, timings=False)
    first, second = replay(work, options, faults=faults), replay(work, options, faults=faults)
    assert first.summary == second.summary
    assert first.table("runs").values("start_s") == second.table("runs").values("start_s")
    assert first.summary["run"]["ending"] == "finished"
    assert first.summary["invariants"]["broken"] == 0


def test_jobs_that_are_not_preemptible_keep_their_place() -> None:
    ways = (Configuration("fast", 1, Resources.of({"gpu": 1000})),)
    fixed = Arrival(0.0, JobSpec("all", ways, name="fixed", preemptible=False), 10 * HOUR)
    others = [Arrival(0.0, JobSpec("all", ways, name=f"other-{number}"), 2 * HOUR) for number in range(3)]
    result = run(workload(gpu_nodes(fast=2), [fixed, *others]), "max-min")
    jobs = result.table("jobs")
    stopped = dict(zip(jobs.values("name"), jobs.numbers("preemptions"), strict=True))
    ended = dict(zip(jobs.values("name"), jobs.numbers("end_s"), strict=True))
    assert stopped["fixed"] == 0
    assert ended["fixed"] == 10 * HOUR
    assert all(stopped[f"other-{number}"] > 0 for number in range(3))
    assert max(ended[f"other-{number}"] for number in range(3)) == pytest.approx(6 * HOUR, rel=0.05)


@pytest.mark.skipif(CASES is None, reason="ALLOCATOR_CASES is not set")
def test_dominant_resource_fairness_on_its_paper_s_examples() -> None:
    """Queues with more tasks than fit, all on one node: how many of each run."""
    assert CASES is not None
    cases = json.loads((Path(CASES) / "drf_examples.json").read_text())["cases"]
    case = next(case for case in cases if case["name"] == "drf_sec4.1")
    assert _tasks(case) == case["expected"]["drf_tasks"]
    # an even share of nearly a half each, in whole tasks: the paper's 5 and 15, less what whole tasks leave over
    case = next(case for case in cases if case["name"] == "asset_fairness_violates_sharing_incentive")
    assert _tasks(case) == {"A": 5, "B": 15}


def test_dominant_resource_fairness_counts_weights_and_passes_over_who_does_not_fit() -> None:
    case = {"capacity": {"cpu": 12, "mem_gb": 100}, "demands": {"A": {"cpu": 1}, "B": {"cpu": 1}}}
    assert _tasks(case | {"weights": {"A": 2, "B": 1}}) == {"A": 8, "B": 4}
    case = {"capacity": {"cpu": 12, "mem_gb": 100}, "demands": {"A": {"cpu": 13}, "B": {"cpu": 5}}}
    assert _tasks(case | {"weights": {"A": 1, "B": 1}}) == {"A": 0, "B": 2}


def _tasks(case: dict[str, Any]) -> dict[str, int]:
    """How many tasks of each queue run at once."""
    units = {"cpu": "cpu", "r1": "cpu", "mem_gb": "memory", "r2": "memory"}
    scale = {"cpu": 1000, "memory": 2**30}

    def amounts(asked: dict[str, int]) -> Resources:
        return Resources.of({units[name]: amount * scale[units[name]] for name, amount in asked.items()})

    node = Node("node", "any", amounts(case["capacity"]))
    weights = sorted(case["weights"].items())
    queues = tuple(Queue(name.lower(), weight=float(weight)) for name, weight in weights)
    specs = [
        JobSpec(name.lower(), (Configuration("any", 1, amounts(asked)),)) for name, asked in case["demands"].items()
    ]
    arrivals = tuple(Arrival(0.0, spec, HOUR) for spec in specs for _ in range(30))
    work = Workload("made for a test", 0.0, (node,), queues, arrivals)
    table = run(work, "drf", interval=60.0, horizon=30.0).table("queues")
    return {
        str(name).upper(): int(running)
        for name, running in zip(table.values("queue"), table.numbers("running"), strict=True)
    }

"""A replay as its users see it: exact small cases, and the fixtures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from simulations.clock import Ending
from simulations.faults import ListedFaults, Outage
from simulations.judging.evenness import jain_index
from simulations.replay import ReplayOptions, Standing, replay
from simulations.scenario import load_scenario
from simulations.shrinking import on_every_nth_node
from simulations.sizing import Sizing
from simulations.summary import distribution
from simulations.synthetic import generate, make_faults
from simulations.traces import openb, philly
from simulations.workload import Arrival
from tests.simulations.worlds import node, on, spec, workload

FIXTURES = Path(__file__).parent / "fixtures"


def test_one_job_alone() -> None:
    """Submitted at 70 s, started by the round at 120 s, done 500 s later."""
    made = workload([node("a")], [Arrival(70.0, spec(on(cores=8, gpus=1)), 500.0)])
    result = replay(made, ReplayOptions(interval_seconds=60.0))
    jobs = result.table("jobs")
    assert result.ending is Ending.FINISHED
    assert jobs.numbers("wait_s").tolist() == [50.0]
    assert jobs.numbers("completion_s").tolist() == [550.0]
    assert jobs.numbers("slowdown").tolist() == [1.1]
    assert result.summary["jobs"]["makespan_s"] == 550.0
    assert result.summary["run"]["end_s"] == 660.0, "the replay ends with the round after the last completion"
    assert result.summary["utilization"]["to_the_end"]["cpu"] == pytest.approx(500 / 660, rel=1e-12)
    assert result.summary["utilization"]["to_the_end"]["gpu"] == pytest.approx(0.5 * 500 / 660, rel=1e-12)
    by_flavor = result.summary["utilization"]["by_flavor"]["t4"]
    assert by_flavor["cpu"] == {"mean": pytest.approx(540 / 660), "peak": 1.0}, "all 8 cores, from 120 s to 660 s"
    assert by_flavor["gpu"]["peak"] == 0.5


def test_without_an_interval_rounds_are_where_something_happens() -> None:
    """The second job fits beside the first, the third only once that is done; the fourth when it comes."""
    arrivals = [
        Arrival(time, spec(on(cores=cores)), 100.0) for time, cores in ((5.5, 4), (7.25, 4), (7.25, 4), (400.0, 8))
    ]
    result = replay(workload([node("a")], arrivals), ReplayOptions(interval_seconds=0.0))
    assert result.table("jobs").numbers("first_start_s").tolist() == [5.5, 7.25, 105.5, 400.0]
    assert result.table("rounds").numbers("time_s").tolist() == [0.0, 5.5, 7.25, 105.5, 107.25, 205.5, 400.0]
    assert result.ending is Ending.FINISHED
    assert result.summary["run"]["end_s"] == 500.0


def test_rounds_in_which_nothing_can_change_are_skipped() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 50.0), Arrival(1e6, spec(on()), 1e6)])
    result = replay(made, ReplayOptions(interval_seconds=10.0))
    assert result.summary["jobs"]["by_state"] == {"succeeded": 2}
    assert len(result.table("rounds")) < 12


def test_a_lost_node_costs_the_time_until_the_next_round_and_the_restart() -> None:
    """Two nodes, one job: its node is lost at 100 s, the round at 120 s starts it again on the other."""
    made = workload([node("a"), node("b")], [Arrival(0.0, spec(on(), restart_cost=10.0), 300.0)])
    for lost in ("a", "b"):
        result = replay(made, ReplayOptions(interval_seconds=60.0), faults=ListedFaults([Outage(lost, 100.0, 1000.0)]))
        jobs = result.table("jobs")
        assert jobs.values("state") == ["succeeded"]
        if jobs.numbers("preemptions")[0]:
            assert jobs.numbers("completion_s").tolist() == [120.0 + 10.0 + 200.0]
            assert result.summary["preemptions"]["stopped_by_reason"] == {} or (
                "node_lost" in result.summary["preemptions"]["stopped_by_reason"]
            )
            return
    pytest.fail("the job ran on neither node")


def test_a_job_that_fits_nowhere_waits_and_says_so() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on(cores=99)), 50.0), Arrival(0.0, spec(on()), 50.0)])
    result = replay(made, ReplayOptions())
    assert result.ending is Ending.STALLED
    assert result.summary["jobs"]["by_state"] == {"pending": 1, "succeeded": 1}


def test_the_horizon_ends_a_replay_with_jobs_running() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 5000.0)])
    result = replay(made, ReplayOptions(interval_seconds=60.0, horizon_seconds=600.0))
    assert result.ending is Ending.HORIZON
    assert result.summary["jobs"]["by_state"] == {"running": 1}
    assert result.summary["run"]["end_s"] == 600.0
    assert math.isnan(result.table("jobs").numbers("completion_s")[0])


def test_two_queues_share_a_full_node_by_weight() -> None:
    """Each queue always wants the whole node; over a long time both get half of it."""
    arrivals = [Arrival(0.0, spec(on(cores=8), queue=name), 40_000.0) for name in ("main", "other") for _ in range(2)]
    made = workload([node("a")], arrivals, ("main", "other"))
    result = replay(made, ReplayOptions(interval_seconds=150.0, horizon_seconds=30_000.0))
    for name in ("main", "other"):
        assert result.summary["queues"][name]["fair_share"] == pytest.approx(0.5, abs=1e-3)
        assert result.summary["queues"][name]["actual_share"] == pytest.approx(0.5, abs=0.1)
    assert result.summary["fairness"]["jain_index"] > 0.97


def test_progress_is_told_after_each_round() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 100.0), Arrival(500.0, spec(on()), 100.0)])
    seen: list[Standing] = []
    result = replay(made, ReplayOptions(), on_round=seen.append)
    assert len(seen) == len(result.table("rounds"))
    assert [standing.jobs_done for standing in seen] == sorted(standing.jobs_done for standing in seen)
    assert {standing.jobs_expected for standing in seen} == {2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ReplayOptions(interval_seconds=-1.0), "interval: must be"),
        (ReplayOptions(interval_seconds=math.inf), "interval: must be"),
        (ReplayOptions(horizon_seconds=-1.0), "horizon: must be"),
        (ReplayOptions(policy=Policy(fairness=-1.0)), "fairness: must be"),
    ],
)
def test_wrong_options_are_refused_by_field(options: ReplayOptions, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replay(workload([node("a")], []), options)


@pytest.mark.parametrize(
    ("arrival", "words"),
    [
        (Arrival(0.0, spec(on()), 0.0), r"arrivals\[0\].duration: must be"),
        (Arrival(-1.0, spec(on()), 1.0), r"arrivals\[0\].time: must be"),
        (Arrival(0.0, spec(on(), queue="nobody"), 1.0), r"arrivals\[0\].spec.queue: 'nobody' is not a queue"),
        (Arrival(0.0, spec(on(throughput=-1.0)), 1.0), r"arrivals\[0\].spec.configurations\[0\].throughput"),
    ],
)
def test_a_wrong_workload_is_refused_by_field(arrival: Arrival, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replay(workload([node("a")], [arrival]), ReplayOptions())


def test_a_workload_without_jobs_ends_at_once() -> None:
    result = replay(workload([node("a")], []), ReplayOptions())
    assert result.ending is Ending.FINISHED
    assert result.summary["jobs"]["wait_s"]["mean"] is None
    json.dumps(result.summary, allow_nan=False)


def test_the_fixtures_replay_to_the_end() -> None:
    for made in (openb.read(FIXTURES / "openb"), philly.read(FIXTURES / "philly")):
        result = replay(made, ReplayOptions(interval_seconds=60.0))
        assert result.summary["jobs"]["by_state"] == {"succeeded": len(made.arrivals)}
        assert result.summary["workload"]["dropped"] == made.dropped


def test_a_workload_on_every_second_node_keeps_what_still_fits() -> None:
    nodes = [node("a", gpus=2), node("b", gpus=4), node("c", gpus=4), node("d", "a100"), node("e", "a100")]
    arrivals = [
        Arrival(0.0, spec(on(gpus=1, replicas=6)), 100.0),
        Arrival(1.0, spec(on(gpus=1, replicas=7)), 100.0),
        Arrival(2.0, spec(on(gpus=4), on("a100", throughput=4.0, replicas=3, gpus=1)), 100.0),
        Arrival(3.0, spec(on(gpus=0.4, replicas=13)), 100.0),
    ]
    made = on_every_nth_node(workload(nodes, arrivals), 2)
    assert [member.name for member in made.nodes] == ["a", "c", "d"]
    assert made.dropped == {"fits_no_node": 2}
    assert [(arrival.time, arrival.duration) for arrival in made.arrivals] == [(0.0, 100.0), (2.0, 400.0)]
    assert [c.flavor for c in made.arrivals[1].spec.configurations] == ["t4"]
    assert replay(made, ReplayOptions()).summary["jobs"]["by_state"] == {"succeeded": 2}


def test_twice_the_load_is_the_same_jobs_in_half_the_time() -> None:
    arrivals = [Arrival(time, spec(on()), 100.0) for time in (10.0, 20.0, 60.0)]
    made = replace(workload([node("a")], arrivals), start=10.0)
    assert [arrival.time for arrival in made.with_load(2.0).arrivals] == [10.0, 15.0, 35.0]
    assert [arrival.duration for arrival in made.with_load(2.0).arrivals] == [100.0] * 3
    assert made.with_load(1.0) is made


def test_quotas_shrink_with_the_nodes_of_their_flavor() -> None:
    made = workload([node(f"t{n}", gpus=4) for n in range(4)] + [node("a", "a100")], [])
    quotas = (Quota("a100", "gpu", 1000), Quota("t4", "cpu", 7_000, 3_000, 0), Quota("t4", "gpu", 5_000, None, 3_000))
    found = on_every_nth_node(replace(made, queues=(Queue("q", quotas=quotas),)), 2)
    assert found.queues[0].quotas == (
        Quota("a100", "gpu", 1000), Quota("t4", "cpu", 3_500, 1_500, 0), Quota("t4", "gpu", 2_000, None, 2_000),
    )  # fmt: skip
    assert found.notes[-1].endswith("Quotas are scaled likewise.")


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_large_scenario_in_small(spread: float) -> None:
    """Jobs of `large` that are alike make few rows, others one each; every round is certified and timed."""
    sizing = Sizing(nodes=60, jobs_at_start=3000, arrivals_per_hour=600.0, duration_factor=0.1, job_spread=spread)
    scenario = sizing.applied_to(load_scenario("large"))
    made = generate(scenario, 3)
    options = ReplayOptions(scenario.make_policy(), scenario.interval_seconds, horizon_seconds=1000.0, seed=3)
    result = replay(made, options, faults=make_faults(scenario, made, 3))
    rounds = result.table("rounds")
    assert set(rounds.values("outcome")) == {"optimal"}
    assert set(rounds.values("status")) == {"optimal"}
    assert rounds.numbers("gap").max() <= options.policy.gap
    assert rounds.numbers("live")[0] >= 3000
    assert (rounds.numbers("solve_s") > 0).all()
    assert rounds.numbers("rows")[0] >= 2500 if spread else rounds.numbers("rows")[0] <= 600
    assert result.summary["jobs"]["by_state"]["succeeded"] > 50


# --- figures --------------------------------------------------------------------------------------------------------


def test_distributions_leave_out_what_is_not_there() -> None:
    found = distribution(np.array([1.0, math.nan, 3.0, 2.0]))
    assert (found["count"], found["mean"], found["p50"], found["max"]) == (3, 2.0, 2.0, 3.0)
    assert distribution(np.array([math.nan]))["mean"] is None


def test_jain_index_has_its_known_values() -> None:
    assert jain_index([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_index([]) is None

"""Worlds that are not ideal: exact small cases of each condition, and random worlds under all of them together."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.policy import Policy
from simulations.clock import Ending
from simulations.conditions import Conditions
from simulations.draws import normal, uniform
from simulations.faults import ListedFaults, NoFaults, Outage, RandomFaults, read_outages
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.restarts import MeasuredCosts, read_costs
from simulations.workload import Arrival, Workload
from tests.simulations.test_swarm import can_run, fingerprint, worlds
from tests.simulations.worlds import node, on, spec, workload

BY_EVENTS = ReplayOptions(Policy(minimum_run_seconds=0.0), interval_seconds=0.0, scheduler="fifo", timings=False)


def completions(made: Workload, options: ReplayOptions, *outages: Outage) -> list[float]:
    jobs = replay(made, options, faults=ListedFaults(outages)).table("jobs")
    return [float(seconds) for seconds in jobs.numbers("completion_s")]


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_draws_depend_on_what_they_are_for_and_look_random() -> None:
    found = np.array([uniform(7, 1, job, 0) for job in range(20_000)])
    assert uniform(7, 1, 3, 0) == found[3]
    assert uniform(8, 1, 3, 0) != found[3]
    assert found.min() >= 0
    assert found.max() < 1
    assert np.abs(np.histogram(found, 10, (0, 1))[0] - 2000).max() < 200
    assert abs(float(np.corrcoef(found[1:], found[:-1])[0, 1])) < 0.03
    bell = np.array([normal(7, 2, job) for job in range(20_000)])
    assert abs(bell.mean()) < 0.03
    assert bell.std() == pytest.approx(1, abs=0.03)


def test_measured_costs_are_drawn_between_their_percentiles() -> None:
    costs = MeasuredCosts((0.0, 10.0, 40.0))
    assert costs.mean == 15.0
    drawn = np.array([costs.drawn(1, job, 1) for job in range(10_000)])
    assert drawn.mean() == pytest.approx(15.0, rel=0.03)
    assert (drawn < 10).mean() == pytest.approx(0.5, abs=0.02)


def test_a_file_of_measured_costs_is_read(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"percentiles": [1, 2, 3]}))
    assert read_costs(f"measured:{file}") == MeasuredCosts((1.0, 2.0, 3.0), "costs.json")
    assert read_costs("12.5") == 12.5


@pytest.mark.parametrize(
    ("text", "content", "words"),
    [
        ("soon", None, "must be seconds from 0"),
        ("-1", None, "must be seconds from 0"),
        ("measured:{}", None, "cannot be read as JSON"),
        ("measured:{}", "[1, 2]", "must hold an object with a list"),
        ("measured:{}", '{"percentiles": [3, 1]}', "must not fall"),
        ("measured:{}", '{"percentiles": [3]}', "two percentiles at least"),
    ],
)
def test_wrong_costs_say_what_is_wrong(tmp_path: Path, text: str, content: str | None, words: str) -> None:
    file = tmp_path / "costs.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInput, match=f"restart-cost: .*{words}"):
        read_costs(text.format(file))


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (Conditions(interference=-1.0), "interference: must be"),
        (Conditions(thinking_seconds=math.nan), "thinking-time: must be"),
        (Conditions(push_loss=1.0), "push-loss: must be a part"),
        (Conditions(push_delay_seconds=math.inf), "push-delay: must be"),
    ],
)
def test_wrong_conditions_are_refused_by_name(conditions: Conditions, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replay(workload([node("a")], []), ReplayOptions(conditions=conditions))


# --- one condition at a time ----------------------------------------------------------------------------------------


def test_a_restart_costs_what_is_drawn_for_it() -> None:
    """Two outages of the only node: each start after the first costs 7 s, whatever the job says."""
    made = workload([node("a")], [Arrival(0.0, spec(on(), restart_cost=100.0), 50.0)])
    options = replace(BY_EVENTS, conditions=Conditions(restart_costs=MeasuredCosts((7.0, 7.0))))
    outages = (Outage("a", 10.0, 5.0), Outage("a", 20.0, 5.0))
    # 10 s done; from 15 s on a restart of which 5 s pass; from 25 s on the whole 7 s, and the 40 s that are left
    assert completions(made, options, *outages) == [25.0 + 7.0 + 40.0]


def test_jobs_on_one_node_slow_each_other_down() -> None:
    """Alone for 100 s; then two, each at half speed; the first is done at 300 s, and the other goes on alone."""
    arrivals = [
        Arrival(0.0, spec(on()), 200.0),
        Arrival(100.0, spec(on()), 150.0),
        Arrival(0.0, spec(on("a100")), 50.0),
    ]
    made = workload([node("a"), node("far", "a100")], arrivals)
    result = replay(made, replace(BY_EVENTS, conditions=Conditions(interference=1.0)))
    jobs = result.table("jobs")
    ends = dict(zip(jobs.numbers("submit_s").tolist(), jobs.numbers("end_s").tolist(), strict=True))
    assert ends[100.0] == 300.0 + 50.0
    assert sorted(jobs.numbers("end_s").tolist()) == [50.0, 300.0, 350.0]


def test_a_scheduler_that_thinks_starts_jobs_later_and_is_asked_again_for_what_came_meanwhile() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 100.0), Arrival(3.0, spec(on()), 100.0)])
    result = replay(made, replace(BY_EVENTS, conditions=Conditions(thinking_seconds=10.0)))
    assert result.table("jobs").numbers("first_start_s").tolist() == [10.0, 20.0]
    per_job = replay(made, replace(BY_EVENTS, conditions=Conditions(thinking_seconds_per_job=2.0)))
    assert per_job.table("jobs").numbers("first_start_s").tolist() == [2.0, 7.0]


def test_nodes_that_learn_late_start_late_and_keep_what_ends_meanwhile() -> None:
    """One node, jobs of the whole node: each waits 5 s for its start to arrive."""
    made = workload([node("a")], [Arrival(0.0, spec(on(cores=8)), 100.0), Arrival(50.0, spec(on(cores=8)), 100.0)])
    found = replay(made, replace(BY_EVENTS, conditions=Conditions(push_delay_seconds=5.0)))
    assert found.table("jobs").numbers("end_s").tolist() == [105.0, 210.0]
    assert found.summary["run"]["conditions"]["pushes_lost"] == 0


def test_a_lost_message_is_repaired_by_the_newest_state() -> None:
    """A gang over two nodes starts once both know of it."""
    made = workload([node("a", gpus=1), node("b", gpus=1)], [Arrival(0.0, spec(on(replicas=2, gpus=1)), 100.0)])
    ends = set()
    for seed in range(12):
        conditions = Conditions(push_loss=0.5, push_repair_seconds=30.0)
        result = replay(made, replace(BY_EVENTS, conditions=conditions, seed=seed, full_check_every=1))
        lost = result.summary["run"]["conditions"]["pushes_lost"]
        end = result.table("jobs").numbers("end_s").tolist()[0]
        assert end in (100.0, 130.0)
        assert lost > 0 or end == 100.0
        ends.add(end)
    assert ends == {100.0, 130.0}


def test_durations_are_told_as_asked() -> None:
    arrivals = [
        Arrival(0.0, replace(spec(on()), expected_duration_seconds=30.0), 100.0),
        Arrival(0.0, spec(on()), 50.0),
    ]
    made = workload([node("a")], arrivals)
    assert [a.spec.expected_duration_seconds for a in made.with_durations("none").arrivals] == [None, None]
    assert [a.spec.expected_duration_seconds for a in made.with_durations("true").arrivals] == [100.0, 50.0]
    assert made.with_durations("estimated") is made
    many = workload([node("a")], [Arrival(0.0, spec(on()), 100.0)] * 4000).with_durations("true", 0.5, 3)
    factors = np.array([a.spec.expected_duration_seconds for a in many.arrivals]) / 100.0
    assert np.median(factors) == pytest.approx(1, abs=0.05)
    assert np.log(factors).std() == pytest.approx(0.5, abs=0.03)
    assert "sigma 0.5" in many.notes[-1]
    for told, sigma, words in (("perhaps", 0.0, "durations"), ("none", 1.0, "goes with"), ("true", -1.0, "from 0 to")):
        with pytest.raises(InvalidInput, match=words):
            made.with_durations(told, sigma)


def test_outages_are_read_from_a_list(tmp_path: Path) -> None:
    file = tmp_path / "outages.csv"
    file.write_text("node,start_s,seconds\na,10,5\nb,0.5,1e3\n")
    faults = read_outages(file, ["a", "b"], 100.0)
    assert faults.next_outage("a", 0.0) == Outage("a", 110.0, 5.0)
    assert faults.next_outage("b", 0.0) == Outage("b", 100.5, 1000.0)
    assert faults.told() == {"kind": "listed", "outages": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,start\n", "outages.csv:1: must be node,start_s,seconds"),
        ("node,start_s,seconds\na,1\n", "outages.csv:2: must hold a node and two numbers"),
        ("node,start_s,seconds\na,1,1\na,soon,2\n", "outages.csv:3: must hold a node and two numbers"),
        ("node,start_s,seconds\nc,1,2\n", "outages.csv:2: names node 'c'"),
        ("node,start_s,seconds\na,1,-2\n", r"outages.csv:2.seconds: must be a finite number above 0"),
        ("node,start_s,seconds\na,1,9\na,5,9\n", "of node 'a' overlap"),
    ],
)
def test_a_wrong_list_of_outages_names_its_line(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "outages.csv"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        read_outages(file, ["a", "b"], 0.0)


# --- all of them together -------------------------------------------------------------------------------------------

conditions = st.builds(
    Conditions,
    restart_costs=st.sampled_from([None, MeasuredCosts((0.0, 5.0, 60.0))]),
    interference=st.sampled_from([0.0, 0.2]),
    thinking_seconds=st.sampled_from([0.0, 0.0, 7.0, 45.0]),
    thinking_seconds_per_job=st.sampled_from([0.0, 0.5]),
    push_delay_seconds=st.sampled_from([0.0, 2.0, 50.0]),
    push_loss=st.sampled_from([0.0, 0.1, 0.5]),
    push_repair_seconds=st.sampled_from([20.0, 90.0]),
)


def play(world: Workload, outages: list[Outage], found: Conditions, scheduler: str, interval: float) -> ReplayResult:
    options = ReplayOptions(
        Policy(minimum_run_seconds=60.0, hysteresis_seconds=60.0),
        interval_seconds=interval,
        horizon_seconds=50_000.0,
        full_check_every=1,
        timings=False,
        scheduler=scheduler,
        conditions=found,
    )
    return replay(world, options, faults=ListedFaults(outages))


@given(
    world=worlds(),
    found=conditions,
    scheduler=st.sampled_from(["allocator", "fifo", "las"]),
    interval=st.sampled_from([0.0, 30.0]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_nothing_breaks_under_any_conditions(
    world: tuple[Workload, list[Outage]], found: Conditions, scheduler: str, interval: float
) -> None:
    """Every invariant holds, in every round; with rounds at an interval, every job that can run ends."""
    result = play(*world, found, scheduler, interval)
    possible = sum(can_run(arrival, world[0].nodes) for arrival in world[0].arrivals)
    if interval:
        assert result.summary["jobs"]["by_state"].get("succeeded", 0) == possible
        assert result.ending is (Ending.FINISHED if possible == len(world[0].arrivals) else Ending.STALLED)


@given(world=worlds(), found=conditions)
@settings(max_examples=4, deadline=None, derandomize=True)
def test_conditions_are_drawn_the_same_each_time(world: tuple[Workload, list[Outage]], found: Conditions) -> None:
    assert fingerprint(play(*world, found, "fifo", 30.0)) == fingerprint(play(*world, found, "fifo", 30.0))


def test_what_the_world_was_like_stands_in_the_summary() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 10.0)])
    faults = RandomFaults(["a"], seed=1, mean_up_seconds=1e6, mean_down_seconds=10.0)
    run = replay(made, replace(BY_EVENTS, conditions=Conditions(interference=0.5)), faults=faults).summary["run"]
    assert run["outages"] == {"kind": "random", "mean_up_s": 1e6, "mean_down_s": 10.0}
    assert run["conditions"]["interference"] == 0.5
    assert replay(made, BY_EVENTS, faults=NoFaults()).summary["run"]["outages"] == {"kind": "none"}

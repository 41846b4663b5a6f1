"""Target shares of Gavel's and Themis's policies, against worked answers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.resources import Resources
from simulations.schedulers.finish_times import finish_time, finish_time_by_throughput
from simulations.schedulers.kinds import Floats, Kinds
from simulations.schedulers.targets import Asking, Targets, first_come, max_min, max_min_by_throughput

CASES = os.environ.get("ALLOCATOR_CASES")


def asking(
    speeds: Sequence[Mapping[str, float]],
    nodes: Mapping[str, int],
    *,
    gpus: list[int] | None = None,
    weights: list[float] | None = None,
    seconds: list[float] | None = None,
    submitted: list[float] | None = None,
    time: float = 0.0,
) -> Asking:
    """Jobs with these throughputs by flavor, on so many nodes of one GPU of each flavor."""
    cluster = tuple(
        sorted(
            (
                Node(f"{flavor}-{number:03}", flavor, Resources.of({"gpu": 1000}))
                for flavor, count in nodes.items()
                for number in range(count)
            ),
            key=lambda node: node.name,
        )
    )
    jobs = []
    for number, speed in enumerate(speeds):
        demand, replicas = Resources.of({"gpu": 1000}), 1 if gpus is None else gpus[number]
        spec = JobSpec(
            "all",
            tuple(Configuration(flavor, replicas, demand, value) for flavor, value in speed.items()),
            weight=1.0 if weights is None else weights[number],
            expected_duration_seconds=None if seconds is None else seconds[number],
        )
        jobs.append(Job(f"job-{number}", number, spec, 0.0 if submitted is None else submitted[number]))
    kinds = Kinds.on(cluster)
    return Asking(tuple(jobs), kinds, kinds.of(tuple(jobs)), kinds.capacity, time)


def throughput(found: Asking, shares: Floats) -> list[float]:
    """What each job gets, in the unit of its throughputs."""
    return [float(value) for value in (found.kinds.speed[found.kind] * shares).sum(axis=1)]


def require_feasible(found: Asking, shares: Floats) -> None:
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) <= 1 + 1e-9).all()
    used = (shares[:, :, None] * found.kinds.demand[found.kind]).sum(axis=0)
    assert (used <= found.capacity * (1 + 1e-9)).all()


@pytest.mark.parametrize("policy", [max_min, max_min_by_throughput])
def test_three_jobs_that_are_alike_share_two_flavors_alike(policy: Targets) -> None:
    found = asking([{"fast": 3.0, "slow": 1.0}] * 3, {"fast": 1, "slow": 1})
    shares = policy(found)
    require_feasible(found, shares)
    assert shares == pytest.approx(np.full((3, 2), 1 / 3), abs=1e-6)


def test_the_worked_example_of_heterogeneity_aware_max_min() -> None:
    """Narayanan et al., OSDI 2020, section 4.1: every job is a tenth above its equal share or near it."""
    speeds = [{"k80": 1.0, "v100": 4.0}, {"k80": 1.0, "v100": 3.0}, {"k80": 1.0, "v100": 2.0}]
    found = asking(speeds, {"k80": 1, "v100": 1})
    shares = max_min_by_throughput(found)
    require_feasible(found, shares)
    equal = [5 / 2, 4 / 2, 3 / 2]
    ratios = [got / mean for got, mean in zip(throughput(found, shares), equal, strict=True)]
    assert ratios == pytest.approx([8 / 11] * 3, abs=1e-6)
    assert shares[:, 0] == pytest.approx([0.0, 1 / 11, 10 / 11], abs=1e-5)


def test_without_heterogeneity_time_is_equal_whatever_it_is_worth() -> None:
    speeds = [{"k80": 1.0, "v100": 4.0}, {"k80": 1.0, "v100": 3.0}, {"k80": 1.0, "v100": 2.0}]
    found = asking(speeds, {"k80": 1, "v100": 1})
    assert max_min(found).sum(axis=1) == pytest.approx([2 / 3] * 3)


def test_a_gang_of_four_has_a_quarter_of_the_time() -> None:
    found = asking([{"v100": 1.0}, {"v100": 1.0}], {"v100": 4}, gpus=[4, 1])
    shares = max_min(found)
    require_feasible(found, shares)
    # the single one has all of its time, and the gang what is left: max-min level after level
    assert shares[:, 0] == pytest.approx([3 / 4, 1.0])
    assert max_min(asking([{"v100": 1.0}] * 3, {"v100": 4}, gpus=[4, 4, 4]))[:, 0] == pytest.approx([1 / 3] * 3)


def test_weights_count() -> None:
    found = asking([{"a": 1.0, "b": 1.0}] * 3, {"a": 1, "b": 1}, weights=[3.0, 2.0, 1.0])
    assert max_min(found).sum(axis=1) == pytest.approx([1.0, 2 / 3, 1 / 3])
    by_throughput = max_min_by_throughput(found)
    require_feasible(found, by_throughput)
    assert min(by_throughput.sum(axis=1) / [3, 2, 1]) == pytest.approx(1 / 3, abs=1e-6)


def test_jobs_that_run_on_one_flavor_only_are_told_apart() -> None:
    found = asking([{"a": 1.0}, {"a": 1.0}, {"a": 1.0, "b": 1.0}], {"a": 1, "b": 1})
    shares = max_min(found)
    require_feasible(found, shares)
    assert min(shares.sum(axis=1)) == pytest.approx(0.5, abs=1e-6)


def test_first_come_takes_the_fastest_flavor_with_room_and_stops_at_the_first_who_finds_none() -> None:
    speeds = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0}, {"b": 1.0}, {"a": 1.0, "b": 1.0}]
    found = asking(speeds, {"a": 2, "b": 1})
    assert first_come(found).tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]


def test_finish_time_gives_more_to_who_is_late() -> None:
    """Two of 100 s on one GPU, of which one has waited for 100 s: it gets x with
    (100 + 100 / x) / 200 = (100 / (1 - x)) / 200, so x^2 + x = 1.
    """
    found = asking([{"a": 1.0}] * 2, {"a": 1}, seconds=[100.0, 100.0], submitted=[0.0, 100.0], time=100.0)
    for policy in (finish_time, finish_time_by_throughput):
        shares = policy(found)
        require_feasible(found, shares)
        assert shares[:, 0] == pytest.approx([(5**0.5 - 1) / 2, (3 - 5**0.5) / 2], abs=2e-3)


def test_finish_time_of_jobs_that_just_came_is_max_min() -> None:
    speeds = [{"k80": 0.5, "p100": 1.0, "v100": 2.0}, {"k80": 1.0, "p100": 2.0, "v100": 3.0}]
    found = asking(speeds, {"k80": 3, "p100": 2, "v100": 1}, seconds=[150.0, 500 / 3])
    assert throughput(found, finish_time_by_throughput(found)) == pytest.approx([1.419355, 2.580645], abs=1e-4)


@pytest.mark.parametrize("policy", [max_min, max_min_by_throughput, first_come, finish_time, finish_time_by_throughput])
def test_nobody_and_nowhere(policy: Targets) -> None:
    assert policy(asking([], {"a": 1})).shape == (0, 1)
    assert policy(asking([{"b": 1.0}], {"a": 1})).tolist() == [[0.0]]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.data())
def test_shares_are_feasible_and_nobody_is_below_an_equal_part(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    nodes = data.draw(st.fixed_dictionaries({flavor: st.integers(1, 4) for flavor in "abc"}))
    speeds = [data.draw(st.fixed_dictionaries({flavor: st.integers(1, 9) for flavor in "abc"})) for _ in range(count)]
    seconds = [float(data.draw(st.integers(1, 100_000))) for _ in range(count)]
    found = asking(speeds, nodes, seconds=seconds)
    total = sum(nodes.values())
    for policy in (max_min, max_min_by_throughput, finish_time, finish_time_by_throughput):
        require_feasible(found, policy(found))
    got = throughput(found, max_min_by_throughput(found))
    for speed, reached in zip(speeds, got, strict=True):
        equal = sum(speed[flavor] * nodes[flavor] for flavor in "abc") / max(total, count)
        assert reached >= equal * (1 - 1e-6)


def _published() -> list[dict[str, Any]]:
    assert CASES is not None
    document = json.loads((Path(CASES) / "gavel_policy_unit_inputs.json").read_text())
    cases: list[dict[str, Any]] = document["cases"]
    return cases


@pytest.mark.skipif(CASES is None, reason="ALLOCATOR_CASES is not set")
@pytest.mark.parametrize(
    ("policy", "name"),
    [(max_min_by_throughput, "max_min_fairness_perf"), (finish_time_by_throughput, "finish_time_fairness_perf")],
)
def test_the_same_throughputs_as_the_published_implementation(policy: Targets, name: str) -> None:
    cases = [case for case in _published() if case["policy"] == name]
    assert cases
    for case in cases:
        speeds = [case["throughputs"][job] for job in sorted(case["throughputs"])]
        steps = case["extra"].get("num_steps_remaining")
        left = (
            None
            if steps is None
            else [steps[job] / max(speed.values()) for job, speed in zip(sorted(steps), speeds, strict=True)]
        )
        found = asking(speeds, case["cluster_spec"], seconds=left)
        expected = [case["gavel_effective_throughput"][job] for job in sorted(case["throughputs"])]
        assert throughput(found, policy(found)) == pytest.approx(expected, abs=1e-4)

"""One row for identical jobs changes nothing but the size of the problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.policy import Policy
from allocator.formulation import Problem, build
from allocator.formulation.grouping import LEAST_BUDGET, Candidates, group
from allocator.solvers import Status, solve
from tests.formulation.facts import job, node, snapshot, way
from tests.formulation.instances import problems


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems(alphas=(0.0, 0.5, 1.0, 2.0, float("inf")), limited=False))
def test_grouped_and_ungrouped_problems_have_the_same_optimum(problem: Problem) -> None:
    rows = np.repeat(np.arange(problem.row_count), problem.count)
    apart = Problem.from_arrays(
        throughput=problem.throughput[rows],
        flavor=problem.flavor[rows],
        demand=problem.demand[rows],
        capacity=problem.capacity,
        weight=problem.weight[rows],
        fairness=problem.fairness,
    )
    together, separate = solve(problem, gap=1e-6), solve(apart, gap=1e-6)
    assert together.status is separate.status is Status.OPTIMAL
    assert together.objective == pytest.approx(separate.objective, rel=1e-5, abs=1e-5)


def test_equal_specs_are_one_row_whether_or_not_they_are_the_same_object() -> None:
    shared = (way(), way("v100", speed=2.0))
    jobs = [job(1, *shared), job(2, way(), way("v100", speed=2.0)), job(3, way("v100")), job(4, *shared)]
    formulation = build(snapshot([node("n1"), node("n2", "v100")], jobs), Policy())
    assert formulation.groups == (("j1", "j2", "j4"), ("j3",))
    assert formulation.problem.count.tolist() == [3, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 2.0},
        {"measured": (("a100", 3.0),)},
        {"queue": "other"},
        {"runs_on": ("n1",), "restart_cost_seconds": 60.0},
    ],
)
def test_what_makes_a_difference_makes_a_row(changes: dict[str, object]) -> None:
    ways = (way(), way("v100", speed=2.0))
    jobs = [job(1, *ways), job(2, *ways), job(3, *ways, **changes)]  # type: ignore[arg-type]  # keywords of job()
    formulation = build(snapshot([node("n1"), node("n2", "v100")], jobs), Policy())
    assert formulation.groups == (("j1", "j2"), ("j3",))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"expected_duration_seconds": 5.0},
        {"restart_cost_seconds": 60.0},
        {"runs_on": ("n1",)},
    ],
)
def test_what_makes_no_difference_does_not(changes: dict[str, object]) -> None:
    ways = (way(), way("v100", speed=2.0))
    jobs = [job(1, *ways), job(2, *ways, **changes)]  # type: ignore[arg-type]  # keywords of job()
    formulation = build(snapshot([node("n1"), node("n2", "v100")], jobs), Policy())
    assert formulation.groups == (("j1", "j2"),)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=20))
def test_rows_are_in_order_of_their_first_job_and_jobs_in_order_of_sequence(weights: list[float]) -> None:
    jobs = [job(sequence, weight=weight) for sequence, weight in enumerate(weights)]
    formulation = build(snapshot([node("n1")], jobs), Policy())
    sequences = [[int(name[1:]) for name in members] for members in formulation.groups]
    assert all(row == sorted(row) for row in sequences)
    assert [row[0] for row in sequences] == sorted(row[0] for row in sequences)
    assert all(name in formulation.groups[row] for name, row in formulation.rows.items())
    assert len(formulation.rows) == len(jobs)


@pytest.mark.parametrize(
    ("given_budget", "budget"),
    [(math.inf, 1.0), (math.nan, LEAST_BUDGET), (1e300, 1.0), (0.0, LEAST_BUDGET), (1e-310, LEAST_BUDGET), (0.5, 0.5)],
)
def test_a_budget_is_a_part_of_the_whole_whatever_it_was_made_from(given_budget: float, budget: float) -> None:
    zero, one, nowhere = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64), np.full(1, -1, dtype=np.int64)
    alone = Candidates(zero, nowhere, one, one, np.zeros(1), np.array([given_budget]), zero)
    assert group(alone, 3600.0).weight.tolist() == [budget]

"""Answers against an independent statement of the problem, and against the conditions that mark an optimum."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings

from allocator.formulation import Limit, LimitPart, Problem, dual_bound
from allocator.formulation.certificate import gap_unit
from allocator.formulation.fairness import slope
from allocator.formulation.response import job_costs
from allocator.solvers import Status, solve
from tests.formulation.instances import problems, single_job
from tests.formulation.test_certificate import assert_no_overuse

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever cvxpy's optional parts say while they are imported
    from tests.solvers.oracle import optimum


@settings(max_examples=80, deadline=None, derandomize=True)
@given(problems())
def test_objective_and_bound_enclose_the_optimum_that_another_formulation_finds(problem: Problem) -> None:
    solution = solve(problem, gap=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = optimum(problem)
    assert solution.status is Status.OPTIMAL
    assert_no_overuse(problem, solution.shares)
    slack = 1e-6 * max(1.0, abs(best), gap_unit(problem))
    assert solution.objective == pytest.approx(best, abs=slack)
    assert solution.objective <= solution.bound
    assert best <= solution.bound + slack


@settings(max_examples=120, deadline=None, derandomize=True)
@given(problems(alphas=(0.0, 0.5, 1.0, 2.0)))
def test_answers_satisfy_the_optimality_conditions(problem: Problem) -> None:
    """Prices only where something is used up; whoever has share gets marginal value for cost, no column offers more."""
    solution = solve(problem, gap=1e-6)
    near = 2e-3
    assert (solution.prices >= 0).all()
    assert (solution.limit_prices >= 0).all()
    total = problem.total_weight
    idle = problem.capacity - problem.usage(solution.shares)
    assert (solution.prices * idle <= near * total).all()
    assert (solution.limit_prices * (problem.limit_amount - problem.limit_usage(solution.shares)) <= near * total).all()
    worth = problem.weight * slope(problem.utilities(solution.shares), problem.fairness)
    surplus = worth[:, None] * problem.utility - job_costs(problem, solution.prices, solution.limit_prices)
    surplus = np.where(problem.eligible, surplus, 0.0)
    time_price = np.maximum(surplus.max(axis=1), 0.0)
    scale = near * (problem.weight + worth)
    assert (time_price * (1 - solution.shares.sum(axis=1)) <= scale).all()
    assert (solution.shares * (time_price[:, None] - surplus) <= scale[:, None]).all()


@pytest.mark.parametrize("alpha", [0.3, 0.9, 1.0, 1.1, 2.0, 3.0, 8.0])
def test_one_contended_resource_has_the_price_that_calculus_gives(alpha: float) -> None:
    """Three equal jobs of demand 2 share 3 units: u = 1/2, price = total weight u^-alpha du/dC = 3 u^-alpha / 6."""
    problem = Problem.from_arrays(
        throughput=np.full((3, 1), 7.0),
        flavor=np.zeros((3, 1)),
        demand=np.full((3, 1, 1), 2.0),
        capacity=[[3.0]],
        fairness=alpha,
    )
    solution = solve(problem)
    assert solution.shares == pytest.approx(np.full((3, 1), 0.5), rel=1e-5)
    assert solution.prices[0, 0] == pytest.approx(0.5**-alpha / 2, rel=1e-4)


def test_budgets_buy_capacity_at_alpha_one() -> None:
    problem = Problem.from_arrays(
        throughput=np.ones((2, 1)),
        flavor=np.zeros((2, 1)),
        demand=np.full((2, 1, 1), 10.0),
        capacity=[[8.0]],
        weight=[1.0, 3.0],
    )
    solution = solve(problem)
    assert solution.shares[:, 0] == pytest.approx([0.2, 0.6], rel=1e-5)
    assert solution.prices[0, 0] == pytest.approx(0.5, rel=1e-5)


def test_a_limit_that_binds_has_the_price_and_the_capacity_has_none() -> None:
    problem = single_job(capacity=[[100.0]], limits=[Limit.of(0, 0, 1.0, [0])])
    solution = solve(problem)
    assert solution.shares[0, 0] == pytest.approx(0.5, rel=1e-6)
    assert solution.limit_prices[0] == pytest.approx(1.0, rel=1e-4)
    assert solution.prices[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert dual_bound(problem, solution.prices, solution.limit_prices) == pytest.approx(np.log(0.5), abs=1e-6)


def test_a_power_limit_over_two_flavors_is_shared_by_what_a_watt_yields() -> None:
    """Two jobs of equal weight and 10 GPUs; on flavor 0 a GPU takes 700 W, on 1, half as fast, 300 W; 5,600 W for all.

    By hand: a unit of utility takes 7,000 W on flavor 0 and 6,000 on 1, so everybody is on 1 as far as it goes: its 4
    GPUs (1,200 W) yield 0.2, the other 4,400 W on flavor 0 yield 4.4 / 7. Each has half of that. One kW more would
    yield 1 / 7: its price is 2 / 7 over the sum.
    """
    problem = Problem.from_arrays(
        throughput=[[1.0, 0.5]] * 2,
        flavor=[[0, 1]] * 2,
        demand=np.full((2, 2, 1), 10.0),
        capacity=[[100.0], [4.0]],
        limits=[Limit(((0, 0, 0.7), (1, 0, 0.3)), 5.6, [0, 1])],
    )
    solution = solve(problem)
    total = 0.2 + 4.4 / 7
    assert problem.utilities(solution.shares) == pytest.approx([total / 2] * 2, rel=1e-5)
    assert problem.usage(solution.shares)[:, 0] == pytest.approx([4.4 / 0.7, 4.0], rel=1e-4)
    assert solution.limit_prices[0] == pytest.approx(2 / 7 / total, rel=1e-3)
    assert solution.prices[:, 0] == pytest.approx([0.0, (2 / total * 0.5 - 3.0 * 2 / 7 / total) / 10], abs=1e-3)


def test_who_pays_a_surcharge_gets_less_of_what_money_buys() -> None:
    """10 EUR an hour, 1 EUR a GPU, for members of one queue 4: at alpha = 1 each spends half of it, 5 GPUs and 1.25."""
    surcharge = LimitPart(((0, 0, 3.0),), [1])
    problem = Problem.from_arrays(
        throughput=np.ones((2, 1)),
        flavor=np.zeros((2, 1)),
        demand=np.full((2, 1, 1), 10.0),
        capacity=[[100.0]],
        limits=[Limit(((0, 0, 1.0),), 10.0, [0, 1], (surcharge,))],
    )
    solution = solve(problem)
    assert solution.shares[:, 0] == pytest.approx([0.5, 0.125], rel=1e-5)
    assert solution.limit_prices[0] == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 2.0, np.inf])
def test_one_limit_over_everything_is_one_resource(alpha: float) -> None:
    """Three flavors of plenty under one limit, 0.5, 1 and 2 a unit, each job on one: as if all wanted one flavor."""
    random = np.random.default_rng(1)
    demand, weight, units = random.uniform(1, 5, 12), random.uniform(0.5, 2, 12), np.array([0.5, 1.0, 2.0])
    limited = Problem.from_arrays(
        throughput=np.ones((12, 1)),
        flavor=np.arange(12)[:, None] % 3,
        demand=demand[:, None, None],
        capacity=np.full((3, 1), 1e3),
        weight=weight,
        fairness=alpha,
        limits=[Limit(tuple((f, 0, float(unit)) for f, unit in enumerate(units)), 8.0, range(12))],
    )
    plain = Problem.from_arrays(
        throughput=np.ones((12, 1)),
        flavor=np.zeros((12, 1)),
        demand=(demand * units[np.arange(12) % 3])[:, None, None],
        capacity=[[8.0]],
        weight=weight,
        fairness=alpha,
    )
    one, other = solve(limited, gap=1e-6), solve(plain, gap=1e-6)
    assert one.shares == pytest.approx(other.shares, rel=1e-3)
    assert one.limit_prices[0] == pytest.approx(other.prices[0, 0], rel=1e-3)


def test_max_min_weights_divide_utilities_and_what_is_left_over_is_used() -> None:
    """Levels u / w are equal where capacity binds; a job alone on its flavor still gets all it can use."""
    problem = Problem.from_arrays(
        throughput=np.ones((3, 1)),
        flavor=[[0], [0], [1]],
        demand=np.ones((3, 1, 1)),
        capacity=[[0.8], [5.0]],
        weight=[1.0, 3.0, 1.0],
        fairness=np.inf,
    )
    solution = solve(problem)
    assert solution.status is Status.OPTIMAL
    assert solution.objective == pytest.approx(0.2, rel=1e-6)
    assert solution.shares[:, 0] == pytest.approx([0.2, 0.6, 1.0], rel=1e-5)


def test_beyond_the_lowest_level_capacity_raises_the_next_lowest() -> None:
    """The third job sets the lowest level, 0.1. Of the first flavor half is left then: for both others alike, although
    a unit of it would serve job 0 four times better than job 1.
    """
    problem = Problem.from_arrays(
        throughput=np.ones((3, 1)),
        flavor=[[0], [0], [1]],
        demand=[[[1.0]], [[4.0]], [[10.0]]],
        capacity=[[1.0], [1.0]],
        fairness=np.inf,
    )
    assert solve(problem).shares[:, 0] == pytest.approx([0.2, 0.2, 0.1], rel=1e-6)


def test_counts_are_that_many_jobs() -> None:
    problem = single_job(count=[10], capacity=[[5.0]])
    solution = solve(problem)
    assert solution.shares[0, 0] == pytest.approx(0.25, rel=1e-6)
    assert solution.objective == pytest.approx(10 * np.log(0.25), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize(
    "changes",
    [
        {"demand": [[[0.0]]]},
        {"capacity": [[2.0]]},
        {"capacity": [[1e9]]},
        {"capacity": [[1e-6]]},
        {"throughput": [[1e-9]]},
        {"weight": [1e-9]},
        {"count": [1_000_000]},
        {"reference": [1e6]},
    ],
)
def test_degenerate_problems_are_solved(alpha: float, changes: dict[str, object]) -> None:
    problem = single_job(fairness=alpha, **changes)
    solution = solve(problem)
    assert solution.status is Status.OPTIMAL
    assert_no_overuse(problem, solution.shares)
    use = float(problem.demand[0, 0, 0] * problem.count[0])
    assert solution.shares[0, 0] == pytest.approx(min(1.0, problem.capacity[0, 0] / use if use else 1.0), rel=1e-4)


def test_ties_between_columns_and_jobs_are_no_obstacle() -> None:
    problem = Problem.from_arrays(
        throughput=np.ones((20, 4)),
        flavor=np.tile([0, 1, 2, 3], (20, 1)),
        demand=np.ones((20, 4, 2)),
        capacity=np.full((4, 2), 2.0),
    )
    solution = solve(problem)
    assert solution.status is Status.OPTIMAL
    assert solution.shares.sum(axis=1) == pytest.approx(np.full(20, 0.4), rel=1e-5)

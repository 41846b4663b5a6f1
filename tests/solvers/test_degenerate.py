"""Degenerate problems by name: the chain answers each of them optimally, and so does price discovery by itself."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from allocator.formulation import Limit, Problem, certify
from allocator.solvers import Status, solve
from allocator.solvers.price import price_discovery
from tests.formulation.instances import single_job
from tests.solvers.degenerate import DEGENERATE, market
from tests.solvers.samples import FINITE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever cvxpy's optional parts say while they are imported
    from tests.solvers.oracle import assert_feasible, assert_optimal, optimum

GAP = 1e-6


@pytest.mark.parametrize("alpha", FINITE)
@pytest.mark.parametrize("name", DEGENERATE)
def test_the_chain_answers_optimally(name: str, alpha: float) -> None:
    problem = DEGENERATE[name](alpha)
    solution = solve(problem, gap=GAP)
    assert solution.status is Status.OPTIMAL
    assert_optimal(problem, solution.shares, solution.prices, solution.limit_prices, GAP)


@pytest.mark.parametrize("alpha", FINITE)
@pytest.mark.parametrize("name", DEGENERATE)
def test_price_discovery_answers_optimally(name: str, alpha: float) -> None:
    problem = DEGENERATE[name](alpha)
    candidate = price_discovery(problem, 300, GAP)
    found = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
    assert_optimal(problem, found.shares, found.prices, found.limit_prices, GAP)


@pytest.mark.parametrize("name", DEGENERATE)
def test_max_min_reaches_the_highest_level(name: str) -> None:
    problem = DEGENERATE[name](np.inf)
    solution = solve(problem, gap=GAP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = optimum(problem)
    assert solution.status is Status.OPTIMAL
    assert_feasible(problem, solution.shares)
    assert solution.objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    "name", ["every job and every resource alike", "a limit without members", "identical resources"]
)
def test_what_nothing_tells_apart_is_worth_the_same(name: str) -> None:
    """Equal jobs of equal weight: shares and prices are not unique, but the utilities are."""
    problem = DEGENERATE[name](2.0)
    ours, again = solve(problem, gap=1e-8), price_discovery(problem, 300, 1e-8)
    shares = certify(problem, again.shares, again.prices, again.limit_prices).shares
    assert problem.utilities(shares) == pytest.approx(problem.utilities(ours.shares), rel=1e-3)


def test_a_surplus_has_no_prices() -> None:
    for name in ("nothing scarce", "a surplus of everything", "everything is free"):
        problem = DEGENERATE[name](1.0)
        solution = solve(problem, gap=GAP)
        assert not solution.prices.any()
        assert problem.utilities(solution.shares) == pytest.approx(np.ones(problem.row_count), rel=1e-9)


def test_units_change_nothing_but_the_unit_of_prices() -> None:
    large = DEGENERATE["huge and tiny units"](1.0)
    small = Problem.from_arrays(
        throughput=large.throughput * 1e6,
        flavor=large.flavor,
        demand=large.demand * [1e-9, 1e9],
        capacity=large.capacity * [1e-9, 1e9],
    )
    one, other = solve(large, gap=1e-8), solve(small, gap=1e-8)
    assert one.objective == pytest.approx(other.objective, abs=1e-6)
    assert one.prices * [1e9, 1e-9] == pytest.approx(other.prices, rel=1e-3, abs=1e-4)


def test_a_job_that_fits_nowhere_is_refused_by_its_row() -> None:
    throughput = np.ones((40, 4))
    throughput[17, [0, 2, 3]] = 0.0
    with pytest.raises(ValueError, match=r"throughput\[17\]: must have a column in which the job can run"):
        market(40, throughput=throughput, capacity=[[5.0], [0.0], [2.0], [7.0]])
    with pytest.raises(ValueError, match=r"throughput\[17\]: .*a capacity or a limit that is 0: leave the row out"):
        market(40, throughput=throughput, limits=[Limit.of(1, 0, 0.0, [17])])


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_that_is_not_above_zero_is_refused_by_its_row(weight: float) -> None:
    with pytest.raises(ValueError, match=rf"weight\[2\]: must be above 0, got {weight:g}"):
        market(4, weight=[1.0, 1.0, weight, 1.0])


def test_no_rows_are_answered_with_nothing() -> None:
    problem = Problem.from_arrays(
        throughput=np.zeros((0, 2)), flavor=np.zeros((0, 2)), demand=np.zeros((0, 2, 1)), capacity=[[1.0]]
    )
    solution = solve(problem)
    assert (solution.status, solution.objective, solution.gap) == (Status.OPTIMAL, 0.0, 0.0)


def test_one_job_gets_what_there_is() -> None:
    for alpha in (*FINITE, np.inf):
        assert solve(single_job(fairness=alpha)).shares[0, 0] == pytest.approx(0.5, rel=1e-5)

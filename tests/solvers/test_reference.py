"""The reference suite: random small problems, every answer judged by the conditions that mark an optimum.

What judges is `oracle.py`, which shares no code with the solvers. 1,200 problems of the full model by the chain and by
price discovery each (which the chain would not choose at these sizes), and about 1,200 comparisons with other solvers;
ALLOCATOR_EXAMPLES=10 makes it ten times as many.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings

from allocator.formulation import Limit, Problem, certify
from allocator.formulation.certificate import Certificate, gap_unit
from allocator.solvers import Status, solve
from allocator.solvers.conic import conic
from allocator.solvers.price import price_discovery
from tests.formulation.instances import problems
from tests.solvers.samples import EXAMPLES, FINITE, sample, smooth_market

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever cvxpy's optional parts say while they are imported
    from tests.solvers.oracle import (
        assert_feasible,
        assert_optimal,
        judgement,
        linear_optimum,
        optimum,
        prices_are_unique,
    )

GAP = 1e-6
SEEDS = 200 * EXAMPLES
PASSES = 300
NEAR = 1e-3
"""Beyond this no answer of price discovery may be, even to the few problems that it does not solve in PASSES."""


def discovered(problem: Problem, gap: float = GAP) -> Certificate:
    candidate = price_discovery(problem, PASSES, gap)
    return certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)


@pytest.mark.parametrize("alpha", FINITE)
def test_the_judge_tells_wrong_answers(alpha: float) -> None:
    """A little too much, too little, at the wrong prices: what passes is not what would pass anyway."""
    problem = smooth_market(1, alpha)
    right = solve(problem, gap=GAP)
    assert_optimal(problem, right.shares, right.prices, right.limit_prices, GAP)
    for shares, prices in (
        (right.shares * (1 + 1e-12), right.prices),
        (right.shares * 0.999, right.prices),
        (right.shares, right.prices * 1.05),
        (right.shares, right.prices * 0.95),
        (right.shares, -right.prices),
        (right.shares, np.zeros_like(right.prices)),
    ):
        with pytest.raises(AssertionError):
            assert_optimal(problem, shares, prices, right.limit_prices, GAP)


@pytest.mark.parametrize("alpha", FINITE)
def test_the_chain_answers_optimally(alpha: float) -> None:
    for seed in range(SEEDS):
        problem = sample(seed, alpha)
        solution = solve(problem, gap=GAP)
        judged = assert_optimal(problem, solution.shares, solution.prices, solution.limit_prices, GAP)
        rounding = 1e-11 * (judged.scale + abs(judged.value))
        assert solution.status is Status.OPTIMAL, seed
        assert solution.objective == pytest.approx(judged.value, abs=rounding), seed
        assert solution.bound >= judged.bound - rounding, seed


@pytest.mark.parametrize("alpha", FINITE)
def test_price_discovery_answers_optimally(alpha: float) -> None:
    """Feasible and honest always; within the gap but for few, and then not far from it."""
    missed = []
    for seed in range(SEEDS):
        problem = sample(seed, alpha)
        found = discovered(problem)
        assert_feasible(problem, found.shares)
        judged = judgement(problem, found.shares, found.prices, found.limit_prices)
        assert found.objective == pytest.approx(judged.value, abs=1e-11 * (judged.scale + abs(judged.value))), seed
        assert found.bound >= judged.bound - 1e-11 * (judged.scale + abs(judged.value)), seed
        gap = (judged.bound - judged.value) / judged.scale
        if not gap <= GAP:
            missed.append((seed, gap))
    assert len(missed) <= (0.08 if alpha == 0 else 0.02) * SEEDS, missed
    assert all(gap < NEAR for _, gap in missed), missed


@settings(max_examples=200 * EXAMPLES, deadline=None, derandomize=True)
@given(problems(alphas=FINITE))
def test_the_chain_on_problems_that_shrink(problem: Problem) -> None:
    """The same claims where hypothesis chooses, and shrinks what fails to a handful of numbers."""
    solution = solve(problem, gap=GAP)
    assert solution.status is Status.OPTIMAL
    assert_optimal(problem, solution.shares, solution.prices, solution.limit_prices, GAP)


@settings(max_examples=200 * EXAMPLES, deadline=None, derandomize=True)
@given(problems(alphas=FINITE))
def test_price_discovery_on_problems_that_shrink(problem: Problem) -> None:
    found = discovered(problem)
    assert_optimal(problem, found.shares, found.prices, found.limit_prices, NEAR)


@pytest.mark.parametrize("alpha", FINITE)
def test_price_discovery_and_clarabel_find_the_same_value(alpha: float) -> None:
    """Where Clarabel's own answer is certified to 1e-8."""
    compared = 0
    for seed in range(60 * EXAMPLES):
        problem = smooth_market(seed, alpha)
        reference = conic(problem, 200)
        theirs = certify(problem, reference.shares, reference.prices, reference.limit_prices)
        ours = discovered(problem)
        assert ours.objective <= theirs.bound
        assert theirs.objective <= ours.bound
        if theirs.within(1e-8):
            compared += 1
            slack = GAP * max(1.0, gap_unit(problem), abs(theirs.objective))
            assert ours.objective == pytest.approx(theirs.objective, abs=slack), seed
    assert compared > 50 * EXAMPLES


@pytest.mark.parametrize("alpha", FINITE)
def test_prices_are_those_of_clarabel_where_only_one_vector_of_prices_is_optimal(alpha: float) -> None:
    compared = 0
    for seed in range(60 * EXAMPLES):
        problem = smooth_market(seed, alpha)
        reference = conic(problem, 200)
        theirs = certify(problem, reference.shares, reference.prices, reference.limit_prices)
        if not (theirs.within(1e-8) and prices_are_unique(problem, theirs.shares)):
            continue
        compared += 1
        near = 2e-3 * theirs.prices.max()
        assert discovered(problem, 1e-8).prices == pytest.approx(theirs.prices, rel=2e-3, abs=near), seed
        assert solve(problem, gap=1e-8).prices == pytest.approx(theirs.prices, rel=2e-3, abs=near), seed
    assert compared > 15 * EXAMPLES


def test_plain_throughput_is_what_a_linear_program_finds() -> None:
    for seed in range(200 * EXAMPLES):
        problem = sample(seed, 0.0)
        best, _ = linear_optimum(problem)
        slack = GAP * max(problem.total_weight, abs(best))
        assert solve(problem, gap=GAP).objective == pytest.approx(best, abs=slack), seed
        found = discovered(problem)
        assert found.objective <= best + 1e-9 * slack / GAP, seed
        assert found.bound >= best - 1e-9 * slack / GAP, seed


def test_prices_at_a_single_vertex_are_the_duals_of_the_linear_program() -> None:
    compared = 0
    for seed in range(100 * EXAMPLES):
        problem = smooth_market(seed, 0.0)
        _, duals = linear_optimum(problem)
        solution = solve(problem, gap=1e-8)
        if prices_are_unique(problem, solution.shares):
            compared += 1
            near = 1e-3 * duals.max()
            assert solution.prices.ravel() == pytest.approx(duals, abs=near), seed
            assert discovered(problem, 1e-8).prices.ravel() == pytest.approx(duals, abs=near), seed
    assert compared > 30 * EXAMPLES


def test_max_min_reaches_the_level_that_a_linear_program_finds() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(40 * EXAMPLES):
            problem = sample(seed, np.inf)
            solution = solve(problem, gap=GAP)
            best = optimum(problem)
            assert_feasible(problem, solution.shares)
            assert solution.objective == pytest.approx(best, rel=1e-6, abs=GAP * gap_unit(problem)), seed
            assert solution.bound >= best * (1 - 1e-8), seed


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_a_price_is_what_one_more_unit_brings(alpha: float) -> None:
    """The slope of the optimum over capacity and limit, from optima on both sides, where they agree about it."""
    compared = 0
    for seed in range(12 * EXAMPLES):
        market = smooth_market(seed, alpha)
        members = list(range(0, market.row_count, 2))
        amount = 0.3 * float(market.capacity[0, 0])

        def value(more: float, limited: float, market: Problem = market, amount: float = amount) -> float:
            return solve(changed(market, more, amount + limited), gap=1e-8).objective

        def changed(market: Problem, more: float, amount: float, members: list[int] = members) -> Problem:
            return Problem.from_arrays(
                throughput=market.throughput,
                flavor=market.flavor,
                demand=market.demand,
                capacity=market.capacity + np.eye(len(market.capacity))[:, :1] * more,
                weight=market.weight,
                fairness=alpha,
                limits=[Limit.of(0, 0, amount, members)],
            )

        found = discovered(changed(market, 0.0, amount), 1e-8)
        step = 1e-3 * amount
        here = value(0.0, 0.0)
        for price, above, below in (
            (found.prices[0, 0], value(step, 0.0) - here, here - value(-step, 0.0)),
            (found.limit_prices[0], value(0.0, step) - here, here - value(0.0, -step)),
        ):
            if above == pytest.approx(below, rel=0.05, abs=1e-5 * step):
                compared += 1
                assert price == pytest.approx(
                    (above + below) / 2 / step, rel=0.03, abs=1e-3 * market.total_weight / amount
                )
    assert compared > 12 * EXAMPLES

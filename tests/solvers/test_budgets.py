"""A budget that ends after any number of passes: what is given out is feasible, and what is claimed of it is true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from allocator.formulation import Problem, certify
from allocator.formulation.certificate import gap_unit
from allocator.solvers import ChainSolver, Status, WarmStart, solve
from allocator.solvers.price import price_discovery
from tests.solvers.degenerate import market
from tests.solvers.oracle import assert_feasible, judgement
from tests.solvers.samples import EXAMPLES, FINITE, sample


def assert_honest(
    problem: Problem, shares: NDArray[np.float64], prices: NDArray[np.float64], limit_prices: NDArray[np.float64]
) -> float:
    """The independent judge's gap: finite, and not below 0."""
    assert_feasible(problem, shares)
    for values in (prices, limit_prices):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    judged = judgement(problem, shares, prices, limit_prices)
    assert judged.bound >= judged.value - 1e-12 * (judged.scale + abs(judged.value))
    return judged.bound - judged.value


@pytest.mark.parametrize("alpha", FINITE)
def test_price_discovery_cut_at_every_pass(alpha: float) -> None:
    for seed in range(12 * EXAMPLES):
        problem = sample(seed, alpha)
        exact = solve(problem, gap=1e-7)
        budget, used = 0, 0
        while used >= budget - 1 and budget <= 400:  # until it ends by itself
            candidate = price_discovery(problem, budget, 1e-6)
            used = candidate.iterations
            assert used <= budget + 1, seed
            assert np.isfinite(candidate.shares).all(), seed
            cut = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
            gap = assert_honest(problem, cut.shares, cut.prices, cut.limit_prices)
            assert cut.gap * gap_unit(problem, cut.objective) >= gap * (1 - 1e-9) - 1e-11 * (
                gap_unit(problem) + abs(cut.objective)
            ), seed
            assert cut.objective <= exact.bound, seed
            assert cut.bound >= exact.objective, seed
            budget += 1 if budget < 40 else 40


@pytest.mark.parametrize("alpha", [*FINITE, math.inf])
def test_the_chain_cut_at_every_iteration(alpha: float) -> None:
    """0 leaves what needs no iterations: the last resort with its own few."""
    for seed in range(4 * EXAMPLES):
        problem = sample(seed, alpha)
        exact = solve(problem, gap=1e-7)
        for budget in (*range(13), 20, 40):
            cut = ChainSolver().solve(problem, gap=1e-6, iterations=budget, warm_start=None)
            assert_feasible(problem, cut.shares)
            assert cut.status is not Status.FAILED
            assert math.isfinite(cut.gap)
            assert cut.objective <= exact.bound
            assert cut.bound >= exact.objective
            assert cut.gap == pytest.approx((cut.bound - cut.objective) / gap_unit(problem, cut.objective))
            if alpha < math.inf:
                gap = assert_honest(problem, cut.shares, cut.prices, cut.limit_prices)
                slack = 1e-11 * (gap_unit(problem) + abs(cut.objective))
                assert cut.gap * gap_unit(problem, cut.objective) >= gap * (1 - 1e-9) - slack


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_the_chain_on_many_rows_cut_after_few_passes(alpha: float) -> None:
    problem = market(2500, alpha=alpha)
    exact = solve(problem, gap=1e-6)
    for budget in (0, 1, 2, 3, 5, 8):
        cut = ChainSolver().solve(problem, gap=1e-6, iterations=budget, warm_start=None)
        gap = assert_honest(problem, cut.shares, cut.prices, cut.limit_prices)
        assert cut.objective <= exact.bound
        assert cut.bound >= exact.objective
        assert cut.gap * gap_unit(problem, cut.objective) >= gap * (1 - 1e-9) - 1e-11 * (
            gap_unit(problem) + abs(cut.objective)
        )


@pytest.mark.parametrize("alpha", FINITE)
def test_a_warm_start_from_anywhere_is_honest_at_every_pass(alpha: float) -> None:
    for seed in range(6 * EXAMPLES):
        problem = sample(seed, alpha)
        exact = solve(problem, gap=1e-7)
        random = np.random.default_rng(seed)
        known = [0.0, np.nan, np.inf, -1.0, 1e-300, 1e300, 1.0]
        start = WarmStart(random.choice(known, problem.capacity.shape), random.choice(known, problem.limit_count))
        near = WarmStart(exact.prices * random.uniform(0.5, 2, exact.prices.shape), exact.limit_prices)
        for warm in (start, near):
            for budget in (0, 1, 2, 5, 300):
                candidate = price_discovery(problem, budget, 1e-6, warm)
                assert np.isfinite(candidate.shares).all(), seed
                cut = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
                assert_honest(problem, cut.shares, cut.prices, cut.limit_prices)
                assert cut.objective <= exact.bound, seed
                assert cut.bound >= exact.objective, seed
            assert cut.within(1e-4), seed

"""Max-min by prices: responses against linear programs, levels against arithmetic and the ladder of programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator.formulation import Problem
from allocator.formulation.certificate import certify
from allocator.formulation.problem import Floats
from allocator.solvers.level_prices import max_min_by_prices
from allocator.solvers.level_response import smooth_to, walk_to
from allocator.solvers.max_min import max_min
from tests.formulation.test_certificate import assert_no_overuse

highs: Any = linprog  # its stubs know no sparse matrices


def market(n: int, columns: int, seed: int, *, heavy: bool = False) -> Problem:
    """Every row can use every flavor, one unit of it."""
    random = np.random.default_rng(seed)
    return Problem.from_arrays(
        throughput=random.uniform(0.1, np.linspace(0.3, 1.0, columns), (n, columns)),
        flavor=np.broadcast_to(np.arange(columns), (n, columns)),
        demand=np.ones((n, columns, 1)),
        capacity=random.uniform(0.1, 1.0, (columns, 1)) * n / 1.5 ** np.arange(columns)[:, None],
        weight=random.pareto(1.5, n) + 0.1 if heavy else np.ones(n),
        fairness=math.inf,
    )


def scattered(n: int, seed: int) -> Problem:
    """Every row can use three of six flavors, two resources, heavy-tailed weights."""
    random = np.random.default_rng(seed)
    return Problem.from_arrays(
        throughput=random.uniform(0.2, 2.0, (n, 3)),
        flavor=np.stack([random.permutation(6)[:3] for _ in range(n)]),
        demand=random.uniform(0.2, 2.0, (n, 3, 2)),
        capacity=random.uniform(0.1, 1.5, (6, 2)) * n / 6,
        weight=random.pareto(1.5, n) + 0.1,
        fairness=math.inf,
    )


def levels(problem: Problem, shares: Floats) -> Floats:
    return problem.utilities(shares) / problem.weight


# --- a row's response -------------------------------------------------------------------------------------------


def rows(seed: int, columns: int, size: int) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(seed)
    gain = random.uniform(0.1, 1.0, (columns, size)) * (random.random((columns, size)) < 0.8)
    gain[0] = np.maximum(gain[0], 0.05)
    cost = random.uniform(0.0, 1.0, (columns, size)) * (random.random((columns, size)) < 0.8)
    return gain, cost, gain.max(axis=0) * random.uniform(0.01, 1 - 1e-9, size)


@pytest.mark.parametrize("columns", [1, 2, 5, 16])
def test_the_walk_pays_what_a_linear_program_pays(columns: int) -> None:
    gain, cost, wanted = rows(columns, columns, 40)
    size = wanted.size
    lam, t, low, high = np.zeros((4, size))
    walk_to(cost, gain, columns, wanted, size, np.zeros((9, size)), lam, t, low, high)
    for i in range(size):
        best = linprog(cost[:, i], A_ub=[-gain[:, i], np.ones(columns)], b_ub=[-wanted[i], 1.0])
        assert lam[i] * wanted[i] - t[i] == pytest.approx(best.fun, abs=1e-9)


@pytest.mark.parametrize("width", [0.3, 1e-3, 1e-6])
def test_the_smooth_response_reaches_the_utility_and_costs_little_more(width: float) -> None:
    columns = 6
    gain, cost, wanted = rows(7, columns, 100)
    size = wanted.size
    gain, wanted = gain / wanted, np.ones(size)
    lam, t, low, high = np.zeros((4, size))
    walk_to(cost, gain, columns, wanted, size, np.zeros((9, size)), lam, t, low, high)
    least = lam * wanted - t
    x, stiff, sums = np.zeros((columns, size)), np.zeros((columns, size)), np.zeros((5, size))
    smooth_to(cost, gain, stiff, columns, wanted, width, size, x, np.zeros((9, size)), lam, t, low, high, sums)
    assert (x >= 0).all()
    assert (x.sum(axis=0) <= 1 + 1e-8).all()
    assert (gain * x).sum(axis=0) == pytest.approx(wanted, rel=1e-8)
    extra = (cost * x).sum(axis=0) - least
    most = 0.5 * width * (np.maximum(gain, 1.0) ** 2).max(axis=0)
    assert (extra >= -1e-8).all()
    assert (extra <= most + 1e-8).all()


# --- levels -----------------------------------------------------------------------------------------------------


def test_one_crowded_capacity_is_water_filling() -> None:
    random = np.random.default_rng(3)
    n = 5000
    weight, demand = random.pareto(1.5, n) + 0.1, random.uniform(0.5, 2.0, n)
    problem = Problem.from_arrays(
        throughput=np.ones((n, 1)),
        flavor=np.zeros((n, 1)),
        demand=demand[:, None, None],
        capacity=[[0.3 * n]],
        weight=weight,
        fairness=math.inf,
    )
    low, high = 0.0, 100.0
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if demand @ np.minimum(weight * level, 1) <= 0.3 * n else (low, level)
    found = max_min_by_prices(problem, 200, 1e-6)
    assert problem.utilities(found.shares) == pytest.approx(np.minimum(weight * low, 1), rel=2e-6)


@pytest.mark.parametrize(
    "problem",
    [market(3000, 4, 0), market(3000, 4, 1, heavy=True), market(3000, 8, 2), scattered(3000, 3), scattered(3000, 1)],
    ids=["market", "heavy weights", "8 flavors", "scattered", "scattered 1"],
)
def test_all_levels_are_those_of_the_ladder_of_programs(problem: Problem) -> None:
    found = max_min_by_prices(problem, 600, 1e-6)
    assert "all 3000 rows settled" in found.outcome
    ours, theirs = levels(problem, found.shares), levels(problem, max_min(problem, 2000).shares)
    assert (ours >= theirs * (1 - 2e-5)).all(), "nobody is lower"
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert np.median(np.abs(ours / theirs - 1)) <= 2e-5
    judged = certify(problem, found.shares, found.prices, found.limit_prices)
    assert judged.gap <= 2e-6
    assert_no_overuse(problem, judged.shares)


def test_the_first_level_is_that_of_another_solver() -> None:
    problem = market(2500, 6, 4)
    n, size = problem.row_count, problem.eligible.size
    owner = np.repeat(np.arange(n), problem.column_count)
    time = sp.csr_array((np.ones(size), (owner, np.arange(size))), shape=(n, size))
    level = sp.csr_array((problem.utility.ravel() / problem.weight[owner], (owner, np.arange(size))), shape=(n, size))
    column = sp.csr_array(np.concatenate([np.zeros(problem.available.size + n), np.ones(n)])[:, None])
    answer = highs(
        np.concatenate([np.zeros(size), [-1.0]]),
        A_ub=sp.csc_array(sp.hstack([sp.vstack([problem.coupling, time, -level]), column])),
        b_ub=np.concatenate([problem.available, np.ones(n), np.zeros(n)]),
        method="highs",
    )
    found = max_min_by_prices(problem, 200, 1e-6)
    judged = certify(problem, found.shares, found.prices, found.limit_prices)
    assert judged.objective * (1 - 1e-7) <= -answer.fun <= judged.bound * (1 + 1e-7)  # HiGHS allows for 1e-7
    assert judged.gap <= 1e-6


# --- budgets and bits -------------------------------------------------------------------------------------------


def test_any_budget_gives_a_feasible_answer_and_an_honest_bound() -> None:
    problem = scattered(3000, 2)
    whole = max_min_by_prices(problem, 600, 1e-6)
    best = certify(problem, whole.shares, whole.prices, whole.limit_prices)
    for budget in (1, 5, 10, 20, 40):
        cut = max_min_by_prices(problem, budget, 1e-6)
        judged = certify(problem, cut.shares, cut.prices, cut.limit_prices)
        assert np.isfinite(cut.shares).all()
        assert_no_overuse(problem, judged.shares)
        assert judged.objective <= best.bound
        assert judged.bound >= best.objective


def test_threads_change_no_bit() -> None:
    problem = market(20_000, 4, 5, heavy=True)
    one, *others = (max_min_by_prices(problem, 200, 1e-4, threads=threads) for threads in (1, 2, 4))
    for other in others:
        assert one.shares.tobytes() == other.shares.tobytes()
        assert one.prices.tobytes() == other.prices.tobytes()
        assert one.iterations == other.iterations


def test_levels_of_separate_capacities_are_each_their_own_water_level() -> None:
    """Rows of one flavor each: min(w t, 1) adds up to what the flavor has, flavor by flavor, however many there are."""
    random = np.random.default_rng(4)
    flavor, weight = np.arange(5000) % 10, random.integers(1, 11, 5000).astype(float)
    room = np.linspace(0.1, 0.55, 10) * 500
    problem = Problem.from_arrays(
        throughput=np.ones((5000, 1)), flavor=flavor[:, None], demand=np.ones((5000, 1, 1)),
        capacity=room[:, None], weight=weight, fairness=math.inf,
    )  # fmt: skip
    found = max_min_by_prices(problem, 600, 1e-6)
    assert "all 5000 rows settled in 10 levels" in found.outcome
    for f in range(10):
        here = flavor == f
        low, high = 0.0, 1.0
        for _ in range(60):
            level = 0.5 * (low + high)
            low, high = (level, high) if np.minimum(weight[here] * level, 1).sum() < room[f] else (low, level)
        assert found.shares[here, 0] == pytest.approx(np.minimum(weight[here] * level, 1), rel=1e-3)

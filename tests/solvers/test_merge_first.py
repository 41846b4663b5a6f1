"""What the chain answers with identical rows made one is an answer to the problem as it was asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import Limit, Problem, dual_bound, objective
from allocator.formulation.certificate import gap_unit
from allocator.formulation.kernels import COMPILED_ROWS
from allocator.formulation.merging import merged
from allocator.solvers import ChainSolver, Solution, Status, WarmStart, merge_first, solve
from tests.formulation.instances import problems
from tests.formulation.test_certificate import assert_no_overuse
from tests.formulation.test_merging import copies

SEEDS = st.integers(0, 2**32 - 1)
ALPHAS = (0.0, 0.5, 1.0, 2.0, math.inf)


def contended(kinds: int, rows: int, alpha: float, seed: int = 1) -> Problem:
    """Jobs of `kinds` shapes, columns in any order, that want about five times what there is; a limit on some."""
    return kinds_of_jobs(kinds, rows, alpha, seed)[0]


def kinds_of_jobs(kinds: int, rows: int, alpha: float, seed: int) -> tuple[Problem, Any]:
    """The same, and which shape each row has."""
    random = np.random.default_rng(seed)
    small = Problem.from_arrays(
        throughput=random.uniform(0.5, 2.0, (kinds, 3)),
        flavor=np.tile([0, 1, 2], (kinds, 1)),
        demand=random.uniform(0.5, 2.0, (kinds, 3, 2)),
        capacity=random.uniform(0.5, 1.5, (3, 2)) / 5,
        weight=random.pareto(1.5, kinds) + 0.1,
        fairness=alpha,
        limits=[Limit.of(0, 0, 0.02, range(0, kinds, 3))],
    )
    return copies(small, seed, shuffled=True, rows=rows)


def unmerged(problem: Problem, gap: float) -> Solution:
    return ChainSolver()._tried(problem, gap, 200, None, large=True)


def assert_answers(problem: Problem, solution: Solution) -> None:
    """The numbers of the solution are those of its shares and prices in `problem` itself."""
    assert_no_overuse(problem, solution.shares)
    size = gap_unit(problem) * max(1.0, abs(solution.objective) / gap_unit(problem))
    assert abs(objective(problem, solution.shares) - solution.objective) <= 1e-9 * size
    bound = dual_bound(problem, solution.prices, solution.limit_prices)
    assert solution.bound >= solution.objective
    assert abs(max(bound, solution.objective) - solution.bound) <= 1e-9 * size
    gap = (solution.bound - solution.objective) / gap_unit(problem, solution.objective)
    assert solution.gap == pytest.approx(gap, rel=1e-6, abs=1e-12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(problems(alphas=ALPHAS), SEEDS)
def test_merged_and_unmerged_answers_agree(small: Problem, seed: int) -> None:
    problem, _ = copies(small, seed, shuffled=True, rows=COMPILED_ROWS)
    together, apart = solve(problem, gap=1e-6), unmerged(problem, 1e-6)
    assert together.attempts[0].startswith("merged: 2,000 rows into ")
    assert together.status is Status.OPTIMAL
    assert_answers(problem, together)
    slack = 1e-12 * max(1.0, abs(apart.objective))
    assert together.objective <= apart.bound + slack
    assert apart.objective <= together.bound + slack


@pytest.mark.parametrize("alpha", ALPHAS)
def test_many_rows_of_few_shapes(alpha: float) -> None:
    problem = contended(40, 20_000, alpha)
    solution = solve(problem, gap=1e-6)
    assert solution.attempts[0] == "merged: 20,000 rows into 40"
    assert (solution.status, solution.fallback) == (Status.OPTIMAL, False)
    assert_answers(problem, solution)


@pytest.mark.parametrize("alpha", [1.0, math.inf])
def test_identical_jobs_get_identical_utilities(alpha: float) -> None:
    problem, kind = kinds_of_jobs(7, 5000, alpha, 2)
    utilities = problem.utilities(solve(problem).shares)
    for number in range(7):
        assert utilities[kind == number] == pytest.approx(utilities[kind == number][0], rel=1e-14)


def test_a_surplus_stays_exact_with_columns_in_any_order() -> None:
    problem = contended(10, 5000, 1.0)
    plenty = Problem.from_arrays(
        throughput=problem.throughput, flavor=problem.flavor, demand=problem.demand, capacity=problem.capacity * 1e3,
        weight=problem.weight, count=problem.count, reference=problem.reference,
    )  # fmt: skip
    solution = solve(plenty)
    assert (solution.solver, solution.status) == ("surplus", Status.OPTIMAL)
    assert solution.gap < 1e-12
    assert (plenty.utilities(solution.shares) == plenty.utility.max(axis=1)).all()


def test_known_prices_are_used_as_ever() -> None:
    problem = contended(400, 5000, 1.0)
    cold = solve(problem, gap=1e-6)
    warm = solve(problem, gap=1e-6, warm_start=WarmStart(cold.prices, cold.limit_prices))
    assert cold.attempts[0] == "merged: 5,000 rows into 400"
    assert (cold.solver, warm.solver, warm.status) == ("price", "price", Status.OPTIMAL)
    assert 2 * warm.iterations <= cold.iterations
    assert_answers(problem, warm)


def test_a_budget_that_ends_early_is_honest() -> None:
    problem = contended(30, 5000, 1.0)
    exact = solve(problem, gap=1e-6)
    for iterations in (0, 1, 3, 6):
        cut = ChainSolver().solve(problem, gap=1e-6, iterations=iterations, warm_start=None)
        assert_answers(problem, cut)
        assert cut.objective <= exact.bound
        assert cut.bound >= exact.objective


@pytest.mark.parametrize("gap", [1e-6, 0.1])
def test_the_room_that_was_made_is_in_the_numbers(gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if floats were so coarse that a thousandth of everything had to be left free."""
    problem = contended(30, 5000, 1.0)
    together = merged(problem)
    assert together is not None
    monkeypatch.setattr(merge_first, "merged", lambda _: replace(together, margin=1e-3))
    solution = solve(problem, gap=gap)
    assert_answers(problem, solution)
    assert 1e-3 < solution.gap < 0.1
    assert solution.status is (Status.OPTIMAL if gap == 0.1 else Status.INACCURATE)


def test_nothing_answers() -> None:
    problem = contended(5, 5000, 1.0)
    solution = ChainSolver(()).solve(problem, gap=1e-4, iterations=10, warm_start=None)
    assert (solution.status, solution.gap) == (Status.FAILED, math.inf)
    assert solution.shares.shape == problem.throughput.shape
    assert not solution.shares.any()


def test_what_is_wrong_with_merging_is_told_and_the_problem_solved_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Problem) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(merge_first, "merged", broken)
    problem = contended(5, 2500, 1.0)
    solution = solve(problem)
    assert solution.attempts[0] == "merged: MemoryError: no room"
    assert_answers(problem, solution)


def test_small_problems_are_not_looked_at() -> None:
    problem = contended(5, 100, 1.0)
    assert not any(attempt.startswith("merged") for attempt in solve(problem).attempts)


def test_the_same_bytes_again() -> None:
    problem = contended(20, 20_000, 1.0)
    first, second = solve(problem), solve(problem)
    assert first.shares.tobytes() == second.shares.tobytes()
    assert (first.objective, first.bound) == (second.objective, second.bound)

"""The chain always answers, says who answered, and never claims more than the certificate shows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import Limit, Problem, certify
from allocator.formulation.certificate import gap_unit
from allocator.solvers import ChainSolver, Solution, Status, WarmStart, solve
from allocator.solvers.candidate import Candidate
from allocator.solvers.chain import METHODS, Method, Request
from allocator.solvers.equal_split import equal_split
from allocator.solvers.max_min import max_min
from allocator.solvers.surplus import surplus
from tests.formulation.instances import problems, single_job
from tests.formulation.test_certificate import assert_no_overuse

BY_NAME = {method.name: method for method in METHODS}


def contended(rows: int = 30, alpha: float = 1.0, seed: int = 1) -> Problem:
    """Jobs of two configurations that want about five times what there is."""
    random = np.random.default_rng(seed)
    return Problem.from_arrays(
        throughput=random.uniform(0.5, 2.0, (rows, 2)),
        flavor=np.tile([0, 1], (rows, 1)),
        demand=random.uniform(0.5, 2.0, (rows, 2, 3)),
        capacity=random.uniform(0.5, 1.5, (2, 3)) * rows / 8,
        weight=random.uniform(0.5, 2.0, rows),
        fairness=alpha,
    )


def run(problem: Problem, methods: tuple[Method, ...], iterations: int = 200) -> Solution:
    return ChainSolver(methods).solve(problem, gap=1e-4, iterations=iterations, warm_start=None)


def broken(error: BaseException) -> Method:
    def propose(*_: object) -> Candidate | None:
        raise error

    return Method("broken", propose)


class Panic(BaseException):
    """What a panic in compiled code looks like from here."""


def test_surplus_needs_no_solver_and_has_no_prices() -> None:
    solution = solve(single_job(capacity=[[2.0]]))
    assert (solution.solver, solution.status, solution.iterations) == ("surplus", Status.OPTIMAL, 0)
    assert solution.shares.tolist() == [[1.0]]
    assert solution.prices.tolist() == [[0.0]]
    assert not solution.fallback
    assert 0 <= solution.gap < 1e-12


def test_surplus_takes_the_less_crowding_one_of_equal_columns() -> None:
    problem = Problem.from_arrays(
        throughput=[[1.0, 1.0]], flavor=[[0, 1]], demand=[[[4.0], [1.0]]], capacity=[[2.0], [2.0]]
    )
    candidate = surplus(problem)
    assert candidate is not None
    assert candidate.shares.tolist() == [[0.0, 1.0]]


def test_surplus_does_not_apply_when_a_limit_binds() -> None:
    problem = single_job(capacity=[[100.0]], limits=[Limit.of(0, 0, 1.0, [0])])
    assert surplus(problem) is None


def test_no_jobs_is_an_answer() -> None:
    problem = Problem.from_arrays(
        throughput=np.zeros((0, 2)), flavor=np.zeros((0, 2)), demand=np.zeros((0, 2, 1)), capacity=[[1.0]]
    )
    solution = solve(problem)
    assert (solution.status, solution.solver, solution.gap) == (Status.OPTIMAL, "empty", 0.0)
    assert solution.shares.shape == (0, 2)
    assert solution.prices.shape == (1, 1)


def test_contended_problems_are_solved_by_the_first_choice() -> None:
    solution = solve(contended())
    assert (solution.solver, solution.status, solution.fallback) == ("conic", Status.OPTIMAL, False)
    assert solution.gap < 1e-6
    assert solution.attempts[0] == "surplus: does not apply"


def test_the_same_problem_gives_the_same_bits() -> None:
    first, second = solve(contended()), solve(contended())
    assert first.shares.tobytes() == second.shares.tobytes()
    assert first.prices.tobytes() == second.prices.tobytes()
    assert (first.objective, first.bound) == (second.objective, second.bound)


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), ZeroDivisionError("x"), Panic("unwrap")])
def test_whatever_a_method_raises_another_one_answers(error: BaseException) -> None:
    solution = run(contended(), (broken(error), BY_NAME["equal_split"]))
    assert solution.solver == "equal_split"
    assert solution.fallback
    assert solution.attempts[0].startswith(f"broken: {type(error).__name__}")


def test_an_answer_of_a_later_method_is_told_as_a_fallback_whoever_it_is() -> None:
    """A large problem whose price discovery breaks is Clarabel's: a good answer, and still something to look into."""
    solution = run(contended(), (broken(ValueError("no")), BY_NAME["conic"]))
    assert (solution.solver, solution.status, solution.fallback) == ("conic", Status.OPTIMAL, True)


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(contended(), (broken(KeyboardInterrupt()),))


def test_when_nothing_answers_the_solution_says_failed() -> None:
    solution = run(contended(), (broken(ValueError("no")),))
    assert (solution.status, solution.solver, solution.gap) == (Status.FAILED, "none", math.inf)
    assert not solution.shares.any()
    assert solution.attempts == ("broken: ValueError: no",)


def test_nonsense_from_a_method_is_repaired_and_not_believed() -> None:
    def nonsense(problem: Problem, *_: object) -> Candidate:
        shares = np.full(problem.throughput.shape, np.nan)
        return Candidate(shares, np.full(problem.capacity.shape, -1.0), np.zeros(0), 1, "all done, optimal!")

    problem = contended()
    solution = run(problem, (Method("liar", nonsense),))
    assert solution.status is Status.INACCURATE
    assert_no_overuse(problem, solution.shares)
    assert (problem.utilities(solution.shares) > 0).all()
    exact = solve(problem)
    assert solution.objective <= exact.bound
    assert solution.bound >= exact.objective


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_a_solver_that_is_cut_short_reports_an_honest_gap(alpha: float, iterations: int) -> None:
    problem = contended(alpha=alpha)
    exact = solve(problem, gap=1e-6)
    cut = run(problem, (BY_NAME["conic"],), iterations)
    assert cut.iterations <= iterations
    assert_no_overuse(problem, cut.shares)
    assert cut.objective <= exact.bound
    assert cut.bound >= exact.objective
    assert cut.gap == pytest.approx((cut.bound - cut.objective) / gap_unit(problem, cut.objective))
    if iterations == 1:
        assert cut.status is Status.INACCURATE
        assert cut.gap > 1e-3


def test_the_budget_is_for_all_attempts_together() -> None:
    solution = run(contended(), METHODS, iterations=5)
    assert "conic_rescaled: no iterations left" in solution.attempts
    assert solution.attempts[-1].startswith("equal_split")


def test_a_bad_scale_is_cured_by_the_first_answer() -> None:
    """Two jobs whose fair shares differ by orders of magnitude from an equal split."""
    problem = Problem.from_arrays(
        throughput=np.ones((2, 1)),
        flavor=np.zeros((2, 1)),
        demand=np.ones((2, 1, 1)),
        capacity=[[1.0]],
        weight=[7.0, 1e-6],
        count=[1, 1000],
        fairness=3.0,
    )
    solution = solve(problem)
    assert solution.status is Status.OPTIMAL


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems(), st.booleans())
def test_the_last_resort_always_gives_a_feasible_certified_answer(problem: Problem, warm: bool) -> None:
    start = WarmStart(np.where(np.arange(problem.capacity.size) % 2, 0.7, np.nan).reshape(problem.capacity.shape))
    candidate = equal_split(problem, start if warm else None)
    certificate = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
    assert_no_overuse(problem, certificate.shares)
    assert math.isfinite(certificate.gap)
    exact = solve(problem, gap=1e-6)
    assert certificate.objective <= exact.bound
    assert certificate.bound >= exact.objective


@pytest.mark.parametrize(("alpha", "gap"), [(0.5, 0.05), (1.0, 0.05), (2.0, 0.3), (math.inf, 0.3)])
def test_the_last_resort_is_not_far_off(alpha: float, gap: float) -> None:
    problem = contended(rows=100, alpha=alpha)
    candidate = equal_split(problem)
    assert certify(problem, candidate.shares, candidate.prices, candidate.limit_prices).gap < gap


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_a_warm_start_of_another_shape_or_without_knowledge_does_no_harm(shape: tuple[int, int]) -> None:
    problem = contended()
    start = WarmStart(np.full(shape, np.nan))
    assert solve(problem, warm_start=start).objective == solve(problem).objective


@pytest.mark.parametrize("gap", [0.0, -1e-4, math.nan])
def test_a_gap_that_nothing_can_be_within_is_refused(gap: float) -> None:
    with pytest.raises(ValueError, match="gap: must be a number above 0"):
        solve(contended(), gap=gap)


def test_a_warm_start_that_is_none_is_refused() -> None:
    prices: Any = np.ones((2, 3))
    with pytest.raises(TypeError, match="warm_start: must be a WarmStart or None, got ndarray"):
        solve(contended(), warm_start=prices)


def test_levels_that_are_missing_are_looked_for_by_the_ladder_and_otherwise_confessed() -> None:
    problem = contended(alpha=np.inf)

    def ladder(problem: Problem, request: Request) -> Candidate:
        found = max_min(problem, request.iterations)
        assert found is not None
        return found

    def first_level_only(problem: Problem, request: Request) -> Candidate:
        return replace(ladder(problem, request), outcome="one level", complete=False)

    some = Method("levels", first_level_only)
    alone = run(problem, (some,))
    assert (alone.status, alone.attempts[0][:17]) == (Status.INACCURATE, "levels: one level")
    both = run(problem, (some, Method("max_min", ladder, completes=True), Method("conic", ladder)))
    assert (both.status, both.solver, len(both.attempts)) == (Status.OPTIMAL, "max_min", 2)

"""Every level of weighted max-min, against a ladder of another solver's linear programs and against its definition."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from allocator.formulation import Limit, Problem
from allocator.formulation.problem import Booleans, Floats
from allocator.solvers import ChainSolver, Solution, Status, solve
from allocator.solvers.max_min import max_min
from tests.formulation.instances import problems, single_job
from tests.formulation.test_certificate import assert_no_overuse

FOLDER = os.environ.get("ALLOCATOR_CASES")
INFINITE = (math.inf,)
highs: Any = linprog  # its stubs know no sparse matrices


def levels(problem: Problem, solution: Solution) -> Floats:
    """(n,) u_i / w_i."""
    return problem.utilities(solution.shares) / problem.weight


def exact_levels(problem: Problem) -> Floats:
    """(n,) by HiGHS: the highest common level of those not yet fixed, then who of them can be raised beyond it, one by
    one; the others are fixed. Nothing here is shared with the solver but the problem's arrays.
    """
    n, size = problem.row_count, problem.eligible.size
    owner = np.repeat(np.arange(n), problem.column_count)
    time = sp.csr_array((np.ones(size), (owner, np.arange(size))), shape=(n, size))
    level = sp.csr_array((problem.utility.ravel() / problem.weight[owner], (owner, np.arange(size))), shape=(n, size))
    limits = sp.vstack([problem.coupling.tocsr(), time])
    bounds = np.concatenate([problem.available, np.ones(n)])
    upper = np.where(problem.eligible.ravel(), 1.0, 0.0)

    def highest(rises: Booleans, floor: Floats) -> float:
        """The largest common level of `rises` when everybody has at least `floor`, or as little less than that as the
        other solver's rounding asks for: what it leaves may be worth much more to somebody with a small demand.
        """
        column = sp.csr_array(np.concatenate([np.zeros(limits.shape[0]), rises])[:, None])
        matrix = sp.hstack([sp.vstack([limits, -level]), column]).tocsc()
        for slack in (1e-11, 1e-10, 1e-9, 1e-8):
            answer = highs(
                np.concatenate([np.zeros(size), [-1.0]]),
                A_ub=matrix,
                b_ub=np.concatenate([bounds, np.where(rises, 0.0, -floor * (1 - slack))]),
                bounds=[*((0.0, most) for most in upper), (0.0, None)],
                method="highs",
                options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
            )
            if answer.status == 0:
                return float(-answer.fun)
        raise AssertionError(answer.message)

    result = np.full(n, np.nan)
    while np.isnan(result).any():
        open_rows = np.isnan(result)
        common = highest(open_rows, np.where(open_rows, 0.0, result))
        floor = np.where(open_rows, common, result)
        for row in np.flatnonzero(open_rows):
            if highest(np.arange(n) == row, floor) <= common * (1 + 1e-6) + 1e-12:
                result[row] = common
    return result


# --- published and worked cases ---------------------------------------------------------------------------------


def published() -> list[Any]:
    if FOLDER is None:
        return []
    cases: list[Any] = json.loads((Path(FOLDER) / "waterfilling_lexicographic.json").read_text())["cases"]
    return cases


@pytest.mark.skipif(FOLDER is None, reason="ALLOCATOR_CASES does not name a folder of cases")
@pytest.mark.parametrize("case", published(), ids=lambda case: f"{case['n']} jobs")
def test_published_lexicographic_optima(case: Any) -> None:
    """Their normalisation: u_i / w_i with throughput s_i T_ik, reference the mean of T_i, weight the priority."""
    throughput = np.array(case["throughputs"])
    scale = np.array(case["scale"])
    n, width = throughput.shape
    problem = Problem.from_arrays(
        throughput=throughput * scale[:, None],
        flavor=np.tile(np.arange(width), (n, 1)),
        demand=np.broadcast_to(scale[:, None, None], (n, width, 1)),
        capacity=np.full((width, 1), float(case["cap_per_type"])),
        weight=case["priority"],
        fairness=math.inf,
        reference=throughput.mean(axis=1),
    )
    solution = solve(problem, gap=1e-6)
    assert (solution.status, solution.solver, solution.fallback) == (Status.OPTIMAL, "max_min", False)
    assert levels(problem, solution) == pytest.approx(case["exact_lexicographic"], abs=1e-4)


def test_one_crowded_capacity_is_water_filling() -> None:
    """Six units for eight jobs that want one each; the heavy one is full at level 1/4, the others share what is left:
    (6 - 1) / 7 each.
    """
    problem = Problem.from_arrays(
        throughput=np.ones((8, 1)),
        flavor=np.zeros((8, 1)),
        demand=np.ones((8, 1, 1)),
        capacity=[[6.0]],
        weight=[4.0, *[1.0] * 7],
        fairness=math.inf,
    )
    solution = solve(problem)
    assert solution.shares[:, 0] == pytest.approx([1.0, *[5 / 7] * 7], rel=1e-6)
    assert solution.objective == pytest.approx(1 / 4, rel=1e-6)
    assert not solution.prices.any(), "nobody's scarcity holds the lowest level back, only a job's own time"


def test_three_levels_by_hand() -> None:
    """Jobs 0, 1 on flavor 0 (1 unit), 2 and 3 on flavor 1 (1.2 units), 4 on flavor 2 alone, weights 1; 0 needs 3."""
    problem = Problem.from_arrays(
        throughput=np.ones((5, 1)),
        flavor=[[0], [0], [1], [1], [2]],
        demand=[[[3.0]], [[1.0]], [[1.0]], [[1.0]], [[1.0]]],
        capacity=[[1.0], [1.2], [5.0]],
        fairness=math.inf,
    )
    solution = solve(problem)
    assert solution.shares[:, 0] == pytest.approx([0.25, 0.25, 0.6, 0.6, 1.0], rel=1e-6)
    assert solution.prices[:, 0] == pytest.approx([0.25, 0.0, 0.0], abs=1e-6)


def test_who_is_settled_makes_room_where_others_can_use_it() -> None:
    """Job 0 runs on either flavor; job 1 only on the first, job 2, which needs twice as much, only on the second. At
    the first level job 0 must leave the second flavor to job 2, and so takes what job 1 then shares with it.
    """
    problem = Problem.from_arrays(
        throughput=[[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]],
        flavor=[[0, 1], [0, 0], [1, 1]],
        demand=[[[1.0], [1.0]], [[1.0], [1.0]], [[2.0], [2.0]]],
        capacity=[[1.0], [0.6]],
        fairness=math.inf,
    )
    solution = solve(problem)
    assert levels(problem, solution) == pytest.approx([0.5, 0.5, 0.3], rel=1e-6)


def test_limits_are_levels_of_their_own() -> None:
    problem = Problem.from_arrays(
        throughput=np.ones((4, 1)),
        flavor=np.zeros((4, 1)),
        demand=np.ones((4, 1, 1)),
        capacity=[[2.0]],
        count=[1, 1, 1, 2],
        limits=[Limit.of(0, 0, 0.2, [0, 1]), Limit.of(0, 0, 0.25, [2])],
        fairness=math.inf,
    )
    solution = solve(problem)
    assert solution.shares[:, 0] == pytest.approx([0.1, 0.1, 0.25, 0.775], rel=1e-6)


def test_jobs_that_all_reach_their_own_ends_need_one_program() -> None:
    """A thousand different ends on the way up are no levels."""
    random = np.random.default_rng(7)
    n = 1000
    problem = Problem.from_arrays(
        throughput=np.ones((n, 2)),
        flavor=np.tile([0, 1], (n, 1)),
        demand=random.uniform(0.5, 1.0, (n, 2, 1)),
        capacity=[[0.3 * n], [0.3 * n]],
        weight=random.uniform(0.1, 10.0, n),
        fairness=math.inf,
    )
    solution = solve(problem)
    assert solution.status is Status.OPTIMAL
    assert solution.iterations <= 100
    assert (solution.shares.sum(axis=1) > 1 - 1e-6).sum() > n / 4


def test_a_tiny_weight_does_not_let_the_repair_undo_the_levels() -> None:
    """A job of weight 1e-5 gets next to nothing, as it should; an equal split would suit the lowest level as well."""
    problem = Problem.from_arrays(
        throughput=np.ones((4, 1)),
        flavor=[[0], [0], [1], [1]],
        demand=np.ones((4, 1, 1)),
        capacity=[[0.2], [1.0]],
        weight=[1.0, 1.0, 1.0, 1e-5],
        fairness=math.inf,
    )
    level = 1 / (1 + 1e-5)
    assert levels(problem, solve(problem)) == pytest.approx([0.1, 0.1, level, level], rel=1e-6)


# --- properties -------------------------------------------------------------------------------------------------


@st.composite
def tied(draw: st.DrawFn) -> Problem:
    """Up to 8 rows of few distinct shapes over identical flavors: ties between rows, columns and capacities."""
    n, width = draw(st.integers(2, 8)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = random.choice([1.0, 1.0, 2.0], (2, width))
    shape = random.integers(0, 2, n)
    flavor = np.stack([random.permutation(3)[:width] for _ in range(n)])
    demand = np.repeat(random.choice([1.0, 2.0], (2, 1, 2))[shape], width, axis=1)
    return Problem.from_arrays(
        throughput=shapes[shape],
        flavor=flavor,
        demand=demand,
        capacity=np.repeat(random.choice([1.0, 2.0, 3.0], (3, 1)), 2, axis=1),
        weight=random.choice([1.0, 1.0, 2.0], n),
        count=random.choice([1, 1, 3], n),
        fairness=math.inf,
    )


def assert_settled(solution: Solution) -> None:
    assert solution.status is Status.OPTIMAL
    assert solution.solver in ("max_min", "surplus")
    assert solution.solver == "surplus" or "all" in solution.attempts[-1], solution.attempts


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(problems(alphas=INFINITE), tied()))
def test_every_level_is_that_of_a_ladder_of_another_solver(problem: Problem) -> None:
    solution = solve(problem, gap=1e-6)
    assert_settled(solution)
    assert_no_overuse(problem, solution.shares)
    assert levels(problem, solution) == pytest.approx(exact_levels(problem), rel=2e-6)
    assert solution.objective <= solution.bound


def crowded(draw_seed: int, n: int, width: int = 3, resources: int = 3) -> Problem:
    """Vector demands on several flavors, heavy-tailed weights, about four times what there is."""
    random = np.random.default_rng(draw_seed)
    flavors = 4
    possible = random.random((n, width)) < 0.8
    possible[:, 0] = True
    return Problem.from_arrays(
        throughput=random.uniform(0.2, 2.0, (n, width)) * possible,
        flavor=np.stack([random.permutation(flavors)[:width] for _ in range(n)]),
        demand=random.uniform(0.2, 2.0, (n, width, resources)),
        capacity=random.uniform(0.5, 1.5, (flavors, resources)) * n / 12,
        weight=random.pareto(1.5, n) + 0.1,
        count=random.integers(1, 4, n),
        limits=[Limit.of(0, 0, n / 100, range(0, n, 3)), Limit.of(1, 1, n / 50, range(0, n, 5))],
        fairness=math.inf,
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([5, 20, 40]))
def test_random_crowds_have_the_levels_of_another_solver(seed: int, n: int) -> None:
    problem = crowded(seed, n)
    solution = solve(problem, gap=1e-6)
    assert_settled(solution)
    assert levels(problem, solution) == pytest.approx(exact_levels(problem), rel=2e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.one_of(problems(alphas=INFINITE), tied()), st.randoms(use_true_random=False))
def test_nobody_can_be_raised_without_lowering_somebody_as_low(problem: Problem, random: Any) -> None:
    """The definition of max-min, and with it Pareto efficiency: raise one row as far as it goes while everybody at or
    below its level keeps what he has; those above may lose everything.
    """
    found = levels(problem, solve(problem, gap=1e-6))
    row = random.randrange(problem.row_count)
    kept = np.where(found <= found[row] * (1 + 1e-6), found * (1 - 1e-9), 0.0)
    n, size = problem.row_count, problem.eligible.size
    owner = np.repeat(np.arange(n), problem.column_count)
    worth = problem.utility.ravel() / problem.weight[owner]
    level = sp.csr_array((worth, (owner, np.arange(size))), shape=(n, size))
    time = sp.csr_array((np.ones(size), (owner, np.arange(size))), shape=(n, size))
    answer = highs(
        -np.where(owner == row, worth, 0.0),
        A_ub=sp.vstack([problem.coupling.tocsr(), time, -level]).tocsc(),
        b_ub=np.concatenate([problem.available, np.ones(n), -kept]),
        bounds=[(0.0, 1.0 if open_column else 0.0) for open_column in problem.eligible.ravel()],
        method="highs",
    )
    assert answer.status == 0
    # what the others' tolerance sets free goes to this row alone, which may be a small one
    assert -answer.fun <= found[row] * (1 + 1e-5) + 1e-6 * found.max() * problem.row_count


@settings(max_examples=30, deadline=None, derandomize=True)
@given(tied(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(problem: Problem, random: Any) -> None:
    order = list(range(problem.row_count))
    random.shuffle(order)
    shuffled = Problem.from_arrays(
        throughput=problem.throughput[order],
        flavor=problem.flavor[order],
        demand=problem.demand[order],
        capacity=problem.capacity,
        weight=problem.weight[order],
        count=problem.count[order],
        fairness=math.inf,
    )
    assert levels(shuffled, solve(shuffled)) == pytest.approx(levels(problem, solve(problem))[order], rel=1e-6)


def test_a_row_of_several_jobs_is_as_many_rows_of_one() -> None:
    problem = crowded(3, 15)
    split = np.repeat(np.arange(15), problem.count)
    limits = [
        limit._replace(members=np.flatnonzero(np.isin(split, limit.members)).tolist()) for limit in problem.limits
    ]
    one_by_one = Problem.from_arrays(
        throughput=problem.throughput[split],
        flavor=problem.flavor[split],
        demand=problem.demand[split],
        capacity=problem.capacity,
        weight=problem.weight[split],
        limits=limits,
        fairness=math.inf,
    )
    assert levels(one_by_one, solve(one_by_one)) == pytest.approx(levels(problem, solve(problem))[split], rel=1e-6)


# --- budgets ----------------------------------------------------------------------------------------------------


def test_a_budget_cut_anywhere_leaves_a_feasible_answer_that_only_gets_better() -> None:
    problem = crowded(11, 30)
    whole = solve(problem, gap=1e-6)
    exact = np.sort(levels(problem, whole))
    assert whole.iterations > 20
    complete = 0
    for iterations in range(1, whole.iterations + 1):
        cut = ChainSolver().solve(problem, gap=1e-6, iterations=iterations, warm_start=None)
        assert_no_overuse(problem, cut.shares)
        assert cut.iterations <= iterations + 60, "equal_split alone spends passes of its own"
        assert cut.objective <= whole.bound
        assert cut.bound >= whole.objective
        found = np.sort(levels(problem, cut))
        matched = int(np.argmax([*(np.abs(found - exact) > 1e-5 * exact), True]))
        if cut.status is Status.OPTIMAL:
            assert matched >= complete
            complete = matched
    assert complete == problem.row_count


def test_what_the_outcome_says_when_the_budget_ends() -> None:
    problem = crowded(11, 30)
    candidate = max_min(problem, 20)
    assert candidate.iterations <= 20
    assert "iterations used up after" in candidate.outcome


def test_the_same_problem_gives_the_same_bits() -> None:
    problem = crowded(5, 60)
    first, second = solve(problem), solve(problem)
    assert first.shares.tobytes() == second.shares.tobytes()
    assert first.prices.tobytes() == second.prices.tobytes()


@pytest.mark.parametrize(
    "changes",
    [{"weight": [1e-9]}, {"weight": [1e9]}, {"reference": [1e6]}, {"count": [10**6]}, {"throughput": [[1e-9]]}],
)
def test_scales_do_not_matter(changes: dict[str, Any]) -> None:
    problem = single_job(fairness=math.inf, **changes)
    solution = solve(problem, gap=1e-6)
    assert_settled(solution)
    assert solution.shares[0, 0] == pytest.approx(0.5 / problem.count[0], rel=1e-6)
    assert replace(solution).objective == solution.objective

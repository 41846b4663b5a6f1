"""The compiled passes against the plain functions: the same bits of a problem, the same bound, shares as good."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import (
    Limit,
    LimitPart,
    Problem,
    certify,
    dual_bound,
    fused_bound,
    fused_repair,
    kernels,
    objective,
    repair,
)
from allocator.formulation.certificate import gap_unit
from allocator.formulation.kernels import COMPILED_ROWS
from allocator.formulation.response import value_and_spending
from allocator.solvers import Status, solve
from tests.formulation.instances import problems
from tests.formulation.test_certificate import assert_no_overuse, wild_shares

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
FINITE = (0.0, 0.5, 1.0, 1.7, 2.0, 3.0)


def never(_objective: float) -> bool:
    return False


def many(rows: int, fairness: float, seed: int = 0) -> Problem:
    """Everything at once: closed columns and flavors, demands of 0, counts, limits, weights over 12 orders."""
    random = np.random.default_rng(seed)
    throughput = random.choice([0.0, 0.5, 1.0, 3.7], (rows, 3))
    flavor = random.integers(0, 3, (rows, 3))
    demand = random.choice([0.0, 0.25, 1.0, 8.0], (rows, 3, 2))
    throughput[:, 0], flavor[:, 0], demand[:, 0, 0] = 1.0, 0, 0.0
    limits = [
        Limit.of(1, 0, 5.0, np.arange(0, rows, 2).tolist()),
        Limit.of(1, 1, 0.0, np.arange(1, rows, 7).tolist()),
        Limit.of(0, 1, rows / 50, np.arange(1, rows, 3).tolist()),
        Limit(((0, 0, 0.3), (0, 1, 0.7), (1, 0, 2.5)), rows / 9, np.arange(0, rows, 2)),
        Limit(((2, 1, 0.1),), 0.0, [], (LimitPart(((0, 0, 0.1),), np.arange(rows // 2)),)),
        Limit(
            ((0, 1, 0.1),),
            rows / 70,
            np.arange(rows),
            (LimitPart(((0, 1, 0.2), (0, 0, 1.0)), np.arange(0, rows, 3)), LimitPart(((1, 1, 3.0),), np.arange(2, 99))),
        ),
    ]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=flavor,
        demand=demand,
        capacity=[[rows / 3, rows / 10], [rows / 100, rows / 4], [0.0, 7.0]],
        weight=10.0 ** random.uniform(-6, 6, rows),
        count=random.choice([1, 1, 4], rows),
        fairness=fairness,
        limits=limits,
    )


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing is compiled, however many rows there are."""
    monkeypatch.setattr(kernels, "COMPILED_ROWS", 10**9)


@pytest.mark.parametrize("rows", [COMPILED_ROWS, 9000])
def test_a_problem_of_many_rows_has_the_bits_of_the_plain_functions(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = many(rows, 1.0)
    plainly(monkeypatch)
    plain = many(rows, 1.0)
    for name in ("throughput", "eligible", "reference", "utility", "available"):
        assert getattr(compiled, name).tobytes() == getattr(plain, name).tobytes()
    for part in ("data", "indices", "indptr"):
        one, other = getattr(compiled.coupling, part), getattr(plain.coupling, part)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"throughput": 0.0}, r"throughput\[1234\]: .*every throughput is 0"),
        ({"demand": 1.0}, r"throughput\[1234\]: .*needs a capacity or a limit that is 0"),
    ],
)
def test_a_row_among_many_that_cannot_run_is_named(changes: dict[str, float], message: str) -> None:
    rows = COMPILED_ROWS
    arrays: dict[str, Any] = {"throughput": np.ones((rows, 1)), "demand": np.zeros((rows, 1, 1))}
    for name, value in changes.items():
        arrays[name][1234] = value
    with pytest.raises(ValueError, match=message):
        Problem.from_arrays(flavor=np.zeros((rows, 1)), capacity=[[0.0]], **arrays)


@PROPERTY
@given(problems(alphas=FINITE), SEEDS)
def test_the_bound_is_that_of_the_plain_functions(problem: Problem, seed: int) -> None:
    random = np.random.default_rng(seed)
    prices = random.choice([0.0, 1e-9, 1e-3, 0.1, 1.0, 30.0, 1e6], problem.available.size)
    size = problem.capacity.size
    value, worths, spending = fused_bound.value_and_spending(problem, prices)
    expected = value_and_spending(problem, prices[:size].reshape(problem.capacity.shape), prices[size:])
    scale = expected[1] + expected[2]
    assert value - spending == pytest.approx(expected[0] - expected[2], abs=1e-13 * scale, rel=1e-12)
    assert worths == pytest.approx(expected[1], rel=1e-9, abs=1e-12 * scale)


@PROPERTY
@given(problems(), SEEDS)
def test_compiled_repair_makes_any_shares_feasible_and_as_good(problem: Problem, seed: int) -> None:
    wild = wild_shares(problem, seed)
    shares, value = fused_repair.feasible(problem, wild, never)
    assert_no_overuse(problem, shares)
    assert value == pytest.approx(objective(problem, shares), rel=1e-12, abs=1e-12)
    if problem.fairness >= 1:
        assert (problem.utilities(shares) > 0).all()
    plain = objective(problem, repair(problem, wild))
    assert value >= plain - 0.02 * abs(plain) - 1e-9 * gap_unit(problem)


@PROPERTY
@given(problems(), SEEDS)
def test_compiled_repair_leaves_feasible_shares_as_they_are_when_that_is_enough(problem: Problem, seed: int) -> None:
    once, value = fused_repair.feasible(problem, wild_shares(problem, seed), never)
    again, same = fused_repair.feasible(problem, once, lambda _objective: True)
    assert again.tobytes() == once.tobytes()
    assert same == value


@pytest.mark.parametrize("fairness", [*FINITE, np.inf])
def test_many_rows_are_certified_as_by_the_plain_functions(fairness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = many(9000, fairness)
    random = np.random.default_rng(1)
    shares = random.choice([0.0, 0.2, 1.0, 1e300, -2.0, np.nan], problem.throughput.shape)
    prices = random.choice([np.nan, -1.0, 0.0, 1.0, 1e3, np.inf], problem.capacity.shape)
    duties = random.uniform(0, 10, problem.limit_count)
    compiled = certify(problem, shares, prices, duties)
    plainly(monkeypatch)
    plain = certify(problem, shares, prices, duties)
    assert_no_overuse(problem, compiled.shares)
    backwards = problem.coupling[:, ::-1] @ compiled.shares.ravel()[::-1]
    assert (backwards <= problem.available).all()
    assert compiled.objective <= compiled.bound
    assert compiled.bound == pytest.approx(plain.bound, rel=1e-11)
    assert compiled.objective == pytest.approx(objective(problem, compiled.shares), rel=1e-12)
    assert compiled.objective >= plain.objective - 0.02 * abs(plain.objective)


@pytest.mark.parametrize("fairness", [0.0, 1.0, 1.7, np.inf])
def test_threads_change_no_bit(fairness: float) -> None:
    problem = many(30_000, fairness)
    random = np.random.default_rng(2)
    shares, prices = random.uniform(-0.1, 0.6, problem.throughput.shape), random.uniform(0, 1e4, problem.capacity.shape)
    one, *others = (certify(problem, shares, prices, threads=threads) for threads in (1, 2, 4))
    for other in others:
        assert other.shares.tobytes() == one.shares.tobytes()
        assert (other.objective, other.bound) == (one.objective, one.bound)


def test_shares_may_be_repaired_in_place() -> None:
    problem = many(COMPILED_ROWS, 1.0)
    shares, prices = np.ones(problem.throughput.shape), np.ones(problem.capacity.shape)
    kept = certify(problem, shares, prices).shares
    assert (shares == 1).all()
    assert certify(problem, shares, prices, overwrite=True).shares is shares
    assert shares.tobytes() == kept.tobytes()
    frozen = np.ones(problem.throughput.shape)
    frozen.flags.writeable = False
    assert certify(problem, frozen, prices, overwrite=True).shares.tobytes() == kept.tobytes()


@pytest.mark.parametrize("size", [1e-200, 1e130, 1e300])
def test_prices_of_any_size_are_bounded_as_by_the_plain_functions(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = many(COMPILED_ROWS, 1.0)
    prices, duties = np.full(problem.capacity.shape, size), np.zeros(problem.limit_count)
    compiled = dual_bound(problem, prices, duties)
    plainly(monkeypatch)
    assert np.isfinite(compiled)
    assert compiled == dual_bound(problem, prices, duties)


def test_nothing_grows_beyond_what_is_enough() -> None:
    problem = many(COMPILED_ROWS, 1.0)
    shares = certify(problem, np.ones(problem.throughput.shape), np.zeros(problem.capacity.shape)).shares * 0.9
    prices = np.full(problem.capacity.shape, problem.total_weight / problem.capacity.sum())
    duties = np.zeros(problem.limit_count)
    full = certify(problem, shares, prices, duties)
    left = certify(problem, shares, prices, duties, enough=full.gap + 1)
    assert left.shares == pytest.approx(shares, abs=1e-12)
    assert full.gap < left.gap <= full.gap + 1
    assert certify(problem, shares, prices, duties, enough=full.gap / 2).objective == full.objective


def test_few_rows_load_no_compiler() -> None:
    code = (
        "import sys, numpy as np; from allocator.formulation import Problem, certify;"
        "ones, three = np.ones((50, 1)), np.ones((50, 1, 1));"
        "p = Problem.from_arrays(throughput=ones, flavor=0 * ones, demand=three, capacity=[[5.0]]);"
        "certify(p, ones, np.ones((1, 1))); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_place_for_compiled_kernels_the_plain_functions_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """What numba says when there is no folder that it can write to."""

    def no_place(*_: object, **__: object) -> object:
        raise RuntimeError("cannot cache function: no locator available")

    for name in ("fused_bound", "fused_coupling", "fused_repair", "merging_kernels"):
        monkeypatch.delitem(sys.modules, f"allocator.formulation.{name}", raising=False)
        monkeypatch.delattr(f"allocator.formulation.{name}", raising=False)
    monkeypatch.setattr("numba.njit", no_place)
    kernels._load.cache_clear()
    try:
        assert not kernels.compiled(COMPILED_ROWS)
        problem = Problem.from_arrays(
            throughput=np.ones((COMPILED_ROWS, 1)),
            flavor=np.zeros((COMPILED_ROWS, 1), dtype=int),
            demand=np.ones((COMPILED_ROWS, 1, 1)),
            capacity=[[10.0]],
        )
        assert solve(problem).status is Status.OPTIMAL
    finally:
        kernels._load.cache_clear()

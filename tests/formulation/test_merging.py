"""Merging changes nothing but the size: the same optimum, exact equality whatever the hash, feasible for everybody."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import Limit, LimitPart, Problem, dual_bound, merging, objective, repair
from allocator.formulation.kernels import COMPILED_ROWS
from allocator.formulation.merging import LARGEST_PART, Merged, merged
from tests.formulation.instances import problems
from tests.formulation.test_certificate import assert_no_overuse

ROWS = 3 * COMPILED_ROWS
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)


def copies(problem: Problem, seed: int, *, shuffled: bool = False, rows: int = ROWS) -> tuple[Problem, Any]:
    """`rows` rows, each a copy of a random one of `problem` at half the utility, in limits as that one is; which one
    each is.

    Shuffled: columns in another order for half of the rows, junk where they are not eligible, throughput and reference
    doubled for some, memberships of limits that count nothing of the row.
    """
    random = np.random.default_rng(seed)
    source = random.integers(0, problem.row_count, rows)
    throughput = np.where(problem.eligible, problem.throughput, 0.0)[source]
    flavor, demand, reference = problem.flavor[source], problem.demand[source], 2 * problem.reference[source]
    width = problem.column_count
    limits = []
    for limit in problem.limits:
        parts, idle = [], shuffled & random.choice([True, False], rows)  # whom it counts nothing of may be in it
        for terms, members in limit.parts:
            inside = np.isin(np.arange(problem.row_count), members)
            counts = inside & [counted(problem, row, terms) for row in range(problem.row_count)]
            parts.append(LimitPart(terms, np.flatnonzero(counts[source] | (idle & ~counts[source] & inside[source]))))
        limits.append(Limit(parts[0].terms, limit.amount * rows, parts[0].members, tuple(parts[1:])))
    if shuffled:
        order = np.tile(np.arange(width), (rows, 1))
        order[::2] = random.permuted(order[::2], axis=1)
        take = np.arange(rows)[:, None], order
        throughput, flavor, demand = throughput[take], flavor[take], demand[take]
        closed = throughput == 0
        flavor = np.where(closed, random.integers(0, problem.flavor_count, flavor.shape), flavor)
        demand = np.where(closed[:, :, None], random.uniform(0, 9, demand.shape), demand)
        factor = random.choice([1.0, 2.0, 0.5], rows)
        throughput, reference = throughput * factor[:, None], reference * factor
    return (
        Problem.from_arrays(
            throughput=throughput,
            flavor=flavor,
            demand=demand,
            capacity=problem.capacity * rows,
            weight=problem.weight[source],
            count=random.integers(1, 4, rows),
            fairness=problem.fairness,
            reference=reference,
            limits=limits,
        ),
        source,
    )


def counted(problem: Problem, row: int, terms: tuple[tuple[int, int, float], ...]) -> bool:
    """Whether the terms count anything of a column that the row can use."""
    return any(
        problem.eligible[row, k] and problem.flavor[row, k] == flavor and problem.demand[row, k, resource] > 0
        for k in range(problem.column_count)
        for flavor, resource, _ in terms
    )


def shapes_of(problem: Problem) -> list[tuple[Any, ...]]:
    """What matters of each row, by the definition: eligible columns as a multiset, weight, limits that count them and
    by which terms.
    """
    shapes = []
    holds = [
        {row: terms for terms, members in limit.parts for row in np.asarray(members).tolist()}
        for limit in problem.limits
    ]
    for i in range(problem.row_count):
        columns = sorted(
            (problem.flavor[i, k], problem.utility[i, k], *problem.demand[i, k])
            for k in np.flatnonzero(problem.eligible[i])
        )
        limits = tuple((at, terms[i]) for at, terms in enumerate(holds) if i in terms and counted(problem, i, terms[i]))
        shapes.append((tuple(columns), problem.weight[i], limits))
    return shapes


def found(problem: Problem, threads: int | None = None) -> Merged:
    together = merged(problem, threads)
    assert together is not None
    return together


@PROPERTY
@given(problems(), SEEDS, st.booleans())
def test_rows_are_merged_exactly_when_all_that_matters_is_equal(small: Problem, seed: int, shuffled: bool) -> None:
    problem, _ = copies(small, seed, shuffled=shuffled)
    together = found(problem)
    numbers: dict[tuple[Any, ...], int] = {}
    expected = [numbers.setdefault(shape, len(numbers)) for shape in shapes_of(problem)]
    assert together.row.tolist() == expected
    assert shapes_of(together.problem) == list(numbers)
    assert together.problem.count.tolist() == np.bincount(together.row, problem.count).tolist()


@PROPERTY
@given(problems(), SEEDS, SEEDS)
def test_objective_bound_and_use_are_those_of_the_original(small: Problem, seed: int, share_seed: int) -> None:
    problem, _ = copies(small, seed, shuffled=True)
    together = found(problem)
    random = np.random.default_rng(share_seed)
    shares = together.with_room(repair(together.problem, random.uniform(0, 1, together.problem.throughput.shape)))
    everybody = together.spread(shares)
    assert objective(problem, everybody) == pytest.approx(objective(together.problem, shares), rel=1e-9, abs=1e-9)
    assert problem.usage(everybody) == pytest.approx(together.problem.usage(shares), rel=1e-9)
    prices, duties = random.uniform(0, 1, problem.capacity.shape), random.uniform(0, 1, problem.limit_count)
    assert dual_bound(together.problem, prices, duties) == pytest.approx(dual_bound(problem, prices, duties), rel=1e-9)


@PROPERTY
@given(problems(), SEEDS, st.booleans())
def test_what_is_spread_is_strictly_feasible_in_any_order(small: Problem, seed: int, shuffled: bool) -> None:
    problem, _ = copies(small, seed, shuffled=shuffled)
    together = found(problem)
    shares = together.spread(together.with_room(repair(together.problem, np.ones(together.problem.throughput.shape))))
    assert_no_overuse(problem, shares)
    amounts = problem.count[:, None, None] * problem.demand * shares[:, :, None]
    for f in range(problem.flavor_count):
        terms = np.where((problem.flavor == f)[:, :, None], amounts, 0.0).reshape(-1, problem.resource_count)
        for order in (np.arange(len(terms)), np.arange(len(terms))[::-1], np.argsort(terms[:, 0], kind="stable")):
            one_after_the_other = np.cumsum(terms[order], axis=0)[-1]
            assert (one_after_the_other <= problem.capacity[f]).all()


def test_room_is_made_when_the_sum_of_the_original_might_not_fit() -> None:
    """Used up to the last bit by one row: the same shares of many rows may round beyond it."""
    problem = Problem.from_arrays(
        throughput=np.ones((ROWS, 1)), flavor=np.zeros((ROWS, 1)), demand=np.full((ROWS, 1, 1), 0.1), capacity=[[60.0]]
    )
    together = found(problem)
    exact = np.array([[60.0 / (ROWS * 0.1)]])
    roomy = together.with_room(exact)
    assert (roomy < exact).all()
    assert roomy == pytest.approx(exact, rel=1e-10)
    used = sum(Fraction(0.1) * Fraction(float(share)) for share in together.spread(roomy)[:, 0])
    assert used * (1 + Fraction(ROWS, 2**53)) <= 60
    half = exact / 2
    assert together.with_room(half) is half


def test_a_whole_time_added_in_another_order_still_fits() -> None:
    demand = np.ones((ROWS, 3, 1))
    demand[:, :, 0] = [1.0, 2.0, 3.0]
    demand[::2, :, 0] = [3.0, 1.0, 2.0]
    problem = Problem.from_arrays(
        throughput=np.ones((ROWS, 3)), flavor=np.zeros((ROWS, 3)), demand=demand, capacity=[[1e9]]
    )
    together = found(problem)
    assert together.moved
    shares = np.array([[0.1, 0.7, 0.2]])
    assert shares.sum() <= 1
    for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        assert sum(together.with_room(shares)[0, order].tolist()) <= 1


@pytest.mark.parametrize("mask", [0, 1, 0xFF])
@pytest.mark.parametrize("shuffled", [False, True])
def test_colliding_fingerprints_change_nothing(mask: int, shuffled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    small = Problem.from_arrays(
        throughput=random.choice([1.0, 2.0], (60, 3)),
        flavor=random.integers(0, 2, (60, 3)),
        demand=random.choice([1.0, 3.0], (60, 3, 2)),
        capacity=np.ones((2, 2)),
        limits=[Limit.of(0, 0, 1.0, range(0, 60, 3)), Limit.of(1, 1, 1.0, range(30))],
    )
    problem, _ = copies(small, 1, shuffled=shuffled)
    plain = found(problem)
    assert plain.problem.row_count > 40
    monkeypatch.setattr(merging, "_MASK", mask)
    colliding = found(problem)
    assert colliding.row.tobytes() == plain.row.tobytes()
    assert colliding.problem.demand.tobytes() == plain.problem.demand.tobytes()


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_same_bytes_with_any_number_of_threads(shuffled: bool) -> None:
    random = np.random.default_rng(2)
    small = Problem.from_arrays(
        throughput=random.choice([0.0, 1.0, 2.0], (300, 4)) + np.array([1.0, 0, 0, 0]),
        flavor=random.integers(0, 3, (300, 4)),
        demand=random.choice([0.0, 1.0, 3.0], (300, 4, 2)),
        capacity=np.ones((3, 2)),
        limits=[Limit.of(0, 0, 1.0, range(100))],
    )
    problem, _ = copies(small, 3, shuffled=shuffled, rows=40_000)
    one = found(problem, threads=1)
    shares = random.uniform(0, 1, one.problem.throughput.shape)
    for threads in (2, 4):
        other = found(problem, threads)
        assert other.row.tobytes() == one.row.tobytes()
        assert other.first.tobytes() == one.first.tobytes()
        assert other.problem.count.tobytes() == one.problem.count.tobytes()
        assert other.spread(shares, threads).tobytes() == one.spread(shares, 1).tobytes()


def test_columns_go_back_to_where_they_were() -> None:
    """One row has its columns the other way round, and one of junk in front."""
    throughput = np.tile([1.0, 2.0, 0.0], (ROWS, 1))
    throughput[1] = [0.0, 2.0, 1.0]
    flavor = np.tile([0, 1, 1], (ROWS, 1))
    flavor[1] = [1, 1, 0]
    problem = Problem.from_arrays(
        throughput=throughput, flavor=flavor, demand=np.ones((ROWS, 3, 1)), capacity=[[1.0], [1.0]]
    )
    together = found(problem)
    assert together.problem.row_count == 1
    spread = together.spread(np.array([[0.25, 0.5, 0.0]]))
    assert spread[:3].tolist() == [[0.25, 0.5, 0.0], [0.0, 0.5, 0.25], [0.25, 0.5, 0.0]]


@pytest.mark.parametrize("mask", [0, 2**64 - 1])
@pytest.mark.parametrize("field", ["utility", "weight", "demand", "flavor", "eligible"])
def test_the_last_bit_of_one_row_keeps_it_apart(field: str, mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_MASK", mask)
    arrays: dict[str, Any] = {
        "throughput": np.tile([1.0, 2.0], (ROWS, 1)),
        "flavor": np.zeros((ROWS, 2)),
        "demand": np.ones((ROWS, 2, 1)),
        "weight": np.ones(ROWS),
        "reference": np.full(ROWS, 2.0),
    }
    changes: dict[str, Any] = {
        "utility": ("throughput", (7, 0), np.nextafter(1.0, 2)),
        "weight": ("weight", 7, np.nextafter(1.0, 2)),
        "demand": ("demand", (7, 1, 0), np.nextafter(1.0, 0)),
        "flavor": ("flavor", (7, 0), 1),
        "eligible": ("throughput", (7, 0), 0.0),
    }
    name, index, value = changes[field]
    arrays[name][index] = value
    together = found(Problem.from_arrays(capacity=[[1.0], [1.0]], **arrays))
    assert together.problem.count.tolist() == [ROWS - 1, 1]
    assert np.flatnonzero(together.row == 1).tolist() == [7]


def test_a_column_that_only_a_limit_of_zero_closed_stays_closed() -> None:
    problem = Problem.from_arrays(
        throughput=np.tile([1.0, 2.0], (ROWS, 1)),
        flavor=np.tile([0, 1], (ROWS, 1)),
        demand=np.ones((ROWS, 2, 1)),
        capacity=[[1.0], [1.0]],
        reference=np.ones(ROWS),
        limits=[Limit.of(1, 0, 0.0, range(0, ROWS, 2))],
    )
    together = found(problem)
    assert together.problem.eligible.tolist() == [[True, False], [True, True]]
    assert together.problem.limit_count == 1
    assert together.row[:4].tolist() == [0, 1, 0, 1]


def test_few_rows_and_different_rows_are_left_alone() -> None:
    def uniform(rows: int, kinds: int) -> Problem:
        kind = np.arange(rows) % kinds
        return Problem.from_arrays(
            throughput=1 + kind[:, None], flavor=np.zeros((rows, 1)), demand=1 + kind[:, None, None], capacity=[[1.0]]
        )

    assert merged(uniform(COMPILED_ROWS - 1, 1)) is None
    assert merged(uniform(COMPILED_ROWS, 1)) is not None
    assert merged(uniform(20_000, 20_000)) is None
    assert merged(uniform(20_000, int(20_000 * LARGEST_PART) + 1000)) is None
    assert merged(uniform(20_000, int(20_000 * LARGEST_PART) // 2)) is not None


def test_rows_that_look_alike_in_the_sample_and_are_not_are_left_alone() -> None:
    rows = 50_000
    looked_at = merging._scattered(rows, int(merging._SAMPLE_FACTOR * rows**0.5))
    different = np.where(np.isin(np.arange(rows), looked_at), 0, np.arange(rows))
    problem = Problem.from_arrays(
        throughput=np.ones((rows, 1)), flavor=np.zeros((rows, 1)), demand=1.0 + different[:, None, None],
        capacity=[[1.0]],
    )  # fmt: skip
    assert merged(problem) is None


def test_equal_rows_side_by_side_are_found() -> None:
    rows = 40_000
    problem = Problem.from_arrays(
        throughput=np.ones((rows, 1)),
        flavor=np.zeros((rows, 1)),
        demand=1.0 + (np.arange(rows) // 10)[:, None, None],
        capacity=[[1.0]],
    )
    assert found(problem).problem.row_count == rows // 10


def test_counts_too_large_to_add_up_exactly_are_left_alone() -> None:
    problem = Problem.from_arrays(
        throughput=np.ones((ROWS, 1)), flavor=np.zeros((ROWS, 1)), demand=np.ones((ROWS, 1, 1)), capacity=[[1.0]],
        count=np.full(ROWS, 2**52),
    )  # fmt: skip
    assert merged(problem) is None


def test_no_resources_and_infinite_alpha_are_merged_too() -> None:
    problem = Problem.from_arrays(
        throughput=np.ones((ROWS, 2)), flavor=np.zeros((ROWS, 2)), demand=np.ones((ROWS, 2, 0)),
        capacity=np.zeros((1, 0)), fairness=math.inf,
    )  # fmt: skip
    together = found(problem)
    assert (together.problem.row_count, together.problem.fairness) == (1, math.inf)
    assert replace(together, moved=True).spread(np.array([[0.5, 0.25]])).tolist() == [[0.5, 0.25]] * ROWS

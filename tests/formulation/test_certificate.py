"""The certificate must hold for anything: arbitrary shares are made feasible, arbitrary prices bound the optimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import Limit, Problem, certify, dual_bound, objective, repair
from allocator.formulation.certificate import gap_unit, positive_split
from allocator.formulation.fairness import phi
from allocator.formulation.response import demanded_utility, hull, job_costs, value_and_spending
from tests.formulation.instances import problems, single_job

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)


def assert_no_overuse(problem: Problem, shares: Any) -> None:
    """Exactly: nothing negative, nobody more than all the time, no capacity and no limit exceeded as floats add up."""
    assert (shares >= 0).all()
    assert (shares[~problem.eligible] == 0).all()
    assert (shares.sum(axis=1) <= 1).all()
    assert (problem.usage(shares) <= problem.capacity).all()
    assert (problem.limit_usage(shares) <= problem.limit_amount).all()


def wild_shares(problem: Problem, seed: int) -> Any:
    """Shares as a broken solver might give them."""
    random = np.random.default_rng(seed)
    values = [0.0, 1.0, 0.3, 1e-9, -0.5, 7.0, float("nan"), float("inf")]
    return random.choice(values, problem.throughput.shape) * random.choice([1.0, 1.0, 0.1], problem.throughput.shape)


@PROPERTY
@given(problems(), SEEDS)
def test_repair_makes_any_shares_feasible_and_starves_nobody(problem: Problem, seed: int) -> None:
    shares = repair(problem, wild_shares(problem, seed))
    assert_no_overuse(problem, shares)
    if problem.fairness >= 1:
        assert (problem.utilities(shares) > 0).all()


@PROPERTY
@given(problems(), SEEDS)
def test_usage_by_another_order_of_summation_does_not_exceed_what_repair_scaled_to(problem: Problem, seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = repair(problem, random.uniform(0.5, 1.0, problem.throughput.shape))
    for f in range(problem.flavor_count):
        for r in range(problem.resource_count):
            used = math.fsum(
                float(problem.count[i] * problem.demand[i, k, r]) * float(shares[i, k])
                for i, k in np.argwhere(problem.eligible & (problem.flavor == f))
            )
            assert used <= problem.capacity[f, r] * (1 + 1e-15)


@PROPERTY
@given(problems(), SEEDS)
def test_repair_never_makes_feasible_shares_worse(problem: Problem, seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = positive_split(problem) * random.choice([0.1, 0.9, 1.0], problem.throughput.shape)
    assert objective(problem, repair(problem, shares)) >= objective(problem, shares)


@PROPERTY
@given(problems(), SEEDS, SEEDS)
def test_any_prices_bound_any_feasible_shares(problem: Problem, share_seed: int, price_seed: int) -> None:
    random = np.random.default_rng(price_seed)
    prices = random.choice([0.0, 1e-6, 0.1, 1.0, 30.0], problem.capacity.shape)
    limit_prices = random.choice([0.0, 0.5, 10.0], problem.limit_count)
    bound = dual_bound(problem, prices, limit_prices)
    assert bound >= objective(problem, repair(problem, wild_shares(problem, share_seed)))
    assert bound >= objective(problem, positive_split(problem))


@PROPERTY
@given(problems(alphas=(0.0, 0.5, 1.0, 2.0, 3.0)), SEEDS)
def test_no_mixture_of_two_columns_beats_the_closed_form_answer(problem: Problem, seed: int) -> None:
    """The bound's part of each job, against a fine grid over every pair of columns and idling."""
    random = np.random.default_rng(seed)
    prices = random.choice([0.0, 0.1, 1.0, 5.0], problem.capacity.shape)
    limit_prices = random.choice([0.0, 0.5], problem.limit_count)
    cost = job_costs(problem, prices, limit_prices)
    corners = hull(problem, cost)
    utility = demanded_utility(problem, corners)
    least = corners.cost_at(utility)
    parts = np.linspace(0, 1, 41)
    for i in range(problem.row_count):
        weight = float(problem.weight[i])
        answer = weight * float(phi(utility[i : i + 1], problem.fairness)[0]) - least[i]
        able = problem.eligible[i]
        u, c = np.append(problem.utility[i, able], 0.0), np.append(cost[i, able], 0.0)
        mixed = parts * u[:, None, None] + (1 - parts) * u[:, None]
        paid = parts * c[:, None, None] + (1 - parts) * c[:, None]
        assert (weight * phi(mixed, problem.fairness) - paid).max() <= answer + 1e-9 * (1 + abs(answer))


@PROPERTY
@given(problems(), SEEDS)
def test_shares_of_a_response_reach_its_utility_at_its_cost(problem: Problem, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost = job_costs(problem, random.uniform(0, 2, problem.capacity.shape), random.uniform(0, 2, problem.limit_count))
    corners = hull(problem, cost)
    utility = random.uniform(0, 1, problem.row_count) * corners.utility[:, -1]
    shares = corners.shares_at(utility)
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) <= 1 + 1e-12).all()
    np.testing.assert_allclose(problem.utilities(shares), utility, atol=1e-12)
    np.testing.assert_allclose((cost * shares).sum(axis=1), corners.cost_at(utility), atol=1e-9)


@PROPERTY
@given(problems(), SEEDS)
def test_uses_and_costs_are_those_of_the_coupling_to_the_last_bit(problem: Problem, seed: int) -> None:
    """Few entries are added up one by one, which must not depend on how, nor on weights that came later."""
    random = np.random.default_rng(seed)
    shares = random.random(problem.throughput.shape)
    prices = random.random(problem.available.size)
    for each in (problem, problem.weighted(random.random(problem.row_count) + 0.1)):
        assert each.coupled_usage(shares).tobytes() == (problem.coupling @ shares.ravel()).tobytes()
        assert each.coupled_costs(prices).ravel().tobytes() == (problem.coupling.T @ prices).tobytes()
    assert each.total_weight == pytest.approx(float(each.weight @ each.count))


@PROPERTY
@given(problems(alphas=(0.0, 0.5, 1.0, 2.0)))
def test_prices_of_nothing_bound_as_the_cheapest_ways_there_are_do(problem: Problem) -> None:
    free, nothing = np.zeros(problem.capacity.shape), np.zeros(problem.limit_count)
    corners = hull(problem, job_costs(problem, free, nothing))
    value = problem.weight * problem.count * phi(demanded_utility(problem, corners), problem.fairness)
    assert value_and_spending(problem, free, nothing) == (value.sum(), np.abs(value).sum(), 0.0)


@pytest.mark.parametrize(
    ("alpha", "price", "bound"),
    [
        (1.0, 0.5, 0.5 + math.log(1.0) - 1.0),  # cost 1 per share: u = w / cost = 1
        (1.0, 1.0, 1.0 + math.log(0.5) - 1.0),  # cost 2: u = 1/2, the optimum: bound = log 1/2
        (1.0, 0.0, 0.0),
        (0.0, 0.25, 0.25 + 1.0 - 0.5),
        (0.0, 0.5, 0.5),  # cost 1 = worth: indifferent
        (2.0, 2.0, 2.0 - 2.0 - 2.0),  # u = (1/4)^(1/2)
        (math.inf, 0.5, 0.5),  # t - 2 p t is 0 for every t at p = 1/2
        (math.inf, 0.1, 0.1 + 0.8),
        (math.inf, 4.0, 4.0),
    ],
)
def test_dual_bound_by_hand(alpha: float, price: float, bound: float) -> None:
    assert dual_bound(single_job(fairness=alpha), np.array([[price]])) == pytest.approx(bound, abs=1e-12)


def test_dual_bound_counts_limits_as_capacity() -> None:
    problem = single_job(capacity=[[100.0]], limits=[Limit.of(0, 0, 1.0, [0])])
    assert dual_bound(problem, np.zeros((1, 1)), np.array([1.0])) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (np.array([[-1.0]]), "prices: must be finite numbers, at least 0"),
        (np.array([[np.nan]]), "prices: must be finite numbers"),
        (np.zeros((1, 2)), r"prices: must have shape \(1, 1\), got \(1, 2\)"),
    ],
)
def test_dual_bound_refuses_what_are_no_prices(prices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dual_bound(single_job(), prices)


def test_certify_takes_anything_and_stays_honest() -> None:
    problem = single_job()
    broken = certify(problem, np.array([[np.nan]]), np.array([[-3.0]]))
    assert_no_overuse(problem, broken.shares)
    assert broken.prices.tolist() == [[0.0]]
    assert broken.objective == pytest.approx(math.log(0.5))  # idle capacity is filled
    assert broken.gap == pytest.approx(math.log(2))  # but prices of zero prove nothing


def test_gap_is_zero_at_the_optimum_and_scales_with_the_total_weight() -> None:
    problem = single_job(weight=[4.0], count=[3])
    optimum = certify(problem, np.array([[1 / 6]]), np.array([[12.0]]))
    assert 0 <= optimum.gap < 1e-12
    off = certify(problem, np.array([[1 / 6]]), np.array([[24.0]]))
    assert off.gap == pytest.approx((off.bound - off.objective) / 12)


def test_gap_of_max_min_is_in_utility_of_a_job_of_average_weight() -> None:
    problem = single_job(weight=[4.0], fairness=math.inf)
    assert gap_unit(problem) == 0.25
    certificate = certify(problem, np.array([[0.5]]), np.array([[0.0]]))
    assert certificate.objective == pytest.approx(0.5 / 4)
    assert certificate.gap == pytest.approx(1.0 - 0.5)


def test_a_gap_is_relative_to_what_utilities_are_worth_where_powers_are_large() -> None:
    """u = 1/200 and a value of -u^-2 / 2 = -20,000: a part of the utility is worth as large a part of u^-2."""
    problem = single_job(demand=[[[200.0]]], fairness=3.0)
    certificate = certify(problem, np.array([[0.005]]), np.array([[41_000.0]]))
    assert certificate.objective == pytest.approx(-20_000)
    assert certificate.bound > certificate.objective + 1
    assert certificate.gap == pytest.approx((certificate.bound - certificate.objective) / 40_000)
    assert certificate.within(1e-3)
    assert not certificate.within(1e-6)


def test_a_row_that_can_reach_hardly_anything_is_most_of_what_utilities_are_worth_above_alpha_1() -> None:
    """Of two jobs the second reaches 2e-6, and is worth half a million times its weight: it gets nearly all, and the
    gap says what part of their utility both would lose.
    """
    problem = Problem.from_arrays(
        throughput=[[1.0], [1.0]], flavor=[[0], [0]], demand=[[[1.0]], [[1e6]]], capacity=[[2.0]], fairness=2.0
    )
    certificate = certify(problem, np.array([[2e-3], [1.998e-6]]), np.array([[1.01 * 2.5e5]]))
    assert gap_unit(problem, certificate.objective) == pytest.approx(5e5, rel=5e-3)
    assert 1e-6 < certificate.gap < 1e-3


def test_no_jobs_are_worth_nothing_and_prove_it() -> None:
    problem = Problem.from_arrays(
        throughput=np.zeros((0, 2)), flavor=np.zeros((0, 2)), demand=np.zeros((0, 2, 1)), capacity=[[3.0]]
    )
    certificate = certify(problem, np.zeros((0, 2)), np.ones((1, 1)))
    assert (certificate.objective, certificate.bound, certificate.gap) == (0.0, 0.0, 0.0)


def test_slack_is_filled_by_whoever_can_use_it() -> None:
    problem = Problem.from_arrays(
        throughput=[[1.0, 2.0], [1.0, 0.0]],
        flavor=[[0, 1], [0, 0]],
        demand=np.ones((2, 2, 1)),
        capacity=[[1.0], [1.0]],
        fairness=0.0,
    )
    assert repair(problem, np.zeros((2, 2))) == pytest.approx(np.array([[0.0, 1.0], [1.0, 0.0]]), abs=1e-12)

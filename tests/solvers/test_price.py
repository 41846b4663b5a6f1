"""Price discovery: prices by calculus, budgets, threads, known prices, and when the chain takes it.

Its answers to thousands of random problems, and to degenerate ones, are judged in `test_reference.py` and
`test_degenerate.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from allocator.formulation import Limit, LimitPart, Problem, certify
from allocator.formulation.certificate import Certificate
from allocator.solvers import ChainSolver, Status, WarmStart, solve
from allocator.solvers.candidate import Candidate
from allocator.solvers.conic import conic
from allocator.solvers.local_limits import grouped, wide_count
from allocator.solvers.price import price_discovery
from tests.formulation.test_certificate import assert_no_overuse
from tests.solvers.degenerate import market


def judged(problem: Problem, candidate: Candidate) -> Certificate:
    certificate = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
    assert_no_overuse(problem, certificate.shares)
    return certificate


def test_one_price_is_the_one_that_calculus_gives() -> None:
    """Three equal jobs of demand 2 share 3 units: u = 1/2, price = 3 u^-alpha / 6; a price that is d off costs d^2."""
    for alpha in (0.3, 0.5, 1.0, 2.0, 3.0):
        problem = Problem.from_arrays(
            throughput=np.full((3, 1), 7.0),
            flavor=np.zeros((3, 1)),
            demand=np.full((3, 1, 1), 2.0),
            capacity=[[3.0]],
            fairness=alpha,
        )
        certificate = judged(problem, price_discovery(problem, 100, 1e-8))
        assert certificate.shares == pytest.approx(np.full((3, 1), 0.5), rel=1e-6)
        assert certificate.prices[0, 0] == pytest.approx(0.5**-alpha / 2, rel=3e-4)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_a_budget_that_ends_early_gives_a_feasible_answer_with_an_honest_gap(alpha: float) -> None:
    problem = market(300, alpha=alpha)
    best = judged(problem, price_discovery(problem, 300, 1e-8))
    gaps = []
    for budget in range(1, 31):
        candidate = price_discovery(problem, budget, 1e-8)
        cut = judged(problem, candidate)
        assert candidate.iterations <= budget + 1
        assert cut.objective <= best.bound
        assert cut.bound >= best.objective
        assert np.isfinite(cut.gap)
        gaps.append(cut.gap)
    assert gaps[-1] < 0.2 * gaps[0]


@pytest.mark.parametrize(("rows", "columns"), [(9000, 4), (34_000, 3)])
def test_the_same_bytes_with_any_number_of_threads(rows: int, columns: int) -> None:
    problem = market(rows, columns)
    one, two, four = (price_discovery(problem, 60, 1e-5, threads=threads) for threads in (1, 2, 4))
    assert one.shares.tobytes() == two.shares.tobytes() == four.shares.tobytes()
    assert one.prices.tobytes() == two.prices.tobytes() == four.prices.tobytes()
    assert judged(problem, one).gap < 1e-5


def test_known_prices_save_passes() -> None:
    random = np.random.default_rng(5)
    throughput = random.uniform(0.1, np.linspace(0.3, 1.0, 4), (20_000, 4))
    before = market(20_000, throughput=throughput)
    cold = price_discovery(before, 200, 1e-4)
    throughput = throughput.copy()
    throughput[:200] = random.uniform(0.1, np.linspace(0.3, 1.0, 4), (200, 4))  # 1 % of the jobs are new
    after = market(20_000, throughput=throughput)
    warm = price_discovery(after, 200, 1e-4, WarmStart(cold.prices))
    assert judged(after, warm).gap < 1e-4
    assert warm.iterations <= min(3, cold.iterations)


@pytest.mark.parametrize("known", [np.nan, 0.0, 1e-9, 1e9])
def test_useless_known_prices_do_no_harm(known: float) -> None:
    problem = market(500)
    start = WarmStart(np.full(problem.capacity.shape, known))
    assert judged(problem, price_discovery(problem, 200, 1e-6, start)).gap < 1e-6


def test_many_rows_begin_with_a_sample_and_need_few_passes() -> None:
    problem = market(40_000)
    candidate = price_discovery(problem, 200, 1e-4)
    assert judged(problem, candidate).gap < 1e-4
    assert candidate.iterations <= 10


def test_powers_without_room_in_floats_are_refused() -> None:
    with pytest.raises(ArithmeticError, match="powers"):
        price_discovery(market(50, alpha=400.0, capacity=np.full((4, 1), 1e-3)), 50, 1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_the_chain_takes_it_for_many_rows_and_clarabel_for_few(alpha: float) -> None:
    many = solve(market(3000, alpha=alpha))
    assert (many.solver, many.status, many.fallback) == ("price", Status.OPTIMAL, False)
    assert solve(market(300, alpha=alpha)).solver == "conic"


def test_the_chain_goes_on_to_clarabel_when_the_passes_do_not_suffice() -> None:
    problem = market(2500)
    solution = ChainSolver().solve(problem, gap=1e-9, iterations=100, warm_start=None)
    assert solution.gap < 1e-6
    assert any(attempt.startswith("price: ") for attempt in solution.attempts)


def queue_tree(rows: int = 1500, leaves: int = 60, *, alpha: float = 1.0, seed: int = 0) -> Problem:
    """Jobs in `leaves` queues, five of which share a parent; quotas on about half of them, and two of all but one."""
    random = np.random.default_rng(seed)
    leaf = random.integers(leaves, size=rows)
    throughput = random.uniform(0.2, 1.0, (rows, 3)) * random.uniform(0.5, 1.0, (leaves, 3))[leaf]
    demand = np.broadcast_to(random.choice([1.0, 2.0, 4.0], (rows, 1, 1)), (rows, 3, 2))
    capacity = np.full((3, 2), demand.sum() / 120) * [1.0, 1.5]
    limits = [
        Limit.of(
            flavor,
            0,
            float(capacity[flavor, 0] * random.uniform(0.2, 2.0) * members.mean()),
            np.flatnonzero(members).tolist(),
        )
        for queue in (leaf, leaf // 5)
        for number in range(queue.max() + 1)
        for flavor, members in ((flavor, queue == number) for flavor in range(3))
        if random.random() < 0.5
    ]
    limits += [Limit.of(0, 0, float(capacity[0, 0] * 0.8), np.flatnonzero(leaf != other).tolist()) for other in (3, 7)]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=np.broadcast_to([0, 1, 2], (rows, 3)),
        demand=demand,
        capacity=capacity,
        weight=0.2 + random.pareto(2, rows),
        fairness=alpha,
        limits=limits,
    )


def test_limits_that_few_rows_share_are_grouped_and_groups_share_none() -> None:
    problem = queue_tree()
    grouping = grouped(problem, np.ones(problem.limit_count, dtype=np.bool_))
    assert grouping.wide.tolist() == [problem.limit_count - 2, problem.limit_count - 1]
    assert wide_count(problem) == 2
    assert sorted(grouping.local.tolist()) == list(range(problem.limit_count - 2))
    for group, (low, past) in enumerate(zip(grouping.first[:-1], grouping.first[1:], strict=True)):
        assert past > low
        for limit in grouping.local[low:past]:
            members = problem.limit_members[problem.limit_starts[limit] : problem.limit_starts[limit + 1]]
            assert (grouping.group[members] == group).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_limits_of_queues_are_kept_and_priced_as_clarabel_prices_them(alpha: float) -> None:
    problem = queue_tree(600, 30, alpha=alpha)
    certificate = judged(problem, price_discovery(problem, 100, 1e-6))
    exact = judged(problem, conic(problem, 200, gap=1e-8))
    assert certificate.within(1e-6)
    assert certificate.objective <= exact.bound
    assert certificate.bound >= exact.objective
    assert (exact.limit_prices > 1e-3 * exact.limit_prices.max()).sum() > 20
    assert certificate.limit_prices == pytest.approx(exact.limit_prices, abs=0.05 * float(exact.limit_prices.max()))


def test_limits_over_several_flavors_are_solved_for_queue_by_queue_too() -> None:
    """Power of each queue, and of everybody: against Clarabel."""
    plain = queue_tree(600, 30)
    watts = ((0, 0, 0.7), (1, 0, 0.4), (2, 0, 0.3), (2, 1, 0.1))
    limits = [limit._replace(terms=watts) for limit in plain.limits[:-2]]
    problem = Problem.from_arrays(
        throughput=plain.throughput,
        flavor=plain.flavor,
        demand=plain.demand,
        capacity=plain.capacity,
        weight=plain.weight,
        limits=[*limits, Limit(watts, 0.4 * float(plain.capacity[:, 0].sum()), range(600))],
    )
    assert wide_count(problem) == 1
    certificate = judged(problem, price_discovery(problem, 100, 1e-6))
    exact = judged(problem, conic(problem, 200, gap=1e-8))
    assert certificate.within(1e-6)
    assert certificate.objective <= exact.bound
    assert certificate.bound >= exact.objective
    assert exact.limit_prices[-1] > 0
    assert (exact.limit_prices > 1e-3 * exact.limit_prices.max()).sum() > 10
    assert certificate.limit_prices == pytest.approx(exact.limit_prices, abs=0.05 * float(exact.limit_prices.max()))


def side_constraints(rows: int) -> Problem:
    """Rows that all differ, of fifty queues; power, money and parts of flavors, of everybody and of groups of them."""
    random = np.random.default_rng(3)
    demand = np.broadcast_to(random.choice([1.0, 2.0, 4.0, 8.0], (rows, 1, 2)), (rows, 4, 2))
    capacity = np.outer([0.1, 0.15, 0.2, 0.3], demand[:, 0].sum(axis=0)) * random.uniform(0.3, 1.2, (4, 2))
    queue = random.integers(50, size=rows)
    every = [tuple((f, r, float(random.choice([0.3, 0.7, 2.5]))) for f in range(4) for r in range(2)) for _ in range(8)]
    tables = [*every, *(((int(random.integers(4)), int(random.integers(2)), 1.0),) for _ in range(12))]
    limits = []
    for number, terms in enumerate(tables):
        inside = queue < 50 if number < 4 else np.isin(queue, random.permutation(50)[:25])
        counted = sum(coefficient * capacity[f, r] for f, r, coefficient in terms)
        more = (LimitPart(terms[:2], np.flatnonzero(queue % 3 == 0)),) if number % 4 == 0 else ()
        limits.append(Limit(terms, float(counted * random.uniform(0.3, 0.8)), np.flatnonzero(inside), more))
    return Problem.from_arrays(
        throughput=random.uniform(0.2, 1.0, (rows, 4)) * [1.0, 0.7, 0.5, 0.3],
        flavor=np.broadcast_to(np.arange(4), (rows, 4)),
        demand=demand,
        capacity=capacity,
        weight=0.1 + random.pareto(2, rows),
        limits=limits,
    )


def test_twenty_side_constraints_over_ten_thousand_rows_take_few_passes() -> None:
    problem = side_constraints(10_000)
    solution = solve(problem, gap=1e-4)
    assert (solution.status, solution.solver) == (Status.OPTIMAL, "price")
    assert solution.iterations <= 20
    assert (solution.limit_prices * problem.limit_amount > 1e-3 * problem.total_weight).sum() >= 4
    warm = solve(problem, gap=1e-4, warm_start=WarmStart(solution.prices, solution.limit_prices))
    assert (warm.status, warm.solver) == (Status.OPTIMAL, "price")
    assert warm.iterations <= 4


def test_limits_that_nobody_reaches_have_no_price_and_change_nothing() -> None:
    problem = market(1000)
    roomy = [Limit.of(0, 0, 1e6, range(first, first + 100)) for first in range(0, 1000, 100)]
    limited = Problem.from_arrays(
        throughput=problem.throughput,
        flavor=problem.flavor,
        demand=problem.demand,
        capacity=problem.capacity,
        weight=problem.weight,
        limits=roomy,
    )
    without, certificate = (judged(one, price_discovery(one, 100, 1e-6)) for one in (problem, limited))
    assert certificate.gap < 1e-6
    assert certificate.limit_prices.max() == 0
    assert certificate.objective == pytest.approx(without.objective, abs=2e-6 * problem.total_weight)


def test_many_queues_have_the_same_bytes_with_any_number_of_threads_and_begin_with_known_prices() -> None:
    problem = queue_tree(12_000, 600)
    one, two, four = (price_discovery(problem, 100, 1e-4, threads=threads) for threads in (1, 2, 4))
    assert one.shares.tobytes() == two.shares.tobytes() == four.shares.tobytes()
    assert one.limit_prices.tobytes() == two.limit_prices.tobytes() == four.limit_prices.tobytes()
    assert judged(problem, one).gap < 1e-4
    assert one.iterations <= 60
    warm = price_discovery(problem, 100, 1e-4, WarmStart(one.prices, one.limit_prices))
    assert judged(problem, warm).gap < 1e-4
    assert warm.iterations <= 12


@pytest.mark.parametrize(("rows", "leaves", "limits"), [(600, 40, 70), (4000, 300, 400)])
def test_the_chain_takes_it_for_many_quotas(rows: int, leaves: int, limits: int) -> None:
    problem = queue_tree(rows, leaves)
    assert problem.limit_count > limits
    solution = solve(problem)
    assert (solution.solver, solution.status, solution.fallback) == ("price", Status.OPTIMAL, False)

"""Price discovery: prices by calculus, budgets, threads, known prices, and when the chain takes it.

Its answers to thousands of random problems, and to degenerate ones, are judged in `test_reference.py` and
`test_degenerate.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from allocator.formulation import Problem, certify
from allocator.formulation.certificate import Certificate
from allocator.solvers import ChainSolver, Status, WarmStart, solve
from allocator.solvers.candidate import Candidate
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

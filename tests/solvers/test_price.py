"""Price discovery against Clarabel on small problems, degenerate ones by name; budgets, threads, known prices."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.formulation import Limit, Problem, certify
from allocator.formulation.certificate import Certificate, gap_unit
from allocator.solvers import ChainSolver, Status, WarmStart, solve
from allocator.solvers.candidate import Candidate
from allocator.solvers.conic import conic
from allocator.solvers.price import price_discovery
from tests.formulation.instances import single_job
from tests.formulation.test_certificate import assert_no_overuse

ALPHAS = (0.0, 0.3, 0.5, 1.0, 1.5, 2.0)


def judged(problem: Problem, candidate: Candidate) -> Certificate:
    certificate = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
    assert_no_overuse(problem, certificate.shares)
    return certificate


def small(seed: int, alpha: float) -> Problem:
    """1 to 12 rows of up to 4 columns: odd seeds from few values, so that ties are common, even ones heavy-tailed."""
    random = np.random.default_rng(seed)
    n, width = int(random.integers(1, 13)), int(random.integers(1, 5))
    flavors, resources = int(random.integers(1, 4)), int(random.integers(1, 4))
    if seed % 2:
        throughput = random.choice([0, 0.5, 1, 1, 2, 3.7], (n, width))
        demand = random.choice([0, 0.25, 1, 1, 2, 8], (n, width, resources))
        capacity = random.choice([0.0, 1, 3, 10, 50], (flavors, resources))
        weight = random.choice([0.2, 1, 1, 3], n)
    else:
        throughput = random.uniform(0.1, 2, (n, width)) * (random.random((n, width)) < 0.8)
        demand = random.lognormal(0, 1, (n, width, resources))
        capacity = random.uniform(0.1, 1, (flavors, resources)) * n
        weight = random.pareto(1.5, n) + 0.1
    flavor = random.integers(0, flavors, (n, width))
    runs = ~((demand > 0) & (capacity[flavor] == 0)).any(axis=2) & (throughput > 0)
    for row in np.flatnonzero(~runs.any(axis=1)):  # every row needs somewhere to run
        throughput[row, 0] = 1.0
        demand[row, 0] = np.where(capacity[flavor[row, 0]] > 0, demand[row, 0], 0.0)
    limits = [
        Limit(
            int(random.integers(flavors)),
            int(random.integers(resources)),
            float(random.choice([0.5, 2, 20])),
            np.unique(random.integers(0, n, 2)).tolist(),
        )
        for _ in range(int(random.integers(0, 3)))
    ]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=flavor,
        demand=demand,
        capacity=capacity,
        weight=weight,
        count=random.choice([1, 1, 2, 5], n),
        fairness=alpha,
        limits=limits,
    )


def market(rows: int, columns: int = 4, alpha: float = 1.0, seed: int = 0, **changes: object) -> Problem:
    """Each row takes one of `columns` flavors of one resource, scarce and uneven."""
    random = np.random.default_rng(seed)
    arguments: dict[str, object] = {
        "throughput": random.uniform(0.1, np.linspace(0.3, 1.0, columns), (rows, columns)),
        "flavor": np.broadcast_to(np.arange(columns), (rows, columns)),
        "demand": np.ones((rows, columns, 1)),
        "capacity": random.uniform(0.1, 1.0, (columns, 1)) * rows / 1.5 ** np.arange(columns)[:, None],
        "fairness": alpha,
    }
    return Problem.from_arrays(**(arguments | changes))  # type: ignore[arg-type] # a table of arguments


@pytest.mark.parametrize("alpha", ALPHAS)
def test_small_problems_are_solved_as_clarabel_solves_them(alpha: float) -> None:
    """Where Clarabel's own answer is certified to 1e-7, ours must be worth the same to 1e-6."""
    compared = 0
    for seed in range(100, 150):
        problem = small(seed, alpha)
        ours = judged(problem, price_discovery(problem, 300, 1e-7))
        reference = conic(problem, 200)
        theirs = certify(problem, reference.shares, reference.prices, reference.limit_prices)
        slack = 1e-6 * max(1.0, gap_unit(problem), abs(theirs.objective))
        assert ours.objective <= theirs.bound
        assert theirs.objective <= ours.bound
        if theirs.within(problem, 1e-7):
            compared += 1
            assert ours.objective == pytest.approx(theirs.objective, abs=slack), seed
    assert compared > 35


def test_one_price_is_the_one_that_calculus_gives() -> None:
    """Three equal jobs of demand 2 share 3 units: u = 1/2, price = 3 u^-alpha / 6."""
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
        assert certificate.prices[0, 0] == pytest.approx(0.5**-alpha / 2, rel=1e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(lambda alpha: single_job(fairness=alpha), id="one job, one resource"),
        pytest.param(lambda alpha: single_job(fairness=alpha, capacity=[[9.0]]), id="nothing scarce"),
        pytest.param(lambda alpha: single_job(fairness=alpha, count=[1_000_000]), id="a million jobs in one row"),
        pytest.param(
            lambda alpha: single_job(fairness=alpha, capacity=[[9.0]], limits=[Limit(0, 0, 1.0, [0])]), id="a limit"
        ),
        pytest.param(
            lambda alpha: market(50, alpha=alpha, throughput=np.ones((50, 4)), capacity=np.full((4, 1), 5.0)),
            id="every job and every resource alike",
        ),
        pytest.param(
            lambda alpha: market(60, alpha=alpha, throughput=np.tile([1.0, 1.0, 2.0, 4.0], (60, 1))),
            id="proportional resources",
        ),
        pytest.param(
            lambda alpha: market(200, alpha=alpha, throughput=np.outer(np.linspace(0.5, 2, 200), [0.3, 0.5, 0.7, 1])),
            id="jobs that differ by a factor only",
        ),
        pytest.param(
            lambda alpha: market(80, alpha=alpha, throughput=np.kron(np.eye(4), np.ones((20, 1)))),
            id="every job can run on one flavor only",
        ),
        pytest.param(
            lambda alpha: market(40, alpha=alpha, capacity=[[5.0], [1e-3], [1e9], [7.0]]),
            id="hardly any, and far too much",
        ),
        pytest.param(
            lambda alpha: market(40, alpha=alpha, capacity=[[5.0], [0.0], [2.0], [7.0]]), id="a capacity of 0"
        ),
        pytest.param(
            lambda alpha: market(40, alpha=alpha, demand=np.full((40, 4, 1), 30.0)), id="each job fits only in part"
        ),
        pytest.param(
            lambda alpha: market(40, alpha=alpha, limits=[Limit(f, 0, 1.5, range(20)) for f in range(4)]),
            id="limits on half of the jobs",
        ),
        pytest.param(
            lambda alpha: market(40, alpha=alpha, weight=10.0 ** np.linspace(-2, 2, 40)), id="weights from 0.01 to 100"
        ),
    ],
)
def test_degenerate_problems(problem: object, alpha: float) -> None:
    made: Problem = problem(alpha)  # type: ignore[operator] # a table of functions
    assert judged(made, price_discovery(made, 300, 1e-6)).within(made, 1e-6)


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
    assert warm.iterations <= 5
    assert warm.iterations < cold.iterations / 2


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

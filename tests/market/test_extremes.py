"""Markets at the edge: fairness near 0 and far above 1, deep trees of tiny weights, solvers that give up, many queues
that keep their quota.
"""

from __future__ import annotations

import numpy as np
import pytest

from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.formulation.certificate import dual_bound
from allocator.formulation.objective import objective
from allocator.formulation.problem import Floats, Problem
from allocator.market.clearing import Cleared, clear
from allocator.market.limits import KEPT
from allocator.solvers.chain import ChainSolver
from allocator.solvers.solution import Solution, Status, WarmStart
from tests.market.markets import GPU, Want, Way, cleared, gpus, market, used

MANY = 100


def got(found: Cleared, *queues: str) -> list[float]:
    return [round(float(used(found, queue)[0, 0]), 2) for queue in queues]


@pytest.mark.parametrize("fairness", [0.01, 0.05, 0.3, 3.0, 10.0])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_money_goes_by_weight_at_any_fairness(fairness: float, weight: float) -> None:
    """Jobs of `b` are slow on few GPUs or fast on many."""
    ways = (Way(0, (1.0,), 1.0), Way(0, (4.0,), 2.0))
    wants = [gpus("a", count=MANY), Want("b", ways, count=MANY, weight=3.0)]
    found = cleared(market([Queue("a"), Queue("b", weight)], wants, 16, fairness=fairness))
    assert found.solution.status is Status.OPTIMAL
    assert got(found, "a", "b") == pytest.approx([16 / (1 + weight), 16 * weight / (1 + weight)], rel=0.01)


@pytest.mark.parametrize("fairness", [0.001, 50.0, 1000.0])
def test_what_numbers_cannot_tell_apart_still_has_an_answer(fairness: float) -> None:
    wants = [gpus("a", count=MANY), gpus("b", 2.0, count=MANY)]
    found = cleared(market([Queue("a", 1e-6), Queue("b", 1e6, priority=5)], wants, 16, fairness=fairness))
    assert found.solution.status is not Status.FAILED
    assert sum(got(found, "a", "b")) == pytest.approx(16, abs=0.1)


def test_thirty_levels_of_tiny_weights() -> None:
    """At each level a millionth goes down and the rest aside: the last gets next to nothing, and no number breaks."""
    queues, name = [], "r"
    for _ in range(30):
        queues += [Queue(name, 1e-6), Queue(f"{name}/aside")]
        name += "/down"
    wants = [gpus(queue.name, count=MANY) for queue in queues if queue.name.endswith("aside")] + [gpus(name)]
    found = cleared(market([*queues, Queue(name, 1e-6)], wants, 16))
    assert found.solution.status is Status.OPTIMAL
    assert got(found, "r/aside", name) == [16.0, 0.0]


def test_jobs_of_an_inner_queue_are_within_its_limits_also_from_known_prices() -> None:
    """Jobs sit in `r` itself and in `r/x`; `r` may use 4 of 16 GPUs, which both share."""
    queues = [Queue("r", quotas=(Quota("f0", "gpu", 0, borrowing_limit=4 * GPU),)), Queue("r/x"), Queue("s")]
    opened = market(queues, [gpus(name, count=MANY) for name in ("r", "r/x", "s")], 16)
    found = cleared(opened)
    assert got(found, "r", "r/x", "s") == [4, 2, 12]
    rows = []

    def solve(problem: Problem, start: WarmStart) -> Solution:
        rows.append(problem.limit_count)
        return ChainSolver().solve(problem, gap=1e-7, iterations=400, warm_start=start)

    known = {("r", "f0", "gpu"): 0.01}
    again = clear(opened, solve, WarmStart(found.solution.prices), known)
    assert rows[0] == 1, "what is known to bind is there from the first solve on"
    assert got(again, "r", "r/x", "s") == [4, 2, 12]


def _failing(least_weight: float) -> object:
    """Has no answer for problems of few rows."""

    def solve(problem: Problem, start: WarmStart) -> Solution:
        found = ChainSolver().solve(problem, gap=1e-7, iterations=400, warm_start=start)
        if problem.row_count > least_weight:
            return found
        nothing = np.zeros(found.shares.shape)
        attempts = ("price: gave up",)
        return Solution(
            nothing, found.prices * 0, found.limit_prices * 0, 0.0, np.inf, np.inf, Status.FAILED, "none", 0, attempts
        )

    return solve


def test_a_class_without_an_answer_leaves_the_classes_above_what_they_have() -> None:
    high = [gpus("a", priority=100), gpus("b", priority=100), gpus("b", priority=100)]
    opened = market([Queue("a"), Queue("b")], [*high, gpus("a", count=MANY), gpus("b", priority=-5)], 16)
    found = clear(opened, _failing(2), WarmStart(np.full((1, 1), np.nan)), {})  # type: ignore[arg-type]
    assert found.solution.status is Status.INACCURATE
    assert found.solution.fallback
    assert found.solution.shares.ravel().tolist() == pytest.approx([1, 1, 1, 0, 0])
    assert "class 0: price: gave up" in found.solution.attempts


def test_a_market_in_which_the_first_class_has_no_answer_has_none() -> None:
    opened = market([Queue("a")], [gpus("a", count=MANY)], 16)
    found = clear(opened, _failing(2), WarmStart(np.full((1, 1), np.nan)), {})  # type: ignore[arg-type]
    assert found.solution.status is Status.FAILED
    assert not found.solution.shares.any()


def _keeping(queues: int) -> tuple[list[Queue], list[Want], Floats]:
    """Queues of which each keeps half of its quota, some of them idle, some with more work than quota."""
    random = np.random.default_rng(7)
    quotas = [
        tuple(Quota(flavor, "gpu", 4 * GPU, lending_limit=2 * GPU) for flavor in ("f0", "f1") if random.random() < 0.7)
        for _ in range(queues)
    ]
    tree = [Queue(f"r{number % 5}/q{number}", quotas=quotas[number]) for number in range(queues)]
    wants = []
    for number in range(queues):
        ways = tuple(
            Way(flavor, (float(random.choice([1.0, 2.0])),), float(random.choice([1.0, 2.0]))) for flavor in (0, 1)
        )
        wants.append(Want(tree[number].name, ways, count=int(random.choice([1, 3, 20]))))
    return [*(Queue(f"r{number}") for number in range(5)), *tree], wants, np.array([[3.0 * queues], [3.0 * queues]])


def test_many_queues_that_keep_their_quota_take_a_few_solves() -> None:
    queues, wants, capacity = _keeping(100)
    opened = market(queues, wants, capacity)  # type: ignore[arg-type]
    found = cleared(opened)
    assert found.solution.status is Status.OPTIMAL
    assert found.stages[0].solves <= 10
    assert any(name.startswith(KEPT) for name, _, _ in found.limit_prices)
    again = clear(opened, _solve, WarmStart(found.solution.prices), found.limit_prices)
    assert again.stages[0].solves == 1, "all that bound is known by name"
    assert np.abs(again.used - found.used).max() < 0.05


def _solve(problem: Problem, start: WarmStart) -> Solution:
    return ChainSolver().solve(problem, gap=1e-7, iterations=400, warm_start=start)


def test_what_queues_keep_makes_no_answer_worse_than_the_best() -> None:
    """A bound that knows nothing of pools: any subset of queues shuts the others out of what it keeps."""
    queues, wants, capacity = _keeping(6)
    found = cleared(market(queues, wants, capacity))  # type: ignore[arg-type]
    problem, solution = found.problem, found.solution
    assert solution.bound - objective(problem, solution.shares) <= 1e-6 * problem.total_weight
    assert dual_bound(problem, solution.prices) >= solution.bound - 1e-9, "without limits nobody has less"

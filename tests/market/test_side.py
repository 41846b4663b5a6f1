"""Side constraints in the market: never broken, paid for by those whom they count, without effect on all others."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.formulation.certificate import dual_bound
from allocator.formulation.limits import LimitPart
from allocator.formulation.objective import objective
from allocator.formulation.problem import Limit
from allocator.market.clearing import Cleared, clear
from allocator.market.limits import Bounds
from allocator.market.pools import lacking
from allocator.solvers.chain import ChainSolver
from allocator.solvers.solution import Solution, Status, WarmStart
from tests.market.markets import GPU, Want, Way, cleared, gpus, market, used
from tests.market.test_properties import money, worlds

MANY = 100


def got(found: Cleared, *queues: str) -> list[float]:
    """GPUs of the first flavor."""
    assert found.solution.status is Status.OPTIMAL
    return [round(float(used(found, queue)[0, 0]), 3) for queue in queues]


def test_a_part_of_a_flavor_for_one_queue() -> None:
    """At most 40 % of 16 GPUs for batch, whose weight is half of all."""
    limits = {"batch": Limit(((0, 0, 1.0),), 6.4, [0])}
    wants = [gpus("batch", count=MANY), gpus("prod", count=MANY)]
    found = cleared(market([Queue("batch"), Queue("prod")], wants, 16, limits=limits))
    assert got(found, "batch", "prod") == [6.4, 9.6]
    assert found.limit_prices["batch", "", ""] > 0


def test_licences_are_shared_by_weight_among_those_who_need_them() -> None:
    """Four licences, of which `a` of three times the weight has three; the rest of the GPUs goes to whoever can run."""
    limits = {"solver": Limit(((0, 0, 1.0),), 4.0, [0, 1])}
    wants = [gpus("a", count=MANY), gpus("b", count=MANY), gpus("c", count=MANY)]
    found = cleared(market([Queue("a", 3.0), Queue("b"), Queue("c")], wants, 16, limits=limits))
    assert got(found, "a", "b", "c") == [3, 1, 12]


def test_power_is_bought_where_it_makes_most_of_itself() -> None:
    """20 kW; a GPU of the first flavor takes 2 kW and is twice as fast: both are worth the same per kW."""
    both = (Way(0, (1.0,), 1.0), Way(1, (1.0,), 0.5))
    power = {"power": Limit(((0, 0, 2.0), (1, 0, 1.0)), 20.0, [0, 1])}
    wants = [Want("a", both, count=MANY), Want("b", (Way(1, (1.0,), 1.0),), count=MANY)]
    found = cleared(market([Queue("a"), Queue("b")], wants, [[16.0], [16.0]], limits=power))
    assert used(found, "a")[:, 0] @ [2.0, 1.0] == pytest.approx(10.0, abs=0.01)
    assert used(found, "b")[1, 0] == pytest.approx(10.0, abs=0.01)
    assert found.solution.prices == pytest.approx(0.0, abs=1e-6)


def test_a_higher_class_takes_first_of_a_limit_too() -> None:
    limits = {"solver": Limit(((0, 0, 1.0),), 6.0, [0, 1])}
    wants = [gpus("a", count=4, priority=100), gpus("b", count=MANY), gpus("c", count=MANY)]
    found = cleared(market([Queue("a"), Queue("b"), Queue("c")], wants, 16, limits=limits))
    assert got(found, "a", "b", "c") == [4, 2, 10]
    assert found.limit_prices["solver", "", ""] > 0


def test_who_needs_what_a_higher_class_used_up_gets_nothing_and_the_others_all() -> None:
    limits = {"solver": Limit(((0, 0, 1.0),), 4.0, [0, 1])}
    wants = [gpus("a", count=MANY, priority=100), gpus("b", count=MANY), gpus("c", count=MANY)]
    found = cleared(market([Queue("a"), Queue("b"), Queue("c")], wants, 16, limits=limits))
    assert got(found, "a", "b", "c") == [4, 0, 12]


def test_terms_count_together_with_more_of_them() -> None:
    """Jobs of `a` take two licences each, those of `b` one."""
    limits = {"solver": Limit(((0, 0, 2.0),), 8.0, [0], (LimitPart(((0, 0, 1.0),), [1]),))}
    found = cleared(market([Queue("a"), Queue("b")], [gpus("a", count=MANY), gpus("b", count=MANY)], 16, limits=limits))
    assert got(found, "a", "b") == [2, 4]


@pytest.mark.parametrize("lend", [None, 0])
def test_a_guarantee_that_a_limit_forbids_takes_no_money_from_others(lend: int | None) -> None:
    """`a` is guaranteed 12 GPUs, and may use 4: the rest goes to the others by weight, with what `a` lends."""
    limits = {"few": Limit(((0, 0, 1.0),), 4.0, [0])}
    queues = [Queue("a", quotas=(Quota("f0", "gpu", 12 * GPU, lending_limit=lend),)), Queue("b"), Queue("c", 3.0)]
    wants = [gpus(name, count=MANY) for name in "abc"]
    found = cleared(market(queues, wants, 16, limits=limits))
    assert got(found, "a", "b", "c") == ([4, 3, 9] if lend is None else [4, 1, 3])


def test_the_last_rounds_price_of_a_limit_is_where_the_next_begins() -> None:
    limits = {"solver": Limit(((0, 0, 1.0),), 4.0, [0, 1])}
    opened = market([Queue("a", 3.0), Queue("b")], [gpus("a", count=MANY), gpus("b", count=MANY)], 16, limits=limits)
    before = cleared(opened)
    starts = []

    def solve(problem: object, start: WarmStart) -> Solution:
        starts.append(start)
        return ChainSolver().solve(problem, gap=1e-7, iterations=400, warm_start=start)  # type: ignore[arg-type]

    again = clear(opened, solve, WarmStart(np.maximum(before.solution.prices, 1e-9)), before.limit_prices)
    assert starts[0].limit_prices is not None
    assert starts[0].limit_prices.tolist() == [before.limit_prices["solver", "", ""]]
    assert again.stages[0].solves == 1


def _limited(seed: int, wants: list[Want], flavors: int) -> dict[str, Limit]:
    """One limit that counts some of the jobs."""
    random = np.random.default_rng(seed)
    members = np.flatnonzero(random.random(len(wants)) < 0.6)
    terms = tuple((flavor, 0, float(random.choice([0.5, 1.0, 3.0]))) for flavor in range(flavors))
    return {"side": Limit(terms, float(random.choice([0.5, 1.0, 4.0, 20.0])), members)}


def test_answers_are_the_best_within_limits_and_the_same_where_these_do_not_bind() -> None:
    """The certificate holds for the whole problem, its own limits included: Pareto efficiency."""
    bound, unbound = 0, 0
    for seed, queues, wants, capacity in worlds(first=6000):
        found = cleared(market(queues, wants, capacity, limits=_limited(seed, wants, len(capacity))))  # type: ignore[arg-type]
        problem, solution = found.problem, found.solution
        assert (problem.limit_usage(solution.shares) <= problem.limit_amount).all(), seed
        most = dual_bound(problem, solution.prices, solution.limit_prices)
        assert most - objective(problem, solution.shares) <= 1e-4 * problem.total_weight, seed
        bound += solution.limit_prices[0] > 1e-6
        plain = cleared(market(queues, wants, capacity))  # type: ignore[arg-type]
        slack = (problem.limit_usage(plain.solution.shares) < problem.limit_amount * (1 - 1e-3)).all()
        if slack and max(money(found), money(plain)) < 1e-4:
            gained = problem.utilities(solution.shares) - problem.utilities(plain.solution.shares)
            assert np.abs(gained * problem.count).max() <= 0.01 * problem.count.sum(), seed
            unbound += 1
    assert min(bound, unbound) > 20


def test_limits_and_quotas_are_kept_together() -> None:
    for seed, queues, wants, capacity in worlds(quotas=True, first=6200):
        if seed % 2:
            continue
        found = cleared(market(queues, wants, capacity, limits=_limited(seed, wants, len(capacity))))  # type: ignore[arg-type]
        assert (found.problem.limit_usage(found.solution.shares) <= found.problem.limit_amount).all(), seed
        bounds = Bounds.of(found.tree, capacity, np.zeros(found.used.shape))
        assert (found.used <= bounds.most + 1e-6).all(), seed
        _, reserved = lacking(found.tree, bounds.kept, found.used, capacity)
        assert (reserved <= capacity + 1e-5).all(), seed

"""Lending limits: what queues keep shuts others out of it, exactly; compared with rows for every set of queues."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.formulation.problem import Booleans, Limit, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.clearing import Cleared, Market
from allocator.market.limits import KEPT, Bounds
from allocator.market.pools import COMMON, Pools, lacking, surely_enough
from allocator.solvers.chain import solve
from allocator.solvers.solution import Status
from tests.market.markets import GPU, cleared, gpus, market, used
from tests.market.test_properties import worlds

MANY = 100


def quota(nominal: int, lend: int) -> Quota:
    return Quota("f0", "gpu", nominal * GPU, lending_limit=lend * GPU)


def tree_of(*queues: Queue) -> QueueTree:
    names = [queue.name for queue in queues]
    leaves = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    return QueueTree.of(queues, leaves, ["f0"], ["gpu"])


def wish(tree: QueueTree, *names: str) -> Booleans:
    return np.array([[[name in names]] for name in tree.names])


def test_what_queues_below_keep_is_not_in_a_queues_own_pool() -> None:
    tree = tree_of(Queue("r"), Queue("r/x"), Queue("r/y"), Queue("s"))
    kept = np.array([[[8.0]], [[3.0]], [[0.0]], [[2.0]]])
    pools = Pools.of(tree, kept, np.array([[16.0]]), wish(tree, "r", "r/x", "s"))
    assert pools.amount.ravel().tolist() == [5, 3, 0, 2]
    assert pools.common.tolist() == [[6]]
    assert [tree.names[number] for number in pools.drawn.ravel()] == ["r", "r/x", "r", "s"]


def test_a_queue_whose_pool_would_be_empty_has_none() -> None:
    tree = tree_of(Queue("r"), Queue("r/x"), Queue("s"))
    pools = Pools.of(tree, np.array([[[3.0]], [[3.0]], [[0.0]]]), np.array([[16.0]]), wish(tree, "r", "r/x"))
    assert pools.own.ravel().tolist() == [False, True, False]
    assert pools.drawn.ravel().tolist() == [COMMON, 1, COMMON]


def test_who_lacks_a_pool_is_who_keeps_more_than_is_used_and_reserved_below() -> None:
    tree = tree_of(Queue("r"), Queue("r/x"), Queue("r/y"), Queue("s"))
    kept, used_by = np.array([[[8.0]], [[3.0]], [[0.0]], [[2.0]]]), np.array([[[0.0]], [[1.0]], [[6.0]], [[9.0]]])
    without, reserved = lacking(tree, kept, used_by, np.array([[16.0]]))
    assert reserved.tolist() == [[18]]
    assert without.ravel().tolist() == [False, True, False, False], "with y's 6, r reserves 9 of the 8 that it keeps"
    assert not lacking(tree, kept, used_by, np.array([[18.0]]))[0].any(), "where all fits nobody needs one"
    assert surely_enough(tree, kept, used_by).ravel().tolist() == [False, True, False, False]


def test_queues_beside_keep_their_own_and_those_below_what_is_left_of_it() -> None:
    """`r` keeps 8 of 16, of which `r/x` keeps 3 and wants 1: 13 are left for `r/y` and `s`; `r/y` is guaranteed
    what 8 cost.
    """
    queues = [Queue("r", 0.001, quotas=(quota(8, 0),)), Queue("r/x", quotas=(quota(3, 0),)), Queue("r/y"), Queue("s")]
    found = cleared(market(queues, [gpus("r/x"), gpus("r/y", count=MANY), gpus("s", count=MANY)], 16))
    assert [round(float(used(found, name)[0, 0]), 3) for name in ("r/x", "r/y", "s")] == [1, 8, 5]
    prices = found.stages[0].charged.paid[:, 0, 0]
    assert prices[found.tree.names.index("r/x")] == pytest.approx(0.0, abs=1e-9)
    assert found.limit_prices[KEPT + "r/x", "f0", "gpu"] > 0


def _sets(tree: QueueTree, keeps: Booleans) -> Iterator[tuple[int, ...]]:
    """Of those who keep something, none below another."""
    some = np.flatnonzero(keeps).tolist()
    below = {queue: tree.is_below(queue) for queue in some}
    for size in range(len(some) + 1):
        for chosen in combinations(some, size):
            if not any(below[one][other] for one in chosen for other in chosen if one != other):
                yield chosen


def _every_row(opened: Market, found: Cleared) -> Problem | None:
    """The market's problem with a row for each set of queues and for each borrowing limit. None where a row is of 0."""
    problem, tree, leaf = found.problem, found.tree, opened.claims.queue
    bounds = Bounds.of(tree, problem.capacity, opened.held)
    limits = [
        Limit.of(
            flavor, resource, float(bounds.most[queue, flavor, resource]), np.flatnonzero(tree.is_below(queue)[leaf])
        )
        for queue, flavor, resource in np.argwhere(np.isfinite(bounds.most)).tolist()
    ]
    for flavor, resource in np.argwhere(bounds.kept.any(axis=0)).tolist():
        for chosen in _sets(tree, bounds.kept[:, flavor, resource] > 0):
            inside = np.zeros(tree.size, dtype=np.bool_)
            for queue in chosen:
                inside |= tree.is_below(queue)
            rest = problem.capacity[flavor, resource] - bounds.kept[list(chosen), flavor, resource].sum()
            limits.append(Limit.of(flavor, resource, max(float(rest), 0.0), np.flatnonzero(~inside[leaf])))
    if any(limit.amount < 1e-6 for limit in limits):
        return None
    return Problem.from_arrays(
        throughput=problem.throughput,
        flavor=problem.flavor,
        demand=problem.demand,
        capacity=problem.capacity,
        weight=problem.weight,
        count=problem.count,
        reference=problem.reference,
        limits=limits,
    )


def test_answers_are_those_of_rows_for_every_set_of_queues() -> None:
    checked, lending = 0, 0
    for seed, queues, wants, capacity in worlds(quotas=True, first=7000):
        if seed % 4 == 3:
            continue
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        found = cleared(opened)
        whole = _every_row(opened, found)
        if whole is None or whole.limit_count > 200:
            continue
        best = solve(whole, gap=1e-7)
        assert found.solution.status is best.status is Status.OPTIMAL, seed
        assert found.solution.objective == pytest.approx(best.objective, abs=2e-6 * whole.total_weight), seed
        assert (whole.coupled_usage(found.solution.shares) <= whole.available + 1e-5).all(), seed
        checked += 1
        lending += any(name.startswith(KEPT) and price > 1e-6 for (name, _, _), price in found.limit_prices.items())
    assert checked > 50
    assert lending > 20

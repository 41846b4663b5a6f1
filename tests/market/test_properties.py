"""What a queue tree promises, over random trees, flavors, demands and quotas: these properties are its specification.

Budgets and prices agree to a tolerance (`Stage.moved`: the part of all money that would still change hands); what is
promised in terms of money holds to that tolerance, so worlds where it is large are counted and must be rare.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.formulation.problem import Floats, Problem
from allocator.market.budgets import Charges, Entitled, _at_prices, budgets
from allocator.market.clearing import Cleared, Market
from allocator.market.limits import Bounds
from allocator.market.quotas import Fill
from allocator.solvers.chain import solve
from allocator.solvers.solution import Status
from tests.market.markets import GPU, Want, Way, cleared, market, used

WORLDS = 120


def worlds(
    *, quotas: bool = False, flat: bool = False, first: int = 0
) -> Iterator[tuple[int, list[Queue], list[Want], Floats]]:
    """Random trees of one or two levels; 1 to 3 flavors and resources; jobs that run in 1 to 3 ways."""
    for seed in range(first, first + WORLDS):
        random = np.random.default_rng(seed)
        capacity = random.choice([4.0, 8.0, 16.0, 40.0], (random.integers(1, 4), random.integers(1, 4)))
        names = []
        for top in range(random.integers(1, 5)):
            below = 0 if flat else int(random.integers(0, 4))
            names += [f"q{top}"] + [f"q{top}/s{number}" for number in range(below)]
        queues = [
            Queue(
                name,
                float(random.choice([0.5, 1.0, 2.0, 4.0])),
                quotas=_quotas(random, len(capacity)) if quotas else (),
            )
            for name in names
        ]
        leaves = [name for name in names if not any(other.startswith(name + "/") for other in names)]
        wants = []
        for _ in range(random.integers(1, 14)):
            ways = tuple(
                Way(
                    int(random.integers(len(capacity))),
                    tuple(random.choice([0.5, 1.0, 2.0, 4.0], capacity.shape[1])),
                    speed,
                )
                for speed in random.choice([0.5, 1.0, 2.0], random.integers(1, 4))
            )
            wants.append(
                Want(
                    str(random.choice(leaves)),
                    ways,
                    float(random.choice([0.5, 1.0, 3.0])),
                    int(random.choice([1, 2, 20])),
                )
            )
        yield seed, queues, wants, capacity


def _quotas(random: np.random.Generator, flavors: int) -> tuple[Quota, ...]:
    found = []
    for flavor in range(flavors):
        if random.random() < 0.5:
            nominal = int(random.choice([0, 2, 4, 8])) * GPU
            borrow = (None, 0, 2 * GPU, 8 * GPU)[random.integers(4)]
            lend = (None, 0, nominal // 2)[random.integers(3)]
            found.append(Quota(f"f{flavor}", "gpu", nominal, borrow if nominal or borrow else None, lend))
    return tuple(found)


def money(found: Cleared) -> float:
    return max(stage.moved for stage in found.stages)


def worth_alone(opened: Market, queue: str, bundle: Floats) -> float | None:
    """The best mean of log utilities, by weight, that a queue's jobs could have with `bundle` (F, R) for themselves;
    None if some of them could not run at all.
    """
    rows = _rows(opened, queue)
    problem = opened.problem
    usable = ~((problem.demand[rows] > 0) & (bundle[problem.flavor[rows]] <= 1e-9)).any(axis=2)
    throughput = np.where(usable, problem.throughput[rows], 0.0)
    if not (throughput > 0).any(axis=1).all():
        return None
    alone = Problem.from_arrays(
        throughput=throughput,
        flavor=problem.flavor[rows],
        demand=problem.demand[rows],
        capacity=bundle,
        weight=opened.claims.weight[rows],
        count=problem.count[rows],
        reference=problem.reference[rows],
    )
    return solve(alone, gap=1e-7).objective / alone.total_weight


def worth_now(opened: Market, found: Cleared, queue: str) -> float:
    """The same mean, of what they have."""
    rows = _rows(opened, queue)
    mass = opened.claims.weight[rows] * opened.problem.count[rows]
    utility = opened.problem.utilities(found.solution.shares)[rows]
    return float((mass * np.log(utility)).sum() / mass.sum())


def test_where_nothing_costs_anything_budgets_are_what_they_would_be_at_such_prices() -> None:
    """Told without working out what nobody pays; with quotas and pinned jobs, too."""
    for seed, queues, wants, capacity in worlds(quotas=True):
        alpha = (0.5, 1.0, 3.0)[seed % 3]
        held = {wants[0].queue: (0.1 * capacity).tolist()}
        opened = market(queues, wants, capacity.tolist(), alpha, held)
        problem, claims, tree = opened.problem, opened.claims, opened.tree
        free = Charges.of(problem, tree, np.zeros(problem.capacity.shape))
        everything = Fill(np.arange(tree.size), np.broadcast_to(problem.capacity, opened.held.shape).copy())
        entitled = Entitled(everything, everything, opened.held)
        told, worked_out = (each(problem, claims, tree, free, entitled) for each in (budgets, _at_prices))
        for name in ("row", "queue", "cap", "floor"):
            assert getattr(told, name).tobytes() == getattr(worked_out, name).tobytes(), (seed, name)


def _rows(opened: Market, queue: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    below = opened.tree.is_below(opened.tree.names.index(queue))
    return np.flatnonzero(below[opened.claims.queue])


@pytest.mark.parametrize("quotas", [False, True])
def test_budgets_and_prices_agree_nearly_always(quotas: bool) -> None:
    moved = [
        money(cleared(market(queues, wants, capacity)))  # type: ignore[arg-type]
        for _, queues, wants, capacity in worlds(quotas=quotas)
    ]
    assert np.mean(np.array(moved) > 1e-4) < 0.1
    assert np.mean(np.array(moved) > 1e-2) < 0.02


def test_every_answer_is_pareto_efficient() -> None:
    """The certificate says so: it is the optimum for some weights above 0."""
    for seed, queues, wants, capacity in worlds(quotas=True):
        found = cleared(market(queues, wants, capacity))  # type: ignore[arg-type]
        assert found.solution.status is Status.OPTIMAL, seed
        assert found.solution.gap <= 1e-6, seed


def test_siblings_that_want_more_have_budgets_in_proportion_to_their_weights() -> None:
    for seed, queues, wants, capacity in worlds(quotas=True):
        found = cleared(market(queues, wants, capacity))  # type: ignore[arg-type]
        tree, budgets = found.tree, found.stages[0].budgets
        assert budgets is not None
        free = (budgets.queue > budgets.floor * (1 + 1e-9)) & (budgets.queue < budgets.cap * (1 - 1e-9))
        for parent in np.unique(tree.parent):
            level = (budgets.queue / tree.weight)[free & (tree.parent == parent)]
            assert level == pytest.approx(level.mean() if level.size else 0.0, rel=1e-6), seed


def test_what_a_queue_has_is_spent_below_it_unless_everybody_there_is_satisfied() -> None:
    for seed, queues, wants, capacity in worlds():
        found = cleared(market(queues, wants, capacity))  # type: ignore[arg-type]
        tree, budgets = found.tree, found.stages[0].budgets
        assert budgets is not None
        for queue in np.unique(tree.parent[tree.parent >= 0]):
            children = tree.parent == queue
            assert budgets.queue[children].sum() == pytest.approx(budgets.queue[queue]), seed
            waiting = children & (budgets.queue < budgets.cap * (1 - 1e-9))
            if waiting.any():  # then no satisfied sibling has more than it needs
                satisfied = children & ~waiting
                assert (budgets.queue[satisfied] <= budgets.cap[satisfied] * (1 + 1e-9)).all(), seed


def test_a_queue_alone_gets_all_that_it_can_use() -> None:
    """Alone, or beside one that wants nothing, is the same: the best that its jobs could have with everything."""
    for seed, queues, wants, capacity in worlds(flat=True):
        mine = [Want(queues[0].name, *want[1:]) for want in map(_fields, wants)]
        opened = market(queues, mine, capacity)  # type: ignore[arg-type]
        alone = worth_alone(opened, queues[0].name, capacity)
        assert alone is not None
        assert worth_now(opened, cleared(opened), queues[0].name) == pytest.approx(alone, abs=2e-3), seed


def _fields(want: Want) -> tuple[str, tuple[Way, ...], float, int, int]:
    return want.queue, want.ways, want.weight, want.count, want.priority


def test_a_queue_gains_nothing_by_cutting_its_jobs_in_two() -> None:
    """Jobs of half the size, twice as many."""
    for seed, queues, wants, capacity in worlds(flat=True):
        halves = [
            Want(
                want.queue,
                tuple(Way(way.flavor, tuple(amount / 2 for amount in way.demand), way.throughput) for way in want.ways),
                want.weight,
                want.count * 2,
            )
            if want.queue == queues[0].name
            else want
            for want in wants
        ]
        before, after = cleared(market(queues, wants, capacity)), cleared(market(queues, halves, capacity))  # type: ignore[arg-type]
        if max(money(before), money(after)) <= 1e-4 and queues[0].name in before.tree.names:
            change = before.solution.prices * (used(after, queues[0].name) - used(before, queues[0].name))
            assert abs(change.sum()) <= 5e-3, seed


def test_no_queue_is_below_what_its_part_of_the_machines_would_give_it() -> None:
    """Sharing incentive: the utility of a split of everything by weight among those that want something."""
    checked = 0
    for seed, queues, wants, capacity in worlds(flat=True, first=1000):
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        found = cleared(opened)
        if money(found) > 1e-4:
            continue
        weight = {queue.name: queue.weight for queue in queues if queue.name in found.tree.names}
        for name, mine in weight.items():
            split = worth_alone(opened, name, capacity * mine / sum(weight.values()))
            assert split is not None
            assert worth_now(opened, found, name) >= split - 2e-3, (seed, name)
            checked += 1
    assert checked > WORLDS


def test_no_queue_would_rather_have_what_another_has() -> None:
    """Envy-freeness up to weights, among siblings without quotas."""
    checked = 0
    for seed, queues, wants, capacity in worlds(flat=True, first=2000):
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        found = cleared(opened)
        if money(found) > 1e-4:
            continue
        weight = {queue.name: queue.weight for queue in queues if queue.name in found.tree.names}
        for name, mine in weight.items():
            for other, theirs in weight.items():
                wished = worth_alone(opened, name, used(found, other) * mine / theirs)
                if other != name and wished is not None:
                    assert worth_now(opened, found, name) >= wished - 2e-3, (seed, name, other)
                    checked += 1
    assert checked > WORLDS


def test_quotas_are_never_broken() -> None:
    for seed, queues, wants, capacity in worlds(quotas=True, first=3000):
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        found = cleared(opened)
        bounds = Bounds.of(found.tree, capacity, np.zeros(found.used.shape))
        assert (found.used <= bounds.most + 1e-6).all(), seed
        reserved = found.used.copy()
        for queue in reversed(range(found.tree.size)):
            below = found.tree.parent == queue
            if below.any():
                reserved[queue] = reserved[below].sum(axis=0)
            reserved[queue] = np.maximum(reserved[queue], bounds.kept[queue])
        total = reserved[found.tree.depth == 0].sum(axis=0)
        promised = bounds.kept.sum(axis=0)  # where that is more than there is, it cannot all be kept
        assert ((total <= capacity + 1e-5) | (promised > capacity)).all(), seed


def test_what_is_guaranteed_is_had_whenever_all_of_it_can_be() -> None:
    checked = 0
    for seed, queues, wants, capacity in worlds(quotas=True, flat=True, first=4000):
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        found = cleared(opened)
        promised = Bounds.of(found.tree, capacity, np.zeros(found.used.shape)).kept
        promised[found.guaranteed.queue] = np.maximum(promised[found.guaranteed.queue], found.guaranteed.bundle)
        if money(found) > 1e-4 or (promised.sum(axis=0) > capacity + 1e-9).any():
            continue
        for position, number in enumerate(found.guaranteed.queue.tolist()):
            name = found.tree.names[number]
            if not _rows(opened, name).size:
                continue
            alone = worth_alone(opened, name, found.guaranteed.bundle[position])
            if alone is not None:
                assert worth_now(opened, found, name) >= alone - 5e-3, (seed, name)
                checked += 1
    assert checked > WORLDS / 8

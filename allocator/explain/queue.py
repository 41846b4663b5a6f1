"""Whether a queue gets its share: what it is entitled to, asks for, could use, is given and holds."""

from __future__ import annotations

import numpy as np

from allocator.domain.errors import NotFound
from allocator.domain.resources import display_unit
from allocator.explain.answers import Borrower, QueueAmounts, QueueExplanation, Shortfall
from allocator.explain.finished import Finished
from allocator.explain.money import spent
from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.market.clearing import Cleared
from allocator.market.quotas import fill
from allocator.market.water import spill

_TOLERANCE = 1e-3
"""Of a guarantee that may be missing: what solvers leave open."""
_CRUMB = 1e-6
"""Less of anything, in display units, is what solvers leave instead of nothing."""
_MOST_BORROWERS = 20


def explain_queue(finished: Finished, name: str) -> QueueExplanation:
    """About a queue and all that is below it, as of the last round. NotFound if the round did not know it."""
    report = finished.report
    queue = next((queue for queue in report.snapshot.queues if queue.name == name), None)
    if queue is None:
        raise NotFound("queue", name)
    at = finished.node_of_tree.get(name)
    shape = report.formulation.problem.capacity.shape
    nothing = np.zeros(shape)
    most = _most(finished, at)
    demand, constrained = _demands(finished, at, most)
    optimum = nothing if at is None else finished.market.used[at] + finished.held[at]
    entitlement = 0.0 if at is None else float(_entitlements(finished)[at])
    could = finished.dominant(constrained)
    return QueueExplanation(
        queue=name,
        round=report.summary.round,
        time=report.snapshot.time,
        weight=queue.weight,
        entitlement=entitlement,
        budget=_budget(finished.market, at),
        spends=0.0 if at is None else float(spent(finished)[at]),
        demand=finished.dominant(demand),
        constrained_demand=could,
        fair_share=min(entitlement, could),
        adjusted_fair_share=finished.dominant(optimum),
        actual_share=finished.dominant(nothing if at is None else finished.running[at]),
        amounts=_amounts(finished, name, at, (demand, constrained, optimum)),
    )


def _entitlements(finished: Finished) -> Floats:
    """(Q,) parts of 1, by weights, among queues with jobs that want something or hold something for good."""
    tree = finished.market.tree
    jobs = np.bincount(finished.leaf_of_row, minlength=tree.size).astype(np.float64)
    jobs += finished.held.sum(axis=(1, 2)) * np.isin(np.arange(tree.size), tree.parent, invert=True)
    wanting = tree.above(jobs) > 0
    parts = np.zeros(tree.size)
    for depth in range(tree.levels):
        here = np.flatnonzero((tree.depth == depth) & wanting)
        have = np.concatenate([[1.0], parts])
        parts[here] = spill(tree.parent[here] + 1, tree.weight[here], np.zeros(len(here)), have)
    return parts


def _budget(market: Cleared, at: int | None) -> float:
    """In the last class that had any budgets, whose money counts what higher classes and pinned jobs hold."""
    told = [stage.budgets for stage in market.stages if stage.budgets is not None]
    return float(told[-1].queue[at]) if told and at is not None else 0.0


def _most(finished: Finished, at: int | None) -> Floats:
    """(F, R) what the queue may use besides what it holds for good; inf where there is no limit."""
    found = np.full(finished.market.problem.capacity.shape, np.inf)
    if at is not None:
        quotas = finished.market.tree.quotas
        mine = quotas.queue == at
        where = (quotas.flavor[mine], quotas.resource[mine])
        found[where] = np.maximum(quotas.most[mine] - finished.held[at][where], 0.0)
    return found


def _demands(finished: Finished, at: int | None, most: Floats) -> tuple[Floats, Floats]:
    """(F, R) what the queue's jobs ask for, each where it is fastest, and what they could use at once."""
    problem = finished.market.problem
    if at is None:
        return np.zeros(problem.capacity.shape), np.zeros(problem.capacity.shape)
    rows = np.flatnonzero(finished.market.tree.is_below(at)[finished.leaf_of_row])
    found = finished.held[at].copy()
    if problem.column_count:
        best = problem.utility[rows].argmax(axis=1)
        each = problem.demand[rows, best] * problem.count[rows][:, None]
        np.add.at(found, problem.flavor[rows, best], each)
    return found, _filled(finished, at, np.minimum(most, problem.capacity)) + finished.held[at]


def _filled(finished: Finished, at: int, bound: Floats) -> Floats:
    """(F, R) what the queue's jobs use within a bound, each in its fastest configuration first."""
    problem, tree = finished.market.problem, finished.market.tree
    if not problem.row_count:
        return np.zeros(bound.shape)
    found = fill(problem, tree, finished.leaf_of_row, np.array([at], dtype=np.int64), bound[None])
    bundle: Floats = found.bundle[0]
    return bundle


def _amounts(
    finished: Finished, name: str, at: int | None, known: tuple[Floats, Floats, Floats]
) -> tuple[QueueAmounts, ...]:
    """One entry for everything that it has a quota of, asks for, is given or holds."""
    formulation, market = finished.report.formulation, finished.market
    queue = next(queue for queue in finished.report.snapshot.queues if queue.name == name)
    quotas = {(quota.flavor, quota.resource): quota for quota in queue.quotas}
    demand, constrained, optimum = known
    holds = np.zeros(demand.shape) if at is None else finished.running[at]
    guaranteed = _guaranteed(finished, at)
    tight = _overcommitted(market)
    found = []
    for flavor, flavor_name in enumerate(formulation.flavors):
        for resource, resource_name in enumerate(formulation.resources):
            cell, size = (flavor, resource), display_unit(resource_name)[1]
            quota = quotas.get((flavor_name, resource_name))
            if quota is None and max(demand[cell], holds[cell], optimum[cell]) <= _CRUMB:
                continue
            nominal = None if quota is None else quota.nominal / size
            lent = max(0.0, (nominal or 0.0) - optimum[cell])
            short = optimum[cell] < guaranteed[cell] * (1 - _TOLERANCE)
            found.append(
                QueueAmounts(
                    flavor=flavor_name,
                    resource=resource_name,
                    nominal=nominal,
                    most=None if quota is None or quota.most is None else quota.most / size,
                    demand=float(demand[cell]),
                    constrained_demand=float(constrained[cell]),
                    optimum=float(optimum[cell]),
                    holds=float(holds[cell]),
                    guaranteed=float(guaranteed[cell]),
                    shortfall=(Shortfall.CAPACITY if tight[cell] else Shortfall.SPENT_ELSEWHERE) if short else None,
                    limit_price=market.limit_prices.get((name, flavor_name, resource_name), 0.0),
                    lent=lent,
                    borrowers=_borrowers(finished, at, cell) if lent > 0 else (),
                )
            )
    return tuple(found)


def _guaranteed(finished: Finished, at: int | None) -> Floats:
    """(F, R) what of its nominal quotas the queue asks for, were there enough of everything."""
    problem = finished.market.problem
    found = np.zeros(problem.capacity.shape)
    if at is None:
        return found
    quotas = finished.market.tree.quotas
    mine = quotas.queue == at
    where: tuple[Integers, Integers] = (quotas.flavor[mine], quotas.resource[mine])
    held = finished.held[at][where]
    bound = np.full(found.shape, np.inf)
    bound[where] = np.maximum(quotas.nominal[mine] - held, 0.0)
    found[where] = np.minimum(held, quotas.nominal[mine]) + _filled(finished, at, bound)[where]
    return found


def _overcommitted(market: Cleared) -> Booleans:
    """(F, R) whether guarantees of all queues together take all there is."""
    promised = np.zeros(market.problem.capacity.shape)
    owners = {
        int(queue): bundle for queue, bundle in zip(market.guaranteed.queue, market.guaranteed.bundle, strict=True)
    }
    for queue, bundle in owners.items():
        above = int(market.tree.parent[queue])
        while above >= 0 and above not in owners:
            above = int(market.tree.parent[above])
        if above < 0:
            promised += bundle
    found: Booleans = (promised > 0) & (promised >= market.problem.capacity * (1 - _TOLERANCE))
    return found


def _borrowers(finished: Finished, at: int | None, cell: tuple[int, int]) -> tuple[Borrower, ...]:
    """Leaves elsewhere that use more than their nominal quota."""
    tree = finished.market.tree
    uses = (finished.market.used + finished.held)[:, cell[0], cell[1]]
    nominal = np.zeros(tree.size)
    here = (tree.quotas.flavor == cell[0]) & (tree.quotas.resource == cell[1])
    nominal[tree.quotas.queue[here]] = tree.quotas.nominal[here]
    more = uses - nominal
    leaves = np.isin(np.arange(tree.size), tree.parent, invert=True)
    inside = np.zeros(tree.size, dtype=np.bool_) if at is None else tree.is_below(at)
    chosen = np.flatnonzero(leaves & ~inside & (more > _CRUMB))
    order = chosen[np.argsort(-more[chosen], kind="stable")][:_MOST_BORROWERS]
    return tuple(Borrower(tree.names[queue], float(more[queue])) for queue in order.tolist())

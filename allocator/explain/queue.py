"""Whether a queue gets its share: what it is entitled to, asks for, could use, is given and holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from allocator.domain.errors import NotFound
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import display_unit
from allocator.explain.answers import Borrower, PastUsage, QueueAmounts, QueueExplanation, Shortfall
from allocator.explain.finished import Finished
from allocator.formulation.problem import Booleans, Floats
from allocator.market.clearing import Cleared

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
    at, every = finished.node_of_tree.get(name), finished.queues
    if at is None:
        nothing = np.zeros(report.formulation.problem.capacity.shape)
        demand = constrained = optimum = holds = guaranteed = nothing
    else:
        demand, constrained, optimum = every.demand[at], every.could_use[at], every.optimum[at]
        holds, guaranteed = finished.running[at], every.guaranteed[at]
    entitlement = 0.0 if at is None else float(every.entitlement[at])
    could = finished.dominant(constrained)
    return QueueExplanation(
        queue=name,
        round=report.summary.round,
        time=report.snapshot.time,
        weight=queue.weight,
        entitlement=entitlement,
        budget=0.0 if at is None else float(every.budget[at]),
        spends=0.0 if at is None else float(every.spends[at]),
        demand=finished.dominant(demand),
        constrained_demand=could,
        fair_share=min(entitlement, could),
        adjusted_fair_share=finished.dominant(optimum),
        actual_share=finished.dominant(holds),
        amounts=_amounts(finished, queue, at, (demand, constrained, optimum, holds, guaranteed)),
        past=_past(finished, name),
        counts=next(each.weight for each in report.formulation.weightings.queues if each.name == name),
    )


def _past(finished: Finished, name: str) -> PastUsage | None:
    """By which the queue's weight was multiplied."""
    found = finished.report.formulation.weightings.repaid.get(name)
    if found is None:
        return None
    return PastUsage(found.factor, found.had, found.entitled, finished.policy.usage_half_life_seconds)


def _amounts(
    finished: Finished, queue: Queue, at: int | None, known: tuple[Floats, Floats, Floats, Floats, Floats]
) -> tuple[QueueAmounts, ...]:
    """One entry for everything that it has a quota of, asks for, is given or holds."""
    formulation, market = finished.report.formulation, finished.market
    quotas = {(quota.flavor, quota.resource): quota for quota in queue.quotas}
    demand, constrained, optimum, holds, guaranteed = known
    tight, floating = _overcommitted(market), finished.policy.floating_resources
    found = []
    for flavor, flavor_name in enumerate(formulation.flavors):
        for resource, resource_name in enumerate(formulation.resources):
            cell, size = (flavor, resource), display_unit(resource_name)[1]
            quota = quotas.get((flavor_name, resource_name))
            if quota is None and resource_name in floating:
                continue
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
                    limit_price=market.limit_prices.get((queue.name, flavor_name, resource_name), 0.0),
                    lent=lent,
                    borrowers=_borrowers(finished, at, cell) if lent > 0 else (),
                )
            )
    return (*found, *_floating(finished, quotas, (demand, constrained, optimum, holds)))


def _floating(
    finished: Finished, quotas: Mapping[tuple[str, str], Quota], known: tuple[Floats, ...]
) -> Iterator[QueueAmounts]:
    """What floats is of no flavor: all of it together, but for what there is a quota of."""
    formulation = finished.report.formulation
    for number, name in enumerate(formulation.resources):
        if name not in finished.policy.floating_resources:
            continue
        open_ = [(flavor, name) not in quotas for flavor in formulation.flavors]
        demand, constrained, optimum, holds = (float(amounts[open_, number].sum()) for amounts in known)
        if max(demand, holds, optimum) > _CRUMB:
            yield QueueAmounts(
                flavor="",
                resource=name,
                nominal=None,
                most=None,
                demand=demand,
                constrained_demand=constrained,
                optimum=optimum,
                holds=holds,
                guaranteed=0.0,
                shortfall=None,
                limit_price=0.0,
                lent=0.0,
                borrowers=(),
            )


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

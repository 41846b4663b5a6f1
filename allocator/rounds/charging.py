"""What queues have from now on, at the prices of the round: see `formulation.usage_history`. Pure."""

from __future__ import annotations

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause
from allocator.domain.snapshot import Memory, QueueHistory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.claims import display_amounts
from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.formulation.usage_history import history_at, history_of, paces
from allocator.rounds.decide import Decision
from allocator.solvers.solution import Solution, Status

_USED_UP = 0.999
"""Part of a capacity: the rest is what a gap leaves."""
_SATISFIED = 0.999
"""Part of the best that a job has who lacks nothing: solvers leave a little open."""


def history_after(
    memory: Memory, snapshot: Snapshot, decision: Decision, after: Integers, part: Floats, policy: Policy
) -> dict[str, QueueHistory]:
    """What queues had until now, and at what pace they have more.

    `after` (J,) is the configuration that each job runs in from now on, -1 of those that wait; `part` (J,) the part of
    its demand that it holds.
    """
    formulation = decision.formulation
    prices = scarcity_prices(formulation, decision.solution, memory)
    paid = charged(formulation, prices, after, part)
    there = formulation.problem.capacity + formulation.held.sum(axis=0)
    worth = max(float((prices * there).sum()), float(paid.sum()))
    past = history_at(memory, snapshot.time, policy.usage_half_life_seconds)
    by_name = dict(zip(formulation.live.queues, paid.tolist(), strict=True))
    return history_of(past, paces(snapshot.queues, by_name, worth))


def scarcity_prices(formulation: Formulation, solution: Solution, memory: Memory) -> Floats:
    """(F, R) prices of the round, 0 of what nobody lacks: where there is just enough, prices are anything.

    Where no solver answered, and where pinned jobs hold all there is, prices are the last known ones. Where there are
    none, as at max-min, whose prices are of the lowest level alone, all there is of each resource that is used up costs
    1.
    """
    problem = formulation.problem
    known = np.maximum(np.nan_to_num(formulation.warm_prices(memory)), 0.0)
    waited_for = _waited_for(formulation)
    if solution.status is Status.FAILED:
        return np.where(waited_for | (problem.capacity > 0), known, 0.0)
    lacking = waited_for | _lacked(formulation, solution)
    prices = np.where(lacking, np.where(problem.capacity > 0, np.maximum(solution.prices, 0.0), known), 0.0)
    unpriced = lacking & (prices <= 0) & (problem.usage(solution.shares) >= _USED_UP * problem.capacity)
    if (prices[problem.capacity > 0] > 0).any():
        unpriced &= problem.capacity <= 0
    total = problem.capacity + formulation.held.sum(axis=0)
    return np.where(unpriced & (total > 0), 1 / np.where(total > 0, total, 1.0), prices)


def _lacked(formulation: Formulation, solution: Solution) -> Booleans:
    """(F, R) of what the optimum gives somebody less than they could use."""
    problem = formulation.problem
    utility = problem.utility
    found = np.zeros(problem.capacity.shape, dtype=np.bool_)
    if not utility.size:
        return found
    has = (utility * solution.shares).sum(axis=1)
    row, column = np.nonzero((utility > 0) & (utility * _SATISFIED > has[:, None]))
    at, resource = np.nonzero(problem.demand[row, column] > 0)
    found[problem.flavor[row, column][at], resource] = True
    return found


def _waited_for(formulation: Formulation) -> Booleans:
    """(F, R) of what jobs wait for that is all held by pinned ones."""
    flavor = {name: index for index, name in enumerate(formulation.flavors)}
    resource = {name: index for index, name in enumerate(formulation.resources)}
    found = np.zeros(formulation.problem.capacity.shape, dtype=np.bool_)
    for reason in {id(reason): reason for reason in formulation.never.values()}.values():
        if reason.cause is PendingCause.INSUFFICIENT_CAPACITY:
            for lack in reason.shortages:
                if lack.flavor in flavor and lack.resource in resource:
                    found[flavor[lack.flavor], resource[lack.resource]] = True
    return found


def charged(formulation: Formulation, prices: Floats, after: Integers, part: Floats) -> Floats:
    """(queues,) what the jobs of each of `Live.queues` hold costs at `prices` (F, R). Replicas that have finished hold
    nothing.
    """
    live = formulation.live
    running = np.flatnonzero(after >= 0)
    kind = live.shapes.kind[live.shape[running], after[running]]
    standing = np.bincount(live.jobs.piece_owner, weights=live.jobs.piece_count, minlength=len(after))[running]
    flavor = {name: index for index, name in enumerate(formulation.flavors)}
    cost, replicas = np.zeros(len(live.kinds)), np.ones(len(live.kinds))
    for number in np.unique(kind).tolist():
        each = live.kinds[number]
        replicas[number] = each.replicas
        if each.flavor in flavor:
            amounts = display_amounts(each.asks * each.replicas, formulation.resources)
            cost[number] = float(prices[flavor[each.flavor]] @ np.array(amounts))
    goes_on = after[running] == live.jobs.configuration[running]
    there = np.where(goes_on, standing / replicas[kind], 1.0)
    queue = live.profiles.queue[live.jobs.profile[running]]
    paid = cost[kind] * part[running] * there
    return np.bincount(queue, weights=paid, minlength=len(live.queues)).astype(np.float64)

"""What queues have from now on, at the prices of the round: see `formulation.usage_history`. Pure."""

from __future__ import annotations

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause
from allocator.domain.snapshot import Memory, QueueHistory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.claims import display_amounts
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
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
    by_row = constraint_prices(formulation, decision.solution, memory)
    paid = charged(formulation, prices, by_row, after, part)
    there = formulation.problem.capacity + formulation.held.sum(axis=0)
    rows = () if formulation.sides is None else formulation.sides.rows
    limits = sum(price * (row.amount + row.taken) for price, row in zip(by_row.tolist(), rows, strict=True))
    worth = max(float((prices * there).sum()) + limits, float(paid.sum()))
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


def constraint_prices(formulation: Formulation, solution: Solution, memory: Memory) -> Floats:
    """(L,) prices of side constraints, by the formulation's rows; 0 of one that leaves nobody less than they could use,
    the last known one, or 1 for all of it if nothing has a price, where pinned jobs take all there may be. Prices of
    quotas charge nobody: they are for a queue's own jobs to sort out.
    """
    sides, problem = formulation.sides, formulation.problem
    if sides is None:
        return np.zeros(0)
    known = np.array([memory.limit_prices.get((name, "", ""), 0.0) for name in sides.names])
    left = np.array([row.amount > 0 for row in sides.rows], dtype=np.bool_)
    if solution.status is Status.FAILED:
        return known
    found = np.where(left, np.maximum(solution.limit_prices[: len(left)], 0.0), known)
    wanting = _wanting(problem, solution)
    waited_for = {limit.name for reason in formulation.never.values() for limit in reason.limits}
    for number, name in enumerate(sides.names):
        row, column, _ = problem.limit_arrays.entries(number, problem.flavor, problem.demand)
        if not (wanting[row, column].any() if left[number] else name in waited_for):
            found[number] = 0.0
        elif not left[number] and not found[number] and not (solution.prices > 0).any():
            taken = sides.rows[number].taken
            found[number] = 1 / taken if taken > 0 else 0.0
    return found


def _wanting(problem: Problem, solution: Solution) -> Booleans:
    """(n, K) columns that would give somebody more than they have."""
    has = (problem.utility * solution.shares).sum(axis=1)
    found: Booleans = (problem.utility > 0) & (problem.utility * _SATISFIED > has[:, None])
    return found


def _lacked(formulation: Formulation, solution: Solution) -> Booleans:
    """(F, R) of what the optimum gives somebody less than they could use."""
    problem = formulation.problem
    utility = problem.utility
    found = np.zeros(problem.capacity.shape, dtype=np.bool_)
    if not utility.size:
        return found
    row, column = np.nonzero(_wanting(problem, solution))
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


def charged(formulation: Formulation, prices: Floats, by_row: Floats, after: Integers, part: Floats) -> Floats:
    """(queues,) what the jobs of each of `Live.queues` hold costs at `prices` (F, R), and at those of side constraints,
    `by_row` (L,). Replicas that have finished hold nothing.
    """
    live = formulation.live
    running = np.flatnonzero(after >= 0)
    kind = live.shapes.kind[live.shape[running], after[running]]
    standing = np.bincount(live.jobs.piece_owner, weights=live.jobs.piece_count, minlength=len(after))[running]
    flavor = {name: index for index, name in enumerate(formulation.flavors)}
    at, replicas = _prices_by_sort(formulation, prices, by_row), np.ones(len(live.kinds))
    sort = np.zeros(len(running), dtype=np.int64)
    if formulation.sides is not None:
        sort = formulation.sides.sort[running]
    cost = np.zeros((len(live.kinds), len(at)))
    for number in np.unique(kind).tolist():
        each = live.kinds[number]
        replicas[number] = each.replicas
        if each.flavor in flavor:
            amounts = display_amounts(each.asks * each.replicas, formulation.resources)
            cost[number] = at[:, flavor[each.flavor]] @ np.array(amounts)
    goes_on = after[running] == live.jobs.configuration[running]
    there = np.where(goes_on, standing / replicas[kind], 1.0)
    queue = live.profiles.queue[live.jobs.profile[running]]
    paid = cost[kind, sort] * part[running] * there
    return np.bincount(queue, weights=paid, minlength=len(live.queues)).astype(np.float64)


def _prices_by_sort(formulation: Formulation, prices: Floats, by_row: Floats) -> Floats:
    """(G, F, R) what side constraints charge, too, by sort of jobs."""
    sides = formulation.sides
    if sides is None:
        return prices[None]
    found = np.repeat(prices[None], sides.sort_count, axis=0)
    for price, rates in zip(by_row.tolist(), sides.rates, strict=True):
        if price > 0:
            found += price * rates
    return found

"""What a price means: who pays it, and what one more unit would bring, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from allocator.domain.errors import InvalidInput, NotFound
from allocator.explain.finished import Finished
from allocator.explain.money import paid_for
from allocator.explain.scarcity import ClassPrice, Gain, OneMore, Payer, PriceExplanation
from allocator.formulation.fairness import phi
from allocator.formulation.limits import Limit
from allocator.formulation.problem import Floats, Problem
from allocator.market.clearing import Cleared, Market, clear
from allocator.market.opening import opened
from allocator.rounds.ports import Solver
from allocator.solvers.solution import Solution, Status, WarmStart

MOST_QUEUES = 100
"""That are told."""
_EXACT = 1e-8
"""Gap: what one unit brings is small."""
_CRUMB = 1e-12
_NOTHING = 1e-4
"""Of the largest gain: budgets agree with prices to no more than that."""


def explain_price(finished: Finished, flavor: str, resource: str) -> PriceExplanation:
    """About one resource of one flavor. NotFound if no node had it in the last round."""
    report = finished.report
    usage = next((each for each in report.summary.flavors if (each.flavor, each.resource) == (flavor, resource)), None)
    if usage is None and resource in finished.policy.floating_resources:
        raise InvalidInput.of("resource", f"{resource} floats, and is of no flavor: ask about limit/{resource}")
    if usage is None:
        raise NotFound("resource", f"{flavor}/{resource}")
    at = _cell(finished, flavor, resource)
    classes: tuple[ClassPrice, ...] = ()
    payers: tuple[Payer, ...] = ()
    if at is not None and finished.solved:
        classes = tuple(ClassPrice(stage.priority, float(stage.prices[at])) for stage in finished.market.stages)
        tree = finished.market.tree
        paid, amounts = paid_for(finished)
        leaves = np.isin(np.arange(tree.size), tree.parent, invert=True)
        mine, got = paid[:, at[0], at[1]], amounts[:, at[0], at[1]]
        chosen = np.flatnonzero(leaves & ((mine > _CRUMB) | (got > _CRUMB)))
        order = chosen[np.lexsort((-got[chosen], -mine[chosen]))][:MOST_QUEUES]
        payers = tuple(Payer(tree.names[queue], float(mine[queue]), float(got[queue])) for queue in order.tolist())
    return PriceExplanation(report.summary.round, report.snapshot.time, usage, classes, payers)


def one_more(finished: Finished, flavor: str, resource: str, solver: Solver) -> OneMore | None:
    """The last round's market with one display unit more of a capacity, against the same market solved as exactly.

    None where nobody could use it as the cluster is: no job that wants something has a configuration there.
    """
    at = _cell(finished, flavor, resource)
    return None if at is None else gain_by(finished, solver, lambda market: _larger(market, at))


def gain_by(finished: Finished, solver: Solver, change: Callable[[Market], Market]) -> OneMore | None:
    """What a change of the last round's market brings; None where it had no shares."""
    if not finished.solved or not finished.market.problem.row_count:
        return None
    report = finished.report
    market = opened(report.formulation, report.formulation.weightings.queues)
    start = WarmStart(report.solution.prices)
    before, now = (_cleared(each, solver, finished, start) for each in (market, change(market)))
    if Status.FAILED in (before.solution.status, now.solution.status):
        return None
    problem, tree = before.problem, before.tree
    least, most = problem.utilities(before.solution.shares), problem.utilities(now.solution.shares)
    utility = problem.count * (most - least)
    objective = utility if np.isinf(problem.fairness) else _objective(problem, least, most)
    by_queue = [np.bincount(finished.leaf_of_row, weights=each, minlength=tree.size) for each in (objective, utility)]
    size = np.abs(by_queue[0]) + np.abs(by_queue[1])
    chosen = np.flatnonzero(size > max(_CRUMB, _NOTHING * float(size.max(initial=0.0))))
    order = chosen[np.argsort(-np.abs(by_queue[0][chosen]), kind="stable")][:MOST_QUEUES]
    gains = tuple(
        Gain(tree.names[queue], float(by_queue[0][queue]), float(by_queue[1][queue])) for queue in order.tolist()
    )
    accuracy = sum(each.solution.gap * each.problem.total_weight for each in (before, now))
    return OneMore(float(objective.sum()), float(accuracy), gains)


def _cell(finished: Finished, flavor: str, resource: str) -> tuple[int, int] | None:
    formulation = finished.report.formulation
    if flavor not in formulation.flavors or resource not in formulation.resources:
        return None
    return formulation.flavors.index(flavor), formulation.resources.index(resource)


def _objective(problem: Problem, least: Floats, most: Floats) -> Floats:
    """(n,) by how much the rows' value grows, at the weights of `problem`; nothing where both are nothing."""
    floor = 1e-12
    grown = phi(np.maximum(most, floor), problem.fairness) - phi(np.maximum(least, floor), problem.fairness)
    found: Floats = problem.count * problem.weight * grown
    return found


def _larger(market: Market, at: tuple[int, int]) -> Market:
    """The market with one unit more of a capacity."""
    capacity = market.problem.capacity.copy()
    capacity[at] += 1.0
    return with_amounts(market, capacity, market.problem.limits)


def with_amounts(market: Market, capacity: Floats, limits: Sequence[Limit]) -> Market:
    """The market with another capacity (F, R) and other amounts of its problem's own limits."""
    problem = market.problem
    changed = Problem.from_arrays(
        throughput=problem.throughput,
        flavor=problem.flavor,
        demand=problem.demand,
        capacity=capacity,
        weight=problem.weight,
        count=problem.count,
        fairness=problem.fairness,
        reference=problem.reference,
        limits=limits,
    )
    return replace(market, problem=changed)


def _cleared(market: Market, solver: Solver, finished: Finished, start: WarmStart) -> Cleared:
    def solve(problem: Problem, warm_start: WarmStart) -> Solution:
        return solver.solve(problem, gap=_EXACT, iterations=finished.policy.iterations, warm_start=warm_start)

    return clear(market, solve, start, finished.after.limit_prices)

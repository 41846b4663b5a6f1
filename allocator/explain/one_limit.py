"""What one limit means: what is taken of it, who pays for it, and what one more unit of it would bring."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from allocator.domain.errors import NotFound
from allocator.explain.finished import Finished
from allocator.explain.own_limits import most_first, payers_of
from allocator.explain.prices import gain_by, with_amounts
from allocator.explain.scarcity import LimitExplanation, OneMore, Payer
from allocator.formulation.tree import QueueTree
from allocator.market.clearing import Market
from allocator.rounds.ports import Solver
from allocator.rounds.report import LimitKind, LimitUsage


def explain_limit(finished: Finished, name: str) -> LimitExplanation:
    """About one limit, named as in `LimitUsage`. NotFound if the last round did not know it."""
    usage = _named(finished, name)
    number, together = _row(finished, usage)
    payers = _payers_of_quota(finished, usage) if number is None else payers_of(finished, number)
    others = tuple(other for other in together if other != name)
    report = finished.report
    return LimitExplanation(report.summary.round, report.snapshot.time, usage, others, payers)


def one_more_of_limit(finished: Finished, name: str, solver: Solver) -> OneMore | None:
    """The last round's market with one unit more of a limit; None where that is nobody's: no job that wants something
    is counted by it, its nodes have no more, more than that is in use beyond it, or it is no limit.
    """
    usage = _named(finished, name)
    if usage.most is None:
        return None
    number, _ = _row(finished, usage)
    if number is not None:
        sides = finished.report.formulation.sides
        more = 0.0 if sides is None else sides.rows[number].gain(name, 1.0)
        return gain_by(finished, solver, lambda market: _with_row(market, number, more)) if more > 0 else None
    at = _quota_at(finished.market.tree, usage, finished)
    return None if at is None else gain_by(finished, solver, lambda market: _with_quota(market, at, usage.kind))


def _named(finished: Finished, name: str) -> LimitUsage:
    for each in finished.limits:
        if each.name == name:
            return each
    near = get_close_matches(name, [each.name for each in finished.limits], 1)
    raise NotFound("limit", f"{name} (did you mean {near[0]}?)" if near else name)


def _row(finished: Finished, usage: LimitUsage) -> tuple[int | None, tuple[str, ...]]:
    """Which limit of the problem it is, if it is one of its own, and all that are the same one."""
    if usage.kind in (LimitKind.SIDE_CONSTRAINT, LimitKind.FLOATING):
        formulation = finished.report.formulation
        for number, row in enumerate(formulation.side_constraints):
            together = formulation.constraints_of(row)
            if usage.name in together:
                return number, together
    return None, ()


def _with_row(market: Market, number: int, more: float) -> Market:
    limits = list(market.problem.limits)
    limits[number] = limits[number]._replace(amount=limits[number].amount + more)
    return with_amounts(market, market.problem.capacity, limits)


def _quota_at(tree: QueueTree, usage: LimitUsage, finished: Finished) -> int | None:
    """Where it is among the quotas of the tree; None if its queue takes no part, or it is no quota."""
    formulation, queue = finished.report.formulation, finished.node_of_tree.get(usage.queue)
    if queue is None or usage.flavor not in formulation.flavors or usage.resource not in formulation.resources:
        return None
    quotas = tree.quotas
    here = (quotas.queue == queue) & (quotas.flavor == formulation.flavors.index(usage.flavor))
    here &= quotas.resource == formulation.resources.index(usage.resource)
    found = np.flatnonzero(here)
    return int(found[0]) if found.size else None


def _with_quota(market: Market, at: int, kind: LimitKind) -> Market:
    """One unit more that the queue may use, or one unit less that it keeps to itself."""
    quotas = market.tree.quotas
    amounts = (quotas.kept if kind is LimitKind.LENDING else quotas.most).copy()
    if kind is LimitKind.LENDING:
        amounts[at] = max(0.0, amounts[at] - 1.0)
        changed = replace(quotas, kept=amounts)
    else:
        amounts[at] += 1.0
        changed = replace(quotas, most=amounts)
    return replace(market, tree=replace(market.tree, quotas=changed))


def _payers_of_quota(finished: Finished, usage: LimitUsage) -> tuple[Payer, ...]:
    """The leaves below the queue, by what the optimum gives them of it."""
    tree = finished.market.tree
    if usage.kind is not LimitKind.QUOTA or not finished.solved:
        return ()
    at = _quota_at(tree, usage, finished)
    if at is None:
        return ()
    quotas = tree.quotas
    leaves = np.isin(np.arange(tree.size), tree.parent, invert=True) & tree.is_below(int(quotas.queue[at]))
    got = np.where(leaves, finished.market.used[:, quotas.flavor[at], quotas.resource[at]], 0.0)
    return most_first(finished, got * usage.price, got)

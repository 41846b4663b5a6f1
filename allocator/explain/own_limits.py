"""The limits of a round's problem itself, as explanations tell them: side constraints, and what lies in pieces.

What a job takes of them is read off the problem's coupling, so it pays here what the market makes it pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from allocator.explain.finished import Finished
from allocator.explain.scarcity import Binding, BindingKind, LimitPrice, LimitPrices, Payer, ScarceLimit
from allocator.formulation.problem import Floats, Integers
from allocator.formulation.slots import LEAST_PART, LEAST_SLOTS, told_by
from allocator.market.clearing import Stage

LEAST_PRICE = 1e-9
"""Less is what solvers leave instead of nothing."""
MOST_PAYERS = 100
"""That are told."""
_CRUMB = 1e-12
_NEARLY = 1 + 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """What one limit counts: E entries of the problem's coupling, each a job's configuration."""

    at: Integers
    """(E,) into the shares, raveled."""
    row: Integers
    """(E,) of the problem."""
    amount: Floats
    """(E,) what all jobs of the row take if they run there all the time."""

    @classmethod
    def by(cls, finished: Finished, number: int) -> _Counted:
        problem = finished.market.problem
        entries = problem.coupling[[problem.capacity.size + number]].tocoo()
        at = entries.col.astype(np.int64)
        return cls(at, at // problem.column_count, entries.data)


def own_bindings(finished: Finished, row: int, stage: Stage) -> Iterator[Binding]:
    """Those with a price that count a job of this row anywhere that it could run."""
    problem, side = finished.market.problem, stage.charged.side
    if not (side > LEAST_PRICE).any():
        return
    columns = problem.column_count
    here = problem.coupling[:, row * columns : (row + 1) * columns].toarray()
    takes = here[problem.capacity.size :] / problem.count[row]
    for number in np.flatnonzero((side > LEAST_PRICE) & (takes > 0).any(axis=1)).tolist():
        kind, flavor, resource = _named(finished, number)
        paid = float(side[number] * (takes[number] @ finished.report.solution.shares[row]))
        limit = _limit(finished, number, _Counted.by(finished, number))
        yield Binding(kind, "", flavor, resource, float(side[number]), paid, limit)


def limit_prices(finished: Finished) -> LimitPrices:
    """All that had a price in the last round, and who paid it; and every limit."""
    report = finished.report
    found = tuple(_priced(finished)) if finished.solved else ()
    return LimitPrices(report.summary.round, report.snapshot.time, found, finished.limits)


def price_of_limits(finished: Finished) -> Floats:
    """(L,) of the problem's own limits, as the lowest class that pays sees them."""
    price = np.zeros(finished.market.problem.limit_count)
    for stage in finished.market.stages if finished.solved else ():
        price = np.where(stage.charged.side > LEAST_PRICE, stage.charged.side, price)
    return price


def _priced(finished: Finished) -> Iterator[LimitPrice]:
    price = price_of_limits(finished)
    for number in np.flatnonzero(price).tolist():
        counted = _Counted.by(finished, number)
        kind, flavor, resource = _named(finished, number)
        limit, payers = _limit(finished, number, counted), _payers(finished, number, counted)
        yield LimitPrice(kind, flavor, resource, float(price[number]), limit, payers)


def payers_of(finished: Finished, number: int) -> tuple[Payer, ...]:
    """Queues that the optimum gives something of the problem's limit of this number, priced or not."""
    return _payers(finished, number, _Counted.by(finished, number)) if finished.solved else ()


def _payers(finished: Finished, number: int, counted: _Counted) -> tuple[Payer, ...]:
    got = counted.amount * finished.report.solution.shares.ravel()[counted.at]
    charged = np.zeros(finished.market.problem.row_count)
    for stage in finished.market.stages:
        charged[stage.rows] = stage.charged.side[number]
    leaf, size = finished.leaf_of_row[counted.row], finished.market.tree.size
    paid, amount = (np.bincount(leaf, each, size).astype(np.float64) for each in (got * charged[counted.row], got))
    return most_first(finished, paid, amount)


def most_first(finished: Finished, paid: Floats, amount: Floats) -> tuple[Payer, ...]:
    """The queues (Q,) that pay or get something, who pays most first."""
    names = finished.market.tree.names
    chosen = np.flatnonzero((paid > _CRUMB) | (amount > _CRUMB))
    order = chosen[np.lexsort((-amount[chosen], -paid[chosen]))][:MOST_PAYERS]
    return tuple(Payer(names[queue], float(paid[queue]), float(amount[queue])) for queue in order.tolist())


def _named(finished: Finished, number: int) -> tuple[BindingKind, str, str]:
    """(kind, flavor, resource)"""
    formulation = finished.report.formulation
    _, flavor, resource = formulation.limit_names[number]
    side = number < len(formulation.side_constraints)
    return BindingKind.LIMIT if side else BindingKind.PIECES, flavor, resource


def _limit(finished: Finished, number: int, counted: _Counted) -> ScarceLimit:
    problem, formulation = finished.market.problem, finished.report.formulation
    name, flavor, resource = formulation.limit_names[number]
    most_taken = np.zeros(problem.row_count)
    np.maximum.at(most_taken, counted.row, counted.amount)
    wanted, jobs = float(most_taken.sum()), int(problem.count[most_taken > 0].sum())
    if not flavor:
        known = finished.side_constraints
        each = [known[one] for one in formulation.constraints_of(name)]
        unit = each[0].unit if each else ""
        most, used = sum(one.most or 0.0 for one in each), sum(one.used or 0.0 for one in each)
        together = "+".join(one.name for one in each)
        return ScarceLimit(together, unit, 0.0, some_nodes=False, most=most, used=used, wanted=wanted, jobs=jobs)
    size, some_nodes = told_by(name)
    there = float(problem.limit_amount[number])
    at = formulation.flavors.index(flavor), formulation.resources.index(resource)
    nothing = LEAST_SLOTS if size else LEAST_PART * float(problem.capacity[at])
    most = there if there > nothing * _NEARLY else 0.0  # so little is only a claim on what comes free
    return ScarceLimit("", "", size, some_nodes, most, used=None, wanted=wanted, jobs=jobs)

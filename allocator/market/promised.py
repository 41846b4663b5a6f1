"""Promises to jobs as floors under their levels: a job with a deadline is given what its time costs before its queue's
money goes by weight.

Paid for out of the queue's own money, so no other queue has less for it. Where a queue cannot pay for all that its jobs
are promised, its money goes by weight among those, and what one does not need to the others: so small promises hold.
Of one that does not, siblings pay the less the more is missing, and nothing where it would cost twice what it can have:
more money would make what it wants dearer, not give it more, and they would have nothing to buy even what it has no
use for. It is left with its part by weight then, as if nothing had been promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allocator.formulation.problem import Floats, Integers
from allocator.market.water import pour

if TYPE_CHECKING:
    from allocator.market.budgets import Steps

HOPELESS = 2.0
"""Siblings pay nothing for a promise that costs so many times what it can have of its queue's money."""
_HALVINGS = 40


def floors(steps: Steps, queue: Integers, weight: Floats, least: Floats, money: Floats) -> tuple[Floats, Floats]:
    """(n,) the level at which each row has the utility that it is promised, `least` (n,), and (n,) what all its jobs
    pay for that; less where the `queue`'s (n,) `money` (Q,) does not do for all. `weight` (n,) is of all jobs of a row.
    """
    level, paid = np.zeros(len(least)), np.zeros(len(least))
    rows = np.flatnonzero(least > 0)
    if not rows.size:
        return level, paid
    mine, wanted, of = steps.of_rows(rows), least[rows], queue[rows]
    bill = mine.paid_at(mine.level_of(wanted))
    part = np.ones(rows.size)
    if (np.bincount(of, bill, minlength=len(money)) > money).any():
        can = pour(of, weight[rows], np.zeros(rows.size), bill, money)
        short = np.flatnonzero(can < bill * (1 - 1e-12))
        part[short] = _affordable(mine.of_rows(short), wanted[short], can[short] * _supported(bill[short], can[short]))
    level[rows] = mine.level_of(wanted * part)
    paid[rows] = mine.paid_at(level[rows])
    return level, paid


def _supported(bill: Floats, can: Floats) -> Floats:
    """(n,) the part of what a row can have that it is given in advance: all if that does, by and by nothing."""
    times = np.divide(bill, can, out=np.full(bill.shape, HOPELESS), where=can > 0)
    part: Floats = np.clip((HOPELESS - times) / (HOPELESS - 1), 0.0, 1.0)
    return part


def _affordable(steps: Steps, wanted: Floats, money: Floats) -> Floats:
    """(n,) the part of what is `wanted` that costs each row `money`."""
    low, high = np.zeros(len(wanted)), np.ones(len(wanted))
    for _ in range(_HALVINGS):
        part = (low + high) / 2
        fits = steps.paid_at(steps.level_of(wanted * part)) <= money
        low, high = np.where(fits, part, low), np.where(fits, high, part)
    return low

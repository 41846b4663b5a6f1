"""Promises to jobs as floors under their levels: a job with a deadline is given what its time costs before its queue's
money goes by weight.

Paid for out of the queue's own money, so no other queue has less for it. Where a queue cannot pay for all that its jobs
are promised, all of them are lowered in proportion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allocator.formulation.problem import Floats, Integers

if TYPE_CHECKING:
    from allocator.market.budgets import Steps

_HALVINGS = 40


def floors(steps: Steps, queue: Integers, least: Floats, money: Floats) -> tuple[Floats, Floats]:
    """(n,) the level at which each row has the utility that it is promised, `least` (n,), and (n,) what all its jobs
    pay for that; lowered where the rows of a `queue` (n,) would pay more than its `money` (Q,).
    """
    level, paid = np.zeros(len(least)), np.zeros(len(least))
    rows = np.flatnonzero(least > 0)
    if not rows.size:
        return level, paid
    mine, wanted, of = steps.of_rows(rows), least[rows], queue[rows]
    part = np.ones(len(money))
    if (np.bincount(of, mine.paid_at(mine.level_of(wanted)), minlength=len(money)) > money).any():
        low, high = np.zeros(len(money)), np.ones(len(money))
        for _ in range(_HALVINGS):
            part = (low + high) / 2
            bill = np.bincount(of, mine.paid_at(mine.level_of(wanted * part[of])), minlength=len(money))
            fits = bill <= money
            low, high = np.where(fits, part, low), np.where(fits, high, part)
        part = np.where(high >= 1, 1.0, low)
    level[rows] = mine.level_of(wanted * part[of])
    paid[rows] = mine.paid_at(level[rows])
    return level, paid

"""How high a common level prices allow: what raising everybody to it costs, against what there is to pay with.

At prices p the cheapest way to a utility is on the lower convex hull of a row's columns (`formulation/response.py`).
Everybody at level t, each row at most at the end of its hull e_i, costs

    h(t) = sum_i c_i cost_i(min(w_i t, e_i)),

piecewise linear and never falling. What is used costs at most p . available, so no level with h(t) above that can be
reached: for any prices, without trust in whoever found them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.formulation.response import Hull, hull_of

TELLING = 1e-7
"""What rows that are not settled must pay at least, relative to all that is paid."""
_ROUNDING = 1e-12
"""What a budget is rounded up by: settled rows may owe nearly all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Bill:
    """What rows (weights and counts (n,)) pay along their hulls at some prices."""

    corners: Hull
    weight: Floats
    count: Integers

    def cost(self, utility: Floats) -> float:
        """What all jobs of all rows pay for `utility` (n,), each within its hull."""
        return float(self.count @ self.corners.cost_at(utility))

    def highest(self, budget: float) -> float:
        """The largest level t with h(t) <= `budget`; where everybody can have everything, the largest e_i / w_i."""
        finite = np.isfinite(self.corners.slope)
        rate = np.where(finite, self.corners.slope, 0.0) * (self.weight * self.count)[:, None]
        levels = self.corners.utility / self.weight[:, None]
        at = np.concatenate([levels[:, :-1][finite], levels[:, 1:][finite]])
        order = np.argsort(at, kind="stable")
        at = at[order]
        speed = np.maximum(np.cumsum(np.concatenate([rate[finite], -rate[finite]])[order]), 0.0)
        cost = np.concatenate([[0.0], np.cumsum(speed[:-1] * np.diff(at))])
        beyond = np.flatnonzero(cost > budget)
        if beyond.size == 0:
            return float(at[-1])
        last = int(beyond[0]) - 1
        return float(at[last] + (budget - cost[last]) / speed[last]) if last >= 0 else 0.0

    def rate(self, utility: Floats) -> Floats:
        """(n,) cost per utility of one job just above `utility` (n,); inf at the end of its hull and beyond."""
        segment = (self.corners.utility[:, 1:] <= utility[:, None]).sum(axis=1)
        width = self.corners.slope.shape[1]
        inside = self.corners.slope[np.arange(utility.size), np.minimum(segment, width - 1)]
        return np.where(segment < width, inside, np.inf)

    def supporting_columns(self, utility: Floats, worth: Floats, cost: Floats) -> tuple[Floats, Floats]:
        """(n, K) and (n,): how far each column, and standing idle, lie above the line that carries the hull at
        `utility` (n,), relative to the cost of the whole hull. Whoever must pay least uses only those at 0.

        `worth` and `cost` (n, K) are the columns of the hull.
        """
        rows = np.arange(utility.size)
        last = np.isfinite(self.corners.slope).sum(axis=1) - 1
        segment = np.minimum((self.corners.utility[:, 1:] < utility[:, None]).sum(axis=1), last)
        slope = self.corners.slope[rows, segment]
        idle = slope * self.corners.utility[rows, segment] - self.corners.cost[rows, segment]
        scale = slope * self.corners.utility[:, -1] + self.corners.cost[:, -1]
        scale = np.where(scale > 0, scale, 1.0)
        above = cost + idle[:, None] - slope[:, None] * worth
        return above / scale[:, None], idle / scale


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The rows that are still in the programs, in their own numbering; n of them, N open columns."""

    rows: Integers
    """(n,)"""
    weight: Floats
    count: Integers
    worth: Floats
    """(n, K) utility, 0 where the column is closed."""
    columns: Integers
    """(N,) index of each open column among all (i, k) in C order."""
    owner: Integers
    """(N,) to which of `rows` it belongs."""
    coupling: sp.csr_array[Any]
    """(m, N)"""
    scarce: Booleans
    """(m,) whether it can be used up."""
    left: Floats
    """(m,)"""
    target: Floats
    """(n,) utility where settled, else NaN."""

    @property
    def settled(self) -> Booleans:
        return np.isfinite(self.target)

    @property
    def end(self) -> Floats:
        """(n,) e: the utility with all the time in the best open column."""
        end: Floats = self.worth.max(axis=1)
        return end

    def costs(self, prices: Floats) -> Floats:
        """(n, K) what one job pays at `prices` (m,) for a whole share of each column; 0 where it is closed."""
        costs = np.zeros(self.worth.size)
        place = self.owner * self.worth.shape[1] + self.columns % self.worth.shape[1]
        costs[place] = np.asarray(self.coupling.T @ prices) / self.count[self.owner]
        return costs.reshape(self.worth.shape)

    def bound(self, prices: Floats) -> float:
        """What no level can exceed. Where nearly all is for settled rows, the rest is rounding and bounds nothing."""
        bill, budget = self.bill(prices), self.budget(prices)
        top = bill.cost(self.end[~self.settled])
        return bill.highest(budget if top > TELLING * float(prices @ self.left) else np.inf)

    def account(self, prices: Floats, level: float) -> tuple[float, float]:
        """What there is to pay with for the rows that are not settled, and what they pay at `level`."""
        free = ~self.settled
        wanted = np.minimum(self.weight * level, self.end)[free]
        return self.budget(prices), self.bill(prices).cost(wanted)

    def budget(self, prices: Floats) -> float:
        """Everything that is left, less the least that the settled rows cost."""
        fixed = self.settled
        corners = hull_of(self.worth[fixed], self.costs(prices)[fixed])
        owed = Bill(corners, self.weight[fixed], self.count[fixed]).cost(self.target[fixed])
        return float(prices @ self.left) * (1 + _ROUNDING) - owed

    def bill(self, prices: Floats) -> Bill:
        """Of the rows that are not settled."""
        free = ~self.settled
        return Bill(hull_of(self.worth[free], self.costs(prices)[free]), self.weight[free], self.count[free])

"""What everything costs: prices of capacity, of pools, of borrowing limits, and of the problem's own limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Charges
from allocator.market.limits import KEPT, Cut
from allocator.market.pools import COMMON, Pools, outside
from allocator.market.side import side_of_queues, side_of_rows


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Money per display unit, or per unit of a limit; the weights of a problem's rows are all there is to spend."""

    pools: Pools
    common: Floats
    """(F, R) of what is in nobody's pool."""
    paid: Floats
    """(Q, F, R) what jobs of each queue pay: that of the pool they draw from."""
    side: Floats
    """(L,) of the problem's own limits."""
    borrowing: Mapping[LimitName, tuple[Cut, float]] = field(default_factory=dict)

    def scaled(self, factor: float) -> Prices:
        borrowing = {name: (cut, price * factor) for name, (cut, price) in self.borrowing.items()}
        return Prices(self.pools, self.common * factor, self.paid * factor, self.side * factor, borrowing)

    def income(self, problem: Problem) -> float:
        """What is spent if everything that has a price is used up."""
        common = float((self.common * self.pools.common).sum())
        pools = float((self.paid * self.pools.amount)[self.pools.own].sum())
        borrowing = sum(price * cut.limit.amount for cut, price in self.borrowing.values())
        return common + pools + borrowing + float(self.side @ problem.limit_amount)

    def named(
        self, tree: QueueTree, names: tuple[tuple[str, ...], tuple[str, ...], tuple[LimitName, ...]]
    ) -> dict[LimitName, float]:
        """By name: of borrowing limits and the problem's own limits their price, if they have one; of a lending limit
        how much less the queue's own jobs pay than others, if these pay anything. `names` of flavors, resources and the
        first of the problem's own limits.
        """
        flavors, resources, own = names
        found = {name: price for name, (_, price) in self.borrowing.items() if price > 0}
        found |= {name: price for name, price in zip(own, self.side.tolist(), strict=False) if price > 0}
        above = outside(tree, self.common, self.paid)
        less = above - self.paid
        for queue, flavor, resource in np.argwhere(self.pools.own & (above > 0)).tolist():
            name = KEPT + tree.names[queue], flavors[flavor], resources[resource]
            found[name] = max(float(less[queue, flavor, resource]), 0.0)
        return found

    def charges(self, problem: Problem, tree: QueueTree, leaf: Integers) -> Charges:
        """What one job of each row pays, and what everything costs each queue: inner ones what the dearest below them
        pays. `leaf` (n,) of the rows.
        """
        row, queue = self._for_capacity(problem, leaf), self.paid.copy()
        if self.side.any():
            row += side_of_rows(problem, self.side)
        for cut, price in self.borrowing.values():
            rows, uses = cut.counted(problem)
            if cut.limit.amount == 0:  # not to be had at any price
                row[rows] = np.where(uses > 0, np.inf, row[rows])
            elif price > 0:
                row[rows] += uses * price
        for level in range(tree.levels - 1, 0, -1):
            here = np.flatnonzero(tree.depth == level)
            np.maximum.at(queue, tree.parent[here], queue[here])
        if self.side.any():
            queue += side_of_queues(problem, tree, leaf, self.side)
        return Charges(row, queue)

    def _for_capacity(self, problem: Problem, leaf: Integers) -> Floats:
        """(n, K) inf where others keep all of it."""
        if not self.pools.own.any():
            plain: Floats = np.einsum("ikr,ikr->ik", problem.demand, self.common[problem.flavor])
            return plain
        found = np.einsum("ikr,ikr->ik", problem.demand, self.paid[leaf[:, None], problem.flavor])
        closed = closed_columns(problem, leaf, self.pools)
        return found if closed is None else np.where(closed, np.inf, found)


def closed_columns(problem: Problem, leaf: Integers, pools: Pools) -> Booleans | None:
    """(n, K) which need something that others keep all of; None where there is no such thing."""
    nothing = pools.split & (pools.common == 0)
    if not nothing.any():
        return None
    shut = nothing & (pools.drawn == COMMON)
    found: Booleans = np.asarray(((problem.demand > 0) & shut[leaf[:, None], problem.flavor]).any(axis=2))
    return found

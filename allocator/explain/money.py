"""Who pays what at the prices of the last round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allocator.formulation.problem import Floats

if TYPE_CHECKING:
    from allocator.explain.finished import Finished


def paid_for(finished: Finished) -> tuple[Floats, Floats]:
    """(Q, F, R) what the queues' rows pay for capacity, at the prices of their classes, and the amounts they get; those
    of queues below included, what pinned jobs hold not.
    """
    problem, tree = finished.market.problem, finished.market.tree
    shares = finished.report.solution.shares
    amounts = np.zeros((tree.size, *problem.capacity.shape))
    paid = np.zeros(amounts.shape)
    for stage in finished.market.stages:
        rows = stage.rows
        each = problem.demand[rows] * (shares[rows] * problem.count[rows][:, None])[:, :, None]
        here = np.zeros(amounts.shape)
        for column in range(problem.column_count):
            np.add.at(here, (finished.leaf_of_row[rows], problem.flavor[rows, column]), each[:, column])
        amounts += here
        paid += here * stage.charged.paid
    return tree.above(paid), tree.above(amounts)


def spent(finished: Finished) -> Floats:
    """(Q,) all that each queue pays for capacity."""
    found: Floats = paid_for(finished)[0].sum(axis=(1, 2))
    return found

"""A round's formulation as a market: whose jobs the rows are, and what everybody holds already."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from allocator.domain.queue import Queue
from allocator.formulation.build import Formulation
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Claims
from allocator.market.clearing import Market

_WEIGHTS = (1e-9, 1e9)
"""Farther apart than what is accepted; facts may hold anything."""


def opened(formulation: Formulation, queues: Iterable[Queue]) -> Market:
    """Of the queues that take part, and of those that keep something to themselves all the same."""
    claims, names = formulation.claims, formulation.live.queues
    wanting = np.flatnonzero(formulation.taking_part)
    order = wanting[np.argsort(np.array([names[number] for number in wanting.tolist()], dtype=object), kind="stable")]
    tree = QueueTree.of(
        queues, [names[number] for number in order.tolist()], formulation.flavors, formulation.resources
    )
    leaf = np.full(len(names), -1, dtype=np.int64)
    leaf[order] = tree.leaf
    held = np.zeros((tree.size, *formulation.problem.capacity.shape))
    held[tree.leaf] = formulation.held[order]
    return Market(
        problem=formulation.problem,
        claims=Claims(leaf[claims.queue], np.clip(claims.weight, *_WEIGHTS), claims.turn, claims.least, claims.closed),
        priority=claims.priority,
        tree=tree,
        held=tree.above(held),
        flavors=formulation.flavors,
        resources=formulation.resources,
        side=formulation.limit_names,
    )

"""Which limits a row pays for, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.explain.finished import Finished
from allocator.explain.scarcity import BindingKind
from allocator.formulation.problem import Floats
from allocator.market.clearing import Stage

_MOST_OWNERS = 8
"""That are named of those who keep something to themselves."""


def capacity_prices(stage: Stage) -> Floats:
    """(F, R) what everybody pays at least: the rest is for what others keep to themselves."""
    found: Floats = np.minimum(stage.prices, stage.charged.paid.min(axis=0, initial=np.inf))
    return found


def paid_limits(finished: Finished, stage: Stage, leaf: int) -> Iterator[tuple[BindingKind, LimitName, float]]:
    """(kind, (queue, flavor, resource), price) of those that hold back the jobs of a leaf of the tree. Of lending
    limits, the queues that keep most of what the leaf would pay more for than they do, joined by '+'.
    """
    tree, above = finished.market.tree, _path(finished, leaf)
    names = {tree.names[queue] for queue in above}
    for (name, flavor, resource), price in stage.limit_prices.items():
        if flavor and name in names:  # without a flavor it is a side constraint's, of whatever name
            yield BindingKind.BORROWING, (name, flavor, resource), price
    formulation, charged = finished.report.formulation, stage.charged
    more = charged.paid[leaf] - capacity_prices(stage)
    for flavor_at, resource_at in np.argwhere((more > 0) & charged.pools.split).tolist():
        cell = flavor_at, resource_at
        cheaper = charged.pools.own[:, *cell] & (charged.paid[:, *cell] < charged.paid[leaf, *cell])
        owners = np.flatnonzero(cheaper)
        owners = owners[np.argsort(-charged.pools.amount[owners, *cell], kind="stable")][:_MOST_OWNERS]
        joined = "+".join(tree.names[owner] for owner in sorted(owners.tolist()))
        where = formulation.flavors[flavor_at], formulation.resources[resource_at]
        yield BindingKind.LENDING, (joined, *where), float(more[cell])


def _path(finished: Finished, leaf: int) -> list[int]:
    """The leaf and everything above it."""
    tree, found = finished.market.tree, []
    while leaf >= 0:
        found.append(leaf)
        leaf = int(tree.parent[leaf])
    return found

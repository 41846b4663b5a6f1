"""Which limits a row pays for, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.domain.snapshot import LimitName
from allocator.explain.answers import BindingKind
from allocator.explain.finished import Finished
from allocator.market.clearing import Stage
from allocator.market.limits import KEPT


def paid_limits(finished: Finished, stage: Stage, leaf: int) -> Iterator[tuple[BindingKind, LimitName, float]]:
    """(kind, (queue, flavor, resource), price) of those that hold back the jobs of a leaf of the tree. Of a lending
    limit, the queues that keep something, joined by '+'.
    """
    tree, above = finished.market.tree, _path(finished, leaf)
    names = {tree.names[queue] for queue in above}
    for (name, flavor, resource), price in stage.limit_prices.items():
        if name.startswith(KEPT):
            owners = name.removeprefix(KEPT)
            if not names & set(owners.split("+")):
                yield BindingKind.LENDING, (owners, flavor, resource), price
        elif name in names:
            yield BindingKind.BORROWING, (name, flavor, resource), price


def _path(finished: Finished, leaf: int) -> list[int]:
    """The leaf and everything above it."""
    tree, found = finished.market.tree, []
    while leaf >= 0:
        found.append(leaf)
        leaf = int(tree.parent[leaf])
    return found

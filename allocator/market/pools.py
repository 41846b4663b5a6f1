"""What queues keep to themselves, as pools: whose jobs draw from which.

For each queue, flavor and resource, let what is *reserved* be what the queue's jobs use and the queues below it
reserve, or what it keeps if that is more. All that is reserved must fit. With p the price that others pay

    p max(use, kept) = max over 0 <= e <= p of [ e use + (p - e) kept ]

so that a queue that keeps something is in one of two states. Either it has a pool of its own: its jobs use no more than
it keeps, at a price e of their own. Or it uses all it keeps, and more, and draws at p from what the queue above it
draws from. Given who has a pool, every row is a plain sum: a job's use counts in the pool of the nearest queue above
it that has one, or else in what is common. The answer is optimal under lending limits if

- nobody without a pool uses less than it keeps, where all that is reserved does not fit: those get a pool (`lacking`);
- no pool is dearer than that of the queue above: those lose theirs (`needless`).

Both conditions are those of the dual function, which is the same with pools while e <= p: a certificate with pools'
prices cut down to that is one for everything (`program.Program.bound`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.formulation.tree import QueueTree

COMMON = -1
"""Where those draw from who have no pool above them."""
_CRUMB = 1e-9
"""Of the capacity: a pool of less is none, and what is common is nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Who has a pool, and what is in it: in display units of each flavor and resource."""

    own: Booleans
    """(Q, F, R) whether the queue has one."""
    drawn: Integers
    """(Q, F, R) the queue whose pool each draws from; COMMON where it is nobody's."""
    amount: Floats
    """(Q, F, R) of pools; what queues below keep in pools of theirs is not in it."""
    common: Floats
    """(F, R)"""

    @classmethod
    def of(cls, tree: QueueTree, kept: Floats, capacity: Floats, wished: Booleans) -> Pools:
        """Of those `wished` (Q, F, R) whose pool would have something in it, beside those of queues below. `kept`
        (Q, F, R), and `capacity` (F, R), which has room for all that is kept.
        """
        own, amount = np.zeros(kept.shape, dtype=np.bool_), np.zeros(kept.shape)
        taken = np.zeros(kept.shape)
        """By pools of the queue and of those below it."""
        for level in range(tree.levels - 1, -1, -1):
            here = np.flatnonzero(tree.depth == level)
            rest = kept[here] - taken[here]
            own[here] = wished[here] & (rest > _CRUMB * capacity)
            amount[here] = np.where(own[here], rest, 0.0)
            taken[here] += amount[here]
            if level:
                np.add.at(taken, tree.parent[here], taken[here])
        common = capacity - taken[tree.depth == 0].sum(axis=0)
        common[common <= _CRUMB * capacity] = 0.0
        return cls(own, _nearest(tree, own), amount, common)

    @classmethod
    def none(cls, tree: QueueTree, capacity: Floats) -> Pools:
        """Everything is common."""
        shape = (tree.size, *capacity.shape)
        nothing = np.zeros(shape)
        return cls(np.zeros(shape, dtype=np.bool_), np.full(shape, COMMON), nothing, capacity)

    @property
    def split(self) -> Booleans:
        """(F, R) where anybody has a pool."""
        found: Booleans = np.asarray(self.own.any(axis=0))
        return found

    def paid(self, tree: QueueTree, common: Floats, own: Floats) -> Floats:
        """(Q, F, R) what jobs of each queue pay, at the prices `common` (F, R) and those of pools, `own` (Q, F, R)."""
        found = np.broadcast_to(common, own.shape).copy()
        for level in range(tree.levels):
            here = np.flatnonzero(tree.depth == level)
            above = found[tree.parent[here]] if level else common
            found[here] = np.where(self.own[here], own[here], above)
        return found


def outside(tree: QueueTree, common: Floats, paid: Floats) -> Floats:
    """(Q, F, R) what the queue above each pays, at the top `common`; `paid` (Q, F, R) is what each pays itself."""
    top = tree.parent < 0
    found: Floats = np.where(top[:, None, None], common, paid[np.where(top, 0, tree.parent)])
    return found


def surely_enough(tree: QueueTree, kept: Floats, wanted: Floats) -> Booleans:
    """(Q, F, R) who keeps something and could never use more: `wanted` (Q, F, R) is what leaves could use at most."""
    reserved = wanted.copy()
    found = np.zeros(kept.shape, dtype=np.bool_)
    for level in range(tree.levels - 1, -1, -1):
        here = np.flatnonzero(tree.depth == level)
        found[here] = (kept[here] > 0) & (reserved[here] <= kept[here])
        reserved[here] = np.maximum(reserved[here], kept[here])
        if level:
            np.add.at(reserved, tree.parent[here], reserved[here])
    return found


def lacking(tree: QueueTree, kept: Floats, used: Floats, room: Floats) -> tuple[Booleans, Floats]:
    """(Q, F, R) who keeps more than it uses (leaves: `used` (Q, F, R)) and those below it reserve, where all that is
    reserved is more than `room` (F, R); and (F, R) all that is reserved.
    """
    reserved = used.copy()
    keeps = np.zeros(kept.shape, dtype=np.bool_)
    reserved[np.unique(tree.parent[tree.parent >= 0])] = 0.0
    for level in range(tree.levels - 1, -1, -1):
        here = np.flatnonzero(tree.depth == level)
        keeps[here] = kept[here] > reserved[here]
        reserved[here] = np.maximum(reserved[here], kept[here])
        if level:
            np.add.at(reserved, tree.parent[here], reserved[here])
    total: Floats = reserved[tree.depth == 0].sum(axis=0)
    return keeps & (total > room), total


def needless(own: Booleans, paid: Floats, above: Floats, amount: Floats, tolerance: float) -> tuple[Booleans, float]:
    """(Q, F, R) pools that are dearer, by more than that part, than what is `paid` above them; and all that is overpaid
    for them: by about so much, in money, the answer may be short of the best.
    """
    dearer = own & (paid > above * (1 + tolerance))
    return dearer, float(((paid - above) * amount)[dearer].sum())


def topmost(tree: QueueTree, keeps: Booleans) -> tuple[Booleans, Booleans]:
    """(Q,) the highest of those who keep something, and who is one of them or below."""
    inside, first = np.zeros(tree.size, dtype=np.bool_), np.zeros(tree.size, dtype=np.bool_)
    for level in range(tree.levels):
        here = np.flatnonzero(tree.depth == level)
        above = inside[tree.parent[here]] if level else np.zeros(here.size, dtype=np.bool_)
        first[here] = keeps[here] & ~above
        inside[here] = keeps[here] | above
    return first, inside


def _nearest(tree: QueueTree, own: Booleans) -> Integers:
    """(Q, F, R) the nearest queue that has a pool: itself or one above it."""
    found = np.full(own.shape, COMMON)
    for level in range(tree.levels):
        here = np.flatnonzero(tree.depth == level)
        above = found[tree.parent[here]] if level else COMMON
        found[here] = np.where(own[here], here[:, None, None], above)
    return found

"""Rows that keep queues within what they may borrow, and others off what a queue does not lend.

There may be thousands of them, and hardly any binds: so they are added to the problem when an answer breaks them, until
none does. Which is exact: the optimum under some of the rows that keeps them all is the optimum under all of them.

- Borrowing: what a queue uses is at most its nominal quota and its borrowing limit together.
- Lending: let each queue *reserve* what it uses, or what it keeps to itself if that is more, and an inner queue what
  those below it reserve, or what it keeps. Then all that is reserved fits. This is convex; where it is broken, the row
  for "everybody but those who keep more than they use" cuts the answer off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Booleans, Floats, Integers, Limit, Problem
from allocator.formulation.tree import QueueTree

KEPT = "kept:"
"""Begins the names of rows for what queues keep to themselves; no queue is called so."""
_TOLERANCE = 1e-7
"""Relative to the capacity: by so much an answer may be beyond a row that it does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What quotas still allow, (Q, F, R) in display units: what is held already is taken off."""

    most: Floats
    """inf where there is no limit."""
    kept: Floats

    @classmethod
    def of(cls, tree: QueueTree, capacity: Floats, held: Floats) -> Bounds:
        """`held` (Q, F, R) is what each queue has for certain; `capacity` (F, R) what is free besides. Where nominal
        quotas promise more than there is, everybody keeps less in proportion.
        """
        quotas = tree.quotas
        at = (quotas.queue, quotas.flavor, quotas.resource)
        most = np.full((tree.size, *capacity.shape), np.inf)
        most[at] = quotas.most
        kept, nominal = np.zeros(most.shape), np.zeros(most.shape)
        kept[at], nominal[at] = quotas.kept, quotas.nominal
        promised = tree.at_least(nominal)[tree.depth == 0].sum(axis=0)
        there = capacity + held[tree.depth == 0].sum(axis=0)
        kept *= np.divide(there, promised, out=np.ones(promised.shape), where=promised > there)
        return cls(np.maximum(most - held, 0.0), np.maximum(kept - held, 0.0))

    def keeping(self, guaranteed: Floats) -> Bounds:
        """Also what others of the queue are guaranteed (Q, F, R), until their turn comes."""
        return Bounds(self.most, np.maximum(self.kept, guaranteed))


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One row of the problem, by what it is known by: for lending, KEPT and those who keep something, joined by '+'."""

    name: LimitName
    limit: Limit


def use(problem: Problem, tree: QueueTree, leaf: Integers, shares: Floats) -> Floats:
    """(Q, F, R) what each queue uses, those below it included, under `shares` (n, K); `leaf` (n,) by row."""
    each = problem.demand * (shares * problem.count[:, None])[:, :, None]
    found = np.zeros((tree.size, *problem.capacity.shape))
    for column in range(problem.column_count):
        np.add.at(found, (leaf, problem.flavor[:, column]), each[:, column])
    return tree.above(found)


def broken(
    problem: Problem,
    tree: QueueTree,
    leaf: Integers,
    bounds: Bounds,
    shares: Floats,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    tolerance: float,
) -> list[tuple[Cut, float]]:
    """Rows that `shares` break by more than `tolerance` of their amount, and by what part of it each; `names` of
    flavors and resources. Members are rows of the problem.
    """
    used = use(problem, tree, leaf, shares)
    flavors, resources = names
    slack = _TOLERANCE * (1.0 + problem.capacity) if tolerance else 0.0
    found = []
    for queue, flavor, resource in np.argwhere(used > bounds.most * (1 + tolerance) + slack).tolist():
        name = (tree.names[queue], flavors[flavor], resources[resource])
        cut = borrowing(tree, leaf, bounds, (queue, flavor, resource), name)
        found.append((cut, _excess(float(used[queue, flavor, resource]), cut.limit.amount)))
    return found + list(_lending(problem, tree, leaf, bounds, used, names, tolerance))


def _excess(used: float, amount: float) -> float:
    """By what part of the amount more is used; everything, where it is 0."""
    return used / amount - 1 if amount > 0 else np.inf


def borrowing(tree: QueueTree, leaf: Integers, bounds: Bounds, at: tuple[int, int, int], name: LimitName) -> Cut:
    """The row of one queue, flavor and resource."""
    queue, flavor, resource = at
    members = np.flatnonzero(tree.is_below(queue)[leaf])
    return Cut(name, Limit(flavor, resource, float(bounds.most[at]), members.tolist()))


def _lending(
    problem: Problem,
    tree: QueueTree,
    leaf: Integers,
    bounds: Bounds,
    used: Floats,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    tolerance: float,
) -> Iterable[tuple[Cut, float]]:
    if not bounds.kept.any():
        return
    reserved = used.copy()
    keeps = np.zeros(used.shape, dtype=np.bool_)
    for level in range(tree.levels - 1, -1, -1):
        here = np.flatnonzero(tree.depth == level)
        inner = here[np.isin(here, tree.parent)]
        reserved[inner] = 0.0
        below = np.flatnonzero(tree.depth == level + 1)
        np.add.at(reserved, tree.parent[below], reserved[below])
        keeps[here] = bounds.kept[here] > reserved[here]
        reserved[here] = np.maximum(reserved[here], bounds.kept[here])
    total = reserved[tree.depth == 0].sum(axis=0)
    leaves = ~np.isin(np.arange(tree.size), tree.parent)
    slack = _TOLERANCE * (1.0 + problem.capacity) if tolerance else np.zeros(problem.capacity.shape)
    for flavor, resource in np.argwhere(total > problem.capacity + slack).tolist():
        outside, owners = _outside(tree, keeps[:, flavor, resource])
        amount = max(0.0, float(problem.capacity[flavor, resource] - bounds.kept[owners, flavor, resource].sum()))
        theirs = float(used[outside & leaves, flavor, resource].sum())
        if theirs > amount * (1 + tolerance) + slack[flavor, resource]:
            name = (KEPT + "+".join(tree.names[owner] for owner in owners), names[0][flavor], names[1][resource])
            members = np.flatnonzero(outside[leaf]).tolist()
            yield Cut(name, Limit(flavor, resource, amount, members)), _excess(theirs, amount)


def _outside(tree: QueueTree, keeps: Booleans) -> tuple[Booleans, list[int]]:
    """(Q,) who is not below anybody that keeps more than is used there, and the topmost of those who do."""
    inside = np.zeros(tree.size, dtype=np.bool_)
    owners = []
    for level in range(tree.levels):
        for queue in np.flatnonzero(tree.depth == level).tolist():
            above = tree.parent[queue]
            if above >= 0 and inside[above]:
                inside[queue] = True
            elif keeps[queue]:
                inside[queue] = True
                owners.append(queue)
    return ~inside, owners

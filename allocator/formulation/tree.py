"""The queues that want something now, as arrays: the tree that budgets flow down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from allocator.domain.queue import Discipline, Queue
from allocator.domain.resources import display_unit
from allocator.formulation.problem import Booleans, Floats, Integers

Amounts = TypeVar("Amounts", Floats, Integers)

_OWN_WEIGHT = 1.0
"""Weight, beside the children's, of jobs that sit in a queue with children. Intake refuses that; facts may hold it."""


@dataclass(frozen=True, slots=True, eq=False)
class Quotas:
    """Everything that quotas say, one entry each, in display units; inf where there is no limit."""

    queue: Integers
    """(Z,) index into the tree's queues."""
    flavor: Integers
    resource: Integers
    nominal: Floats
    most: Floats
    """Nominal quota plus what may be borrowed."""
    kept: Floats
    """What nobody else may use, also while it is idle."""


@dataclass(frozen=True, slots=True, eq=False)
class QueueTree:
    """Q queues, parents before children. Leaves hold jobs, and nothing else does."""

    names: tuple[str, ...]
    """Of the queue itself, or, for the jobs that sit in a queue with children, of that queue."""
    parent: Integers
    """(Q,) index; -1 at the top."""
    depth: Integers
    """(Q,) 0 at the top."""
    weight: Floats
    """(Q,)"""
    priority: Integers
    """(Q,)"""
    in_order: Booleans
    """(Q,) whether its own jobs are served first in, first out."""
    leaf: Integers
    """(N,) for each of the names that jobs are in: the leaf that holds them."""
    quotas: Quotas

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def levels(self) -> int:
        return int(self.depth.max(initial=-1)) + 1

    @classmethod
    def of(
        cls, queues: Iterable[Queue], wanting: Sequence[str], flavors: Sequence[str] = (), resources: Sequence[str] = ()
    ) -> QueueTree:
        """Of the queues `wanting`, which have jobs, of those that keep something to themselves all the same, and those
        above them. A name that is not among `queues` counts as a root of weight 1. Quotas of other flavors and
        resources than these two say nothing now.
        """
        known = {queue.name: queue for queue in queues}
        for name in wanting:
            known.setdefault(name, Queue(name))
        keeping = [queue.name for queue in known.values() if any(quota.kept for quota in queue.quotas)]
        kept: set[str] = set()
        for name in [*wanting, *keeping]:
            above: str | None = name
            while above is not None and above not in kept:
                kept.add(above)
                above = _parent(known[above], known)
        names = sorted(kept)
        index = {name: position for position, name in enumerate(names)}
        parents = [_parent(known[name], known) for name in names]
        parent = [-1 if above is None else index[above] for above in parents]
        inner = set(parent)
        both = [name for name in wanting if index[name] in inner]
        leaf = {name: index[name] for name in wanting} | {
            name: len(names) + position for position, name in enumerate(both)
        }
        depth = np.zeros(len(names) + len(both), dtype=np.int64)
        parent += [index[name] for name in both]
        for position, above_index in enumerate(parent):
            depth[position] = 0 if above_index < 0 else depth[above_index] + 1
        every = [known[name] for name in names]
        return cls(
            names=(*names, *both),
            parent=np.array(parent, dtype=np.int64),
            depth=depth,
            weight=np.array([queue.weight for queue in every] + [_OWN_WEIGHT] * len(both)),
            priority=np.array([queue.priority for queue in every] + [0] * len(both), dtype=np.int64),
            in_order=np.array(
                [queue.discipline is Discipline.FIFO for queue in (*every, *(known[name] for name in both))],
                dtype=np.bool_,
            ),
            leaf=np.array([leaf[name] for name in wanting], dtype=np.int64),
            quotas=_quotas(every, flavors, resources),
        )

    def above(self, values: Amounts) -> Amounts:
        """(Q, ...) `values` of the leaves added up the tree: each queue with all that is below it."""
        total = values.copy()
        for level in range(self.levels - 1, 0, -1):
            here = np.flatnonzero(self.depth == level)
            np.add.at(total, self.parent[here], total[here])
        return total

    def at_least(self, values: Amounts) -> Amounts:
        """(Q, ...) each queue's own of `values`, or those of the queues below it together if that is more."""
        found = values.copy()
        for level in range(self.levels - 1, 0, -1):
            here = np.flatnonzero(self.depth == level)
            below = np.zeros_like(values)
            np.add.at(below, self.parent[here], found[here])
            found = np.maximum(found, below)
        return found

    def is_below(self, queue: int) -> Booleans:
        """(Q,) whether each is this queue or below it."""
        found = np.zeros(self.size, dtype=np.bool_)
        found[queue] = True
        for level in range(int(self.depth[queue]) + 1, self.levels):
            here = np.flatnonzero(self.depth == level)
            found[here] = found[self.parent[here]]
        return found


def _parent(queue: Queue, known: dict[str, Queue]) -> str | None:
    """None at the top and where the parent does not exist."""
    return queue.parent if queue.parent in known else None


def _quotas(queues: Sequence[Queue], flavors: Sequence[str], resources: Sequence[str]) -> Quotas:
    row, column = ({name: position for position, name in enumerate(names)} for names in (flavors, resources))
    found = [
        (position, row[quota.flavor], column[quota.resource], quota, display_unit(quota.resource)[1])
        for position, queue in enumerate(queues)
        for quota in queue.quotas
        if quota.flavor in row and quota.resource in column
    ]
    return Quotas(
        queue=np.array([entry[0] for entry in found], dtype=np.int64),
        flavor=np.array([entry[1] for entry in found], dtype=np.int64),
        resource=np.array([entry[2] for entry in found], dtype=np.int64),
        nominal=np.array([quota.nominal / unit for *_, quota, unit in found]),
        most=np.array([np.inf if quota.most is None else quota.most / unit for *_, quota, unit in found]),
        kept=np.array([quota.kept / unit for *_, quota, unit in found]),
    )

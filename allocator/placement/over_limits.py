"""Which side constraints leave a waiting job too little, in numbers: `limiting` in words of the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allocator.domain.reason import LimitExcess, PendingCause, PendingReason
from allocator.domain.side_constraint import SideConstraint
from allocator.placement.limiting import takes
from allocator.placement.rounding import Outcome
from allocator.placement.space import Integers
from allocator.placement.world import Limits

MOST_NAMED = 8
"""Side constraints of single nodes that are named to one job: those that leave it most."""


class Asking(NamedTuple):
    """Whom side constraints are asked for: a group of `Limits`, and thousandths of its demand that it would hold."""

    group: int
    millis: int


NOBODY = Asking(-1, 0)


class LocalRow(NamedTuple):
    """A row that is about certain nodes of a flavor."""

    row: int
    each: Integers
    """(nodes of the flavor,) what a replica takes there."""
    left: int
    """What is left to those replicas."""
    anywhere: int
    """What the gang takes of it wherever it is."""


class LimitExaminer:
    """Asks the rows as they are at the end of the round; `empty`: as if nothing took of them."""

    def __init__(self, outcome: Outcome, constraints: Sequence[SideConstraint], *, empty: bool = False) -> None:
        self._outcome = outcome
        self._constraints = constraints
        self._limits: Limits | None = None if outcome.world is None else outcome.world.limits
        self._empty = empty
        self._rows: dict[tuple[Asking, int], tuple[LocalRow, ...]] = {}
        self._found: dict[tuple[Asking, int], tuple[LimitExcess, ...]] = {}

    def groups(self, jobs: Integers) -> Integers:
        """(jobs,) the group of `Limits` as which each asks; -1: nobody's."""
        if self._limits is None:
            return np.full(len(jobs), -1)
        found: Integers = np.maximum(self._limits.group[jobs], -1)
        return found

    def asking(self, job: int) -> Asking:
        """As whom a job asks."""
        if self._limits is None or self._limits.group[job] < 0:
            return NOBODY
        return Asking(int(self._limits.group[job]), int(self._outcome.places.millis[job]))

    def excesses(self, asking: Asking, kind: int) -> tuple[LimitExcess, ...]:
        """What a gang of this kind would be beyond wherever it is; empty if nothing."""
        limits, flavor = self._limits, int(self._outcome.kinds.flavor[kind])
        if limits is None or asking.group < 0 or flavor < 0:
            return ()
        found = self._found.get((asking, kind))
        if found is None:
            found = self._found[asking, kind] = tuple(
                self._excess(row, need)
                for row, need in sorted(self._anywhere(limits, asking, kind).items())
                if need and self._used(limits, row) + need > int(limits.most[row])
            )
        return found

    def local_rows(self, asking: Asking, kind: int) -> tuple[LocalRow, ...]:
        """Those that leave too little for a whole gang of this kind on some nodes of its flavor."""
        limits, flavor = self._limits, int(self._outcome.kinds.flavor[kind])
        if limits is None or asking.group < 0 or flavor < 0:
            return ()
        found = self._rows.get((asking, kind))
        if found is None:
            found = self._rows[asking, kind] = self._short_rows(limits, asking, kind, flavor)
        return found

    def local_excesses(self, asking: Asking, kind: int, wanted: Integers) -> tuple[LimitExcess, ...]:
        """The same in words of the domain, of rows about `wanted` nodes (positions within the flavor)."""
        need, found = int(self._outcome.kinds.replicas[kind]), []
        for local in self.local_rows(asking, kind):
            each = local.each[wanted]
            if (each > 0).any():
                found.append((local.left, self._excess(local.row, local.anywhere + need * int(each[each > 0].min()))))
        found.sort(key=lambda entry: -entry[0])
        return tuple(excess for _, excess in found[:MOST_NAMED])

    def _short_rows(self, limits: Limits, asking: Asking, kind: int, flavor: int) -> tuple[LocalRow, ...]:
        need = int(self._outcome.kinds.replicas[kind])
        first, last = limits.local_starts[asking.group, flavor : flavor + 2].tolist()
        starts = self._outcome.space.flavor_starts
        nodes = slice(int(starts[flavor]), int(starts[flavor + 1]))
        each: dict[int, Integers] = {}
        for term in limits.local[first:last].tolist():
            taken = np.where(limits.sets[limits.nodes[term], nodes], takes(limits, term, kind, asking.millis), 0)
            row = int(limits.row[term])
            each[row] = each[row] + taken if row in each else taken
        needs = self._anywhere(limits, asking, kind)
        found = []
        for row, taken in sorted(each.items()):
            left = int(limits.most[row]) - self._used(limits, row) - needs.get(row, 0)
            if need * int(taken.max(initial=0)) > left:
                found.append(LocalRow(row, taken, left, needs.get(row, 0)))
        return tuple(found)

    def _anywhere(self, limits: Limits, asking: Asking, kind: int) -> dict[int, int]:
        """By row, what the gang takes wherever it is."""
        need, flavor = int(self._outcome.kinds.replicas[kind]), int(self._outcome.kinds.flavor[kind])
        first, last = limits.anywhere_starts[asking.group, flavor : flavor + 2].tolist()
        found: dict[int, int] = {}
        for term in limits.anywhere[first:last].tolist():
            row = int(limits.row[term])
            found[row] = found.get(row, 0) + need * int(takes(limits, term, kind, asking.millis))
        return found

    def _used(self, limits: Limits, row: int) -> int:
        return 0 if self._empty else int(limits.used[row])

    def _excess(self, row: int, needs: int) -> LimitExcess:
        assert self._limits is not None
        constraint = self._constraints[row]
        used, most = int(self._limits.used[row]), int(self._limits.most[row])
        return LimitExcess(constraint.name, used, most, needs, constraint.unit)


def over_limit(excesses: Sequence[tuple[LimitExcess, ...]], *, never: bool) -> PendingReason:
    """Of a job that all its kinds would bring beyond these; those that are named are the nearest to being kept."""
    nearest = min(excesses, key=lambda found: sum((each.used + each.takes) / max(1, each.most) for each in found))
    return PendingReason(PendingCause.EXCEEDS_LIMIT if never else PendingCause.OVER_LIMIT, limits=nearest)

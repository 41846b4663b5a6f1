"""Side constraints as rows of a round's problem: what they leave to those who are not pinned, and whom they shut out.

A constraint that selects flavors, queues and job labels is one row, exactly: its amount is what there may be, less what
pinned jobs take of it wherever they are. The problem knows no nodes, so a constraint about nodes with certain labels
becomes the tightest row that every placement keeps:

- What its jobs take on the nodes it is about is at most what it allows, or what those nodes have free if that is less;
  the rest of what they take must fit on the other nodes.
- Constraints alike in everything but their nodes, which no two of them share (the power of each rack), make one row
  together: what all of them allow, and what fits on nodes that none is about. Each alone would allow all the others'.

Placement keeps each of them exactly. A row that no use of what is free could break is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.domain.reason import LimitExcess, PendingCause, PendingReason
from allocator.domain.side_constraint import PRECISION, SideConstraint
from allocator.formulation.catalogue import Eligible
from allocator.formulation.limits import Booleans, Floats, Integers, Limit
from allocator.formulation.live import Live
from allocator.formulation.side_gangs import Gangs, nowhere, pairs_of
from allocator.formulation.side_rows import SideRow, limit_of, rates_of, rows_of
from allocator.formulation.side_terms import exactly, sorts_of
from allocator.formulation.zones import Zones


@dataclass(frozen=True, eq=False)
class SideRows:
    """The rows of a round, L of them. G sorts of jobs: divisible or not, and by the terms that select them."""

    rows: tuple[SideRow, ...]
    sort: Integers
    """(J,) of each live job."""
    apart: Integers
    """(J,) a number that differs for jobs that labels tell apart, of whatever queues."""
    sort_count: int
    """G."""
    rates: tuple[Floats, ...]
    """Of each row, (G, F, R): what a display unit counts."""
    pairs: Integers
    """(P,) what live jobs are, ascending: kind * G + sort. Few of all that could be."""
    takes: Floats
    """(L, P) what a gang takes of each row, in millionths, as placement counts it."""
    too_large: Booleans
    """(L, P) by itself it takes more than there may be in all."""
    shut: Booleans
    """(L, P) nothing of the row is left."""
    nowhere: Mapping[int, LimitExcess]
    """By position in `pairs`, where a single replica takes more than constraints allow wherever it could be: of one."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row.name for row in self.rows)

    def closes(self, kinds: Integers, sorts: Integers) -> Booleans:
        """Whether a job of the sort can have no share of the kind."""
        return np.asarray(self._closed[self._pair(kinds, sorts)])

    @cached_property
    def _closed(self) -> Booleans:
        """(P + 1,) the last for whatever no live job is."""
        found = np.append((self.too_large | self.shut).any(axis=0), False)
        found[list(self.nowhere)] = True
        return found

    def _pair(self, kinds: Integers, sorts: Integers | int) -> Integers:
        """Where they are in `pairs`; P where they are not."""
        key = kinds * self.sort_count + sorts
        found = np.searchsorted(self.pairs, key)
        return np.where(np.append(self.pairs, -1)[found] == key, found, len(self.pairs))

    def why(self, kinds: Sequence[int], sort: int) -> PendingReason:
        """Why a job of the sort, which could run as any of `kinds` but for these rows, can run as none."""
        chosen = self._pair(np.array(kinds, dtype=np.int64), sort)
        too_large = self.too_large[:, chosen]
        closed = too_large | self.shut[:, chosen]
        excesses = []
        for number in np.flatnonzero(closed.any(axis=1)).tolist():
            row = self.rows[number]
            takes = int(self.takes[number, chosen][closed[number]].min())
            most = row.amount + row.taken if np.isinf(row.most) else row.most
            used, allowed = (round(value * PRECISION) for value in (row.taken, most))
            excesses.append(LimitExcess(row.name, used, allowed, takes, row.unit))
        excesses += dict.fromkeys(self.nowhere[each] for each in chosen.tolist() if each in self.nowhere)
        never = bool((too_large.any(axis=0) | np.isin(chosen, list(self.nowhere))).all())
        return PendingReason(PendingCause.EXCEEDS_LIMIT if never else PendingCause.OVER_LIMIT, limits=tuple(excesses))

    def limits(self, jobs: Integers) -> tuple[Limit, ...]:
        """The rows as limits of a problem with a row for each of these jobs (positions)."""
        sort = self.sort[jobs]
        return tuple(limit_of(row, rates, sort) for row, rates in zip(self.rows, self.rates, strict=True))


def side_rows(
    constraints: Sequence[SideConstraint],
    live: Live,
    pinned: Booleans,
    resources: tuple[str, ...],
    floating: tuple[str, ...],
) -> SideRows | None:
    """`pinned` (J,); `resources` of the problem, among them the `floating` ones, which belong to no node. None where
    there are no constraints.
    """
    if not constraints:
        return None
    terms = [term for constraint in constraints for term in constraint.terms]
    sort, counts = sorts_of(terms, live)
    zones = Zones.of(terms, live, pinned, sort, resources, floating)
    rows = rows_of(constraints, zones, zones.taken(terms, counts, live))
    rates = tuple(rates_of(row, counts, zones) for row in rows)
    pairs = pairs_of(live, sort, len(counts))
    gangs = Gangs.of(pairs, len(counts), live)
    takes = np.array([gangs.replicas * gangs.takes(row.terms, counts[:, row.first :]) for row in rows])
    takes = takes.reshape(len(rows), len(pairs))
    most = np.array([np.inf if np.isinf(row.most) else int(exactly(row.most) * PRECISION) for row in rows])
    left = np.array([row.amount for row in rows])
    return SideRows(
        rows=rows,
        sort=sort,
        apart=sort if any(term.job_labels for term in terms) else np.zeros(len(sort), dtype=np.int64),
        sort_count=len(counts),
        rates=rates,
        pairs=pairs,
        takes=takes,
        too_large=(takes > most[:, None]) & gangs.whole,
        shut=(takes > 0) & (left <= 0)[:, None],
        nowhere=nowhere(constraints, zones, gangs, counts),
    )


def left_open(eligible: Eligible, sides: SideRows | None, shape: Integers, jobs: Integers) -> Booleans:
    """(n,) whether `jobs` (positions) of these shapes (n,) have any way to run that side constraints do not shut."""
    if sides is None or not eligible.index.size:
        return np.asarray(eligible.count[shape] > 0)
    sort = sides.sort[jobs]
    sorts = int(sort.max(initial=0)) + 1
    keys, which = np.unique(shape * sorts + sort, return_inverse=True)
    kinds, there = eligible.kind[keys // sorts], eligible.index[keys // sorts] >= 0
    found = (there & ~sides.closes(kinds, (keys % sorts)[:, None])).any(axis=1)
    return np.asarray(found[which.ravel()])


def under(
    sides: SideRows | None, eligible: Eligible, shape: Integers, jobs: Integers
) -> tuple[Floats, tuple[Limit, ...]]:
    """(n, K) throughput of these shapes (n,), 0 where the rows shut `jobs` (positions) of theirs out; and the rows."""
    throughput = eligible.throughput[shape]
    if sides is None:
        return throughput, ()
    closed = sides.closes(eligible.kind[shape], sides.sort[jobs][:, None])
    return np.where(closed, 0.0, throughput), sides.limits(jobs)

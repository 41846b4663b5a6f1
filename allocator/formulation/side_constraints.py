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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import carries
from allocator.domain.reason import LimitExcess, PendingCause, PendingReason
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.catalogue import Eligible
from allocator.formulation.eligibility import Kind
from allocator.formulation.limits import Booleans, Floats, Integers, Limit, LimitPart
from allocator.formulation.live import Live
from allocator.formulation.zones import Zones, display_amount

_CRUMB = 1e-9
"""So small a part of what a constraint allows is nothing."""
_MOST_NAMED = 3
"""Constraints that a common row is named after; of more, the first, and how many more."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One constraint, or several that are alike, as a row."""

    name: str
    position: int
    """Of the first of them."""
    terms: tuple[Term, ...]
    """Of one of them; what counts is who holds what on which flavor."""
    most: float
    """What there may be in all; inf where that depends on the nodes."""
    taken: float
    """By pinned jobs."""
    amount: float
    """What is left."""
    unit: str
    first: int
    """Number of the first of `terms` among those of all constraints."""


@dataclass(frozen=True, eq=False)
class SideRows:
    """The rows of a round, L of them. G sorts of jobs: divisible or not, and by the terms that select them."""

    rows: tuple[_Row, ...]
    sort: Integers
    """(J,) of each live job."""
    apart: Integers
    """(J,) a number that differs for jobs that labels tell apart, of whatever queues."""
    rates: tuple[Floats, ...]
    """Of each row, (G, F, R): what a display unit counts."""
    takes: Floats
    """(L, kinds, G) what a gang of each kind takes of each row."""
    too_large: Booleans
    """(L, kinds, G) by itself it takes more than there may be in all."""
    shut: Booleans
    """(L, kinds, G) nothing of the row is left."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row.name for row in self.rows)

    @cached_property
    def closed(self) -> Booleans:
        """(kinds, G) whether a job of the sort can have no share of the kind."""
        return np.asarray((self.too_large | self.shut).any(axis=0))

    def why(self, kinds: Sequence[int], sort: int) -> PendingReason:
        """Why a job of the sort, which could run as any of `kinds` but for these rows, can run as none."""
        chosen = np.array(kinds, dtype=np.int64)
        too_large = self.too_large[:, chosen, sort]
        closed = too_large | self.shut[:, chosen, sort]
        excesses = []
        for number in np.flatnonzero(closed.any(axis=1)).tolist():
            row = self.rows[number]
            takes = float(self.takes[number, chosen, sort][closed[number]].min())
            most = row.amount + row.taken if np.isinf(row.most) else row.most
            used, allowed, asked = (round(value * PRECISION) for value in (row.taken, most, takes))
            excesses.append(LimitExcess(row.name, used, allowed, asked, row.unit))
        never = bool(too_large.any(axis=0).all())
        return PendingReason(PendingCause.EXCEEDS_LIMIT if never else PendingCause.OVER_LIMIT, limits=tuple(excesses))

    def limits(self, jobs: Integers) -> tuple[Limit, ...]:
        """The rows as limits of a problem with a row for each of these jobs (positions)."""
        sort = self.sort[jobs]
        return tuple(_limit(row, rates, sort) for row, rates in zip(self.rows, self.rates, strict=True))


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
    sort, counts = _sorts(terms, live)
    zones = Zones.of(terms, live, pinned, sort, resources, floating)
    rows = _rows(constraints, zones, zones.taken(terms, counts, live))
    rates = tuple(_rates(row, counts, zones) for row in rows)
    kinds, flavors = live.kinds, zones.flavors
    takes = np.zeros((len(rows), len(kinds), len(counts)))
    if takes.size and flavors:
        flavor = np.array([flavors.get(kind.flavor, 0) for kind in kinds], dtype=np.int64)
        asked = [[display_amount(kind.asks, name) * kind.replicas for name in resources] for kind in kinds]
        amounts = np.array(asked).reshape(len(kinds), len(resources))
        for number, each in enumerate(rates):
            takes[number] = np.einsum("gkr,kr->kg", each[:, flavor], amounts)
    most, left = (np.array([getattr(row, field) for row in rows])[:, None, None] for field in ("most", "amount"))
    whole = np.arange(len(counts)) % 2 == 0
    return SideRows(
        rows=rows,
        sort=sort,
        apart=sort if any(term.job_labels for term in terms) else np.zeros(len(sort), dtype=np.int64),
        rates=rates,
        takes=takes,
        too_large=(takes > most * (1 + _CRUMB)) & whole,
        shut=(takes > 0) & (left <= 0),
    )


def left_open(eligible: Eligible, sides: SideRows | None, shape: Integers, jobs: Integers) -> Booleans:
    """(n,) whether `jobs` (positions) of these shapes (n,) have any way to run that side constraints do not shut."""
    if sides is None or not eligible.index.size:
        return np.asarray(eligible.count[shape] > 0)
    sort = sides.sort[jobs]
    sorts = int(sort.max(initial=0)) + 1
    keys, which = np.unique(shape * sorts + sort, return_inverse=True)
    kinds, there = eligible.kind[keys // sorts], eligible.index[keys // sorts] >= 0
    found = (there & ~sides.closed[kinds, (keys % sorts)[:, None]]).any(axis=1)
    return np.asarray(found[which.ravel()])


def under(
    sides: SideRows | None, eligible: Eligible, shape: Integers, jobs: Integers
) -> tuple[Floats, tuple[Limit, ...]]:
    """(n, K) throughput of these shapes (n,), 0 where the rows shut `jobs` (positions) of theirs out; and the rows."""
    throughput = eligible.throughput[shape]
    if sides is None:
        return throughput, ()
    closed = sides.closed[eligible.kind[shape], sides.sort[jobs][:, None]]
    return np.where(closed, 0.0, throughput), sides.limits(jobs)


def selects_queue(term: Term, queue: str) -> bool:
    """Whether the term counts jobs of this queue, if their labels suit it."""
    return not term.queues or any(queue == name or queue.startswith(f"{name}/") for name in term.queues)


def taken_anywhere(constraint: SideConstraint, kind: Kind, queue: str, labels: Labels) -> float:
    """What a gang of a job of this queue, with these labels, takes by itself wherever it is."""
    return sum(
        term.per_unit * display_amount(kind.asks, term.resource) * kind.replicas
        for term in constraint.terms
        if not term.node_labels
        and (not term.flavors or kind.flavor in term.flavors)
        and selects_queue(term, queue)
        and carries(labels, term.job_labels)
    )


def most_taken(constraint: SideConstraint, nodes: Iterable[Node]) -> float:
    """What all jobs may take together, if all `nodes` are there."""
    if constraint.most is not None:
        return constraint.most
    assert constraint.most_part is not None
    return constraint.most_part * sum(
        term.per_unit * display_amount(node.capacity, term.resource)
        for node in nodes
        for term in constraint.terms
        if (not term.flavors or node.flavor in term.flavors) and carries(node.labels, term.node_labels)
    )


def _sorts(terms: Sequence[Term], live: Live) -> tuple[Integers, Booleans]:
    """(J,) the sort of each job, even where it is not divisible; and (G, T) the terms that select each sort."""
    by_queue = np.array([[selects_queue(term, name) for term in terms] for name in live.queues], dtype=np.bool_)
    by_queue = by_queue.reshape(len(live.queues), len(terms))
    queue = live.profiles.queue[live.jobs.profile]
    labels = np.zeros(len(queue), dtype=np.int64)
    known: dict[Labels, int] = {(): 0}
    if any(term.job_labels for term in terms):
        labels[:] = [known.setdefault(each, len(known)) for each in live.jobs.labels.tolist()]
    by_labels = np.array([[carries(each, term.job_labels) for term in terms] for each in known], dtype=np.bool_)
    keys, which = np.unique(queue * len(known) + labels, return_inverse=True)
    selected = by_queue[keys // len(known)] & by_labels.reshape(len(known), len(terms))[keys % len(known)]
    sets, number = np.unique(selected, axis=0, return_inverse=True)
    sort: Integers = 2 * number.ravel()[which.ravel()] + live.profiles.divisible[live.jobs.profile]
    return sort, np.repeat(sets, 2, axis=0)


def _rows(constraints: Sequence[SideConstraint], zones: Zones, taken: Floats) -> tuple[_Row, ...]:
    """In the order of their first constraints; `taken` (T,) by term."""
    found: list[_Row] = []
    families: dict[tuple[Term, ...], list[tuple[_Row, Term]]] = {}
    first = 0
    for position, constraint in enumerate(constraints):
        terms = constraint.terms
        pinned = float(taken[first : first + len(terms)].sum())
        most = _most(constraint, zones)
        left = most - pinned if most - pinned > _CRUMB * most else 0.0
        areas = {term.node_labels for term in terms}
        row = _Row(constraint.name, position, terms, most, pinned, left, constraint.unit, first)
        first += len(terms)
        if areas == {()}:
            found.append(row)
        elif len(areas) == 1:
            alike = tuple(replace(term, node_labels=()) for term in terms)
            families.setdefault(alike, []).append((row, terms[0]))
        else:
            outside = sum(zones.worth(term, zones.free, _others(term, zones)) for term in terms)
            found.append(replace(row, most=np.inf, amount=left + outside))
    for family in families.values():
        found += [_common(together, zones) for together in _disjoint(family, zones)]
    return tuple(sorted([row for row in found if _can_bind(row, zones)], key=lambda row: row.position))


def _most(constraint: SideConstraint, zones: Zones) -> float:
    """What all jobs may take together. A part is one of all nodes that are not lost."""
    if constraint.most is not None:
        return constraint.most
    assert constraint.most_part is not None
    together = sum(zones.worth(term, zones.there, zones.selected(term)) for term in constraint.terms)
    return constraint.most_part * together


def _others(term: Term, zones: Zones) -> Booleans:
    """(Z,) zones of the term's flavors that it is not about."""
    return zones.of_flavors(term) & ~zones.selected(term)


def _disjoint(family: Sequence[tuple[_Row, Term]], zones: Zones) -> list[list[_Row]]:
    """Those of the family that share no nodes are together; each is where it first fits."""
    found: list[tuple[Booleans, list[_Row]]] = []
    for row, term in family:
        area = zones.inside[:, zones.sets[term.node_labels]]
        for number, (covered, together) in enumerate(found):
            if not (covered & area).any():
                together.append(row)
                found[number] = (covered | area, together)
                break
        else:
            found.append((area, [row]))
    return [together for _, together in found]


def _common(rows: Sequence[_Row], zones: Zones) -> _Row:
    """One row for constraints that are alike but for their nodes, no two of which are about the same ones."""
    amount, covered = 0.0, np.zeros(zones.flavor.size, dtype=np.bool_)
    for row in rows:
        amount += min(row.amount, sum(zones.worth(term, zones.free, zones.selected(term)) for term in row.terms))
        covered |= zones.inside[:, zones.sets[row.terms[0].node_labels]]
    amount += sum(zones.worth(term, zones.free, zones.of_flavors(term) & ~covered) for term in rows[0].terms)
    names = [row.name for row in rows]
    name = "+".join(names) if len(names) <= _MOST_NAMED else f"{names[0]}+{len(names) - 1}"
    taken = sum(row.taken for row in rows)
    return replace(rows[0], name=name, most=np.inf, taken=taken, amount=amount)


def _can_bind(row: _Row, zones: Zones) -> bool:
    """Whether using all that is free could break the row."""
    could = sum(zones.worth(term, zones.free, zones.of_flavors(term)) for term in row.terms)
    return could > row.amount * (1 + _CRUMB)


def _rates(row: _Row, counts: Booleans, zones: Zones) -> Floats:
    """(G, F, R) what a display unit counts of each sort of jobs; `counts` (G, T) says which terms select whom."""
    rates = np.zeros((len(counts), len(zones.flavors), len(zones.resources)))
    for number, term in enumerate(row.terms, start=row.first):
        flavors = [zones.flavors[name] for name in term.flavors or zones.flavors if name in zones.flavors]
        if term.resource in zones.resources:
            for flavor in flavors:
                rates[counts[:, number], flavor, zones.resources[term.resource]] += term.per_unit
    return rates


def _limit(row: _Row, rates: Floats, sort: Integers) -> Limit:
    """`rates` (G, F, R)."""
    tariffs, which = np.unique(rates.reshape(len(rates), int(np.prod(rates.shape[1:]))), axis=0, return_inverse=True)
    of_row = which.ravel()[sort]
    parts = []
    for number, tariff in enumerate(tariffs):
        members = np.flatnonzero(of_row == number)
        if tariff.any() and members.size:
            flavor, resource = np.nonzero(tariff.reshape(rates.shape[1:]))
            by = zip(flavor.tolist(), resource.tolist(), tariff[tariff != 0].tolist(), strict=True)
            parts.append(LimitPart(tuple(by), members))
    first = parts[0] if parts else LimitPart((), ())
    return Limit(first.terms, row.amount, first.members, tuple(parts[1:]))

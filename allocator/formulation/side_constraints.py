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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Self

import numpy as np

from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import NodeRule, carries
from allocator.domain.reason import LimitExcess, PendingCause, PendingReason
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.catalogue import Eligible
from allocator.formulation.eligibility import Kind
from allocator.formulation.limits import Booleans, Floats, Integers, Limit, LimitPart
from allocator.formulation.live import Live
from allocator.formulation.zones import Zones

_CRUMB = 1e-9
"""So small a part of what a constraint allows is nothing."""
_NOWHERE = ("",)
"""Flavors of a term that is about none; no flavor is called so."""
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
    pairs = _pairs(live, sort, len(counts))
    gangs = _Gangs.of(pairs, len(counts), live)
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
        nowhere=_nowhere(constraints, zones, gangs, counts),
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


def selects_queue(term: Term, queue: str) -> bool:
    """Whether the term counts jobs of this queue, if their labels suit it."""
    return not term.queues or any(queue == name or queue.startswith(f"{name}/") for name in term.queues)


def exactly(number: float) -> Fraction:
    """The number as it is written, not as it is stored: 0.1 is a tenth."""
    return Fraction(Decimal(repr(number)))


def price_of(term: Term) -> Fraction:
    """Millionths of the constraint's unit for one integer unit of the resource."""
    return _price(term.per_unit, term.resource)


@lru_cache(maxsize=4096)
def _price(per_unit: float, resource: str) -> Fraction:
    return exactly(per_unit) * PRECISION / display_unit(resource)[1]


def taken_anywhere(constraint: SideConstraint, kind: Kind, queue: str, labels: Labels) -> int:
    """What a gang of a job of this queue, with these labels, takes by itself wherever it is, in millionths: what each
    replica does is rounded up, as in placement.
    """
    return kind.replicas * sum(
        _up(kind.asks.get(term.resource), price_of(term))
        for term in constraint.terms
        if not term.node_labels
        and (not term.flavors or kind.flavor in term.flavors)
        and selects_queue(term, queue)
        and carries(labels, term.job_labels)
    )


def taken_in_area(constraint: SideConstraint, kind: Kind, queue: str, labels: Labels) -> int:
    """What a single replica takes on the nodes that the constraint is about, in millionths; 0 where not all of its
    terms are about the same nodes.
    """
    if len({term.node_labels for term in constraint.terms}) > 1:
        return 0
    alone = tuple(replace(term, node_labels=()) for term in constraint.terms if term.node_labels)
    return taken_anywhere(replace(constraint, terms=alone), kind._replace(replicas=1), queue, labels)


def most_taken(constraint: SideConstraint, nodes: Iterable[Node]) -> int:
    """What all jobs may take together, if all `nodes` are there, in millionths, rounded down."""
    if constraint.most is not None:
        return int(exactly(constraint.most) * PRECISION)
    assert constraint.most_part is not None
    return int(
        exactly(constraint.most_part)
        * sum(
            price_of(term) * node.capacity.get(term.resource)
            for node in nodes
            for term in constraint.terms
            if (not term.flavors or node.flavor in term.flavors) and carries(node.labels, term.node_labels)
        )
    )


def numbered_labels(terms: Sequence[Term], live: Live) -> tuple[Integers, list[Labels]]:
    """(J,) number of each job's labels, as far as terms speak of them; and those labels, none at first."""
    named = frozenset(pair for term in terms for pair in term.job_labels)
    known: dict[Labels, int] = {(): 0}
    if not named:
        return np.zeros(len(live.jobs.profile), dtype=np.int64), list(known)
    numbers = [
        0 if named.isdisjoint(each) else known.setdefault(tuple(pair for pair in each if pair in named), len(known))
        for each in live.jobs.labels.tolist()
    ]
    return np.array(numbers, dtype=np.int64), list(known)


def _up(amount: int, price: Fraction) -> int:
    return -(-amount * price.numerator // price.denominator)


def _pairs(live: Live, sort: Integers, sorts: int) -> Integers:
    """(P,) see `SideRows.pairs`."""
    jobs = np.unique(live.shape * sorts + sort)
    return np.unique(live.shapes.kind[jobs // sorts] * sorts + (jobs % sorts)[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class _Gangs:
    """Of each pair (P,) of a kind and a sort: what is needed to say what it takes."""

    kinds: tuple[Kind, ...]
    """Distinct ones."""
    kind: Integers
    """(P,) among them."""
    sort: Integers
    replicas: Integers
    whole: Booleans
    """Not divisible."""
    flavors: Mapping[str, Booleans]
    """(P,) whether it is of the flavor, by name."""
    asked: dict[str, tuple[list[int], Integers]]
    """By resource, distinct amounts that replicas ask for, and which of them each of `kinds` does."""
    known: dict[tuple[str, float], Floats]
    """(P,) by resource and price, what a replica takes."""

    @classmethod
    def of(cls, pairs: Integers, sorts: int, live: Live) -> Self:
        numbers, kind = np.unique(pairs // sorts, return_inverse=True)
        kinds, kind = tuple(live.kinds[number] for number in numbers.tolist()), kind.ravel()
        names: dict[str, int] = {}
        flavor = np.array([names.setdefault(each.flavor, len(names)) for each in kinds], dtype=np.int64)[kind]
        replicas = np.array([each.replicas for each in kinds], dtype=np.int64)[kind]
        sort = pairs % sorts
        flavors = {name: flavor == number for name, number in names.items()}
        return cls(kinds, kind, sort, replicas, sort % 2 == 0, flavors, {}, {})

    def takes(self, terms: Sequence[Term], counts: Booleans) -> Floats:
        """(P,) what one replica takes where all of the terms count, in millionths; `counts` (G, at least as many) says
        which terms, in order, select whom.
        """
        found = np.zeros(len(self.kind))
        for number, term in enumerate(terms):
            chosen = counts[self.sort, number]
            if term.flavors:
                chosen = chosen & self._of_flavors(term.flavors)
            if chosen.any():
                found += np.where(chosen, self._by(term), 0.0)
        return found

    def _of_flavors(self, names: Sequence[str]) -> Booleans:
        found = np.zeros(len(self.kind), dtype=np.bool_)
        for name in names:
            found |= self.flavors.get(name, False)
        return found

    def _by(self, term: Term) -> Floats:
        """(P,) few amounts are distinct."""
        key = (term.resource, term.per_unit)
        if key not in self.known:
            if term.resource not in self.asked:
                asked: dict[int, int] = {}
                which = [asked.setdefault(kind.asks.get(term.resource), len(asked)) for kind in self.kinds]
                self.asked[term.resource] = list(asked), np.array(which, dtype=np.int64)
            amounts, number = self.asked[term.resource]
            takes = np.array([float(_up(amount, price_of(term))) for amount in amounts])
            self.known[key] = takes[number][self.kind]
        return self.known[key]


def _sorts(terms: Sequence[Term], live: Live) -> tuple[Integers, Booleans]:
    """(J,) the sort of each job, even where it is not divisible; and (G, T) the terms that select each sort."""
    by_queue = np.array([[selects_queue(term, name) for term in terms] for name in live.queues], dtype=np.bool_)
    by_queue = by_queue.reshape(len(live.queues), len(terms))
    queue = live.profiles.queue[live.jobs.profile]
    labels, known = numbered_labels(terms, live)
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
    together = Fraction(0)
    for term in constraint.terms:
        column = zones.resources.get(term.resource)
        if column is not None:
            there = float(zones.there[zones.selected(term), column].sum())
            together += price_of(term) * round(there * display_unit(term.resource)[1])
    return float(exactly(constraint.most_part) * together / PRECISION)


def _nowhere(
    constraints: Sequence[SideConstraint], zones: Zones, gangs: _Gangs, counts: Booleans
) -> dict[int, LimitExcess]:
    """See `SideRows.nowhere`. Only constraints are looked at whose terms are all about the same nodes, and of a kind's
    own rules about nodes only those about labels that terms ask for.
    """
    excess: dict[int, LimitExcess] = {}
    shut = np.zeros((len(gangs.kind), zones.flavor.size), dtype=np.bool_)
    known: dict[tuple[Term, ...], Floats] = {}
    first = 0
    for constraint in constraints:
        terms, start = constraint.terms, first
        first += len(terms)
        area = terms[0].node_labels
        if not area or any(term.node_labels != area for term in terms):
            continue
        alike = tuple(replace(term, node_labels=()) for term in terms)
        if alike not in known:
            known[alike] = gangs.takes(terms, counts[:, start:])
        takes, most = known[alike], int(exactly(_most(constraint, zones)) * PRECISION)
        over = np.flatnonzero((takes > most) & gangs.whole)
        if over.size:
            shut[np.ix_(over, np.flatnonzero(zones.inside[:, zones.sets[area]]))] = True
            for pair in over.tolist():
                if pair not in excess:
                    excess[pair] = LimitExcess(constraint.name, 0, most, int(takes[pair]), constraint.unit)
    if not excess:
        return excess
    labels = [
        tuple(pair for area, number in zones.sets.items() if row[number] for pair in area) for row in zones.inside
    ]
    admits: dict[tuple[str, tuple[NodeRule, ...]], Booleans] = {}
    for pair in list(excess):
        kind = gangs.kinds[gangs.kind[pair]]
        key = kind.flavor, kind.constraints.nodes
        if key not in admits:
            suits = [
                all(rule.admits(each) for rule in key[1] if any(rule.key == name for name, _ in each))
                for each in labels
            ]
            admits[key] = (zones.flavor == zones.flavors.get(kind.flavor, -1)) & np.array(suits, dtype=np.bool_)
            for rule in key[1]:
                wanted = [zones.sets.get(((rule.key, value),), -1) for value in rule.values]
                if wanted and min(wanted) >= 0 and not rule.negated:
                    admits[key] &= zones.inside[:, wanted].any(axis=1)
        if not (admits[key].any() and shut[pair, admits[key]].all()):
            del excess[pair]
    return excess


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
    """One row for constraints that are alike but for their nodes, no two of which are about the same ones. Flavors that
    none of them has a node of are left out: what is free there would only hide what is not elsewhere.
    """
    amount, covered = 0.0, np.zeros(zones.flavor.size, dtype=np.bool_)
    for row in rows:
        amount += min(row.amount, sum(zones.worth(term, zones.free, zones.selected(term)) for term in row.terms))
        covered |= zones.inside[:, zones.sets[row.terms[0].node_labels]]
    there = np.isin(zones.flavor, zones.flavor[covered])
    amount += sum(zones.worth(term, zones.free, zones.of_flavors(term) & there & ~covered) for term in rows[0].terms)
    names_of = {number: name for name, number in zones.flavors.items()}
    about = tuple(
        replace(term, flavors=tuple(names_of[each] for each in np.unique(zones.flavor[mine]).tolist()) or _NOWHERE)
        for term, mine in ((term, zones.of_flavors(term) & there) for term in rows[0].terms)
    )
    names = [row.name for row in rows]
    name = "+".join(names) if len(names) <= _MOST_NAMED else f"{names[0]}+{len(names) - 1}"
    taken = sum(row.taken for row in rows)
    return replace(rows[0], name=name, terms=about, most=np.inf, taken=taken, amount=amount)


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

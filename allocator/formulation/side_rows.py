"""A side constraint, or several that are alike but for their nodes, as one row: what is left of it, and whom it counts.

See `side_constraints` for why that is the tightest row that every placement keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.limits import Booleans, Floats, Integers, Limit, LimitPart
from allocator.formulation.side_terms import exactly, price_of
from allocator.formulation.zones import Zones

_CRUMB = 1e-9
"""So small a part of what a constraint allows is nothing."""
_NOWHERE = ("",)
"""Flavors of a term that is about none; no flavor is called so."""
_MOST_NAMED = 3
"""Constraints that a common row is named after; of more, the first, and how many more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One of the constraints of a row, and how far its own amount counts there."""

    name: str
    over: float
    """What pinned jobs take beyond what it allows."""
    room: float
    """What its nodes could take beyond what it leaves; inf where it is about no nodes in particular."""

    def gain(self, more: float) -> float:
        """By how much the row grows if the constraint allows so much more."""
        return min(max(0.0, more - self.over), self.room)


@dataclass(frozen=True, slots=True)
class SideRow:
    """One constraint, or several that are alike, as a row."""

    name: str
    """Of no other row: it begins with the name of the first of them."""
    members: tuple[Member, ...]
    """All of them."""
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

    @property
    def together(self) -> tuple[str, ...]:
        """Names of all of them."""
        return tuple(member.name for member in self.members)

    def gain(self, name: str, more: float) -> float:
        """By how much the row grows if the constraint of this name, one of its own, allows so much more."""
        return next(member.gain(more) for member in self.members if member.name == name)


def rows_of(constraints: Sequence[SideConstraint], zones: Zones, taken: Floats) -> tuple[SideRow, ...]:
    """In the order of their first constraints; `taken` (T,) by term."""
    found: list[SideRow] = []
    families: dict[tuple[Term, ...], list[tuple[SideRow, Term]]] = {}
    first = 0
    for position, constraint in enumerate(constraints):
        terms = constraint.terms
        pinned = float(taken[first : first + len(terms)].sum())
        most = most_of(constraint, zones)
        left = most - pinned if most - pinned > _CRUMB * most else 0.0
        areas = {term.node_labels for term in terms}
        member = Member(constraint.name, max(0.0, pinned - most), np.inf)
        row = SideRow(constraint.name, (member,), position, terms, most, pinned, left, constraint.unit, first)
        first += len(terms)
        if areas == {()}:
            found.append(row)
        elif len(areas) == 1:
            room = sum(zones.worth(term, zones.free, zones.selected(term)) for term in terms) - left
            if room <= left * _CRUMB:
                continue  # its nodes have no more to take than it allows: like nodes that none is about
            row = replace(row, members=(replace(member, room=room),))
            alike = tuple(replace(term, node_labels=()) for term in terms)
            families.setdefault(alike, []).append((row, terms[0]))
        else:
            outside = sum(zones.worth(term, zones.free, _others(term, zones)) for term in terms)
            found.append(replace(row, most=np.inf, amount=left + outside))
    for family in families.values():
        found += [_common(together, zones) for together in _disjoint(family, zones)]
    return tuple(sorted([row for row in found if _can_bind(row, zones)], key=lambda row: row.position))


def most_of(constraint: SideConstraint, zones: Zones) -> float:
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


def _others(term: Term, zones: Zones) -> Booleans:
    """(Z,) zones of the term's flavors that it is not about."""
    return zones.of_flavors(term) & ~zones.selected(term)


def _disjoint(family: Sequence[tuple[SideRow, Term]], zones: Zones) -> list[list[SideRow]]:
    """Those of the family that share no nodes are together; each is where it first fits."""
    found: list[tuple[Booleans, list[SideRow]]] = []
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


def _common(rows: Sequence[SideRow], zones: Zones) -> SideRow:
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
    members = tuple(member for row in rows for member in row.members)
    names = [member.name for member in members]
    name = "+".join(names) if len(names) <= _MOST_NAMED else f"{names[0]}+{len(names) - 1}"
    taken = sum(row.taken for row in rows)
    return replace(rows[0], name=name, members=members, terms=about, most=np.inf, taken=taken, amount=amount)


def _can_bind(row: SideRow, zones: Zones) -> bool:
    """Whether using all that is free could break the row."""
    could = sum(zones.worth(term, zones.free, zones.of_flavors(term)) for term in row.terms)
    return could > row.amount * (1 + _CRUMB)


def rates_of(row: SideRow, counts: Booleans, zones: Zones) -> Floats:
    """(G, F, R) what a display unit counts of each sort of jobs; `counts` (G, T) says which terms select whom."""
    rates = np.zeros((len(counts), len(zones.flavors), len(zones.resources)))
    for number, term in enumerate(row.terms, start=row.first):
        flavors = [zones.flavors[name] for name in term.flavors or zones.flavors if name in zones.flavors]
        if term.resource in zones.resources:
            for flavor in flavors:
                rates[counts[:, number], flavor, zones.resources[term.resource]] += term.per_unit
    return rates


def limit_of(row: SideRow, rates: Floats, sort: Integers) -> Limit:
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

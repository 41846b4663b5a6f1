"""What gangs take by side constraints, and where these leave a single replica no place at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from allocator.domain.constraints import NodeRule
from allocator.domain.reason import LimitExcess
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.eligibility import Kind
from allocator.formulation.limits import Booleans, Floats, Integers
from allocator.formulation.live import Live
from allocator.formulation.side_rows import most_of
from allocator.formulation.side_terms import exactly, price_of, rounded_up
from allocator.formulation.zones import Zones


def pairs_of(live: Live, sort: Integers, sorts: int) -> Integers:
    """(P,) see `SideRows.pairs`."""
    jobs = np.unique(live.shape * sorts + sort)
    return np.unique(live.shapes.kind[jobs // sorts] * sorts + (jobs % sorts)[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class Gangs:
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
            takes = np.array([float(rounded_up(amount, price_of(term))) for amount in amounts])
            self.known[key] = takes[number][self.kind]
        return self.known[key]


def nowhere(
    constraints: Sequence[SideConstraint], zones: Zones, gangs: Gangs, counts: Booleans
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
        takes, most = known[alike], int(exactly(most_of(constraint, zones)) * PRECISION)
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

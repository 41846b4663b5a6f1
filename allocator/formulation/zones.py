"""The nodes as far as side constraints tell them apart, and what pinned jobs hold there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from allocator.domain.cluster import Labels
from allocator.domain.constraints import carries
from allocator.domain.placement import held
from allocator.domain.resources import Resources, display_unit
from allocator.domain.side_constraint import Term
from allocator.formulation.limits import Booleans, Floats, Integers
from allocator.formulation.live import Live
from allocator.formulation.nodes import LOST

Piece = tuple[int, int, int, int]
"""(kind, thousandths held, sort of the job, zone)."""


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """Z zones: their nodes are of one flavor, have the same of the labels that terms ask for, and take new work or not.
    R resources of the problem.
    """

    zone: Integers
    """(N,) of each node."""
    flavor: Integers
    """(Z,) number of it."""
    inside: Booleans
    """(Z, sets) whether its nodes have all of these labels."""
    sets: Mapping[Labels, int]
    flavors: Mapping[str, int]
    resources: Mapping[str, int]
    there: Floats
    """(Z, R) what its nodes have that are not lost, in display units; 0 of what floats."""
    free: Floats
    """(Z, R) what pinned jobs leave of it where new work is taken; there, inf of what floats."""
    pieces: Mapping[Piece, int]
    """How many replicas of pinned jobs there are of each sort."""

    @classmethod
    def of(
        cls,
        terms: Iterable[Term],
        live: Live,
        pinned: Booleans,
        sort: Integers,
        resources: tuple[str, ...],
        floating: tuple[str, ...],
    ) -> Self:
        """`pinned` (J,), and `sort` (J,) by which pieces are to be told apart."""
        nodes = live.nodes
        sets: dict[Labels, int] = {}
        for term in terms:
            if term.node_labels:
                sets.setdefault(term.node_labels, len(sets))
        inside = _inside(live, tuple(sets))
        takes_new_work = nodes.takes_new_work
        key = np.column_stack([nodes.flavor, takes_new_work, inside])
        _, sample, zone = np.unique(key, axis=0, return_index=True, return_inverse=True)
        zone = zone.ravel().astype(np.int64)
        column = {name: number for number, name in enumerate(resources)}
        there = np.zeros((len(sample), len(resources)))
        for name, number in column.items():
            if name not in floating:
                np.add.at(there[:, number], zone, np.where(nodes.condition != LOST, _capacity(live, name), 0.0))
        pieces = _pieces(live, pinned, sort, zone)
        is_open = takes_new_work[sample]
        free = np.where(is_open[:, None], there, 0.0)
        for (kind, millis, _, place), count in pieces.items():
            asked = held(live.kinds[kind].demand, millis)
            free[place] -= [display_amount(asked, name) * count for name in resources]
        free = np.where(is_open[:, None], np.maximum(free, 0.0), 0.0)
        for name in floating:
            free[is_open, column[name]] = np.inf
        flavors = {name: number for number, name in enumerate(nodes.flavors)}
        return cls(zone, nodes.flavor[sample], inside[sample], sets, flavors, column, there, free, pieces)

    def of_flavors(self, term: Term) -> Booleans:
        """(Z,) those of the term's flavors."""
        if not term.flavors:
            return np.ones(self.flavor.size, dtype=np.bool_)
        numbers = [self.flavors[name] for name in term.flavors if name in self.flavors]
        return np.isin(self.flavor, numbers)

    def selected(self, term: Term) -> Booleans:
        """(Z,) those that the term is about."""
        found = self.of_flavors(term)
        return found & self.inside[:, self.sets[term.node_labels]] if term.node_labels else found

    def worth(self, term: Term, amounts: Floats, zones: Booleans) -> float:
        """What the term would count if `amounts` (Z, R) were used whole in these zones."""
        column = self.resources.get(term.resource)
        return 0.0 if column is None else term.per_unit * float(amounts[zones, column].sum())

    def taken(self, terms: Sequence[Term], counts: Booleans, live: Live) -> Floats:
        """(T,) what pinned jobs take by each term, wherever they are; `counts` (sorts, T) who is selected."""
        found = np.zeros(len(terms))
        where = np.array([self.selected(term) for term in terms], dtype=np.bool_).reshape(len(terms), self.flavor.size)
        for (kind, millis, sort, place), count in self.pieces.items():
            asked = held(live.kinds[kind].asks, millis)
            for number in np.flatnonzero(counts[sort] & where[:, place]).tolist():
                term = terms[number]
                found[number] += term.per_unit * display_amount(asked, term.resource) * count
        return found


def display_amount(amounts: Resources, name: str) -> float:
    """Of one resource, in display units."""
    return amounts.get(name) / display_unit(name)[1]


def _inside(live: Live, sets: Sequence[Labels]) -> Booleans:
    """(N, sets) which nodes have all of these labels."""
    nodes = live.nodes.nodes
    if not sets:
        return np.zeros((len(nodes), 0), dtype=np.bool_)
    looks: dict[Labels, int] = {}
    look = np.array([looks.setdefault(node.labels, len(looks)) for node in nodes], dtype=np.int64)
    table = np.array([[carries(each, wanted) for wanted in sets] for each in looks], dtype=np.bool_)
    return table.reshape(len(looks), len(sets))[look]


def _capacity(live: Live, name: str) -> Floats:
    """(N,) in display units."""
    nodes = live.nodes
    if name == "gpu":
        return nodes.gpu_count.astype(np.float64)
    if name not in nodes.resources:
        return np.zeros(len(nodes.nodes))
    found: Floats = nodes.capacity[:, nodes.resources.index(name)] / display_unit(name)[1]
    return found


def _pieces(live: Live, pinned: Booleans, sort: Integers, zone: Integers) -> dict[Piece, int]:
    """Unfinished replicas of pinned jobs on nodes that are known."""
    owner = live.jobs.piece_owner
    there = pinned[owner] & (live.piece_node >= 0)
    owner, node = owner[there], live.piece_node[there]
    key = np.stack([live.kind_now(owner), live.jobs.millis[owner], sort[owner], zone[node]], axis=1)
    distinct, which = np.unique(key, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), weights=live.jobs.piece_count[there], minlength=len(distinct))
    return {
        (kind, millis, number, place): int(count)
        for (kind, millis, number, place), count in zip(distinct.tolist(), counts.tolist(), strict=True)
    }

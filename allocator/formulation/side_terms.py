"""What the terms of side constraints select, and what they count: exactly, as the numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np

from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import carries
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.eligibility import Kind
from allocator.formulation.limits import Booleans, Integers
from allocator.formulation.live import Live


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


def rounded_up(amount: int, price: Fraction) -> int:
    return -(-amount * price.numerator // price.denominator)


def taken_anywhere(constraint: SideConstraint, kind: Kind, queue: str, labels: Labels) -> int:
    """What a gang of a job of this queue, with these labels, takes by itself wherever it is, in millionths: what each
    replica does is rounded up, as in placement.
    """
    return kind.replicas * sum(
        rounded_up(kind.asks.get(term.resource), price_of(term))
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


def sorts_of(terms: Sequence[Term], live: Live) -> tuple[Integers, Booleans]:
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

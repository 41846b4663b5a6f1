"""Side constraints as tables for the kernels: which terms are about whom and where, and what everybody takes; see
`limiting`.

What depends on the policy, the nodes and the sorts of jobs alone is kept for as long as they are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from allocator.domain.cluster import Labels
from allocator.domain.constraints import carries
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.live import Live
from allocator.formulation.nodes import LOST, NodeArrays
from allocator.formulation.side_terms import exactly, numbered_labels, price_of, selects_queue
from allocator.placement.limiting import CEILING
from allocator.placement.space import Booleans, Integers, Kinds
from allocator.placement.world import Limits

_MOST_BITS = 2**62


def most_of(constraint: SideConstraint, nodes: NodeArrays) -> int:
    """What all jobs may take together, in millionths, rounded down. A part is one of all nodes that are not lost."""
    if constraint.most is not None:
        return int(exactly(constraint.most) * PRECISION)
    together = Fraction(0)
    for term in constraint.terms:
        amount = sum(
            node.capacity.get(term.resource)
            for node, condition in zip(nodes.nodes, nodes.condition.tolist(), strict=True)
            if condition != LOST and selects_node(term, node.flavor, node.labels)
        )
        together += price_of(term) * amount
    assert constraint.most_part is not None
    return min(int(exactly(constraint.most_part) * together), CEILING - 1)


def selects_node(term: Term, flavor: str, labels: Labels) -> bool:
    """Whether the term counts what is on such a node."""
    return (not term.flavors or flavor in term.flavors) and carries(labels, term.node_labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What does not depend on single jobs: see `Limits`."""

    most: Integers
    row: Integers
    price: Integers
    prices: tuple[tuple[str, Fraction], ...]
    nodes: Integers
    sets: Booleans
    signature: Integers
    here: tuple[Integers, Integers]
    anywhere: tuple[Integers, Integers]
    local: tuple[Integers, Integers]
    member: tuple[Integers, Integers]


class _Kept(threading.local):
    """The last tables of a thread, and what they were made of."""

    of: tuple[tuple[SideConstraint, ...], NodeArrays, tuple[tuple[bool, ...], ...]] | None = None
    tables: _Tables | None = None


_kept = _Kept()


def tabulated_limits(constraints: tuple[SideConstraint, ...], live: Live, kinds: Kinds) -> Limits:
    """Nobody takes anything yet: `limiting.count_all_runs` counts those that run. `failed` is empty."""
    if not constraints:
        return _nothing(len(live.jobs.jobs))
    terms = [term for constraint in constraints for term in constraint.terms]
    group, patterns = _groups(terms, live)
    of, tables = (constraints, live.nodes, patterns), _kept.tables
    if tables is None or _kept.of is None or not _is_same(_kept.of, of):
        _kept.of, _kept.tables = of, (tables := _tabulated(*of))
    columns = sorted({resource for resource, _ in tables.prices})
    amount = _amounts(columns, live, kinds)
    column = np.array([columns.index(resource) for resource, _ in tables.prices], dtype=np.int64)
    asked = amount[:, column].T
    numerator, denominator, largest = _fractions(asked, tables.prices)
    return Limits(
        used=np.zeros(len(constraints), dtype=np.int64),
        most=tables.most.copy(),
        group=group,
        row=tables.row,
        price=tables.price,
        nodes=tables.nodes,
        sets=tables.sets,
        signature=tables.signature,
        here_starts=tables.here[0],
        here=tables.here[1],
        anywhere_starts=tables.anywhere[0],
        anywhere=tables.anywhere[1],
        local_starts=tables.local[0],
        local=tables.local[1],
        member_starts=tables.member[0],
        member=tables.member[1],
        whole=_taken_whole(asked, tables.prices),
        numerator=numerator,
        denominator=denominator,
        largest=largest,
        column=column,
        amount=amount,
        tight=np.zeros(len(constraints), dtype=np.bool_),
        failed=np.zeros((2, 0, 0), dtype=np.int64),
        released=np.zeros(1, dtype=np.int64),
        hindered=np.zeros(1, dtype=np.bool_),
    )


def _nothing(jobs: int) -> Limits:
    none, table = np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.int64)
    return Limits(
        used=none,
        most=none.copy(),
        group=np.full(jobs, -1, dtype=np.int64),
        row=none,
        price=none,
        nodes=none,
        sets=np.zeros((0, 0), dtype=np.bool_),
        signature=none,
        here_starts=table,
        here=none,
        anywhere_starts=table,
        anywhere=none,
        local_starts=table,
        local=none,
        member_starts=table,
        member=none,
        whole=table,
        numerator=none,
        denominator=none,
        largest=none,
        column=none,
        amount=table,
        tight=np.zeros(0, dtype=np.bool_),
        failed=np.zeros((2, 0, 0), dtype=np.int64),
        released=np.zeros(1, dtype=np.int64),
        hindered=np.zeros(1, dtype=np.bool_),
    )


def _groups(terms: Sequence[Term], live: Live) -> tuple[Integers, tuple[tuple[bool, ...], ...]]:
    """(J,) group of each job, -1 where no term selects it, and for each group which terms do."""
    by_queue = np.array([[selects_queue(term, name) for term in terms] for name in live.queues], dtype=np.bool_)
    queue = live.profiles.queue[live.jobs.profile]
    labels, known = numbered_labels(terms, live)
    by_labels = np.array([[carries(each, term.job_labels) for term in terms] for each in known], dtype=np.bool_)
    key = queue * len(known) + labels
    there = np.zeros(len(live.queues) * len(known), dtype=np.bool_)
    there[key] = True
    numbers: dict[tuple[bool, ...], int] = {}
    number = np.full(len(there), -1, dtype=np.int64)
    for combination in np.flatnonzero(there).tolist():
        selected = by_queue[combination // len(known)] & by_labels[combination % len(known)]
        if selected.any():
            number[combination] = numbers.setdefault(tuple(selected.tolist()), len(numbers))
    found: Integers = number[key] if len(number) else np.full(len(key), -1, dtype=np.int64)
    return found, tuple(numbers)


def _is_same(
    one: tuple[tuple[SideConstraint, ...], NodeArrays, tuple[tuple[bool, ...], ...]],
    other: tuple[tuple[SideConstraint, ...], NodeArrays, tuple[tuple[bool, ...], ...]],
) -> bool:
    return one[1] is other[1] and (one[0] is other[0] or one[0] == other[0]) and one[2] == other[2]


def _tabulated(
    constraints: tuple[SideConstraint, ...], nodes: NodeArrays, patterns: tuple[tuple[bool, ...], ...]
) -> _Tables:
    terms = [term for constraint in constraints for term in constraint.terms]
    row = [number for number, constraint in enumerate(constraints) for _ in constraint.terms]
    prices: dict[tuple[str, Fraction], int] = {}
    price = [prices.setdefault((term.resource, price_of(term)), len(prices)) for term in terms]
    labels: dict[Labels, int] = {}
    where = [labels.setdefault(term.node_labels, len(labels)) if term.node_labels else -1 for term in terms]
    sets = _sets(tuple(labels), nodes)
    flavors = len(nodes.flavors)
    of_flavor = np.array(
        [[not term.flavors or flavor in term.flavors for flavor in nodes.flavors] for term in terms], dtype=np.bool_
    ).reshape(len(terms), flavors)
    about = np.array(patterns, dtype=np.bool_).reshape(len(patterns), len(terms))
    sample, signature = _signatures(nodes.flavor, sets)
    in_set = np.concatenate([sets, np.ones((1, sets.shape[1]), dtype=np.bool_)])[where][:, sample]
    here = about[:, None, :] & (of_flavor[:, nodes.flavor[sample]] & in_set).T[None]
    met = np.zeros((len(terms), flavors), dtype=np.bool_)  # whether a term counts some node of the flavor
    np.logical_or.at(met.T, nodes.flavor[sample], in_set.T)
    selected = about[:, None, :] & of_flavor.T[None]
    is_local = np.array([each >= 0 for each in where], dtype=np.bool_)
    starts = nodes.flavor_starts
    members = np.zeros((len(labels), flavors, 1 + int(np.diff(starts).max(initial=0))), dtype=np.bool_)
    for flavor in range(flavors):
        first, last = int(starts[flavor]), int(starts[flavor + 1])
        members[:, flavor, : last - first] = sets[:, first:last]
    member_starts, member = _listed(members)
    if len(member):
        flat = np.repeat(np.tile(np.arange(flavors), len(labels)), members.sum(axis=2).ravel())
        member = member + starts[flat]
    return _Tables(
        most=np.array([most_of(constraint, nodes) for constraint in constraints], dtype=np.int64),
        row=np.array(row, dtype=np.int64),
        price=np.array(price, dtype=np.int64),
        prices=tuple(prices),
        nodes=np.array(where, dtype=np.int64),
        sets=sets,
        signature=signature,
        here=_listed(here),
        anywhere=_listed(selected & ~is_local),
        local=_listed(selected & (is_local[:, None] & met).T[None]),
        member=(member_starts, member),
    )


def _sets(labels: Sequence[Labels], nodes: NodeArrays) -> Booleans:
    """(M, N) which nodes have all of these labels, row by row in memory: kernels are compiled for that."""
    looks: dict[Labels, int] = {}
    look = np.array([looks.setdefault(node.labels, len(looks)) for node in nodes.nodes], dtype=np.int64)
    found = np.array([[carries(each, wanted) for each in looks] for wanted in labels], dtype=np.bool_)
    return np.ascontiguousarray(found.reshape(len(labels), len(looks))[:, look])


def _signatures(flavor: Integers, sets: Booleans) -> tuple[Integers, Integers]:
    """Nodes of one flavor in the same sets are alike to all terms: one of each sort, and the sort of each (N,)."""
    key = flavor.astype(np.int64)
    for each in sets:
        if int(key.max(initial=0)) >= 2**61:
            key = np.unique(key, return_inverse=True)[1].ravel()
        key = 2 * key + each
    _, sample, number = np.unique(key, return_index=True, return_inverse=True)
    return sample.astype(np.int64), number.ravel().astype(np.int64)


def _listed(chosen: Booleans) -> tuple[Integers, Integers]:
    """(G, S + 1) starts and the positions along the last axis where `chosen` (G, S, T) is true."""
    counts = chosen.sum(axis=2)
    upto = np.cumsum(counts.ravel()).reshape(counts.shape)
    starts = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int64)
    starts[:, 1:] = upto
    if counts.shape[1]:
        starts[:, 0] = upto[:, 0] - counts[:, 0]
    return starts, np.nonzero(chosen)[2].astype(np.int64)


def _amounts(columns: Sequence[str], live: Live, kinds: Kinds) -> Integers:
    """(K, A) what a replica of each kind asks for."""
    found = np.zeros((len(kinds.flavor), len(columns)), dtype=np.int64)
    for position, name in enumerate(columns):
        if name == "gpu":
            found[:, position] = kinds.devices * GPU_MILLIS + kinds.part
        else:  # also of what floats, which no kind asks of its node
            found[:, position] = [kind.asks.get(name) for kind in live.kinds]
    return found


def _taken_whole(asked: Integers, prices: Sequence[tuple[str, Fraction]]) -> Integers:
    """(P, K) what replicas take that hold all they ask for (P, K): exact. Few amounts are distinct."""
    found = np.zeros(asked.shape, dtype=np.int64)
    for number, (_, price) in enumerate(prices):
        amounts, which = np.unique(asked[number], return_inverse=True)
        takes = [min(-(-amount * price.numerator // price.denominator), CEILING) for amount in amounts.tolist()]
        found[number] = np.array(takes, dtype=np.int64)[which.ravel()]
    return found


def _fractions(asked: Integers, prices: Sequence[tuple[str, Fraction]]) -> tuple[Integers, Integers, Integers]:
    """Numerators and denominators, rounded up by as much as it takes so that their products with what is `asked` (P, K)
    fit into 64 bits: less than a millionth, as a rule. And the largest amounts for which they do.
    """
    found = []
    for number, (_, price) in enumerate(prices):
        numerator, denominator = price.numerator, price.denominator
        largest = max(1, int(asked[number].max(initial=0)))
        while (numerator * largest > _MOST_BITS or denominator > _MOST_BITS) and denominator > 1:
            numerator, denominator = -(-numerator // 2), denominator // 2
        found.append((min(numerator, _MOST_BITS), denominator, min(largest, _MOST_BITS // min(numerator, _MOST_BITS))))
    table = np.array(found, dtype=np.int64).reshape(len(found), 3)
    numerators, denominators, amounts = (np.ascontiguousarray(table[:, column]) for column in range(3))
    return numerators, denominators, amounts

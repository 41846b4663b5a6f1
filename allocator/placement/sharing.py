"""What the changes of a plan take together of quotas and side constraints, for the commit: if one of them is refused
there, others may no longer be allowed, and some who were stopped need not have been.

Only what would be exceeded if nobody left is told; as a rule that is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.domain.plan import Change, Shared, Start
from allocator.placement.allowances import NO_LIMIT
from allocator.placement.limiting import CEILING
from allocator.placement.rounding import Outcome
from allocator.placement.space import Booleans, Integers
from allocator.placement.world import World

Row = tuple[int, ...]
"""(row of side constraints), (queue, flavor, resource), or (flavor, resource) of what others do not lend."""
_MOST = 2**62


def shared(outcome: Outcome, changes: Sequence[Change]) -> tuple[Shared, ...]:
    """Of the changes that a round decided on."""
    world = outcome.world
    if world is None or not len(world.stops.leaf) or all(isinstance(change, Start) for change in changes):
        return ()
    ids = [change.job_id for change in changes]
    held, codes = _held(outcome, outcome.formulation.live.positions(ids)), _Codes.of(world)
    taken = [*_of_quotas(world, held, codes), *_of_side_constraints(world, held)]
    if not taken:
        return ()
    row, change, amount = _added_up(taken)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    if not first.size:
        return ()
    arriving = np.add.reduceat(np.maximum(amount, 0), first)
    found: list[tuple[Row, Shared]] = []
    left = codes.left(world, row[first]) + np.add.reduceat(amount, first)
    ends = np.append(first[1:], len(row))
    for number in np.flatnonzero((arriving > 0) & (left < arriving)).tolist():
        mine = slice(int(first[number]), int(ends[number]))
        takers = zip(change[mine].tolist(), amount[mine].tolist(), strict=True)
        told = Shared(int(left[number]), tuple((ids[which], taking) for which, taking in takers))
        found.append((codes.row(int(row[mine.start])), told))
    return tuple(told for _, told in sorted(found, key=lambda each: each[0]))


class _Held(NamedTuple):
    """(h,) what jobs that change are placed as, `sign` 1, and were, -1."""

    change: Integers
    job: Integers
    kind: Integers
    millis: Integers
    replicas: Integers
    sign: Integers
    owner: Integers
    """(pieces,) which of these it belongs to."""
    node: Integers
    """(pieces,) -1: it is gone."""
    pieces: Integers
    """(pieces,) replicas there."""


def _held(outcome: Outcome, job: Integers) -> _Held:
    """`job` (C,) are the positions of those that change."""
    assert outcome.world is not None
    live, places, pool = outcome.formulation.live, outcome.world.places, outcome.pool
    new, old = np.flatnonzero(places.kind[job] >= 0), np.flatnonzero(live.jobs.runs[job])
    here, there = job[new], job[old]
    change, jobs = np.concatenate([new, old]), np.concatenate([here, there])
    first = np.concatenate([places.first[here], live.jobs.first_piece[there]])  # old pieces are in the pool still
    count = np.concatenate([places.pieces[here], live.jobs.first_piece[there + 1] - live.jobs.first_piece[there]])
    owner = np.repeat(np.arange(len(jobs)), count)
    piece = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    replicas = pool.replicas[piece]
    return _Held(
        change=change,
        job=jobs,
        kind=np.concatenate([places.kind[here], live.kind_now(there)]),
        millis=np.concatenate([places.millis[here], live.jobs.millis[there]]),
        replicas=np.bincount(owner, weights=replicas, minlength=len(jobs)).astype(np.int64),
        sign=np.repeat([1, -1], [len(here), len(there)]),
        owner=owner,
        node=pool.node[piece],
        pieces=replicas,
    )


class _Codes(NamedTuple):
    """Rows as single numbers: side constraints, then (flavor, resource), then (queue, flavor, resource)."""

    constraints: int
    flavors: int
    resources: int

    @classmethod
    def of(cls, world: World) -> _Codes:
        return cls(len(world.limits.most), *world.allowances.used.shape[1:])

    def lent(self, flavor: Integers, resource: int) -> Integers:
        return self.constraints + flavor * self.resources + resource

    def quota(self, queue: Integers, flavor: Integers, resource: int) -> Integers:
        return self.constraints + ((queue + 1) * self.flavors + flavor) * self.resources + resource

    def row(self, code: int) -> Row:
        """The row with this number."""
        if code < self.constraints:
            return (code,)
        rest, resource = divmod(code - self.constraints, self.resources)
        queue, flavor = divmod(rest, self.flavors)
        return (queue - 1, flavor, resource) if queue else (flavor, resource)

    def left(self, world: World, code: Integers) -> Integers:
        """(rows,) what may be taken more than is, below 0 where that is more than there may be; of what others do not
        lend, 0.
        """
        found = np.zeros(len(code), dtype=np.int64)
        side, quota = code < self.constraints, code >= self.constraints + self.flavors * self.resources
        found[side] = (world.limits.most - world.limits.used)[code[side]]
        at = code[quota] - self.constraints - self.flavors * self.resources
        found[quota] = world.allowances.most.reshape(-1)[at] - world.allowances.used.reshape(-1)[at]
        return found


Taken = tuple[Integers, Integers, Integers]
"""Rows, by which change, and how much."""


def _of_quotas(world: World, held: _Held, codes: _Codes) -> Iterator[Taken]:
    allowed, kinds = world.allowances, world.kinds
    if not len(allowed.parent):
        return
    flavor, times, leaf = kinds.flavor[held.kind], held.sign * held.replicas, allowed.leaf[held.job]
    for resource in range(codes.resources):
        amount = times * _amounts(world, held, resource)
        some = (leaf >= 0) & (amount != 0)
        lent = some & allowed.lends[flavor, resource]
        yield codes.lent(flavor[lent], resource), held.change[lent], amount[lent]
        queue = np.where(some, leaf, -1)
        while (queue >= 0).any():
            counts = (queue >= 0) & (allowed.most[queue, flavor, resource] < NO_LIMIT)
            yield codes.quota(queue[counts], flavor[counts], resource), held.change[counts], amount[counts]
            queue = np.where(queue >= 0, allowed.parent[queue], -1)


def _amounts(world: World, held: _Held, resource: int) -> Integers:
    """(h,) what one replica takes, as `allowing.amount_of`."""
    kinds = world.kinds
    if resource == kinds.amount.shape[1]:
        found: Integers = kinds.devices[held.kind] * 1000 + kinds.part[held.kind]
        return found
    return _part(kinds.amount[held.kind, resource], held.millis)


def _part(amount: Integers, millis: Integers) -> Integers:
    """`room.part_of`"""
    return np.where(millis == WHOLE, amount, -(-amount * millis // WHOLE))


def _of_side_constraints(world: World, held: _Held) -> Iterator[Taken]:
    """What pieces take by each term about them, as `limiting.count`."""
    limits = world.limits
    if not len(limits.most):
        return
    there = np.flatnonzero((limits.group[held.job[held.owner]] >= 0) & (held.node >= 0))
    owner = held.owner[there]
    group, signature = limits.group[held.job[owner]], limits.signature[held.node[there]]
    first, last = limits.here_starts[group, signature], limits.here_starts[group, signature + 1]
    which = np.repeat(np.arange(len(there)), last - first)
    entry = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    term, owner, replicas = limits.here[entry], owner[which], held.pieces[there][which]
    price, kind, millis = limits.price[term], held.kind[owner], held.millis[owner]
    part = np.minimum(_part(limits.amount[kind, limits.column[price]], millis), limits.largest[price])
    each = np.minimum(-(-part * limits.numerator[price] // limits.denominator[price]), CEILING)
    each = np.where(millis == WHOLE, limits.whole[price, kind], each)
    beyond = (replicas > 0) & (each > CEILING // np.maximum(replicas, 1))
    amount = np.where(beyond, CEILING, each * np.where(beyond, 0, replicas))
    yield limits.row[term], held.change[owner], held.sign[owner] * amount


def _added_up(taken: Iterable[Taken]) -> Taken:
    """What each change takes of each row, in order of both; without what is nothing."""
    row, change, amount = (np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for parts in zip(*taken, strict=True))
    if float(np.abs(amount.astype(np.float64)).sum()) > _MOST:  # what counts as more than any row allows, very often
        amount = amount.astype(object)
    order = np.lexsort((change, row))
    row, change, amount = row[order], change[order], amount[order]
    begins: Booleans = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (np.diff(row) != 0) | (np.diff(change) != 0)
    first = np.flatnonzero(begins)
    if not first.size:
        return row, change, amount
    total = np.add.reduceat(amount, first)
    kept = total != 0
    return row[first][kept], change[first][kept], total[kept]

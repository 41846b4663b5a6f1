"""What the changes of a plan take together of quotas and side constraints, for the commit: if one of them is refused
there, others may no longer be allowed, and some who were stopped need not have been.

Only what would be exceeded if nobody left is told; as a rule that is nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allocator.domain.plan import Change, Shared, Start
from allocator.placement.allowances import NO_LIMIT
from allocator.placement.allowing import amount_of
from allocator.placement.limiting import takes, times
from allocator.placement.rounding import Outcome
from allocator.placement.space import Pool
from allocator.placement.world import World

Row = tuple[int, ...]
"""(row of side constraints), (queue, flavor, resource), or (flavor, resource) of what others do not lend."""


def shared(outcome: Outcome, changes: Sequence[Change]) -> tuple[Shared, ...]:
    """Of the changes that a round decided on."""
    world, jobs = outcome.world, outcome.formulation.live.jobs
    if world is None or not len(world.stops.leaf) or all(isinstance(change, Start) for change in changes):
        return ()
    entries: dict[Row, list[tuple[str, int]]] = {}
    ids = [change.job_id for change in changes]
    for job_id, job in zip(ids, outcome.formulation.live.positions(ids).tolist(), strict=True):
        more: Counter[Row] = Counter()
        places = world.places
        if places.kind[job] >= 0:
            here = _Held(job, int(places.kind[job]), int(places.millis[job]), int(places.first[job]))
            _add(world, outcome.pool, here, int(places.pieces[job]), 1, more)
        if jobs.runs[job]:  # its old pieces are in the pool still
            kind = int(outcome.formulation.live.kind_now(np.array([job]))[0])
            there = _Held(job, kind, int(jobs.millis[job]), int(jobs.first_piece[job]))
            _add(world, outcome.pool, there, int(jobs.first_piece[job + 1]) - there.first, -1, more)
        for row, amount in more.items():
            if amount:
                entries.setdefault(row, []).append((job_id, amount))
    return tuple(
        Shared(_left(world, row, takers), tuple(takers))
        for row, takers in sorted(entries.items())
        if _matters(world, row, takers)
    )


class _Held(NamedTuple):
    """What a job is, or was, placed as."""

    job: int
    kind: int
    millis: int
    first: int
    """Its first piece."""


def _add(world: World, pool: Pool, held: _Held, pieces: int, sign: int, more: Counter[Row]) -> None:
    """Add what a job takes of everything, so often."""
    allowed, limits = world.allowances, world.limits
    leaf, group, flavor = int(allowed.leaf[held.job]), int(limits.group[held.job]), int(world.kinds.flavor[held.kind])
    replicas = sum(pool.replicas[held.first : held.first + pieces].tolist())
    for resource in range(allowed.used.shape[2] if leaf >= 0 else 0):
        amount = sign * replicas * amount_of(world.kinds, held.kind, resource, held.millis)
        queue = leaf if amount else -1
        while queue >= 0:
            if allowed.most[queue, flavor, resource] < NO_LIMIT:
                more[queue, flavor, resource] += amount
            queue = int(allowed.parent[queue])
        if amount and allowed.lends[flavor, resource]:
            more[flavor, resource] += amount
    for piece in range(held.first, held.first + pieces if group >= 0 else 0):
        if pool.node[piece] < 0:  # the node is gone
            continue
        signature = limits.signature[pool.node[piece]]
        entries = slice(*limits.here_starts[group, signature : signature + 2].tolist())
        for term in limits.here[entries].tolist():
            each = takes(limits, term, held.kind, held.millis)
            more[(int(limits.row[term]),)] += sign * times(int(pool.replicas[piece]), each)


def _left(world: World, row: Row, takers: Sequence[tuple[str, int]]) -> int:
    """What a plan may take more than before, below 0 where more is taken already than there may be; of what others do
    not lend: what it does take.
    """
    net = sum(amount for _, amount in takers)
    if len(row) == 1:
        return int(world.limits.most[row] - world.limits.used[row]) + net
    if len(row) == 2:
        return net
    return int(world.allowances.most[row] - world.allowances.used[row]) + net


def _matters(world: World, row: Row, takers: Sequence[tuple[str, int]]) -> bool:
    """Whether it would be exceeded if nobody left."""
    arriving = sum(max(0, amount) for _, amount in takers)
    return arriving > 0 and _left(world, row, takers) < arriving

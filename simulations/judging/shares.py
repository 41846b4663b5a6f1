"""Demand and holdings of every queue after each round, against what it is entitled to.

Demand is what a queue's live jobs ask for together, each in its fastest configuration; holdings are what its gangs hold
after the round's starts. Everything is worked out over all rounds at once, a few thousand at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.judging.entitlement import dominant_shares, entitled_parts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CELLS = 1 << 16
"""Rounds x queues x resources that are worked on at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Holders:
    """n things that take amounts (n, R) for queue number `queue` (n,) from `start` (n,) until `end` (n,), excluded."""

    queue: Integers
    start: Floats
    end: Floats
    amounts: Floats


@dataclass(frozen=True, slots=True, eq=False)
class QueueShares:
    """m rows, one per round and queue that wants or holds something, in order of (round, queue). Dominant shares."""

    at: Integers
    """(m,) index of the round."""
    queue: Integers
    """(m,) number of the queue."""
    demand: Floats
    entitled: Floats
    held: Floats

    @property
    def contention(self) -> Floats:
        """(m,) demand / entitlement, at least 1: by how much a job is slowed down if its queue's part is split among
        its jobs by what they ask for. 1 where nothing is wanted.
        """
        wants = (self.demand > 0) & (self.entitled > 0)
        found = np.divide(self.demand, self.entitled, out=np.ones_like(self.demand), where=wants)
        return np.maximum(found, 1.0)


def queue_shares(
    times: Floats,
    capacity: Floats,
    queues: Sequence[str],
    weights: Mapping[str, float],
    jobs: Holders,
    runs: Holders,
) -> QueueShares:
    """For rounds at `times` (T,), ascending, with `capacity` (T, R) of ready nodes."""
    nobody, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    parts = [QueueShares(nobody, nobody, nothing, nothing, nothing)]
    parts += [part for _, part in queue_shares_in_parts(times, capacity, queues, weights, jobs, runs)]
    names = ("at", "queue", "demand", "entitled", "held")
    return QueueShares(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def queue_shares_in_parts(
    times: Floats,
    capacity: Floats,
    queues: Sequence[str],
    weights: Mapping[str, float],
    jobs: Holders,
    runs: Holders,
) -> Iterator[tuple[range, QueueShares]]:
    """`queue_shares`, some rounds at a time and which ones: all of them together can take more room than the replay."""
    for (rounds, demand), (_, held) in zip(
        _over_time(times, len(queues), jobs), _over_time(times, len(queues), runs), strict=True
    ):
        yield rounds, _rows(rounds.start, demand, held, capacity[rounds.start : rounds.stop], queues, weights)


def _over_time(times: Floats, queues: int, holders: Holders) -> Iterator[tuple[range, Floats]]:
    """(t rounds, amounts (t, Q, R)), some rounds at a time. Sums of integers, so they are exact."""
    resources = holders.amounts.shape[1]
    width = queues * resources
    step = max(1, CELLS // max(width, 1))
    begins = np.searchsorted(times, holders.start, side="left")
    ends = np.searchsorted(times, holders.end, side="left")
    seen = np.flatnonzero(begins < ends)
    when = np.concatenate([begins[seen], ends[seen]])
    which = np.concatenate([seen, seen])
    sign = np.repeat((1.0, -1.0), len(seen))
    order = np.argsort(when, kind="stable")
    when, which, sign = when[order], which[order], sign[order]
    now = np.zeros(width)
    for first in range(0, len(times), step):
        size = min(step, len(times) - first)
        low, high = np.searchsorted(when, (first, first + size))
        chosen = which[low:high]
        changes = np.zeros((size, queues, resources))
        amounts = holders.amounts[chosen] * sign[low:high, None]
        np.add.at(changes, (when[low:high] - first, holders.queue[chosen]), amounts)
        changes[0] += now.reshape(queues, resources)
        levels = np.cumsum(changes, axis=0)
        now = levels[-1].ravel().copy()
        yield range(first, first + size), levels


def _rows(
    first: int, demand: Floats, held: Floats, capacity: Floats, queues: Sequence[str], weights: Mapping[str, float]
) -> QueueShares:
    parts = entitled_parts(demand, capacity, queues, weights)
    wanted, holds = dominant_shares(demand, capacity), dominant_shares(held, capacity)
    at, queue = np.nonzero((wanted > 0) | (holds > 0))
    return QueueShares(at + first, queue, wanted[at, queue], (parts * wanted)[at, queue], holds[at, queue])

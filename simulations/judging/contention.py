"""How contended each job's queue was while the job lived: the mean of `QueueShares.contention` over its life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulations.judging.shares import QueueShares

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Contention:
    """Of n jobs of queues `queue` (n,) that live from `start` (n,) to `end` (n,), NaN where one has no end, in rounds
    at `times` (T,), ascending, that last for `seconds` (T,).

    What is contended is integrated over time for all `queues` of them at once, from part to part; of each job's life
    only the values at both ends are kept.
    """

    def __init__(
        self, times: Floats, seconds: Floats, queues: int, queue: Integers, start: Floats, end: Floats
    ) -> None:
        self._seconds = seconds
        self._edges = np.append(times, times[-1] + seconds[-1]) if len(times) else times
        self._lasted = end - start
        self._queue = np.concatenate([queue, queue])
        self._point = np.concatenate([start, end])
        self._round = np.searchsorted(self._edges, self._point, side="right") - 1
        """In which each end of a life is: -1 before the first, T after the last."""
        self._order = np.argsort(self._round, kind="stable")
        self._sorted = self._round[self._order]
        self._until = np.zeros(len(self._point))
        """What was contended until then, in seconds."""
        self._total = np.zeros(queues)

    def add(self, rounds: range, found: QueueShares) -> None:
        """The shares of `rounds`, which follow those that were added before."""
        more = np.zeros((len(rounds) + 1, len(self._total)))
        more[0] = self._total
        more[found.at - rounds.start + 1, found.queue] = (found.contention - 1) * self._seconds[found.at]
        total = np.cumsum(more, axis=0)
        self._total = total[-1].copy()
        chosen = self._order[slice(*np.searchsorted(self._sorted, (rounds.start, rounds.stop)))]
        at, queue = self._round[chosen], self._queue[chosen]
        before, after = total[at - rounds.start, queue], total[at - rounds.start + 1, queue]
        slope = (after - before) / (self._edges[at + 1] - self._edges[at])
        self._until[chosen] = slope * (self._point[chosen] - self._edges[at]) + before

    def means(self) -> Floats:
        """(n,) at least 1; NaN where a job has no end."""
        after = self._round >= len(self._seconds)
        until = np.where(after, self._total[self._queue], self._until)
        spent = until[len(self._lasted) :] - until[: len(self._lasted)]
        lasted = self._lasted
        found: Floats = 1 + np.divide(spent, lasted, out=np.where(np.isnan(lasted), np.nan, 0.0), where=lasted > 0)
        return found

"""The yardsticks of one run: a plain fused pass over the jobs, and how fast memory can be read.

Both are the best of a few runs: a neighbour's load only ever adds, and would make others look good beside them.

The pass is the least that price discovery has to do once: at given prices, everybody's best response to log utility
when a column needs one unit of one resource, and what all of them use. In float32, by column, vectorised over jobs.

    max over x >= 0, sum x <= 1 of log(T . x) - p . x

With T_k / p_k largest at k*, spending all money there takes 1 / p_k* of the time. If that is more than there is, walk
up the lower convex hull of the points (T_k, p_k) from k*: along an edge of slope s the best utility is 1 / s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Floats

Array = NDArray[Any]
_TILE = 512
_TILES_PER_TASK = 16
_FREE = np.float32(1e-6)
"""A price below this counts as this."""
_READ_BYTES = 1 << 28
_RUNS = 7


def threads() -> int:
    """As many as price discovery uses: one for each processor, at most four."""
    return min(4, len(os.sched_getaffinity(0)))


class UnitPass:
    """One pass over `throughput` (n, K), ready to be repeated."""

    def __init__(self, throughput: Floats) -> None:
        self._speed = np.ascontiguousarray(throughput.T, dtype=np.float32)
        tasks = -(-len(throughput) // (_TILE * _TILES_PER_TASK))
        self._used = np.zeros((tasks, len(self._speed)))
        self._scratch = np.zeros((tasks, 5, _TILE), dtype=np.float32)
        self._places = np.zeros((tasks, 2, _TILE), dtype=np.int32)

    @property
    def bytes(self) -> int:
        """What a pass reads."""
        return self._speed.nbytes

    def use(self, prices: Floats, pool: ThreadPoolExecutor | None = None) -> Floats:
        """(K,) what everybody together buys of each column at `prices` (K,) of a whole share."""
        rate = np.maximum(prices.astype(np.float32), _FREE)
        size = _TILE * _TILES_PER_TASK

        def task(index: int) -> None:
            last = min((index + 1) * size, self._speed.shape[1])
            _respond(
                self._speed, rate, index * size, last, self._used[index], self._scratch[index], self._places[index]
            )

        tasks = range(len(self._used))
        for _ in map(task, tasks) if pool is None else pool.map(task, tasks):
            pass
        used: Floats = self._used.sum(axis=0)
        return used

    def seconds(self, prices: Floats) -> float:
        """Wall seconds of a pass, on as many threads as there are processors."""
        with ThreadPoolExecutor(threads()) as pool:
            together = pool if len(self._used) > 1 else None
            return _least(lambda: self.use(prices, together))


def read_bandwidth() -> float:
    """Bytes per second at which all processors together read memory that is in no cache."""
    block = np.ones(_READ_BYTES // 8)
    parts = np.array_split(block, threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        return _READ_BYTES / _least(lambda: list(pool.map(_total, parts)))


def _least(action: Callable[[], object]) -> float:
    action()
    taken = []
    for _ in range(_RUNS):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return min(taken)


@njit(cache=True, nogil=True, fastmath=True)
def _total(block: Array) -> float:
    total = 0.0
    for i in range(block.size):
        total += block[i]
    return total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _respond(speed: Array, rate: Array, begin: int, end: int, used: Array, scratch: Array, places: Array) -> None:
    """Sum into used (K,) what the jobs `begin` to `end` buy; a tile's temporaries stay in the cache."""
    one, none = np.float32(1.0), np.float32(0.0)
    gain, price, share, step, top = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    at, ahead = places[0], places[1]
    used[:] = 0.0
    for a in range(begin, end, _TILE):
        w = min(_TILE, end - a)
        step[:w] = none
        for k in range(rate.size):
            own, cost = speed[k, a : a + w], rate[k]
            worth = one / cost
            for i in range(w):
                better = own[i] * worth > step[i]
                at[i] = k if better else at[i]
                price[i] = cost if better else price[i]
                gain[i] = own[i] if better else gain[i]
                step[i] = own[i] * worth if better else step[i]
        walking = 0
        for i in range(w):
            walking += price[i] < one
            share[i] = one / price[i]
        # ahead stays -1 for jobs that have arrived
        for i in range(w):
            ahead[i] = 0 if price[i] < one else -1
        while walking > 0:
            walking = _step(speed, rate, a, w, gain, price, share, step, top, at, ahead)
        for k in range(rate.size):
            bought = none
            for i in range(w):
                bought += min(share[i], one) if at[i] == k else none
            for i in range(w):
                bought += one - share[i] if ahead[i] == -2 - k else none
            used[k] += bought


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _step(
    speed: Array, rate: Array, a: int, w: int, gain: Array, price: Array, share: Array, step: Array, top: Array,
    at: Array, ahead: Array,
) -> int:  # fmt: skip
    """Everybody who has not arrived looks up the next corner of the hull, and stops before, on the way, or goes on."""
    one, none, far = np.float32(1.0), np.float32(0.0), np.float32(1e30)
    step[:w] = far
    for k in range(rate.size):
        own, cost = speed[k, a : a + w], rate[k]
        for i in range(w):
            rise = own[i] - gain[i]
            slope = (cost - price[i]) / rise if rise > none else far
            nearer = (slope < step[i]) & (ahead[i] >= 0)
            ahead[i] = k if nearer else ahead[i]
            top[i] = own[i] if nearer else top[i]
            step[i] = slope if nearer else step[i]
    walking = 0
    for i in range(w):
        if ahead[i] >= 0:
            if step[i] * gain[i] >= one:  # the next edge costs more than it is worth
                share[i] = one
                ahead[i] = -1
            elif step[i] * top[i] >= one:
                share[i] = (top[i] - one / step[i]) / (top[i] - gain[i])
                ahead[i] = -2 - ahead[i]
            else:
                gain[i] = top[i]
                price[i] = rate[ahead[i]]
                at[i] = ahead[i]
                walking += 1
    return walking

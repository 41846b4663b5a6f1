"""Rows cut into fixed chunks, worked on by a few threads: what is computed does not depend on how many there are.

Kernels add up each chunk by itself; whoever starts them adds the chunks up in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from allocator.domain.giving_way import checkpoint
from allocator.formulation.problem import Floats, Integers

Run = Callable[[Callable[[int], None], int], None]
"""`run(task, count)` calls task(0) to task(count - 1), in any order, and returns when all have returned."""

_LEAST_ROWS, _MOST_CHUNKS = 4096, 16
_THREADED_ROWS = 16_384
"""With fewer rows starting threads costs more than they save."""
_MOST_THREADS = 4


def chunk_bounds(rows: int) -> Integers:
    """(C + 1,): chunk c is the rows bounds[c] to bounds[c + 1]."""
    size = max(_LEAST_ROWS, -(-rows // _MOST_CHUNKS))
    return np.append(np.arange(0, rows, size, dtype=np.int64), rows)


def added_up(parts: Floats) -> Floats:
    """(C, ...) what each chunk came to, in order: the same bits whoever worked on it."""
    total = np.zeros(parts.shape[1:])
    for part in parts:
        total += part
    return total


def usual_threads(rows: int) -> int:
    """As many as there are processors, at most four; one for few rows."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0))) if rows >= _THREADED_ROWS else 1


@contextmanager
def workers(threads: int) -> Iterator[Run]:
    """Runs tasks on `threads` threads; on the caller's alone if that is one."""
    if threads <= 1:

        def alone(task: Callable[[int], None], count: int) -> None:
            checkpoint()
            for chunk in range(count):
                task(chunk)

        yield alone
        return
    with ThreadPoolExecutor(threads) as pool:

        def together(task: Callable[[int], None], count: int) -> None:
            checkpoint()
            for _ in pool.map(task, range(count)):
                pass

        yield together

"""Work that can wait gives way, at its checkpoints, to what is more urgent on other threads of the process.

Threads of one process take the interpreter from one another. Whoever works on something that can wait says so on its
own thread; long computations have a checkpoint every few milliseconds, which costs nothing where nobody said so.

    with giving_way(wait):
        decide(...)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GiveWay = Callable[[], None]
"""Returns when there is nothing more urgent to do."""


class _Mine(threading.local):
    wait: GiveWay | None = None


_mine = _Mine()


@contextmanager
def giving_way(wait: GiveWay) -> Iterator[None]:
    """`wait` is called at every checkpoint that this thread passes inside."""
    before, _mine.wait = _mine.wait, wait
    try:
        yield
    finally:
        _mine.wait = before


def checkpoint() -> None:
    """Waits if this thread gives way and something is more urgent."""
    if _mine.wait is not None:
        _mine.wait()

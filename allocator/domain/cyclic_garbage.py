"""Decisions make many objects and no cycles of them, but at each few thousand Python looks for cycles, again and again
among all live jobs: a quarter of a round with 100,000 of them, and as long again where an answer to somebody's question
makes it look while a round is under way. It may look when nobody decides anything.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_was_enabled = False


@contextmanager
def cyclic_garbage_waits() -> Iterator[None]:
    """The collector of cyclic garbage rests while any thread is inside; afterwards it is as it was."""
    global _inside, _was_enabled  # noqa: PLW0603 - the collector is the whole process's, so this is, too
    with _lock:
        if not _inside:
            _was_enabled = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _was_enabled:
                gc.enable()

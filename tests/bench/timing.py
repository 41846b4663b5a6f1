"""Several runs of the same thing, as a median and a spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(action: Callable[[], object], runs: int = 5) -> list[float]:
    """Wall seconds of each of `runs` calls, after one that does not count."""
    action()
    found = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        found.append(time.perf_counter() - begin)
    return found


def in_words(found: list[float]) -> str:
    """Median, and from least to most, in milliseconds."""
    return f"{statistics.median(found) * 1000:.1f} ms ({min(found) * 1000:.1f} to {max(found) * 1000:.1f})"

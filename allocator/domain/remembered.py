"""Results of pure functions of large immutable objects, kept for as long as the very same object comes again.

A snapshot's tuple of nodes is the same object from round to round until a node changes; what depends on nothing else
need not be computed again. Comparing or hashing thousands of nodes would cost what is to be saved, so identity decides.
Each thread remembers for itself: whoever asks beside the rounds what would happen with other nodes does not make them
forget theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def remembered(function: Callable[[Argument], Result]) -> Callable[[Argument], Result]:
    """`function` of one immutable argument, evaluated again only when the argument is another object than last time.

    Whoever gets the result must not change it. Every thread remembers its own last one.
    """
    mine = threading.local()

    @wraps(function)
    def look_up(argument: Argument) -> Result:
        known: tuple[Argument, Result] | None = getattr(mine, "last", None)
        if known is not None and known[0] is argument:
            return known[1]
        result = function(argument)
        mine.last = (argument, result)
        return result

    return look_up

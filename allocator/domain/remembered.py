"""Results of pure functions of large immutable objects, kept for as long as the very same objects come again.

A snapshot's tuple of nodes is the same object from round to round until a node changes; what depends on nothing else
need not be computed again. Comparing or hashing thousands of nodes would cost what is to be saved, so identity decides.
Each thread remembers for itself: whoever asks beside the rounds what would happen with other nodes does not make them
forget theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def remembered(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function` of immutable arguments, given by position, evaluated again only when one of them is another object
    than last time.

    Whoever gets the result must not change it. Every thread remembers its own last one.
    """
    mine = threading.local()

    @wraps(function)
    def look_up(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        assert not named
        known: tuple[tuple[object, ...], Result] | None = getattr(mine, "last", None)
        if known is not None and all(one is other for one, other in zip(known[0], arguments, strict=True)):
            return known[1]
        result = function(*arguments, **named)
        mine.last = (arguments, result)
        return result

    return look_up

"""Results of pure functions of large immutable objects, kept for as long as the very same object comes again.

A snapshot's tuple of nodes is the same object from round to round until a node changes; what depends on nothing else
need not be computed again. Comparing or hashing thousands of nodes would cost what is to be saved, so identity decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def remembered(function: Callable[[Argument], Result]) -> Callable[[Argument], Result]:
    """`function` of one immutable argument, evaluated again only when the argument is another object than last time.

    Whoever gets the result must not change it. Threads may call: at worst one of them evaluates once more.
    """
    last: list[tuple[Argument, Result]] = []

    @wraps(function)
    def look_up(argument: Argument) -> Result:
        for known, result in last:
            if known is argument:
                return result
        result = function(argument)
        last[:] = [(argument, result)]
        return result

    return look_up

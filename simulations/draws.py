"""Numbers drawn at random that depend on a seed and on what they are drawn for, and on nothing that was drawn before.

So what happens to one job, node or push is the same whatever happened to others, and in whatever order.
"""

from __future__ import annotations

import math

_BITS = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def uniform(seed: int, *of: int) -> float:
    """In [0, 1), for this seed and these numbers: each is mixed in by the finalizer of SplitMix64 (Steele, Lea and
    Flood, OOPSLA 2014).
    """
    state = _mixed(seed & _BITS)
    for number in of:
        state = _mixed(state ^ (number & _BITS))
    return (state >> 11) / float(1 << 53)


def normal(seed: int, *of: int) -> float:
    """Of mean 0 and deviation 1 (Box and Muller)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, *of, 0)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, *of, 1))


def _mixed(state: int) -> int:
    state = (state + _GOLDEN) & _BITS
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS
    return state ^ (state >> 31)

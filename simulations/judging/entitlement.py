"""What each queue is entitled to at each instant: weighted max-min over the queues' demands, in dominant shares.

The dominant share of an amount is the largest part, over resources, that it is of all that ready nodes have (Dominant
Resource Fairness, NSDI 2011). Water rises: every queue that wants something has its weight times the level of its own
mixture of resources, until it has all it wants, or one of its resources is used up by all together; the others go on.
In a tree of queues the same happens between siblings, with what their parent was given, from the top down.

Flavors are added up: a queue is taken to be able to use any node. Quotas, priorities and gangs play no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CLOSE = 1e-12


def dominant_shares(amounts: Floats, capacity: Floats) -> Floats:
    """(T, Q) of `amounts` (T, Q, R); of what there is none of (capacity (T, R) 0), nothing counts."""
    parts = np.divide(amounts, capacity[:, None, :], out=np.zeros_like(amounts), where=capacity[:, None, :] > 0)
    largest: Floats = parts.max(axis=2, initial=0.0)
    return largest


def entitled_parts(demand: Floats, capacity: Floats, queues: Sequence[str], weights: Mapping[str, float]) -> Floats:
    """(T, Q) what part of its demand (T, Q, R) each queue is entitled to, 0 to 1; 1 where it wants nothing.

    `capacity` (T, R) in the same units. `weights` by name, of parents too; 1 where one is missing.
    """
    tree = _children(queues)
    parts = np.ones(demand.shape[:2])
    wanted = np.where(capacity[:, None, :] > 0, demand, 0.0)
    number = {name: index for index, name in enumerate(queues)}

    def share_out(parent: str, given: Floats) -> None:
        """Between the children of `parent`, of what it was given (T, R)."""
        names = tree[parent]
        below = [[number[leaf] for leaf in _leaves(name, tree, number)] for name in names]
        asked = np.stack([wanted[:, leaves].sum(axis=1) for leaves in below], axis=1)
        found = filled(asked, given, capacity, np.array([weights.get(name, 1.0) for name in names]))
        for at, name in enumerate(names):
            if name in number:
                parts[:, number[name]] = found[:, at]
            if name in tree:
                share_out(name, found[:, at, None] * asked[:, at])

    if len(queues):
        share_out("", capacity)
    return parts


def _children(queues: Sequence[str]) -> dict[str, list[str]]:
    """Names of the direct children by parent; the parent of those at the top is the empty name."""
    tree: dict[str, list[str]] = {}
    for name in queues:
        segments = name.split("/")
        for depth in range(1, len(segments) + 1):
            parent, child = "/".join(segments[: depth - 1]), "/".join(segments[:depth])
            siblings = tree.setdefault(parent, [])
            if child not in siblings:
                siblings.append(child)
    return tree


def _leaves(name: str, tree: Mapping[str, list[str]], number: Mapping[str, int]) -> list[str]:
    found = [name] if name in number else []
    for child in tree.get(name, ()):
        found += _leaves(child, tree, number)
    return found


def filled(demand: Floats, given: Floats, capacity: Floats, weights: Floats) -> Floats:
    """(T, C) what part of its demand (T, C, R) each of C siblings gets of `given` (T, R), by `weights` (C,), when water
    rises in dominant shares of `capacity` (T, R).

    One pass per resource that is used up: at each, the level at which that happens is found exactly, between the
    levels at which somebody has all it wants.
    """
    wanted = dominant_shares(demand, capacity)
    slope = np.divide(
        demand * weights[None, :, None], wanted[:, :, None], out=np.zeros_like(demand), where=wanted[:, :, None] > 0
    )
    """What one more unit of the level takes."""
    full = wanted / weights
    parts = np.ones_like(wanted)
    left = given.astype(np.float64, copy=True)
    rising = wanted > 0
    at = np.arange(len(demand))
    for _ in range(demand.shape[2] + 1):
        at = at[rising[at].any(axis=1)]
        if not len(at):
            break
        level, scarce = _level(demand[at], slope[at], full[at], left[at], rising[at])
        stays = rising[at] & ((full[at] <= level[:, None]) | (slope[at] * scarce[:, None, :] > 0).any(axis=2))
        reached = np.where(wanted[at] > 0, np.minimum(1.0, level[:, None] / np.maximum(full[at], _CLOSE**2)), 1.0)
        parts[at] = np.where(stays, reached, parts[at])
        taken = (np.where(stays, reached, 0.0)[:, :, None] * demand[at]).sum(axis=1)
        left[at] = np.maximum(left[at] - taken, 0.0)
        rising[at] &= ~stays
    return parts


def _level(
    demand: Floats, slope: Floats, full: Floats, left: Floats, rising: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """(T,) the level at which the first resource is used up, infinite where none is, and (T, R) which ones are then."""
    order = np.argsort(np.where(rising, full, np.inf), axis=1, kind="stable")
    takes = np.where(rising[:, :, None], demand, 0.0)
    rate = np.where(rising[:, :, None], slope, 0.0)
    takes = np.take_along_axis(takes, order[:, :, None], axis=1)
    rate = np.take_along_axis(rate, order[:, :, None], axis=1)
    satisfied = np.cumsum(takes, axis=1)
    rest = rate.sum(axis=1, keepdims=True) - np.cumsum(rate, axis=1)
    levels = np.take_along_axis(np.where(rising, full, 0.0), order, axis=1)
    used = satisfied + rest * levels[:, :, None]
    over = used > left[:, None, :] * (1 + _CLOSE) + _CLOSE
    first = over.argmax(axis=1)
    rows, resources = np.arange(len(demand))[:, None], np.arange(demand.shape[2])[None, :]
    before = np.where(first > 0, satisfied[rows, np.maximum(first - 1, 0), resources], 0.0)
    speed = np.where(first > 0, rest[rows, np.maximum(first - 1, 0), resources], rate.sum(axis=1))
    room = np.maximum(left - before, 0.0)
    reached = np.divide(room, speed, out=np.full_like(room, np.inf), where=over.any(axis=1) & (speed > 0))
    level = reached.min(axis=1, initial=np.inf)
    scarce = np.isfinite(reached) & (reached <= level[:, None] * (1 + 1e-9))
    return level, scarce

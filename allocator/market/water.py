"""Water-filling: a budget poured over vessels of different width, each with a bottom it is filled to first and a brim.

    find theta with  sum_i clip(theta w_i, floor_i, cap_i) = budget

for many groups of vessels at once. Everybody between floor and cap has the same level theta = poured_i / w_i; who is
full leaves the rest to the others. (Bertsekas and Gallager, Data Networks, 2nd edition, section 6.5.2.)
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Floats, Integers

_FEW = np.iinfo(np.int16).max


def pour(group: Integers, weight: Floats, floor: Floats, cap: Floats, budget: Floats) -> Floats:
    """(n,) what each vessel gets of the `budget` (G,) of its `group` (n,); `weight` > 0, 0 <= `floor` <= `cap`.

    Where floors need more than there is, they are lowered in proportion. Where caps take less than there is, everybody
    is full and the rest is nobody's: see `spill`.
    """
    groups = budget.size
    bottoms = np.bincount(group, weights=floor, minlength=groups)
    lowered = np.minimum(1.0, np.divide(budget, bottoms, out=np.ones(groups), where=bottoms > budget))
    above = level(group, floor / weight, cap / weight, weight, np.maximum(budget - bottoms, 0.0))
    poured = np.clip(above[group] * weight, floor, cap)
    return np.where(lowered[group] < 1, floor * lowered[group], poured)


def spill(group: Integers, weight: Floats, poured: Floats, budget: Floats) -> Floats:
    """(n,) `poured` and, by weight, what it left of the `budget`: then budgets are spent to the last."""
    groups = budget.size
    rest = np.maximum(budget - np.bincount(group, weights=poured, minlength=groups), 0.0)
    width = np.bincount(group, weights=weight, minlength=groups)
    return poured + weight * (rest / np.where(width > 0, width, 1.0))[group]


def level(group: Integers, opens: Floats, closes: Floats, slope: Floats, budget: Floats) -> Floats:
    """(G,) the lowest level at which the vessels of a group hold its budget: each takes `slope` per level from where it
    `opens` to where it `closes`. The level at which all are full where they cannot hold it; 0 without vessels.

    What they hold grows with the level piece by piece, so sort where the slope changes, and find the piece.
    """
    groups = budget.size
    found = np.zeros(groups)
    some = np.flatnonzero(slope > 0)
    at = np.concatenate([opens[some], closes[some]])
    change = np.concatenate([slope[some], -slope[some]])
    owner = np.concatenate([group[some], group[some]])
    order = np.argsort(at, kind="stable")
    narrow = owner.astype(np.int16 if groups <= _FEW else np.int64)  # of these numpy sorts a million in milliseconds
    order = order[np.argsort(narrow[order], kind="stable")]
    at, change, owner = at[order], change[order], owner[order]
    starts = np.searchsorted(owner, np.arange(groups + 1))
    running = np.cumsum(change)
    before = np.concatenate([[0.0], running])[starts[owner]]
    rate = np.maximum(running - before, 0.0)
    """To the right of each change, within its group."""
    step = np.append(np.diff(at), 0.0)
    step[starts[1:][starts[1:] > 0] - 1] = 0.0
    gained = np.concatenate([[0.0], np.cumsum(rate * step)])
    holds = gained[:-1] - gained[:-1][starts[owner]]
    """What the group holds at each change."""
    short = np.bincount(owner, weights=holds < budget[owner], minlength=groups).astype(np.int64)
    there = np.flatnonzero(short)
    last = starts[there] + short[there] - 1
    rest = budget[there] - holds[last]
    found[there] = at[last] + np.divide(rest, rate[last], out=np.zeros(there.size), where=rate[last] > 0)
    return found

"""Jobs that quotas and side constraints treat alike, numbered; and whom of them somebody might stop, in lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.placement.space import Integers


class Accounts(NamedTuple):
    """A accounts."""

    of: Integers
    """(J,) -1 where neither is about the job."""
    leaf: Integers
    """(A,) queue in `Allowances`; -1 where no quota is about it."""
    group: Integers
    """(A,) in `Limits`; -1 where no side constraint is about it."""


def accounts(leaf: Integers, group: Integers) -> Accounts:
    """`leaf` (J,) and `group` (J,): of each job, -1 where there is none."""
    groups = int(group.max(initial=-1)) + 2
    key = (leaf + 1) * groups + group + 1
    there = np.zeros((int(leaf.max(initial=-1)) + 2) * groups, dtype=np.bool_)
    there[key] = True
    there[0] = False
    combinations = np.flatnonzero(there)
    number = np.full(len(there), -1, dtype=np.int64)
    number[combinations] = np.arange(len(combinations))
    return Accounts(number[key], combinations // groups - 1, combinations % groups - 1)


def listed(of: Accounts, candidates: Integers, flavor: Integers, flavors: int) -> tuple[Integers, Integers]:
    """`candidates` (in order) that have an account, by account and flavor, in order; and where each list begins: (A,
    flavors + 1).
    """
    count = len(of.leaf)
    mine = of.of[candidates] >= 0
    candidates, key = candidates[mine], (of.of[candidates] * flavors + flavor)[mine]
    found = candidates[np.argsort(key, kind="stable")]
    ends = np.cumsum(np.bincount(key, minlength=count * flavors)).reshape(count, flavors)
    starts = np.zeros((count, flavors + 1), dtype=np.int64)
    starts[:, 1:] = ends
    starts[1:, 0] = ends[:-1, -1] if flavors else 0
    return np.ascontiguousarray(found), starts

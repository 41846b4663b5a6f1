"""Identical jobs become one row: by concavity they share alike, so the optimum is the same and the problem small.

Identical means: the same configurations that can run, each with the same flavor, demand and throughput, the same
claim (queue, weight, priority class), and, for running jobs to which it makes a difference, the same current
configuration and restart cost. Jobs of a queue that serves in order are identical to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Booleans, Floats, Integers

LEAST_KEPT = 0.05
"""However dear a restart is, this part of the throughput of another configuration still counts."""

LEAST_BUDGET, MOST_BUDGET = 1e-15, 1.0
"""Of the total of 1: keeps weights that differ by more than floats can tell apart above zero, and numbers that went
astray on the way (inf, nan) from stopping the round.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The jobs that take part, in order of the snapshot: one entry each."""

    profile: Integers
    """(n,) number from 0: the same profile has the same shape, restart cost and budget."""
    current: Integers
    """(n,) position of the column it runs in, -1 if it does not run or may have no share there."""
    shape: Integers
    """(P,) by profile: any number that is the same for the same configurations and measured throughputs."""
    choices: Integers
    """(P,) how many columns it has."""
    restart_cost: Floats
    """(P,) seconds."""
    budget: Floats
    """(P,) the part of the total weight of one job."""
    claim: Integers
    """(P,) any number that is the same for the same queue, weight and priority class."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows in order of their first job."""

    row: Integers
    """(n,) of each candidate."""
    shape: Integers
    """(N,) number of the row's shape."""
    current: Integers
    """(N,) column in which the row's jobs run; -1 where restarts change nothing."""
    kept: Floats
    """(N,) part of the throughput that counts in any other column than `current`."""
    weight: Floats
    """(N,) budget of one job."""
    count: Integers
    """(N,) how many jobs the row stands for."""
    first: Integers
    """(N,) the first candidate of the row."""


def group(candidates: Candidates, horizon_seconds: float) -> Groups:
    """A restart costs its part of `horizon_seconds`; budgets are kept within LEAST_BUDGET and MOST_BUDGET."""
    pair, profile, column, first = _pairs(candidates.profile, candidates.current)
    restart_cost = candidates.restart_cost[profile]
    pays = (column >= 0) & (restart_cost > 0) & (candidates.choices[profile] > 1)
    kept = np.where(pays, np.maximum(LEAST_KEPT, 1 - restart_cost / horizon_seconds), 1.0)
    current = np.where(kept < 1, column, -1)
    # nan, of a weight that overflowed on the way, becomes the least: fmax and fmin pass over it
    weight = np.fmin(MOST_BUDGET, np.fmax(LEAST_BUDGET, candidates.budget[profile]))
    shape, claim = candidates.shape[profile], candidates.claim[profile]
    order = np.lexsort((first, claim, kept, current, shape))
    sorted_keys = [key[order] for key in (shape, current, kept, claim)]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in sorted_keys])
    leader = order[new]
    by_first = np.argsort(first[leader], kind="stable")
    number = np.empty(len(leader), dtype=np.int64)
    number[by_first] = np.arange(len(leader))
    row_of_pair = np.empty(len(order), dtype=np.int64)
    row_of_pair[order] = number[np.cumsum(new) - 1]
    row = row_of_pair[pair]
    leader = leader[by_first]
    return Groups(
        row=row,
        shape=shape[leader],
        current=current[leader],
        kept=kept[leader],
        weight=weight[leader],
        count=np.bincount(row, minlength=len(leader)).astype(np.int64),
        first=first[leader],
    )


def _pairs(profile: Integers, current: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """The distinct pairs: which one each job has, and of each pair profile, current and the first job."""
    width = int(current.max(initial=-1)) + 2
    key = profile * width + current + 1
    there: Booleans = np.zeros(int(key.max(initial=-1)) + 1, dtype=np.bool_)
    there[key] = True
    number = np.cumsum(there) - 1
    pair = number[key]
    keys = np.flatnonzero(there)
    first = np.empty(len(keys), dtype=np.int64)
    first[pair[::-1]] = np.arange(len(pair))[::-1]  # the last one written is the first job
    return pair, keys // width, keys % width - 1, first

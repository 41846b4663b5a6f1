"""Identical jobs become one row: by concavity they share alike, so the optimum is the same and the problem small.

Identical means: the same configurations that can run, each with the same flavor, demand and throughput, the same
budget, and, for running jobs to which it makes a difference, the same current configuration and restart cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Floats, Integers

LEAST_KEPT = 0.05
"""However dear a restart is, this part of the throughput of another configuration still counts."""

LEAST_BUDGET, MOST_BUDGET = 1e-15, 1.0
"""Of the total of 1: keeps weights that differ by more than floats can tell apart above zero, and numbers that went
astray on the way (inf, nan) from stopping the round.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The jobs that take part, in order of the snapshot: one entry each."""

    ids: Sequence[str]
    shape: Integers
    """(n,) any number that is the same for the same configurations and measured throughputs."""
    current: Integers
    """(n,) position of the column it runs in, -1 if it does not run or may have no share there."""
    choices: Integers
    """(n,) how many columns it has."""
    restart_cost: Floats
    """(n,) seconds."""
    budget: Floats
    """(n,) its part of the total weight."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows in order of their first job."""

    members: tuple[tuple[str, ...], ...]
    """Job ids, in the order they came."""
    shape: Integers
    """(n,) number of the row's shape."""
    current: Integers
    """(n,) column in which the row's jobs run; -1 where restarts change nothing."""
    kept: Floats
    """(n,) part of the throughput that counts in any other column than `current`."""
    weight: Floats
    """(n,) budget of one job."""
    count: Integers
    """(n,) how many jobs the row stands for."""


def group(candidates: Candidates, horizon_seconds: float) -> Groups:
    """A restart costs its part of `horizon_seconds`; budgets are kept within LEAST_BUDGET and MOST_BUDGET."""
    pays = (candidates.current >= 0) & (candidates.restart_cost > 0) & (candidates.choices > 1)
    kept = np.where(pays, np.maximum(LEAST_KEPT, 1 - candidates.restart_cost / horizon_seconds), 1.0)
    current = np.where(kept < 1, candidates.current, -1)
    # nan, of a weight that overflowed on the way, becomes the least: fmax and fmin pass over it
    weight = np.fmin(MOST_BUDGET, np.fmax(LEAST_BUDGET, candidates.budget))
    columns = (candidates.shape, current, kept, weight)
    members: dict[tuple[int, int, float, float], list[str]] = {}
    # one tuple per job is what this costs; a look-up is cheaper than sorting, and keeps the order of first jobs
    for key, job_id in zip(zip(*(column.tolist() for column in columns), strict=True), candidates.ids, strict=True):
        row = members.get(key)
        if row is None:
            members[key] = [job_id]
        else:
            row.append(job_id)
    return Groups(
        members=tuple(map(tuple, members.values())),
        shape=np.array([key[0] for key in members], dtype=np.int64),
        current=np.array([key[1] for key in members], dtype=np.int64),
        kept=np.array([key[2] for key in members], dtype=np.float64),
        weight=np.array([key[3] for key in members], dtype=np.float64),
        count=np.array([len(ids) for ids in members.values()], dtype=np.int64),
    )

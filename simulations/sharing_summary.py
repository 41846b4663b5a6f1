"""Sharing incentive and evenness of a replay in a few numbers, and as curves over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.columns import Table
from simulations.judging.evenness import jain_index
from simulations.summary import distribution, number, round_lengths

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOUR = 3600.0
BOUND = 0.01
"""A violation that is still called none: what whole gangs, gaps and turns leave open."""
_MORE = 0.01
"""A queue wants more if the optimum leaves so large a part of what would satisfy it."""


@dataclass(frozen=True, slots=True, eq=False)
class Sharing:
    """The columns of `sharing`, joined with the dominant shares of `queues`, m rows; times are of rounds (T,)."""

    times: Floats
    seconds: Floats
    """(T,) how long each round lasted."""
    at: Integers
    """(m,) index into `times`."""
    queue: NDArray[np.str_]
    columns: dict[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]


def joined(sharing: Table, rounds: Table, queues: Table, end: float) -> Sharing:
    """From the tables of one replay that ended at `end`."""
    times = rounds.numbers("time_s")
    numbers = rounds.numbers("round").astype(np.int64)
    at = np.searchsorted(numbers, sharing.numbers("round").astype(np.int64))
    queue = np.array([str(name) for name in sharing.values("queue")], dtype=np.str_)
    fair, actual = _dominant(sharing, queues)
    columns = {column.name: sharing.numbers(column.name) for column in sharing.columns[3:]}
    columns |= {"fair_share": fair, "actual_share": actual}
    return Sharing(times, round_lengths(times, end), at, queue, columns)


def _dominant(sharing: Table, queues: Table) -> tuple[Floats, Floats]:
    """(m,) fair and actual dominant shares of the rows of `sharing`."""
    where = {
        key: row
        for row, key in enumerate(zip(queues.numbers("round").tolist(), map(str, queues.values("queue")), strict=True))
    }
    rows = [
        where[key] for key in zip(sharing.numbers("round").tolist(), map(str, sharing.values("queue")), strict=True)
    ]
    chosen = np.array(rows, dtype=np.int64)
    return queues.numbers("fair_share")[chosen], queues.numbers("actual_share")[chosen]


def jain_over_time(found: Sharing) -> tuple[Floats, Floats]:
    """(T,) Jain's index over queues of: share held / share in the optimum, of all that want something; machine time in
    the optimum / entitlement, of those that want more than they are given. NaN where there is nothing to compare.
    """
    follows = np.full(len(found.times), math.nan)
    even = follows.copy()
    wants_more = found["optimum_share"] < found["wanted_share"] * (1 - _MORE)
    for time in np.unique(found.at).tolist():
        mine = found.at == time
        there = mine & (found["fair_share"] > 0)
        ratios = found["actual_share"][there] / found["fair_share"][there]
        follows[time] = _jain(ratios)
        wanting = mine & wants_more
        even[time] = _jain(found["optimum_share"][wanting] / found["entitlement"][wanting])
    return follows, even


def _jain(values: Floats) -> float:
    found = jain_index(values.tolist())
    return math.nan if found is None else found


def error_over_time(found: Sharing) -> Floats:
    """(T,) the mean over queues of |share held - share in the optimum|."""
    difference = np.abs(found["actual_share"] - found["fair_share"])
    queues = np.bincount(found.at, minlength=len(found.times))
    total = np.bincount(found.at, weights=difference, minlength=len(found.times))
    mean: Floats = np.divide(total, queues, out=np.full(len(found.times), math.nan), where=queues > 0)
    return mean


def worst_over_time(found: Sharing) -> Floats:
    """(T,) the largest violation of any queue in the optimum."""
    worst = np.full(len(found.times), math.nan)
    np.fmax.at(worst, found.at, found["violation"])
    return worst


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Of queues that wanted something for a whole hour: what ran against their split."""

    hour: Integers
    """(w,) from the first round on."""
    queue: NDArray[np.str_]
    violation: Floats
    """(w,) 1 - machine time that ran / machine time of the split, at least 0."""


def hourly(found: Sharing) -> Windows:
    """Hour by hour, the last one only if it is complete."""
    hour_of = ((found.times - found.times[:1].sum()) // HOUR).astype(np.int64)
    seconds, hour = found.seconds[found.at], hour_of[found.at]
    names, number = np.unique(found.queue, return_inverse=True)
    width = int(hour_of.max(initial=-1)) + 1
    key = number.ravel() * width + hour
    size = len(names) * width
    busy, ran, split = (
        np.bincount(key, weights=seconds * values, minlength=size)
        for values in (np.ones(len(key)), found["ran_share"], found["split_share"])
    )
    whole = np.flatnonzero((busy >= HOUR * (1 - 1e-9)) & (split > 0))
    return Windows(whole % width, names[whole // width], np.maximum(0.0, 1 - ran[whole] / split[whole]))


def sharing_summary(sharing: Table, rounds: Table, queues: Table, end: float) -> dict[str, Any]:
    """The worst violations and where they were, in the optimum and in what ran, and how even it all was."""
    found = joined(sharing, rounds, queues, end)
    windows = hourly(found)
    follows, even = jain_over_time(found)
    return {
        "in_the_optimum": _worst(found["violation"], found.queue, found.times[found.at]),
        "ran_hourly": _worst(windows.violation, windows.queue, windows.hour.astype(np.float64)),
        "ran_altogether": _altogether(found),
        "jain_held_over_optimum": distribution(follows) | {"min": _least(follows)},
        "jain_optimum_over_entitlement": distribution(even) | {"min": _least(even)},
        "fairness_error": distribution(error_over_time(found)),
    }


def _least(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return number(float(finite.min())) if len(finite) else None


def _worst(violation: Floats, queue: NDArray[np.str_], when: Floats) -> dict[str, Any]:
    found: dict[str, Any] = distribution(violation)
    found["within_bound"] = float((violation <= BOUND).mean()) if len(violation) else None
    if len(violation):
        worst = int(violation.argmax())
        found |= {"worst_queue": str(queue[worst]), "worst_at": float(when[worst])}
    return found


def _altogether(found: Sharing) -> dict[str, float | None]:
    """By queue, the violation in machine time over all the time that it wanted something."""
    seconds = found.seconds[found.at]
    result: dict[str, float | None] = {}
    for name in sorted(set(found.queue.tolist())):
        mine = found.queue == name
        split = math.fsum((seconds * found["split_share"])[mine].tolist())
        ran = math.fsum((seconds * found["ran_share"])[mine].tolist())
        result[name] = max(0.0, 1 - ran / split) if split else None
    return result

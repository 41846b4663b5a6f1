"""What each job received against what the fluid optimum owed it, added up over its life.

An Observer of the rounds. A preemptible job counts while it has a row in the problem; pinned ones get all there is to
get, and jobs that can run nowhere are owed nothing. Jobs that are not preemptible never count: they cannot get their
share by turns, and leave the problem as soon as they run, so that all it would show is that they wait. From one round
to the next a job is owed its share (at most 1) of that time, and it receives all of it if it runs after the commit (of
a divisible job: the part it holds), nothing otherwise. An interval counts for jobs that are live at both its ends, so a
job's last, partial one is left out on both sides. Rounds without a solution owe nobody anything.

One column of numbers per live job, in order of sequence; from round to round they are carried over with one search.
Jobs are read from the arrays of the round's formulation: at 100,000 live jobs this takes a few percent of a round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.rounds.report import RoundOutcome, RoundReport
from allocator.rounds.settle import configurations_after, parts_after

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SECONDS, OWED, RECEIVED, FLUID, PLACED, WEIGHT = range(6)
"""Rows of what grows with time."""
ROUNDS, FARTHEST, BEHIND = 6, 7, 8
"""Rows of what does not: rounds that counted, largest |received - owed|, largest owed - received."""
_GROWING, _KEPT = 6, 9

LONG_LIVED_ROUNDS = 50
CLOSE = 0.02
"""How far the time-averaged share of a long-lived job may be from what it was owed, to count as close."""


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """(n,) each, one entry per job that any round saw, in order of sequence; zeros for jobs that never counted.

    `seconds` in the problem; `owed` and `received` seconds of running; `fluid` and `placed`: the utility of the optimum
    and of what ran, integrated over time; `weight`: the mean budget; `rounds` that counted; `farthest`: the largest
    |received - owed| at any round, `behind`: the largest owed - received, at least 0.
    """

    sequence: Integers
    seconds: Floats
    owed: Floats
    received: Floats
    fluid: Floats
    placed: Floats
    weight: Floats
    rounds: Floats
    farthest: Floats
    behind: Floats

    @property
    def deviation(self) -> Floats:
        """(n,) time-averaged share received - time-averaged share owed; NaN where there was no time."""
        there = self.seconds > 0
        return np.where(there, self.received - self.owed, math.nan) / np.where(there, self.seconds, 1.0)


class ServiceMeter:
    """Adds up; `result` may be asked at any time."""

    def __init__(self) -> None:
        self._time = 0.0
        self._sequence: Integers = np.zeros(0, dtype=np.int64)
        self._state: Floats = np.zeros((_KEPT, 0))
        """One column per live job: what was added up until the last round."""
        self._rates: Floats = np.zeros((_GROWING, 0))
        """By how much that grows per second since."""
        self._left: list[tuple[Integers, Floats]] = []

    def observe(self, report: RoundReport) -> None:
        """Settle the interval that ends with this round, and note at what rates the next one goes on."""
        if report.again is not None:  # decided by rules: nobody is owed anything
            return
        now, sequence = report.summary.time, report.formulation.live.jobs.sequence
        before = np.searchsorted(self._sequence, sequence)
        known = before < len(self._sequence)
        known[known] = self._sequence[before[known]] == sequence[known]
        stayed = before[known]
        if len(stayed) < len(self._sequence):
            gone = np.ones(len(self._sequence), dtype=bool)
            gone[stayed] = False
            self._left.append((self._sequence[gone], self._state[:, gone]))
        settled = _settled(self._state.take(stayed, axis=1), self._rates.take(stayed, axis=1), now - self._time)
        if len(stayed) < len(sequence):
            self._state = np.zeros((_KEPT, len(sequence)))
            self._state[:, known] = settled
        else:
            self._state = settled
        self._sequence, self._time = sequence, now
        self._rates = _rates(report)

    def result(self) -> Service:
        """Everything up to the last round."""
        parts = [*self._left, (self._sequence, self._state)]
        sequence = np.concatenate([numbers for numbers, _ in parts])
        order = np.argsort(sequence)
        rows = np.concatenate([state for _, state in parts], axis=1)[:, order]
        seconds = rows[SECONDS]
        return Service(
            sequence=sequence[order],
            seconds=seconds,
            owed=rows[OWED],
            received=rows[RECEIVED],
            fluid=rows[FLUID],
            placed=rows[PLACED],
            weight=rows[WEIGHT] / np.where(seconds > 0, seconds, 1.0),
            rounds=rows[ROUNDS],
            farthest=rows[FARTHEST],
            behind=rows[BEHIND],
        )


def _settled(state: Floats, rates: Floats, elapsed: float) -> Floats:
    """(_KEPT, n) `state` after `elapsed` seconds at `rates`; it is changed."""
    state[ROUNDS] += rates[SECONDS]
    rates *= elapsed
    state[:_GROWING] += rates
    missing = state[OWED] - state[RECEIVED]
    np.maximum(state[FARTHEST], np.abs(missing), out=state[FARTHEST])
    np.maximum(state[BEHIND], missing, out=state[BEHIND])
    return state


def _rates(report: RoundReport) -> Floats:
    """(_GROWING, jobs) what each live job gains per second from this round to the next."""
    formulation, problem = report.formulation, report.formulation.problem
    live = formulation.live
    rates = np.zeros((_GROWING, len(live.jobs.jobs)))
    if report.summary.outcome is RoundOutcome.STALE or not problem.row_count:
        return rates
    shares = report.solution.shares
    there = formulation.row >= 0
    row = np.where(there, formulation.row, -1)
    there &= live.profiles.preemptible[live.jobs.profile]  # the job's word, and its class's
    rates[SECONDS] = there
    for kind, of_rows in (
        (OWED, np.minimum(1.0, formulation.parts(shares).sum(axis=1))),
        (FLUID, problem.utilities(shares)),
        (WEIGHT, problem.weight),
    ):
        rates[kind] = np.where(there, of_rows[row], 0.0)
    configuration = configurations_after(live, report.commit)
    runs = np.flatnonzero(there & (configuration >= 0))
    part = parts_after(live, report.commit)[runs]
    rates[RECEIVED, runs] = part
    column = _columns(formulation.index, row[runs], configuration[runs])
    if formulation.most is not None:
        part = part / formulation.most[row[runs]]  # utilities of a row are those of what its job can have
    rates[PLACED, runs] = np.where(column >= 0, problem.utility[row[runs], column], 0.0) * part
    return rates


def _columns(index: Integers, row: Integers, configuration: Integers) -> Integers:
    """(n,) the column of each `row` that stands for `configuration`, -1 where none does; `index` is the formulation's.

    Most rows leave nothing out.
    """
    width = index.shape[1]
    if ((index == np.arange(width)) | (index < 0)).all():
        return np.where(configuration < width, configuration, -1)
    matches = index[row] == configuration[:, None]
    return np.where(matches.any(axis=1), matches.argmax(axis=1), -1)


def time_averaged_loss(service: Service, fairness: float) -> tuple[float | None, float | None]:
    """(rounding loss of the time averages, shortfall); None where nobody was owed anything.

    With U*_i the utility of the optimum and U^_i that of what ran, integrated over job i's time, and the marginal
    utility m_i = w_i phi'(U*_i / time) of its mean budget w_i,

        rounding loss  1 - sum_i m_i U^_i / sum_i m_i U*_i, at least 0;
        shortfall      the same with min(U^_i, U*_i): what one job gets too much makes up for no other.
    """
    served = service.fluid > 0
    if not served.any():
        return None, None
    fluid, placed = service.fluid[served], service.placed[served]
    worth = np.ones(len(fluid))
    if math.isfinite(fairness):
        logarithm = np.log(service.weight[served]) - fairness * np.log(fluid / service.seconds[served])
        worth = np.exp(logarithm - logarithm.max())  # only ratios matter, and powers overflow
    optimum = math.fsum((worth * fluid).tolist())
    reached = math.fsum((worth * placed).tolist())
    covered = math.fsum((worth * np.minimum(fluid, placed)).tolist())
    return max(0.0, 1 - reached / optimum), max(0.0, 1 - covered / optimum)


def service_summary(service: Service) -> dict[str, Any]:
    """How far what jobs received was from what they were owed.

    `lag_s`: of each job, the largest |received - owed| in its life; `behind_s`: the largest owed - received.
    `long_lived`: jobs that counted in at least LONG_LIVED_ROUNDS rounds, the part of them whose time-averaged share is
    within CLOSE of what they were owed (`close`), or not below it by more (`not_behind`), and the largest differences.
    """
    there = service.seconds > 0
    long_lived = service.rounds >= LONG_LIVED_ROUNDS
    deviation = service.deviation[long_lived]
    found: dict[str, Any] = {
        "jobs": int(there.sum()),
        "lag_s": _tail(service.farthest[there]),
        "behind_s": _tail(service.behind[there]),
        "long_lived": {"jobs": int(long_lived.sum()), "close": None, "not_behind": None}
        | {"largest_difference": None, "largest_shortfall": None},
    }
    if len(deviation):
        found["long_lived"] |= {
            "close": float((np.abs(deviation) <= CLOSE).mean()),
            "not_behind": float((deviation >= -CLOSE).mean()),
            "largest_difference": float(np.abs(deviation).max()),
            "largest_shortfall": max(0.0, float(-deviation.min())),
        }
    return found


def _tail(values: Floats) -> dict[str, float | None]:
    if not len(values):
        return {"p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": float(values.max())}

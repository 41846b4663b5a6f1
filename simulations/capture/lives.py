"""Jobs of a capture from when they were first seen to when they were last, and what they needed in truth.

The true run time of a job is what it had done when it ended, in seconds of running in its fastest configuration: what
the daemon counted from its starts, stops and resizes, at the throughputs that were declared or measured
(`Job.work_done`). What restarts cost is counted as a replay counts it: so many seconds without progress. And what a run
did before it measured its throughput is counted at that, and not at what was believed until then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from allocator.domain.job import Job, JobSpec, JobState, revised
from simulations.workload import Arrival

NEVER_RAN = "never_ran"
"""Jobs that waited when the capture ended and of which nobody knows how long they run."""
CANCELLED_WAITING = "cancelled_before_start"
FAILED_WAITING = "failed_before_start"
NO_RUN_TIME = "no_run_time"
"""They ended in the very instant in which they started, or the capture began."""
LOST_FROM_SIGHT = "ended_unseen"
"""They ended while the connection was lost, and had not run before."""

_CARRIED, _UNFINISHED, _EXPECTED, _CUT_SHORT, _UNSEEN = "carried", "unfinished", "expected", "cut short", "unseen"
_TAKEN = {
    _CARRIED: "{} jobs were there at the start: they arrive then, with what they did afterwards; those that ran first.",
    _UNFINISHED: "{} jobs had not ended when the capture did; they are taken to need what they had done by then.",
    _EXPECTED: "{} jobs had not ended when the capture did; they are taken to need what they were expected to.",
    _CUT_SHORT: "{} jobs failed or were cancelled as they ran; they are taken to need what they had done by then.",
    _UNSEEN: "{} jobs ended while rounds are missing; they are taken to need what they had done before.",
}


@dataclass(slots=True)
class _Life:
    first: Job
    last: Job
    done_before: float
    """What it had done when the capture began."""
    carried: bool
    """It was there when the capture began."""
    miscounted: float = 0.0
    """What is to be added to what the daemon counted."""
    unseen: bool = False
    """It ended while nobody looked."""


@dataclass(frozen=True, slots=True)
class Replayable:
    """Jobs as they arrive, in that order; how many were dropped, by cause; and what had to be assumed."""

    arrivals: tuple[Arrival, ...]
    dropped: dict[str, int]
    notes: tuple[str, ...]


class Lives:
    """Follows jobs by their sequence."""

    def __init__(self) -> None:
        self._lives: dict[int, _Life] = {}
        self._live: set[int] = set()

    def see(self, jobs: Iterable[Job], now: float, *, carried: bool = False) -> None:
        """New versions of jobs, ended or not. `carried`: the capture begins, and they are there already."""
        for job in jobs:
            self._see(job, now, carried=carried)

    def _see(self, job: Job, now: float, *, carried: bool) -> None:
        life = self._lives.get(job.sequence)
        if life is not None:
            life.miscounted += _restart(life.last, job) + _misjudged(life.last, job)
            life.last = job
        else:
            done = job.work_done(now) if carried else 0.0
            self._lives[job.sequence] = _Life(job, job, done, carried=carried)
        if job.state.is_final:
            self._live.discard(job.sequence)
        else:
            self._live.add(job.sequence)

    def only_live(self, jobs: Iterable[Job]) -> None:
        """After a gap: whoever is not among these has ended while nobody looked."""
        there = {job.sequence for job in jobs}
        for sequence in self._live - there:
            self._lives[sequence].unseen = True
        self._live = there

    @property
    def first_submission(self) -> float | None:
        """None without jobs."""
        return min((life.first.submit_time for life in self._lives.values()), default=None)

    def replayable(self, start: float, end: float) -> Replayable:
        """Between these times; who was there at `start` arrives then."""
        dropped: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        found: list[tuple[float, bool, int, Arrival]] = []
        for sequence, life in self._lives.items():
            arrival = _arrival(life, start, end, dropped, taken)
            if arrival is not None:
                waits = life.carried and life.first.state is not JobState.RUNNING
                found.append((arrival.time, waits, sequence, arrival))
        found.sort(key=lambda each: each[:3])
        notes = tuple(text.format(taken[cause]) for cause, text in _TAKEN.items() if taken[cause])
        return Replayable(tuple(each[3] for each in found), dict(sorted(dropped.items())), notes)


def _arrival(life: _Life, start: float, end: float, dropped: Counter[str], taken: Counter[str]) -> Arrival | None:
    """The job as it arrives; None of one that cannot be replayed, which is counted by cause."""
    job = life.last
    seconds = job.work_done(end) + life.miscounted - life.done_before
    spec = job.spec
    if life.carried and spec.expected_duration_seconds is not None:
        spec = replace(spec, expected_duration_seconds=max(1.0, spec.expected_duration_seconds - life.done_before))
    cause = None
    if not job.state.is_final:
        expected = spec.expected_duration_seconds
        if expected is not None and expected > seconds and not life.unseen:
            seconds, cause = expected, _EXPECTED
        else:
            cause = _UNSEEN if life.unseen else _UNFINISHED
    elif job.state is not JobState.SUCCEEDED:
        cause = _CUT_SHORT
    if not seconds > 0:
        dropped[_why_dropped(life)] += 1
        return None
    if cause is not None:
        taken[cause] += 1
    if life.carried:
        taken[_CARRIED] += 1
    time = start if life.carried else max(start, job.submit_time)
    return Arrival(time, spec, seconds, _true_speed(job, spec))


def _restart(before: Job, now: Job) -> float:
    """What the daemon took off too much if the job was started again between the two: it takes off seconds in the
    fastest configuration, at once, and no more than there was; in truth, the job makes no progress for so long.
    """
    if now.allocation is None or now.last_start_time is None or now.last_start_time == before.last_start_time:
        return 0.0
    if before.first_start_time is None:
        return 0.0
    cost = now.spec.restart_cost_seconds
    return min(cost, before.work_done(now.last_start_time)) - cost * now.relative_speed


def _misjudged(before: Job, now: Job) -> float:
    """What the daemon counted too little of a run that measured its throughput between the two."""
    if now.allocation is None or now.last_start_time is None or now.work_counted_time is None:
        return 0.0
    if before.measured_throughput == now.measured_throughput:
        return 0.0
    since = now.last_start_time
    if before.last_start_time == since and before.work_counted_time is not None:
        since = before.work_counted_time
    elapsed = now.work_counted_time - since
    if since == now.last_start_time and now.preemption_count:
        elapsed -= now.spec.restart_cost_seconds
    believed = revised(now, measured_throughput=before.measured_throughput).relative_speed
    return (now.relative_speed - believed) * max(0.0, elapsed)


def _why_dropped(life: _Life) -> str:
    job = life.last
    if life.unseen:
        return LOST_FROM_SIGHT
    if not job.state.is_final:
        return NEVER_RAN
    if job.first_start_time is None:
        return FAILED_WAITING if job.state is JobState.FAILED else CANCELLED_WAITING
    return NO_RUN_TIME


def _true_speed(job: Job, spec: JobSpec) -> tuple[tuple[str, float], ...]:
    """Where it measured another throughput than it declared, or declared none."""
    known = []
    for flavor, measured in job.measured_throughput:
        declared = next((c.throughput for c in spec.configurations if c.flavor == flavor and c.throughput > 0), None)
        if declared is not None and measured != declared:
            known.append((flavor, measured / declared))
    return tuple(known)

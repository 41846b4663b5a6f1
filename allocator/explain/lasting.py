"""How long jobs run, in a replay: as they say, and where nobody knows, drawn from what is known (see `Assumption`).

The draws are numbers mixed from a seed and the job's sequence, so equal questions have equal answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from allocator.domain.job import Job, JobState

_GOLDEN, _MASK = 0x9E3779B97F4A7C15, 2**64 - 1


@dataclass(slots=True)
class Lasting:
    """One scenario: work that each job has left, in seconds of its fastest configuration, while time goes on.

    `seed` 0 is the middle of every distribution. `unknown` is how long a job that does not say counts as having run at
    least.
    """

    seed: int
    now: float
    unknown: float
    left: dict[int, float] = field(default_factory=dict)
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._last = self.now

    def ended(self, jobs: tuple[Job, ...], time: float) -> set[int]:
        """Of the jobs, as they were decided at the last look, those that end before `time`."""
        found = set()
        passed = time - self._last
        self._last = time
        for job in jobs:
            if job.state is not JobState.RUNNING:
                continue
            left = self.left.get(job.sequence)
            if left is None:
                left = self._drawn(job, time - passed)
            left -= passed * speed(job)
            self.left[job.sequence] = left
            if left <= 0:
                found.add(job.sequence)
        return found

    def is_uncertain(self, jobs: tuple[Job, ...]) -> bool:
        """Whether any of the jobs does not say how long it runs, or has run for longer."""
        return any(_known(job, self.now) is None for job in jobs)

    def _drawn(self, job: Job, now: float) -> float:
        known = _known(job, now)
        if known is not None:
            return known
        ran = max(_ran(job, now), self.unknown)
        part = 0.5 if self.seed == 0 else mixed(self.seed, job.sequence)
        return (ran / part - ran) * speed(job)


def speed(job: Job) -> float:
    """How fast it runs now, 1 in its fastest configuration; of a divisible job, the part that it holds."""
    if job.allocation is None:
        return 1.0
    placement = job.allocation.placement
    fastest = max(job.throughput(configuration) for configuration in job.spec.configurations)
    return job.throughput(job.spec.configurations[placement.configuration]) / fastest * placement.millis / 1000


def mixed(seed: int, number: int) -> float:
    """A number above 0 and below 1, well spread over seeds and numbers.

    The mixing function of Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    value = (seed * _GOLDEN + number * 0xD1342543DE82EF95) & _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return ((value ^ (value >> 31)) + 0.5) / 2**64


def _ran(job: Job, now: float) -> float:
    """Seconds of its present run; earlier ones nobody remembers."""
    return max(0.0, now - job.last_start_time) if job.last_start_time is not None else 0.0


def _known(job: Job, now: float) -> float | None:
    """Work left by its own account, None if it gives none, or has run for longer."""
    expected = job.spec.expected_duration_seconds
    if expected is None:
        return None
    if job.state is not JobState.RUNNING:
        return expected
    left = expected - _ran(job, now) * speed(job)
    return left if left > 0 else None

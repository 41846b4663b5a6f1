"""What was learned of throughputs: by class of job, and from that what a configuration probably yields. Pure.

Jobs of one class (`JobSpec.job_class`, within a queue) do the same kind of work, measured in one unit. What any of them
reports about a flavor and number of replicas is pooled: the mean of the logarithm, how widely it spreads, and how many
observations there were, older ones counting less and less. Rounds use an upper bound of it (`Estimate.value`): what is
hardly known is believed to be a little better than it looks, so that it is tried, and the less so the more is known.
(Optimism in the face of uncertainty: Lai and Robbins, Asymptotically efficient adaptive allocation rules, 1985.)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from allocator.domain.bounds import LEAST_THROUGHPUT, MOST_THROUGHPUT
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.remembered import remembered

FORGETTING = 0.98
"""What an observation counts after another one has come: about fifty count."""
REPEATED = 0.1
"""What another report of a job counts that has been heard about this flavor before: jobs report often."""
FIRST_SPREAD = 0.1
"""Of the logarithm, before there is more than one observation: jobs of a class differ by about a tenth."""
OPTIMISM = 1.0
"""So many standard errors above the mean."""
STEP = math.log(1.01)
"""Rounds use values in steps of 1 %, so that jobs that are alike stay alike."""
_KEPT = 1.5 * STEP
"""A value goes on for as long as it is no farther off."""
_SAME = math.log(1.05)
"""A job's own measurement is taken for its class's while they differ by no more."""
RATIO_STEP = math.log(1.05)
"""Steps of what is concluded from other flavors."""
UNKNOWN_SPREAD = 0.4
"""Of the logarithm: how far a flavor that nobody has tried may be from the others."""
TOLERANCE = 0.2
"""A declaration is wrong if it is off by more than this part, beyond what is uncertain."""
MOST_ESTIMATES = 10_000
"""Of all classes together; beyond, those that have not been observed for longest are forgotten."""

_MOST_KEPT = 100_000
"""Answers that are remembered, as long as estimates do not change."""

EstimateName = tuple[str, str, str, int]
"""(queue, class, flavor, replicas)"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of one configuration of a class of jobs. Work per second, in the unit of the class."""

    queue: str
    job_class: str
    flavor: str
    replicas: int
    count: float
    """Observations, older ones counting less."""
    log_mean: float
    log_squares: float
    """Sum of the squared distances of their logarithms from the mean."""
    value: float
    """What rounds use: an upper bound in steps of 1 %."""
    time: float
    """Of the last observation; seconds since the epoch."""

    @property
    def name(self) -> EstimateName:
        return (self.queue, self.job_class, self.flavor, self.replicas)

    @property
    def mean(self) -> float:
        """Geometric."""
        return math.exp(self.log_mean)

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm, one observation of `FIRST_SPREAD` included."""
        return math.sqrt((self.log_squares + FIRST_SPREAD**2) / (self.count + 1.0))

    @property
    def uncertainty(self) -> float:
        """Standard error of `log_mean`."""
        return self.spread / math.sqrt(self.count)


def observed(before: Estimate | None, name: EstimateName, throughput: float, time: float, weight: float) -> Estimate:
    """The estimate after a report of `throughput` at `time`, which counts `weight` (above 0).

    Running mean and squares with forgetting: West, Updating mean and variance estimates, CACM 22(9), 1979.
    """
    log = math.log(throughput)
    if before is None:
        fresh = Estimate(*name, weight, log, 0.0, 0.0, time)
    else:
        kept = FORGETTING**weight
        count = kept * before.count + weight
        apart = log - before.log_mean
        log_mean = before.log_mean + apart * weight / count
        squares = kept * before.log_squares + weight * apart * (log - log_mean)
        fresh = replace(before, count=count, log_mean=log_mean, log_squares=max(0.0, squares), time=time)
    bound = fresh.log_mean + OPTIMISM * fresh.uncertainty
    if before is not None and abs(bound - math.log(before.value)) <= _KEPT:
        return fresh
    return replace(fresh, value=_stepped(bound, STEP))


@dataclass(frozen=True, slots=True)
class Misdeclared:
    """A declared throughput that was measured to be another."""

    flavor: str
    replicas: int
    declared: float
    measured: float


View = tuple[tuple[str, int, float], ...]
"""What is used of a class: (flavor, replicas, value)."""


class Learned:
    """Estimates, by what is asked of them. Not to be changed."""

    def __init__(self, estimates: Iterable[Estimate]) -> None:
        self._classes: dict[tuple[str, str], dict[tuple[str, int], Estimate]] = defaultdict(dict)
        for estimate in estimates:
            self._classes[estimate.queue, estimate.job_class][estimate.flavor, estimate.replicas] = estimate
        self._views: dict[tuple[str, str], View] = {}
        self._ratios: dict[tuple[str, str], float] | None = None
        self._throughputs: dict[object, tuple[float, ...]] = {}
        self._misdeclared: dict[object, tuple[Misdeclared, ...]] = {}

    def of_class(self, spec: JobSpec) -> Mapping[tuple[str, int], Estimate]:
        """By flavor and replicas, what is known of the job's class."""
        return self._classes.get((spec.queue, spec.job_class), _NOTHING) if spec.job_class else _NOTHING

    def view(self, queue: str, job_class: str, *, guesses: bool) -> tuple[object, ...]:
        """Everything that throughputs of such jobs depend on besides the jobs themselves. `guesses`: some of theirs are
        not declared.
        """
        key = (queue, job_class)
        if key not in self._views:
            known = self._classes.get(key, _NOTHING)
            self._views[key] = tuple((flavor, replicas, e.value) for (flavor, replicas), e in sorted(known.items()))
        return (self._views[key], tuple(sorted(self.ratios.items())) if guesses else ())

    @property
    def ratios(self) -> Mapping[tuple[str, str], float]:
        """By (flavor, other flavor), the logarithm of what a replica yields on the first relative to the second: the
        mean over all classes that know both, with optimism, in steps of 5 %.
        """
        if self._ratios is None:
            self._ratios = _ratios(self._classes.values())
        return self._ratios

    def throughputs(self, job: Job) -> tuple[float, ...]:
        """Work per second of each of the job's configurations, as far as anybody can tell; 0 where it cannot run.

        The first of these that there is: what the job itself measured on the flavor (its class's, if they hardly
        differ); its class's; what was declared, raised as far as the class was underestimated elsewhere; a guess.
        """
        spec = job.spec
        if not spec.job_class and spec.is_declared:
            return tuple([job.throughput(configuration) for configuration in spec.configurations])
        key = _asked(job)
        known = self._throughputs.get(key)
        if known is None:
            if len(self._throughputs) >= _MOST_KEPT:
                self._throughputs.clear()
            known = self._throughputs[key] = self._of_job(job)
        return known

    def _of_job(self, job: Job) -> tuple[float, ...]:
        spec = job.spec
        known = self.of_class(spec)
        measured = dict(job.measured_throughput)
        found: dict[int, float] = {}
        for index, way in enumerate(spec.configurations):
            if way.throughput == 0:
                found[index] = 0.0
            elif way.flavor in measured:
                found[index] = _own(job.throughput(way), known.get((way.flavor, way.replicas)))
            elif (way.flavor, way.replicas) in known:
                found[index] = known[way.flavor, way.replicas].value
        for index, way in enumerate(spec.configurations):
            if index not in found:
                near = _nearest(known, way, spec)
                if near is not None:
                    found[index] = near
        return tuple([_bounded(value) for value in self._completed(spec, found)])

    def _completed(self, spec: JobSpec, found: Mapping[int, float]) -> list[float]:
        """With what is declared, and guesses for what is not, where nothing was measured."""
        ways = spec.configurations
        off = [math.log(value / ways[i].throughput) for i, value in found.items() if value > 0 and ways[i].declared]
        raised = math.exp(max(0.0, _rounded(sum(off) / len(off), RATIO_STEP))) if off and spec.job_class else 1.0
        there = dict(found)
        for index, way in enumerate(ways):
            if index not in there and way.declared:
                there[index] = way.throughput * raised
        sure = [(ways[index], value) for index, value in there.items() if value > 0]
        return [there[index] if index in there else self._guess(way, sure) for index, way in enumerate(ways)]

    def _guess(self, way: Configuration, sure: list[tuple[Configuration, float]]) -> float:
        """What a configuration might yield of which nobody knows anything, by the others of the job."""
        if not sure:
            return way.throughput
        scaled = [(other.flavor, math.log(value * way.replicas / other.replicas)) for other, value in sure]
        by_ratio = [
            log + self.ratios[way.flavor, flavor] for flavor, log in scaled if (way.flavor, flavor) in self.ratios
        ]
        if by_ratio:
            return math.exp(_rounded(sum(by_ratio) / len(by_ratio), RATIO_STEP))
        same = [log for flavor, log in scaled if flavor == way.flavor]
        if same:
            return math.exp(max(same))
        return math.exp(_rounded(max(log for _, log in scaled) + OPTIMISM * UNKNOWN_SPREAD, RATIO_STEP))

    def misdeclared(self, job: Job) -> tuple[Misdeclared, ...]:
        """The job's declarations that are wrong by what it, or its class, has measured: by more than TOLERANCE and
        twice what is uncertain.
        """
        key = _asked(job)
        known = self._misdeclared.get(key)
        if known is None:
            if len(self._misdeclared) >= _MOST_KEPT:
                self._misdeclared.clear()
            known = self._misdeclared[key] = self._wrong(job)
        return known

    def _wrong(self, job: Job) -> tuple[Misdeclared, ...]:
        known = self.of_class(job.spec)
        measured = dict(job.measured_throughput)
        found = []
        for way in job.spec.configurations:
            if way.throughput == 0 or not way.declared:
                continue
            estimate = known.get((way.flavor, way.replicas))
            if way.flavor in measured:
                value, uncertain = job.throughput(way), 0.0
            elif estimate is not None:
                value, uncertain = estimate.mean, estimate.uncertainty
            else:
                continue
            if abs(math.log(value / way.throughput)) > math.log1p(TOLERANCE) + 2 * uncertain:
                found.append(Misdeclared(way.flavor, way.replicas, way.throughput, value))
        return tuple(found)


def _asked(job: Job) -> object:
    """All that an answer depends on besides the estimates: the same for jobs that are alike."""
    spec = job.spec
    ways = tuple([(way.flavor, way.replicas, way.throughput, way.declared) for way in spec.configurations])
    return (spec.queue, spec.job_class, job.measured_throughput, ways)


_NOTHING: Mapping[tuple[str, int], Estimate] = {}


@remembered
def learned(estimates: tuple[Estimate, ...]) -> Learned:
    """The same object for as long as the estimates are."""
    return Learned(estimates)


def _own(value: float, of_class: Estimate | None) -> float:
    """A job's own measurement, or its class's, which makes jobs alike, where that is as good."""
    if of_class is not None and abs(math.log(value) - of_class.log_mean) <= _SAME:
        return of_class.value
    return value


def _nearest(known: Mapping[tuple[str, int], Estimate], way: Configuration, spec: JobSpec) -> float | None:
    """What the class knows of other numbers of replicas on the flavor, with the ratio that is declared."""
    others = [
        other
        for other in spec.configurations
        if other.flavor == way.flavor and other.throughput > 0 and (other.flavor, other.replicas) in known
    ]
    if not others:
        return None
    other = min(others, key=lambda other: (abs(math.log(other.replicas / way.replicas)), other.replicas))
    declared = way.declared and other.declared
    ratio = way.throughput / other.throughput if declared else way.replicas / other.replicas
    return known[other.flavor, other.replicas].value * ratio


def _ratios(classes: Iterable[Mapping[tuple[str, int], Estimate]]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for known in classes:
        best: dict[str, float] = {}
        for (flavor, replicas), estimate in sorted(known.items()):
            best[flavor] = max(best.get(flavor, -math.inf), math.log(estimate.value / replicas))
        for one, log in best.items():
            for other, other_log in best.items():
                if one != other:
                    found[one, other].append(log - other_log)
    return {
        pair: _rounded(sum(logs) / len(logs) + OPTIMISM * UNKNOWN_SPREAD / math.sqrt(1 + len(logs)), RATIO_STEP)
        for pair, logs in found.items()
    }


def _rounded(log: float, step: float) -> float:
    return round(log / step) * step


def _stepped(log: float, step: float) -> float:
    return float(f"{math.exp(_rounded(log, step)):.6g}")


def _bounded(value: float) -> float:
    return min(MOST_THROUGHPUT, max(LEAST_THROUGHPUT, value)) if value > 0 else 0.0

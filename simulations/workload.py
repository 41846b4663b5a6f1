"""What happens in a replay, whatever it was read or generated from: nodes, queues, and jobs with their true run times.

Every reader and generator ends here, so that nothing behind this line knows where a job came from. Times are virtual
seconds since the Unix epoch, or since the start of the trace where it has no date.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.cluster import Node
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from simulations.draws import normal


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job: submitted at `time`, and done after `duration` seconds in its fastest configuration.

    The scheduler is never told `duration`; what it may know stands in `spec.expected_duration_seconds`.
    """

    time: float
    spec: JobSpec
    duration: float
    true_speed: tuple[tuple[str, float], ...] = ()
    """(flavor, true throughput relative to the declared one), where that is wrong or nobody declared it. A job that has
    any tells the scheduler how fast it really runs.
    """

    @property
    def fastest(self) -> Configuration:
        """The configuration `duration` is about: the largest true throughput, the first of several equal ones."""
        configurations = self.spec.configurations
        return configurations[0] if len(configurations) == 1 else max(configurations, key=self.throughput)

    def throughput(self, configuration: Configuration) -> float:
        """The true one, in the unit of the declared ones."""
        if not self.true_speed:
            return configuration.throughput
        return configuration.throughput * dict(self.true_speed).get(configuration.flavor, 1.0)


DURATIONS = ("none", "estimated", "true")
"""What schedulers may be told of run times."""
LEAST_SECONDS, MOST_SIGMA = 1e-3, 5.0
_STREAM = 3
"""Tells draws for durations from others of the same seed."""


def _duration_note(told: str, sigma: float) -> str:
    wrong = f", wrong by a log-normal factor of sigma {sigma:g}" if sigma else ""
    return {
        "none": "The scheduler is not told run times.",
        "estimated": f"The scheduler is told run times as they were estimated{wrong}.",
        "true": f"The scheduler is told the true run times{wrong}.",
    }[told]


@dataclass(frozen=True, slots=True)
class Workload:
    """A cluster, and everything that is asked of it. `arrivals` are sorted by time; `start` is at most the first one's.

    `notes` says in words what had to be assumed because the source does not tell; `dropped` counts rows of the source
    that are not replayed, by cause. Both go into the summary.
    """

    name: str
    start: float
    nodes: tuple[Node, ...]
    queues: tuple[Queue, ...]
    arrivals: tuple[Arrival, ...]
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)

    def batches(self) -> Iterator[tuple[float, tuple[Arrival, ...]]]:
        """Arrivals of the same instant, together; in order of time."""
        first = 0
        for last in range(1, len(self.arrivals) + 1):
            if last == len(self.arrivals) or self.arrivals[last].time != self.arrivals[first].time:
                yield self.arrivals[first].time, self.arrivals[first:last]
                first = last

    def with_every_nth_job(self, n: int) -> Workload:
        """Only the first, the (n+1)th, ... arrival; the others are counted as dropped. Noted among the assumptions."""
        if n == 1:
            return self
        kept = self.arrivals[::n]
        dropped = {**self.dropped, "thinned": len(self.arrivals) - len(kept)}
        note = f"Of every {n} jobs only one arrives: {len(kept)} of {len(self.arrivals)}."
        return replace(self, arrivals=kept, dropped=dropped, notes=(*self.notes, note))

    def limited_to(self, jobs: int | None) -> Workload:
        """Only the first `jobs` arrivals; the others are counted as dropped. None keeps all."""
        if jobs is None or jobs >= len(self.arrivals):
            return self
        dropped = {**self.dropped, "over_limit": len(self.arrivals) - jobs}
        return replace(self, arrivals=self.arrivals[:jobs], dropped=dropped)

    def all_preemptible(self) -> Workload:
        """The same, with every job preemptible. Noted among the assumptions."""
        arrivals = tuple(
            arrival if arrival.spec.preemptible else replace(arrival, spec=replace(arrival.spec, preemptible=True))
            for arrival in self.arrivals
        )
        return replace(self, arrivals=arrivals, notes=(*self.notes, "All jobs are taken to be preemptible."))

    def with_restart_cost(self, seconds: float) -> Workload:
        """The same, with this restart cost for every job. Noted among the assumptions."""
        arrivals = tuple(
            replace(arrival, spec=replace(arrival.spec, restart_cost_seconds=seconds)) for arrival in self.arrivals
        )
        return replace(self, arrivals=arrivals, notes=(*self.notes, f"Every restart costs {seconds:g} s of work."))

    def with_durations(self, told: str, sigma: float = 0.0, seed: int = 0) -> Workload:
        """The same, with what schedulers are told of run times: `none`, `estimated` (as it is) or `true`.

        With `sigma` above 0 each told duration is wrong by a log-normal factor of its own, drawn with `seed`, of median
        1: as many are too long as too short. Jobs with a deadline, which need a duration, keep theirs at `none`. Noted
        among the assumptions. Raises InvalidInput for anything else.
        """
        if told not in DURATIONS:
            raise InvalidInput.of("durations", f"must be one of {', '.join(DURATIONS)}; got {told!r}")
        if not (math.isfinite(sigma) and 0 <= sigma <= MOST_SIGMA):
            raise InvalidInput.of("duration-error", f"must be a number from 0 to {MOST_SIGMA:g}, got {sigma}")
        if sigma and told == "none":
            raise InvalidInput.of("duration-error", "goes with --durations estimated or true")
        if told == "estimated" and not sigma:
            return self
        arrivals = []
        for number, arrival in enumerate(self.arrivals):
            spec = arrival.spec
            seconds = arrival.duration if told == "true" else spec.expected_duration_seconds
            if told == "none" and spec.deadline is None:
                seconds = None
            if seconds is not None and sigma:
                seconds *= math.exp(sigma * normal(seed, _STREAM, number))
                seconds = min(max(seconds, LEAST_SECONDS), MOST_SECONDS)
            same = seconds == spec.expected_duration_seconds
            arrivals.append(
                arrival if same else replace(arrival, spec=replace(spec, expected_duration_seconds=seconds))
            )
        return replace(self, arrivals=tuple(arrivals), notes=(*self.notes, _duration_note(told, sigma)))

    def with_load(self, factor: float) -> Workload:
        """The same jobs, arriving `factor` times as close together. Noted among the assumptions."""
        if factor == 1:
            return self
        arrivals = tuple(
            replace(arrival, time=self.start + (arrival.time - self.start) / factor) for arrival in self.arrivals
        )
        return replace(self, arrivals=arrivals, notes=(*self.notes, f"Jobs arrive {factor:g} times as fast."))

    def require_valid(self) -> None:
        """Raise InvalidInput with everything that is wrong, at most the first twenty findings."""
        found = [*self._cluster_violations(), *self._arrival_violations()]
        if found:
            raise InvalidInput(*found[:20])

    def _cluster_violations(self) -> Iterator[Violation]:
        kinds: tuple[tuple[str, tuple[Node | Queue, ...]], ...] = (("nodes", self.nodes), ("queues", self.queues))
        for kind, members in kinds:
            seen: set[str] = set()
            for index, member in enumerate(members):
                yield from (violation.under(f"{kind}[{index}]") for violation in member.violations())
                if member.name in seen:
                    yield Violation(f"{kind}[{index}].name", f"{member.name!r} was given before: each name once")
                seen.add(member.name)
            if not members:
                yield Violation(kind, "must hold at least one")

    def _arrival_violations(self) -> Iterator[Violation]:
        queues = {queue.name for queue in self.queues}
        before = self.start
        for index, arrival in enumerate(self.arrivals):
            where = f"arrivals[{index}]"
            if not (math.isfinite(arrival.time) and arrival.time >= before):
                yield Violation(
                    f"{where}.time", f"must be at least {before}, that of its predecessor; got {arrival.time}"
                )
            before = max(before, arrival.time)
            if not (math.isfinite(arrival.duration) and arrival.duration > 0):
                yield Violation(f"{where}.duration", f"must be a finite number above 0, got {arrival.duration}")
            if arrival.spec.queue not in queues:
                yield Violation(f"{where}.spec.queue", f"{arrival.spec.queue!r} is not a queue of this workload")
            yield from (violation.under(f"{where}.spec") for violation in arrival.spec.violations())

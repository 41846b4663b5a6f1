"""A job: what was asked for (`JobSpec`), and what has become of it (`Job`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Any

from allocator.domain.bounds import (
    LEAST_THROUGHPUT,
    MOST_NAME,
    MOST_REPLICAS,
    MOST_SECONDS,
    MOST_THROUGHPUT,
    is_throughput,
    name_violations,
    text_violations,
    weight_violations,
)
from allocator.domain.cluster import Labels, label_violations
from allocator.domain.constraints import UNCONSTRAINED, Constraints
from allocator.domain.errors import Violation
from allocator.domain.placement import WHOLE, Allocation, Placement
from allocator.domain.priority_class import BUILT_IN, DEFAULT_CLASS, class_name_violations
from allocator.domain.process import (
    MOST_ARRAY_INDEX,
    MOST_DEPENDENCIES,
    NO_RETRIES,
    Dependency,
    Process,
    Retries,
)
from allocator.domain.reason import PendingReason, PreemptionReason
from allocator.domain.resources import Resources

MAX_REPLICAS = MOST_REPLICAS
LATEST = 253_402_300_799.0
"""The last second of the year 9999: the latest time that can be written."""
DIVISIBLE_RESOURCES = ("cpu", "bandwidth")
"""What a job can hold a part of at any moment; the rest is had whole or not at all."""
DEFAULT_PRIORITY_CLASS = DEFAULT_CLASS
PRIORITY_CLASSES: dict[str, int] = {each.name: each.priority for each in BUILT_IN}
"""The built-in classes; a policy may have others (`domain.policy.Policy.priority_classes`)."""


class JobState(Enum):
    """Where a job is in its life. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    """It holds an allocation; its agents may still be starting it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run a job: `replicas` (the gang, whole or not at all), each with `demand`, on nodes of `flavor`.

    `throughput` is work per second of the whole gang, in any unit that is the same for all configurations of the job;
    zero means "cannot run there". Where it is not `declared`, nobody knows it yet: then 1 stands for it until something
    is measured (`domain.estimates`).
    """

    flavor: str
    replicas: int
    demand: Resources
    throughput: float = 1.0
    declared: bool = True

    @property
    def total_demand(self) -> Resources:
        return self.demand * self.replicas

    def violations(self) -> tuple[Violation, ...]:
        found = [violation.under("demand") for violation in self.demand.violations()]
        gpu = self.demand.gpu_violation()
        if gpu is not None:
            found.append(gpu.under("demand"))
        if not any(amount for _, amount in self.demand.items()):
            found.append(Violation("demand", "must ask for something: every amount is zero"))
        found += name_violations("flavor", self.flavor)
        if not 1 <= self.replicas <= MAX_REPLICAS:
            found.append(Violation("replicas", f"must be between 1 and {MAX_REPLICAS}, got {self.replicas}"))
        if self.throughput != 0 and not is_throughput(self.throughput):
            found.append(
                Violation(
                    "throughput",
                    f"must be a finite number, 0 or from {LEAST_THROUGHPUT:g} to {MOST_THROUGHPUT:g}; "
                    f"got {self.throughput}",
                )
            )
        if not self.declared and self.throughput != 1.0:
            found.append(Violation("throughput", f"must be 1 where it is not declared, got {self.throughput}"))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a client asks for. Times in seconds; `weight` is relative to the other jobs of the queue."""

    queue: str
    configurations: tuple[Configuration, ...]
    name: str = ""
    weight: float = 1.0
    priority_class: str = DEFAULT_PRIORITY_CLASS
    preemptible: bool = True
    restart_cost_seconds: float = 0.0
    """Work time lost each time it is stopped and started again."""
    expected_duration_seconds: float | None = None
    """Run time in its best configuration; None when nobody knows."""
    labels: Labels = ()
    constraints: Constraints = UNCONSTRAINED
    resizable: bool = False
    """It may change without a restart between configurations of one flavor and demand that differ in replicas only."""
    divisible: bool = False
    """It holds its share of its demand all the time, instead of the whole demand for its share of the time."""
    job_class: str = ""
    """What kind of work it is: jobs of one class in one queue learn from each other how fast they run where. Empty: a
    class of its own.
    """
    deadline: float | None = None
    """Seconds since the Unix epoch by which it wants to have ended; it needs an expected duration. Missing it does not
    stop the job.
    """
    minimum_throughput: float | None = None
    """Work per second, over time, that it wants at least."""
    process: Process | None = None
    """What its replicas run; None: whoever watches the allocation runs it."""
    retries: Retries = NO_RETRIES
    after: tuple[Dependency, ...] = ()
    """It starts only when these have ended as it says; each job once."""
    array_index: int | None = None
    """Which one of an array of jobs it is, for its process to know."""

    @property
    def is_declared(self) -> bool:
        """Whether it says how fast it runs in each of its configurations."""
        return all(configuration.declared for configuration in self.configurations)

    @property
    def wants_promise(self) -> bool:
        """Whether it has a deadline or a minimum throughput."""
        return self.deadline is not None or self.minimum_throughput is not None

    def goes_on(self, old: Placement, new: Placement) -> bool:
        """Whether a running job can change from `old` to `new` without a restart, so that a `Resize` may say so."""
        if not all(0 <= index < len(self.configurations) for index in (old.configuration, new.configuration)):
            return False
        before, after = self.configurations[old.configuration], self.configurations[new.configuration]
        if (before.flavor, before.demand) != (after.flavor, after.demand):
            return False
        if old.millis != new.millis and not self.divisible:
            return False
        if before.replicas != after.replicas and not self.resizable:
            return False
        if len(new.replicas) >= len(old.replicas):
            return new.replicas[: len(old.replicas)] == old.replicas
        remaining = iter(old.replicas)
        return all(replica in remaining for replica in new.replicas)

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the request itself, whatever the cluster looks like. Which priority classes there are, the
        policy says (`domain.priority_class.unknown_class`).
        """
        found: list[Violation] = []
        if not self.queue:
            found.append(Violation("queue", "must name a queue"))
        found += text_violations("name", self.name, MOST_NAME)
        if not self.configurations:
            found.append(Violation("configurations", "must hold at least one way to run the job"))
        seen: set[tuple[str, int]] = set()
        for index, configuration in enumerate(self.configurations):
            where = f"configurations[{index}]"
            found += [violation.under(where) for violation in _of_configuration(configuration)]
            key = (configuration.flavor, configuration.replicas)
            if key in seen:
                found.append(
                    Violation(where, f"flavor {key[0]!r} with {key[1]} replicas was given before: each pair once")
                )
            seen.add(key)
        if self.configurations and not any(c.throughput > 0 for c in self.configurations):
            found.append(Violation("configurations", "at least one must have a throughput above 0"))
        found += weight_violations(self.weight)
        found += class_name_violations("priority_class", self.priority_class)
        if not 0 <= self.restart_cost_seconds <= MOST_SECONDS:
            found.append(
                Violation(
                    "restart_cost_seconds",
                    f"must be a finite number, at least 0 and at most {MOST_SECONDS:g}; "
                    f"got {self.restart_cost_seconds}",
                )
            )
        expected = self.expected_duration_seconds
        if expected is not None and not 0 < expected <= MOST_SECONDS:
            found.append(
                Violation(
                    "expected_duration_seconds",
                    f"must be a finite number above 0 and at most {MOST_SECONDS:g}, or absent; got {expected}",
                )
            )
        found += text_violations("job_class", self.job_class, MOST_NAME)
        found += self._promise_violations()
        found += label_violations(self.labels)
        if self.constraints is not UNCONSTRAINED:
            found += [violation.under("constraints") for violation in self.constraints.violations()]
        if self.divisible:
            found += self._divisible_violations()
        found += self._process_violations()
        return tuple(found)

    def _process_violations(self) -> list[Violation]:
        found = [violation.under("retries") for violation in self.retries.violations()]
        if self.process is not None:
            found += [violation.under("process") for violation in self.process.violations()]
        if len(self.after) > MOST_DEPENDENCIES:
            found.append(Violation("after", f"must name at most {MOST_DEPENDENCIES} jobs, got {len(self.after)}"))
        for index, dependency in enumerate(self.after):
            found += [violation.under(f"after[{index}]") for violation in dependency.violations()]
        if len({dependency.job_id for dependency in self.after}) < len(self.after):
            found.append(Violation("after", "must name each job once"))
        if self.array_index is not None and not 0 <= self.array_index <= MOST_ARRAY_INDEX:
            found.append(Violation("array_index", f"must be from 0 to {MOST_ARRAY_INDEX}, got {self.array_index}"))
        return found

    def _promise_violations(self) -> list[Violation]:
        """Whether anything is too near or too slow is for those who know the time and the nodes."""
        found = []
        if self.deadline is not None and not 0 < self.deadline <= LATEST:
            found.append(Violation("deadline", f"must be a time from 1970 to 9999, or absent; got {self.deadline}"))
        if self.deadline is not None and self.expected_duration_seconds is None:
            found.append(
                Violation("deadline", "needs expected_duration_seconds: what is left to do says how much time it takes")
            )
        minimum = self.minimum_throughput
        if minimum is not None and not is_throughput(minimum):
            found.append(
                Violation(
                    "minimum_throughput",
                    f"must be a finite number from {LEAST_THROUGHPUT:g} to {MOST_THROUGHPUT:g}, or absent; "
                    f"got {minimum}",
                )
            )
        return found

    def _divisible_violations(self) -> list[Violation]:
        found = []
        for index, configuration in enumerate(self.configurations):
            whole = sorted({name for name, _ in configuration.demand.items()} - set(DIVISIBLE_RESOURCES))
            if configuration.replicas != 1 or whole:
                wrong = f"{configuration.replicas} replicas" if configuration.replicas != 1 else ", ".join(whole)
                found.append(
                    Violation(
                        "divisible",
                        "only jobs of one replica that ask for nothing but cpu and bandwidth can hold a part of their "
                        f"demand; configurations[{index}] has {wrong}",
                    )
                )
        return found[:1]


@lru_cache(maxsize=4096)
def _of_configuration(configuration: Configuration) -> tuple[Violation, ...]:
    """Its violations. Most jobs ask for what others asked for before them."""
    return configuration.violations()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the store knows it. Times are seconds since the Unix epoch (virtual in a replay).

    `sequence` orders jobs by admission and never repeats; `revision` is the store's revision at its last change.
    """

    id: str
    sequence: int
    spec: JobSpec
    submit_time: float
    state: JobState = JobState.PENDING
    revision: int = 0
    allocation: Allocation | None = None
    """Present exactly while RUNNING."""
    pending_reason: PendingReason | None = None
    """The last round's finding, present only while PENDING; None until a round has looked."""
    first_start_time: float | None = None
    last_start_time: float | None = None
    end_time: float | None = None
    preemption_count: int = 0
    last_preemption: PreemptionReason | None = None
    measured_throughput: tuple[tuple[str, float], ...] = ()
    """(flavor, work per second of the flavor's reference configuration), as the job itself reported."""
    message: str = ""
    """Why it failed or was cancelled, or that it missed its deadline, in words, for people."""
    work_done_seconds: float = 0.0
    """Run time in its best configuration that all is worth that it had done by `work_counted_time`; see `work_done`."""
    work_counted_time: float | None = None
    """Present exactly while RUNNING: its last start or resize."""
    failures: int = 0
    """How often it has failed and was put back into its queue."""
    not_before: float | None = None
    """A pending job is not for rounds to see until then; None: at once."""
    waits_for: tuple[str, ...] = ()
    """Jobs of `spec.after` that have not ended yet, sorted. Rounds do not see it until there are none."""

    def is_held(self, now: float) -> bool:
        """Whether rounds do not see it yet."""
        return bool(self.waits_for) or (self.not_before is not None and now < self.not_before)

    @property
    def priority(self) -> int:
        """With the built-in classes. A policy may have others: rounds ask it, and not this."""
        return PRIORITY_CLASSES[self.spec.priority_class]

    @property
    def relative_speed(self) -> float:
        """Work per second where it runs now, relative to its best configuration; 0 while it waits."""
        if self.allocation is None:
            return 0.0
        placement = self.allocation.placement
        best = max([self.throughput(configuration) for configuration in self.spec.configurations])
        speed = self.throughput(self.spec.configurations[placement.configuration])
        return speed / best * placement.millis / WHOLE if best > 0 else 0.0

    def work_done(self, now: float) -> float:
        """Run time in its best configuration, in seconds, that all it has done by `now` is worth. What a restart costs
        is taken off each time it starts again.
        """
        if self.allocation is None or self.work_counted_time is None:
            return self.work_done_seconds
        return self.work_done_seconds + self.relative_speed * max(0.0, now - self.work_counted_time)

    def reference_configuration(self, flavor: str) -> Configuration:
        """The first configuration on `flavor` that can run: measurements on the flavor are kept in its terms."""
        return next(c for c in self.spec.configurations if c.flavor == flavor and c.throughput > 0)

    def throughput(self, configuration: Configuration) -> float:
        """Work per second of `configuration`: measured on its flavor if it ever was, declared otherwise.

        With several replica counts on one flavor, one of them measured, the declared ratios between them are kept.
        """
        measured = dict(self.measured_throughput).get(configuration.flavor) if self.measured_throughput else None
        if measured is None or configuration.throughput == 0:
            return configuration.throughput
        return measured * configuration.throughput / self.reference_configuration(configuration.flavor).throughput


def revised(job: Job, **changes: Any) -> Job:
    """The same job with other values in these fields: `dataclasses.replace`, in a third of the time, for the thousands
    of jobs that a round changes.
    """
    values = list(_values(job))
    for name, value in changes.items():
        values[_INDEX[name]] = value
    return Job(*values)


_FIELDS = tuple(field.name for field in fields(Job))
_INDEX = {name: index for index, name in enumerate(_FIELDS)}
_values = attrgetter(*_FIELDS)

"""A scenario: a made-up cluster, who submits what to it, what breaks, and under which policy, as a TOML file.

The named ones lie in `simulations/scenarios`; README.md there explains the fields. Everything random is drawn by
`simulations.synthetic` from a seed that is not part of the scenario.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.objectives import objective_of
from allocator.domain.policy import Policy
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import display_unit
from simulations.traces.errors import TraceError

SCENARIOS = Path(__file__).parent / "scenarios"

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST_NODES = 100_000
"""Of one flavor."""
MOST_AT_START = 10_000_000
Count = Annotated[int, Field(ge=1, le=MOST_NODES)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FlavorPart(_Part):
    """`nodes` equal nodes."""

    name: Name
    nodes: Count
    cores: Count
    memory_gib: Count
    gpus: Annotated[int, Field(ge=0, le=1024)] = 0
    bandwidth_gb_per_second: NotNegative = 0.0


class QuotaPart(_Part):
    """As allocator.domain.quota.Quota, in display units: cores, GPUs, GiB, GB/s. A limit that is not given is none."""

    flavor: Name
    resource: Name
    nominal: NotNegative
    borrowing_limit: NotNegative | None = None
    lending_limit: NotNegative | None = None

    def scaled(self, factor: float) -> QuotaPart:
        """For so many times the nodes of its flavor; GPUs as whole ones."""

        def of(amount: float | None) -> float | None:
            return None if amount is None else (round(amount * factor) if self.resource == "gpu" else amount * factor)

        changed = {name: of(getattr(self, name)) for name in ("nominal", "borrowing_limit", "lending_limit")}
        return self.model_copy(update=changed)

    def make_quota(self) -> Quota:
        """In the domain's units; its values are not judged."""
        size = display_unit(self.resource)[1]
        nominal, borrowed, lent = (
            None if amount is None else round(amount * size)
            for amount in (self.nominal, self.borrowing_limit, self.lending_limit)
        )
        return Quota(self.flavor, self.resource, nominal or 0, borrowed, lent)


class QueuePart(_Part):
    """`arrivals` is this queue's part of all jobs, relative to the other queues'; 0 where there are queues below it."""

    name: Name
    weight: Positive = 1.0
    arrivals: NotNegative = 1.0
    priority: int = 0
    discipline: Literal["fair", "fifo"] = "fair"
    quotas: list[QuotaPart] = []

    def make_queue(self) -> Queue:
        """The queue; its values are not judged."""
        return Queue(
            self.name,
            self.weight,
            priority=self.priority,
            quotas=tuple(part.make_quota() for part in self.quotas),
            discipline=Discipline(self.discipline),
        )


class JobClassPart(_Part):
    """One kind of job; `arrivals` is its part of all jobs, relative to the other classes'.

    `replicas` are gang sizes, each as likely as the others. Amounts are per replica. `throughput` says on which flavors
    it runs and how fast; run times are log-normal, in seconds on the fastest.

    The jobs of a class are alike unless a spread is given: `weight_sigma` and `throughput_sigma` are those of
    log-normal factors, median 1, on each job's weight and, flavor by flavor, on its throughput. They are kept within
    a thousandth and a thousandfold.

    `true_speed` says on which flavors the declared throughput is wrong: by which factor it is faster in truth. Such
    jobs report how fast they run, and learn from each other. With a `deadline_factor` each job has a deadline, so many
    times its run time after its submission, and its run time is known.
    """

    name: Name
    arrivals: Positive
    throughput: Annotated[dict[str, Positive], Field(min_length=1)]
    replicas: Annotated[list[Count], Field(min_length=1)] = [1]
    cores: Positive
    memory_gib: Positive
    gpus: NotNegative = 0.0
    bandwidth_gb_per_second: NotNegative = 0.0
    median_seconds: Positive
    sigma: NotNegative = 1.0
    weight_sigma: NotNegative = 0.0
    throughput_sigma: NotNegative = 0.0
    preemptible: bool = True
    restart_cost_seconds: NotNegative = 0.0
    duration_known: bool = False
    true_speed: dict[str, Positive] = {}
    deadline_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    priority_class: Literal["low", "normal", "high"] = "normal"


class ArrivalsPart(_Part):
    """`at_start` jobs at time 0, and a Poisson stream of `per_hour` jobs for `hours`."""

    per_hour: Positive
    hours: Positive
    at_start: Annotated[int, Field(ge=0, le=MOST_AT_START)] = 0


class FaultsPart(_Part):
    """Every node fails after `mean_up_hours` and is back after `mean_down_hours`, on average."""

    mean_up_hours: Positive
    mean_down_hours: Positive


class PolicyPart(_Part):
    """As allocator.domain.policy.Policy; what is not given has its default."""

    fairness: float | str | None = None
    minimum_run_seconds: NotNegative | None = None
    hysteresis_seconds: NotNegative | None = None
    lag_tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    horizon_seconds: Positive | None = None
    credit_limit_seconds: Positive | None = None
    placement: Literal["prospects", "best-fit", "fragmentation"] | None = None
    usage_strength: Annotated[float, Field(ge=0, le=8)] | None = None
    usage_half_life_seconds: Positive | None = None
    weighting: Literal["none", "least-attained-service", "shortest-remaining", "finish-time"] | None = None
    service_seconds: Positive | None = None
    aging_seconds: Annotated[float, Field(gt=0)] | None = None
    weight_factor_limit: Annotated[float, Field(ge=1, le=1024)] | None = None
    crowd_strength: Annotated[float, Field(ge=0, le=1)] | None = None

    @field_validator("fairness")
    @classmethod
    def _is_an_objective(cls, value: float | str | None) -> float | str | None:
        if value is not None:
            objective_of(str(value))
        return value


class Scenario(_Part):
    """The whole file."""

    name: Name
    about: str = ""
    interval_seconds: Positive = 60.0
    flavors: Annotated[list[FlavorPart], Field(min_length=1)]
    queues: Annotated[list[QueuePart], Field(min_length=1)]
    classes: Annotated[list[JobClassPart], Field(min_length=1)]
    arrivals: ArrivalsPart
    faults: FaultsPart | None = None
    policy: PolicyPart = PolicyPart()

    def make_policy(self) -> Policy:
        """The scenario's policy over the defaults."""
        given = self.policy.model_dump(exclude_none=True)
        if "fairness" in given:
            given["fairness"], given["utility"] = objective_of(str(given["fairness"]))
        return Policy(**given)


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that come with the program."""
    return tuple(sorted(path.stem for path in SCENARIOS.glob("*.toml")))


def load_scenario(name_or_file: str) -> Scenario:
    """A named scenario, or the TOML file of that path. Raises InvalidInput or TraceError."""
    if name_or_file in scenario_names():
        file = SCENARIOS / f"{name_or_file}.toml"
    elif name_or_file.endswith(".toml"):
        file = Path(name_or_file)
    else:
        raise InvalidInput.of(
            "scenario", f"must be one of {', '.join(scenario_names())}, or a .toml file; got {name_or_file!r}"
        )
    return read_scenario(file)


def read_scenario(file: Path) -> Scenario:
    """Parse and check one file. Raises TraceError if it is no TOML, InvalidInput if its fields are wrong."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(file, f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TraceError(file, f"is not TOML: {error}") from None
    try:
        scenario = Scenario.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(
            *(Violation(".".join(map(str, found["loc"])), found["msg"]) for found in error.errors())
        ) from None
    wrong = [*_unknown_flavors(scenario), *_queue_violations(scenario.queues)]
    if wrong:
        raise InvalidInput(*wrong)
    return scenario


def _unknown_flavors(scenario: Scenario) -> Iterator[Violation]:
    flavors = {flavor.name for flavor in scenario.flavors}
    named = [
        *(
            (f"classes.{index}.{part}.{flavor}", flavor)
            for index, job_class in enumerate(scenario.classes)
            for part in ("throughput", "true_speed")
            for flavor in getattr(job_class, part)
        ),
        *(
            (f"queues.{index}.quotas.{place}.flavor", quota.flavor)
            for index, queue in enumerate(scenario.queues)
            for place, quota in enumerate(queue.quotas)
        ),
    ]
    for field, flavor in named:
        if flavor not in flavors:
            yield Violation(field, f"is not a flavor; there are {', '.join(sorted(flavors))}; got {flavor!r}")


def _queue_violations(queues: Sequence[QueuePart]) -> Iterator[Violation]:
    """What is wrong with the tree, priorities and quotas; the rest is judged with the workload."""
    names = {queue.name for queue in queues}
    parents = {queue.name.rpartition("/")[0] for queue in queues} - {""}
    for index, queue in enumerate(queues):
        parent = queue.name.rpartition("/")[0]
        if parent and parent not in names:
            yield Violation(f"queues.{index}.name", f"lies below {parent!r}, which is not there; add that queue, too")
        if queue.name in parents and queue.arrivals:
            yield Violation(f"queues.{index}.arrivals", "must be 0: jobs go to the queues below it")
        for violation in queue.make_queue().violations():
            if violation.field.startswith(("quotas", "priority")):
                yield violation.under(f"queues.{index}")
    if not any(queue.arrivals for queue in queues):
        yield Violation("queues", "must hold at least one with arrivals above 0")

"""A scenario: a made-up cluster, who submits what to it, what breaks, and under which policy, as a TOML file.

The named ones lie in `simulations/scenarios`; README.md there explains the fields. Everything random is drawn by
`simulations.synthetic` from a seed that is not part of the scenario.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.policy import Policy
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


class QueuePart(_Part):
    """`arrivals` is this queue's part of all jobs, relative to the other queues'."""

    name: Name
    weight: Positive = 1.0
    arrivals: Positive = 1.0


class JobClassPart(_Part):
    """One kind of job; `arrivals` is its part of all jobs, relative to the other classes'.

    `replicas` are gang sizes, each as likely as the others. Amounts are per replica. `throughput` says on which flavors
    it runs and how fast; run times are log-normal, in seconds on the fastest.

    The jobs of a class are alike unless a spread is given: `weight_sigma` and `throughput_sigma` are those of
    log-normal factors, median 1, on each job's weight and, flavor by flavor, on its throughput. They are kept within
    a thousandth and a thousandfold.
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

    fairness: Annotated[float, Field(ge=0)] | None = None
    minimum_run_seconds: NotNegative | None = None
    hysteresis_seconds: NotNegative | None = None
    horizon_seconds: Positive | None = None
    credit_limit_seconds: Positive | None = None
    placement: Literal["prospects", "best-fit", "fragmentation"] | None = None


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
        return Policy(**self.policy.model_dump(exclude_none=True))


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
    flavors = {flavor.name for flavor in scenario.flavors}
    unknown = [
        Violation(f"classes.{index}.throughput.{flavor}", f"is not a flavor; there are {', '.join(sorted(flavors))}")
        for index, job_class in enumerate(scenario.classes)
        for flavor in job_class.throughput
        if flavor not in flavors
    ]
    if unknown:
        raise InvalidInput(*unknown)
    return scenario

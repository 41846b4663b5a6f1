"""Options of `simulations replay` that say what the world is like beside the workload."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from allocator.domain.errors import InvalidInput
from simulations.faults import Faults, RandomFaults, read_outages
from simulations.workload import DURATIONS, Workload

HOUR = 3600.0

MeanUpHours = Annotated[float | None, typer.Option(help="Nodes fail: mean hours between repair and failure.")]
MeanDownHours = Annotated[float, typer.Option(help="Mean hours until a failed node is back.")]
Outages = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Nodes fail as listed: a CSV file with the columns node, start_s (since the replay's start) and seconds.",
    ),
]
Durations = Annotated[
    str,
    typer.Option(
        help=f"What the scheduler is told of run times: {', '.join(DURATIONS)}; estimated is what the source says."
    ),
]
DurationError = Annotated[
    float,
    typer.Option(
        help="How wrong told run times are: sigma of a log-normal factor of median 1, drawn for each job, such as 0.5."
    ),
]
Interference = Annotated[
    float,
    typer.Option(
        help="Jobs slow each other down: one beside n others on a node runs at 1 / (1 + INTERFERENCE x n) of its speed."
    ),
]
ThinkingTime = Annotated[
    float,
    typer.Option(help="Virtual seconds from a round's look at the facts to its commit; the world goes on meanwhile."),
]
ThinkingTimePerJob = Annotated[float, typer.Option(help="The same, for each live job.")]
PushDelay = Annotated[float, typer.Option(help="Seconds from a commit until nodes know of it.")]
PushLoss = Annotated[
    float,
    typer.Option(help="Part of the messages to nodes that get lost, such as 0.01; nodes ask after --push-repair."),
]
PushRepair = Annotated[
    float, typer.Option(help="Seconds until a node notices that a message was lost, and asks for its state.")
]


def faults_of(
    workload: Workload,
    otherwise: Faults,
    seed: int,
    mean_up_hours: float | None,
    mean_down_hours: float,
    outages: Path | None,
) -> Faults:
    """Who fails when: as the options say, or as the workload has it. Raises InvalidInput."""
    names = [node.name for node in workload.nodes]
    if outages is not None:
        if mean_up_hours is not None:
            raise InvalidInput.of("outages", "says it all: --mean-up-hours does not go with it")
        return read_outages(outages, names, workload.start)
    if mean_up_hours is None:
        return otherwise
    for option, hours in (("--mean-up-hours", mean_up_hours), ("--mean-down-hours", mean_down_hours)):
        if not 0 < hours < math.inf:
            raise InvalidInput.of(option, f"must be a finite number above 0, got {hours:g}")
    return RandomFaults(
        names,
        seed=(seed, 1),
        mean_up_seconds=mean_up_hours * HOUR,
        mean_down_seconds=mean_down_hours * HOUR,
    )

"""Options that several commands share: which workload, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulations.scenario import scenario_names
from simulations.traces.formats import FORMATS

SYNTHETIC, CAPTURE = "synthetic", "capture"

TraceName = Annotated[str, typer.Option("--trace", help=f"{', '.join((*FORMATS, CAPTURE))} or {SYNTHETIC}.")]
TracePath = Annotated[
    Path | None,
    typer.Option("--path", help="Folder of the trace, or its list of jobs with the list of nodes beside it."),
]
ScenarioName = Annotated[
    str | None, typer.Option(help=f"For {SYNTHETIC}: {', '.join(scenario_names())}, or a .toml file.")
]
From = Annotated[
    str | None, typer.Option("--from", help="First arrival: days (109), seconds (9417600s) or a date (2017-10-01).")
]
To = Annotated[str | None, typer.Option("--to", help="Arrivals before this only; as --from.")]
CarryIn = Annotated[bool, typer.Option("--carry-in", help="Take along what by the trace ran at --from.")]
RestartCost = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS|measured:FILE",
        help="Seconds of work any job loses when it is stopped; 30 in traces, as a scenario says. measured:FILE draws "
        "what each start costs from the `percentiles` of a JSON file; the scheduler is told their mean.",
    ),
]
AllPreemptible = Annotated[bool, typer.Option("--all-preemptible", help="Take every job to be preemptible.")]
Seed = Annotated[int, typer.Option(min=0, help="For everything that is drawn at random.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many jobs.")]
EveryNth = Annotated[int, typer.Option("--every-nth-node", min=1, help="Keep only every N-th node of each flavor.")]
EveryNthJob = Annotated[int, typer.Option("--every-nth-job", min=1, help="Keep only every N-th job, by arrival.")]
Load = Annotated[
    float, typer.Option(min=0.001, help="Jobs arrive so many times as close together; their run times stay.")
]
Nodes = Annotated[
    int | None, typer.Option(help=f"For {SYNTHETIC}: so many nodes, of each flavor in the scenario's proportion.")
]
JobsAtStart = Annotated[
    int | None, typer.Option(help=f"For {SYNTHETIC}: jobs that are there at time 0, such as 100000.")
]
ArrivalsPerHour = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: further jobs per hour, on average.")]
ArrivalHours = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: for how many hours they arrive.")]
DurationFactor = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: multiplies all run times.")]
JobSpread = Annotated[
    float | None,
    typer.Option(
        help=f"For {SYNTHETIC}: how much the weights and throughputs of the jobs of one class differ (sigma of a "
        "log-normal factor, such as 0.3); 0 makes them alike, and a round's problem small."
    ),
]
JobsPerHour = Annotated[
    float | None, typer.Option(help="For gavel: how many jobs arrive in an hour, on average; 4 unless said.")
]
QueueBy = Annotated[
    str | None,
    typer.Option(
        help="What the queues are: for swf user, group, queue or partition; for slurm account, user, partition or qos."
    ),
]
Machines = Annotated[
    str | None,
    typer.Option(
        help="Nodes that the trace does not tell: for swf NODESxCORES such as 1024x8; for gavel nodes by model, such "
        "as v100=36,p100=36,k80=36; for slurm a file with `scontrol show nodes --oneliner`."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

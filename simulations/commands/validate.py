"""`simulations validate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from allocator.domain.errors import InvalidInput
from simulations.commands.options import (
    CAPTURE,
    SYNTHETIC,
    ArrivalHours,
    ArrivalsPerHour,
    AsJson,
    CarryIn,
    DurationFactor,
    EveryNth,
    EveryNthJob,
    From,
    JobsAtStart,
    JobsPerHour,
    JobSpread,
    Limit,
    Load,
    Machines,
    Nodes,
    QueueBy,
    ScenarioName,
    Seed,
    To,
    TracePath,
)
from simulations.commands.page import page
from simulations.commands.preparing import prepare
from simulations.contents import contents
from simulations.shrinking import on_every_nth_node
from simulations.sizing import Sizing
from simulations.traces.formats import FORMATS, Choices
from simulations.traces.recognise import format_of

MOST_SHOWN = 20
"""Of what is counted by queue or flavor, on a page; --json has all."""


def validate_command(
    place: Annotated[
        Path | None, typer.Argument(metavar="[FILE_OR_FOLDER]", help="A trace; its format is seen from what is in it.")
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace", help=f"{', '.join((*FORMATS, CAPTURE))} or {SYNTHETIC}; seen from the content unless said."
        ),
    ] = None,
    path: TracePath = None,
    jobs_per_hour: JobsPerHour = None,
    queue_by: QueueBy = None,
    machines: Machines = None,
    scenario: ScenarioName = None,
    nodes: Nodes = None,
    jobs_at_start: JobsAtStart = None,
    arrivals_per_hour: ArrivalsPerHour = None,
    arrival_hours: ArrivalHours = None,
    duration_factor: DurationFactor = None,
    job_spread: JobSpread = None,
    start: From = None,
    end: To = None,
    carry_in: CarryIn = False,
    limit: Limit = None,
    every_nth_node: EveryNth = 1,
    every_nth_job: EveryNthJob = 1,
    load: Load = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Read a workload, say what is in it, what would be replayed and what not, and run nothing.

    Every row is checked; the first that is wrong ends it, with file, line, column and what would be right.
    """
    if place is not None and path is not None:
        raise InvalidInput.of("path", f"is given twice: {place} and --path {path}")
    path = path or place
    if trace is None:
        if path is None:
            known = ", ".join((*FORMATS, CAPTURE, SYNTHETIC))
            raise InvalidInput.of("trace", f"must be one of {known}; or name a file or folder")
        trace = format_of(path)
    sizing = Sizing(nodes, jobs_at_start, arrivals_per_hour, arrival_hours, duration_factor, job_spread)
    choices = Choices(jobs_per_hour, queue_by, machines)
    workload, _, options = prepare(trace, path, scenario, sizing, start, end, seed, carry_in=carry_in, choices=choices)
    workload = on_every_nth_node(workload.with_every_nth_job(every_nth_job), every_nth_node).limited_to(limit)
    workload = workload.with_load(load)
    workload.require_valid()
    found = {"format": trace, "interval_s": options.interval_seconds, **contents(workload)}
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    console = page()
    for name, value in found.items():
        console.print(f"[bold]{name.replace('_', ' ')}[/]: {escape(_shown(value))}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        largest = sorted(value.items(), key=lambda entry: -entry[1])[:MOST_SHOWN]
        kept = {key for key, _ in largest}
        shown = [f"{key} {_figure(count)}" for key, count in value.items() if key in kept]
        if len(value) > MOST_SHOWN:
            shown.append(f"and {len(value) - MOST_SHOWN:,} smaller ones")
        return ", ".join(shown) or "none"
    if isinstance(value, list):
        return "".join(f"\n  - {line}" for line in value)
    return _figure(value) if isinstance(value, (int, float)) else str(value)


def _figure(value: float) -> str:
    """Counts in full, parts and amounts to three digits after the point at most."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")

"""`simulations convert`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from allocator.domain.errors import InvalidInput
from simulations.commands.options import (
    AllPreemptible,
    CarryIn,
    EveryNth,
    EveryNthJob,
    From,
    JobsPerHour,
    Limit,
    Load,
    Machines,
    QueueBy,
    ScenarioName,
    Seed,
    To,
    TraceName,
    TracePath,
)
from simulations.commands.page import page
from simulations.commands.preparing import prepare
from simulations.output import require_free
from simulations.shrinking import on_every_nth_node
from simulations.sizing import Sizing
from simulations.traces.formats import Choices
from simulations.traces.own_schema import ABOUT_FILE, TABLES
from simulations.traces.own_tables import SUFFIXES
from simulations.traces.own_writing import KINDS, PARQUET, write


def convert_command(
    trace: TraceName,
    out: Annotated[Path, typer.Option(help="Folder for nodes, queues, shapes, jobs and workload.json.")],
    path: TracePath = None,
    kind: Annotated[str, typer.Option("--as", help=f"{' or '.join(KINDS)}.")] = PARQUET,
    jobs_per_hour: JobsPerHour = None,
    queue_by: QueueBy = None,
    machines: Machines = None,
    scenario: ScenarioName = None,
    start: From = None,
    end: To = None,
    carry_in: CarryIn = False,
    restart_cost: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds of work any job loses when it is stopped; 30 unless said.")
    ] = None,
    all_preemptible: AllPreemptible = False,
    seed: Seed = 0,
    limit: Limit = None,
    every_nth_node: EveryNth = 1,
    every_nth_job: EveryNthJob = 1,
    load: Load = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier tables in --out.")] = False,
) -> None:
    """Write any workload in the project's own tables, which `--trace own` reads; see simulations/traces/SCHEMA.md."""
    if kind not in KINDS:
        raise InvalidInput.of("as", f"must be {' or '.join(KINDS)}; got {kind!r}")
    require_free(out, force=force)
    workload, _, _ = prepare(
        trace,
        path,
        scenario,
        Sizing(),
        start,
        end,
        seed,
        carry_in=carry_in,
        restart_cost=restart_cost,
        choices=Choices(jobs_per_hour, queue_by, machines),
    )
    workload = on_every_nth_node(workload.with_every_nth_job(every_nth_job), every_nth_node).limited_to(limit)
    workload = workload.with_load(load)
    if all_preemptible:
        workload = workload.all_preemptible()
    workload.require_valid()
    out.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        written = write(workload, workshop, kind)
        out.mkdir(exist_ok=True)
        for name in (ABOUT_FILE, *(f"{table}{suffix}" for table in TABLES for suffix in SUFFIXES)):
            (out / name).unlink(missing_ok=True)
        for file in written:
            file.replace(out / file.name)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    console = page()
    console.print(f"{len(workload.arrivals):,} jobs on {len(workload.nodes):,} nodes written to {escape(str(out))}")
    console.print(f"replay it: python -m simulations replay --trace own --path {escape(str(out))} --out OUT")

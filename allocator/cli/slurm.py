"""Slurm as the engine: `allocator slurm observe | drive`."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import schema, screen
from allocator.cli.app import command, group, session
from allocator.cli.cluster_view import price_table
from allocator.cli.reasons import why_waiting
from allocator.cli.screen import Column, Table
from allocator.client import AsyncClient
from allocator.domain.bounds import weight_violations
from allocator.domain.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from allocator.slurm.observed import SlurmNode
    from allocator.slurm.observing import Advice
    from allocator.slurm.queued import QueuedJob

slurm = group("slurm", "Look at a Slurm cluster, and run what is decided on it.", "Cluster")
_PROGRAMS = ("scontrol", "squeue", "sbatch", "scancel")


@command(slurm, "observe")
def observe(
    context: typer.Context,
    queues: Annotated[
        str, typer.Option(help="What of a job names its queue: account, partition or user.", metavar="WHAT")
    ] = "account",
    weight: Annotated[list[str] | None, typer.Option(help="QUEUE=WEIGHT; 1 unless said.")] = None,
) -> None:
    """Say what would be done with this Slurm cluster as it is; nothing is changed anywhere, and no daemon is needed.

    Who would start now and where, why the others wait, and what a core, a GPU and a GiB are worth. What runs stays.
    """
    from allocator.slurm.control import Control, SlurmAway  # noqa: PLC0415 - only this group needs it
    from allocator.slurm.observing import advise  # noqa: PLC0415
    from allocator.slurm.queued import QUEUE_BY  # noqa: PLC0415

    _require(("scontrol", "squeue"))
    if queues not in QUEUE_BY:
        raise InvalidInput.of("--queues", f"must be one of {', '.join(QUEUE_BY)}; got {queues!r}")
    weights = {name: _weight(text) for name, text in _pairs("--weight", weight or [], "QUEUE=WEIGHT").items()}
    control = Control()

    async def look() -> tuple[tuple[SlurmNode, ...], tuple[QueuedJob, ...]]:
        return await control.nodes(), await control.queue()

    try:
        nodes, jobs = asyncio.run(look())
    except SlurmAway as away:
        raise FailedPrecondition("slurm", f"does not answer: {away}") from None
    found = advise(nodes, jobs, time.time(), queues, weights)
    (_emit if session(context).json else _show)(found)


def _show(found: Advice) -> None:
    screen.heading("Would start now")
    starts = Table((Column("job"), Column("queue"), Column("nodes")))
    for job, queue, nodes in found.starts:
        starts.add(job, queue, ",".join(nodes))
    screen.show(starts, empty="nobody")
    screen.heading("Would wait")
    waits = Table((Column("job"), Column("queue"), Column("why")))
    for job, queue, reason in found.waits:
        waits.add(job, queue, why_waiting(reason).splitlines()[0])
    screen.show(waits, empty="nobody")
    screen.heading("Prices")
    screen.show(price_table(found.usages), empty="no nodes, so no prices")
    for job, why in found.passed_over:
        screen.remark(f"job {job} is passed over: {why}")
    screen.remark(f"{found.running} jobs run and stay; {found.outcome}, gap {found.gap:.1e}")


def _emit(found: Advice) -> None:
    screen.emit_json(
        {
            "starts": [{"job": job, "queue": queue, "nodes": list(nodes)} for job, queue, nodes in found.starts],
            "waits": [
                {"job": job, "queue": queue, "cause": None if reason is None else reason.cause.value}
                for job, queue, reason in found.waits
            ],
            "passed_over": [{"job": job, "why": why} for job, why in found.passed_over],
            "prices": schema.many(schema.price, found.usages),
            "running": found.running,
            "outcome": found.outcome,
            "gap": schema.finite(found.gap),
        }
    )


@command(slurm, "drive")
def drive(
    context: typer.Context,
    spool: Annotated[
        Path, typer.Option(help="Folder for scripts, output and exit codes; at the same place on all nodes.")
    ],
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the controller.")] = 1.0,
    partition: Annotated[str, typer.Option(help="Submit to this partition; Slurm's default one.")] = "",
    licence: Annotated[
        list[str] | None,
        typer.Option(help="RESOURCE=NAME: Slurm's licences that stand for a resource (GB/s of bandwidth)."),
    ] = None,
) -> None:
    """Register Slurm's nodes, run what the daemon decides as Slurm jobs, and report what becomes of them.

    Jobs of others count as used capacity and are never touched. Jobs are submitted held, on the nodes that were
    decided, and released; Slurm starts none of them a second time. Ends with Ctrl-C; what runs goes on, and is known
    again by the next one.
    """
    from allocator.slurm.bridge import Bridge, Settings  # noqa: PLC0415 - only this command needs it
    from allocator.slurm.control import Control  # noqa: PLC0415

    _require(_PROGRAMS)
    if not spool.is_absolute():
        raise InvalidInput.of("--spool", f"must be an absolute path, got {str(spool)!r}")
    settings = Settings(spool, poll, partition, _pairs("--licence", licence or [], "RESOURCE=NAME"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    async def run() -> None:
        async with AsyncClient(session(context).address) as client:
            await Bridge(client, Control(), settings).run()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def _require(programs: tuple[str, ...]) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise FailedPrecondition("slurm", f"needs {', '.join(missing)}, not installed here; run it on a login node")


def _pairs(flag: str, given: list[str], pattern: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InvalidInput.of(flag, f"must be {pattern}; got {text!r}")
        found[name] = value
    return found


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    for violation in weight_violations(weight):
        raise InvalidInput.of("--weight", violation.description)
    return weight

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

from allocator.cli import advice
from allocator.cli.app import command, group, session
from allocator.client import AsyncClient
from allocator.domain.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from allocator.slurm.observed import SlurmNode
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
    weights = advice.weights(weight or [])
    control = Control()

    async def look() -> tuple[tuple[SlurmNode, ...], tuple[QueuedJob, ...]]:
        return await control.nodes(), await control.queue()

    try:
        nodes, jobs = asyncio.run(look())
    except SlurmAway as away:
        raise FailedPrecondition("slurm", f"does not answer: {away}") from None
    found = advise(nodes, jobs, time.time(), queues, weights)
    (advice.emit if session(context).json else advice.show)(found)


@command(slurm, "drive")
def drive(
    context: typer.Context,
    spool: Annotated[
        Path, typer.Option(help="Folder for scripts, output and exit codes; at the same place on all nodes.")
    ],
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the controller.")] = 1.0,
    preempt: Annotated[
        str,
        typer.Option(
            help="cancel what is preempted, or suspend it until its job starts again at the same place (or elsewhere, "
            "when it is cancelled); jobs with GPUs are always cancelled.",
            metavar="cancel|suspend",
        ),
    ] = "cancel",
    fence: Annotated[
        float,
        typer.Option(min=1, help="Seconds in which what runs on a node that nobody can reach sees that it may not."),
    ] = 10.0,
    partition: Annotated[str, typer.Option(help="Submit to this partition; Slurm's default one.")] = "",
    licence: Annotated[
        list[str] | None,
        typer.Option(help="RESOURCE=NAME: Slurm's licences that stand for a resource (GB/s of bandwidth)."),
    ] = None,
) -> None:
    """Register Slurm's nodes, run what the daemon decides as Slurm jobs, and report what becomes of them.

    Jobs of others count as used capacity and are never touched. Jobs are submitted on the nodes that were decided,
    and begin when the spool names them; Slurm starts none of them a second time. Ends with Ctrl-C; what runs goes on,
    and is known again by the next one.
    """
    from allocator.slurm.bridge import Bridge, Settings  # noqa: PLC0415 - only this command needs it
    from allocator.slurm.control import Control  # noqa: PLC0415

    _require(_PROGRAMS)
    if not spool.is_absolute():
        raise InvalidInput.of("--spool", f"must be an absolute path, got {str(spool)!r}")
    if preempt not in ("cancel", "suspend"):
        raise InvalidInput.of("--preempt", f"must be cancel or suspend; got {preempt!r}")
    licences = advice.pairs("--licence", licence or [], "RESOURCE=NAME")
    settings = Settings(spool, poll, fence, partition, preempt == "suspend", licences)
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

"""`simulations capture`."""

from __future__ import annotations

import math
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.domain.quantities import parse_duration
from simulations.capture.file import SUFFIX, CaptureWriter
from simulations.capture.following import Progress, follow
from simulations.commands.page import page


def capture_command(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE_OR_FOLDER", help=f"A new file (…{SUFFIX}); in a folder, a file named by the time is made."
        ),
    ],
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The daemon; if not given, ALLOCATOR_ADDRESS, else 127.0.0.1:50051."),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="End after so long, such as 1h30m; otherwise with Ctrl-C."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="End after so many rounds.")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Read a daemon's database instead (sqlite:///FILE, postgresql://...): all jobs it keeps, no rounds.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Of a database: only jobs submitted so long before its last round."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Keep what rounds of a running daemon see and decide, to decide them again or replay them under another policy.

    Rounds do not wait for it. Whatever ends it leaves a file that can be read.

    A lost connection is made again, and the file says what is missing.

    With --database what a daemon wrote down is read instead: jobs, but no rounds.
    """
    is_folder = out.is_dir() or not out.name.endswith(".gz")
    path = out / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}" if is_folder else out
    if database is not None:
        _require_alone(address, duration, rounds)
        _read(database, path, since, force=force)
        return
    if since is not None:
        raise InvalidInput.of("since", "goes with --database; rounds are captured from now on")
    from allocator.client import Client  # noqa: PLC0415 - gRPC is needed here alone, and takes half a second to load

    seconds = _seconds("for", duration)
    console = Console(stderr=True)
    with Client(address) as client, CaptureWriter(path, force=force) as writer:
        beginning = f"waiting for a round of {client.address}"
        bar = console.status(beginning) if console.is_terminal else nullcontext()
        with bar as status:

            def show(progress: Progress) -> None:
                if isinstance(status, Status):
                    status.update(escape(_said(progress)) if progress.rounds else beginning)

            progress, why = follow(client, writer, seconds=seconds, rounds=rounds, on_change=show)
    page().print(f"{escape(_said(progress))}: {why}\nwritten to {escape(str(path))}")


def _read(url: str, path: Path, since: str | None, *, force: bool) -> None:
    from simulations.capture.database import capture_database  # noqa: PLC0415 - nor is SQL needed by anything else

    seconds = _seconds("since", since)
    with CaptureWriter(path, force=force) as writer:
        try:
            jobs = capture_database(url, writer, seconds=seconds)
        except AllocatorError:
            writer.discard()
            raise
    page().print(f"{jobs:,} jobs, {_size(writer.written)}\nwritten to {escape(str(path))}")


def _require_alone(address: str | None, duration: str | None, rounds: int | None) -> None:
    for option, value in (("address", address), ("for", duration), ("rounds", rounds)):
        if value is not None:
            raise InvalidInput.of(option, "is about a running daemon, and does not go with --database")


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    seconds = parse_duration(text, option)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidInput.of(option, f"must be a finite time above 0, got {text!r}")
    return seconds


def _said(progress: Progress) -> str:
    if not progress.rounds:
        return "no round was captured"
    told = f"{progress.rounds:,} rounds ({progress.first_round} to {progress.last_round}), {_size(progress.written)}"
    if progress.connections > 1:
        told += f", {progress.connections} connections, {progress.missing:,} rounds missing between them"
    return told


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"

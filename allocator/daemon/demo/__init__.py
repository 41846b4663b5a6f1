"""`allocator demo`: the whole program on one machine, really running there, with nodes that only pretend beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Adds the command to a program."""
    app.command("demo", rich_help_panel="Daemon")(demo)


def demo(
    directory: Annotated[
        Path, typer.Option(help="Where its database and log go; an earlier demonstration's database is removed.")
    ] = Path("var/demo"),
    seed: Annotated[int, typer.Option(help="Of the stream of jobs.")] = 1,
    jobs_per_second: Annotated[float, typer.Option(min=0.01, max=100, help="How fast jobs arrive, on average.")] = 2.0,
    interval: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds from one round to the next.")] = 1.0,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop by itself after that long.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen there, as SVG.")] = None,
) -> None:
    """Show it working: a daemon of its own, real jobs on this machine, simulated nodes beside it, and a live view.

    One core of this machine is offered by the real agent, and runs a few small jobs; what cannot be enforced here is
    said. Ten more nodes of four flavors are agents that speak the real protocol and only pretend to run. Jobs are
    submitted through the public API, so every other command works beside it. Ctrl-C ends all of it.
    """
    from allocator.daemon.demo.run import Options, demonstrate  # noqa: PLC0415 other commands need not load it

    raise typer.Exit(demonstrate(Options(directory, seed, jobs_per_second, interval, seconds, picture)))

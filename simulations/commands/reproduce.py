"""`simulations reproduce`: published numbers, computed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from allocator.domain.errors import InvalidInput
from simulations.commands.page import page
from simulations.reproduce import easy, gavel, openb
from simulations.reproduce.openb_protocol import FOLDER as OPENB
from simulations.reproduce.table import EXACT, PERCENT, Reproduction

VARIABLE = "ALLOCATOR_TRACES"
TABLES: dict[str, tuple[str, Callable[[Path], Reproduction]]] = {
    "easy": (easy.FOLDER, easy.reproduce),
    "openb": (OPENB, openb.reproduce),
    "gavel": (gavel.FOLDER, gavel.reproduce),
}
"""By name: the folder that it reads in the folder of traces, and what computes it."""
TAKES = {"easy": "some seconds", "openb": "one or two minutes", "gavel": "ten minutes or more"}
"""What each takes of a processor, for whoever waits."""


def reproduce_command(
    tables: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(TABLES)}; all of them.", show_default=False)
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(envvar=VARIABLE, help="The folder that holds the traces' folders; nothing is downloaded."),
    ] = None,
) -> None:
    """Compute published tables again: Batsim's EASY starts, openb's allocation by placement, Gavel's completion times.

    Prints what is expected, what we get, and how far they may be apart. Exit code 1 if any number is farther.
    """
    chosen = tables or list(TABLES)
    unknown = [name for name in chosen if name not in TABLES]
    if unknown:
        raise InvalidInput.of("table", f"must be one of {', '.join(TABLES)}; got {unknown[0]!r}")
    if traces is None:
        raise InvalidInput.of("traces", f"must name the folder that holds the traces, as --traces or as {VARIABLE}")
    missing = [TABLES[name][0] for name in chosen if not (traces / TABLES[name][0]).is_dir()]
    if missing:
        raise InvalidInput.of("traces", f"{traces} holds no folder {missing[0]}")
    console = page()
    met = True
    waiting = Console(stderr=True, soft_wrap=True)
    for name in chosen:
        waiting.print(f"{name}: {TAKES[name]}", highlight=False)
        found = TABLES[name][1](traces)
        console.print(_shown(found))
        met &= found.met
    if not met:
        raise typer.Exit(1)


def _shown(found: Reproduction) -> Table:
    table = Table(title=f"{found.title} ({found.unit})", caption=f"{found.source}. {found.seconds:.0f} s.")
    table.title_justify = table.caption_justify = "left"
    for column in found.columns:
        table.add_column(column)
    for column in ("expected", "got", "off", "allowed", "", "took"):
        table.add_column(column, justify="right")
    for row in found.rows:
        unit = " %" if row.kind == PERCENT else ""
        allowed = "none" if row.kind == EXACT else f"{row.allowed:g}{unit}"
        table.add_row(
            *row.what,
            f"{row.expected:.2f}",
            f"{row.got:.2f}",
            f"{row.off:+.2f}{unit}",
            allowed,
            "[green]met[/]" if row.met else "[bold red]not met[/]",
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        )
    return table

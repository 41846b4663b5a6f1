"""`simulations decide`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from allocator.wire.recording import CapturedRound
from simulations.capture.checking import CheckResult, check
from simulations.capture.file import CaptureError, CaptureReader
from simulations.commands.options import AsJson
from simulations.commands.page import page

SHOWN = 10
DIFFERENT = 1


def decide_command(
    path: Annotated[Path, typer.Argument(metavar="CAPTURE", help="A captured file, or a folder of them.")],
    as_json: AsJson = False,
) -> None:
    """Decide captured rounds again, and say where anything differs from what was decided then, to the bit.

    Exit code 1 if anything does.
    """
    reader = CaptureReader(path)
    console = Console(stderr=True)
    with console.status("reading") if console.is_terminal else nullcontext() as status:
        result = check(reader, _shower(status))
    if not result.rounds:
        raise CaptureError(path, "holds no round")
    if as_json:
        sys.stdout.write(json.dumps(_document(result, reader), indent=2) + "\n")
    else:
        _show(result, reader)
    if result.differences:
        raise typer.Exit(DIFFERENT)


def _shower(status: Status | None) -> Callable[[CapturedRound], None]:
    def show(captured: CapturedRound) -> None:
        if status is not None:
            status.update(f"round {captured.snapshot.round}, {len(captured.snapshot.jobs):,} live jobs")

    return show


def _document(result: CheckResult, reader: CaptureReader) -> dict[str, object]:
    return {
        "rounds": result.rounds,
        "same": result.rounds - len(result.differences),
        "differences": [{"round": each.round, "what": list(each.what)} for each in result.differences],
        "captured_with": {name: there for name, (there, _) in result.elsewhere.items()},
        "decided_with": {name: here for name, (_, here) in result.elsewhere.items()},
        "gaps": [{"after_round": gap.after_round, "why": gap.why} for gap in result.gaps],
        "cut_off": [str(file) for file in reader.cut_off],
    }


def _show(result: CheckResult, reader: CaptureReader) -> None:
    console = page()
    if result.elsewhere:
        console.print("captured with other versions or on another machine, so bits may differ for that alone:")
        for name, (there, here) in result.elsewhere.items():
            console.print(f"  {escape(name)}: {escape(there)} there, {escape(here)} here")
    for gap in result.gaps:
        console.print(f"rounds are missing after round {gap.after_round}: {escape(gap.why)}")
    for file in reader.cut_off:
        console.print(f"{escape(str(file))} was cut off: it is read as far as it goes")
    for difference in result.differences[:SHOWN]:
        console.print(f"[bold red]round {difference.round}[/]: {escape('; '.join(difference.what))}")
    if len(result.differences) > SHOWN:
        console.print(f"and {len(result.differences) - SHOWN:,} rounds more")
    same = result.rounds - len(result.differences)
    console.print(
        f"{result.rounds:,} rounds with {result.jobs / result.rounds:,.1f} live jobs on average and {result.changes:,} "
        f"changes: {same:,} decided the same to the bit"
        + (f", {len(result.differences):,} differently" if result.differences else "")
    )

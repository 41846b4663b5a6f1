"""`simulations compare`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.domain.errors import InvalidInput
from simulations.commands.options import AsJson
from simulations.commands.page import page
from simulations.comparison import Compared
from simulations.report.results import read_results
from simulations.screen import show_comparison


def compare_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of results, or folders that hold such folders.")
    ],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table: a row per figure.")] = False,
) -> None:
    """Put replays of one workload side by side, figure by figure, such as one without hysteresis and one with it.

    Ratios are to the first. For who wins, how sure that is, and pictures, see `report`.
    """
    if as_json and as_csv:
        raise InvalidInput.of("csv", "does not go with --json: choose one")
    found = read_results(folders)
    if len(found) < 2:
        raise InvalidInput.of("DIR", f"must name at least two replays, got {len(found)}")
    compared = Compared([result.name for result in found], [result.summary for result in found])
    if as_json:
        sys.stdout.write(json.dumps(compared.document(), indent=2, ensure_ascii=False) + "\n")
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(compared.lines())
    else:
        show_comparison(page(), compared)

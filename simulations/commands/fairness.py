"""`simulations fairness`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from allocator.domain.errors import FailedPrecondition
from simulations.commands.options import AsJson
from simulations.commands.page import page
from simulations.comparison import read_summary
from simulations.fairness_plot import fairness_plot
from simulations.output import read_table, require_pyarrow
from simulations.screen import show_sharing
from simulations.sharing_summary import joined


def fairness_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the results of a replay with --sharing.")],
    as_json: AsJson = False,
) -> None:
    """Plot how fair a replay was: writes fairness.svg beside its results, and says what was worst."""
    require_pyarrow()
    summary = read_summary(folder)
    if "sharing" not in summary:
        raise FailedPrecondition(str(folder), "holds no comparison with queues' parts; replay with --sharing")
    sharing, rounds, queues = (read_table(folder / f"{name}.parquet") for name in ("sharing", "rounds", "queues"))
    found = joined(sharing, rounds, queues, summary["run"]["end_s"])
    file = folder / "fairness.svg"
    file.write_text(fairness_plot(found, summary["workload"]["name"]), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(summary["sharing"], indent=2, sort_keys=True) + "\n")
    else:
        console = page()
        show_sharing(console, summary["sharing"])
        console.print(f"\nwritten to {escape(str(file))}")

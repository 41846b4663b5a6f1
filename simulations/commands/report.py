"""`simulations report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

import allocator
from allocator.domain.errors import FailedPrecondition
from simulations.commands.page import page as console_page
from simulations.output import require_pyarrow, write_table
from simulations.report.figures import FIGURES
from simulations.report.page import page
from simulations.report.results import read_results
from simulations.report.sections import Section, sections
from simulations.report.significance import CONFIDENCE
from simulations.report.tables import tables
from simulations.report.wording import plain


def report_command(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of results, or folders that hold such folders, as a sweep's."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write; it opens in any browser, without a network.")] = Path(
        "report.html"
    ),
    parquet: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write what the plots show, as tables, into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict and all figures as JSON.")] = False,
) -> None:
    """Write one page that says who wins in what, by how much and how sure that is, and shows it.

    Replays that differ only in the seed are one variant, with means and 95 % confidence intervals. Replays of different
    workloads each get a part of their own: their figures cannot be compared.
    """
    require_pyarrow()
    found = sections(read_results(folders))
    _write(out, page(found, allocator.__version__))
    written = [out]
    if parquet is not None:
        written += _write_tables(parquet, found)
    if as_json:
        sys.stdout.write(json.dumps(_document(found), indent=2, ensure_ascii=False) + "\n")
        return
    console = console_page()
    for section in found:
        console.print(f"[bold]{escape(section.comparison.name)}[/]")
        for sentence in (*section.verdict.sentences, *section.verdict.caveats):
            console.print(f"  {escape(plain(sentence))}")
    for file in written:
        console.print(f"written to {escape(str(file))}")


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    beside = file.with_name(f".{file.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        if beside.parent.is_dir():
            beside.unlink(missing_ok=True)
        raise FailedPrecondition(f"--out {file}", f"cannot be written: {error.strerror or error}") from error


def _write_tables(folder: Path, found: Sequence[Section]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for table in tables(found):
            files.append(folder / f"{table.name}.parquet")
            write_table(files[-1], table)
    except OSError as error:
        raise FailedPrecondition(f"--parquet {folder}", f"cannot be written: {error.strerror or error}") from error
    return files


def _document(found: Sequence[Section]) -> dict[str, Any]:
    """By workload: the verdict, who wins, the front, and every figure of every variant with its confidence interval."""
    return {"confidence": CONFIDENCE, "workloads": [_workload(section) for section in found]}


def _workload(section: Section) -> dict[str, Any]:
    comparison, verdict = section.comparison, section.verdict
    return {
        "name": comparison.name,
        "verdict": [plain(sentence) for sentence in (*verdict.sentences, *verdict.caveats)],
        "wins": {
            win.figure.name: {"best": win.best.name, "alike": [one.name for one in win.alike]} for win in verdict.wins
        },
        "front": None if verdict.front is None else [one.name for one in verdict.front],
        "variants": [
            {
                "name": variant.name,
                "settings": variant.settings,
                "replays": {str(seed): result.name for seed, result in variant.by_seed.items()},
                "figures": {
                    figure.name: {
                        "unit": figure.unit.value,
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                        "seeds": interval.count,
                    }
                    for figure in FIGURES
                    if (interval := variant.interval(figure)) is not None
                },
            }
            for variant in comparison.variants
        ],
    }

"""`simulations sweep`, and `sweep-cell`, which runs one replay of it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from allocator.domain.errors import InvalidInput
from simulations.commands.options import AsJson
from simulations.commands.page import page
from simulations.commands.replay import replay_command
from simulations.output import require_pyarrow
from simulations.sweep.arguments import Options
from simulations.sweep.bar import SweepBar
from simulations.sweep.experiment import Cell, read_experiment
from simulations.sweep.folder import SweepFolder
from simulations.sweep.running import Standing, run_here
from simulations.sweep.slurm import require_slurm, run_in_slurm

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def sweep_command(
    experiment: Annotated[
        str, typer.Argument(help="A .toml file that says what is varied, or one that comes with the program: small.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for a folder of results of each replay. A second call goes on.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Replays at a time; as many as there are cores unless told otherwise.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the replays and what is done, and run none.")
    ] = False,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Run them as tasks of a Slurm job array; --out must be on all nodes.")
    ] = False,
    slurm_options: Annotated[
        str, typer.Option(help="Further options of sbatch, such as '--partition=batch --time=2:00:00'.")
    ] = "",
    follow: Annotated[bool, typer.Option(help="Stay until the job array is over.")] = True,
    as_json: AsJson = False,
) -> None:
    """Replay every combination of an experiment, several at a time; what was interrupted goes on where it was."""
    require_pyarrow()
    if slurm_options and not slurm:
        raise InvalidInput.of("slurm-options", "go with --slurm")
    if slurm and not dry_run:
        require_slurm()
    plan = read_experiment(_file_of(experiment), Options(replay_command))
    folder = SweepFolder(out)
    missing = [cell for cell in plan.cells if not folder.is_done(cell)]
    if dry_run:
        _show_plan(folder, plan.cells, as_json=as_json)
        return
    folder.open(plan)
    failed: dict[str, Cell] = {}
    at_once = processes or os.cpu_count() or 1
    with SweepBar(Console(stderr=True), len(plan.cells), len(plan.cells) - len(missing), at_once) as bar:

        def heard(cell: Cell, standing: Standing) -> None:
            bar.show(cell, standing)
            if standing is Standing.FAILED:
                failed[cell.label] = cell

        try:
            if slurm:
                options = shlex.split(slurm_options)
                run_in_slurm(folder, missing, processes or len(missing) or 1, options, heard, follow=follow)
            else:
                run_here(folder, missing, at_once, heard)
        except KeyboardInterrupt:
            raise SystemExit(_interrupted(folder, plan.cells, in_slurm=slurm)) from None
    _show_end(folder, plan.cells, list(failed.values()), as_json=as_json)
    if failed:
        raise SystemExit(1)


def sweep_cell_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the sweep.")],
    number: Annotated[int, typer.Argument(min=0, help="Which of its replays, counted from 0.")],
) -> None:
    """Run one replay of a sweep that was begun."""
    sweep = SweepFolder(folder)
    cells = sweep.cells()
    if number >= len(cells):
        raise InvalidInput.of("number", f"must be below {len(cells)}, got {number}")
    cell = cells[number]
    replaying = typer.Typer(add_completion=False)
    replaying.command()(replay_command)
    command = typer.main.get_command(replaying)
    arguments = [*cell.arguments, f"--out={sweep.results(cell)}", "--force"]
    command.main(args=arguments, prog_name="replay", standalone_mode=False)
    sweep.mark_done(cell)


def _file_of(experiment: str) -> Path:
    own = EXPERIMENTS / f"{experiment}.toml"
    if own.exists() and not Path(experiment).exists():
        return own
    if not Path(experiment).exists():
        names = ", ".join(sorted(file.stem for file in EXPERIMENTS.glob("*.toml")))
        raise InvalidInput.of("experiment", f"must be a .toml file or one of {names}; there is no {experiment}")
    return Path(experiment)


def _show_plan(folder: SweepFolder, cells: tuple[Cell, ...], *, as_json: bool) -> None:
    rows = [(cell, folder.is_done(cell)) for cell in cells]
    if as_json:
        listed = [{"label": cell.label, "arguments": list(cell.arguments), "done": done} for cell, done in rows]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return
    console = page()
    for cell, done in rows:
        console.print(
            f"{'done   ' if done else 'to run '} [bold]{escape(cell.label)}[/]  {escape(shlex.join(cell.arguments))}"
        )


def _show_end(folder: SweepFolder, cells: tuple[Cell, ...], failed: list[Cell], *, as_json: bool) -> None:
    done = sum(folder.is_done(cell) for cell in cells)
    if as_json:
        faults = [
            {"label": cell.label, "why": folder.last_words(cell), "log": str(folder.log(cell))} for cell in failed
        ]
        found = {"folder": str(folder.path), "replays": len(cells), "done": done, "failed": faults}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    console = page()
    for cell in failed:
        console.print(f"[red]failed[/] [bold]{escape(cell.label)}[/]: {escape(folder.last_words(cell))}")
        console.print(f"       {escape(str(folder.log(cell)))}")
    console.print(f"{done} of {len(cells)} replays are done, in {escape(str(folder.path))}")
    if done:
        where = shlex.quote(str(folder.path))
        console.print(f"a report of them: python -m simulations report {where} --out report.html")


def _interrupted(folder: SweepFolder, cells: tuple[Cell, ...], *, in_slurm: bool) -> int:
    done = sum(folder.is_done(cell) for cell in cells)
    words = "the job array goes on without us" if in_slurm else "the others were stopped"
    line = f"interrupted: {done} of {len(cells)} replays are done, {words}; the same command goes on from here"
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {line}", highlight=False)
    return 130

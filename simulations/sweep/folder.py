"""The folder of a sweep: its manifest, one folder of results for each replay, and a log of each.

    OUT/sweep.json                  what the experiment is, so that another one does not end up in the same folder
    OUT/LABEL/summary.json, ...     the results of a replay, as `replay --out` writes them
    OUT/LABEL/cell.json             by which options and which version they were made; last, so it vouches for them
    OUT/logs/LABEL.log              what the replay said

A replay is done when its cell.json says the same options and version as the experiment: so a sweep goes on where it was
interrupted, and what was added to the experiment is all that runs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import allocator
from allocator.domain.errors import FailedPrecondition
from simulations.output import SUMMARY_FILE
from simulations.sweep.experiment import Cell, Experiment

MANIFEST = "sweep.json"
CELL_FILE = "cell.json"


class SweepFolder:
    """Where an experiment's results are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, experiment: Experiment) -> None:
        """Make it, or go on with it. FailedPrecondition if another experiment's results are there."""
        manifest = self.path / MANIFEST
        if manifest.exists():
            earlier = self._read(manifest).get("experiment")
            if earlier != experiment.name:
                raise FailedPrecondition(
                    f"--out {self.path}", f"holds the experiment {earlier!r}, not {experiment.name!r}; name another one"
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise FailedPrecondition(f"--out {self.path}", "is not empty, and holds no sweep; name another folder")
        (self.path / "logs").mkdir(parents=True, exist_ok=True)
        self._write(
            manifest,
            {
                "experiment": experiment.name,
                "about": experiment.about,
                "version": allocator.__version__,
                "cells": [
                    {"label": cell.label, "varied": dict(cell.varied), "arguments": list(cell.arguments)}
                    for cell in experiment.cells
                ],
            },
        )

    def cells(self) -> tuple[Cell, ...]:
        """Those of the manifest, for a process that is told a folder and a number only."""
        listed = self._read(self.path / MANIFEST)["cells"]
        return tuple(
            Cell(number, cell["label"], cell["varied"], tuple(cell["arguments"])) for number, cell in enumerate(listed)
        )

    def results(self, cell: Cell) -> Path:
        return self.path / cell.label

    def log(self, cell: Cell) -> Path:
        return self.path / "logs" / f"{cell.label}.log"

    def is_done(self, cell: Cell) -> bool:
        """Whether its results are there, made by the options it has now and by this version."""
        mark = self.results(cell) / CELL_FILE
        if not mark.exists() or not (self.results(cell) / SUMMARY_FILE).exists():
            return False
        try:
            said = self._read(mark)
        except FailedPrecondition:
            return False
        return said.get("arguments") == list(cell.arguments) and said.get("version") == allocator.__version__

    def mark_done(self, cell: Cell) -> None:
        """Vouch for its results, which are there."""
        said = {"label": cell.label, "varied": dict(cell.varied), "arguments": list(cell.arguments)}
        self._write(self.results(cell) / CELL_FILE, {**said, "version": allocator.__version__})

    def last_words(self, cell: Cell) -> str:
        """The last line of its log: why it failed."""
        try:
            lines = self.log(cell).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        return lines[-1] if lines else "it said nothing"

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FailedPrecondition(str(file), f"cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise FailedPrecondition(str(file), "must hold a JSON object")
        return found

    def _write(self, file: Path, said: dict[str, Any]) -> None:
        """All of it or nothing: a process that is killed in between leaves the old file."""
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(file)

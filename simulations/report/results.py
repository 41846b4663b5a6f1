"""Folders of results, found and read: a folder of one replay, or one that holds many (a sweep)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allocator.domain.errors import FailedPrecondition, InvalidInput
from simulations.columns import Table
from simulations.comparison import read_summary
from simulations.output import SUMMARY_FILE, read_table

DEPTH = 4
"""How far below a folder results are looked for."""


@dataclass(frozen=True, slots=True)
class Result:
    """One replay: `name` tells its folder from the others; tables are read when they are asked for, and kept."""

    folder: Path
    name: str
    summary: dict[str, Any]
    _tables: dict[str, Table | None] = field(default_factory=dict)

    def table(self, name: str) -> Table | None:
        """None if the folder has no such table."""
        if name not in self._tables:
            file = self.folder / f"{name}.parquet"
            self._tables[name] = read_table(file) if file.exists() else None
        return self._tables[name]

    @property
    def seed(self) -> int:
        return int(self.summary["run"].get("seed", 0))

    @property
    def start(self) -> float:
        return float(self.summary["workload"]["start_s"])


def read_results(folders: Sequence[Path]) -> list[Result]:
    """Every replay in these folders, in order; one that is named twice, once.

    Raises TraceError for what cannot be read, FailedPrecondition for a folder that holds no results.
    """
    if not folders:
        raise InvalidInput.of("DIR", "must name at least one folder of results")
    found: dict[Path, None] = {}
    for folder in folders:
        below = list(_results_in(folder, DEPTH))
        if not below:
            what = "holds no results of a replay (no summary.json in it or below it)"
            raise FailedPrecondition(str(folder), what if folder.is_dir() else "is no folder")
        found.update(dict.fromkeys(below))
    names = _short_names(list(found))
    return [Result(folder, name, read_summary(folder)) for folder, name in zip(found, names, strict=True)]


def _results_in(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / SUMMARY_FILE).is_file():
        yield folder.resolve()
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _results_in(child, depth - 1)


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell them all apart."""
    for parts in range(1, max((len(folder.parts) for folder in folders), default=1) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names

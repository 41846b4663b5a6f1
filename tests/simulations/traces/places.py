"""Where the small made-up traces are, and copies of them that a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

from simulations.traces.formats import AS_IT_IS, FORMATS, Choices
from simulations.traces.window import Window
from simulations.workload import Arrival, Workload

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(name: str, path: Path | None = None, window: Window | None = None, choices: Choices = AS_IT_IS) -> Workload:
    """A trace as its format is read, checked as a whole."""
    trace_format = FORMATS[name]
    workload = trace_format.workload(path or FIXTURES / name, window or trace_format.default_window, 0.0, choices)
    workload.require_valid()
    return workload


def by_name(workload: Workload) -> dict[str, Arrival]:
    return {arrival.spec.name: arrival for arrival in workload.arrivals}


def shapes(arrival: Arrival) -> dict[str, tuple[int, int]]:
    """By flavor, (replicas, cores of each)."""
    return {way.flavor: (way.replicas, way.demand.cpu_millicores // 1000) for way in arrival.spec.configurations}


def copied(name: str, to: Path) -> Path:
    """The folder of a format's fixture, for a test to spoil."""
    return Path(shutil.copytree(FIXTURES / name, to / name))


def changed(file: Path, old: str, new: str) -> None:
    """The file with one place replaced, which must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))

"""What is drawn: plots of panels of marks, without a word of how they look; `drawing` knows that."""

from __future__ import annotations

from dataclasses import dataclass

from simulations.report.axes import Axis
from simulations.report.thinning import Curve

BANDED = 4
"""Most lines with bands in one panel."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """`colour` is a number in the palette; `variant` the number of the variant whose it is, which can be switched off;
    None for what stays.
    """

    name: str
    curve: Curve
    colour: int
    variant: int | None = None
    dashed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Dot:
    """A point with bounds in both directions, where they are known."""

    name: str
    x: float
    y: float
    colour: int
    variant: int | None = None
    x_bounds: tuple[float, float] | None = None
    y_bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bar:
    """A stretch of time in row `row`, from the top; `waiting` ones are thin. `about` is told when it is pointed at."""

    row: int
    start: float
    end: float
    colour: int
    about: str
    waiting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One pair of axes. `front` are points of a line below which nobody is; `rows` is the number of rows of bars."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    bars: tuple[Bar, ...] = ()
    rows: int = 0
    front: tuple[tuple[float, float], ...] = ()
    variant: int | None = None
    legend: tuple[tuple[str, int], ...] = ()
    """Names and colours, where colours are not those of the variants."""

    @property
    def banded(self) -> bool:
        """Whether lines have bands: of many, these would hide one another."""
        return len(self.lines) <= BANDED


@dataclass(frozen=True, slots=True)
class Numbers:
    """A table: the first column holds names. `rows` are text already."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """`about` says how to read it. `numbers` are the same in a table, for who cannot see it or wants to know exactly.
    A `wide` one has its panels side by side.
    """

    key: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    numbers: Numbers
    wide: bool = False

"""A reproduction: rows of what somebody published and what we get."""

from __future__ import annotations

from dataclasses import dataclass

POINTS, PERCENT, EXACT = "points", "%", "exact"
"""How far apart numbers may be: by a difference, by a part of what is expected, or not at all."""


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """`allowed` is in points or percent, by `kind`."""

    what: tuple[str, ...]
    expected: float
    got: float
    allowed: float = 0.0
    kind: str = EXACT
    seconds: float | None = None
    """How long it took, of a real clock; None where only the whole table was timed."""

    @property
    def off(self) -> float:
        """How far from what is expected, in points or percent."""
        difference = self.got - self.expected
        return 100 * difference / self.expected if self.kind == PERCENT else difference

    @property
    def met(self) -> bool:
        """Whether that is allowed."""
        return abs(self.off) <= self.allowed + _ROUNDING


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One table. `columns` name what `Row.what` has; `unit` is that of the numbers."""

    name: str
    title: str
    source: str
    columns: tuple[str, ...]
    unit: str
    rows: tuple[Row, ...]
    seconds: float

    @property
    def met(self) -> bool:
        """Whether every row is."""
        return all(row.met for row in self.rows)

"""Tables that grow row by row in little memory, with the unit and the meaning of every column."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Kind(Enum):
    """What a column holds."""

    FLOAT = "d"
    """64 bits; NaN where there is no value."""
    INTEGER = "q"
    """64 bits, signed."""
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Column:
    """`unit` as a short word (s, jobs, 1 for ratios); empty for names. What is `measured` by a real clock is another
    value in every run; everything else is the same for the same input.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    measured: bool = False


class Table:
    """Columns of equal length."""

    def __init__(self, name: str, columns: Sequence[Column]) -> None:
        self.name = name
        self.columns = tuple(columns)
        self._values: list[Any] = [
            [] if column.kind is Kind.TEXT else array(column.kind.value) for column in self.columns
        ]
        self._append = [values.append for values in self._values]

    @classmethod
    def of(cls, name: str, columns: Sequence[Column], values: Sequence[Sequence[str] | NDArray[Any]]) -> Table:
        """From whole columns of equal length: sequences of text, arrays of numbers."""
        made = cls(name, columns)
        made._values = [
            list(found) if column.kind is Kind.TEXT else _packed(column.kind, found)
            for column, found in zip(made.columns, values, strict=True)
        ]
        if len({len(found) for found in made._values}) > 1:
            raise ValueError(f"the columns of {name} differ in length: {[len(found) for found in made._values]}")
        made._append = [found.append for found in made._values]
        return made

    def widened(self, columns: Sequence[Column], values: Sequence[Sequence[str] | NDArray[Any]]) -> Table:
        """The same rows, with these columns after the others."""
        return Table.of(self.name, (*self.columns, *columns), (*self._values, *values))

    def __len__(self) -> int:
        return len(self._values[0])

    def add(self, *row: float | str) -> None:
        """One value per column, in order."""
        for append, value in zip(self._append, row, strict=True):
            append(value)

    def values(self, name: str) -> list[str] | array[Any]:
        """The values of one column."""
        return self._values[self._index(name)]  # type: ignore[no-any-return]  # each entry is one of the two

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(rows,) the values of one numeric column, as a copy."""
        return np.array(self._values[self._index(name)], dtype=np.float64)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return any(column.name == name for column in self.columns)

    def _index(self, name: str) -> int:
        for index, column in enumerate(self.columns):
            if column.name == name:
                return index
        raise KeyError(name)


def _packed(kind: Kind, values: Any) -> array[Any]:
    """The same numbers in an array of the kind."""
    if isinstance(values, array) and values.typecode == kind.value:
        return values
    found = array(kind.value)
    found.frombytes(np.ascontiguousarray(values, dtype=kind.value).tobytes())
    return found

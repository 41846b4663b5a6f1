"""Tables that grow row by row in little memory, with the unit and the meaning of every column."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.packed import BLOCK, Numbers, Texts


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
        self._take([Texts() if column.kind is Kind.TEXT else Numbers(column.kind.value) for column in self.columns])

    def _take(self, stored: list[Texts | Numbers]) -> None:
        self._stored = stored
        self._append = [values.append for values in stored]
        self._until_packed = BLOCK - len(stored[0]) % BLOCK if stored else BLOCK

    @classmethod
    def of(cls, name: str, columns: Sequence[Column], values: Sequence[Sequence[str] | NDArray[Any]]) -> Table:
        """From whole columns of equal length: sequences of text, arrays of numbers."""
        made = cls(name, columns)
        for stored, found in zip(made._stored, values, strict=True):
            stored.extend(found)  # type: ignore[arg-type]  # each kind of column is given its own kind of values
        made._require_even()
        made._take(made._stored)
        return made

    def _require_even(self) -> None:
        lengths = [len(stored) for stored in self._stored]
        if len(set(lengths)) > 1:
            raise ValueError(f"the columns of {self.name} differ in length: {lengths}")

    def widened(self, columns: Sequence[Column], values: Sequence[Sequence[str] | NDArray[Any]]) -> Table:
        """The same rows, with these columns after the others."""
        return self.beside(Table.of(self.name, columns, values))

    def beside(self, further: Table) -> Table:
        """The same rows, with the columns of `further`, of as many rows, after the others. They are shared: nothing is
        to be added to either of the two any more.
        """
        wider = Table(self.name, (*self.columns, *further.columns))
        wider._take([*self._stored, *further._stored])
        wider._require_even()
        return wider

    def __len__(self) -> int:
        return len(self._stored[0])

    def add_rows(self, *columns: NDArray[Any]) -> None:
        """Many rows, one array per column, in order: for tables of numbers alone."""
        for stored, values in zip(self._stored, columns, strict=True):
            if not isinstance(stored, Numbers):
                raise TypeError(f"{self.name} has columns of text")
            stored.extend(values)
        self._require_even()
        self._take(self._stored)

    def add(self, *row: float | str) -> None:
        """One value per column, in order."""
        for append, value in zip(self._append, row, strict=True):
            append(value)  # type: ignore[arg-type]  # each kind of column is given its own kind of value
        self._until_packed -= 1
        if not self._until_packed:
            for stored in self._stored:
                stored.pack()
            self._until_packed = BLOCK

    def values(self, name: str) -> list[str] | array[Any]:
        """The values of one column, as a copy."""
        stored = self._stored[self._index(name)]
        if isinstance(stored, Texts):
            return stored.unpacked()
        found = array(self.columns[self._index(name)].kind.value)
        for block in stored.blocks():
            found.frombytes(block.tobytes())
        return found

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(rows,) the values of one numeric column, as a copy."""
        return self._numeric(name).unpacked(np.float64)

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """The values of one numeric column as they are kept, `packed.BLOCK` rows at a time; not to be changed."""
        return self._numeric(name).blocks()

    def numbered(self, name: str) -> tuple[list[str], NDArray[np.int32]]:
        """Of a column of text: (each text once, in order of their first rows; (rows,) which of them each row has)."""
        return self._texts(name).numbered()

    def numbered_blocks(self, name: str) -> tuple[list[str], Iterator[NDArray[np.int32]]]:
        """`numbered`, the second part of it `packed.BLOCK` rows at a time."""
        return self._texts(name).numbered_blocks()

    def _texts(self, name: str) -> Texts:
        stored = self._stored[self._index(name)]
        if not isinstance(stored, Texts):
            raise TypeError(f"{name} of {self.name} is a column of numbers")
        return stored

    def _numeric(self, name: str) -> Numbers:
        stored = self._stored[self._index(name)]
        if not isinstance(stored, Numbers):
            raise TypeError(f"{name} of {self.name} is a column of text")
        return stored

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return any(column.name == name for column in self.columns)

    def _index(self, name: str) -> int:
        for index, column in enumerate(self.columns):
            if column.name == name:
                return index
        raise KeyError(name)

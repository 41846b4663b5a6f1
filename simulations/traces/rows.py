"""Tables of text, plain or gzipped, read row by row with errors that name file, line and column."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from simulations.traces.errors import TraceError
from simulations.traces.text import Lines, NotText, opened

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")

_LONGEST = 400
"""Characters of a number."""

MOST_JOBS = 5_000_000
"""Of one workload: what some gigabytes of memory hold."""
MOST_NODES = 200_000
"""Of one workload."""

Key = TypeVar("Key", str, tuple[str, ...])


@dataclass(slots=True, eq=False)
class Row:
    """One line: `fields` in the order of the table, and under which name each stands."""

    file: Path
    line: int
    columns: Mapping[str, int]
    fields: Sequence[str]
    unit: str = "line"
    """What `line` counts: rows, where the file has no lines."""

    def __getitem__(self, column: str) -> str:
        """The value, stripped of blanks around it."""
        return self.fields[self.columns[column]].strip()

    def get(self, column: str) -> str:
        """The value, empty where the table has no such column."""
        index = self.columns.get(column)
        return "" if index is None else self.fields[index].strip()

    def error(self, column: str, what: str) -> TraceError:
        """What is wrong with this row's `column`; `what` also says what would be right."""
        return TraceError(self.file, what, line=self.line, column=column, unit=self.unit)

    def text(self, column: str) -> str:
        """The value, which must not be empty."""
        value = self[column]
        if not value:
            raise self.error(column, "is empty; a value is needed here")
        return value

    def integer(self, column: str, *, minimum: int = 0, maximum: int = 2**53) -> int:
        value = self.text(column)
        if not _INTEGER.match(value):
            raise self.error(column, f"must be an integer, got {shown(value)}")
        number = int(value)
        if not minimum <= number <= maximum:
            raise self.error(column, f"must be between {minimum} and {maximum}, got {number}")
        return number

    def number(self, column: str, *, minimum: float = 0.0, maximum: float = 2.0**53) -> float:
        """An amount that need not be whole."""
        value = self.text(column)
        number = float(value) if len(value) <= _LONGEST and _NUMBER.match(value) else math.nan
        if not math.isfinite(number):
            raise self.error(column, f"must be a number, got {shown(value)}")
        if not minimum <= number <= maximum:
            raise self.error(column, f"must be between {minimum:g} and {maximum:g}, got {number:g}")
        return number

    def seconds(self, column: str, *, minimum: float = 0.0) -> float:
        """A time or a duration."""
        value = self.text(column)
        number = float(value) if len(value) <= _LONGEST and _NUMBER.match(value) else math.nan
        if not math.isfinite(number):
            raise self.error(column, f"must be a number of seconds, got {shown(value)}")
        if number < minimum:
            raise self.error(column, f"must be at least {minimum:g} seconds, got {number:g}")
        return number


def shown(value: str) -> str:
    """Quoted, and cut where it is long."""
    return repr(value if len(value) <= 40 else value[:37] + "...")


def read_rows(
    file: Path, columns: Sequence[str], *, delimiter: str = ",", repair: Callable[[list[str]], list[str]] | None = None
) -> Iterator[Row]:
    """Rows of a table whose header has at least `columns`, in any order; gzip is known by its content.

    Fields are separated by `delimiter`: commas, with the quotes of comma-separated text, or another character without
    any quotes. `repair` may mend the fields of a row of another length than the header. Blank lines are skipped. Raises
    TraceError for a file that is missing, empty, cut short, not UTF-8, has other columns or a row with another number
    of fields; the caller checks the values.
    """
    with opened(file) as lines:
        reader = _Reader(lines, delimiter)
        header = reader.next()
        if header is None:
            raise TraceError(file, f"is empty; its first line must name the columns {', '.join(columns)}")
        names = [name.strip() for name in header]
        check_header(file, names, columns)
        reader.columns = {name: index for index, name in enumerate(names)}
        yield from reader.rows(repair)


def read_unnamed(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of comma-separated text without a header, whose columns are `columns` in this order. As `read_rows`."""
    with opened(file) as lines:
        reader = _Reader(lines, ",")
        reader.columns = {name: index for index, name in enumerate(columns)}
        reader.rule = "each line has"
        yield from reader.rows(None)


class _Reader:
    """Lists of fields, one per row, and the line on which the last one ended."""

    def __init__(self, lines: Lines, delimiter: str) -> None:
        self.columns: dict[str, int] = {}
        self.rule = "the header has"
        """Who says how many fields a row has."""
        self._lines = lines
        self._ended = 0
        quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
        self._dialect = {"delimiter": delimiter, "quoting": quoting, "strict": True}
        self._fields = csv.reader(iter(lines), **self._dialect)  # type: ignore[arg-type]  # the names are csv's

    def next(self) -> list[str] | None:
        try:
            fields = next(self._fields, None)
        except NotText as error:
            raise self._not_text(error) from None
        except csv.Error as error:
            kind = "comma-separated text" if self._dialect["delimiter"] == "," else "a table"
            raise TraceError(self._lines.file, f"is not {kind} ({error})", line=self._lines.number) from None
        self._ended = self._lines.number
        return fields

    def rows(self, repair: Callable[[list[str]], list[str]] | None) -> Iterator[Row]:
        file, columns, width = self._lines.file, self.columns, len(self.columns)
        while (fields := self.next()) is not None:
            if len(fields) != width:
                if not fields:
                    continue
                fields = repair(fields) if repair else fields
                if len(fields) != width:
                    what = f"has {len(fields)} fields; {self.rule} {width} columns: {', '.join(columns)}"
                    raise TraceError(file, what, line=self._ended)
            yield Row(file, self._ended, columns, fields)

    def _not_text(self, error: NotText) -> TraceError:
        """With the column in which the byte stands, if the row began on its line and the columns are known."""
        column = None
        if error.line == self._ended + 1 and self.columns:
            with suppress(csv.Error):
                dialect = {**self._dialect, "strict": False}
                before = next(csv.reader([error.prefix], **dialect), [""])  # type: ignore[arg-type]  # as above
                column = dict(enumerate(self.columns)).get(len(before) - 1)
        return TraceError(self._lines.file, error.what, line=error.line, column=column)


def check_header(file: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    """Raises TraceError unless all of `columns` are among `names`, and nothing is twice."""
    if not set(columns) & set(names):
        found = shown(",".join(names))
        what = f"is no header: the first line must name the columns {', '.join(columns)}, and is {found}"
        raise TraceError(file, what, line=1)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TraceError(file, "stands twice in the header; each column once", line=1, column=twice[0])
    for column in columns:
        if column not in names:
            found = shown(", ".join(names))
            raise TraceError(
                file, f"is missing; the header must name {', '.join(columns)} and has {found}", line=1, column=column
            )


def require_unique(row: Row, column: str, seen: dict[str, int]) -> str:
    """The row's id, which no earlier row may have; `seen` maps ids to lines and is updated."""
    name = row.text(column)
    before = seen.setdefault(name, row.line)
    if before != row.line:
        raise row.error(column, f"{shown(name)} stands on {row.unit} {before} already; each id once")
    if len(seen) > MOST_JOBS:
        raise row.error(column, f"is the {MOST_JOBS + 1:,}th; at most {MOST_JOBS:,} can be read: split the file")
    return name


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is in `folder`, as it is or with .gz after it."""
    require_folder(folder, names)
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise TraceError(folder, f"holds no {' and no '.join(names)} (with or without .gz)")


def require_folder(folder: Path, names: Sequence[str]) -> None:
    """Raises TraceError if there is no such folder, or it may not be looked into."""
    try:
        if folder.is_dir():
            next(folder.iterdir(), None)
            return
    except PermissionError:
        raise TraceError(folder, "may not be read by this user") from None
    raise TraceError(folder, "is not a folder; give the one that holds " + " and ".join(names))

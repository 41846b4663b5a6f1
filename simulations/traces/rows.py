"""Tables of text, plain or gzipped, read row by row with errors that name file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from simulations.traces.errors import TraceError

_GZIP_MAGIC = b"\x1f\x8b"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `values` by column name, stripped of blanks around them."""

    file: Path
    line: int
    values: dict[str, str]

    def error(self, column: str, what: str) -> TraceError:
        """What is wrong with this row's `column`; `what` also says what would be right."""
        return TraceError(self.file, what, line=self.line, column=column)

    def text(self, column: str) -> str:
        """The value, which must not be empty."""
        value = self.values[column]
        if not value:
            raise self.error(column, "is empty; a value is needed here")
        return value

    def integer(self, column: str, *, minimum: int = 0, maximum: int = 2**53) -> int:
        value = self.text(column)
        if not _INTEGER.match(value):
            raise self.error(column, f"must be an integer, got {_shown(value)}")
        number = int(value)
        if not minimum <= number <= maximum:
            raise self.error(column, f"must be between {minimum} and {maximum}, got {number}")
        return number

    def number(self, column: str, *, minimum: float = 0.0, maximum: float = 2.0**53) -> float:
        """An amount that need not be whole."""
        value = self.text(column)
        number = float(value) if _NUMBER.match(value) else math.nan
        if not math.isfinite(number):
            raise self.error(column, f"must be a number, got {_shown(value)}")
        if not minimum <= number <= maximum:
            raise self.error(column, f"must be between {minimum:g} and {maximum:g}, got {number:g}")
        return number

    def seconds(self, column: str, *, minimum: float = 0.0) -> float:
        """A time or a duration."""
        value = self.text(column)
        number = float(value) if _NUMBER.match(value) else math.nan
        if not math.isfinite(number):
            raise self.error(column, f"must be a number of seconds, got {_shown(value)}")
        if number < minimum:
            raise self.error(column, f"must be at least {minimum:g} seconds, got {number:g}")
        return number


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a comma-separated file whose header has at least `columns`, in any order; gzip is known by its content.

    Blank lines are skipped. Raises TraceError for a file that is missing, empty, cut short, not UTF-8, has other
    columns or a row with another number of fields; the caller checks the values.
    """
    try:
        with _opened(file) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as lines:
            yield from _rows(file, lines, columns)
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except FileNotFoundError:
        raise TraceError(file, "does not exist") from None
    except IsADirectoryError:
        raise TraceError(file, "is a folder; a file is needed here") from None
    except PermissionError:
        raise TraceError(file, "may not be read by this user") from None


@contextmanager
def _opened(file: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """The bytes of a file, unpacked if need be."""
    with file.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        yield gzip.GzipFile(fileobj=raw) if packed else raw


def _rows(file: Path, lines: io.TextIOWrapper, columns: Sequence[str]) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)

    def next_fields() -> list[str] | None:
        try:
            return next(reader, None)
        except EOFError:
            what = "ends in the middle of its gzip stream: it was cut short, get it again"
            raise TraceError(file, what, line=reader.line_num + 1) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            what = f"is not a sound gzip file ({error}): get it again"
            raise TraceError(file, what, line=reader.line_num + 1) from None
        except csv.Error as error:
            raise TraceError(file, f"is not comma-separated text ({error})", line=reader.line_num) from None

    header = next_fields()
    if header is None:
        raise TraceError(file, f"is empty; its first line must name the columns {', '.join(columns)}")
    names = [name.strip() for name in header]
    _check_header(file, names, columns)
    yield from _data_rows(file, names, next_fields, lambda: reader.line_num)


def _not_utf8(file: Path) -> TraceError:
    """Where the first byte stands that is not UTF-8. Text is decoded in large pieces, so the file is read once more."""
    found: list[UnicodeDecodeError] = []
    rows: deque[list[str]] = deque(maxlen=1)

    def decoded(stream: Iterable[bytes]) -> Iterator[str]:
        """The lines up to that byte."""
        for line in stream:
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                found.append(error)
                yield line[: error.start].decode()
                return

    with _opened(file) as stream, suppress(csv.Error, EOFError, OSError, zlib.error):
        reader = csv.reader(decoded(stream))
        header = [name.strip("﻿ ") for name in next(reader, [])]
        rows.extend(reader)
    if not found:  # something else is wrong before it
        return TraceError(file, "is not UTF-8 text")
    inside = rows and 1 <= len(rows[0]) <= len(header)
    what = f"is not UTF-8 text (byte {found[0].object[found[0].start]:#04x}); save it as UTF-8"
    return TraceError(file, what, line=reader.line_num, column=header[len(rows[0]) - 1] if inside else None)


def _check_header(file: Path, names: list[str], columns: Sequence[str]) -> None:
    if not set(columns) & set(names):
        found = _shown(",".join(names))
        what = f"is no header: the first line must name the columns {', '.join(columns)}, and is {found}"
        raise TraceError(file, what, line=1)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TraceError(file, "stands twice in the header; each column once", line=1, column=twice[0])
    for column in columns:
        if column not in names:
            found = _shown(", ".join(names))
            raise TraceError(
                file, f"is missing; the header must name {', '.join(columns)} and has {found}", line=1, column=column
            )


def _data_rows(
    file: Path, names: list[str], next_fields: Callable[[], list[str] | None], line_number: Callable[[], int]
) -> Iterator[Row]:
    while (fields := next_fields()) is not None:
        line = line_number()
        if not fields:
            continue
        if len(fields) != len(names):
            raise TraceError(file, f"has {len(fields)} fields; the header has {len(names)} columns", line=line)
        yield Row(file, line, dict(zip(names, (field.strip() for field in fields), strict=True)))


def require_unique(row: Row, column: str, seen: dict[str, int]) -> str:
    """The row's id, which no earlier row may have; `seen` maps ids to lines and is updated."""
    name = row.text(column)
    if name in seen:
        raise row.error(column, f"{_shown(name)} stands on line {seen[name]} already; each id once")
    seen[name] = row.line
    return name


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is in `folder`, as it is or with .gz after it."""
    if not folder.is_dir():
        raise TraceError(folder, "is not a folder; give the one that holds " + " and ".join(names))
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise TraceError(folder, f"holds no {' and no '.join(names)} (with or without .gz)")

"""What is wrong with a file that was to be read, and where."""

from __future__ import annotations

from pathlib import Path


class TraceError(Exception):
    """A file cannot be read as what it should be. Nothing of it is used.

    `line` counts from 1 and includes the header; None where the file as a whole is meant. In a file without lines it
    counts what `unit` says. `column` is as in the header.
    """

    def __init__(
        self, file: Path, what: str, *, line: int | None = None, column: str | None = None, unit: str = "line"
    ) -> None:
        self.file, self.line, self.column, self.what = file, line, column, what
        place = str(file)
        if line is not None:
            place += f", {unit} {line}"
        if column is not None:
            place += f", column {column!r}"
        super().__init__(f"{place}: {what}")

"""Tables and lines for a terminal, for a pipe, and as JSON.

On a terminal, columns that matter least give way until the table fits, and colours help the eye. Into a pipe or file
goes plain text of whatever width it needs: nothing is cut, coloured or wrapped. Ids and names are never cut anywhere.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP = "  "
_LEAST = 16
"""Cells that an elastic column keeps."""
STATE_STYLES = {
    "running": "green",
    "pending": "yellow",
    "succeeded": "cyan",
    "failed": "red",
    "cancelled": "dim",
    "ready": "green",
    "lost": "red",
    "cordoned": "yellow",
    "in trouble": "yellow",
    "draining": "yellow",
    "optimal": "green",
    "inaccurate": "yellow",
    "fallback": "yellow",
    "stale": "red",
}


class _Console(Console):
    """A console that prints text as it is, and says so when its reader has gone."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout() -> Console:
    """Where answers go; made anew for each use, so that it follows redirections."""
    return _Console()


def stderr() -> Console:
    """Where complaints and remarks go."""
    return _Console(stderr=True)


@dataclass(frozen=True)
class Column:
    """`give_way`: 0 stays, the largest number leaves first when the terminal is too narrow. `elastic` may be cut."""

    title: str
    right: bool = False
    give_way: int = 0
    elastic: bool = False


@dataclass
class Table:
    """Rows of text under columns. A cell that names a state is coloured as one."""

    columns: Sequence[Column]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        assert len(cells) == len(self.columns), cells
        self.rows.append(tuple(_one_line(cell) for cell in cells))

    def lines(self, width: int | None) -> list[Text]:
        """The table, header first, at most `width` cells wide where columns can give way (None: as wide as it is)."""
        natural = [
            max(cell_len(column.title), *(cell_len(row[index]) for row in self.rows))
            if self.rows
            else cell_len(column.title)
            for index, column in enumerate(self.columns)
        ]
        shown = self._shown(natural, width)
        widths = {index: natural[index] for index in shown}
        if width is not None:
            self._squeeze(widths, width)
        header = _line([(self.columns[i].title, widths[i], self.columns[i].right, "bold") for i in shown])
        return [header] + [
            _line([(row[i], widths[i], self.columns[i].right, STATE_STYLES.get(row[i], "")) for i in shown])
            for row in self.rows
        ]

    def _shown(self, natural: list[int], width: int | None) -> list[int]:
        """Indices of the columns that stay. Columns in which nothing stands are left out on a terminal."""
        shown = list(range(len(self.columns)))
        if width is None:
            return shown
        if self.rows:
            shown = [
                i for i in shown if not self.columns[i].give_way or any(row[i] not in ("", "-") for row in self.rows)
            ]

        def needed() -> int:
            fixed = sum(min(natural[i], _LEAST) if self.columns[i].elastic else natural[i] for i in shown)
            return fixed + len(_GAP) * (len(shown) - 1)

        while needed() > width:
            candidates = [i for i in shown if self.columns[i].give_way]
            if not candidates:
                break
            shown.remove(max(candidates, key=lambda i: (self.columns[i].give_way, i)))
        return shown

    def _squeeze(self, widths: dict[int, int], width: int) -> None:
        """Narrow the widest elastic columns until the table fits, or all are as narrow as they may be."""
        elastic = [index for index in widths if self.columns[index].elastic]
        while elastic and sum(widths.values()) + len(_GAP) * (len(widths) - 1) > width:
            widest = max(elastic, key=lambda index: widths[index])
            if widths[widest] <= _LEAST:
                break
            widths[widest] -= 1


def show(table: Table, *, empty: str = "nothing") -> None:
    """Print a table, or `empty` on standard error when it has no rows."""
    if not table.rows:
        stderr().print(empty, style="dim")
        return
    console = stdout()
    for line in table.lines(console.width if console.is_terminal else None):
        console.print(line)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print `name  value` lines, values aligned, those of several lines too; an empty value is skipped."""
    kept = [(name, value) for name, value in pairs if value]
    margin = max((cell_len(name) for name, _ in kept), default=0) + len(_GAP)
    console = stdout()
    room = max(20, console.width - margin) if console.is_terminal else None
    for name, value in kept:
        parts = [line for part in value.split("\n") for line in _wrapped(_one_line(part), room)]
        style = STATE_STYLES.get(value, "")
        for index, part in enumerate(parts):
            head = Text((name if index == 0 else "").ljust(margin), style="bold")
            console.print(head + Text(part, style=style))


def _wrapped(text: str, room: int | None) -> list[str]:
    return (textwrap.wrap(text, room, break_long_words=False) or [""]) if room else [text]


def heading(text: str) -> None:
    """A line above a table, set off from what came before."""
    console = stdout()
    console.print()
    console.print(Text(text, style="bold underline" if console.is_terminal else ""))


def line(text: str, style: str = "") -> None:
    """One line of an answer."""
    stdout().print(Text(text, style=style))


def remark(text: str) -> None:
    """One line on standard error that is not part of the answer."""
    stderr().print(Text(text, style="dim"))


def complain(text: str) -> None:
    """One line on standard error: why something was refused or failed."""
    stderr().print(Text("error: ", style="bold red") + Text(text))


def emit_json(value: Any) -> None:
    """One JSON document, indented, on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def emit_json_line(value: Any) -> None:
    """One JSON document on one line, and out at once: somebody may be reading as we write."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def bar(fraction: float, width: int = 20) -> str:
    """A fraction as a bar of `width` cells; only what is full looks full.

    >>> bar(0.5, 8)
    '████░░░░'
    """
    filled = math.floor(max(0.0, min(1.0, fraction)) * width + 1e-9)
    return "█" * filled + "░" * (width - filled)


def local_time(seconds: float) -> str:
    """`2026-11-22 17:40:05 CET`."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _one_line(cell: str) -> str:
    """Text from jobs and nodes must not be able to break the table or to move the cursor."""
    return "".join(character if character.isprintable() else "�" for character in cell)


def _line(cells: list[tuple[str, int, bool, str]]) -> Text:
    result = Text()
    last = len(cells) - 1
    for index, (content, width, right, style) in enumerate(cells):
        text = Text(content, style=style)
        if cell_len(content) > width:
            text.truncate(width, overflow="ellipsis")
        padding = " " * max(0, width - cell_len(text.plain))
        if right:
            result.append(padding)
        result.append_text(text)
        if not right and index != last:
            result.append(padding)
        if index != last:
            result.append(_GAP)
    result.rstrip()
    return result

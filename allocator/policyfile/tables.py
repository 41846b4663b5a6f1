"""Tables of a policy file, read key by key, and what is found to be wrong with them, all of it, each at its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from allocator.domain.errors import InvalidInput, Violation
from allocator.policyfile.fields import shown
from allocator.policyfile.positions import Path, Positions

Value = TypeVar("Value")
MOST_TOLD = 500
"""Remarks of one kind about one file."""
MOST_HINTS = 50
"""Remarks that say what might be meant: among thousands of names, looking for that takes long."""


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """Something about one place of the file, lines and columns counted from 1. `field` is a path such as
    `queue[1].weight`, or empty where no field is concerned.
    """

    line: int
    column: int
    field: str
    description: str

    def violation(self, name: str = "") -> Violation:
        """As a violation whose field begins with the place, in a file of that name."""
        place = f"{name}:{self.line}:{self.column}" if name else f"{self.line}:{self.column}"
        return Violation(f"{place}: {self.field}" if self.field else place, self.description)

    def __str__(self) -> str:
        return str(self.violation())


class Remarks:
    """Collects them."""

    def __init__(self, where: Positions) -> None:
        self.where = where
        self.found: list[Remark] = []

    def add(self, path: Path, description: str) -> None:
        line, column = self.where.of(path)
        self.found.append(Remark(line, column, dotted(path), description))

    def in_order(self) -> tuple[Remark, ...]:
        """By place, each once; the first MOST_TOLD of them, and then how many more there are."""
        found = tuple(dict.fromkeys(sorted(self.found)))
        if len(found) <= MOST_TOLD:
            return found
        last = found[MOST_TOLD]
        return (*found[:MOST_TOLD], Remark(last.line, last.column, "", f"and {len(found) - MOST_TOLD} more from here"))


class Table:
    """One table. Keys are taken one after the other; `rest` then complains of those that nobody took."""

    def __init__(self, content: Mapping[str, Any], path: Path, wrong: Remarks) -> None:
        self.path = path
        self.wrong = wrong
        self._content = content
        self._taken: set[str] = set()
        self.broken = False
        """Whether a value that must be there is missing or cannot be read."""

    def has(self, key: str) -> bool:
        return key in self._content

    def take(self, key: str, read: Callable[[Any], Value], default: Value) -> Value:
        """The value, or `default` where it is absent, or cannot be read, which is remarked upon."""
        self._taken.add(key)
        if key not in self._content:
            return default
        try:
            return read(self._content[key])
        except InvalidInput as error:
            self.complain(error.violations[0].description, key)
        except ValueError as error:
            self.complain(str(error), key)
        self.broken = True
        return default

    def require(self, key: str, read: Callable[[Any], Value], default: Value, example: str) -> Value:
        """As `take` of a key that must be there."""
        if key not in self._content:
            self._taken.add(key)
            self.broken = True
            self.complain(f"{key} is missing; write {example}")
        return self.take(key, read, default)

    def tables(self, key: str) -> Iterator[Table]:
        """The tables of an array of tables."""
        self._taken.add(key)
        found = self._content.get(key, [])
        if isinstance(found, dict):
            self.complain(f"is one table and must be a list of them; write [[{self._header(key)}]]", key)
            found = [found]
        if not isinstance(found, list):
            self.complain(f"must be tables, each begun with [[{self._header(key)}]]; got {shown(found)}", key)
            found = []
        for index, content in enumerate(found):
            path = (*self.path, key, index)
            if isinstance(content, dict):
                yield Table(content, path, self.wrong)
            else:
                self.broken = True
                self.wrong.add(path, f"must be a table, begun with [[{self._header(key)}]]; got {shown(content)}")

    def table(self, key: str) -> Table:
        """A table; an empty one where it is absent."""
        self._taken.add(key)
        content = self._content.get(key, {})
        if not isinstance(content, dict):
            self.complain(f"must be a table, begun with [{self._header(key)}]; got {shown(content)}", key)
            content = {}
        return Table(content, (*self.path, key), self.wrong)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Everything, for tables whose keys are names."""
        self._taken.update(self._content)
        yield from self._content.items()

    def rest(self, known: tuple[str, ...], hints: Mapping[str, str] | None = None) -> None:
        """Complain of what was not taken. `hints` say more of keys that people expect to be there."""
        for key in self._content:
            if key not in self._taken:
                guess = len(self.wrong.found) < MOST_HINTS
                self.complain(_unknown(key, known, hints or {}, guess=guess), key)

    def complain(self, description: str, key: str | None = None) -> None:
        self.wrong.add(self.path if key is None else (*self.path, key), description)

    def judge(self, violations: tuple[Violation, ...], names: Mapping[str, str]) -> None:
        """Complain of what the domain finds wrong; `names` are the file's words for fields that it calls otherwise."""
        for violation in violations:
            parts = [names.get(part, part) if isinstance(part, str) else part for part in _parts(violation.field)]
            self.wrong.add((*self.path, *parts), violation.description)

    def _header(self, key: str) -> str:
        return ".".join([*(part for part in self.path if isinstance(part, str)), key])


def dotted(path: Path) -> str:
    """`("queue", 1, "weight")` as `queue[1].weight`."""
    found = ""
    for part in path:
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else part
    return found


_PART = re.compile(r"(?P<index>\[\d+\])|\['(?P<key>[^']*)'\]|(?P<name>[^.\[]+)|\.")


def _parts(field: str) -> list[str | int]:
    """The path of a violation, `terms[0].labels['a']`, as keys and indices."""
    found: list[str | int] = []
    for part in _PART.finditer(field):
        if part["index"]:
            found.append(int(part["index"][1:-1]))
        elif part["key"] is not None or part["name"]:
            found.append(part["name"] or part["key"])
    return found


def _unknown(key: str, known: tuple[str, ...], hints: Mapping[str, str], *, guess: bool) -> str:
    if key in hints:
        return f"is not known here: {hints[key]}"
    if not guess:
        return f"is not known here; known: {', '.join(known)}"
    near = get_close_matches(key, known, 1) or [name for name in known if name in key or key in name][:1]
    meant = f"did you mean {near[0]}? " if near else ""
    return f"is not known here; {meant}known: {', '.join(known)}"


__all__ = ["MOST_HINTS", "MOST_TOLD", "Remark", "Remarks", "Table", "dotted"]

"""Where in a TOML text every key stands: Python's own TOML reader tells positions of syntax errors only.

A path is a tuple of keys and indices, as values are reached in what `tomllib.loads` returns: ("queue", 1, "weight").
The text must be valid TOML, which `tomllib` has decided before: nothing is checked here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_\-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_SHORT_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class Positions:
    """Lines and columns, both counted from 1, of what a TOML text says."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.offsets = _Scanner(text).offsets
        """By path: where its key, or its table's header, or as an element of an array its value begins."""

    def of(self, path: Path) -> tuple[int, int]:
        """(line, column) of the path, or of the innermost table around it that stands in the text."""
        while path and path not in self.offsets:
            path = path[:-1]
        offset = self.offsets.get(path, 0)
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.offsets: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._tables: Counter[Path] = Counter()
        """How many tables each array of tables has so far."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(text):
            table = self._header() if text[self._at] == "[" else self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None, f"no {pattern.pattern} at {self._at}"
        self._at = found.end()
        return found.group()

    def _goes_on_with(self, start: str) -> bool:
        return self._text.startswith(start, self._at)

    def _header(self) -> Path:
        """The path of the table that begins here."""
        offset = self._at
        is_array = self._goes_on_with("[[")
        self._at += 2 if is_array else 1
        keys = self._key()
        self._at += 2 if is_array else 1
        path: Path = ()
        for key in keys[:-1]:
            path = (*path, key)
            self.offsets.setdefault(path, offset)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        path = (*path, keys[-1])
        self.offsets.setdefault(path, offset)
        if is_array:
            self._tables[path] += 1
            path = (*path, self._tables[path] - 1)
        self.offsets[path] = offset
        return path

    def _pair(self, table: Path) -> Path:
        """Goes over `key = value`; the table goes on."""
        offset = self._at
        path = table
        for key in self._key():
            path = (*path, key)
            self.offsets.setdefault(path, offset)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)
        return table

    def _key(self) -> list[str]:
        """A key, dotted or not, with the space around it."""
        keys = []
        while True:
            self._skip(_SPACE)
            if self._goes_on_with('"'):
                keys.append(_unescaped(self._skip(_BASIC)[1:-1]))
            elif self._goes_on_with("'"):
                keys.append(self._skip(_LITERAL)[1:-1])
            else:
                keys.append(self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if not self._goes_on_with("."):
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self.offsets.setdefault(path, self._at)
        for start, pattern in (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL)):
            if self._goes_on_with(start):
                self._skip(pattern)
                return
        if self._goes_on_with("["):
            self._array(path)
        elif self._goes_on_with("{"):
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._goes_on_with("]"):
                break
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self._goes_on_with(","):
                self._at += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._goes_on_with("}"):
                break
            self._pair(path)
            self._skip(_BLANK)
            if self._goes_on_with(","):
                self._at += 1
        self._at += 1


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else _SHORT_ESCAPES[found[3]]

    return _ESCAPE.sub(character, text)

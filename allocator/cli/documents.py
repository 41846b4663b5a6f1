"""Reads YAML and JSON files so that whoever finds a fault in them can say in which line it stands.

`read(path)` gives a `Document`: plain values (dict, list, str, int, float, bool, None) and the line of every path such
as `jobs[3].memory`. YAML is read by the rules of YAML 1.2's core schema: `no` and `2026-01-01` are text, `010` is ten.
A key given twice is refused: the other one would be lost silently.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from allocator.domain.errors import InvalidInput, Violation

_FORMATS = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}


@dataclass(frozen=True)
class Document:
    """`name` as the user gave it, `lines` counted from 1."""

    name: str
    value: Any
    lines: Mapping[str, int] = field(default_factory=dict)

    def located(self, violation: Violation) -> Violation:
        """The same violation with file and, where known, line before its path."""
        path = violation.field
        while path and path not in self.lines:
            path = re.sub(r"(\.[^.\[\]]*|\[[^\[\]]*\]|^[^.\[\]]*)\Z", "", path)
        line = self.lines.get(path)
        place = self.name if line is None else f"{self.name}:{line}"
        return Violation(f"{place}: {violation.field}" if violation.field else place, violation.description)


def read(path: str) -> Document:
    """The document in a file, or on standard input for `-`. Errors: InvalidInput naming file and line."""
    name = "<stdin>" if path == "-" else path
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput.of(name, f"cannot be read: {error.strerror or error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput.of(f"{name}:{line}", "is not UTF-8 text") from None
    return parse(text, name, _FORMATS.get(Path(path).suffix.lower(), ""))


def parse(text: str, name: str, format_name: str = "") -> Document:
    """As `read`, from text. `format_name` is JSON or YAML; without it, JSON if the text starts as such."""
    if not text.strip():
        raise InvalidInput.of(name, "is empty")
    if format_name == "JSON" or (not format_name and text.lstrip()[0] in "[{"):
        try:
            value = _parse_json(text, name)
        except InvalidInput:
            if format_name == "JSON":
                raise
            return _parse_yaml(text, name)
        return Document(name, value, _lines_of_json(text))
    return _parse_yaml(text, name)


def _parse_json(text: str, name: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidInput.of(name, f"key {twice!r} is given twice in one object: each key once")
        return result

    def refuse(constant: str) -> NoReturn:
        raise InvalidInput.of(name, f"{constant} is not a number in JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InvalidInput.of(f"{name}:{error.lineno}", f"not valid JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(name, f"not valid JSON: {error}") from None


def _lines_of_json(text: str) -> dict[str, int]:
    """JSON is nearly always YAML too; where it is not, lines are unknown."""
    try:
        return _lines(_compose(text)[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _parse_yaml(text: str, name: str) -> Document:
    try:
        loader, root = _compose(text)
        if root is None:
            raise InvalidInput.of(name, "is empty")
        _refuse_duplicate_keys(root, name)
        value = loader.construct_document(root)
        return Document(name, value, _lines(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = name if mark is None else f"{name}:{mark.line + 1}"
        column = "" if mark is None else f" (column {mark.column + 1})"
        raise InvalidInput.of(place, f"not valid YAML: {error.problem or error.context}{column}") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput.of(name, f"not valid YAML: {first_line}") from None


class _Loader(yaml.CSafeLoader):
    """libyaml's parser (some ten times faster than the one in Python) with the core schema's scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - declared so by PyYAML


_TAG = "tag:yaml.org,2002:"
_SIGNS_AND_DIGITS = list("+-0123456789")
for _name, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"[-+]?[0-9]+\Z", _SIGNS_AND_DIGITS),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        [*_SIGNS_AND_DIGITS, "."],
    ),
    ("merge", r"<<\Z", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))


def _compose(text: str) -> tuple[Any, yaml.Node | None]:
    loader = _Loader(text)
    return loader, loader.get_single_node()


def _refuse_duplicate_keys(root: yaml.Node, name: str) -> None:
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if key.value in keys and isinstance(key, yaml.ScalarNode):
                    place = f"{name}:{key.start_mark.line + 1}"
                    raise InvalidInput.of(place, f"key {key.value!r} is given twice: each key once")
                if isinstance(key, yaml.ScalarNode):
                    keys.add(key.value)
                pending.append(value)


def _lines(root: yaml.Node | None) -> dict[str, int]:
    """The line of every path. A node that several places share (an alias) is listed where it was met first."""
    lines: dict[str, int] = {}
    if root is None:
        return lines
    seen: set[int] = set()
    pending: list[tuple[str, yaml.Node]] = [("", root)]
    while pending:
        path, node = pending.pop()
        lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(f"{path}[{index}]", item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = f"{path}.{key.value}" if path else str(key.value)
                lines.setdefault(below, key.start_mark.line + 1)
                pending.append((below, value))
    return lines


__all__ = ["Document", "parse", "read"]

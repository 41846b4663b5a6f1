"""JSON files with errors that name the line and the value's path: `jobs[3].res`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import Any

from simulations.traces.errors import TraceError
from simulations.traces.text import NotText, opened

LARGEST = 512 << 20
"""Characters of one file, which is read whole."""
_LARGEST_NUMBER = 1e300
_BLANKS = " \t\r\n"
Place = tuple[str | int, ...]
"""Keys and indices from the outermost value inwards."""


def spelled(place: Place) -> str:
    """`("jobs", 3, "res")` is `jobs[3].res`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Document:
    """A file and what it holds."""

    file: Path
    text: str
    content: Any

    def error(self, place: Place, what: str) -> TraceError:
        """What is wrong with the value at `place`; `what` also says what would be right."""
        return TraceError(self.file, what, line=_line_of(self.text, place), column=spelled(place))

    def mapping(self, value: object, place: Place) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.error(place, f"must be an object {{...}}, got {_shown(value)}")
        return value

    def entries(self, value: object, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise self.error(place, f"must be a list [...], got {_shown(value)}")
        return value

    def member(self, mapping: Mapping[str, Any], place: Place, key: str) -> Any:
        """The value of `key`, which must be there."""
        if key not in mapping:
            raise self.error(place, f"has no {key!r}; it must have one")
        return mapping[key]

    def number(self, value: object, place: Place, *, minimum: float = 0.0, maximum: float = 2.0**53) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(place, f"must be a number, got {_shown(value)}")
        value = (math.inf if value > 0 else -math.inf) if abs(value) > _LARGEST_NUMBER else value
        if math.isnan(value):
            raise self.error(place, "must be a number, got NaN")
        if not minimum <= value <= maximum:
            raise self.error(place, f"must be between {minimum:g} and {maximum:g}, got {value:g}")
        return float(value)

    def integer(self, value: object, place: Place, *, minimum: int = 0, maximum: int = 2**53) -> int:
        number = self.number(value, place, minimum=minimum, maximum=maximum)
        if number != int(number):
            raise self.error(place, f"must be a whole number, got {number:g}")
        return int(number)

    def string(self, value: object, place: Place) -> str:
        if not isinstance(value, str):
            raise self.error(place, f"must be text in quotes, got {_shown(value)}")
        return value


def read_json(file: Path) -> Document:
    """The file, whole. Raises TraceError for one that is missing, too large, or no JSON."""
    pieces: list[str] = []
    length = 0
    with opened(file) as lines:
        try:
            for line in lines:
                pieces.append(line)
                length += len(line)
                if length > LARGEST:
                    raise TraceError(file, f"is longer than {LARGEST >> 20} MiB; split it", line=lines.number)
        except NotText as error:
            raise TraceError(file, error.what, line=error.line) from None
    text = "".join(pieces)
    if not text.strip():
        raise TraceError(file, "is empty; a JSON object {...} is needed here")
    try:
        return Document(file, text, json.loads(text, object_pairs_hook=_without_repeats))
    except JSONDecodeError as error:
        what = f"is not JSON: {error.msg} at character {error.colno}; was it cut short?"
        raise TraceError(file, what, line=error.lineno) from None
    except _Repeated as repeated:
        second = 1 + text.count("\n", 0, _second(text, repeated.key))
        what = "stands twice in one object; each key once"
        raise TraceError(file, what, line=second, column=repeated.key) from None
    except ValueError:
        raise TraceError(file, "holds a number of thousands of digits; no log does") from None
    except RecursionError:
        raise TraceError(file, "nests values too deeply for a log") from None


class _Repeated(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _Repeated(next(key for key in keys if keys.count(key) > 1))
    return mapping


def _second(text: str, key: str) -> int:
    """About where the key stands for the second time."""
    word = json.dumps(key, ensure_ascii=False)
    return max(0, text.find(word, text.find(word) + 1))


def _line_of(text: str, place: Place) -> int:
    """The line on which the value at `place` begins; that of the innermost value around it, if it is not there."""
    decoder = json.JSONDecoder()
    position = _after_blanks(text, 0)
    for step in place:
        found = _inside(decoder, text, position, step)
        if found is None:
            break
        position = found
    return 1 + text.count("\n", 0, position)


def _inside(decoder: json.JSONDecoder, text: str, position: int, step: str | int) -> int | None:
    """Where the member `step` of the object or list at `position` begins."""
    if text[position] not in "{[":
        return None
    index = 0
    position = _after_blanks(text, position + 1)
    while text[position] not in "}]":
        key: str | int = index
        if isinstance(step, str):
            key, position = decoder.raw_decode(text, position)
            position = _after_blanks(text, _after_blanks(text, position) + 1)
        if key == step:
            return position
        _, position = decoder.raw_decode(text, position)
        position = _after_blanks(text, position)
        if text[position] == ",":
            position = _after_blanks(text, position + 1)
        index += 1
    return None


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."

"""Readers of single values from a job file: each takes a value and its path, and refuses what is not of its kind."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from allocator.domain.errors import InvalidInput, Violation

Reader = Callable[[Any, str], Any]
"""From a value and its path to the value in its own type; raises InvalidInput."""


def text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput.of(path, f"must be text, got {shown(value)}; put it in quotes")
    return value


def whole(low: int, high: int) -> Callable[[object, str], int]:
    """Reads whole numbers of that range."""

    def parse(value: object, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput.of(path, f"must be a whole number between {low} and {high}, got {shown(value)}")
        return value

    return parse


def number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300 or math.isnan(value):
        raise InvalidInput.of(path, f"must be a number, got {shown(value)}")
    return float(value)


def truth(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput.of(path, f"must be true or false, got {shown(value)}")
    return value


def mapping(value: object, path: str, what: str) -> dict[str, Any]:
    """A mapping with keys of text; `what` says in words what to what."""
    if not isinstance(value, dict):
        raise InvalidInput.of(path, f"must be a mapping of {what}, got {shown(value)}")
    for key in value:
        text(key, f"{path}.{key}")
    return value


def labels(value: object, path: str) -> dict[str, str]:
    """Keys to text."""
    return {key: text(word, f"{path}.{key}") for key, word in mapping(value, path, "keys to text").items()}


def fields(given: object, path: str, faults: list[Violation], known: Mapping[str, Reader], what: str) -> dict[str, Any]:
    """Every known field of a mapping in its own type; unknown and wrong ones become faults. Empty ones are left out."""
    if not isinstance(given, dict):
        faults.append(Violation(path, f"must be a mapping of a {what}'s fields, got {shown(given)}"))
        return {}
    parsed = {}
    for key, value in given.items():
        where = f"{path}.{key}" if path else str(key)
        reader = known.get(key) if isinstance(key, str) else None
        if reader is None:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a {what} has: {', '.join(known)}"
            faults.append(Violation(where, f"unknown field; {hint}"))
        elif value is not None:
            try:
                parsed[key] = reader(value, where)
            except InvalidInput as error:
                faults += error.violations
    return parsed


def shown(value: object) -> str:
    """A value in a message: short, whatever it is."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return reprlib.repr(value)

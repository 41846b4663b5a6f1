"""An experiment: one workload replayed in many variants, as a TOML file says it.

    about = "Who waits how long under which scheduler"

    [options]                       # of every replay, by the names that `replay --help` gives them
    trace = "philly"
    path = "$ALLOCATOR_TRACES/philly-2017"
    to = "2017-10-08"

    [vary]                          # every combination is one replay
    scheduler = ["allocator", "fifo", "las"]
    seed = [0, 1, 2]

    [[cases]]                       # and each case with every combination; none: one case without a name
    name = "patient"
    hysteresis = 600

Paths are relative to the file, and may hold environment variables. What a case says goes before what `options`
say, and is not varied.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from allocator.domain.errors import InvalidInput, Violation
from simulations.sweep.arguments import Options

MOST_CELLS = 10_000
_UNPRINTED = re.compile(r"[^A-Za-z0-9.=+-]+")
_UNRESOLVED = re.compile(r"\$\{?(\w+)")


@dataclass(frozen=True, slots=True)
class Cell:
    """One replay of an experiment. `label` names it, also as a folder; `varied` is what tells it from the others."""

    number: int
    label: str
    varied: Mapping[str, str]
    arguments: tuple[str, ...]
    """Of `replay`, without --out."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a file says, checked: every cell is one that `replay` takes."""

    name: str
    about: str
    cells: tuple[Cell, ...]


def read_experiment(file: Path, options: Options) -> Experiment:
    """Raises InvalidInput with every mistake of the file's form, or those of the first replay that cannot be."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput.of(str(file), f"cannot be read: {error}") from None
    mistakes = [violation.under(str(file)) for violation in _mistakes(document)]
    if mistakes:
        raise InvalidInput(*mistakes)
    cells = []
    for number, (label, varied, said) in enumerate(_combinations(document)):
        try:
            resolved = {name: _resolved(name, value, file.parent, options) for name, value in said.items()}
            cells.append(Cell(number, label, varied, options.arguments(resolved)))
        except InvalidInput as error:
            raise InvalidInput(*(violation.under(f"{file}: {label}") for violation in error.violations)) from None
    twice = {label for label, count in Counter(cell.label for cell in cells).items() if count > 1}
    if twice:
        raise InvalidInput.of(f"{file}: vary", f"gives several replays the same name: {', '.join(sorted(twice))}")
    return Experiment(file.stem, document.get("about", ""), tuple(cells))


def _mistakes(document: dict[str, Any]) -> Iterator[Violation]:
    """What is wrong with the form of the file."""
    for name in document.keys() - {"about", "options", "vary", "cases"}:
        yield Violation(name, "is not known; an experiment has about, options, vary and cases")
    if not isinstance(document.get("about", ""), str):
        yield Violation("about", "must be text")
    for name in ("options", "vary"):
        if not isinstance(document.get(name, {}), dict):
            yield Violation(name, f"must be a table: [{name}]")
    cases = document.get("cases", [])
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        yield Violation("cases", "must be tables: [[cases]]")
        return
    for index, case in enumerate(cases):
        if not isinstance(case.get("name"), str) or not case["name"].strip():
            yield Violation(f"cases[{index}].name", "must be a text that tells it from the other cases")
    count = max(1, len(cases))
    vary = document.get("vary", {})
    for name, values in vary.items() if isinstance(vary, dict) else ():
        if not isinstance(values, list) or not values:
            yield Violation(f"vary.{name}", f"must be a list of values, such as [0, 1, 2]; got {values!r}")
        else:
            count *= len(values)
    if count > MOST_CELLS:
        yield Violation("vary", f"makes {count:,} replays; at most {MOST_CELLS:,}")


def _combinations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """(label, what is varied, all options) of every replay, in the order of the file."""
    for case in document.get("cases", []) or [{}]:
        settings = {name: value for name, value in case.items() if name != "name"}
        vary = {name: values for name, values in document.get("vary", {}).items() if name not in settings}
        for values in product(*vary.values()):
            chosen = dict(zip(vary, values, strict=True))
            varied = {"case": case["name"]} if case else {}
            varied |= {name: shown(value) for name, value in chosen.items()}
            label = "+".join(value if name == "case" else f"{name}={value}" for name, value in varied.items())
            options = {**document.get("options", {}), **chosen, **settings}
            yield _UNPRINTED.sub("-", label) or "only", varied, options


def shown(value: object) -> str:
    """A value as the command line would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _resolved(name: str, value: Any, folder: Path, options: Options) -> Any:
    """Paths as seen from the experiment's file, with environment variables in them."""
    if not options.is_path(name) or not isinstance(value, str):
        return value
    expanded = os.path.expandvars(value)
    unknown = _UNRESOLVED.search(expanded)
    if unknown:
        raise InvalidInput.of(name, f"needs the environment variable {unknown.group(1)}, which is not set: {value}")
    return str((folder / Path(expanded).expanduser()).resolve())

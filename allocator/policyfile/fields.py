"""Which key of the file says which field of `domain.policy.Policy`, and how its value is written.

Everything but the objective's name, queues, classes and limits is one line here; a test holds the table to the policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from allocator.domain.errors import InvalidInput
from allocator.domain.policy import PLACEMENTS, WEIGHTINGS
from allocator.domain.quantities import format_duration, parse_duration

Reader = Callable[[object], object]
"""From a value of TOML to the field's; raises Unreadable."""


class Unreadable(ValueError):
    """A value that is not of its kind; says what would be right."""


def number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise Unreadable(f"must be a number, got {shown(value)}")
    return float(value)


def whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable(f"must be a whole number, got {shown(value)}")
    if abs(value) >= 2**63:
        raise Unreadable("must be a whole number of at most 18 digits")
    return value


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(f"must be true or false, got {shown(value)}")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"must be text in quotes, got {shown(value)}")
    return value


def duration(value: object) -> float:
    """Seconds, from `"5m"`, a number of seconds, or inf."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return float(value)
    if not isinstance(value, str):
        raise Unreadable(f'must be a time such as "5m" or "1h30m", or a number of seconds; got {shown(value)}')
    try:
        return parse_duration(value, "")
    except InvalidInput as error:
        raise Unreadable(error.violations[0].description) from None


def shown(value: object) -> str:
    """A value as it would stand in the file, shortened."""
    written = "true" if value is True else "false" if value is False else repr(value)
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return written if len(written) <= 60 else f"{written[:57]}..."


def written_duration(seconds: float) -> str:
    """As TOML; `duration` reads exactly this number back."""
    if math.isfinite(seconds) and seconds >= 0:
        person = format_duration(seconds)
        if len(person) <= 12 and parse_duration(person, "") == seconds:
            return f'"{person}"'
    return written_number(seconds)


def written_number(value: float) -> str:
    """As TOML: a whole number without a point."""
    if math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return repr(value)


def written_text(value: str) -> str:
    """As a basic string of TOML."""
    escaped = "".join(_ESCAPES.get(character, character) for character in value)
    return f'"{escaped}"'


_ESCAPES = {chr(code): f"\\u{code:04x}" for code in (*range(32), 127)} | {
    '"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """`[section] key` says `field`; `read` and `write` are inverse. `words`: the only values, where there are few."""

    section: str
    key: str
    field: str
    read: Reader
    write: Callable[[float], str]
    words: tuple[str, ...] = ()


def _time(section: str, key: str, field: str) -> Setting:
    return Setting(section, key, field, duration, written_duration)


def _number(section: str, key: str, field: str) -> Setting:
    return Setting(section, key, field, number, written_number)


def _word(section: str, key: str, field: str, words: tuple[str, ...]) -> Setting:
    return Setting(section, key, field, text, lambda value: written_text(str(value)), words)


OBJECTIVE, HISTORY, SOLVER = "objective", "history", "solver"
SETTINGS: tuple[Setting, ...] = (
    _word(OBJECTIVE, "placement", "placement", PLACEMENTS),
    _time(OBJECTIVE, "minimum_run", "minimum_run_seconds"),
    _time(OBJECTIVE, "hysteresis", "hysteresis_seconds"),
    _number(OBJECTIVE, "lag_tolerance", "lag_tolerance"),
    _time(OBJECTIVE, "horizon", "horizon_seconds"),
    _time(OBJECTIVE, "credit_limit", "credit_limit_seconds"),
    _word(OBJECTIVE, "weighting", "weighting", WEIGHTINGS),
    _time(OBJECTIVE, "service", "service_seconds"),
    _time(OBJECTIVE, "aging", "aging_seconds"),
    _number(OBJECTIVE, "weight_factor_limit", "weight_factor_limit"),
    _number(OBJECTIVE, "crowd_strength", "crowd_strength"),
    _number(HISTORY, "strength", "usage_strength"),
    _time(HISTORY, "half_life", "usage_half_life_seconds"),
    _number(SOLVER, "gap", "gap"),
    Setting(SOLVER, "iterations", "iterations", whole, str),
)
"""In the order in which they are written."""

NAME, ALPHA, UTILITY = "name", "alpha", "utility"
"""Of the objective: a name, or an alpha and, unless it is throughput, what it is applied to."""
OTHERWISE_SAID = frozenset({"fairness", "utility", "side_constraints", "floating_resources", "priority_classes"})
"""Fields of the policy that have no line in SETTINGS."""
TOP: tuple[str, ...] = ("version", OBJECTIVE, HISTORY, SOLVER, "priority_class", "queue", "limit", "floating")
QUEUE: tuple[str, ...] = ("name", "weight", "priority", "discipline", "max_live_jobs", "cordoned", "quota")
QUOTA: tuple[str, ...] = ("flavor", "resource", "nominal", "borrow", "lend")
PRIORITY_CLASS: tuple[str, ...] = ("name", "priority", "preemptible")
LIMIT: tuple[str, ...] = ("name", "most", "unit", "term")
TERM: tuple[str, ...] = ("resource", "per_unit", "flavors", "queues", "job_labels", "node_labels")


def keys_of(section: str) -> tuple[str, ...]:
    """Those that one of the tables of SETTINGS may hold."""
    own = tuple(setting.key for setting in SETTINGS if setting.section == section)
    return (NAME, ALPHA, UTILITY, *own) if section == OBJECTIVE else own

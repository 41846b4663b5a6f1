"""Values of the project's own tables: amounts, pairs, quotas and constraints, as the domain has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from allocator.domain.cluster import EngineCapability, Labels
from allocator.domain.constraints import UNCONSTRAINED, Constraints
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.quota import Quota
from allocator.domain.resources import MAX_AMOUNT, Resources, display_unit
from allocator.wire.constraints import constraints_from_json
from simulations.traces.rows import Row, shown

COLUMN_OF_RESOURCE = {
    "cpu": "cores",
    "gpu": "gpus",
    "memory": "memory_gib",
    "bandwidth": "bandwidth_gb_per_second",
    "disk": "disk_gib",
}
_LIMITS = ("nominal", "borrowing_limit", "lending_limit")


def number(row: Row, column: str, otherwise: float) -> float:
    """The value, at least 0; `otherwise` where it is empty."""
    return row.number(column) if row.get(column) else otherwise


def truth(row: Row, column: str, *, otherwise: bool) -> bool:
    value = row.get(column).lower()
    if value in ("true", "false"):
        return value == "true"
    if value:
        raise row.error(column, f"must be true or false, got {shown(row[column])}")
    return otherwise


def amounts(row: Row) -> Resources:
    """The amounts of a row, in the integers of the domain."""
    found = {}
    for resource, column in COLUMN_OF_RESOURCE.items():
        if row.get(column):
            unit = display_unit(resource)[1]
            found[resource] = round(row.number(column, maximum=MAX_AMOUNT / unit) * unit)
    if row.get("extra"):
        for name, amount in _mapping(row, "extra").items():
            if isinstance(amount, bool) or not isinstance(amount, int):
                raise row.error("extra", f"must hold whole numbers, got {shown(json.dumps(amount))} for {name!r}")
            found[name] = amount
    return Resources.of(found)


def pairs(row: Row, column: str) -> Labels:
    """Labels or taints, sorted by key."""
    if not row.get(column):
        return ()
    found = _mapping(row, column)
    for key, value in found.items():
        if not isinstance(value, str):
            raise row.error(column, f"must hold texts in quotes, got {shown(json.dumps(value))} for {key!r}")
    return _shared(tuple(sorted(found.items())))


def capabilities(row: Row) -> frozenset[EngineCapability] | None:
    """What a node's engine can do; None where the row does not say."""
    text = row.get("capabilities")
    if not text:
        return None
    known = {each.value: each for each in EngineCapability}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) and each in known for each in found):
        raise row.error("capabilities", f"must be a JSON list [...] of {', '.join(known)}; got {shown(text)}")
    return frozenset(known[each] for each in found)


def speeds(row: Row) -> tuple[tuple[str, float], ...]:
    """True speeds by flavor."""
    if not row.get("true_speed"):
        return ()
    found = _mapping(row, "true_speed")
    for flavor, factor in found.items():
        sound = isinstance(factor, (int, float)) and not isinstance(factor, bool) and 1e-9 <= factor <= 1e9
        if not sound:
            raise row.error(
                "true_speed", f"must hold numbers from 1e-9 to 1e9, got {shown(json.dumps(factor))} for {flavor!r}"
            )
    return tuple(sorted((flavor, float(factor)) for flavor, factor in found.items()))


def constraints(row: Row) -> Constraints:
    """As the daemon's API writes them in JSON."""
    text = row.get("constraints")
    if not text:
        return UNCONSTRAINED
    try:
        return _constraints(text)
    except InvalidInput as error:
        raise row.error("constraints", str(error)) from None


@lru_cache(maxsize=4096)
def _constraints(text: str) -> Constraints:
    return constraints_from_json(text)


@lru_cache(maxsize=4096)
def _shared(labels: Labels) -> Labels:
    """The same object for equal labels."""
    return labels


def quotas(row: Row) -> tuple[Quota, ...]:
    """Sorted by flavor and resource."""
    if not row.get("quotas"):
        return ()
    try:
        entries = json.loads(row["quotas"])
    except ValueError as error:
        raise row.error("quotas", f"must be a JSON list [...]: {error}") from None
    if not isinstance(entries, list):
        raise row.error("quotas", f"must be a JSON list [...], got {shown(row['quotas'])}")
    return tuple(sorted(_quota(row, index, entry) for index, entry in enumerate(entries)))


def _quota(row: Row, index: int, entry: Any) -> Quota:
    known = {"flavor", "resource", *_LIMITS}
    if not isinstance(entry, dict) or not {"flavor", "resource"} <= set(entry) <= known:
        what = f"entry {index} must have flavor and resource, and may have {', '.join(_LIMITS)}; nothing else"
        raise row.error("quotas", what)
    unit = display_unit(str(entry["resource"]))[1]
    limits: dict[str, int] = {}
    for name in _LIMITS:
        if name in entry:
            amount = entry[name]
            if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount <= MAX_AMOUNT / unit:
                what = f"entry {index} must have a number from 0 on as {name}, got {shown(json.dumps(amount))}"
                raise row.error("quotas", what)
            limits[name] = round(amount * unit)
    return Quota(str(entry["flavor"]), str(entry["resource"]), **limits)


def _mapping(row: Row, column: str) -> Mapping[str, Any]:
    text = row[column]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise row.error(column, f"must be a JSON object {{...}}, got {shown(text)}")
    return found


def refuse_violations(
    row: Row, violations: Iterable[Violation], otherwise: str, columns: Mapping[str, str] | None = None
) -> None:
    """Raise TraceError for the first, in the column that its field is told in."""
    for violation in violations:
        field = violation.field.split(".")[0].split("[")[0]
        column = (columns or {}).get(field, field)
        if column not in row.columns:
            column = otherwise
        raise row.error(column, f"{violation.field}: {violation.description}")

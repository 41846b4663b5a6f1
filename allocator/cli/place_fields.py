"""What a job file or flags say about place and size: constraints, and gangs of `min` to `max` replicas.

constraints:
  nodes: [{key: zone, values: [a, b]}, {key: spot, negated: true}]
  at_most: [{replicas: 2, per: rack}, {replicas: 1, of: {app: web}}]
  near: [{per: rack, of: {app: db}}]
  within: rack
  tolerations: [dedicated=training, spot]
replicas: {min: 2, max: 4}
throughput: [1.0, 1.4, 1.7]            # of 2, 3 and 4 replicas; without it: proportional to the replicas
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from allocator.cli import field_types as f
from allocator.domain.bounds import LEAST_THROUGHPUT, MOST_THROUGHPUT, is_throughput
from allocator.domain.cluster import NODE_DOMAIN, Labels
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule, carries
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.job import MAX_REPLICAS


@dataclass(frozen=True)
class ReplicaRange:
    """From `least` to `most` replicas, every count in between included."""

    least: int
    most: int

    @property
    def counts(self) -> range:
        return range(self.least, self.most + 1)


MOST_COUNTS = 256
"""Of one range: each count is a configuration."""
_NO_DOMAIN = "must be the key of a node label such as rack, or node; got nothing"
_count = f.whole(1, MAX_REPLICAS)


def read_replicas(value: object, path: str) -> int | ReplicaRange:
    """A number, or a mapping of `min` and `max`."""
    if not isinstance(value, dict):
        return _count(value, path)
    faults: list[Violation] = []
    parsed = f.fields(value, path, faults, {"min": _count, "max": _count}, "range of replicas")
    if not faults and len(parsed) < 2:
        faults.append(Violation(path, "must have both min and max, or be a single number"))
    if faults:
        raise InvalidInput(*faults)
    least, most = parsed["min"], parsed["max"]
    largest = least + MOST_COUNTS - 1
    if not least <= most <= largest:
        raise InvalidInput.of(f"{path}.max", f"must be from min, {least}, to {largest}; got {most}")
    return ReplicaRange(least, most)


def read_curve(value: object, path: str) -> list[float]:
    """Throughputs, one for each count of a range."""
    if not isinstance(value, list) or not value:
        raise InvalidInput.of(
            path,
            f"must be a list of numbers, one for each number of replicas from min to max; got {f.shown(value)}; a "
            "throughput per flavor stands in flavors",
        )
    points = [_point(point, f"{path}[{index}]") for index, point in enumerate(value)]
    if not any(points):
        raise InvalidInput.of(path, "must have at least one number above 0: with 0 it cannot run")
    return points


def _point(value: object, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and (value == 0 or is_throughput(value)):
        return float(value)
    raise InvalidInput.of(
        path, f"must be 0 or a number from {LEAST_THROUGHPUT:g} to {MOST_THROUGHPUT:g}, got {f.shown(value)}"
    )


def read_constraints(value: object, path: str) -> Constraints:
    """Errors: InvalidInput with every fault of shape; what the values mean the domain judges."""
    faults: list[Violation] = []
    parsed = f.fields(value, path, faults, _CONSTRAINT_FIELDS, "set of constraints")
    if faults:
        raise InvalidInput(*faults)
    return Constraints(**parsed) if parsed else UNCONSTRAINED


def _entries(
    known: dict[str, f.Reader], what: str, needed: str, make: Callable[..., Any]
) -> Callable[[object, str], tuple[Any, ...]]:
    """Reads a list of mappings with these fields, of which `needed` must be there."""

    def parse(value: object, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidInput.of(path, f"must be a list, each entry a mapping of {', '.join(known)}")
        faults: list[Violation] = []
        found = []
        for index, item in enumerate(value):
            before = len(faults)
            parsed = f.fields(item, f"{path}[{index}]", faults, known, what)
            if len(faults) == before and needed not in parsed:
                faults.append(Violation(f"{path}[{index}]", f"must have {needed}"))
            if len(faults) == before:
                found.append(make(**parsed))
        if faults:
            raise InvalidInput(*faults)
        return tuple(found)

    return parse


def _values(value: object, path: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise InvalidInput.of(path, f"must be text or a list of texts, got {f.shown(value)}")
    return tuple(f.text(word, f"{path}[{index}]") for index, word in enumerate(value))


def _of(value: object, path: str) -> Labels:
    return tuple(sorted(f.labels(value, path).items()))


def _tolerations(value: object, path: str) -> Labels:
    if isinstance(value, dict):
        return _of(value, path)
    if not isinstance(value, list):
        raise InvalidInput.of(path, f"must be a list such as [dedicated=training, spot], got {f.shown(value)}")
    words = [f.text(word, f"{path}[{index}]").partition("=") for index, word in enumerate(value)]
    return tuple(sorted({(key, wanted) for key, _, wanted in words}))


def _within(value: object, path: str) -> str:
    found = f.text(value, path)
    if not found:
        raise InvalidInput.of(path, _NO_DOMAIN)
    return found


def _near(of: Labels, per: str = NODE_DOMAIN) -> Near:
    return Near(per, of)


_CONSTRAINT_FIELDS: dict[str, f.Reader] = {
    "nodes": _entries({"key": f.text, "values": _values, "negated": f.truth}, "node rule", "key", NodeRule),
    "at_most": _entries({"replicas": f.whole(0, MAX_REPLICAS), "per": f.text, "of": _of}, "limit", "replicas", AtMost),
    "near": _entries({"per": f.text, "of": _of}, "wish", "of", _near),
    "within": _within,
    "tolerations": _tolerations,
}


# --- flags --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlaceFlags:
    """The flags of `submit` about place, as they were given."""

    node_label: list[str]
    not_node_label: list[str]
    tolerate: list[str]
    max_per_node: int | None
    max_per: list[str]
    within: str | None
    near: list[str]
    away_from: list[str]

    def constraints(self, own: Labels) -> dict[str, Any] | None:
        """As a file would say it, for a job with the labels `own`; None if no flag was given."""
        limits: list[dict[str, Any]] = []
        if self.max_per_node is not None:
            limits.append({"replicas": _count(self.max_per_node, "--max-per-node")})
        for given in self.max_per:
            per, separator, count = given.partition("=")
            if not separator or not per or not count.isdecimal():
                raise InvalidInput.of("--max-per", f"must be written LABEL=COUNT, such as rack=2; got {given!r}")
            limits.append({"replicas": _count(int(count), "--max-per"), "per": per})
        for given in self.away_from:
            per, of = _domain_and_label("--away-from", given)
            itself = carries(own, tuple(of.items()))
            limits.append({"replicas": 1 if itself else 0, "per": per, "of": of})
        if self.within == "":
            raise InvalidInput.of("--within", _NO_DOMAIN)
        found: dict[str, Any] = {
            "nodes": [
                *_rules("--node-label", self.node_label, negated=False),
                *_rules("--not-node-label", self.not_node_label, negated=True),
            ],
            "at_most": limits,
            "near": [{"per": per, "of": of} for per, of in (_domain_and_label("--near", given) for given in self.near)],
            "within": self.within,
            "tolerations": self.tolerate,
        }
        return {key: value for key, value in found.items() if value} or None


FLAGS = {
    "constraints.nodes": "--node-label",
    "constraints.at_most": "--max-per",
    "constraints.near": "--near",
    "constraints.within": "--within",
    "constraints.tolerations": "--tolerate",
    "replicas.min": "--min-replicas",
    "replicas.max": "--max-replicas",
    "throughput": "--throughput-curve",
}
"""The flag that sets what is at a path, by the path's beginning."""


def read_curve_flag(given: str) -> list[float]:
    """`1,1.8,2.5` as numbers."""
    try:
        return [float(point) for point in given.split(",")]
    except ValueError:
        raise InvalidInput.of(
            "--throughput-curve", f"must be numbers with commas between them, such as 1,1.8,2.5; got {given!r}"
        ) from None


def _rules(flag: str, given: list[str], *, negated: bool) -> list[dict[str, Any]]:
    """One rule per key: its values are alternatives."""
    values: dict[str, list[str]] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not key:
            raise InvalidInput.of(flag, f"must be written KEY or KEY=VALUE, such as zone=a; got {text!r}")
        values.setdefault(key, []).extend([value] if separator else [])
    return [{"key": key, "values": wanted, "negated": negated} for key, wanted in values.items()]


def _domain_and_label(flag: str, given: str) -> tuple[str, dict[str, str]]:
    """From `app=web` (per node) or `rack:app=web`."""
    label, separator, value = given.partition("=")
    per, colon, key = label.rpartition(":")
    if not separator or not key or (colon and not per):
        raise InvalidInput.of(
            flag, f"must be written KEY=VALUE or DOMAIN:KEY=VALUE, such as rack:app=db; got {given!r}"
        )
    return per or NODE_DOMAIN, {key: value}

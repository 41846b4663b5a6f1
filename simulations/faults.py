"""Nodes that get lost and come back: ordinary inputs of a replay, given as a list or drawn with a seed."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from allocator.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Outage:
    """`node` is lost at `start` and registers again `seconds` later."""

    node: str
    start: float
    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and self.start >= 0):
            raise InvalidInput.of("start", f"must be a finite time, at least 0; got {self.start}")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise InvalidInput.of("seconds", f"must be a finite number above 0, got {self.seconds}")

    @property
    def end(self) -> float:
        return self.start + self.seconds


class Faults(Protocol):
    """Says when a node fails next."""

    def next_outage(self, node: str, after: float) -> Outage | None:
        """The first outage of `node` that starts at or after `after`; asked once at the start and after each outage."""
        ...

    def told(self) -> dict[str, Any]:
        """For the summary."""
        ...


class NoFaults:
    """Nothing ever breaks."""

    def told(self) -> dict[str, Any]:
        return {"kind": "none"}

    def next_outage(self, node: str, after: float) -> Outage | None:  # noqa: ARG002 - the port's signature
        return None


class ListedFaults:
    """Exactly these outages; those of one node must not overlap."""

    def __init__(self, outages: Iterable[Outage]) -> None:
        self._by_node: dict[str, list[Outage]] = {}
        for outage in sorted(outages, key=lambda outage: (outage.node, outage.start)):
            earlier = self._by_node.setdefault(outage.node, [])
            if earlier and outage.start < earlier[-1].end:
                what = (
                    f"of node {outage.node!r} overlap: one ends at {earlier[-1].end:g}, one starts at {outage.start:g}"
                )
                raise InvalidInput.of("outages", what)
            earlier.append(outage)

    def told(self) -> dict[str, Any]:
        return {"kind": "listed", "outages": sum(map(len, self._by_node.values()))}

    def next_outage(self, node: str, after: float) -> Outage | None:
        outages = self._by_node.get(node, [])
        index = bisect_left(outages, after, key=lambda outage: outage.start)
        return outages[index] if index < len(outages) else None


class RandomFaults:
    """Each node fails on its own: exponential times between repair and failure, and for the repair.

    `mean_up_seconds` and `mean_down_seconds` are the means of the two. Each node draws from its own stream of `seed`,
    so one node's history does not depend on the others'.
    """

    def __init__(
        self, nodes: Iterable[str], *, seed: int | tuple[int, ...], mean_up_seconds: float, mean_down_seconds: float
    ) -> None:
        for field, value in (("mean_up_seconds", mean_up_seconds), ("mean_down_seconds", mean_down_seconds)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput.of(field, f"must be a finite number above 0, got {value}")
        names = sorted(nodes)
        streams = np.random.SeedSequence(seed).spawn(len(names))
        self._draws = {
            name: np.random.Generator(np.random.PCG64(stream)) for name, stream in zip(names, streams, strict=True)
        }
        self._mean_up_seconds = mean_up_seconds
        self._mean_down_seconds = mean_down_seconds

    def told(self) -> dict[str, Any]:
        return {"kind": "random", "mean_up_s": self._mean_up_seconds, "mean_down_s": self._mean_down_seconds}

    def next_outage(self, node: str, after: float) -> Outage | None:
        draws = self._draws[node]
        start = after + float(draws.exponential(self._mean_up_seconds))
        return Outage(node, start, 1.0 + float(draws.exponential(self._mean_down_seconds)))


def read_outages(path: Path, nodes: Iterable[str], start: float) -> ListedFaults:
    """Outages from a CSV file with the columns node, start_s and seconds; `start_s` counts from the replay's `start`.

    Raises InvalidInput that names file and line, also for a node that is none of `nodes`.
    """
    known = frozenset(nodes)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != ["node", "start_s", "seconds"]:
                raise InvalidInput.of(f"{path}:1", f"must be node,start_s,seconds; got {','.join(header)!r}")
            return ListedFaults(_outage(row, f"{path}:{line}", known, start) for line, row in enumerate(rows, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput.of("outages", f"{path} cannot be read: {error}") from None


def _outage(row: list[str], where: str, nodes: frozenset[str], start: float) -> Outage:
    try:
        name, begin, seconds = row
        found = Outage(name, start + float(begin), float(seconds))
    except ValueError:
        raise InvalidInput.of(where, f"must hold a node and two numbers of seconds, got {','.join(row)!r}") from None
    except InvalidInput as error:
        raise InvalidInput(*(violation.under(where) for violation in error.violations)) from None
    if name not in nodes:
        raise InvalidInput.of(where, f"names node {name!r}, which there is none of")
    return found

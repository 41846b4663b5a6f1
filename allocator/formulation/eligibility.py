"""Which configurations could run at all, on nodes that take new work and are empty; and if none, why not.

A gang fits a flavor when its nodes, each taking as many replicas as fit, take them all. Jobs come in few shapes, so
every question is asked once per shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from allocator.domain.cluster import Node
from allocator.domain.job import MAX_REPLICAS, Configuration
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, NOTHING, Resources


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one configuration could run on the empty cluster; `cause` is None when it could.

    `shortages` are (resource, missing amount), `severity` how far away it is: the largest part missing of any amount.
    """

    cause: PendingCause | None
    shortages: tuple[tuple[str, int], ...] = ()
    severity: float = 0.0


_FITS = Verdict(None)
_HOPE = (PendingCause.EXCEEDS_CLUSTER, PendingCause.EXCEEDS_NODE, PendingCause.NO_ELIGIBLE_FLAVOR)
"""Causes, the one nearest to running first: a job is told the best that can be said of any of its configurations."""


@remembered
def _open_sizes(nodes: tuple[Node, ...]) -> dict[str, Counter[Resources]]:
    """By flavor, how many open nodes there are of each capacity; not to be changed."""
    sizes: dict[str, Counter[Resources]] = {}
    for node in nodes:
        if node.takes_new_work:
            sizes.setdefault(node.flavor, Counter())[node.capacity] += 1
    return sizes


class OpenNodes:
    """The nodes that take new work, as if empty, by flavor and size."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._sizes = _open_sizes(nodes)
        self._verdicts: dict[tuple[str, int, Resources], Verdict] = {}

    def capacity(self, flavor: str) -> Resources:
        """Everything that the flavor's open nodes have together."""
        together = NOTHING
        for size, count in self._sizes.get(flavor, Counter()).items():
            together = together + size * count
        return together

    def verdict(self, configuration: Configuration) -> Verdict:
        """Whether `configuration` could run; its throughput is not looked at."""
        key = (configuration.flavor, configuration.replicas, configuration.demand)
        found = self._verdicts.get(key)
        if found is None:
            found = self._verdicts[key] = self._judge(*key)
        return found

    def _judge(self, flavor: str, replicas: int, demand: Resources) -> Verdict:
        sizes = self._sizes.get(flavor)
        if not sizes:
            return Verdict(PendingCause.NO_ELIGIBLE_FLAVOR)
        placeable = sum(count * replicas_that_fit(demand, size) for size, count in sizes.items())
        if placeable >= replicas:
            return _FITS
        if placeable == 0:
            return min(
                (_short(PendingCause.EXCEEDS_NODE, demand, demand.shortage(size)) for size in sizes),
                key=lambda verdict: (verdict.severity, verdict.shortages),
            )
        gang = demand * replicas
        missing = gang.shortage(self.capacity(flavor))
        if not missing:  # enough in total, but not in pieces that fit a replica: what those without a place need
            missing = dict((demand * (replicas - placeable)).items())
        return _short(PendingCause.EXCEEDS_CLUSTER, gang, missing)


@remembered
def open_nodes_of(nodes: tuple[Node, ...]) -> OpenNodes:
    """The same object, with all its verdicts, for as long as no node changes."""
    return OpenNodes(nodes)


def replicas_that_fit(demand: Resources, capacity: Resources) -> int:
    """How many replicas of `demand` an empty node takes, at most MAX_REPLICAS. A part of a GPU never spans two GPUs."""
    most = [MAX_REPLICAS]
    for name, amount in demand.items():
        there = capacity.get(name)
        if name == "gpu" and amount < GPU_MILLIS:
            most.append(there // GPU_MILLIS * (GPU_MILLIS // amount))
        else:
            most.append(there // amount)
    return min(most)


def why_never(judged: Iterable[tuple[Configuration, Verdict]]) -> PendingReason:
    """The reason of a job that can run nowhere: the most hopeful cause, and per flavor the least that is missing."""
    by_cause: dict[PendingCause, dict[str, Verdict]] = {}
    for configuration, verdict in judged:
        if verdict.cause is not None:
            nearest = by_cause.setdefault(verdict.cause, {})
            known = nearest.get(configuration.flavor)
            if known is None or verdict.severity < known.severity:
                nearest[configuration.flavor] = verdict
    for cause in _HOPE:
        if cause in by_cause:
            return PendingReason(cause, shortages_of(by_cause[cause]))
    return PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)


def shortages_of(verdicts: dict[str, Verdict]) -> tuple[Shortage, ...]:
    """By flavor, then in the verdict's order of resources."""
    return tuple(
        Shortage(flavor, resource, missing)
        for flavor, verdict in sorted(verdicts.items())
        for resource, missing in verdict.shortages
    )


def blocked(configuration: Configuration, free: Resources) -> Verdict | None:
    """None when something of everything the configuration needs is `free`; otherwise what its gang lacks."""
    gang = configuration.total_demand
    if all(free.get(name) > 0 for name, _ in gang.items()):
        return None
    return _short(PendingCause.INSUFFICIENT_CAPACITY, gang, gang.shortage(free))


def _short(cause: PendingCause, asked: Resources, missing: dict[str, int]) -> Verdict:
    severity = max((amount / asked.get(name) for name, amount in missing.items()), default=0.0)
    return Verdict(cause, tuple(missing.items()), severity)

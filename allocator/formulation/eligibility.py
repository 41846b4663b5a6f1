"""Which configurations could run at all, on nodes that take new work and are empty; and if none, why not.

A gang fits a flavor when the nodes that its constraints admit, each taking as many replicas as fit, take them all.
Limits per node or domain on its own replicas count; what depends on who else runs does not. Jobs come in few kinds, so
every question is asked once per kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from allocator.domain.cluster import NODE_DOMAIN, EngineCapability, Labels, Node, needed_to_start
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import MAX_REPLICAS
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, NOTHING, Resources


class Kind(NamedTuple):
    """One way to run a gang, whatever it is worth."""

    flavor: str
    replicas: int
    demand: Resources
    """Of each replica, on its node."""
    constraints: Constraints
    floating: Resources = NOTHING
    """Of each replica, of what belongs to no node."""

    @property
    def asks(self) -> Resources:
        """Everything that each replica takes."""
        return self.demand + self.floating if self.floating.extra else self.demand

    @property
    def needs(self) -> tuple[EngineCapability, ...]:
        """Of the engine of its nodes."""
        return needed_to_start(self.demand)

    def admits(self, node: Node) -> bool:
        """Whether labels, taints and the engine of the node allow a replica there, whoever else runs."""
        return self.constraints.admits(node) and (
            node.capabilities is None or all(node.can(each) for each in self.needs)
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one kind could run on the empty cluster; `cause` is None when it could.

    `shortages` are (resource, missing amount), `severity` how far away it is: the largest part missing of any amount.
    """

    cause: PendingCause | None
    shortages: tuple[tuple[str, int], ...] = ()
    severity: float = 0.0


_FITS = Verdict(None)
_HOPE = (
    PendingCause.EXCEEDS_CLUSTER,
    PendingCause.EXCEEDS_NODE,
    PendingCause.NO_MATCHING_NODE,
    PendingCause.NO_ELIGIBLE_FLAVOR,
)
"""Causes, the one nearest to running first: a job is told the best that can be said of any of its configurations."""


def parted(demand: Resources, floating: Collection[str]) -> tuple[Resources, Resources]:
    """What a demand takes of its node, and what of the resources that belong to no node."""
    if not any(name in floating for name, _ in demand.extra):
        return demand, NOTHING
    apart = tuple(item for item in demand.extra if item[0] in floating)
    return replace(demand, extra=tuple(item for item in demand.extra if item not in apart)), Resources(extra=apart)


class OpenNodes:
    """The nodes that take new work, as if empty, by flavor and size."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._by_flavor: dict[str, list[Node]] = {}
        self._sizes: dict[str, Counter[Resources]] = {}
        for node in nodes:
            if node.takes_new_work:
                self._by_flavor.setdefault(node.flavor, []).append(node)
                self._sizes.setdefault(node.flavor, Counter())[node.capacity] += 1
        self._verdicts: dict[Kind, Verdict] = {}
        self._admitted: dict[tuple[str, tuple[NodeRule, ...], Labels, tuple[EngineCapability, ...]], list[Node]] = {}
        """By what decides: jobs that differ in whom they may be with have the same."""

    def capacity(self, flavor: str) -> Resources:
        """Everything that the flavor's open nodes have together."""
        return _together(self._sizes.get(flavor, Counter()))

    def verdict(self, kind: Kind) -> Verdict:
        """Whether `kind` could run."""
        found = self._verdicts.get(kind)
        if found is None:
            found = self._verdicts[kind] = self._judge(kind)
        return found

    def admitted(self, kind: Kind) -> list[Node]:
        """The open nodes of its flavor whose labels, taints and engine suit it, by name; not to be changed."""
        key = (kind.flavor, kind.constraints.nodes, kind.constraints.tolerations, kind.needs)
        found = self._admitted.get(key)
        if found is None:
            found = [node for node in self._by_flavor.get(kind.flavor, []) if kind.admits(node)]
            self._admitted[key] = found
        return found

    def _judge(self, kind: Kind) -> Verdict:
        sizes, admitted = self._sizes.get(kind.flavor), self.admitted(kind)
        if sizes is None:
            return Verdict(PendingCause.NO_ELIGIBLE_FLAVOR)
        if not admitted:
            return Verdict(PendingCause.NO_MATCHING_NODE)
        if len(admitted) < len(self._by_flavor[kind.flavor]):
            sizes = Counter(node.capacity for node in admitted)
        demand, replicas = kind.demand, kind.replicas
        fits = {size: replicas_that_fit(demand, size) for size in sizes}
        placeable = sum(count * fits[size] for size, count in sizes.items())
        if placeable:
            placeable = min(placeable, _placeable_within_limits(kind, admitted, fits))
        if placeable >= replicas:
            return _FITS
        if placeable == 0:
            return min(
                (_short(PendingCause.EXCEEDS_NODE, demand, demand.shortage(size)) for size in sizes),
                key=lambda verdict: (verdict.severity, verdict.shortages),
            )
        gang = demand * replicas
        missing = gang.shortage(_together(sizes))
        if not missing:  # enough in total, but not in pieces that fit a replica: what those without a place need
            missing = dict((demand * (replicas - placeable)).items())
        return _short(PendingCause.EXCEEDS_CLUSTER, gang, missing)


def _together(sizes: Counter[Resources]) -> Resources:
    together = NOTHING
    for size, count in sizes.items():
        together = together + size * count
    return together


def _placeable_within_limits(kind: Kind, nodes: Iterable[Node], fits: Mapping[Resources, int]) -> int:
    """At most so many replicas of the gang can be placed on these empty nodes under its limits on itself. Each limit
    alone can be met by so many; limits on crossing kinds of domains may allow fewer together.
    """
    within = kind.constraints.within
    if not within:
        return _placeable_together(kind, nodes, fits)
    domains: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        domains.setdefault(node.domain(within), []).append(node)
    return max((_placeable_together(kind, members, fits) for members in domains.values()), default=0)


def _placeable_together(kind: Kind, nodes: Iterable[Node], fits: Mapping[Resources, int]) -> int:
    """The same for nodes that are all in the one domain that it must be within, if any."""
    own = [limit for limit in kind.constraints.at_most if not limit.of]
    if not own and not kind.constraints.within:
        return MAX_REPLICAS
    per_node = min([kind.replicas, *(limit.replicas for limit in own if limit.per == NODE_DOMAIN)])
    found = [sum(min(per_node, fits[node.capacity]) for node in nodes)]
    found += [
        sum(min(limit.replicas, n) for n in _by_domain(nodes, limit.per, fits, per_node).values()) for limit in own
    ]
    return min(found)


def _by_domain(nodes: Iterable[Node], per: str, fits: Mapping[Resources, int], most: int) -> Counter[tuple[str, str]]:
    """How many replicas each domain could take, with at most `most` on a node."""
    counts: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        counts[node.domain(per)] += min(most, fits[node.capacity])
    return counts


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


def why_never(judged: Iterable[tuple[Kind, Verdict]]) -> PendingReason:
    """The reason of a job that can run nowhere: the most hopeful cause, and per flavor the least that is missing."""
    by_cause: dict[PendingCause, dict[str, Verdict]] = {}
    for kind, verdict in judged:
        if verdict.cause is not None:
            nearest = by_cause.setdefault(verdict.cause, {})
            known = nearest.get(kind.flavor)
            if known is None or verdict.severity < known.severity:
                nearest[kind.flavor] = verdict
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


def blocked(kind: Kind, free: Resources) -> Verdict | None:
    """None when something of everything the kind needs is `free`; otherwise what its gang lacks."""
    gang = kind.demand * kind.replicas
    if all(free.get(name) > 0 for name, _ in gang.items()):
        return None
    return _short(PendingCause.INSUFFICIENT_CAPACITY, gang, gang.shortage(free))


def _short(cause: PendingCause, asked: Resources, missing: dict[str, int]) -> Verdict:
    severity = max((amount / asked.get(name) for name, amount in missing.items()), default=0.0)
    return Verdict(cause, tuple(missing.items()), severity)

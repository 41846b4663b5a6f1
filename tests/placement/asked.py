"""What the nodes of a flavor say to a gang, recomputed node by node from the domain's own words, by exhaustion.

It shares nothing with the code that gives the numbers: no arrays, no tables of who is where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from allocator.domain.cluster import Node
from allocator.domain.constraints import AtMost, carries
from allocator.domain.job import Configuration, Job
from allocator.domain.reason import Examined, Refusal
from allocator.domain.resources import GPU_MILLIS
from tests.placement.exhaustive import FreeByNode, free_on, most_replicas
from tests.placement.free import Free

Domain = tuple[str, str]


@dataclass(frozen=True)
class View:
    """Nodes and who runs there, as one waiting job sees them; `kept` are the names of nodes that are kept from it."""

    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]
    job: Job
    kept: frozenset[str] = frozenset()

    def of(self, way: Configuration) -> list[Node]:
        """All nodes of its flavor."""
        return [node for node in self.nodes if node.flavor == way.flavor]

    def may_use(self, node: Node) -> bool:
        """Whether anything may start there at all, for what it is or for whom it is kept."""
        admitted = node.takes_new_work and self.job.spec.constraints.admits(node)
        return admitted and node.name not in self.kept

    def free(self, way: Configuration, jobs: Iterable[Job] | None = None) -> FreeByNode:
        """What is free on the nodes of its flavor that it may use, with only `jobs` running if they are given."""
        found = free_on(self.nodes, self.jobs if jobs is None else jobs)
        return {node.name: found[node.name] for node in self.of(way) if self.may_use(node)}

    def lasting(self) -> list[Job]:
        """Whoever runs and may not be stopped: not preemptible, or on a cordoned node and left alone there."""
        cordoned = {node.name for node in self.nodes if node.availability.value == "cordoned"}
        return [
            job
            for job in self.jobs
            if job.allocation is not None
            and (not job.spec.preemptible or cordoned & set(job.allocation.placement.nodes))
        ]


def asked(view: View, way: Configuration, *, empty: bool = False) -> Examined:
    """Everything that is to be said. `empty`: as if nobody ran anywhere, and nobody's labels counted."""
    left: dict[str, int] = {}
    refused: Counter[Refusal] = Counter()
    lacking: Counter[str] = Counter()
    free = free_on(view.nodes, () if empty else view.jobs, closed=True)
    for node in view.of(way):
        here = free[node.name]
        why = _refusal(view, node, here, way, empty=empty)
        if why is None:
            left[node.name] = most_replicas(here, way)
        else:
            refused[why] += 1
        if why is Refusal.FULL:
            lacking.update(_lacking(here, way))
    nodes = {node.name: node for node in view.of(way)}
    room = min(way.replicas, sum(left.values()))
    limits = [limit for limit in view.job.spec.constraints.at_most if not (empty and limit.of)]
    caps = _Caps(view, limits, empty=empty)
    places = most_places(nodes, left, caps, way.replicas)
    within = view.job.spec.constraints.within
    if within:
        places = 0
        for domain in sorted({nodes[name].domain(within) for name in left}):
            inside = {name: count for name, count in left.items() if nodes[name].domain(within) == domain}
            most = most_places(nodes, inside, caps, way.replicas)
            places = max(places, most)
            if most < way.replicas:
                refused[Refusal.WITHIN] += len(inside)
    return Examined(
        way.flavor,
        len(view.of(way)),
        tuple((refusal, refused[refusal]) for refusal in Refusal if refused[refusal]),
        tuple((name, lacking[name]) for name, _ in way.demand.items() if lacking[name]),
        way.replicas,
        room,
        places,
    )


def _refusal(view: View, node: Node, here: Free, way: Configuration, *, empty: bool) -> Refusal | None:
    constraints = view.job.spec.constraints
    if not node.takes_new_work:
        return Refusal.CLOSED
    if not constraints.tolerates(node.taints):
        return Refusal.TAINT
    if not all(rule.admits(node.labels) for rule in constraints.nodes):
        return Refusal.LABEL
    if not most_replicas(here, way):
        return Refusal.FULL
    if not empty:
        if any(_replicas(view, limit, node) + _counts(view, limit) > limit.replicas for limit in in_force(view, node)):
            return Refusal.AT_MOST
        for near in constraints.near:
            if not _running_with(view, near.of, near.per, node.domain(near.per)):
                return Refusal.NEAR
    return Refusal.RESERVED if node.name in view.kept else None


def in_force(view: View, node: Node) -> list[AtMost]:
    """Limits on labels that bind the job there: its own, and those of others who run in the same domain."""
    found = [limit for limit in view.job.spec.constraints.at_most if limit.of]
    for other in view.jobs:
        if other.allocation is None:
            continue
        for limit in other.spec.constraints.at_most:
            domains = {place.domain(limit.per) for place in _nodes_of(view, other)}
            if limit.of and node.domain(limit.per) in domains and carries(view.job.spec.labels, limit.of):
                found.append(limit)
    return found


def _nodes_of(view: View, job: Job) -> list[Node]:
    assert job.allocation is not None
    by_name = {node.name: node for node in view.nodes}
    return [by_name[replica.node] for replica in job.allocation.standing]


def _running_with(view: View, of: tuple[tuple[str, str], ...], per: str, domain: Domain) -> int:
    """Replicas of jobs with these labels in a domain."""
    return sum(
        place.domain(per) == domain
        for other in view.jobs
        if other.allocation is not None and carries(other.spec.labels, of)
        for place in _nodes_of(view, other)
    )


def _replicas(view: View, limit: AtMost, node: Node) -> int:
    return _running_with(view, limit.of, limit.per, node.domain(limit.per))


def _counts(view: View, limit: AtMost) -> int:
    """What one replica of the job adds to what the limit counts."""
    return int(carries(view.job.spec.labels, limit.of))


def _lacking(here: Free, way: Configuration) -> list[str]:
    """Of what the node has too little for one replica."""
    found = [name for name, amount in way.demand.items() if name != "gpu" and here.amounts.get(name, 0) < amount]
    wanted = way.demand.gpu_millis
    if wanted >= GPU_MILLIS:
        short = sum(millis == GPU_MILLIS for millis in here.devices) * GPU_MILLIS < wanted
    else:
        short = max(here.devices, default=0) < wanted
    return [*found, "gpu"] if short else found


class _Caps:
    """How many replicas of the job itself a domain may have."""

    def __init__(self, view: View, limits: Collection[AtMost], *, empty: bool) -> None:
        self._view, self._limits, self._empty = view, limits, empty

    def allow(self, placed: dict[str, int], nodes: dict[str, Node]) -> bool:
        """Whether so many replicas per node keep to every limit, whoever set it."""
        for limit in self._limits:
            if not limit.of and not self._kept(limit, placed, nodes, {}):
                return False
        if self._empty:
            return True
        for name in placed:
            for limit in in_force(self._view, nodes[name]):
                domain = nodes[name].domain(limit.per)
                there = {domain: _running_with(self._view, limit.of, limit.per, domain)}
                mine = {other: count for other, count in placed.items() if nodes[other].domain(limit.per) == domain}
                if _counts(self._view, limit) and not self._kept(limit, mine, nodes, there):
                    return False
        return True

    def _kept(self, limit: AtMost, placed: dict[str, int], nodes: dict[str, Node], there: dict[Domain, int]) -> bool:
        sums: Counter[Domain] = Counter(there)
        for name, count in placed.items():
            sums[nodes[name].domain(limit.per)] += count
        return all(count <= limit.replicas for count in sums.values())


def most_places(nodes: dict[str, Node], left: dict[str, int], caps: _Caps, replicas: int) -> int:
    """The most replicas that can be placed at once, over all ways to do it."""
    names = sorted(left)

    def best(index: int, placed: dict[str, int]) -> int:
        so_far = sum(placed.values())
        if index == len(names) or so_far == replicas:
            return so_far
        name = names[index]
        most = so_far
        for count in range(min(left[name], replicas - so_far), -1, -1):
            trial = {**placed, name: count} if count else placed
            if caps.allow(trial, nodes):
                most = max(most, best(index + 1, trial))
                if most == replicas:
                    break
        return most

    return best(0, {})

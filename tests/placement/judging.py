"""Whether a reason to wait is true, cause and numbers, of the state that a round left behind: one judge per cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.reason import Examined, PendingCause, PendingReason
from tests.placement.asked import View, asked
from tests.placement.exhaustive import FreeByNode, distance, missing_in_total, missing_on_node, most_replicas

SLACK = 1e-9
"""Distances are sums of ratios: floats."""


@dataclass(frozen=True)
class Moment:
    """The end of a round, as somebody sees it who asks why `job` waits."""

    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]
    job: Job
    reason: PendingReason
    credits: dict[str, float]
    kept: frozenset[str] = frozenset()
    """Names of nodes that are kept from it."""

    @property
    def view(self) -> View:
        return View(self.nodes, self.jobs, self.job, self.kept)

    @property
    def ways(self) -> list[Configuration]:
        """The configurations that can run at all."""
        return [way for way in self.job.spec.configurations if way.throughput > 0]

    @property
    def eligible(self) -> list[Configuration]:
        """Those whose gang fits on the empty cluster."""
        return [way for way in self.ways if self.when_empty(way).places == way.replicas]

    def when_empty(self, way: Configuration) -> Examined:
        """What the nodes would say without anybody on them."""
        return asked(View(self.nodes, (), self.job), way, empty=True)

    def open_to_all(self) -> Moment:
        """The same if nothing were kept."""
        return replace(self, kept=frozenset())

    def said(self, flavor: str) -> dict[str, int]:
        return {s.resource: s.missing for s in self.reason.shortages if s.flavor == flavor}


def wrong(moment: Moment) -> list[str]:
    """In what way the reason is not true; empty when it is."""
    cause = moment.reason.cause
    judge = JUDGES.get(cause)
    if judge is None:
        return [f"{cause.value} has no judge"]
    found = judge(moment)
    found += [f"{s} says nothing" for s in moment.reason.shortages if s.missing <= 0 or not 0 <= s.held <= s.missing]
    order = [(s.flavor, s.resource) for s in moment.reason.shortages]
    if len(set(order)) != len(order) or [f for f, _ in order] != sorted(f for f, _ in order):
        found.append(f"shortages are repeated or not in order of flavors: {order}")
    if cause is not PendingCause.RESERVED and (moment.reason.reserved_for or moment.reason.reserved_until is not None):
        found.append("speaks of reservations")
    return [f"{moment.job.id}: {cause.value}: {what}" for what in found]


def _no_eligible_flavor(moment: Moment) -> list[str]:
    there = {node.flavor for node in moment.nodes if node.takes_new_work}
    found = [f"{way.flavor} has open nodes" for way in moment.ways if way.flavor in there]
    found += [f"has shortages {moment.reason.shortages}"] * bool(moment.reason.shortages)
    return found + _most_hopeful(moment, moment.when_empty)


def _no_matching_node(moment: Moment) -> list[str]:
    empty = moment.open_to_all().view
    found = [
        f"{way.flavor} has a node that it may use" for way in moment.ways if any(map(empty.may_use, empty.of(way)))
    ]
    if not any(node.takes_new_work for way in moment.ways for node in empty.of(way)):
        found.append("there is no open node of its flavors at all")
    return found + _most_hopeful(moment, moment.when_empty)


def _exceeds_node(moment: Moment) -> list[str]:
    found = [f"{way} has room for a replica on an empty node" for way in moment.ways if moment.when_empty(way).places]
    usable = [way for way in moment.ways if _empty(moment, way)]
    if not usable:
        found.append("there is no node of its flavors that it may use")
    return found + _nearest(moment, usable, _exceeding_node) + _most_hopeful(moment, moment.when_empty)


def _exceeds_cluster(moment: Moment) -> list[str]:
    found = [f"{way} fits the empty cluster" for way in moment.eligible]
    partly = [way for way in moment.ways if moment.when_empty(way).places]
    if not partly:
        found.append("not even one replica fits an empty node")
    return found + _nearest(moment, partly, _exceeding_cluster) + _most_hopeful(moment, moment.when_empty)


def _insufficient_capacity(moment: Moment) -> list[str]:
    eligible = moment.eligible
    found = _could_start(moment)
    found += [f"enough is free for {way}" for way in eligible if not _in_total(moment, way)]
    if not eligible:
        found.append("it fits not even the empty cluster")
    return found + _nearest(moment, eligible, lambda m, way: [_in_total(m, way)], _held)


def _fragmented(moment: Moment) -> list[str]:
    eligible = moment.eligible
    found = _could_start(moment)
    found += [f"{way} has the pieces" for way in eligible if _pieces(moment, way) >= way.replicas]
    if all(_in_total(moment, way) for way in eligible):
        found.append("not enough is free in total on any flavor")
    return found + _nearest(moment, eligible, _one_more_replica)


def _constrained(moment: Moment) -> list[str]:
    found = _could_start(moment)
    if all(_pieces(moment, way) < way.replicas for way in moment.eligible):
        found.append("there are not enough pieces, whatever its limits")
    found += [f"has shortages {moment.reason.shortages}"] * bool(moment.reason.shortages)
    return found + _most_hopeful(moment, lambda way: asked(moment.view, way), moment.eligible)


def _reserved(moment: Moment) -> list[str]:
    """It fits where nodes are kept, and those for whom they are wait, are ahead of it, and are larger or for good."""
    open_to_all = moment.open_to_all()
    found = _could_start(moment)
    if not _could_start(open_to_all):
        found.append("it does not fit anyway")
    if moment.job.spec.preemptible:
        found.append("it could go there, and be stopped when the time has come")
    by_id = {job.id: job for job in moment.jobs}
    for name in moment.reason.reserved_for:
        other = by_id[name]
        if other.allocation is not None:
            found.append(f"{name} runs")
        if (other.priority, moment.credits[name]) < (moment.job.priority, moment.credits[moment.job.id]):
            found.append(f"{name} is behind it")
    if not moment.reason.reserved_for:
        found.append("says not for whom")
    return found + _most_hopeful(
        moment, lambda way: asked(moment.view, way), moment.eligible, lambda way: asked(open_to_all.view, way)
    )


JUDGES: dict[PendingCause, Callable[[Moment], list[str]]] = {
    PendingCause.NO_ELIGIBLE_FLAVOR: _no_eligible_flavor,
    PendingCause.NO_MATCHING_NODE: _no_matching_node,
    PendingCause.EXCEEDS_NODE: _exceeds_node,
    PendingCause.EXCEEDS_CLUSTER: _exceeds_cluster,
    PendingCause.INSUFFICIENT_CAPACITY: _insufficient_capacity,
    PendingCause.FRAGMENTED: _fragmented,
    PendingCause.CONSTRAINED: _constrained,
    PendingCause.RESERVED: _reserved,
}
"""Every round has an answer and nothing changes during it: the other causes must not come up."""


def _could_start(moment: Moment) -> list[str]:
    return [f"{way} fits" for way in moment.eligible if asked(moment.view, way).places == way.replicas]


def _in_total(moment: Moment, way: Configuration) -> dict[str, int]:
    return missing_in_total(moment.view.free(way), way)


def _held(moment: Moment, way: Configuration) -> dict[str, int]:
    """What would be missing if only those ran whom nobody may stop, and nothing were kept."""
    view = moment.open_to_all().view
    return missing_in_total(view.free(way, view.lasting()), way)


def _pieces(moment: Moment, way: Configuration) -> int:
    return sum(most_replicas(node, way) for node in moment.view.free(way).values())


def _empty(moment: Moment, way: Configuration) -> FreeByNode:
    """The nodes that it may use, with nobody on them."""
    return moment.open_to_all().view.free(way, ())


Lacking = Callable[[Moment, Configuration], Sequence[dict[str, int]]]


def _nearest(
    moment: Moment,
    ways: Iterable[Configuration],
    lacking: Lacking,
    held: Callable[[Moment, Configuration], dict[str, int]] = lambda *_: {},
) -> list[str]:
    """Per flavor, what is said is what `lacking` finds for the configuration (and node) that comes closest; and, of
    reasons that are about now, what the nodes say to that configuration.
    """
    candidates: dict[str, list[tuple[float, dict[str, int], Configuration]]] = {}
    for way in ways:
        for missing in lacking(moment, way):
            far = _severity(moment, way, missing)
            candidates.setdefault(way.flavor, []).append((far, missing, way))
    found = []
    flavors = {s.flavor for s in moment.reason.shortages}
    if flavors != set(candidates):
        found.append(f"speaks of flavors {sorted(flavors)}, those that count are {sorted(candidates)}")
    for flavor in sorted(flavors & set(candidates)):
        least = min(far for far, _, _ in candidates[flavor])
        near = [(missing, way) for far, missing, way in candidates[flavor] if far <= least + SLACK]
        right = [way for missing, way in near if missing == moment.said(flavor)]
        if not right:
            found.append(f"says that {moment.said(flavor)} is missing on {flavor}, right is {near}")
        elif moment.reason.cause in (PendingCause.INSUFFICIENT_CAPACITY, PendingCause.FRAGMENTED):
            found += _of_one(moment, flavor, right, held)
    return found


def _of_one(
    moment: Moment,
    flavor: str,
    ways: Sequence[Configuration],
    held: Callable[[Moment, Configuration], dict[str, int]],
) -> list[str]:
    """Whether who holds it, and what the nodes say, are right for one of these configurations."""
    said_held = {s.resource: s.held for s in moment.reason.shortages if s.flavor == flavor and s.held}
    said = [each for each in moment.reason.examined if each.flavor == flavor]
    right = [
        (asked(moment.view, way), {name: n for name, n in held(moment, way).items() if name in moment.said(flavor)})
        for way in ways
    ]
    return (
        [] if any(said == [e] and said_held == h for e, h in right) else [f"says {said}, {said_held}; right: {right}"]
    )


Asked = Callable[[Configuration], Examined]


def _most_hopeful(
    moment: Moment, ask: Asked, ways: Sequence[Configuration] | None = None, judged_by: Asked | None = None
) -> list[str]:
    """Per flavor that has nodes, what they say to the configuration with places for the largest part of its gang."""
    flavors = {node.flavor for node in moment.nodes}
    right: dict[str, list[tuple[tuple[float, float], Examined]]] = {}
    for way in moment.ways if ways is None else ways:
        if way.flavor in flavors:
            by = (judged_by or ask)(way)
            rank = (by.places / by.replicas, by.room / by.replicas)
            right.setdefault(way.flavor, []).append((rank, ask(way)))
    said = {each.flavor: each for each in moment.reason.examined}
    if list(said) != sorted(right) or len(moment.reason.examined) != len(said):
        return [f"speaks of the nodes of {[each.flavor for each in moment.reason.examined]}, not of {sorted(right)}"]
    best = {flavor: max(rank for rank, _ in found) for flavor, found in right.items()}
    return [
        f"says {said[flavor]}, right is {found}"
        for flavor, found in right.items()
        if said[flavor] not in [each for rank, each in found if rank == best[flavor]]
    ]


def _severity(moment: Moment, way: Configuration, missing: dict[str, int]) -> float:
    """How far away: of what exceeds the empty cluster the largest part that is missing, otherwise the sum of parts."""
    if moment.reason.cause is PendingCause.EXCEEDS_NODE:
        return max((amount / way.demand.get(resource) for resource, amount in missing.items()), default=0.0)
    if moment.reason.cause is PendingCause.EXCEEDS_CLUSTER:
        return max((amount / way.total_demand.get(resource) for resource, amount in missing.items()), default=0.0)
    return distance(missing, way)


def _exceeding_node(moment: Moment, way: Configuration) -> list[dict[str, int]]:
    return [
        {
            resource: amount - node.amount(resource)
            for resource, amount in way.demand.items()
            if amount > node.amount(resource)
        }
        for node in _empty(moment, way).values()
    ]


def _exceeding_cluster(moment: Moment, way: Configuration) -> list[dict[str, int]]:
    """What the gang lacks in total; where that is nothing, what those replicas need that have no place."""
    left_out = way.replicas - moment.when_empty(way).places
    return [missing_in_total(_empty(moment, way), way) or {r: a * left_out for r, a in way.demand.items()}]


def _one_more_replica(moment: Moment, way: Configuration) -> list[dict[str, int]]:
    """On each node that it may use; where there is none, all of it."""
    return [missing_on_node(node, way) for node in moment.view.free(way).values()] or [dict(way.demand.items())]

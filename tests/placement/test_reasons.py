"""Every reason to wait, cause and numbers, against a recomputation that shares nothing with the code that gives it.

Nodes close, fail and shrink while rounds go on, so that every cause comes up; a cause without a judge here is an error.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pytest

from allocator.domain.cluster import Node, NodeAvailability
from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Preempt
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.intake import commands as c
from tests.placement.exhaustive import (
    FreeByNode,
    distance,
    empty,
    fits,
    fitting,
    free_on,
    missing_in_total,
    missing_on_node,
    most_replicas,
)
from tests.placement.free import Free
from tests.placement.small_worlds import SHARDS, Played, Stage, drawn, shard

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

    @property
    def free(self) -> FreeByNode:
        return free_on(self.nodes, self.jobs)

    @property
    def ways(self) -> list[Configuration]:
        """The configurations that can run at all."""
        return [way for way in self.job.spec.configurations if way.throughput > 0]

    @property
    def eligible(self) -> list[Configuration]:
        """Those whose gang fits on the empty cluster."""
        return fitting(empty(self.nodes), self.ways)

    def said(self, flavor: str) -> dict[str, int]:
        return {s.resource: s.missing for s in self.reason.shortages if s.flavor == flavor}


def wrong(moment: Moment) -> list[str]:
    """In what way the reason is not true; empty when it is."""
    cause = moment.reason.cause
    judge = JUDGES.get(cause)
    if judge is None:
        return [f"{cause.value} has no judge"]
    found = judge(moment)
    found += [f"{s} says nothing" for s in moment.reason.shortages if s.missing <= 0]
    order = [(s.flavor, s.resource) for s in moment.reason.shortages]
    if len(set(order)) != len(order) or [f for f, _ in order] != sorted(f for f, _ in order):
        found.append(f"shortages are repeated or not in order of flavors: {order}")
    return [f"{moment.job.id}: {cause.value}: {what}" for what in found]


def _no_eligible_flavor(moment: Moment) -> list[str]:
    there = {node.flavor for node in moment.nodes if node.takes_new_work}
    found = [f"{way.flavor} has open nodes" for way in moment.ways if way.flavor in there]
    return found + [f"has shortages {moment.reason.shortages}"] * bool(moment.reason.shortages)


def _exceeds_node(moment: Moment) -> list[str]:
    nodes = empty(moment.nodes)
    found = [f"{way} has room for a replica on an empty node" for way in moment.ways if _replicas(nodes, way)]
    if not any(_nodes_of(nodes, way) for way in moment.ways):
        found.append("there is no open node of its flavors at all")
    return found + _nearest(moment, [w for w in moment.ways if _nodes_of(nodes, w)], _exceeding_node)


def _exceeds_cluster(moment: Moment) -> list[str]:
    nodes = empty(moment.nodes)
    found = [f"{way} fits the empty cluster" for way in moment.ways if fits(nodes, way)]
    partly = [way for way in moment.ways if _replicas(nodes, way)]
    if not partly:
        found.append("not even one replica fits an empty node")
    return found + _nearest(moment, partly, _exceeding_cluster)


def _insufficient_capacity(moment: Moment) -> list[str]:
    eligible = moment.eligible
    found = [f"{way} fits" for way in fitting(moment.free, eligible)]
    found += [f"enough is free for {way}" for way in eligible if not missing_in_total(moment.free, way)]
    if not eligible:
        found.append("it fits not even the empty cluster")
    return found + _nearest(moment, eligible, lambda m, way: [missing_in_total(m.free, way)])


def _fragmented(moment: Moment) -> list[str]:
    eligible = moment.eligible
    found = [f"{way} fits" for way in fitting(moment.free, eligible)]
    if all(missing_in_total(moment.free, way) for way in eligible):
        found.append("not enough is free in total on any flavor")
    return found + _nearest(moment, eligible, _one_more_replica)


def _reserved(moment: Moment) -> list[str]:
    """It fits, and somebody waits who is ahead of it and larger or not preemptible."""
    found = [] if fitting(moment.free, moment.eligible) else ["it does not fit anyway"]
    ahead = [
        other
        for other in moment.jobs
        if other.allocation is None
        and other.id != moment.job.id
        and (other.priority, moment.credits[other.id]) >= (moment.job.priority, moment.credits[moment.job.id])
        and (not other.spec.preemptible or _size(other) > _size(moment.job))
    ]
    return found if ahead else [*found, "nobody waits whom anything could be reserved for"]


JUDGES: dict[PendingCause, Callable[[Moment], list[str]]] = {
    PendingCause.NO_ELIGIBLE_FLAVOR: _no_eligible_flavor,
    PendingCause.EXCEEDS_NODE: _exceeds_node,
    PendingCause.EXCEEDS_CLUSTER: _exceeds_cluster,
    PendingCause.INSUFFICIENT_CAPACITY: _insufficient_capacity,
    PendingCause.FRAGMENTED: _fragmented,
    PendingCause.RESERVED: _reserved,
}
"""No job here has constraints, and every round has an answer: the other causes must not come up."""


def _replicas(nodes: FreeByNode, way: Configuration) -> int:
    return sum(most_replicas(node, way) for node in _nodes_of(nodes, way))


def _nodes_of(nodes: FreeByNode, way: Configuration) -> list[Free]:
    return [node for node in nodes.values() if node.flavor == way.flavor]


def _size(job: Job) -> int:
    return max(way.replicas for way in job.spec.configurations)


Lacking = Callable[[Moment, Configuration], Sequence[dict[str, int]]]


def _nearest(moment: Moment, ways: Iterable[Configuration], lacking: Lacking) -> list[str]:
    """Per flavor, what is said is what `lacking` finds for the configuration (and node) that comes closest."""
    candidates: dict[str, list[tuple[float, dict[str, int]]]] = {}
    for way in ways:
        for missing in lacking(moment, way):
            far = _severity(moment, way, missing)
            candidates.setdefault(way.flavor, []).append((far, missing))
    found = []
    flavors = {s.flavor for s in moment.reason.shortages}
    if flavors != set(candidates):
        found.append(f"speaks of flavors {sorted(flavors)}, those that count are {sorted(candidates)}")
    for flavor in sorted(flavors & set(candidates)):
        least = min(far for far, _ in candidates[flavor])
        right = [missing for far, missing in candidates[flavor] if far <= least + SLACK]
        if moment.said(flavor) not in right:
            found.append(f"says that {moment.said(flavor)} is missing on {flavor}, right is {right}")
    return found


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
        for node in _nodes_of(empty(moment.nodes), way)
    ]


def _exceeding_cluster(moment: Moment, way: Configuration) -> list[dict[str, int]]:
    """What the gang lacks in total; where that is nothing, what those replicas need that have no place."""
    nodes = empty(moment.nodes)
    left_out = way.replicas - _replicas(nodes, way)
    return [missing_in_total(nodes, way) or {r: a * left_out for r, a in way.demand.items()}]


def _one_more_replica(moment: Moment, way: Configuration) -> list[dict[str, int]]:
    return [missing_on_node(node, way) for node in _nodes_of(moment.free, way)]


# --- the search ---------------------------------------------------------------------------------------------------


def moments(played: Played, stage: Stage) -> list[Moment]:
    """Everybody who waits after a round, also those whom it stopped."""
    plan = played.report.plan
    reasons = dict(plan.waiting) | {ch.job_id: ch.pending for ch in plan.changes if isinstance(ch, Preempt)}
    nodes = stage.store.nodes()
    return [
        Moment(nodes, played.after, job, reasons[job.id], dict(played.credits))
        for job in played.after
        if job.allocation is None
    ]


def disturb(stage: Stage, dice: random.Random) -> None:
    """One node closes, opens, fails, comes back, shrinks or grows."""
    node = dice.choice(stage.store.nodes())
    smaller = replace(node.capacity, cpu_millicores=dice.randint(1, 8) * 1000)
    commands: tuple[c.Command, ...] = (
        c.SetNodeAvailability(node.name, NodeAvailability.CORDONED),
        c.SetNodeAvailability(node.name, NodeAvailability.DRAINING),
        c.SetNodeAvailability(node.name, NodeAvailability.OPEN),
        c.LoseNode(node.name),
        c.Heartbeat(node.name),
        c.RegisterNode(replace(node, capacity=smaller)),
    )
    stage.do(dice.choice(commands))


@pytest.mark.parametrize("number", range(SHARDS))
def test_every_reason_and_every_number_is_true(number: int) -> None:
    causes: Counter[PendingCause] = Counter()
    for seed in shard(number, 80):
        dice = random.Random(seed)
        stage = Stage(drawn(seed, most_nodes=5))
        for _ in range(6):
            played = stage.play()
            for moment in moments(played, stage):
                causes[moment.reason.cause] += 1
                assert wrong(moment) == [], f"seed {seed}, round {played.report.snapshot.round}"
            for _ in range(dice.choice((0, 1, 1, 3))):
                disturb(stage, dice)
    assert len(causes) >= 4, "hardly anything was tried"


def test_every_cause_comes_up_in_these_worlds() -> None:
    causes = Counter(m.reason.cause for seed in range(40) for m in moments(*played_and_stage(seed)))
    rare = {cause.value for cause in JUDGES if cause is not PendingCause.RESERVED and causes[cause] < 3}
    assert rare == set()


def played_and_stage(seed: int) -> tuple[Played, Stage]:
    """The third round of a disturbed world."""
    dice = random.Random(seed)
    stage = Stage(drawn(seed, most_nodes=5))
    for _ in range(2):
        stage.play()
        disturb(stage, dice)
    return stage.play(), stage


def test_the_judges_notice_a_false_cause_and_a_false_number() -> None:
    noticed = tried = 0
    for seed in range(30):
        stage = Stage(drawn(seed, most_nodes=4))
        for moment in moments(stage.play(), stage):
            for cause in JUDGES:
                if cause not in (moment.reason.cause, PendingCause.RESERVED):
                    tried += 1
                    noticed += bool(wrong(replace(moment, reason=replace(moment.reason, cause=cause))))
            if moment.reason.shortages:
                first, *rest = moment.reason.shortages
                off_by_one = Shortage(first.flavor, first.resource, first.missing + 1)
                assert wrong(replace(moment, reason=replace(moment.reason, shortages=(off_by_one, *rest))))
    assert tried > 100
    assert noticed == tried


def test_a_cause_without_a_judge_is_an_error() -> None:
    stage = Stage(drawn(3))
    waiting = moments(stage.play(), stage)[0]
    assert wrong(replace(waiting, reason=PendingReason(PendingCause.SCHEDULER_STALE))) == [
        "scheduler_stale has no judge"
    ]

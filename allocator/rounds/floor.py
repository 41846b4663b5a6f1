"""The nodes that a plan touches, at commit time: who still fits, and whose place nobody needs any more. Pure.

Node by node, newcomers are added in the order of the plan, and those that overfill it are refused. Refusing only frees
capacity, so one pass is enough; only a refused move takes something back, its old place: there the pass is repeated.
"""

from __future__ import annotations

from typing import Protocol

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import Job
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Move, Plan, Preempt, Start
from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import Resources
from allocator.placement.verify import NodeUsage, replicas_by_node

Place = dict[str, tuple[Resources, tuple[int, ...], int]]
"""By node: demand of one replica, the devices of all that are there, and how many these are."""

FOR_OTHERS = (PreemptionReason.FAIR_SHARE, PreemptionReason.PRIORITY)
"""Preemptions that make sense only together with a start."""


class CommitFacts(Protocol):
    """The facts as the writer sees them."""

    def job(self, job_id: str) -> Job | None: ...

    def node(self, name: str) -> Node | None: ...

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        ...


class Floor:
    """`refusals` (job id to why) is added to: what was refused before counts as not happening."""

    def __init__(self, plan: Plan, facts: CommitFacts, refusals: dict[str, str]) -> None:
        self._plan = plan
        self._facts = facts
        self._refusals = refusals
        self._leaving = {c.job_id for c in plan.changes if not isinstance(c, Start) and c.job_id not in refusals}
        self._arriving: dict[str, list[Start | Move]] = {}
        for change in plan.changes:
            if not isinstance(change, Preempt) and change.job_id not in refusals:
                for name in change.placement.nodes:
                    self._arriving.setdefault(name, []).append(change)
        self._old: dict[str, Place] = {}
        self._new: dict[str, Place] = {}

    def drop_what_does_not_fit(self) -> None:
        """Refuse newcomers of nodes that would be overfull, the last of the plan first."""
        returning = [job_id for name in sorted(self._arriving) for job_id in self._fill(name)]
        while returning:
            job_id = returning.pop()
            self._leaving.discard(job_id)
            for name in self._old_place(job_id):
                returning += self._fill(name)

    def keep_needless_victims(self) -> None:
        """Refuse preemptions for the sake of others where nobody takes the place, the last of the plan first."""
        after: dict[str, NodeUsage] = {}
        for change in reversed(self._plan.changes):
            if not isinstance(change, Preempt) or change.reason not in FOR_OTHERS or change.job_id in self._refusals:
                continue
            place = self._old_place(change.job_id)
            for name in place:
                if name not in after:
                    after[name] = self._with_newcomers(name)
                after[name].add(*place[name])
            if all(self._is_sound(name, after[name]) for name in place):
                self._refusals[change.job_id] = "nobody takes its place any more"
                self._leaving.discard(change.job_id)
            else:
                for name in place:
                    after[name].remove(*place[name])

    def _fill(self, name: str) -> list[str]:
        """Add newcomers to a node in order, refuse those that overfill it; the ids of refused moves."""
        node = self._facts.node(name)
        assert node is not None
        usage = self._staying(name)
        refused_moves = []
        for change in self._arriving.get(name, ()):
            if change.job_id in self._refusals:
                continue
            held = self._new_place(change)[name]
            usage.add(*held)
            if usage.violations(node):
                usage.remove(*held)
                self._refusals[change.job_id] = f"node {name} has no room any more"
                if isinstance(change, Move):
                    refused_moves.append(change.job_id)
        return refused_moves

    def _staying(self, name: str) -> NodeUsage:
        """What is held on a node by those that do not leave."""
        usage = NodeUsage()
        for job in self._facts.jobs_on(name):
            held = None if job.id in self._leaving else self._old_place(job.id).get(name)
            if held is not None:
                usage.add(*held)
        return usage

    def _with_newcomers(self, name: str) -> NodeUsage:
        usage = self._staying(name)
        for change in self._arriving.get(name, ()):
            if change.job_id not in self._refusals:
                usage.add(*self._new_place(change)[name])
        return usage

    def _is_sound(self, name: str, usage: NodeUsage) -> bool:
        node = self._facts.node(name)
        return node is not None and node.health is NodeHealth.READY and not usage.violations(node)

    def _old_place(self, job_id: str) -> Place:
        place = self._old.get(job_id)
        if place is None:
            job = self._facts.job(job_id)
            place = {}
            if job is not None and job.allocation is not None:
                place = _place(job, job.allocation.placement, job.allocation.standing)
            self._old[job_id] = place
        return place

    def _new_place(self, change: Start | Move) -> Place:
        place = self._new.get(change.job_id)
        if place is None:
            job = self._facts.job(change.job_id)
            assert job is not None
            place = self._new[change.job_id] = _place(job, change.placement, change.placement.replicas)
        return place


def _place(job: Job, placement: Placement, replicas: tuple[ReplicaPlacement, ...]) -> Place:
    demand = job.spec.configurations[placement.configuration].demand
    return {node: (demand, devices, count) for node, (count, devices) in replicas_by_node(replicas).items()}

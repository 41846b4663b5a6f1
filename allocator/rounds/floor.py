"""The nodes that a plan touches, at commit time: who still fits, and whose place nobody needs any more. Pure.

Node by node, newcomers are added in the order of the plan, and those that overfill it are refused. Refusing only frees
capacity, so one pass is enough; only a refused move or resize takes something back, its old place: there the pass is
repeated. Limits on how many replicas may be together are judged node by node too; where they speak of larger domains,
the plan is trusted, unless a job stays that it wanted to leave.
"""

from __future__ import annotations

from typing import Protocol

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import Job
from allocator.domain.placement import Placement, ReplicaPlacement, held
from allocator.domain.plan import Move, Plan, Preempt, Resize, Start
from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import Resources
from allocator.placement.verify import NodeUsage, replicas_by_node
from allocator.placement.verify_constraints import is_wide, may_clash, node_violations

Held = tuple[Resources, tuple[int, ...], int]
"""On one node: what one replica holds, the devices of all that are there, and how many these are."""
Place = dict[str, Held]
"""By node."""
Arrival = Start | Move | Resize

FOR_OTHERS = (
    PreemptionReason.FAIR_SHARE,
    PreemptionReason.PRIORITY,
    PreemptionReason.QUOTA,
    PreemptionReason.LIMIT,
)
"""Preemptions that make sense only together with a start."""


class CommitFacts(Protocol):
    """The facts as the writer sees them."""

    def job(self, job_id: str) -> Job | None: ...

    def node(self, name: str) -> Node | None: ...

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        ...

    def usage(self, node: str) -> NodeUsage:
        """What running jobs hold on `node`; not to be changed."""
        ...

    def is_limited(self, node: str) -> bool:
        """Whether a running job with a replica on `node` limits how many replicas may be together."""
        ...


class Tenants:
    """Who is on one node: what they use, and whether they bear with one another.

    Without limits it does not matter who they are: then `usage` alone may begin with those that are there.
    """

    __slots__ = ("_counts", "_limited", "usage")

    def __init__(self, usage: NodeUsage | None = None) -> None:
        self.usage = NodeUsage() if usage is None else usage
        self._counts: dict[str, tuple[Job, int]] = {}
        self._limited: set[str] = set()

    def add(self, job: Job, held: Held) -> None:
        """Let the job have this place here, besides any that it has."""
        self.usage.add(*held)
        self._counts[job.id] = (job, self._counts.get(job.id, (job, 0))[1] + held[2])
        if job.spec.constraints.at_most:
            self._limited.add(job.id)

    def remove(self, job: Job, held: Held) -> None:
        """Undo `add`."""
        self.usage.remove(*held)
        left = self._counts[job.id][1] - held[2]
        if left:
            self._counts[job.id] = (job, left)
        else:
            del self._counts[job.id]
            self._limited.discard(job.id)

    def quarrels(self) -> set[str]:
        """Limits per node that are exceeded here, in words."""
        return set(node_violations(self._counts.values())) if self._limited else set()


class Floor:
    """`refusals` (job id to why) is added to: what was refused before counts as not happening."""

    def __init__(self, plan: Plan, facts: CommitFacts, refusals: dict[str, str]) -> None:
        self._plan = plan
        self._facts = facts
        self._refusals = refusals
        self._leaving = {c.job_id for c in plan.changes if not isinstance(c, Start) and c.job_id not in refusals}
        self._arriving: dict[str, list[Arrival]] = {}
        for change in plan.changes:
            if not isinstance(change, Preempt) and change.job_id not in refusals:
                for name in change.placement.nodes:
                    self._arriving.setdefault(name, []).append(change)
        self._old: dict[str, Place] = {}
        self._new: dict[str, Place] = {}
        self._left: dict[str, list[str]] = {}
        for job_id in sorted(self._leaving):
            for name in self._old_place(job_id):
                self._left.setdefault(name, []).append(job_id)
        self._changing = {change.job_id for change in plan.changes}
        self._takes: dict[str, list[tuple[int, int]]] = {}
        """By job, (position in `plan.shared`, how much more it takes)."""
        for number, each in enumerate(plan.shared):
            for job_id, amount in each.takes:
                self._takes.setdefault(job_id, []).append((number, amount))
        self._wide_limits = any(
            is_wide(limit)
            for changes in self._arriving.values()
            for change in changes
            for limit in self._job(change).spec.constraints.at_most
        )

    def drop_what_does_not_fit(self) -> None:
        """Refuse newcomers of nodes that would be overfull, the last of the plan first."""
        returning = [
            c.job_id for c in self._plan.changes if isinstance(c, Move | Resize) and c.job_id in self._refusals
        ]
        returning += [job_id for name in sorted(self._arriving) for job_id in self._fill(name)]
        while True:
            while returning:
                job_id = returning.pop()
                self._leaving.discard(job_id)
                for name in self._old_place(job_id):
                    returning += self._fill(name)
                returning += self._refuse_clashing(job_id)
            before = len(self._refusals)
            returning = self._refuse_who_exceeds()
            if len(self._refusals) == before:
                return

    def keep_needless_victims(self) -> None:
        """Refuse preemptions for the sake of others where nobody takes the place, nor what is shared with others: the
        last of the plan first.
        """
        after: dict[str, Tenants] = {}
        counted: dict[int, int | None] = {}
        for change in reversed(self._plan.changes):
            if not isinstance(change, Preempt) or change.reason not in FOR_OTHERS or change.job_id in self._refusals:
                continue
            victim = self._facts.job(change.job_id)
            assert victim is not None
            place = self._old_place(change.job_id)
            for name in place:
                if name not in after:
                    after[name] = self._with_newcomers(name)
                after[name].add(victim, place[name])
            sound = all(self._is_sound(name, after[name]) for name in place)
            if sound and not self._clashing(victim) and not self._is_needed(change.job_id, counted):
                self._refusals[change.job_id] = "nobody takes its place any more"
                self._leaving.discard(change.job_id)
                for number, amount in self._takes.get(change.job_id, ()):
                    before = counted.get(number)
                    counted[number] = None if before is None else before - amount
            else:
                for name in place:
                    after[name].remove(victim, place[name])

    def _fill(self, name: str) -> list[str]:
        """Add newcomers to a node in order, refuse those that overfill it; the ids of refused moves and resizes."""
        node = self._facts.node(name)
        assert node is not None
        tenants = self._staying(name)
        before = tenants.quarrels()
        refused = []
        for change in self._arriving.get(name, ()):
            if change.job_id in self._refusals:
                continue
            job, place = self._job(change), self._new_place(change)[name]
            tenants.add(job, place)
            why, after = None, before
            if not tenants.usage.fits(node, self._plan.floating):
                why = f"node {name} has no room any more"
            else:
                after = tenants.quarrels()
                if after - before:
                    why = f"node {name} has replicas that it must not be with"
            if why is None:
                before = after
            else:
                tenants.remove(job, place)
                self._refusals[change.job_id] = why
                if not isinstance(change, Start):
                    refused.append(change.job_id)
        return refused

    def _taken(self, number: int) -> int:
        """How much more than before is taken of something shared, by what happens."""
        return sum(amount for job_id, amount in self._plan.shared[number].takes if self._happens(job_id, amount))

    def _happens(self, job_id: str, amount: int) -> bool:
        """Whether a job takes that much more than before: its change is made, or it has given it back by ending."""
        if job_id in self._changing and job_id not in self._refusals:
            return True
        job = self._facts.job(job_id)
        return amount < 0 and (job is None or job.allocation is None)

    def _is_needed(self, job_id: str, counted: dict[int, int | None]) -> bool:
        """Whether others who come count on what a job gives back by leaving. `counted` has, of what was asked about
        before, what is taken more than before; None where nobody comes.
        """
        for number, amount in self._takes.get(job_id, ()):
            if amount >= 0:
                continue
            if number not in counted:
                counted[number] = self._taken(number) if self._is_entered(number) else None
            taken = counted[number]
            if taken is not None and taken - amount > self._plan.shared[number].left:
                return True
        return False

    def _is_entered(self, number: int) -> bool:
        """Whether anybody takes more of something shared than before."""
        takes = self._plan.shared[number].takes
        return any(amount > 0 and job_id not in self._refusals for job_id, amount in takes)

    def _refuse_who_exceeds(self) -> list[str]:
        """Refuse newcomers that would take too much of what is shared, since others stay who wanted to leave: the last
        of the plan first; the ids of refused moves and resizes.
        """
        refused = []
        for number, each in enumerate(self._plan.shared):
            beyond = self._taken(number) - each.left
            amounts = dict(each.takes)
            for change in reversed(self._plan.changes):
                if beyond <= 0:
                    break
                if amounts.get(change.job_id, 0) > 0 and change.job_id not in self._refusals:
                    self._refusals[change.job_id] = "others stay that take of the same quota or side constraint"
                    beyond -= amounts[change.job_id]
                    if not isinstance(change, Start | Preempt):
                        refused.append(change.job_id)
        return refused

    def _refuse_clashing(self, job_id: str) -> list[str]:
        """Refuse newcomers that counted on a job leaving, which stays; the ids of refused moves and resizes."""
        job = self._facts.job(job_id)
        refused = []
        for change in [] if job is None or job.allocation is None else self._clashing(job):
            self._refusals[change.job_id] = f"it may exceed a limit together with job {job_id}, which stays"
            if not isinstance(change, Start):
                refused.append(change.job_id)
        return refused

    def _clashing(self, staying: Job) -> list[Arrival]:
        """Newcomers that limits over domains larger than a node may keep apart from a job. Which nodes are in a domain
        is not known here, so they count as being in the same one.
        """
        if not self._wide_limits and not any(is_wide(limit) for limit in staying.spec.constraints.at_most):
            return []
        return [
            change
            for change in self._plan.changes
            if not isinstance(change, Preempt)
            and change.job_id not in self._refusals
            and change.job_id != staying.id
            and may_clash(staying, self._job(change))
        ]

    def _staying(self, name: str) -> Tenants:
        """Those on a node that do not leave."""
        arriving = self._arriving.get(name, ())
        if not self._facts.is_limited(name) and not any(self._job(c).spec.constraints.at_most for c in arriving):
            usage = self._facts.usage(name).copy()
            for job_id in self._left.get(name, ()):
                if job_id in self._leaving:
                    usage.remove(*self._old_place(job_id)[name])
            return Tenants(usage)
        tenants = Tenants()
        for job in self._facts.jobs_on(name):
            place = None if job.id in self._leaving else self._old_place(job.id).get(name)
            if place is not None:
                tenants.add(job, place)
        return tenants

    def _with_newcomers(self, name: str) -> Tenants:
        tenants = self._staying(name)
        for change in self._arriving.get(name, ()):
            if change.job_id not in self._refusals:
                tenants.add(self._job(change), self._new_place(change)[name])
        return tenants

    def _is_sound(self, name: str, tenants: Tenants) -> bool:
        node = self._facts.node(name)
        if node is None or node.health is not NodeHealth.READY:
            return False
        return tenants.usage.fits(node, self._plan.floating) and not tenants.quarrels()

    def _job(self, change: Arrival) -> Job:
        job = self._facts.job(change.job_id)
        assert job is not None
        return job

    def _old_place(self, job_id: str) -> Place:
        place = self._old.get(job_id)
        if place is None:
            job = self._facts.job(job_id)
            place = {}
            if job is not None and job.allocation is not None:
                place = _place(job, job.allocation.placement, job.allocation.standing)
            self._old[job_id] = place
        return place

    def _new_place(self, change: Arrival) -> Place:
        place = self._new.get(change.job_id)
        if place is None:
            place = self._new[change.job_id] = _place(self._job(change), change.placement, change.placement.replicas)
        return place


def _place(job: Job, placement: Placement, replicas: tuple[ReplicaPlacement, ...]) -> Place:
    demand = held(job.spec.configurations[placement.configuration].demand, placement.millis)
    if len(replicas) == 1:
        return {replicas[0].node: (demand, replicas[0].gpus, 1)}
    return {node: (demand, devices, count) for node, (count, devices) in replicas_by_node(replicas).items()}

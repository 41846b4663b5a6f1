"""Whether the policy's side constraints, floating resources among them, hold after a round: added up anew from what
they say, in exact fractions, apart from the code that keeps them.

A round may find a constraint exceeded: it was lowered, or nodes were lost. Then nobody who takes of it may start, and
no more may be taken than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.constraints import carries
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import Allocation, held
from allocator.domain.plan import Preempt, Start
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.rounds.report import RoundReport

Nodes = Mapping[str, Node]


def exceeded(report: RoundReport, nodes: Nodes, find: Callable[[str], Job | None]) -> Iterator[str]:
    """What a round exceeded, in words. `find` knows the live jobs of its snapshot by id."""
    constraints = () if report.policy is None else report.policy.side_constraints
    if not constraints:
        return
    before = {job.id: job.allocation for job in report.snapshot.jobs if job.allocation is not None}
    specs = {job.id: job.spec for job in report.snapshot.jobs if job.allocation is not None}
    after, started = dict(before), set[str]()
    for applied in report.commit.applied:
        name, job = applied.change.job_id, find(applied.change.job_id)
        if isinstance(applied.change, Preempt) or applied.allocation is None:
            after.pop(name, None)
        elif job is not None:
            after[name], specs[name] = applied.allocation, job.spec
            started |= {name} if isinstance(applied.change, Start) else set()
    for constraint in constraints:
        takes = _Takes(constraint, nodes)
        used = {name: takes.of(specs[name], allocation) for name, allocation in after.items()}
        now, most = sum(used.values()), _most(constraint, nodes.values())
        if now <= most:
            continue
        earlier = sum(takes.of(specs[name], allocation) for name, allocation in before.items())
        unit = f" {constraint.unit}" if constraint.unit else ""
        told = f"{constraint.name}: {now / PRECISION:g} of {most / PRECISION:g}{unit} are taken"
        if now > earlier:
            yield f"{told}, which is more than before"
        yield from (f"{told}, and {name} was started" for name in sorted(started) if used[name])


class _Takes:
    """What jobs take of one constraint, in millionths of its unit."""

    def __init__(self, constraint: SideConstraint, nodes: Nodes) -> None:
        self._terms = constraint.terms
        self._nodes = nodes
        self._known: dict[tuple[int, int, int, str], int] = {}

    def of(self, spec: JobSpec, allocation: Allocation) -> int:
        placement = allocation.placement
        configuration = spec.configurations[placement.configuration]
        if not any(_about(term, spec, configuration) for term in self._terms):
            return 0
        found = 0
        for replica in allocation.standing:
            key = id(spec), placement.configuration, placement.millis, replica.node
            if key not in self._known:
                self._known[key] = self._replica(spec, configuration, placement.millis, replica.node)
            found += self._known[key]
        return found

    def _replica(self, spec: JobSpec, configuration: Configuration, millis: int, name: str) -> int:
        """What each replica takes is rounded up."""
        node, demand = self._nodes.get(name), held(configuration.demand, millis)
        if node is None:
            return 0
        found = 0
        for term in self._terms:
            if _about(term, spec, configuration) and carries(node.labels, term.node_labels):
                found += ceil(_per_unit(term) * demand.get(term.resource))
        return found


def _about(term: Term, spec: JobSpec, configuration: Configuration) -> bool:
    """Whether it counts such a job on such a flavor, on the nodes that it is about."""
    return (
        (not term.flavors or configuration.flavor in term.flavors)
        and (not term.queues or any(f"{spec.queue}/".startswith(f"{name}/") for name in term.queues))
        and carries(spec.labels, term.job_labels)
    )


def _per_unit(term: Term) -> Fraction:
    """Millionths for one integer unit of the resource, as it is written: 0.1 is a tenth."""
    return Fraction(Decimal(repr(term.per_unit))) * PRECISION / display_unit(term.resource)[1]


def _most(constraint: SideConstraint, nodes: Iterable[Node]) -> int:
    """What may be taken, in millionths."""
    if constraint.most is not None:
        return floor(Fraction(Decimal(repr(constraint.most))) * PRECISION)
    there = Fraction(0)
    for node in nodes:
        if node.health is NodeHealth.LOST:
            continue
        for term in constraint.terms:
            if carries(node.labels, term.node_labels) and (not term.flavors or node.flavor in term.flavors):
                there += _per_unit(term) * node.capacity.get(term.resource)
    return floor(there * Fraction(Decimal(repr(constraint.most_part))))

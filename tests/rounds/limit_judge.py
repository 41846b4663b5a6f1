"""Side constraints of random worlds, and whether they are kept: added up anew from what they say, in exact fractions,
apart from the code that keeps them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import combinations_with_replacement

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import held
from allocator.domain.plan import Commit, Start
from allocator.domain.reason import PendingCause, PendingReason, Refusal
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from tests.placement.exhaustive import FreeByNode, empty, free_on, most_replicas
from tests.rounds.engine_judge import gives

RACKS, LICENCE = "123", "licence"


def drawn_constraints(dice: random.Random, flavors: str) -> tuple[SideConstraint, ...]:
    """The power of racks, money, part of a flavor for a queue, GPUs of some labels, licences: all, some or none."""
    found = []
    for rack in RACKS if dice.random() < 0.5 else ():
        where = (("rack", rack),)
        power = (Term("gpu", 0.7, node_labels=where), Term("cpu", 0.1, node_labels=where))
        found.append(SideConstraint(f"power-{rack}", power, most=dice.choice((0.5, 1.2, 2.05, 4.0)), unit="kW"))
    if dice.random() < 0.4:
        terms = tuple(Term("cpu", dice.choice((0.3, 1 / 3, 2.5)), flavors=(flavor,)) for flavor in flavors)
        found.append(SideConstraint("money", terms, most=dice.choice((2.5, 6.0, 15.0)), unit="EUR/h"))
    if dice.random() < 0.4:
        term = Term("cpu", flavors=(flavors[0],), queues=("r",))
        found.append(SideConstraint("part", (term,), most_part=dice.choice((0.0, 0.3, 0.5))))
    if dice.random() < 0.3:
        of_both = (Term("gpu", 1.0, job_labels=(("kind", "x"),)), Term("cpu", 0.01, node_labels=(("rack", "1"),)))
        found.append(SideConstraint("labelled", of_both, most=dice.choice((0.5, 1.0, 2.0))))
    if dice.random() < 0.5:
        found.append(SideConstraint("licences", (Term(LICENCE),), most=float(dice.randint(0, 4))))
    return tuple(found)


def with_licences(dice: random.Random, spec: JobSpec) -> JobSpec:
    """Some jobs need a few of what belongs to no node."""
    if dice.random() < 0.6:
        return spec
    extra = ((LICENCE, dice.randint(1, 2)),)
    ways = tuple(replace(way, demand=replace(way.demand, extra=extra)) for way in spec.configurations)
    return replace(spec, configurations=ways)


def on_node(way: Configuration) -> Configuration:
    """What of it nodes must have."""
    return replace(way, demand=replace(way.demand, extra=()))


def free_of(nodes: Iterable[Node], jobs: Iterable[Job]) -> FreeByNode:
    """What running jobs leave of the nodes: licences are on none."""
    bare = [
        replace(job, spec=replace(job.spec, configurations=tuple(map(on_node, job.spec.configurations))))
        for job in jobs
    ]
    return free_on(nodes, bare)


def exactly(number: float) -> Fraction:
    return Fraction(Decimal(repr(number)))


def counts(term: Term, spec: JobSpec, flavor: str, node: Node) -> bool:
    """Whether the term is about such a job on such a node."""
    queues = {spec.queue[: len(name)] for name in term.queues if f"{spec.queue}/".startswith(f"{name}/")}
    return (
        (not term.flavors or flavor in term.flavors)
        and (not term.queues or bool(queues))
        and set(term.job_labels) <= set(spec.labels)
        and set(term.node_labels) <= set(node.labels)
    )


def replica_takes(constraint: SideConstraint, spec: JobSpec, way: Configuration, node: Node, millis: int = 1000) -> int:
    """Millionths that one replica takes there."""
    demand, total = held(way.demand, millis), 0
    for term in constraint.terms:
        if counts(term, spec, way.flavor, node):
            each = exactly(term.per_unit) / display_unit(term.resource)[1]
            total += math.ceil(demand.get(term.resource) * each * PRECISION)
    return total


def job_takes(constraint: SideConstraint, job: Job, nodes: Mapping[str, Node]) -> int:
    """What a running job takes."""
    assert job.allocation is not None
    placement = job.allocation.placement
    way = job.spec.configurations[placement.configuration]
    return sum(
        replica_takes(constraint, job.spec, way, nodes[replica.node], placement.millis)
        for replica in job.allocation.standing
        if replica.node in nodes
    )


def taken(constraint: SideConstraint, jobs: Iterable[Job], nodes: Mapping[str, Node]) -> int:
    """What all of them take."""
    return sum(job_takes(constraint, job, nodes) for job in jobs if job.allocation is not None)


def most(constraint: SideConstraint, nodes: Iterable[Node]) -> int:
    """What they may take."""
    if constraint.most is not None:
        return math.floor(exactly(constraint.most) * PRECISION)
    assert constraint.most_part is not None
    total = Fraction(0)
    for node in nodes:
        for term in constraint.terms if node.health is not NodeHealth.LOST else ():
            if set(term.node_labels) <= set(node.labels) and (not term.flavors or node.flavor in term.flavors):
                total += exactly(term.per_unit) * node.capacity.get(term.resource) / display_unit(term.resource)[1]
    return math.floor(total * PRECISION * exactly(constraint.most_part))


def beyond_limits(
    constraints: Sequence[SideConstraint],
    nodes: Sequence[Node],
    before: Sequence[Job],
    after: Sequence[Job],
    commit: Commit,
) -> Iterator[str]:
    """What is exceeded after a round: no more than before, and not by anybody who started."""
    by_name, jobs = {node.name: node for node in nodes}, {job.id: job for job in after}
    for constraint in constraints:
        now, allowed = taken(constraint, after, by_name), most(constraint, nodes)
        if now <= allowed:
            continue
        if now > taken(constraint, before, by_name):
            yield f"{constraint.name}: {now} of {allowed} are taken, which is more than before"
        for applied in commit.applied:
            if isinstance(applied.change, Start) and job_takes(constraint, jobs[applied.change.job_id], by_name):
                yield f"{constraint.name}: {now} of {allowed} are taken, and {applied.change.job_id} was started"


def could_start(
    constraints: Sequence[SideConstraint], nodes: Sequence[Node], jobs: Sequence[Job], free: FreeByNode, job: Job
) -> list[Configuration]:
    """The configurations of a waiting job that fit on free nodes within all constraints, over all choices of nodes."""
    by_name, found = {node.name: node for node in nodes}, []
    left = {each.name: most(each, nodes) - taken(each, jobs, by_name) for each in constraints}
    for way in job.spec.configurations:
        able = [
            name
            for name, node in free.items()
            if node.flavor == way.flavor and way.throughput > 0 and gives(by_name[name], way.demand)
        ]
        takes = {name: [replica_takes(each, job.spec, way, by_name[name]) for each in constraints] for name in able}
        room = {name: most_replicas(free[name], on_node(way)) for name in able}
        for chosen in combinations_with_replacement(able, way.replicas):
            together = [sum(takes[name][number] for name in chosen) for number in range(len(constraints))]
            within = all(not sum_ or sum_ <= left[each.name] for sum_, each in zip(together, constraints, strict=True))
            if within and all(chosen.count(name) <= room[name] for name in set(chosen)):
                found.append(way)
                break
    return found


def untrue(
    constraints: Sequence[SideConstraint],
    nodes: Sequence[Node],
    jobs: Sequence[Job],
    job: Job,
    reason: PendingReason,
    within_quotas: Callable[[Sequence[Job], Configuration], bool],
) -> Iterator[str]:
    """What is not so of a reason that speaks of side constraints."""
    by_name, named = {node.name: node for node in nodes}, {each.name: each for each in constraints}
    about = reason.cause in (PendingCause.OVER_LIMIT, PendingCause.EXCEEDS_LIMIT)
    if about != bool(reason.limits):
        yield f"{job.id} waits for {reason.cause.value} with {reason.limits}"
    for said in reason.limits:
        constraint = named[said.name]
        parts = sum(other.spec.divisible for other in jobs)  # the last digit of what these take may be rounded up
        exact = taken(constraint, jobs, by_name)
        if said.most != most(constraint, nodes) or not exact <= said.used <= exact + parts:
            yield f"{job.id}: {said} is wrong about what is taken of it"
        if said.used + said.takes <= said.most and not reason.examined:
            yield f"{job.id}: {said} leaves it enough"
        possible = {
            way.replicas * replica_takes(constraint, job.spec, way, node)
            for way in job.spec.configurations
            for node in nodes
            if node.flavor == way.flavor
        }
        if said.takes not in possible and len(constraint.terms) == 1:
            yield f"{job.id}: {said} is wrong about what it would take: {possible}"
    free = free_of(nodes, jobs)
    if reason.cause not in _OTHERWISE:
        alone = all(way.replicas == 1 for way in job.spec.configurations) and not job.spec.divisible
        for way in could_start(constraints, nodes, jobs, free, job) if alone else ():
            if within_quotas(jobs, way):
                yield f"{job.id} waits for {reason.cause.value}, but {way} would start"
    for examined in reason.examined if about else ():
        ways = [way for way in job.spec.configurations if way.flavor == examined.flavor]
        refused = dict(examined.refused).get(Refusal.LIMIT, 0)
        if len(ways) == 1 and not job.spec.divisible:
            never = reason.cause is PendingCause.EXCEEDS_LIMIT  # which is a question of empty nodes
            there, room = ((), empty(nodes)) if never else (jobs, free)
            expected = sum(_refuses(constraints, nodes, there, room, job, ways[0], node) for node in nodes)
            if expected != refused:
                yield f"{job.id}: {expected} nodes refuse it for a side constraint, not {refused}"
    if reason.cause is PendingCause.EXCEEDS_LIMIT:
        for way in could_start(constraints, nodes, (), empty(nodes), job):
            if within_quotas((), way):
                yield f"{job.id} would start as {way} if nobody ran, and is told that it never will"


def _refuses(
    constraints: Sequence[SideConstraint],
    nodes: Sequence[Node],
    jobs: Sequence[Job],
    free: FreeByNode,
    job: Job,
    way: Configuration,
    node: Node,
) -> bool:
    """Whether a node with room for a replica has none within a constraint that is about it, once the gang has what it
    takes anywhere.
    """
    if node.flavor != way.flavor or node.name not in free or not gives(node, way.demand):
        return False
    if not most_replicas(free[node.name], on_node(way)):
        return False
    by_name = {each.name: each for each in nodes}
    for constraint in constraints:
        anywhere = tuple(term for term in constraint.terms if not term.node_labels)
        local = tuple(term for term in constraint.terms if term.node_labels)
        left = most(constraint, nodes) - taken(constraint, jobs, by_name)
        if anywhere:
            left -= way.replicas * replica_takes(replace(constraint, terms=anywhere), job.spec, way, node)
        takes = replica_takes(replace(constraint, terms=local), job.spec, way, node) if local else 0
        if takes and takes > left:
            return True
    return False


_OTHERWISE = (PendingCause.RESERVED, PendingCause.SCHEDULER_STALE, PendingCause.CHANGED_SINCE_SNAPSHOT)
"""Causes of jobs that would fit."""

"""Changes of the facts that may help a job, and the facts with them made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.constraints import carries
from allocator.domain.job import Configuration, Job, revised
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.domain.side_constraint import PRECISION, SideConstraint
from allocator.domain.snapshot import Snapshot
from allocator.explain.answers import Change, ChangeKind
from allocator.explain.quotas import with_amounts
from allocator.formulation.side_terms import most_taken, selects_queue
from allocator.formulation.zones import display_amount

MOST_FLAVORS = 8
NEW_NODE = "new-node-"
"""Begins the names of nodes that only a changed copy of the facts has."""


def changed(snapshot: Snapshot, job: Job, change: Change) -> Snapshot:
    """The facts with the change made. `job` is one of the snapshot."""
    for other in change.also:
        snapshot = changed(snapshot, job, other)
    match change.kind:
        case ChangeKind.WEIGHT:
            return _with_job(snapshot, revised(job, spec=replace(job.spec, weight=change.weight)))
        case ChangeKind.FLAVOR:
            more = replace(fastest(job), flavor=change.flavor)
            spec = replace(job.spec, configurations=(*job.spec.configurations, more))
            return _with_job(snapshot, revised(job, spec=spec))
        case ChangeKind.NODES:
            return _with_nodes(snapshot, change.flavor, change.nodes)
        case ChangeKind.LIMIT:  # of the policy
            return snapshot
        case _:
            return _with_quotas(snapshot, change)


def changed_policy(policy: Policy, change: Change) -> Policy:
    """The policy with the change made."""
    for other in change.also:
        policy = changed_policy(policy, other)
    if change.kind is not ChangeKind.LIMIT:
        return policy
    constraints = tuple(
        replace(each, most=change.most, most_part=None) if each.name == change.limit else each
        for each in policy.side_constraints
    )
    return replace(policy, side_constraints=constraints)


def limit_changes(snapshot: Snapshot, policy: Policy, job: Job, names: Iterable[str]) -> Iterator[Change]:
    """Each of the side constraints `names`, larger by what the job takes at most; then all of them together."""
    found = []
    for constraint in policy.side_constraints:
        takes = max(_taken(constraint, job, each) for each in job.spec.configurations)
        if constraint.name in names and takes:
            there = (node for node in snapshot.nodes if node.health is NodeHealth.READY)
            most = _rounded_up(most_taken(constraint, there) / PRECISION + takes)
            found.append(Change(ChangeKind.LIMIT, limit=constraint.name, most=most, unit=constraint.unit))
    yield from found
    if len(found) > 1:
        yield replace(found[0], also=tuple(found[1:]))


def _taken(constraint: SideConstraint, job: Job, configuration: Configuration) -> float:
    """What the job takes there, on nodes that the constraint is about."""
    amounts = configuration.total_demand
    return sum(
        term.per_unit * display_amount(amounts, term.resource)
        for term in constraint.terms
        if (not term.flavors or configuration.flavor in term.flavors)
        and selects_queue(term, job.spec.queue)
        and carries(job.spec.labels, term.job_labels)
    )


def _rounded_up(amount: float) -> float:
    """To six digits, which people can type."""
    step = 10.0 ** (math.floor(math.log10(amount)) - 5)
    return float(f"{math.ceil(amount / step - 1e-6) * step:.6g}")


def fastest(job: Job) -> Configuration:
    """Its fastest configuration, with the throughput that is known of it."""
    best = max(job.spec.configurations, key=job.throughput)
    return replace(best, throughput=job.throughput(best))


def other_flavors(snapshot: Snapshot, job: Job) -> list[str]:
    """Flavors of the cluster that the job does not accept, those with the most open nodes first."""
    accepted = {each.flavor for each in job.spec.configurations if each.throughput > 0}
    named = {each.flavor for each in job.spec.configurations} - accepted
    nodes = Counter(node.flavor for node in snapshot.nodes if node.takes_new_work)
    others = [flavor for flavor in nodes if flavor not in accepted | named]
    return sorted(others, key=lambda flavor: (-nodes[flavor], flavor))[:MOST_FLAVORS]


def quota_changes(snapshot: Snapshot, job: Job, lending: list[tuple[str, str]]) -> Iterator[Change]:
    """Larger quotas and limits, by what the job's gang takes: borrowing limits of its queue and those above, what its
    queue is guaranteed, and lending limits of others, `lending` by (queue, flavor). Flavor by flavor; what is changed
    together comes after its parts.
    """
    known = {queue.name: queue for queue in snapshot.queues}
    told: set[str] = set()
    for each in sorted(job.spec.configurations, key=job.throughput, reverse=True):
        if each.throughput <= 0 or each.flavor in told:
            continue
        told.add(each.flavor)
        amounts = each.total_demand
        above: Queue | None = known.get(job.spec.queue)
        path: list[Change] = []
        while above is not None:
            limits = [
                (quota.resource, quota.borrowing_limit + rounded(quota.resource, amounts.get(quota.resource)))
                for quota in above.quotas
                if quota.flavor == each.flavor and quota.borrowing_limit is not None and amounts.get(quota.resource)
            ]
            if limits:
                path.append(Change(ChangeKind.BORROWING_LIMIT, 0.0, each.flavor, above.name, tuple(limits)))
            above = known.get(above.parent or "")
        yield from path
        if len(path) > 1:
            yield replace(path[0], also=tuple(path[1:]))
        if job.spec.queue in known:
            yield _nominal(known[job.spec.queue], each.flavor, amounts)
        for name, flavor in lending:
            if flavor == each.flavor and name in known:
                yield from _lending(known[name], flavor, amounts)


def rounded(resource: str, amount: int) -> int:
    """Quotas of GPUs are whole ones."""
    return -(-amount // GPU_MILLIS) * GPU_MILLIS if resource == "gpu" else amount


def _nominal(queue: Queue, flavor: str, amounts: Resources) -> Change:
    """Of what it has a quota of; of everything that the gang takes if that is nothing."""
    has = {quota.resource: quota.nominal for quota in queue.quotas if quota.flavor == flavor}
    wanted = [resource for resource, _ in amounts.items() if resource in has] or [name for name, _ in amounts.items()]
    more = tuple((name, has.get(name, 0) + rounded(name, amounts.get(name))) for name in wanted)
    return Change(ChangeKind.NOMINAL_QUOTA, 0.0, flavor, queue.name, more)


def _lending(queue: Queue, flavor: str, amounts: Resources) -> Iterator[Change]:
    limits = [
        (quota.resource, min(quota.nominal, quota.lending_limit + rounded(quota.resource, amounts.get(quota.resource))))
        for quota in queue.quotas
        if quota.flavor == flavor and quota.lending_limit is not None and amounts.get(quota.resource)
    ]
    if limits:
        yield Change(ChangeKind.LENDING_LIMIT, 0.0, flavor, queue.name, tuple(limits))


def _with_job(snapshot: Snapshot, job: Job) -> Snapshot:
    jobs = tuple(job if each.sequence == job.sequence else each for each in snapshot.jobs)
    return replace(snapshot, jobs=jobs)


def _with_nodes(snapshot: Snapshot, flavor: str, count: int) -> Snapshot:
    like = model(snapshot, flavor)
    if like is None:
        return snapshot
    new = [replace(like, name=f"{NEW_NODE}{number:04}") for number in range(count)]
    return replace(snapshot, nodes=tuple(sorted((*snapshot.nodes, *new), key=lambda node: node.name)))


def model(snapshot: Snapshot, flavor: str) -> Node | None:
    """The largest open node of the flavor: by GPUs, then cores, then memory. None if there is none."""
    there = [node for node in snapshot.nodes if node.flavor == flavor and node.takes_new_work]

    def size(node: Node) -> tuple[int, int, int]:
        has = node.capacity
        return has.gpu_millis, has.cpu_millicores, has.memory_bytes

    return max(there, key=size, default=None)


def _with_quotas(snapshot: Snapshot, change: Change) -> Snapshot:
    queues = tuple(
        replace(queue, quotas=with_amounts(queue.quotas, change)) if queue.name == change.queue else queue
        for queue in snapshot.queues
    )
    return replace(snapshot, queues=queues)

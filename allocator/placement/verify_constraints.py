"""Whether jobs keep to their constraints: checks that trust nobody, for the commit and for replays.

Plain domain types in, sentences out. Rules and taints are about starting, so `unfit` is asked when a replica arrives;
limits and `within` hold for as long as the job runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from allocator.domain.cluster import NODE_DOMAIN, Labels, Node
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, NodeRule, carries
from allocator.domain.job import Job
from allocator.domain.placement import ReplicaPlacement

Domain = tuple[str, str]
"""As `Node.domain` names it."""


def unfit(constraints: Constraints, node: Node) -> str | None:
    """Why a replica of a job with these constraints may not start on `node`; None if it may."""
    for rule in constraints.nodes:
        if not rule.admits(node.labels):
            return f"node {node.name} {_rule_in_words(rule, node.label(rule.key))}"
    for key, value in node.taints:
        if not constraints.tolerates(((key, value),)):
            return f"node {node.name} has the taint {key}={value}, which the job does not tolerate"
    return None


def own_violations(
    constraints: Constraints, replicas: Sequence[ReplicaPlacement], nodes: Mapping[str, Node]
) -> list[str]:
    """In what way the replicas of one gang, by themselves, break its limits or `within`. Unknown nodes are left out."""
    if constraints is UNCONSTRAINED:
        return []
    found = []
    here = [nodes[replica.node] for replica in replicas if replica.node in nodes]
    for limit in constraints.at_most:
        if limit.of:
            continue
        counts = Counter(node.domain(limit.per) for node in here)
        found += [_too_many(limit, domain, count) for domain, count in sorted(counts.items()) if count > limit.replicas]
    if constraints.within:
        domains = {node.domain(constraints.within) for node in here}
        if len(domains) > 1:
            found.append(f"its replicas are in {len(domains)} domains of {constraints.within!r} and must be in one")
    return found


def node_violations(present: Iterable[tuple[Job, int]]) -> list[str]:
    """Limits per node about labels that (job, replicas) together on one node break; nothing is said of other limits."""
    present = list(present)
    carriers: dict[tuple[str, str], list[tuple[Labels, int]]] = {}
    for job, replicas in present:
        for label in job.spec.labels:
            carriers.setdefault(label, []).append((job.spec.labels, replicas))
    found = []
    for job, _ in present:
        for limit in job.spec.constraints.at_most:
            if limit.per == NODE_DOMAIN and limit.of:
                with_it = carriers.get(limit.of[0], ())
                count = sum(replicas for labels, replicas in with_it if carries(labels, limit.of))
                if count > limit.replicas:
                    found.append(f"job {job.id}: {_words(count, limit)}")
    return found


def label_violations(nodes: Mapping[str, Node], jobs: Iterable[Job]) -> list[str]:
    """Limits about labels that running jobs break, in the domains where the job that declares the limit has replicas.

    A finished replica counts nowhere. Work: of each declared limit, the running jobs that carry its first label.
    """
    running = [(job, job.allocation.standing) for job in jobs if job.allocation is not None]
    carriers: dict[tuple[str, str], list[tuple[Job, tuple[ReplicaPlacement, ...]]]] = {}
    if any(limit.of for job, _ in running for limit in job.spec.constraints.at_most):
        for job, standing in running:
            for label in job.spec.labels:
                carriers.setdefault(label, []).append((job, standing))
    counts: dict[tuple[str, Labels], Counter[Domain]] = {}
    found = []
    for job, standing in running:
        for limit in job.spec.constraints.at_most:
            if not limit.of:
                continue
            by_domain = counts.get((limit.per, limit.of))
            if by_domain is None:
                by_domain = counts[limit.per, limit.of] = Counter(
                    nodes[replica.node].domain(limit.per)
                    for other, replicas in carriers.get(limit.of[0], ())
                    if carries(other.spec.labels, limit.of)
                    for replica in replicas
                    if replica.node in nodes
                )
            own = {nodes[replica.node].domain(limit.per) for replica in standing if replica.node in nodes}
            found += [
                f"job {job.id}: {_too_many(limit, domain, by_domain[domain])}"
                for domain in sorted(own)
                if by_domain[domain] > limit.replicas
            ]
    return found


def is_wide(limit: AtMost) -> bool:
    """Whether the limit is about labels, over domains larger than a node."""
    return bool(limit.of) and limit.per != NODE_DOMAIN


def may_clash(one: Job, other: Job) -> bool:
    """Whether a limit of either, over domains larger than a node, speaks of the other's labels."""
    return any(
        is_wide(limit) and carries(about.spec.labels, limit.of)
        for declaring, about in ((one, other), (other, one))
        for limit in declaring.spec.constraints.at_most
    )


def _too_many(limit: AtMost, domain: Domain, count: int) -> str:
    kind, name = domain
    where = f"node {name}" if kind == NODE_DOMAIN else f"{limit.per} {name}"
    return f"{_words(count, limit)} on {where}"


def _words(count: int, limit: AtMost) -> str:
    whose = "of " + ", ".join(f"{key}={value}" for key, value in limit.of) if limit.of else "of its own"
    return f"{count} replicas {whose}, at most {limit.replicas} per {limit.per} are allowed"


def _rule_in_words(rule: NodeRule, value: str | None) -> str:
    if rule.negated:
        return f"has the label {rule.key}={value}, which the job rules out"
    if value is None:
        return f"has no label {rule.key}, which the job asks for"
    return f"has the label {rule.key}={value}, the job asks for {' or '.join(rule.values)}"

"""What we would do with a cluster as it is, written nowhere: who would start, why others wait, what things cost.

Pods that wait for a place, and suspended Jobs as gangs, are jobs of ours for one round on facts in memory, the very
same as the daemon's. All that is bound to a node stays where it is: a site that looks on wants to know what to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from allocator.domain.cluster import NodeAvailability
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import NodeDesired
from allocator.domain.plan import Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingReason
from allocator.domain.resources import NOTHING, Resources
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.kubernetes.observed import KubeNode, Object, asked_by, node_of, pod_of
from allocator.kubernetes.translation import Kinds
from allocator.kubernetes.translation import node_of as ours_of
from allocator.rounds.loop import run_round
from allocator.rounds.report import FlavorUsage
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore

ALL_JOBS = "/apis/batch/v1/jobs"
BY_NAMESPACE, BY_PRIORITY = "namespace", "priority-class"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-]+")
_OPERATORS = {"In": False, "NotIn": True, "Exists": False, "DoesNotExist": True}
"""Whether they negate."""


@dataclass(frozen=True, slots=True)
class Advice:
    """`starts`: name, queue, and the nodes. `waits`: name, queue, and why. `passed_over`: name and why."""

    starts: tuple[tuple[str, str, tuple[str, ...]], ...]
    waits: tuple[tuple[str, str, PendingReason | None], ...]
    passed_over: tuple[tuple[str, str], ...]
    usages: tuple[FlavorUsage, ...]
    """With prices, per display unit."""
    running: int
    outcome: str
    gap: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """`replicas` pods like `pod` (a PodSpec), which start together or not at all."""

    name: str
    queue: str
    replicas: int
    pod: Object
    since: str


class Unreadable(Exception):
    """It asks for something that is not understood here; why, for people."""


def waiting_of(pods: Iterable[Object], jobs: Iterable[Object], queues: str) -> list[Waiting]:
    """Pods without a node that nothing holds back, and suspended Jobs; `queues`: what of them names their queue."""
    found = []
    for item in pods:
        spec, metadata = item.get("spec") or {}, item["metadata"]
        held = spec.get("nodeName") or spec.get("schedulingGates") or "deletionTimestamp" in metadata
        if not held and (item.get("status") or {}).get("phase", "Pending") == "Pending":
            found.append(_waiting(item, spec, metadata, 1, queues))
    for item in jobs:
        spec, template = item.get("spec") or {}, (item.get("spec") or {}).get("template") or {}
        ended = any(
            each.get("type") in ("Complete", "Failed") and each.get("status") == "True"
            for each in (item.get("status") or {}).get("conditions") or ()
        )
        if spec.get("suspend") and not ended and "deletionTimestamp" not in item["metadata"]:
            many = min(spec.get("parallelism", 1), spec.get("completions") or spec.get("parallelism", 1))
            found.append(_waiting(item, template.get("spec") or {}, template.get("metadata") or {}, many, queues))
    return sorted((each for each in found if each.replicas), key=lambda each: (each.since, each.name))


def _waiting(item: Object, pod: Object, labelled: Object, replicas: int, queues: str) -> Waiting:
    metadata = item["metadata"]
    said = {
        BY_NAMESPACE: metadata.get("namespace", ""),
        BY_PRIORITY: pod.get("priorityClassName", ""),
    }
    labels = {**(metadata.get("labels") or {}), **(labelled.get("labels") or {})}
    queue = _NOT_IN_NAMES.sub("-", said.get(queues, labels.get(queues, ""))).strip("-") or "none"
    name = f"{metadata.get('namespace', '')}/{metadata['name']}"
    return Waiting(name, queue, replicas, pod, metadata.get("creationTimestamp", ""))


def spec_of(waiting: Waiting, flavors: Iterable[str], taints: Iterable[tuple[str, str]], gpu: str) -> JobSpec:
    """As a job of ours, in any flavor that its rules leave it. Raises Unreadable."""
    demand = asked_by(waiting.pod, gpu)
    ways = tuple(Configuration(flavor, waiting.replicas, demand) for flavor in sorted(flavors))
    constraints = Constraints(nodes=_rules(waiting.pod), tolerations=_tolerations(waiting.pod, taints))
    return JobSpec(waiting.queue, ways, name=waiting.name[:200], preemptible=False, constraints=constraints)


def _rules(pod: Object) -> tuple[NodeRule, ...]:
    rules = [NodeRule(key, (value,)) for key, value in sorted((pod.get("nodeSelector") or {}).items())]
    affinity = pod.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or []
    if len(terms) > 1:
        raise Unreadable("has alternatives in its node affinity")
    for term in terms:
        if term.get("matchFields"):
            raise Unreadable("names its node")
        for each in term.get("matchExpressions") or ():
            if each.get("operator") not in _OPERATORS:
                raise Unreadable(f"compares node labels by {each.get('operator')}")
            rules.append(NodeRule(each["key"], tuple(each.get("values") or ()), _OPERATORS[each["operator"]]))
    for kind in ("podAffinity", "podAntiAffinity"):
        if (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution"):
            raise Unreadable("must be near to, or far from, other pods")
    return tuple(rules)


def _tolerations(pod: Object, taints: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of the taints that there are."""
    found = set()
    for each in pod.get("tolerations") or ():
        any_value, key = each.get("operator") == "Exists", each.get("key") or ""
        for taint, value in taints:
            if key in ("", taint) and (any_value or each.get("value", "") == value):
                found.add((taint, value))
    return tuple(sorted(found))


def advise(
    nodes: Iterable[Object],
    pods: Iterable[Object],
    jobs: Iterable[Object],
    now: float,
    kinds: Kinds,
    queues: str = BY_NAMESPACE,
    weights: Mapping[str, float] | None = None,
) -> Advice:
    """From Nodes, Pods and Jobs of everybody; `weights` of queues, 1 unless said."""
    pods = list(pods)
    store = MemoryStore()
    there = [each for each in (node_of(item, kinds.gpu) for item in nodes) if each.is_ready]
    _register(store, there, pods, now, kinds)
    wanted = waiting_of(pods, jobs, queues)
    for queue in sorted({each.queue for each in wanted}):
        store.execute(c.CreateQueue(Queue(queue, weight=(weights or {}).get(queue, 1.0))), now).result()
    flavors = {kinds.flavor_of(node) for node in there}
    taints = sorted({(key, value) for node in there for key, value, _ in node.taints})
    waiting: dict[str, Waiting] = {}
    passed_over = []
    for each in wanted:
        try:
            answer: Any = None
            if flavors:
                (answer,) = store.execute(c.SubmitJobs((spec_of(each, flavors, taints, kinds.gpu),)), now).result()
        except Unreadable as why:
            answer = why
        if isinstance(answer, Job):
            waiting[answer.id] = each
        else:
            passed_over.append((each.name, "no node is ready" if answer is None else str(answer)))
    return _decided(store, waiting, tuple(passed_over), _running(pods), now)


def _register(store: MemoryStore, nodes: Iterable[KubeNode], pods: Iterable[Object], now: float, kinds: Kinds) -> None:
    used: dict[str, Resources] = {}
    for item in pods:
        pod = pod_of(item, "", kinds.gpu)
        if pod.node and not pod.has_ended:
            used[pod.node] = used.get(pod.node, NOTHING) + pod.asks
    for seen in nodes:
        taints = tuple(sorted({key: value for key, value, _ in seen.taints}.items()))
        node = replace(ours_of(seen, used.get(seen.name, NOTHING), kinds), taints=taints)
        store.execute(c.RegisterNode(node), now).result()
        if seen.is_cordoned:
            store.execute(c.SetNodeAvailability(seen.name, NodeAvailability.CORDONED), now).result()


def _running(pods: Iterable[Object]) -> int:
    return sum(
        bool((item.get("spec") or {}).get("nodeName")) and (item.get("status") or {}).get("phase") == "Running"
        for item in pods
    )


def _decided(
    store: MemoryStore,
    waiting: Mapping[str, Waiting],
    passed_over: tuple[tuple[str, str], ...],
    running: int,
    now: float,
) -> Advice:
    report, _ = run_round(
        store=store, pusher=_Nobody(), clock=_Still(now), solver=ChainSolver(), policy=Policy(), memory=Memory()
    )
    placed = [change.placement for change in report.plan.changes if isinstance(change, Start)]
    starts = tuple((waiting[each.job_id].name, waiting[each.job_id].queue, each.nodes) for each in placed)
    reasons = dict(report.plan.waiting)
    waits = tuple((each.name, each.queue, reasons[ours]) for ours, each in waiting.items() if ours in reasons)
    summary = report.summary
    return Advice(starts, waits, passed_over, summary.flavors, running, summary.outcome.value, summary.gap)


class _Nobody:
    """Nothing is pushed anywhere."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Nobody hears it."""


class _Still:
    """A clock that stands still: there is one round."""

    def __init__(self, time: float) -> None:
        self._time = time

    def now(self) -> float:
        return self._time

    def wait(self, until: float, *, quiet_until: float) -> bool:  # noqa: ARG002 - a port's
        return False

    def stopwatch(self) -> float:
        return 0.0

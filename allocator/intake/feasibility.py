"""Whether a job can ever run on the nodes that are known, and if not, what is nearest to it that could. Pure.

Every known node counts as if it were there, open and empty: lost ones come back, and cordons are lifted. As long as no
node is known, each would do. Quotas and side constraints that no use could keep forbid as well: a gang that is more
than its queue, or one above it, may ever use, or than all jobs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from allocator.domain.cluster import CORE_MILLIS, Labels, Node
from allocator.domain.constraints import carries
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import LimitExcess, PendingCause, PendingReason, QuotaExcess
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, Resources, display_unit
from allocator.domain.side_constraint import PRECISION, SideConstraint
from allocator.formulation.eligibility import Kind, OpenNodes, Verdict, parted, why_never
from allocator.formulation.side_terms import most_taken, taken_anywhere, taken_in_area

_POSSIBLE = Verdict(None)
_MOST_PIECES = 64
"""Into more a replica is not thought to be cut."""
_MOST_TOLD = 3
"""Flavors that are spoken of."""


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why a job can never run: `reason` as rounds would give it, `why` and `nearest` in words."""

    reason: PendingReason
    why: str
    nearest: tuple[str, ...]
    """Changes, any of which makes it possible: `2 replicas of 8 GPUs would fit on h100`."""

    def __str__(self) -> str:
        return "; ".join([self.why, *self.nearest])


def infeasible(
    spec: JobSpec, nodes: tuple[Node, ...], queues: Sequence[Queue] = (), policy: Policy | None = None
) -> Infeasible | None:
    """None if some configuration fits on `nodes`, or there are none; `nodes` is the same object until one changes.

    `queues` are the job's own and those above it; `policy` is the one in force, if any is known.
    """
    kinds = _kinds(spec, () if policy is None else policy.floating_resources)
    there = _as_if_open(nodes)
    judged = [(kind, there.verdict(kind) if nodes else _POSSIBLE) for kind in kinds]
    fitting = [kind for kind, verdict in judged if verdict.cause is None]
    if not kinds or fitting:
        beyond = [] if spec.divisible else [_beyond(kind, queues) for kind in fitting]
        if beyond and all(beyond):
            return _over_quota(fitting, beyond)
        within = [kind for kind, excess in zip(fitting, beyond, strict=True) if excess is None] if beyond else []
        return _over_limit(spec, within, nodes, () if policy is None else policy.side_constraints)
    reason = why_never(judged)
    of_cause = [kind for kind, verdict in judged if verdict.cause is reason.cause]
    flavors = list(dict.fromkeys(kind.flavor for kind in of_cause))
    nearest_kinds = [next(kind for kind in of_cause if kind.flavor == flavor) for flavor in flavors[:_MOST_TOLD]]
    why = "; ".join(dict.fromkeys(_why(kind, reason.cause, there, nodes) for kind in nearest_kinds))
    nearest = [sentence for kind in nearest_kinds for sentence in _nearest(kind, reason.cause, there, nodes)]
    nearest += _elsewhere(kinds, there, nodes)
    return Infeasible(reason, why, tuple(dict.fromkeys(nearest)))


def fitting(spec: JobSpec, nodes: tuple[Node, ...], floating: tuple[str, ...] = ()) -> list[Configuration]:
    """The configurations that could run on `nodes`."""
    there, able = _as_if_open(nodes), [each for each in spec.configurations if each.throughput > 0]
    return [each for each, kind in zip(able, _kinds(spec, floating), strict=True) if _fits(there, kind)]


def _kinds(spec: JobSpec, floating: tuple[str, ...]) -> list[Kind]:
    """Of the configurations in which the job can run at all."""
    found = []
    for each in spec.configurations:
        if each.throughput > 0:
            demand, apart = parted(each.demand, floating)
            found.append(Kind(each.flavor, each.replicas, demand, spec.constraints, apart))
    return found


@remembered
def _as_if_open(nodes: tuple[Node, ...]) -> OpenNodes:
    return OpenNodes(tuple(node.as_if_open() for node in nodes))


def _beyond(kind: Kind, queues: Iterable[Queue]) -> QuotaExcess | None:
    """The first limit that the gang alone is beyond."""
    for queue in queues:
        for quota in queue.quotas:
            amount = kind.demand.get(quota.resource) * kind.replicas
            if quota.flavor == kind.flavor and quota.most is not None and amount > quota.most:
                return QuotaExcess(queue.name, quota.flavor, quota.resource, 0, quota.most, amount - quota.most)
    return None


def _over_quota(kinds: Sequence[Kind], beyond: Sequence[QuotaExcess | None]) -> Infeasible:
    """Of a job whose every possible kind is beyond some quota."""
    found = [(kind, excess) for kind, excess in zip(kinds, beyond, strict=True) if excess is not None]
    told, nearest = [], []
    for kind, excess in found[:_MOST_TOLD]:
        asked = _amount(excess.resource, excess.most + excess.missing)
        most = _bare(excess.resource, excess.most)
        told.append(f"it needs {asked} on {excess.flavor}, of which queue {excess.queue} may use {most} at most")
        fewer = excess.most // max(1, kind.demand.get(excess.resource))
        if fewer:
            nearest.append(f"{_replicas(fewer, 'such ')} would be within that")
    reason = PendingReason(PendingCause.EXCEEDS_QUOTA, excesses=tuple(excess for _, excess in found))
    return Infeasible(reason, "; ".join(dict.fromkeys(told)), tuple(dict.fromkeys(nearest)))


def _over_limit(
    spec: JobSpec, kinds: Sequence[Kind], nodes: tuple[Node, ...], constraints: Sequence[SideConstraint]
) -> Infeasible | None:
    """Of a job that in each of these kinds takes more of some side constraint than there may be in all, or each replica
    of it does on every node that it may be on.
    """
    found, told, nearest = [], [], []
    for kind in kinds:
        excess = None
        for limit in constraints:
            takes, most = taken_anywhere(limit, kind, spec.queue, spec.labels), most_taken(limit, nodes)
            if takes > most:
                excess = limit, takes, most
                break
        local = excess is None
        if excess is None:
            excess = _in_every_area(spec, kind, nodes, constraints)
        if excess is None:
            return None
        limit, takes, most = excess
        found.append(LimitExcess(limit.name, 0, most, takes, limit.unit))
        unit = f" {limit.unit}" if limit.unit else ""
        who = "each replica" if local else "it"
        told.append(
            f"on {kind.flavor} {who} takes {_millionths(takes)}{unit} of {limit.name}, "
            f"of which there is {_millionths(most)} at most"
        )
        fewer = kind.replicas * most // takes
        if fewer and not local:
            nearest.append(f"{_replicas(fewer, 'such ')} on {kind.flavor} would be within that")
    if not found:
        return None
    reason = PendingReason(PendingCause.EXCEEDS_LIMIT, limits=tuple(found))
    return Infeasible(reason, "; ".join(told[:_MOST_TOLD]), tuple(nearest[:_MOST_TOLD]))


def _in_every_area(
    spec: JobSpec, kind: Kind, nodes: tuple[Node, ...], constraints: Sequence[SideConstraint]
) -> tuple[SideConstraint, int, int] | None:
    """One of the side constraints that shut a single replica out, if they do on every node that admits it; what it
    takes, and what there may be.
    """
    found: dict[Labels, tuple[SideConstraint, int, int]] = {}
    for limit in constraints:
        takes = taken_in_area(limit, kind, spec.queue, spec.labels)
        if takes and takes > (most := most_taken(limit, nodes)):
            found.setdefault(limit.terms[0].node_labels, (limit, takes, most))
    if not found:
        return None
    short = {area[0] for area in found if len(area) == 1}
    long = [area for area in found if len(area) > 1]
    there = _as_if_open(nodes).admitted(kind)
    if any(short.isdisjoint(node.labels) and not any(carries(node.labels, area) for area in long) for node in there):
        return None
    return next((each for area, each in found.items() if any(carries(node.labels, area) for node in there)), None)


def _fits(there: OpenNodes, kind: Kind) -> bool:
    return there.verdict(kind).cause is None


def _why(kind: Kind, cause: PendingCause, there: OpenNodes, nodes: tuple[Node, ...]) -> str:
    flavor = kind.flavor
    admitted = there.admitted(kind)
    match cause:
        case PendingCause.NO_ELIGIBLE_FLAVOR:
            known = sorted({node.flavor for node in nodes})
            close = get_close_matches(flavor, known, n=1)
            hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            return f"no node has flavor {flavor}{hint}"
        case PendingCause.NO_MATCHING_NODE:
            every = [node for node in nodes if node.flavor == flavor]
            if there.admitted(kind._replace(demand=_rounded_up(kind.demand))):
                return (
                    f"engines of {flavor} nodes that it may use give whole cores or GPUs only, and it asks for a part"
                )
            if any(all(rule.admits(node.labels) for rule in kind.constraints.nodes) for node in every):
                return f"every {flavor} node that has the labels it asks for has a taint that it does not tolerate"
            return f"no {flavor} node has the labels that it asks for"
        case PendingCause.EXCEEDS_NODE:
            lacking = []
            for resource, _ in there.verdict(kind).shortages:
                most = max(node.capacity.get(resource) for node in admitted)
                asked = _amount(resource, kind.demand.get(resource))
                lacking.append(f"{asked}, the largest node of {flavor} has {_bare(resource, most)}")
            if not lacking:
                return f"a replica fits on no {flavor} node"
            return f"a replica needs {' and '.join(lacking)}"
        case _:
            asked = f"{_replicas(kind.replicas)} of {_demand(kind.demand)}"
            if kind.constraints.within or kind.constraints.at_most:
                return f"{asked} have no place on all of {flavor} together under the job's own limits"
            return f"{asked} are more than all of {flavor}"


def _nearest(kind: Kind, cause: PendingCause, there: OpenNodes, nodes: tuple[Node, ...]) -> Iterator[str]:
    """What could run on this flavor."""
    if cause is PendingCause.EXCEEDS_NODE:
        for pieces in range(2, _MOST_PIECES + 1):
            piece = _cut(kind.demand, pieces)
            cut = kind._replace(replicas=kind.replicas * pieces, demand=piece)
            if _fits(there, cut):
                yield f"{cut.replicas} replicas of {_demand(piece)} would fit on {kind.flavor}"
                return
        largest = [_within(kind.demand, node.capacity) for node in there.admitted(kind)]
        best = max(largest, key=lambda part: min(part.get(name) / amount for name, amount in kind.demand.items()))
        if _demand(best) and _fits(there, kind._replace(demand=best)):
            yield f"{_replicas(kind.replicas)} of {_demand(best)} would fit on {kind.flavor}"
    if cause is PendingCause.EXCEEDS_CLUSTER:
        fewer = _most_replicas(kind, there)
        if fewer:
            yield f"{_replicas(fewer, 'such ')} would fit on {kind.flavor}"
    if cause is PendingCause.NO_ELIGIBLE_FLAVOR:
        return
    whole = kind._replace(demand=_rounded_up(kind.demand))
    if whole != kind and _fits(there, whole):
        yield f"{_replicas(whole.replicas)} of {_demand(whole.demand)} would fit on {kind.flavor}"
    free = kind.constraints
    for label, without in (
        ("tolerating its taints", replace(free, tolerations=_any_taint(nodes, kind))),
        ("without its demands on node labels", replace(free, nodes=())),
        ("without its limits per node and domain", replace(free, at_most=(), within="")),
    ):
        if without != free and _fits(there, kind._replace(constraints=without)):
            yield f"{label} it would fit on {kind.flavor}"


def _rounded_up(demand: Resources) -> Resources:
    """With whole cores and GPUs."""
    cores, gpus = -(-demand.cpu_millicores // CORE_MILLIS), -(-demand.gpu_millis // GPU_MILLIS)
    return replace(demand, cpu_millicores=cores * CORE_MILLIS, gpu_millis=gpus * GPU_MILLIS)


def _any_taint(nodes: tuple[Node, ...], kind: Kind) -> tuple[tuple[str, str], ...]:
    """Tolerations of all taints that the flavor's nodes have."""
    seen = {key for node in nodes if node.flavor == kind.flavor for key, _ in node.taints}
    return tuple(sorted({*kind.constraints.tolerations, *((key, "") for key in seen)}))


def _most_replicas(kind: Kind, there: OpenNodes) -> int:
    """The largest gang of such replicas that fits; 0 if none does."""
    low, high = 0, kind.replicas - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(there, kind._replace(replicas=middle)) else (low, middle - 1)
    return low


def _elsewhere(kinds: Iterable[Kind], there: OpenNodes, nodes: tuple[Node, ...]) -> Iterator[str]:
    """Flavors that it does not accept, and on which it would fit as it is."""
    accepted = {kind.flavor for kind in kinds}
    others = sorted({node.flavor for node in nodes} - accepted)
    able = [flavor for flavor in others if any(_fits(there, kind._replace(flavor=flavor)) for kind in kinds)]
    if able:
        yield f"it would fit on {', '.join(able[:_MOST_TOLD])}, which it does not accept"


def _cut(demand: Resources, pieces: int) -> Resources:
    """A part of a replica's demand, rounded up; GPUs stay whole where there are as many."""
    amounts = {name: -(-amount // pieces) for name, amount in demand.items()}
    if demand.gpu_millis > GPU_MILLIS:
        amounts["gpu"] = -(-demand.gpu_millis // (pieces * GPU_MILLIS)) * GPU_MILLIS
    return Resources.of(amounts)


def _within(demand: Resources, capacity: Resources) -> Resources:
    """As much of the demand as a node has."""
    return Resources.of({name: min(amount, capacity.get(name)) for name, amount in demand.items()})


def _replicas(count: int, which: str = "") -> str:
    return f"{count} {which}replica{'' if count == 1 else 's'}"


def _demand(amounts: Resources) -> str:
    return ", ".join(_amount(resource, amount) for resource, amount in amounts.items())


def _amount(resource: str, amount: int) -> str:
    unit = display_unit(resource)[0]
    if resource in ("cpu", "gpu"):
        return f"{_bare(resource, amount)} {unit if amount > display_unit(resource)[1] else unit[:-1]}"
    return (
        f"{_bare(resource, amount)} {resource}" if unit == "units" else f"{_bare(resource, amount)} {unit} {resource}"
    )


def _millionths(amount: int) -> str:
    return f"{amount / PRECISION:.10g}"


def _bare(resource: str, amount: int) -> str:
    return f"{amount / display_unit(resource)[1]:.6g}"

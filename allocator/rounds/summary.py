"""A finished round in a few numbers, for dashboards, records and replays. Pure."""

from __future__ import annotations

import math
import operator
from collections import Counter, defaultdict

import numpy as np

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import JobState
from allocator.domain.placement import WHOLE
from allocator.domain.plan import Commit, Move, Preempt, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import NEVER, PendingCause
from allocator.domain.remembered import remembered
from allocator.domain.resources import display_unit
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import IN_PLACE, NOT_POSSIBLE, Formulation
from allocator.formulation.eligibility import Kind
from allocator.formulation.live import Live
from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.formulation.value import rounding_loss
from allocator.rounds.decide import Decision
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.rounds.settle import configurations_after, parts_after
from allocator.solvers.solution import Solution, Status

Amounts = dict[tuple[str, str], int]
"""Integer amount by (flavor, resource)."""


def summarize(
    snapshot: Snapshot, decision: Decision, commit: Commit, policy: Policy, stages: tuple[tuple[str, float], ...]
) -> RoundSummary:
    """The summary of a round that has been committed."""
    formulation, solution, plan = decision.formulation, decision.solution, decision.plan
    after = configurations_after(formulation.live, commit)
    part = parts_after(formulation.live, commit)
    done = [applied.change for applied in commit.applied]
    preempted = Counter(change.reason.value for change in done if isinstance(change, Preempt))
    reasons = Counter(map(id, map(operator.itemgetter(1), plan.waiting)))  # few objects, many jobs
    waiting: Counter[str] = Counter()
    for reason in {id(reason): reason for _, reason in plan.waiting}.values():
        waiting[reason.cause.value] += reasons[id(reason)]
    waiting += Counter(change.pending.cause.value for change in done if isinstance(change, Preempt))
    refused_starts = sum(isinstance(refused.change, Start) for refused in commit.rejected)
    waiting += Counter({PendingCause.CHANGED_SINCE_SNAPSHOT.value: refused_starts})
    return RoundSummary(
        round=snapshot.round,
        revision=commit.revision,
        time=snapshot.time,
        outcome=_outcome(solution),
        solver=solution.solver,
        iterations=solution.iterations,
        fairness=policy.fairness,
        objective=solution.objective,
        bound=solution.bound,
        gap=solution.gap,
        rounding_loss=_rounding_loss(formulation, solution, after, part),
        started=sum(isinstance(change, Start) for change in done),
        moved=sum(isinstance(change, Move) for change in done),
        kept=len(plan.kept),
        rejected=len(commit.rejected),
        preempted=tuple(sorted(preempted.items())),
        waiting=tuple(sorted(waiting.items())),
        lost=_lost(decision, commit, policy),
        flavors=_flavor_usage(snapshot, decision, after, part, policy),
        queues=_queue_usage(snapshot, decision, after, part),
        stages=stages,
        resized=sum(isinstance(change, Resize) for change in done),
        policy_version=0 if snapshot.applied is None else snapshot.applied.version,
    )


def _outcome(solution: Solution) -> RoundOutcome:
    if solution.status is Status.FAILED:
        return RoundOutcome.STALE
    if solution.fallback:
        return RoundOutcome.FALLBACK
    return RoundOutcome.OPTIMAL if solution.status is Status.OPTIMAL else RoundOutcome.INACCURATE


def _rounding_loss(formulation: Formulation, solution: Solution, after: Integers, part: Floats) -> float:
    if solution.status is Status.FAILED:
        return 0.0
    row, index = formulation.row, formulation.index
    chosen = np.flatnonzero((row >= 0) & (after >= 0))
    which, column = np.nonzero(index[row[chosen]] == after[chosen][:, None])
    placed = np.zeros(index.shape)
    np.add.at(placed, (row[chosen[which]], column), part[chosen[which]])
    placed /= formulation.problem.count[:, None]
    if formulation.most is not None:
        placed /= formulation.most[:, None]
    return rounding_loss(formulation.problem, solution.shares, placed)


def _added_up(live: Live, kinds: Integers, counts: Floats) -> Amounts:
    """What gangs of these kinds take together, each counted so many times."""
    together = np.bincount(kinds, weights=counts, minlength=len(live.kinds))
    amounts: Amounts = {}
    for number in np.flatnonzero(together).tolist():
        kind, count = live.kinds[number], float(together[number])
        for resource, amount in kind.asks.items():
            key = (kind.flavor, resource)
            # whole counts stay exact; parts are of divisible jobs
            gangs = int(count) if count.is_integer() else count
            amounts[key] = amounts.get(key, 0) + math.ceil(amount * kind.replicas * gangs)
    return amounts


def _held(live: Live, after: Integers, part: Floats) -> Amounts:
    """What the jobs that run hold together."""
    running = np.flatnonzero(after >= 0)
    return _added_up(live, live.shapes.kind[live.shape[running], after[running]], part[running])


@remembered
def _capacity(nodes: tuple[Node, ...]) -> Amounts:
    """What ready nodes have; not to be changed."""
    amounts: Amounts = {}
    for node in nodes:
        if node.health is NodeHealth.READY:
            for resource, amount in node.capacity.items():
                amounts[node.flavor, resource] = amounts.get((node.flavor, resource), 0) + amount
    return amounts


def _requested(decision: Decision) -> Amounts:
    """What live jobs ask for, each where it is fastest among the configurations that can run at all; who can never run
    asks for nothing.
    """
    formulation = decision.formulation
    live, throughput = formulation.live, formulation.problem.throughput
    pinned = np.flatnonzero(formulation.row == IN_PLACE)
    kinds, counts = live.kind_now(pinned), live.jobs.millis[pinned] / WHOLE
    shut_out = _shut_out(formulation)
    if len(shut_out):
        fastest = live.shapes.throughput[shut_out].argmax(axis=1)
        kinds = np.concatenate([kinds, live.shapes.kind[shut_out, fastest]])
        counts = np.concatenate([counts, np.ones(len(shut_out))])
    if len(throughput):
        fastest = formulation.index[np.arange(len(throughput)), throughput.argmax(axis=1)]
        shape = np.empty(len(throughput), dtype=np.int64)
        there = np.flatnonzero(formulation.row >= 0)
        shape[formulation.row[there]] = live.shape[there]  # of any of the row's jobs: they are alike
        kinds = np.concatenate([kinds, live.shapes.kind[shape, fastest]])
        counts = np.concatenate([counts, formulation.problem.count])
    return _added_up(live, kinds, counts)


def _shut_out(formulation: Formulation) -> Integers:
    """Shapes of the jobs for which jobs that stay, or limits, leave nothing now."""
    live = formulation.live
    jobs = np.flatnonzero(formulation.row == NOT_POSSIBLE)
    never = [formulation.never[job_id].cause in NEVER for job_id in live.jobs.ids[jobs].tolist()]
    shapes: Integers = live.shape[jobs[~np.array(never, dtype=np.bool_)]]
    return shapes


def _flavor_usage(
    snapshot: Snapshot, decision: Decision, after: Integers, part: Floats, policy: Policy
) -> tuple[FlavorUsage, ...]:
    """Without what floats, which is no flavor's."""
    capacity = _capacity(snapshot.nodes)
    requested = _requested(decision)
    allocated = _held(decision.formulation.live, after, part)
    prices = decision.formulation.price_map(decision.solution.prices)
    return tuple(
        FlavorUsage(
            flavor=flavor,
            resource=resource,
            capacity=capacity.get((flavor, resource), 0),
            requested=requested.get((flavor, resource), 0),
            allocated=allocated.get((flavor, resource), 0),
            price=prices.get((flavor, resource), 0.0),
        )
        for flavor, resource in sorted(capacity.keys() | allocated.keys())
        if resource not in policy.floating_resources
    )


def _queue_usage(snapshot: Snapshot, decision: Decision, after: Integers, part: Floats) -> tuple[QueueUsage, ...]:
    live = decision.formulation.live
    total: dict[str, int] = defaultdict(int)
    for (_, resource), amount in _capacity(snapshot.nodes).items():
        total[resource] += amount
    names = decision.formulation.resources
    whole = np.array([float(total.get(name, 0)) for name in names])
    running = after >= 0
    queue = live.profiles.queue[live.jobs.profile]
    count = len(live.queues)
    fair = _dominant_shares(_fair_amounts(decision, queue), whole)
    actual = _dominant_shares(_amounts_by_queue(live, names, queue, running, after, part), whole)
    there = np.bincount(queue, minlength=count)
    run = np.bincount(queue[running], minlength=count)
    number = {name: position for position, name in enumerate(live.queues)}
    usages = []
    for each in snapshot.queues:
        position = number.get(each.name)
        nothing = position is None
        usages.append(
            QueueUsage(
                queue=each.name,
                weight=each.weight,
                pending=0 if nothing else int(there[position] - run[position]),
                running=0 if nothing else int(run[position]),
                fair_share=0.0 if nothing else float(fair[position]),
                actual_share=0.0 if nothing else float(actual[position]),
            )
        )
    return tuple(usages)


def _dominant_shares(amounts: Floats, total: Floats) -> Floats:
    """(Q,) the largest part of any total (R,) that the amounts (Q, R) are."""
    there = total > 0
    shares: Floats = (amounts[:, there] / total[there]).max(axis=1, initial=0.0)
    return shares


def _amounts_by_queue(
    live: Live, names: tuple[str, ...], queue: Integers, chosen: Booleans, configuration: Integers, part: Floats
) -> Floats:
    """(Q, R) what the chosen jobs hold, in integer units."""
    jobs = np.flatnonzero(chosen)
    kind = live.shapes.kind[live.shape[jobs], configuration[jobs]]
    together = np.bincount(queue[jobs] * len(live.kinds) + kind, weights=part[jobs])
    pairs = np.flatnonzero(together)
    amounts = np.zeros((len(live.queues), len(names)))
    if len(pairs):
        each = _gangs(live.kinds, names)[pairs % len(live.kinds)]
        np.add.at(amounts, pairs // len(live.kinds), each * together[pairs][:, None])
    return amounts


@remembered
def _gangs(kinds: tuple[Kind, ...], names: tuple[str, ...]) -> Floats:
    """(kinds, R) what a whole gang of each kind takes, in integer units."""
    return np.array([[float(kind.asks.get(name) * kind.replicas) for name in names] for kind in kinds])


def _fair_amounts(decision: Decision, queue: Integers) -> Floats:
    """(Q, R) what the optimum gives the jobs of each queue, in integer units; pinned jobs hold what they hold."""
    formulation = decision.formulation
    live, problem, row = formulation.live, formulation.problem, formulation.row
    units = np.array([display_unit(resource)[1] for resource in formulation.resources], dtype=np.float64)
    fluid = np.einsum("nk,nkr->nr", decision.solution.shares, problem.demand) * units
    held = np.where(live.jobs.runs, live.jobs.millis / WHOLE, 0.0)
    amounts = _amounts_by_queue(live, formulation.resources, queue, row == IN_PLACE, live.jobs.configuration, held)
    inside = np.flatnonzero(row >= 0)
    for resource in range(len(formulation.resources)):
        amounts[:, resource] += np.bincount(
            queue[inside], weights=fluid[row[inside], resource], minlength=len(live.queues)
        )
    return amounts


def _lost(decision: Decision, commit: Commit, policy: Policy) -> tuple[tuple[str, str, float], ...]:
    """Resource-seconds that preemptions and moves throw away: what each victim held of nodes, for its restart cost."""
    live = decision.formulation.live
    stopped = [applied.change.job_id for applied in commit.applied if isinstance(applied.change, Preempt | Move)]
    lost: dict[tuple[str, str], float] = defaultdict(float)
    for position in np.sort(live.positions(stopped)).tolist():
        job = live.jobs.jobs[position]
        if job.state is not JobState.RUNNING or job.allocation is None:
            continue
        configuration = job.spec.configurations[job.allocation.placement.configuration]
        for resource, amount in configuration.total_demand.items():
            if resource in policy.floating_resources:
                continue
            lost[configuration.flavor, resource] += amount * job.spec.restart_cost_seconds
    return tuple((flavor, resource, amount) for (flavor, resource), amount in sorted(lost.items()) if amount)

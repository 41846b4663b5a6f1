"""A finished round in a few numbers, for dashboards, records and replays. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.plan import Commit, Move, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause
from allocator.domain.remembered import remembered
from allocator.domain.resources import display_unit
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.value import rounding_loss
from allocator.rounds.decide import Decision
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.rounds.settle import running_after
from allocator.solvers.solution import Solution, Status

Amounts = dict[tuple[str, str], int]
"""Integer amount by (flavor, resource)."""


def summarize(
    snapshot: Snapshot, decision: Decision, commit: Commit, policy: Policy, stages: tuple[tuple[str, float], ...]
) -> RoundSummary:
    """The summary of a round that has been committed."""
    formulation, solution, plan = decision.formulation, decision.solution, decision.plan
    running = running_after(snapshot, commit)
    done = [applied.change for applied in commit.applied]
    preempted = Counter(change.reason.value for change in done if isinstance(change, Preempt))
    waiting = Counter(reason.cause.value for _, reason in plan.waiting)
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
        rounding_loss=_rounding_loss(formulation, solution, running),
        started=sum(isinstance(change, Start) for change in done),
        moved=sum(isinstance(change, Move) for change in done),
        kept=len(plan.kept),
        rejected=len(commit.rejected),
        preempted=tuple(sorted(preempted.items())),
        waiting=tuple(sorted(waiting.items())),
        lost=_lost(snapshot, commit),
        flavors=_flavor_usage(snapshot, decision, running),
        queues=_queue_usage(snapshot, decision, running),
        stages=stages,
    )


def _outcome(solution: Solution) -> RoundOutcome:
    if solution.status is Status.FAILED:
        return RoundOutcome.STALE
    if solution.fallback:
        return RoundOutcome.FALLBACK
    return RoundOutcome.OPTIMAL if solution.status is Status.OPTIMAL else RoundOutcome.INACCURATE


def _rounding_loss(formulation: Formulation, solution: Solution, running: dict[str, int]) -> float:
    if solution.status is Status.FAILED:
        return 0.0
    placed = np.zeros_like(solution.shares)
    for job_id, configuration in running.items():
        row = formulation.rows.get(job_id)
        if row is not None and configuration in formulation.configurations[row]:
            placed[row, formulation.configurations[row].index(configuration)] += 1.0
    placed /= formulation.problem.count[:, None]
    return rounding_loss(formulation.problem, solution.shares, placed)


def _added_up(configurations: Iterable[Configuration]) -> Amounts:
    """What they take together. Jobs share the objects of their demands, so each distinct one is multiplied once."""
    counts: dict[tuple[str, int, int], int] = {}
    sample: dict[tuple[str, int, int], Configuration] = {}
    for configuration in configurations:
        key = (configuration.flavor, configuration.replicas, id(configuration.demand))
        if key in counts:
            counts[key] += 1
        else:
            counts[key] = 1
            sample[key] = configuration
    amounts: Amounts = {}
    for key, count in counts.items():
        for resource, amount in sample[key].total_demand.items():
            amounts[key[0], resource] = amounts.get((key[0], resource), 0) + amount * count
    return amounts


def _held(jobs: Iterable[Job], running: dict[str, int]) -> Amounts:
    """What the jobs that run hold together."""
    return _added_up(job.spec.configurations[running[job.id]] for job in jobs if job.id in running)


@remembered
def _capacity(nodes: tuple[Node, ...]) -> Amounts:
    """What ready nodes have; not to be changed."""
    amounts: Amounts = {}
    for node in nodes:
        if node.health is NodeHealth.READY:
            for resource, amount in node.capacity.items():
                amounts[node.flavor, resource] = amounts.get((node.flavor, resource), 0) + amount
    return amounts


def _requested(snapshot: Snapshot, decision: Decision) -> Amounts:
    """What live jobs ask for, each where it is fastest among the configurations that can run at all."""
    formulation = decision.formulation
    throughput = formulation.problem.throughput
    best_column = throughput.argmax(axis=1).tolist() if len(throughput) else []
    fastest = [row[column] for row, column in zip(formulation.configurations, best_column, strict=True)]
    asked: list[Configuration] = []
    for job in snapshot.jobs:
        row_of_job = formulation.rows.get(job.id)
        if row_of_job is not None:
            asked.append(job.spec.configurations[fastest[row_of_job]])
        elif job.id in formulation.pinned and job.allocation is not None:
            asked.append(job.spec.configurations[job.allocation.placement.configuration])
    return _added_up(asked)


def _flavor_usage(snapshot: Snapshot, decision: Decision, running: dict[str, int]) -> tuple[FlavorUsage, ...]:
    capacity = _capacity(snapshot.nodes)
    requested = _requested(snapshot, decision)
    allocated = _held(snapshot.jobs, running)
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
    )


def _queue_usage(snapshot: Snapshot, decision: Decision, running: dict[str, int]) -> tuple[QueueUsage, ...]:
    jobs_of: dict[str, list[Job]] = defaultdict(list)
    for job in snapshot.jobs:
        jobs_of[job.spec.queue].append(job)
    total: dict[str, int] = defaultdict(int)
    for (_, resource), amount in _capacity(snapshot.nodes).items():
        total[resource] += amount
    fluid = _fluid_amounts(decision)
    usages = []
    for queue in snapshot.queues:
        jobs = jobs_of.get(queue.name, [])
        running_count = sum(job.id in running for job in jobs)
        actual: dict[str, int] = defaultdict(int)
        for (_, resource), amount in _held(jobs, running).items():
            actual[resource] += amount
        usages.append(
            QueueUsage(
                queue=queue.name,
                weight=queue.weight,
                pending=len(jobs) - running_count,
                running=running_count,
                fair_share=_dominant_share(_fair_amounts(jobs, decision, fluid), total),
                actual_share=_dominant_share(actual, total),
            )
        )
    return tuple(usages)


def _dominant_share(amounts: dict[str, int] | dict[str, float], total: dict[str, int]) -> float:
    return max((amount / total[resource] for resource, amount in amounts.items() if total.get(resource)), default=0.0)


def _fluid_amounts(decision: Decision) -> NDArray[np.float64]:
    """(n, R): what one job of each row holds on average at the optimum, in integer units."""
    problem = decision.formulation.problem
    units = np.array([display_unit(resource)[1] for resource in decision.formulation.resources], dtype=np.float64)
    amounts: NDArray[np.float64] = np.einsum("nk,nkr->nr", decision.solution.shares, problem.demand) * units
    return amounts


def _fair_amounts(jobs: list[Job], decision: Decision, fluid: NDArray[np.float64]) -> dict[str, float]:
    """What the optimum gives these jobs, by resource; pinned jobs hold what they hold."""
    formulation = decision.formulation
    rows = Counter(formulation.rows[job.id] for job in jobs if job.id in formulation.rows)
    amounts: dict[str, float] = defaultdict(float)
    if rows:
        counts = np.fromiter(rows.values(), dtype=np.float64)
        held = counts @ fluid[list(rows)]
        for resource, amount in zip(formulation.resources, held.tolist(), strict=True):
            amounts[resource] += amount
    for job in jobs:
        if job.id in formulation.pinned and job.allocation is not None:
            configuration = job.spec.configurations[job.allocation.placement.configuration]
            for resource, amount in configuration.total_demand.items():
                amounts[resource] += amount
    return amounts


def _lost(snapshot: Snapshot, commit: Commit) -> tuple[tuple[str, str, float], ...]:
    """Resource-seconds that preemptions and moves throw away: what each victim held, for its restart cost."""
    stopped = {applied.change.job_id for applied in commit.applied if isinstance(applied.change, Preempt | Move)}
    lost: dict[tuple[str, str], float] = defaultdict(float)
    for job in snapshot.jobs:
        if job.id not in stopped or job.state is not JobState.RUNNING or job.allocation is None:
            continue
        configuration = job.spec.configurations[job.allocation.placement.configuration]
        for resource, amount in configuration.total_demand.items():
            lost[configuration.flavor, resource] += amount * job.spec.restart_cost_seconds
    return tuple((flavor, resource, amount) for (flavor, resource), amount in sorted(lost.items()) if amount)

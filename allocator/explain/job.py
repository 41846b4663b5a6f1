"""Why a job is where it is: what it is owed and gets, what it pays for that, and what is scarce for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.domain.job import Job, JobState
from allocator.explain.answers import ConfigurationCost, JobExplanation, JobWeight, tier_of
from allocator.explain.finished import Finished
from allocator.explain.limits import capacity_prices, paid_limits
from allocator.explain.own_limits import LEAST_PRICE, own_bindings
from allocator.explain.scarcity import Binding, BindingKind
from allocator.explain.throughputs import throughputs_of
from allocator.formulation.problem import Floats
from allocator.formulation.weightings import received
from allocator.market.clearing import Stage
from allocator.market.side import side_of_rows
from allocator.placement.verify_engine import lacking
from allocator.rounds.standings import promise_of


def explain_job(finished: Finished | None, job: Job) -> JobExplanation:
    """About `job` as it is now; `finished` is the last round, None before the first one."""
    reason = job.pending_reason if job.state is JobState.PENDING else None
    known = JobExplanation(
        job_id=job.id,
        queue=job.spec.queue,
        state=job.state,
        tier=None if reason is None else tier_of(reason.cause),
        reason=reason,
        round=None,
        time=None,
        waits_for=tuple(each for each in job.spec.after if each.job_id in job.waits_for),
        failures=job.failures,
        not_before=job.not_before,
    )
    if finished is None or job.state.is_final:
        return known
    at = finished.position_of(job.sequence)
    if at is None:
        return known
    waits = bool(finished.waiting[at])
    seen = replace(
        known,
        round=finished.report.summary.round,
        time=finished.report.snapshot.time,
        received_share=float(finished.part[at]),
        credit_seconds=finished.after.credit(job.sequence, finished.report.snapshot.time),
        position=finished.turn_of(at) + 1 if waits else None,
        waiting=int(finished.waiting.sum()) if waits else None,
        weight=_weight(finished, job, at),
        promise=promise_of(finished.standings, job, at, finished.report.snapshot.time),
        throughputs=throughputs_of(finished.report.snapshot, job),
        lacking=lacking(job, finished.live.nodes.find),
    )
    if not finished.solved:
        return seen
    seen = replace(seen, owed_share=float(finished.share[at]))
    row = int(finished.report.formulation.row[at])
    stage = finished.stage_of(row) if row >= 0 else None
    if stage is None:
        configurations = tuple(
            ConfigurationCost(number, each.flavor, each.replicas, 0.0, 0.0, 0.0, 0.0, possible=False)
            for number, each in enumerate(job.spec.configurations)
        )
        return replace(seen, configurations=configurations if row < 0 and seen.owed_share == 0 else ())
    return _priced(finished, job, seen, row, stage)


def _weight(finished: Finished, job: Job, at: int) -> JobWeight | None:
    """What the job at a position weighed."""
    factors, now = finished.report.formulation.weightings.jobs, finished.report.snapshot.time
    if factors is None:
        return None
    had = float(received(finished.live, now)[at])
    service, aging = 2.0 ** int(factors.service[at]), 2.0 ** int(factors.aging[at])
    return JobWeight(
        declared=job.spec.weight,
        counts=job.spec.weight * service * aging,
        service_factor=service,
        aging_factor=aging,
        received_seconds=had,
        waited_seconds=max(0.0, now - job.submit_time - had),
    )


def _priced(finished: Finished, job: Job, seen: JobExplanation, row: int, stage: Stage) -> JobExplanation:
    """With money: the job has a row, and its class has prices."""
    formulation, problem = finished.report.formulation, finished.market.problem
    share = finished.report.solution.shares[row]
    prices = _prices(finished, stage, int(finished.leaf_of_row[row]))
    plain = np.einsum("kr,kr->k", problem.demand[row], capacity_prices(stage)[problem.flavor[row]])
    cost = np.einsum("kr,kr->k", problem.demand[row], prices[problem.flavor[row]])
    if stage.charged.side.any():
        cost = cost + side_of_rows(problem, stage.charged.side)[row]
    able = problem.eligible[row]
    columns = {int(index): column for column, index in enumerate(formulation.index[row].tolist()) if index >= 0}
    found = []
    for number, each in enumerate(job.spec.configurations):
        column = columns.get(number)
        if column is None:
            found.append(ConfigurationCost(number, each.flavor, each.replicas, 0.0, 0.0, 0.0, 0.0, possible=False))
            continue
        found.append(
            ConfigurationCost(
                number,
                each.flavor,
                each.replicas,
                speed=float(problem.utility[row, column]),
                share=float(share[column]),
                cost=float(cost[column]),
                limits_cost=float(cost[column] - plain[column]),
                possible=bool(able[column]),
            )
        )
    return replace(
        seen,
        budget=float(problem.weight[row]),
        spends=float((cost * share).sum()),
        configurations=tuple(found),
        bindings=_bindings(finished, row, stage),
    )


def _prices(finished: Finished, stage: Stage, leaf: int) -> Floats:
    """(F, R) what the jobs of a leaf pay, limits included."""
    flavors = {name: position for position, name in enumerate(finished.report.formulation.flavors)}
    resources = {name: position for position, name in enumerate(finished.report.formulation.resources)}
    found = capacity_prices(stage)
    for _, (_, flavor, resource), price in paid_limits(finished, stage, leaf):
        found[flavors[flavor], resources[resource]] += price
    return found


def _bindings(finished: Finished, row: int, stage: Stage) -> tuple[Binding, ...]:
    """What the row's job pays for, the dearest first; all of its configurations count, also those without a share."""
    formulation, problem = finished.report.formulation, finished.market.problem
    need = np.zeros(problem.capacity.shape)
    wanted = np.zeros(problem.capacity.shape, dtype=np.bool_)
    share = finished.report.solution.shares[row]
    for column in np.flatnonzero(problem.eligible[row]).tolist():
        flavor = problem.flavor[row, column]
        need[flavor] += problem.demand[row, column] * share[column]
        wanted[flavor] |= problem.demand[row, column] > 0
    names = [(flavor, resource) for flavor in formulation.flavors for resource in formulation.resources]
    cells = dict(zip(names, zip(need.ravel().tolist(), wanted.ravel().tolist(), strict=True), strict=True))
    found = [
        Binding(BindingKind.CAPACITY, "", *name, price, price * cells[name][0])
        for name, price in zip(names, capacity_prices(stage).ravel().tolist(), strict=True)
        if price > LEAST_PRICE and cells[name][1]
    ]
    for kind, (queue, flavor, resource), price in paid_limits(finished, stage, int(finished.leaf_of_row[row])):
        amount, concerned = cells[flavor, resource]
        if price > LEAST_PRICE and concerned:
            found.append(Binding(kind, queue, flavor, resource, price, price * amount))
    found += own_bindings(finished, row, stage)
    return tuple(sorted(found, key=_dearest))


def _dearest(each: Binding) -> tuple[float, str, str, str, str, str, float]:
    name, size = ("", 0.0) if each.limit is None else (each.limit.name, each.limit.size)
    return -each.paid, each.kind.value, each.flavor, each.resource, each.queue, name, size

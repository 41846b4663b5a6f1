"""What a round decided, side by side with what it would have decided without the changes: queues, prices, jobs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from allocator.domain.giving_way import checkpoint
from allocator.domain.job import Job, JobState
from allocator.domain.plan import Commit, Preempt
from allocator.domain.policy import Policy
from allocator.domain.resources import display_unit
from allocator.domain.snapshot import Snapshot
from allocator.formulation.problem import Floats, Integers
from allocator.rounds.decide import Decision
from allocator.rounds.limit_usage import Taken, limits_in_use
from allocator.rounds.settle import configurations_after, parts_after
from allocator.rounds.standings import promise_of, standings
from allocator.rounds.summary import summarize
from allocator.solvers.solution import Status
from allocator.whatif.answers import MOST_TOLD, Amount, Fate, QueueView, View
from allocator.whatif.fork import whole


def view(snapshot: Snapshot, decision: Decision, policy: Policy) -> View:
    """A round that nothing came between."""
    commit = whole(snapshot, decision)
    checkpoint()
    summary = summarize(snapshot, decision, commit, policy, ())
    market = None if decision.solution.status is Status.FAILED else decision.market
    limits = limits_in_use(Taken(decision.formulation, commit), policy, snapshot.queues, market)
    checkpoint()
    queues = _queue_views(snapshot, decision, commit, policy)
    return View(summary, queues, decision.plan.changes[:MOST_TOLD], tuple(limits))


def fates(decision: Decision, wanted: Mapping[str, Job], now: float) -> dict[str, Fate]:
    """Of the jobs that are alive in it, by id; `now` is the time of the round."""
    if not wanted:
        return {}
    live, formulation = decision.formulation.live, decision.formulation
    alive = [job_id for job_id in wanted if job_id in live.sequences]
    position = np.searchsorted(live.jobs.sequence, [live.sequences[job_id] for job_id in alive]).tolist()
    there = {
        job_id: index
        for job_id, index in zip(alive, position, strict=True)
        if index < len(live.jobs.ids) and live.jobs.ids[index] == job_id
    }
    changes = {change.job_id: change for change in decision.plan.changes if change.job_id in there}
    waiting = {job_id: reason for job_id, reason in decision.plan.waiting if job_id in there}
    stand, shares = standings(formulation, decision.solution.shares), formulation.parts(decision.solution.shares)
    found = {}
    for job_id, index in there.items():
        row, job = int(formulation.row[index]), live.jobs.jobs[index]
        change, allocation = changes.get(job_id), job.allocation
        configuration = None if allocation is None else allocation.placement.configuration
        reason = waiting.get(job_id)
        if isinstance(change, Preempt):
            configuration, reason = None, change.pending
        elif change is not None:
            configuration = change.placement.configuration
        share = None if row < 0 else float(min(1.0, shares[row].sum()))
        promise = promise_of(stand, job, index, now)
        found[job_id] = Fate(share, job.state is JobState.RUNNING, configuration, reason, promise)
    return found


def _queue_views(snapshot: Snapshot, decision: Decision, commit: Commit, policy: Policy) -> tuple[QueueView, ...]:
    formulation, live = decision.formulation, decision.formulation.live
    problem, solution, claims = formulation.problem, decision.solution, formulation.claims
    shape = (len(live.queues), *problem.capacity.shape)
    demand, optimum = formulation.held.copy(), formulation.held.copy()
    count = problem.count.astype(np.float64)
    if problem.row_count:
        rows, fastest = np.arange(problem.row_count), problem.throughput.argmax(axis=1)
        np.add.at(demand, (claims.queue, problem.flavor[rows, fastest]), problem.demand[rows, fastest] * count[:, None])
        for column in range(problem.column_count):
            given = problem.demand[:, column] * (solution.shares[:, column] * count)[:, None]
            np.add.at(optimum, (claims.queue, problem.flavor[:, column]), given)
    after = configurations_after(live, commit)
    held = _held_by_queue(decision, after, parts_after(live, commit), shape)
    money = np.bincount(claims.queue, weights=problem.weight * count, minlength=len(live.queues))
    money = money + np.einsum("qfr,fr->q", formulation.held, solution.prices)
    names, above = _rolled_up([queue.name for queue in snapshot.queues], live.queues)
    totals = above @ np.stack([demand, optimum, held]).reshape(3, len(live.queues), shape[1] * shape[2])
    kinds, parts = _kinds(formulation.flavors, formulation.resources, policy.floating_resources)
    totals, spent = totals @ parts, above @ money
    return tuple(
        QueueView(
            name,
            float(spent[number]),
            tuple(
                Amount(*kinds[kind], *totals[:, number, kind].tolist())
                for kind in np.flatnonzero(totals[:, number].any(axis=0)).tolist()
            ),
        )
        for number, name in enumerate(names)
    )


def _kinds(
    flavors: tuple[str, ...], resources: tuple[str, ...], floating: tuple[str, ...]
) -> tuple[list[tuple[str, str]], Floats]:
    """(flavor, resource) of what amounts are told of, what floats under no flavor, once; and (F x R, told) which
    amounts make up each.
    """
    every = [(flavor, resource) for flavor in flavors for resource in resources]
    kinds = [kind for kind in every if kind[1] not in floating]
    kinds += [("", resource) for resource in resources if resource in floating]
    number = {kind: position for position, kind in enumerate(kinds)}
    parts = np.zeros((len(every), len(kinds)))
    for position, (flavor, resource) in enumerate(every):
        parts[position, number["" if resource in floating else flavor, resource]] = 1.0
    return kinds, parts


def _rolled_up(names: list[str], leaves: tuple[str, ...]) -> tuple[list[str], Floats]:
    """The names, and (names, leaves) 1 where the leaf is the queue or below it. `leaves` may be of other clusters."""
    index = {name: number for number, name in enumerate(names)}
    above = np.zeros((len(names), len(leaves)))
    for position, leaf in enumerate(leaves):
        name = leaf
        while name:
            if name in index:
                above[index[name], position] = 1.0
            name = name.rpartition("/")[0]
    return names, above


def _held_by_queue(decision: Decision, after: Integers, part: Floats, shape: tuple[int, ...]) -> Floats:
    """(queues, F, R) what running jobs hold once the plan is true."""
    formulation, live = decision.formulation, decision.formulation.live
    held = np.zeros(shape)
    running = np.flatnonzero(after >= 0)
    if not running.size:
        return held
    kind = live.shapes.kind[live.shape[running], after[running]]
    queue = live.profiles.queue[live.jobs.profile[running]]
    together = np.bincount(queue * len(live.kinds) + kind, weights=part[running])
    flavors = {name: number for number, name in enumerate(formulation.flavors)}
    for pair in np.flatnonzero(together).tolist():
        number, which = divmod(pair, len(live.kinds))
        gang = live.kinds[which]
        if gang.flavor not in flavors:
            continue  # its last node is gone, and so will be the job
        amounts = [gang.asks.get(name) * gang.replicas / display_unit(name)[1] for name in formulation.resources]
        held[number, flavors[gang.flavor]] += np.array(amounts) * together[pair]
    return held

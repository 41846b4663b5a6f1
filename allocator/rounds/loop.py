"""The only loop there is: look, decide, commit, push, settle, record, and wait for the next round.

The daemon and every replay run this same function; they differ in what they pass in (see `allocator.rounds.ports`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from allocator.domain.cyclic_garbage import cyclic_garbage_waits
from allocator.domain.plan import Commit
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.decide import Decider, decide
from allocator.rounds.ports import Clock, Observer, Pusher, Solver, Store
from allocator.rounds.report import RoundReport
from allocator.rounds.ruled import Ruled, summarize_ruled, without_optimum
from allocator.rounds.settle import settle
from allocator.rounds.summary import summarize


def run_rounds(
    *,
    store: Store,
    pusher: Pusher,
    clock: Clock,
    observers: Sequence[Observer],
    solver: Solver,
    policy: Callable[[], Policy],
    interval: float,
    decider: Decider = decide,
) -> None:
    """Run rounds at multiples of `interval` seconds until the clock says that it is over. With an interval of 0 the
    clock alone says when the next one is: only that of a replay can, which knows when the next fact comes.

    The policy is the one that was applied last, which is a fact of the store; where none was, `policy` is asked before
    each round. So a change takes effect at the next one. An exception of a port or an observer ends the loop: what to
    do then is for whoever assembled it.
    """
    memory = store.memory()
    while True:
        report, memory = run_round(
            store=store, pusher=pusher, clock=clock, solver=solver, policy=policy(), memory=memory, decider=decider
        )
        for observer in observers:
            observer.observe(report)
        now = clock.now()
        until = (math.floor(now / interval) + 1) * interval if interval else now
        assert report.policy is not None
        if not clock.wait(until, quiet_until=quiet_until(report, report.policy)):
            return


def run_round(
    *,
    store: Store,
    pusher: Pusher,
    clock: Clock,
    solver: Solver,
    policy: Policy,
    memory: Memory,
    decider: Decider = decide,
) -> tuple[RoundReport, Memory]:
    """One round: everything up to, and including, its record. `policy`: where none was applied."""
    with cyclic_garbage_waits():
        return _round(store, pusher, clock, solver, policy, memory, decider)


def _round(
    store: Store, pusher: Pusher, clock: Clock, solver: Solver, policy: Policy, memory: Memory, decider: Decider
) -> tuple[RoundReport, Memory]:
    stages: list[tuple[str, float]] = []
    last = clock.stopwatch()

    def lap(stage: str) -> None:
        nonlocal last
        now = clock.stopwatch()
        stages.append((stage, now - last))
        last = now

    # 1. Look.
    snapshot = store.snapshot(clock.now())
    policy = snapshot.policy(policy)
    lap("snapshot")
    # 2. Decide.
    decision = decider(snapshot, memory, policy, solver, lap)
    # 3. Commit what is still possible.
    commit = store.commit(decision.plan, clock.now())
    lap("commit")
    # 4. Push the desired state of the nodes that changed.
    pusher.push(commit.desired)
    lap("push")
    # 5. Settle from what was applied, and record.
    if isinstance(decision, Ruled):
        return _ruled(store, snapshot, decision, commit, policy, memory, tuple(stages)), memory
    after = settle(memory, snapshot, decision, commit, policy)
    summary = summarize(snapshot, decision, commit, policy, tuple(stages))
    store.record(summary, after)
    report = RoundReport(
        snapshot=snapshot,
        formulation=decision.formulation,
        solution=decision.solution,
        plan=decision.plan,
        commit=commit,
        summary=summary,
        market=decision.market,
        before=memory,
        after=after,
        policy=policy,
    )
    return report, after


def _ruled(
    store: Store,
    snapshot: Snapshot,
    decision: Ruled,
    commit: Commit,
    policy: Policy,
    memory: Memory,
    stages: tuple[tuple[str, float], ...],
) -> RoundReport:
    """The same for a decision by rules: there is nothing to settle, so memory stays as it is."""
    summary = summarize_ruled(snapshot, decision, commit, policy, stages)
    store.record(summary, memory)
    formulation, solution = without_optimum()
    return RoundReport(
        snapshot=snapshot,
        formulation=formulation,
        solution=solution,
        plan=decision.plan,
        commit=commit,
        summary=summary,
        before=memory,
        after=memory,
        policy=policy,
        again=decision.again,
    )


def quiet_until(report: RoundReport, policy: Policy) -> float:
    """Until when every round would decide the same again as long as no fact changes; the time of this round if the very
    next may decide otherwise.

    It is later when nothing changed, nobody waits who could ever run (credits then stand still too), and nobody runs
    who may want another configuration once the minimum run time has passed: then it is when the first one may, or when
    the first of those that are held for a time is to be tried again.
    """
    return min(_as_seen(report, policy), report.snapshot.held_until)


def _as_seen(report: RoundReport, policy: Policy) -> float:
    """The same, were it only for those jobs that the round saw."""
    if report.commit.rejected:
        return report.snapshot.time
    if report.again is not None:  # decided by rules, and everything that these lead to
        return max(report.again, math.nextafter(report.snapshot.time, math.inf))
    waits_for_ever = report.formulation.never
    if report.plan.changes or not all(job_id in waits_for_ever for job_id, _ in report.plan.waiting):
        return report.snapshot.time
    return _changes_its_mind(report, policy)


def _changes_its_mind(report: RoundReport, policy: Policy) -> float:
    """When the first of those that have a choice has run for the minimum, infinite if all have. At once where weights
    change with time and anybody with a choice runs, or a deadline is still to pass: needs grow from round to round.
    """
    live, now = report.formulation.live, report.snapshot.time
    choices = (live.shapes.throughput > 0).sum(axis=1)
    if (live.jobs.deadline < np.inf).any():
        if (live.jobs.deadline[live.jobs.deadline < np.inf] > now).any():
            return now
        choices = np.full(len(choices), 2)
    runs = live.jobs.runs & (choices[live.shape] > 1) if len(choices) else live.jobs.runs
    if policy.weights_change:
        return now if runs.any() else math.inf
    ends = live.jobs.since[runs] + policy.minimum_run_seconds
    return float(ends[ends > now].min(initial=math.inf))

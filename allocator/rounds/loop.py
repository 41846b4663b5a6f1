"""The only loop there is: look, decide, commit, push, settle, record, and wait for the next round.

The daemon and every replay run this same function; they differ in what they pass in (see `allocator.rounds.ports`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory
from allocator.rounds.decide import decide
from allocator.rounds.ports import Clock, Observer, Pusher, Solver, Store
from allocator.rounds.report import RoundReport
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
) -> None:
    """Run rounds at multiples of `interval` seconds until the clock says that it is over.

    The policy is the one that was applied last, which is a fact of the store; where none was, `policy` is asked before
    each round. So a change takes effect at the next one. An exception of a port or an observer ends the loop: what to
    do then is for whoever assembled it.
    """
    memory = store.memory()
    while True:
        report, memory = run_round(
            store=store, pusher=pusher, clock=clock, solver=solver, policy=policy(), memory=memory
        )
        for observer in observers:
            observer.observe(report)
        now = clock.now()
        until = (math.floor(now / interval) + 1) * interval
        assert report.policy is not None
        if not clock.wait(until, quiescent=is_quiescent(report, report.policy)):
            return


def run_round(
    *, store: Store, pusher: Pusher, clock: Clock, solver: Solver, policy: Policy, memory: Memory
) -> tuple[RoundReport, Memory]:
    """One round: everything up to, and including, its record. `policy`: where none was applied."""
    with _cyclic_garbage_waits():
        return _round(store, pusher, clock, solver, policy, memory)


def _round(
    store: Store, pusher: Pusher, clock: Clock, solver: Solver, policy: Policy, memory: Memory
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
    decision = decide(snapshot, memory, policy, solver, lap)
    # 3. Commit what is still possible.
    commit = store.commit(decision.plan, clock.now())
    lap("commit")
    # 4. Push the desired state of the nodes that changed.
    pusher.push(commit.desired)
    lap("push")
    # 5. Settle from what was applied, and record.
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


@contextmanager
def _cyclic_garbage_waits() -> Iterator[None]:
    """A round makes many objects and no cycles of them, but at each few thousand Python looks for cycles, again and
    again among all live jobs: a quarter of a round with 100,000 of them. It may look between rounds.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_quiescent(report: RoundReport, policy: Policy) -> bool:
    """Whether the next round would decide the same again as long as no fact changes.

    True when nothing changed, nobody waits who could ever run (credits then stand still too), and nobody runs who may
    want another configuration once the minimum run time has passed.
    """
    waits_for_ever = report.formulation.never
    return (
        not report.plan.changes
        and not report.commit.rejected
        and all(job_id in waits_for_ever for job_id, _ in report.plan.waiting)
        and not _may_change_its_mind(report, policy)
    )


def _may_change_its_mind(report: RoundReport, policy: Policy) -> bool:
    """Whether anybody with a choice runs for less than the minimum, or runs at all where weights change with time or it
    needs more of it from round to round, or whether a deadline is still to pass.
    """
    live = report.formulation.live
    with np.errstate(invalid="ignore"):  # of jobs that never started, which do not run
        young = live.jobs.runs & (report.snapshot.time - live.jobs.since < policy.minimum_run_seconds)
    if policy.weights_change:
        young = live.jobs.runs
    if (live.jobs.deadline < np.inf).any():
        return bool((live.jobs.deadline[live.jobs.deadline < np.inf] > report.snapshot.time).any()) or bool(young.any())
    choices = (live.shapes.throughput > 0).sum(axis=1)
    return bool((choices[live.shape[young]] > 1).any() if young.any() else False)

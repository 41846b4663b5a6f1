"""Large clusters: the same decisions as on small ones, and work that grows with what differs, not with what repeats.

Work is counted in function calls, which are the same on every machine; what rounds cost in seconds is measured by
`tests.bench`, and judged by no test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from allocator.domain.constraints import AtMost, Constraints
from allocator.domain.job import Job
from allocator.domain.plan import Plan, Preempt, Start
from allocator.domain.snapshot import Snapshot
from allocator.placement import violations
from tests.placement.worlds import applied, decide, node, running, snapshot, waiting, way


def calls(work: Callable[[], Plan]) -> tuple[Plan, int]:
    """What it returns, and how many functions it called, in Python and out of it. Once before without counting, so
    that what is imported or remembered at the first use does not count.
    """
    work()
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        plan = work()
    finally:
        sys.setprofile(before)
    return plan, count


def cluster(nodes: int, jobs: int) -> Snapshot:
    """Nodes of eight GPUs, and what runs there of jobs of 20 shapes; many more than fit if there are four per node."""
    members = [node(f"n{i:04}", cpu=64, gpu=8) for i in range(nodes)]
    submitted: list[Job] = []
    for sequence in range(jobs):
        kind = sequence % 20
        gpus = (0.5, 1, 2, 4, 8)[kind % 5]
        submitted.append(waiting(sequence, way(cpu=1 + kind // 5, gpu=gpus, replicas=1 + kind % 3), weight=1.0))
    world = snapshot(members, submitted)
    return applied(world, decide(world))


@pytest.fixture(scope="module")
def full() -> Snapshot:
    return cluster(1500, 6000)


def test_a_full_cluster_with_thousands_waiting_stays_as_it_is(full: Snapshot) -> None:
    assert violations(full.nodes, full.jobs) == []
    running = sum(job.allocation is not None for job in full.jobs)
    assert running > 1900
    assert len(full.jobs) - running > 2000
    assert decide(full).changes == ()


def test_everybody_is_owed_more_than_whoever_runs(full: Snapshot) -> None:
    owed = {job.id: -500.0 if job.allocation is not None else 500.0 for job in full.jobs}
    later = snapshot(full.nodes, full.jobs, full.time + 1000.0)
    plan = decide(later, credits_owed=owed)
    after = applied(later, plan)
    assert violations(after.nodes, after.jobs) == []
    assert sum(isinstance(change, Start) for change in plan.changes) > 1000
    assert sum(isinstance(change, Preempt) for change in plan.changes) > 500


def test_two_thousand_starts_on_an_idle_cluster(full: Snapshot) -> None:
    idle = snapshot(full.nodes, [waiting(s, way(cpu=1 + s % 20, gpu=1), weight=1.0) for s in range(2000)])
    plan = decide(idle)
    assert len(plan.changes) == 2000
    after = applied(idle, plan)
    assert violations(after.nodes, after.jobs) == []


def test_four_times_as_many_waiting_jobs_are_at_most_four_times_the_work() -> None:
    """Whatever is done for a job that waits, it is not done against every other one."""
    few, many = cluster(200, 800), cluster(200, 3200)
    (_, small), (_, large) = calls(lambda: decide(few)), calls(lambda: decide(many))
    assert large <= 4.5 * small


def test_a_further_job_that_fits_nowhere_costs_the_same_however_many_wait() -> None:
    base = cluster(200, 800)
    taken = [job for job in base.jobs if job.allocation is not None]
    large = [waiting(s, way(cpu=3, gpu=8, replicas=3), weight=1.0) for s in range(10_000, 14_000)]

    def cost(number: int) -> int:
        world = snapshot(base.nodes, [*taken, *large[:number]])
        return calls(lambda: decide(world))[1]

    first, second, third = cost(400), cost(2200), cost(4000)
    assert third - second <= 1.1 * (second - first) + 0.1 * 1800


def test_a_start_costs_the_same_on_four_times_as_many_nodes() -> None:
    """All nodes of a flavor are looked at in one pass, not with a call for each."""
    starts = [waiting(s, way(cpu=1, gpu=1), weight=1.0) for s in range(100)]

    def cost(nodes: int) -> int:
        members = [node(f"n{i:04}", cpu=64, gpu=8) for i in range(nodes)]
        plan, with_starts = calls(lambda: decide(snapshot(members, starts)))
        assert len(plan.changes) == 100
        return with_starts - calls(lambda: decide(snapshot(members, starts[:1])))[1]

    assert cost(1600) <= 1.5 * cost(400)


def test_tasks_that_keep_apart_look_once_for_all_that_are_bound_alike() -> None:
    """One is on every node already: each further one that waits is told so, and looks at no node."""
    nodes = [node(f"n{i:03}", cpu=64) for i in range(40)]
    app = (("app", "x"),)

    def task(sequence: int) -> Job:
        apart = Constraints(at_most=(AtMost(1, "node", app),))
        return waiting(sequence, way(cpu=1), weight=1.0, labels=app, constraints=apart)

    there, tasks = [running(task(s), f"n{s:03}") for s in range(40)], [task(1000 + s) for s in range(800)]

    def cost(number: int) -> int:
        world = snapshot(nodes, [*there, *tasks[:number]])
        plan, count = calls(lambda: decide(world))
        assert len(plan.waiting) == number
        return count

    assert cost(800) - cost(400) <= 400 * (len(nodes) + 5)

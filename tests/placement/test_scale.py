"""Work grows with what differs, not with what repeats: bounds ten times above what a slow machine needs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from allocator.domain.job import Job
from allocator.domain.plan import Plan, Start
from allocator.domain.snapshot import Snapshot
from allocator.placement import violations
from tests.placement.worlds import applied, decide, node, snapshot, waiting, way


def cpu_seconds(work: Callable[[], Plan]) -> tuple[Plan, float]:
    """CPU time, not wall time: other programs do not count."""
    start = time.process_time()
    plan = work()
    return plan, time.process_time() - start


@pytest.fixture(scope="module")
def full() -> Snapshot:
    """1,500 nodes of eight GPUs; jobs of 20 shapes, many more than fit."""
    nodes = [node(f"n{i:04}", cpu=64, gpu=8) for i in range(1500)]
    jobs: list[Job] = []
    for sequence in range(6000):
        kind = sequence % 20
        gpus = (0.5, 1, 2, 4, 8)[kind % 5]
        jobs.append(waiting(sequence, way(cpu=1 + kind // 5, gpu=gpus, replicas=1 + kind % 3), weight=1.0))
    world = snapshot(nodes, jobs)
    return applied(world, decide(world))


def test_a_full_cluster_with_thousands_waiting(full: Snapshot) -> None:
    assert violations(full.nodes, full.jobs) == []
    running = sum(job.allocation is not None for job in full.jobs)
    assert running > 1900
    assert len(full.jobs) - running > 2000
    plan, seconds = cpu_seconds(lambda: decide(full))
    assert plan.changes == ()
    assert seconds < 3.0


def test_everybody_is_owed_more_than_whoever_runs(full: Snapshot) -> None:
    owed = {job.id: -500.0 if job.allocation is not None else 500.0 for job in full.jobs}
    later = snapshot(full.nodes, full.jobs, full.time + 1000.0)
    plan, seconds = cpu_seconds(lambda: decide(later, credits_owed=owed))
    after = applied(later, plan)
    assert violations(after.nodes, after.jobs) == []
    assert sum(isinstance(change, Start) for change in plan.changes) > 1000
    assert seconds < 10.0


def test_two_thousand_starts_on_an_idle_cluster(full: Snapshot) -> None:
    idle = snapshot(full.nodes, [waiting(s, way(cpu=1 + s % 20, gpu=1), weight=1.0) for s in range(2000)])
    plan, seconds = cpu_seconds(lambda: decide(idle))
    assert len(plan.changes) == 2000
    assert seconds < 5.0

"""Quotas in whole rounds: what is placed keeps within them, and those who share a quota take turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import JobState
from allocator.domain.plan import Plan, Preempt
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, QuotaExcess
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import build
from allocator.intake import commands as c
from allocator.placement import place
from tests.builders import configuration, node, spec
from tests.rounds.test_loop import World

GPU = 1000


def quota(nominal: int, borrow: int | None = None, lend: int | None = None, flavor: str = "a100") -> Quota:
    return Quota(flavor, "gpu", nominal * GPU, *(None if limit is None else limit * GPU for limit in (borrow, lend)))


def world(*queues: Queue, nodes: int = 2) -> World:
    """Nodes of 8 GPUs."""
    made = World()
    for queue in queues:
        made.do(c.CreateQueue(queue))
    for number in range(nodes):
        made.do(c.RegisterNode(node(f"n{number}", gpu=8, cpu=64)))
    return made


def gpus_by_queue(made: World) -> Counter[str]:
    """Of running jobs."""
    found: Counter[str] = Counter()
    for job in made.store.snapshot(made.time).jobs:
        if job.state is JobState.RUNNING and job.allocation is not None:
            chosen = job.spec.configurations[job.allocation.placement.configuration]
            found[job.spec.queue] += chosen.total_demand.gpu_millis // GPU
    return found


def submit(made: World, queue: str, count: int, gpu: int = 1) -> list[str]:
    return [job.id for job in made.submit(*[spec(queue, configuration("a100", gpu=gpu)) for _ in range(count)])]


def test_a_queue_uses_no_more_than_it_may_borrow() -> None:
    made = world(Queue("a", quotas=(quota(4, borrow=2),)), Queue("b"))
    submit(made, "a", 10)
    made.run(10.0)
    assert gpus_by_queue(made) == {"a": 6}
    submit(made, "b", 20)
    made.run(20.0)
    assert gpus_by_queue(made) == {"a": 6, "b": 10}


def test_an_outer_limit_holds_for_those_below_together() -> None:
    made = world(Queue("r", quotas=(quota(0, borrow=5),)), Queue("r/x"), Queue("r/y"))
    submit(made, "r/x", 10)
    submit(made, "r/y", 10)
    made.run(10.0)
    assert sum(gpus_by_queue(made).values()) == 5


def test_what_a_queue_does_not_lend_stays_free_until_it_wants_it() -> None:
    made = world(Queue("a", quotas=(quota(8, lend=2),)), Queue("b"))
    submit(made, "b", 20)
    made.run(10.0)
    assert gpus_by_queue(made) == {"b": 10}
    submit(made, "a", 6)
    made.run(20.0)
    assert gpus_by_queue(made) == {"a": 6, "b": 10}, "nobody has to stop for it"


def test_a_lent_quota_is_reclaimed() -> None:
    made = world(Queue("a", quotas=(quota(8),)), Queue("b", weight=9.0))
    submit(made, "b", 20)
    made.run(10.0)
    assert gpus_by_queue(made) == {"b": 16}
    submit(made, "a", 8)
    made.run(200.0)
    assert gpus_by_queue(made) == {"a": 8, "b": 8}


def running_over_time(made: World, until: float) -> list[Counter[str]]:
    """GPUs by queue after each round, and how often each job was seen running, last."""
    seen: list[Counter[str]] = []
    ran: Counter[str] = Counter()

    def look() -> None:
        seen.append(gpus_by_queue(made))
        ran.update(job.id for job in made.store.snapshot(made.time).jobs if job.state is JobState.RUNNING)

    for time in range(20, int(until), 10):
        made.at(float(time), look)
    made.run(until)
    return [*seen, ran]


def test_jobs_of_a_limited_queue_take_turns() -> None:
    """The cluster is empty but for them: only their quota is short."""
    made = world(Queue("a", quotas=(quota(0, borrow=4),)))
    jobs = submit(made, "a", 8)
    *seen, ran = running_over_time(made, 1000.0)
    assert all(used == {"a": 4} for used in seen)
    assert all(30 <= ran[job] <= 70 for job in jobs), ran


def test_a_gang_takes_its_turn_in_a_limited_queue() -> None:
    made = world(Queue("a", quotas=(quota(0, borrow=4),)))
    small = submit(made, "a", 4)
    (gang,) = submit(made, "a", 1, gpu=4)
    *seen, ran = running_over_time(made, 1500.0)
    assert all(used["a"] <= 4 for used in seen)
    assert ran[gang] > 20
    by_id = {job.id: job for job in made.store.snapshot(made.time).jobs}
    assert any(by_id[job].preemption_count for job in small)


def test_resizing_counts() -> None:
    made = world(Queue("a", quotas=(quota(0, borrow=3),)))
    ways = tuple(configuration("a100", gpu=1, replicas=replicas, throughput=replicas**0.5) for replicas in (1, 2, 4))
    (job,) = made.submit(spec("a", *ways, resizable=True))
    made.run(100.0)
    assert gpus_by_queue(made) == {"a": 2}
    made.do(c.UpdateQueue("a", quotas=(quota(0, borrow=4),)))
    made.run(300.0)
    assert gpus_by_queue(made) == {"a": 4}
    assert made.job(job).preemption_count == 0


@pytest.mark.parametrize("seed", range(12))
def test_no_round_goes_beyond_a_quota(seed: int) -> None:
    """Random trees and arrivals: what starts never brings anybody beyond what is allowed."""
    random = np.random.default_rng(seed)
    most = {"r": 10, "r/x": int(random.integers(2, 8)), "r/y": 20, "s": int(random.integers(1, 9))}
    made = world(
        *[
            Queue(name, float(random.choice([1.0, 3.0])), quotas=(quota(0, borrow=amount),))
            for name, amount in most.items()
        ],
        nodes=3,
    )
    seen: list[Counter[str]] = []

    def live() -> None:
        seen.append(gpus_by_queue(made))
        for queue in ("r/x", "r/y", "s"):
            if random.random() < 0.3:
                submit(made, queue, int(random.integers(1, 4)), gpu=int(random.choice([1, 1, 2, 4])))
        for job in made.store.snapshot(made.time).jobs:
            if job.state is JobState.RUNNING and random.random() < 0.05:
                made.finish(job)

    for time in range(10, 600, 10):
        made.at(float(time), live)
    made.run(610.0)
    for used in [*seen, gpus_by_queue(made)]:
        used["r"] = used["r/x"] + used["r/y"]
        assert all(used[queue] <= amount for queue, amount in most.items()), (used, most)


def test_who_waits_for_a_quota_is_told_which_and_how_much_is_missing() -> None:
    made = world(Queue("r", quotas=(quota(0, borrow=6),)), Queue("r/x"))
    made.submit(spec("r/x", configuration("a100", gpu=5), preemptible=False))
    made.run(10.0)
    (wide,) = submit(made, "r/x", 1, gpu=2)
    (never,) = submit(made, "r/x", 1, gpu=7)
    made.run(10.0)
    reasons = {job.id: job.pending_reason for job in made.store.snapshot(made.time).jobs}
    assert reasons[wide] == PendingReason(
        PendingCause.OVER_QUOTA, excesses=(QuotaExcess("r", "a100", "gpu", 5 * GPU, 6 * GPU, GPU),)
    )
    assert reasons[never] == PendingReason(
        PendingCause.EXCEEDS_QUOTA, excesses=(QuotaExcess("r", "a100", "gpu", 5 * GPU, 6 * GPU, 6 * GPU),)
    )


def test_who_waits_for_what_others_keep_is_told_so() -> None:
    made = world(Queue("a", quotas=(quota(12, lend=0),)), Queue("b"))
    submit(made, "b", 5)
    made.run(10.0)
    (waits,) = [job for job in made.store.snapshot(made.time).jobs if job.state is JobState.PENDING]
    assert waits.pending_reason == PendingReason(
        PendingCause.OVER_QUOTA, excesses=(QuotaExcess("", "a100", "gpu", 16 * GPU, 16 * GPU, GPU),)
    )


def test_a_job_that_its_quota_forbids_reserves_nothing() -> None:
    made = world(Queue("a", quotas=(quota(4, borrow=0),)), Queue("b"), nodes=1)
    made.submit(spec("b", configuration("a100", gpu=4), preemptible=False))
    made.run(10.0)
    made.submit(spec("a", configuration("a100", gpu=6)), spec("b", configuration("a100", gpu=1), preemptible=False))
    made.run(200.0)
    assert gpus_by_queue(made) == {"b": 5}


def test_a_queue_above_a_lowered_limit_shrinks_where_it_can() -> None:
    made = world(Queue("a", quotas=(quota(0, borrow=4),)))
    ways = tuple(configuration("a100", gpu=1, replicas=replicas, throughput=replicas**0.5) for replicas in (1, 2))
    made.submit(*[spec("a", *ways, resizable=True) for _ in range(2)])
    made.run(100.0)
    assert gpus_by_queue(made) == {"a": 4}
    made.do(c.UpdateQueue("a", quotas=(quota(0, borrow=2),)))
    made.run(600.0)
    assert gpus_by_queue(made) == {"a": 2}


def test_what_runs_on_a_closed_node_does_not_count_against_what_is_open() -> None:
    made = world(Queue("a", quotas=(quota(4, lend=0),)), Queue("b"))
    submit(made, "b", 8)
    made.run(10.0)
    running = [job.allocation for job in made.store.snapshot(made.time).jobs if job.allocation is not None]
    (busy,) = {name for allocation in running for name in allocation.placement.nodes}
    made.do(c.SetNodeAvailability(busy, NodeAvailability.CORDONED))
    submit(made, "b", 8)
    made.run(100.0)
    assert gpus_by_queue(made)["b"] == 12


def beneficiary_and_victim() -> tuple[World, Snapshot, Plan, str, str]:
    """A full quota, a job that waits for it, and one elsewhere that is to stop for it; and what a round has decided."""
    made = world(Queue("a", quotas=(quota(0, borrow=2),)), nodes=0)
    for side in ("left", "right"):
        made.do(c.RegisterNode(replace(node(side, gpu=8, cpu=64), labels=(("side", side),))))
    left, right = (Constraints(nodes=(NodeRule("side", (side,)),)) for side in ("left", "right"))
    one = configuration("a100", gpu=1)
    runs = [job.id for job in made.submit(spec("a", one, constraints=left), spec("a", one, constraints=left))]
    made.run(10.0)
    waits = made.submit(spec("a", one, constraints=right))[0].id
    seen = made.store.snapshot(made.time + 4000.0)
    owed = {job.sequence: 2000.0 if job.id == waits else -500.0 for job in seen.jobs}
    formulation = build(seen, Policy())
    shares = np.full(formulation.problem.utility.shape, 0.5)
    plan = place(seen, formulation, shares, Memory.of(seen.time, owed), Policy())
    (victim,) = [change.job_id for change in plan.changes if isinstance(change, Preempt)]
    assert victim in runs
    return made, seen, plan, waits, victim


def test_whoever_was_to_stop_for_a_quota_goes_on_if_the_other_does_not_start_after_all() -> None:
    made, seen, plan, waits, victim = beneficiary_and_victim()
    made.do(c.CancelJobs((waits,)))
    commit = made.store.commit(plan, seen.time)
    assert not commit.applied
    assert made.store.get_job(victim).state is JobState.RUNNING


def test_whoever_stops_for_a_quota_stops_if_the_other_starts() -> None:
    made, seen, plan, waits, victim = beneficiary_and_victim()
    assert not made.store.commit(plan, seen.time).rejected
    assert made.store.get_job(victim).last_preemption is PreemptionReason.QUOTA
    assert made.store.get_job(waits).state is JobState.RUNNING


def test_nobody_starts_within_a_quota_that_somebody_does_not_leave_after_all() -> None:
    """A change is lost on the way: whoever counted on it waits."""
    made, seen, plan, waits, victim = beneficiary_and_victim()
    without = replace(plan, changes=tuple(change for change in plan.changes if change.job_id != victim))
    (refused,) = made.store.commit(without, seen.time).rejected
    assert refused.change.job_id == waits
    assert gpus_by_queue(made) == {"a": 2}

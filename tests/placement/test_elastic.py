"""Jobs that change their size while they run: more or fewer replicas, or another part of their demand."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.plan import Move, Preempt, Resize
from allocator.domain.reason import PendingCause
from allocator.placement import violations
from tests.placement.worlds import LOST, NOW, applied, decide, node, running, snapshot, told, waiting, way

SIZES = tuple(way(cpu=2, replicas=count, throughput=float(count) ** 0.9) for count in (1, 2, 4))


def test_a_job_grows_without_a_restart_and_keeps_its_replicas() -> None:
    job = running(waiting(1, *SIZES, resizable=True), "n2", "n1", configuration=1, since=NOW)
    world = snapshot([node("n1", cpu=4), node("n2", cpu=4)], [job])
    plan = decide(world, {"j1": (0.0, 0.0, 1.0)})
    (change,) = plan.changes
    assert isinstance(change, Resize)
    assert [replica.node for replica in change.placement.replicas][:2] == ["n2", "n1"]
    after = applied(world, plan)
    assert violations(after.nodes, after.jobs) == []
    assert after.jobs[0].last_start_time == NOW
    assert decide(after, {"j1": (0.0, 0.0, 1.0)}).changes == ()


def test_a_job_shrinks_and_somebody_else_starts_in_its_place() -> None:
    job = running(waiting(1, *SIZES, resizable=True), "n1", "n1", "n1", "n1", configuration=2, since=NOW)
    world = snapshot([node("n1", cpu=8)], [job, waiting(2, way(cpu=6))])
    plan = decide(world, {"j1": (1.0, 0.0, 0.0)})
    assert told(plan) == {"j1": "resizes to n1", "j2": "starts on n1"}
    after = applied(world, plan)
    assert violations(after.nodes, after.jobs) == []


def test_without_room_it_stays_as_it_is() -> None:
    job = running(waiting(1, *SIZES, resizable=True), "n1", configuration=0, since=NOW)
    other = running(waiting(2, way(cpu=6)), "n1", since=NOW)
    assert decide(snapshot([node("n1", cpu=8)], [job, other]), {"j1": (0.0, 0.0, 1.0)}).changes == ()


def test_a_job_that_cannot_resize_restarts_only_after_its_minimum() -> None:
    job = running(waiting(1, *SIZES), "n1", configuration=0, since=NOW)
    assert decide(snapshot([node("n1", cpu=8)], [job]), {"j1": (0.0, 0.0, 1.0)}).changes == ()


def test_a_gang_of_which_some_have_finished_keeps_its_size() -> None:
    job = running(waiting(1, *SIZES, resizable=True), "n1", "n1", configuration=1, since=NOW)
    assert job.allocation is not None
    job = replace(job, allocation=replace(job.allocation, finished=frozenset({0})))
    assert decide(snapshot([node("n1")], [job]), {"j1": (0.0, 0.0, 1.0)}).changes == ()


def test_a_part_is_chosen_anew_where_a_node_was_lost() -> None:
    job = running(waiting(1, way(cpu=8), divisible=True), "n1")
    assert job.allocation is not None
    part = replace(job.allocation.placement, millis=100)
    job = replace(job, allocation=replace(job.allocation, placement=part))
    world = snapshot([node("n1", health=LOST), node("n2")], [job])
    (change,) = decide(world, {"j1": (1.0,)}).changes
    assert isinstance(change, Move)
    assert change.placement.millis == 1000


def test_divisible_jobs_hold_their_shares_at_the_same_time() -> None:
    jobs = [waiting(i, way(cpu=8), divisible=True) for i in (1, 2)]
    world = snapshot([node("n1", cpu=8)], jobs)
    plan = decide(world, {"j1": (0.25,), "j2": (0.75,)})
    parts = {change.job_id: change.placement.millis for change in plan.changes if not isinstance(change, Preempt)}
    assert parts == {"j1": 250, "j2": 750}
    after = applied(world, plan)
    assert violations(after.nodes, after.jobs) == []
    assert decide(after, {"j1": (0.25,), "j2": (0.75,)}).changes == ()
    turned = decide(after, {"j1": (0.6,), "j2": (0.4,)})
    assert told(turned) == {"j1": "resizes to n1 at 600", "j2": "resizes to n1 at 400"}
    after = applied(after, turned)
    assert violations(after.nodes, after.jobs) == []


def test_a_part_that_is_little_off_is_left_alone() -> None:
    world = snapshot([node("n1", cpu=8)], [waiting(1, way(cpu=8), divisible=True)])
    after = applied(world, decide(world, {"j1": (0.5,)}))
    assert decide(after, {"j1": (0.54,)}).changes == ()
    assert told(decide(after, {"j1": (0.6,)})) == {"j1": "resizes to n1 at 600"}


def test_a_divisible_job_takes_no_more_than_is_free() -> None:
    part = running(waiting(1, way(cpu=8), divisible=True), "n1")
    assert part.allocation is not None
    rigid = running(waiting(2, way(cpu=6)), "n1")
    world = snapshot([node("n1", cpu=8)], [rigid, waiting(3, way(cpu=8), divisible=True)])
    plan = decide(world, {"j3": (0.25,)})
    assert told(plan)["j3"] == "starts on n1"
    after = applied(world, plan)
    assert decide(after, {"j3": (1.0,)}).changes == (), "six of eight cores are taken"
    waits = decide(snapshot([node("n1", cpu=8)], [rigid, waiting(3, way(cpu=8), divisible=True)]), {"j3": (0.5,)})
    assert waits.waiting[0][1].cause is PendingCause.INSUFFICIENT_CAPACITY

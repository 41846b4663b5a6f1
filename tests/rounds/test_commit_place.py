"""The second look at resizes and at constraints: what still holds when the cluster changed while the round thought."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.constraints import AtMost, Constraints, NodeRule
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Move, Preempt, Resize, Start
from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.rounds.test_commit import WAITS, World, placed


@pytest.fixture
def world() -> World:
    return World()


def elastic(world: World, *, resizable: bool = True) -> Job:
    """A job of one to three replicas; its configurations are in that order."""
    ways = [configuration(replicas=count) for count in (1, 2, 3)]
    (job,) = world.do(c.SubmitJobs((spec("q", *ways, resizable=resizable),)))
    assert isinstance(job, Job)
    return job


def submit(world: World, way: Configuration | None = None, **fields: Any) -> Job:
    (job,) = world.do(c.SubmitJobs((spec("q", way or configuration(), **fields),)))
    assert isinstance(job, Job)
    return job


def sized(job: Job, *places: tuple[str, int]) -> Placement:
    return replace(placed(job, *places), configuration=len(places) - 1)


def running(world: World, *places: tuple[str, int], resizable: bool = True) -> Job:
    job = elastic(world, resizable=resizable)
    assert not world.commit(Start(sized(job, *places))).rejected
    return world.now_of(job)


def test_a_resize_is_a_new_epoch_and_no_new_start(world: World) -> None:
    before = running(world, ("n1", 0), ("n2", 0))
    commit = world.commit(Resize(sized(before, ("n1", 0), ("n2", 0), ("n2", 1))))
    assert not commit.rejected
    after = world.now_of(before)
    assert before.allocation is not None
    assert after.allocation is not None
    assert after.allocation.epoch > before.allocation.epoch == after.allocation.start_epoch
    assert after == replace(before, revision=after.revision, allocation=after.allocation)
    assert after.allocation.start_time == before.allocation.start_time
    told = {(r.replica, r.replicas, r.epoch, r.start_epoch) for state in commit.desired for r in state.replicas}
    assert told == {(number, 3, after.allocation.epoch, before.allocation.epoch) for number in range(3)}


def test_a_job_shrinks_by_whichever_replica_leaves_and_its_place_is_taken_at_once(world: World) -> None:
    shrinks = running(world, ("n1", 0), ("n1", 1), ("n2", 0))
    comes = submit(world)
    commit = world.commit(Resize(sized(shrinks, ("n1", 0), ("n2", 0))), Start(placed(comes, ("n1", 1))))
    assert not commit.rejected
    assert [r.job_id for r in world.store.desired("n1").replicas] == [shrinks.id, comes.id]
    assert [(r.replica, r.gpus) for r in world.store.desired("n2").replicas] == [(1, (0,))]


def test_a_second_resize_still_knows_the_start_and_a_move_forgets_it(world: World) -> None:
    job = running(world, ("n1", 0))
    assert job.allocation is not None
    world.commit(Resize(sized(job, ("n1", 0), ("n1", 1))))
    world.commit(Resize(sized(job, ("n1", 0))))
    resized = world.now_of(job).allocation
    assert resized is not None
    assert resized.start_epoch == job.allocation.epoch
    world.commit(Move(sized(job, ("n2", 0)), PreemptionReason.RECONFIGURED))
    moved = world.now_of(job).allocation
    assert moved is not None
    assert moved.start_epoch == moved.epoch


@pytest.mark.parametrize("why", ["its last node is lost", "no room", "not resizable", "moves", "a replica has ended"])
def test_a_refused_resize_leaves_the_job_as_it_is(world: World, why: str) -> None:
    before = running(world, ("n1", 0), ("n2", 0), resizable=why != "not resizable")
    after = [("n1", 0), ("n2", 0), ("n2", 1)]
    if why == "its last node is lost":
        world.do(c.LoseNode("n2"))
    elif why == "no room":
        other = submit(world)
        assert not world.commit(Start(placed(other, ("n2", 1)))).rejected
    elif why == "moves":
        after = [("n1", 1), ("n2", 0), ("n2", 1)]
    elif why == "a replica has ended":
        assert before.allocation is not None
        world.do(c.Heartbeat("n1", (c.ReplicaReport(before.id, 0, before.allocation.epoch, c.ReplicaState.SUCCEEDED),)))
        before = world.now_of(before)
    commit = world.commit(Resize(sized(before, *after)))
    assert [r.change.job_id for r in commit.rejected] == [before.id]
    assert world.now_of(before) == before


def test_staying_replicas_may_be_on_closed_nodes_but_new_ones_may_not(world: World) -> None:
    job = running(world, ("n1", 0))
    world.do(c.SetNodeAvailability("n1", NodeAvailability.CORDONED))
    assert world.commit(Resize(sized(job, ("n1", 0), ("n1", 1)))).rejected[0].why == "node n1 takes no new work"
    assert not world.commit(Resize(sized(job, ("n1", 0), ("n2", 0)))).rejected


def test_who_counted_on_a_shrinking_job_waits_when_it_cannot_shrink(world: World) -> None:
    shrinks = running(world, ("n1", 0), ("n1", 1), ("n2", 0))
    comes = submit(world)
    world.do(c.LoseNode("n2"))
    commit = world.commit(Resize(sized(shrinks, ("n1", 0), ("n2", 0))), Start(placed(comes, ("n1", 1))))
    assert {r.change.job_id: r.why for r in commit.rejected} == {
        shrinks.id: "node n2 is lost",
        comes.id: "node n1 has no room any more",
    }
    assert world.now_of(shrinks) == shrinks


def test_a_divisible_job_holds_a_part_which_can_change(world: World) -> None:
    way = Configuration("a100", 1, Resources(cpu_millicores=32_000))
    parts = [submit(world, way, divisible=True) for _ in range(2)]

    def part(job: Job, millis: int) -> Placement:
        return Placement(job.id, 0, (ReplicaPlacement("n1"),), millis)

    assert not world.commit(Start(part(parts[0], 1000))).rejected
    commit = world.commit(Resize(part(parts[0], 301)), Start(part(parts[1], 700)))
    assert [r.why for r in commit.rejected] == ["node n1 has no room any more"]
    assert not world.commit(Start(part(parts[1], 699))).rejected
    desired = {r.job_id: (r.demand.cpu_millicores, r.millis) for r in world.store.desired("n1").replicas}
    assert desired == {parts[0].id: (9632, 301), parts[1].id: (22_368, 699)}
    whole = submit(world, configuration(gpu=0))
    commit = world.commit(Start(Placement(whole.id, 0, (ReplicaPlacement("n2"),), 500)))
    assert [r.why for r in commit.rejected] == ["it holds 500 thousandths of its demand, but is not divisible"]


def test_a_node_that_got_a_taint_or_lost_a_label_is_refused(world: World) -> None:
    labelled = replace(node("n1", gpu=2), labels=(("zone", "a"),))
    world.do(c.RegisterNode(labelled))
    picky = submit(world, constraints=Constraints(nodes=(NodeRule("zone", ("a",)),)))
    plain = submit(world)
    world.do(c.RegisterNode(replace(labelled, labels=(("zone", "b"),))))
    commit = world.commit(Start(placed(picky, ("n1", 0))), Start(placed(plain, ("n1", 1))))
    assert [(r.change.job_id, r.why) for r in commit.rejected] == [
        (picky.id, "node n1 has the label zone=b, the job asks for a")
    ]
    world.do(c.RegisterNode(labelled))
    world.do(c.TaintNode("n1", (("spot", ""),)))
    assert world.now_of(plain).state is JobState.RUNNING
    commit = world.commit(Start(placed(picky, ("n1", 0))))
    assert [r.why for r in commit.rejected] == ["node n1 has the taint spot=, which the job does not tolerate"]


def test_limits_of_the_own_gang_are_looked_at_again(world: World) -> None:
    for name, rack in (("n1", "r1"), ("n2", "r2")):
        world.do(c.RegisterNode(replace(node(name, gpu=2), labels=(("rack", rack),))))
    within = submit(world, configuration(replicas=2), constraints=Constraints(within="rack"))
    spread = submit(world, configuration(replicas=2), constraints=Constraints(at_most=(AtMost(1),)))
    commit = world.commit(Start(placed(within, ("n1", 0), ("n2", 0))), Start(placed(spread, ("n1", 0), ("n1", 1))))
    assert {r.change.job_id for r in commit.rejected} == {within.id, spread.id}
    commit = world.commit(Start(placed(within, ("n1", 0), ("n1", 1))))
    assert not commit.rejected


NOISY = (("noisy", "true"),)


@pytest.mark.parametrize("quiet_first", [True, False])
def test_jobs_that_must_not_be_together_on_a_node_are_not(world: World, quiet_first: bool) -> None:
    """Whoever runs already: the limit binds later arrivals, too."""
    quiet = submit(world, constraints=Constraints(at_most=(AtMost(0, of=NOISY),)))
    noisy = submit(world, labels=NOISY)
    first, second = (quiet, noisy) if quiet_first else (noisy, quiet)
    assert not world.commit(Start(placed(first, ("n1", 0)))).rejected
    commit = world.commit(Start(placed(second, ("n1", 1))))
    assert [r.why for r in commit.rejected] == ["node n1 has replicas that it must not be with"]
    assert not world.commit(Start(placed(second, ("n2", 1)))).rejected


def test_others_come_to_a_node_although_two_there_bear_ill_already(world: World) -> None:
    """A limit that is broken for other reasons does not close the node for those whom it does not concern."""
    web = (("app", "web"),)
    for number in (0, 1):
        assert not world.commit(Start(placed(submit(world, labels=web), ("n1", number)))).rejected
    limiting = submit(world, configuration(gpu=0), labels=web, constraints=Constraints(at_most=(AtMost(1, of=web),)))
    assert world.commit(Start(Placement(limiting.id, 0, (ReplicaPlacement("n1"),)))).rejected
    other = submit(world, configuration(gpu=0))
    assert not world.commit(Start(Placement(other.id, 0, (ReplicaPlacement("n1"),)))).rejected


@pytest.mark.parametrize("per", ["node", "rack"])
def test_a_needless_victim_goes_all_the_same_if_the_newcomer_must_not_be_with_it(world: World, per: str) -> None:
    """Another preemption fell away, so victims are looked at again; this one's room is not needed, its absence is."""
    noisy = submit(world, labels=NOISY)
    assert not world.commit(Start(placed(noisy, ("n1", 0)))).rejected
    quiet = submit(world, constraints=Constraints(at_most=(AtMost(0, per, NOISY),)))
    gone = submit(world)
    world.do(c.CancelJobs((gone.id,)))
    commit = world.commit(
        Preempt(noisy.id, PreemptionReason.FAIR_SHARE, WAITS),
        Start(placed(quiet, ("n1", 1))),
        Start(placed(gone, ("n2", 0))),
    )
    assert [r.change.job_id for r in commit.rejected] == [gone.id]
    assert world.now_of(noisy).state is JobState.PENDING


def test_nobody_comes_near_a_job_that_was_to_move_out_of_the_rack_and_stays(world: World) -> None:
    noisy = submit(world, labels=NOISY)
    assert not world.commit(Start(placed(noisy, ("n1", 0)))).rejected
    quiet = submit(world, constraints=Constraints(at_most=(AtMost(0, "rack", NOISY),)))
    other = submit(world)
    world.do(c.LoseNode("n2"))
    commit = world.commit(
        Move(placed(noisy, ("n2", 0)), PreemptionReason.RECONFIGURED), Start(placed(quiet, ("n1", 1)))
    )
    assert {r.change.job_id for r in commit.rejected} == {noisy.id, quiet.id}
    assert not world.commit(Start(placed(other, ("n1", 1)))).rejected


def test_after_a_resize_late_words_about_the_old_size_are_told_apart(world: World) -> None:
    """An end counts only with the new epoch: numbers may mean other replicas now. A failure fails the job."""
    job = running(world, ("n1", 0), ("n1", 1))
    assert job.allocation is not None
    world.commit(Resize(sized(job, ("n1", 1))))
    old = job.allocation.epoch
    world.do(c.Heartbeat("n1", (c.ReplicaReport(job.id, 0, old, c.ReplicaState.SUCCEEDED),)))
    world.do(c.Heartbeat("n2", (c.ReplicaReport(job.id, 0, old, c.ReplicaState.FAILED),)))
    assert world.now_of(job).state is JobState.RUNNING
    world.do(c.Heartbeat("n1", (c.ReplicaReport(job.id, 1, old, c.ReplicaState.FAILED, "out of memory"),)))
    after = world.now_of(job)
    assert (after.state, after.message) == (JobState.FAILED, "a replica failed on node n1: out of memory")


def test_progress_of_a_part_is_counted_as_that_of_the_whole(world: World) -> None:
    job = submit(world, Configuration("a100", 1, Resources(cpu_millicores=1000), 8.0), divisible=True)
    world.commit(Start(Placement(job.id, 0, (ReplicaPlacement("n1"),), 250)))
    world.do(c.ReportProgress(job.id, 3.0))
    assert world.now_of(job).measured_throughput == (("a100", 12.0),)

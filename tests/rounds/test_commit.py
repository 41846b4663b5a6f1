"""The second look at a plan: stories in which the cluster changes while the round thinks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Commit, Move, Plan, Preempt, Start
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from tests.builders import configuration, node, resources, spec

WAITS = PendingReason(PendingCause.INSUFFICIENT_CAPACITY)


class World:
    """A store with two nodes of two GPUs each, and a way to commit changes against a snapshot of any moment."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 0.0
        self.do(c.CreateQueue(Queue("q")))
        for name in ("n1", "n2"):
            self.do(c.RegisterNode(node(name, gpu=2)))

    def do(self, command: c.Command) -> Any:
        self.now += 1
        return self.store.execute(command, self.now).result(timeout=60)

    def job(self, replicas: int = 1, gpu: float = 1) -> Job:
        (job,) = self.do(c.SubmitJobs((spec("q", configuration(replicas=replicas, gpu=gpu)),)))
        assert isinstance(job, Job)
        return job

    def commit(self, *changes: Change, waiting: tuple[tuple[str, PendingReason], ...] = ()) -> Commit:
        snapshot = self.store.snapshot(self.now)
        return self.store.commit(Plan(snapshot.revision, snapshot.round, changes, (), waiting), self.now)

    def running(self, *places: tuple[str, int]) -> Job:
        job = self.job(replicas=len(places))
        assert not self.commit(Start(placed(job, *places))).rejected
        return self.now_of(job)

    def now_of(self, job: Job) -> Job:
        return self.store.get_job(job.id)


def placed(job: Job, *places: tuple[str, int]) -> Placement:
    return Placement(job.id, 0, tuple(ReplicaPlacement(name, (gpu,)) for name, gpu in places))


@pytest.fixture
def world() -> World:
    return World()


def test_start_gets_an_epoch_and_reaches_its_nodes(world: World) -> None:
    job = world.job(replicas=2)
    commit = world.commit(Start(placed(job, ("n1", 0), ("n2", 1))))
    after = world.now_of(job)
    assert after.state is JobState.RUNNING
    assert after.allocation is not None
    assert after.allocation.epoch.revision == commit.revision
    desired = {state.node: state for state in commit.desired}
    assert set(desired) == {"n1", "n2"}
    (replica,) = desired["n2"].replicas
    assert (replica.job_id, replica.replica, replica.gpus, replica.epoch) == (job.id, 1, (1,), after.allocation.epoch)


def test_job_cancelled_while_thinking(world: World) -> None:
    job, other = world.job(), world.job()
    world.do(c.CancelJobs((job.id,)))
    commit = world.commit(Start(placed(job, ("n1", 0))), Start(placed(other, ("n1", 1))))
    assert [(r.change.job_id, r.why) for r in commit.rejected] == [(job.id, "the job has ended")]
    assert world.now_of(other).state is JobState.RUNNING


@pytest.mark.parametrize("what", ["lost", "cordoned", "draining"])
def test_node_taken_away_while_thinking_refuses_the_whole_gang(world: World, what: str) -> None:
    gang = world.job(replicas=2)
    if what == "lost":
        world.do(c.LoseNode("n2"))
    else:
        world.do(c.SetNodeAvailability("n2", NodeAvailability(what)))
    commit = world.commit(Start(placed(gang, ("n1", 0), ("n2", 0))))
    assert [r.why for r in commit.rejected] == ["node n2 takes no new work"]
    after = world.now_of(gang)
    assert (after.state, after.pending_reason) == (
        JobState.PENDING,
        PendingReason(PendingCause.CHANGED_SINCE_SNAPSHOT),
    )
    assert world.store.desired("n1").replicas == ()


def test_node_shrunk_while_thinking_keeps_the_first_of_the_plan(world: World) -> None:
    first, second = world.job(), world.job()
    world.do(c.RegisterNode(replace(node("n1"), capacity=resources(cpu=32, gpu=1))))
    commit = world.commit(Start(placed(first, ("n1", 0))), Start(placed(second, ("n1", 1))))
    assert [applied.change.job_id for applied in commit.applied] == [first.id]
    assert [r.why for r in commit.rejected] == ["node n1 has no room any more"]


def test_a_gpu_is_not_given_twice(world: World) -> None:
    world.running(("n1", 0))
    late = world.job()
    commit = world.commit(Start(placed(late, ("n1", 0))))
    assert [r.why for r in commit.rejected] == ["node n1 has no room any more"]


def test_fractions_share_a_gpu_up_to_all_of_it(world: World) -> None:
    parts = [world.job(gpu=0.4) for _ in range(3)]
    commit = world.commit(*(Start(placed(part, ("n1", 0))) for part in parts))
    assert [applied.change.job_id for applied in commit.applied] == [parts[0].id, parts[1].id]


def test_half_a_gang_is_refused(world: World) -> None:
    gang = world.job(replicas=2)
    commit = world.commit(Start(placed(gang, ("n1", 0))))
    assert [r.why for r in commit.rejected] == ["1 of 2 replicas are placed: a gang starts whole"]


def test_victim_makes_room_in_the_same_commit(world: World) -> None:
    victim = world.running(("n1", 0), ("n1", 1))
    urgent = world.job(replicas=2)
    commit = world.commit(
        Preempt(victim.id, PreemptionReason.FAIR_SHARE, WAITS), Start(placed(urgent, ("n1", 0), ("n1", 1)))
    )
    assert not commit.rejected
    after = world.now_of(victim)
    assert (after.state, after.preemption_count, after.pending_reason) == (JobState.PENDING, 1, WAITS)
    assert [replica.job_id for replica in world.store.desired("n1").replicas] == [urgent.id, urgent.id]


def test_victim_that_ended_by_itself_left_its_room_anyway(world: World) -> None:
    victim = world.running(("n1", 0))
    urgent = world.job()
    world.do(c.CancelJobs((victim.id,)))
    commit = world.commit(Preempt(victim.id, PreemptionReason.FAIR_SHARE, WAITS), Start(placed(urgent, ("n1", 0))))
    assert [r.change.job_id for r in commit.rejected] == [victim.id]
    assert world.now_of(urgent).state is JobState.RUNNING


def test_two_jobs_swap_nodes(world: World) -> None:
    one, two = world.running(("n1", 0)), world.running(("n2", 0))
    commit = world.commit(
        Move(placed(one, ("n2", 0)), PreemptionReason.RECONFIGURED),
        Move(placed(two, ("n1", 0)), PreemptionReason.RECONFIGURED),
    )
    assert not commit.rejected
    assert [r.job_id for r in world.store.desired("n1").replicas] == [two.id]


def test_whoever_made_room_for_a_job_that_is_gone_moves_all_the_same(world: World) -> None:
    mover = world.running(("n1", 0))
    gone = world.job()
    world.do(c.CancelJobs((gone.id,)))
    commit = world.commit(Move(placed(mover, ("n2", 0)), PreemptionReason.CONSOLIDATED), Start(placed(gone, ("n1", 0))))
    assert [r.change.job_id for r in commit.rejected] == [gone.id]
    assert [r.job_id for r in world.store.desired("n2").replicas] == [mover.id]


@pytest.mark.parametrize("reason", [PreemptionReason.RECONFIGURED, PreemptionReason.CONSOLIDATED])
def test_refused_move_keeps_its_place_and_whoever_wanted_it_waits(world: World, reason: PreemptionReason) -> None:
    mover = world.running(("n1", 0))
    follower = world.job()
    world.do(c.LoseNode("n2"))
    commit = world.commit(Move(placed(mover, ("n2", 0)), reason), Start(placed(follower, ("n1", 0))))
    assert {r.change.job_id for r in commit.rejected} == {mover.id, follower.id}
    assert world.now_of(mover) == mover


def test_epochs_only_grow(world: World) -> None:
    job = world.running(("n1", 0))
    before = job.allocation
    world.commit(Preempt(job.id, PreemptionReason.FAIR_SHARE, WAITS))
    world.commit(Start(placed(job, ("n2", 1))))
    after = world.now_of(job).allocation
    assert before is not None
    assert after is not None
    assert after.epoch > before.epoch


def test_same_cause_with_other_numbers_makes_no_new_revision(world: World) -> None:
    job = world.job()
    world.commit(waiting=((job.id, WAITS),))
    revision = world.now_of(job).revision
    fresh = replace(WAITS, shortages=(Shortage("a100", "gpu", 1000),))
    world.commit(waiting=((job.id, fresh),))
    after = world.now_of(job)
    assert (after.revision, after.pending_reason) == (revision, fresh)


def test_cancelled_jobs_nodes_hear_of_it_with_the_next_commit(world: World) -> None:
    job = world.running(("n1", 0))
    world.do(c.CancelJobs((job.id,)))
    commit = world.commit()
    assert [(state.node, state.replicas) for state in commit.desired] == [("n1", ())]
    assert world.commit().desired == ()


def test_victim_stays_when_nobody_takes_its_place(world: World) -> None:
    """The gang it was stopped for was cancelled while the round thought."""
    victim, bystander = world.running(("n1", 0)), world.running(("n1", 1))
    gang, small = world.job(replicas=2), world.job()
    world.do(c.CancelJobs((gang.id,)))
    commit = world.commit(
        Preempt(victim.id, PreemptionReason.FAIR_SHARE, WAITS),
        Preempt(bystander.id, PreemptionReason.FAIR_SHARE, WAITS),
        Start(placed(small, ("n1", 0))),
        Start(placed(gang, ("n2", 0), ("n1", 1))),
    )
    assert {r.change.job_id: r.why for r in commit.rejected} == {
        gang.id: "the job has ended",
        bystander.id: "nobody takes its place any more",
    }
    assert world.now_of(bystander) == bystander
    assert world.now_of(victim).state is JobState.PENDING
    assert world.now_of(small).state is JobState.RUNNING


def test_jobs_of_lost_nodes_leave_whether_or_not_somebody_comes(world: World) -> None:
    job, other = world.running(("n1", 0)), world.job()
    world.do(c.CancelJobs((other.id,)))
    world.commit(Preempt(job.id, PreemptionReason.NODE_LOST, WAITS), Start(placed(other, ("n1", 0))))
    assert world.now_of(job).state is JobState.PENDING


def test_place_of_a_finished_replica_can_be_given_away(world: World) -> None:
    gang = world.running(("n1", 0), ("n2", 0))
    assert gang.allocation is not None
    world.do(c.Heartbeat("n1", (c.ReplicaReport(gang.id, 0, gang.allocation.epoch, c.ReplicaState.SUCCEEDED),)))
    newcomer = world.job()
    assert not world.commit(Start(placed(newcomer, ("n1", 0)))).rejected


@pytest.mark.parametrize("way_back", ["registers", "reports"])
def test_node_that_comes_back_is_told_what_to_run(world: World, way_back: str) -> None:
    """Its agent may still be running what was decided before it went."""
    world.commit()
    if way_back == "registers":
        world.do(c.SetNodeAvailability("n1", NodeAvailability.DRAINING))
        world.do(c.RemoveNode("n1"))
        assert [(state.node, state.replicas) for state in world.commit().desired] == [("n1", ())]
        world.do(c.RegisterNode(node("n1", gpu=2)))
    else:
        world.do(c.LoseNode("n1"))
        world.commit()
        world.do(c.Heartbeat("n1"))
    assert [(state.node, state.replicas) for state in world.commit().desired] == [("n1", ())]

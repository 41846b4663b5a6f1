"""What every store must do for rounds; see `contract`."""

from __future__ import annotations

import pytest

from allocator.domain.errors import FailedPrecondition, NotFound
from allocator.domain.job import JobState
from allocator.domain.placement import Epoch
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.domain.snapshot import Memory, QueueHistory
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from tests.store.cluster import QUEUE, WAITS, AnyStore, commit, do, node, plan, preempt, set_up, spec, start, submit
from tests.store.cluster import summary as summary_of


class RoundContract:
    """Store: snapshots, commits, and what one round hands to the next."""

    def test_a_snapshot_is_sorted_complete_and_does_not_change(self, store: AnyStore) -> None:
        for name in ("z", "a", "a/b"):
            do(store, c.CreateQueue(Queue(name)))
        for name in ("n2", "n10", "n1"):
            do(store, c.RegisterNode(node(name)))
        jobs = submit(store, spec(queue="z"), spec(queue="a/b"))
        snapshot = store.snapshot(3.0)
        do(store, c.CancelJobs((jobs[0].id,)))
        assert [queue.name for queue in snapshot.queues] == ["a", "a/b", "z"]
        assert [found.name for found in snapshot.nodes] == ["n1", "n10", "n2"]
        assert snapshot.jobs == jobs
        assert (snapshot.round, snapshot.time) == (1, 3.0)
        assert store.snapshot(4.0).jobs == jobs[1:]

    def test_a_committed_start_runs_and_its_nodes_are_told(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec(replicas=2))
        done = commit(store, start(job, "n1", "n0"), now=6.0)
        running = store.get_job(job.id)
        assert done.rejected == ()
        assert running.state is JobState.RUNNING
        assert running.allocation is not None
        assert running.allocation.epoch == Epoch(1, done.revision) == Epoch(1, running.revision)
        assert (running.first_start_time, running.last_start_time) == (6.0, 6.0)
        assert [desired.node for desired in done.desired] == ["n0", "n1"]
        assert [replica.replica for desired in done.desired for replica in desired.replicas] == [1, 0]
        assert {desired.epoch for desired in done.desired} == {Epoch(1, done.revision)}
        assert store.desired("n0") == done.desired[0]
        assert store.queue_counts() == {QUEUE: (0, 1)}

    def test_a_start_on_a_node_that_got_lost_meanwhile_is_refused_whole(self, store: AnyStore) -> None:
        set_up(store)
        gang, single = submit(store, spec(replicas=2), spec())
        snapshot = store.snapshot(5.0)
        do(store, c.LoseNode("n1"))
        done = store.commit(plan(snapshot, start(gang, "n0", "n1"), start(single, "n0")), 6.0)
        assert [applied.change.job_id for applied in done.applied] == [single.id]
        assert [rejected.change.job_id for rejected in done.rejected] == [gang.id]
        assert "n1" in done.rejected[0].why
        waiting = store.get_job(gang.id)
        assert (waiting.state, waiting.allocation) == (JobState.PENDING, None)
        assert waiting.pending_reason == PendingReason(PendingCause.CHANGED_SINCE_SNAPSHOT)

    def test_a_job_cancelled_meanwhile_is_not_started(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        snapshot = store.snapshot(5.0)
        do(store, c.CancelJobs((job.id,)))
        done = store.commit(plan(snapshot, start(job, "n0")), 6.0)
        assert (done.applied, len(done.rejected)) == ((), 1)
        assert store.get_job(job.id).state is JobState.CANCELLED

    def test_no_node_is_ever_overfull(self, store: AnyStore) -> None:
        set_up(store, nodes=1, cores=4)
        jobs = submit(store, *(spec(cores=3) for _ in range(2)))
        done = commit(store, *(start(job, "n0") for job in jobs))
        assert [applied.change.job_id for applied in done.applied] == [jobs[0].id]
        assert [rejected.change.job_id for rejected in done.rejected] == [jobs[1].id]

    def test_the_reason_why_a_job_waits_is_kept_and_fresh_numbers_make_no_revision(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        first = commit(store, waiting={job.id: WAITS})
        assert store.get_job(job.id).pending_reason == WAITS
        fresh = PendingReason(WAITS.cause, (Shortage("a100", "cpu", 5),))
        before = store.snapshot(1.0).jobs
        second = commit(store, waiting={job.id: fresh})
        assert second.revision == first.revision == store.get_job(job.id).revision
        assert store.snapshot(1.0).jobs is before, "what depends on the jobs need not be computed again"
        assert store.get_job(job.id).pending_reason == fresh
        assert store.list_jobs(states=(JobState.PENDING,))[0].pending_reason == fresh
        assert store.list_jobs()[0].pending_reason == fresh
        assert store.jobs_changed_since(Cursor())[0].pending_reason == fresh
        assert do(store, c.UpdateJobs((c.JobUpdate(job.id, weight=2.0),)))[0].pending_reason == fresh
        assert store.get_job(job.id).pending_reason == fresh
        commit(store, waiting={job.id: WAITS})
        assert store.get_job(job.id).pending_reason == WAITS, "the numbers of before can be the newest ones"
        commit(store, waiting={job.id: fresh})
        other = PendingReason(PendingCause.FRAGMENTED)
        commit(store, waiting={job.id: other})
        assert store.get_job(job.id).pending_reason == other

    def test_nodes_whose_jobs_ended_are_told_at_the_next_commit_and_only_then(self, store: AnyStore) -> None:
        set_up(store)
        first, second = submit(store, spec(), spec())
        commit(store, start(first, "n0"), start(second, "n1"))
        do(store, c.CancelJobs((first.id,)))
        assert store.desired("n0").replicas == ()
        assert store.desired("n0").epoch > Epoch(1, 0)
        told = commit(store)
        assert [(desired.node, desired.replicas) for desired in told.desired] == [("n0", ())]
        assert commit(store).desired == ()

    def test_a_preempted_job_waits_again(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        commit(store, start(job, "n0"), now=5.0)
        done = commit(store, preempt(job, PreemptionReason.FAIR_SHARE, WAITS), now=50.0)
        waiting = store.get_job(job.id)
        assert (waiting.state, waiting.allocation, waiting.preemption_count) == (JobState.PENDING, None, 1)
        assert (waiting.last_preemption, waiting.pending_reason) == (PreemptionReason.FAIR_SHARE, WAITS)
        assert waiting.first_start_time == 5.0
        assert [(desired.node, desired.replicas) for desired in done.desired] == [("n0", ())]
        assert store.queue_counts() == {QUEUE: (1, 0)}

    def test_a_gang_succeeds_with_its_last_replica_and_leaves_the_live_facts(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec(replicas=2))
        commit(store, start(job, "n0", "n1"))
        running = store.get_job(job.id)
        assert running.allocation is not None
        for replica, name in enumerate(("n0", "n1")):
            report = c.ReplicaReport(job.id, replica, running.allocation.epoch, c.ReplicaState.SUCCEEDED)
            do(store, c.Heartbeat(name, (report,)), now=20.0)
        ended = store.get_job(job.id)
        assert (ended.state, ended.end_time, ended.allocation) == (JobState.SUCCEEDED, 20.0, None)
        assert store.snapshot(21.0).jobs == ()
        do(store, c.Heartbeat("n0", (report,)), now=22.0)
        assert store.get_job(job.id) == ended

    def test_a_plan_of_an_earlier_round_is_refused(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        old = store.snapshot(1.0)
        commit(store)
        store.record(summary_of(1), Memory())
        commit(store)
        with pytest.raises(FailedPrecondition):
            store.commit(plan(old, start(job, "n0")), 2.0)
        assert store.get_job(job.id).state is JobState.PENDING

    def test_rounds_are_numbered_after_the_last_recorded_one(self, store: AnyStore) -> None:
        set_up(store)
        assert store.memory() == Memory()
        assert store.latest_round() is None
        history = {"research/vision": QueueHistory(1.0 / 3.0, 1e300, 0.1, 5e-324)}
        memory = Memory.of(5.0, {1: 0.1}, {1: -1.0 / 3.0}, {("a100", "cpu"): 1e-300}, history=history)
        for number in (1, 2, 3):
            assert store.snapshot(1.0).round == number
            store.record(summary_of(number, time=float(number)), memory)
        assert store.memory() == memory
        assert store.get_round(2) == summary_of(2, time=2.0)
        assert store.latest_round() == summary_of(3, time=3.0)
        assert [found.round for found in store.list_rounds()] == [3, 2, 1]
        assert [found.round for found in store.list_rounds(before=3, limit=1)] == [2]
        assert store.list_rounds(before=1) == ()
        for unknown in (0, 4, 10**30):
            with pytest.raises(NotFound):
                store.get_round(unknown)

    def test_old_rounds_and_receipts_are_forgotten(self, small_store: AnyStore) -> None:
        """`small_store` keeps receipts for 10 seconds, and 2 rounds."""
        set_up(small_store)
        (first,) = submit(small_store, spec(), request_id="old", now=100.0)
        (second,) = submit(small_store, spec(), request_id="new", now=108.0)
        for number in (1, 2, 3):
            small_store.record(summary_of(number, time=112.0), Memory())
        assert [found.round for found in small_store.list_rounds()] == [3, 2]
        (again,) = submit(small_store, spec(), request_id="new", now=113.0)
        (another,) = submit(small_store, spec(), request_id="old", now=113.0)
        assert again.id == second.id
        assert another.id not in (first.id, second.id)

"""What every store must do, whatever it is made of. Each implementation's test module inherits these classes.

The class that inherits provides the fixtures `store` (open and empty) and, for DurableContract, `reopen`.
"""

from __future__ import annotations

import threading

import pytest

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Epoch
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from tests.store.cluster import QUEUE, AnyStore, Reopen, commit, do, node, plan, preempt, set_up, spec, start, submit
from tests.store.cluster import summary as summary_of

WAITS = PendingReason(PendingCause.INSUFFICIENT_CAPACITY, (Shortage("a100", "cpu", 1000),))


class CommandContract:
    """Ledger: commands take effect in order, are answered one by one, and make revisions."""

    def test_admitted_jobs_are_numbered_in_order_and_carry_the_revision_that_admitted_them(
        self, store: AnyStore
    ) -> None:
        set_up(store)
        before = store.current_revision()
        first, second = submit(store, spec(name="one"), spec(name="two"), now=7.0)
        (third,) = submit(store, spec(name="three"))
        assert [job.sequence for job in (first, second, third)] == [1, 2, 3]
        assert first.revision == second.revision == before + 1
        assert third.revision == before + 2 == store.current_revision()
        assert store.get_job(second.id) == second
        assert (second.submit_time, second.state, second.spec.name) == (7.0, JobState.PENDING, "two")

    def test_a_bad_item_is_refused_alone(self, store: AnyStore) -> None:
        set_up(store)
        answer = do(
            store, c.SubmitJobs((spec(name="good"), spec(queue="nowhere"), spec(weight=-1.0), spec(name="fine")))
        )
        assert [type(item) for item in answer] == [Job, NotFound, InvalidInput, Job]
        assert [job.spec.name for job in store.snapshot(1.0).jobs] == ["good", "fine"]

    def test_a_command_that_is_refused_whole_changes_nothing(self, store: AnyStore) -> None:
        set_up(store)
        before = store.snapshot(1.0)
        with pytest.raises(AlreadyExists):
            do(store, c.CreateQueue(Queue(QUEUE)))
        with pytest.raises(NotFound):
            do(store, c.LoseNode("nowhere"))
        assert store.snapshot(1.0) == before

    def test_commands_handed_in_at_once_see_each_other(self, store: AnyStore) -> None:
        futures = [
            store.execute(c.CreateQueue(Queue("a", max_live_jobs=1)), 1.0),
            store.execute(c.SubmitJobs((spec(queue="a"),)), 1.0),
            store.execute(c.SubmitJobs((spec(queue="a"),)), 1.0),
            store.execute(c.CancelJobs(("j1",)), 2.0),
            store.execute(c.DeleteQueue("a"), 3.0),
            store.execute(c.SubmitJobs((spec(queue="a"),)), 4.0),
        ]
        _, (admitted,), (too_many,), (cancelled,), _, (queue_gone,) = [future.result(timeout=60) for future in futures]
        assert admitted.state is JobState.PENDING
        assert "may hold 1" in str(too_many)
        assert (cancelled.id, cancelled.state) == (admitted.id, JobState.CANCELLED)
        assert isinstance(queue_gone, NotFound)
        assert store.snapshot(5.0).jobs == ()

    def test_nothing_changes_without_a_change(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        revision = store.current_revision()
        do(store, c.Heartbeat("n0"))
        do(store, c.RegisterNode(node("n0")))
        do(store, c.UpdateJobs((c.JobUpdate(job.id, weight=1.0),)))
        do(store, c.CordonQueue(QUEUE, cordoned=False))
        assert store.current_revision() == revision

    def test_a_repeated_request_gets_the_first_answer_again(self, store: AnyStore) -> None:
        set_up(store)
        specs = (spec(name="one"), spec(queue="nowhere"))
        first = do(store, c.SubmitJobs(specs, "request\0 ü"))
        again = do(store, c.SubmitJobs(specs, "request\0 ü"))
        assert again[0] == first[0]
        assert (type(again[1]), str(again[1])) == (NotFound, str(first[1]))
        assert len(store.snapshot(1.0).jobs) == 1
        with pytest.raises(AlreadyExists):
            do(store, c.SubmitJobs((spec(name="other"),), "request\0 ü"))

    def test_a_repeated_request_is_recognised_within_one_batch(self, store: AnyStore) -> None:
        set_up(store)
        futures = [store.execute(c.SubmitJobs((spec(),), "same"), 1.0) for _ in range(3)]
        assert len({future.result(timeout=60)[0].id for future in futures}) == 1

    def test_cancelling_again_is_fine_and_ids_that_cannot_exist_are_not_found(self, store: AnyStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        do(store, c.CancelJobs((job.id,), "not needed"))
        again, unknown, strange = do(store, c.CancelJobs((job.id, "j99", "j\0\ud800")))
        assert (again.state, again.message) == (JobState.CANCELLED, "not needed")
        assert isinstance(unknown, NotFound)
        assert isinstance(strange, NotFound)

    def test_text_that_people_write_comes_back_as_it_was(self, store: AnyStore) -> None:
        set_up(store)
        text = 'quote " backslash \\ nul \0 line \n umlaut ü emoji 🙂'
        (job,) = submit(store, spec(name=text))
        do(store, c.CancelJobs((job.id,), text))
        found = store.get_job(job.id)
        assert (found.spec.name, found.message) == (text, text)

    def test_concurrent_clients_all_get_their_own_answers(self, store: AnyStore) -> None:
        set_up(store)
        names: dict[str, str] = {}

        def client(number: int) -> None:
            for index in range(10):
                (job,) = submit(store, spec(name=f"{number}-{index}"), request_id=f"{number}-{index}")
                names[job.id] = f"{number}-{index}"

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        jobs = store.snapshot(1.0).jobs
        assert {job.id: job.spec.name for job in jobs} == names
        assert [job.sequence for job in jobs] == list(range(1, 81))


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
        second = commit(store, waiting={job.id: fresh})
        assert store.get_job(job.id).pending_reason == fresh
        assert store.snapshot(1.0).jobs[0].pending_reason == fresh
        assert second.revision == first.revision == store.get_job(job.id).revision

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
        memory = Memory(5.0, {"j1": 0.1}, {"j1": -1.0 / 3.0}, {("a100", "cpu"): 1e-300})
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


class ReadContract:
    """Reads: lists by page, the change feed, listeners."""

    def test_lists_are_by_sequence_filtered_and_paged(self, store: AnyStore) -> None:
        set_up(store)
        do(store, c.CreateQueue(Queue("other")))
        jobs = submit(store, *(spec(queue="other" if index % 2 else QUEUE) for index in range(8)))
        do(store, c.CancelJobs((jobs[0].id, jobs[3].id)))
        commit(store, start(jobs[2], "n0"), start(jobs[5], "n1"))

        def sequences(*states: JobState, queue: str | None = None, after: int = 0, limit: int = 100) -> list[int]:
            found = store.list_jobs(queue=queue, states=states, after_sequence=after, limit=limit)
            assert all(store.get_job(job.id) == job for job in found)
            return [job.sequence for job in found]

        assert sequences() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert sequences(after=2, limit=3) == [3, 4, 5]
        assert sequences(queue="other") == [2, 4, 6, 8]
        assert sequences(JobState.PENDING) == [2, 5, 7, 8]
        assert sequences(JobState.PENDING, JobState.RUNNING, after=2, limit=3) == [3, 5, 6]
        assert sequences(JobState.RUNNING, queue="other") == [6]
        assert sequences(JobState.CANCELLED) == [1, 4]
        assert sequences(JobState.CANCELLED, JobState.RUNNING, limit=3) == [1, 3, 4]
        assert sequences(JobState.CANCELLED, JobState.PENDING, queue="other", after=2) == [4, 8]
        assert sequences(JobState.FAILED) == []
        assert sequences(queue="no\0where") == []
        assert sequences(after=10**30) == []

    def test_jobs_of_a_deleted_queue_stay_readable(self, store: AnyStore) -> None:
        do(store, c.CreateQueue(Queue("gone")))
        (job,) = submit(store, spec(queue="gone"))
        do(store, c.CancelJobs((job.id,)))
        do(store, c.DeleteQueue("gone"))
        assert store.queues() == ()
        assert store.queue_counts() == {}
        with pytest.raises(NotFound):
            store.get_queue("gone")
        assert [found.id for found in store.list_jobs(queue="gone")] == [job.id]

    def test_what_does_not_exist_is_not_found(self, store: AnyStore) -> None:
        for job_id in ("j1", "", "\0", "\ud800"):
            with pytest.raises(NotFound):
                store.get_job(job_id)
        with pytest.raises(NotFound):
            store.get_node("n0")
        with pytest.raises(NotFound):
            store.desired("n0")

    def test_a_removed_node_is_gone_and_may_come_back(self, store: AnyStore) -> None:
        set_up(store)
        do(store, c.LoseNode("n0"))
        assert store.get_node("n0").health is NodeHealth.LOST
        do(store, c.RemoveNode("n0"))
        assert [found.name for found in store.nodes()] == ["n1"]
        do(store, c.RegisterNode(node("n0", cores=9)))
        do(store, c.SetNodeAvailability("n0", NodeAvailability.CORDONED))
        assert store.get_node("n0").availability is NodeAvailability.CORDONED
        assert [found.name for found in store.nodes()] == ["n0", "n1"]

    def test_queues_are_counted(self, store: AnyStore) -> None:
        set_up(store)
        do(store, c.CreateQueue(Queue("empty")))
        jobs = submit(store, spec(), spec(), spec())
        commit(store, start(jobs[1], "n0"))
        do(store, c.CancelJobs((jobs[0].id,)))
        assert store.queue_counts() == {"empty": (0, 0), QUEUE: (1, 1)}

    def test_a_watcher_that_reads_in_small_pages_sees_the_newest_version_of_every_job(self, store: AnyStore) -> None:
        set_up(store, cores=100)
        seen: dict[str, Job] = {}
        cursor = Cursor()

        def read(pages: int) -> Cursor:
            at = cursor
            for _ in range(pages):
                page = store.jobs_changed_since(at, limit=3)
                assert [Cursor.of(job) for job in page] == sorted(Cursor.of(job) for job in page)
                assert all(Cursor.of(job) > at for job in page)
                seen.update({job.id: job for job in page})
                at = Cursor.of(page[-1]) if page else at
            return at

        jobs = submit(store, *(spec() for _ in range(10)))
        cursor = read(2)
        commit(store, *(start(job, "n0") for job in jobs[::2]), waiting={jobs[1].id: WAITS})
        cursor = read(1)
        do(store, c.CancelJobs(tuple(job.id for job in jobs[3:6])))
        jobs += submit(store, spec(), spec())
        cursor = read(20)
        assert seen == {job.id: store.get_job(job.id) for job in jobs}
        assert store.jobs_changed_since(Cursor.after(store.current_revision())) == ()

    def test_a_listener_hears_each_durable_change_once_it_can_be_read(self, store: AnyStore) -> None:
        heard: list[tuple[int, int]] = []
        end = store.subscribe(lambda revision: heard.append((revision, store.current_revision())))
        set_up(store, nodes=1)
        do(store, c.Heartbeat("n0"))
        (job,) = submit(store, spec())
        end()
        do(store, c.CancelJobs((job.id,)))
        assert [revision for revision, _ in heard] == [1, 2, 3]
        assert all(revision == readable for revision, readable in heard)

    def test_a_listener_that_fails_harms_nobody(self, store: AnyStore) -> None:
        heard: list[int] = []

        def fails(revision: int) -> None:
            raise RuntimeError(f"cannot hear {revision}")

        store.subscribe(fails)
        store.subscribe(heard.append)
        set_up(store, nodes=0)
        assert heard == [1]


class StoreContract(CommandContract, RoundContract, ReadContract):
    """All of it."""


class DurableContract(StoreContract):
    """What must be the same after closing and opening again."""

    def test_everything_is_the_same_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        do(store, c.CreateQueue(Queue(f"{QUEUE}-2", weight=0.1, max_live_jobs=7)))
        jobs = submit(store, *(spec(name=f"job {index}") for index in range(6)))
        do(store, c.UpdateJobs((c.JobUpdate(jobs[0].id, weight=0.3, priority_class="high"),)))
        commit(store, start(jobs[0], "n0"), start(jobs[1], "n1"), waiting={jobs[2].id: WAITS})
        do(store, c.ReportProgress(jobs[0].id, 1.5))
        do(store, c.CancelJobs((jobs[3].id, jobs[1].id), "enough"))
        memory = Memory(5.0, {jobs[0].id: 0.1}, {jobs[0].id: -1.0 / 3.0}, {("a100", "cpu"): 2.0 / 3.0})
        store.record(summary_of(1), memory)
        before = store.snapshot(9.0)
        everything = store.list_jobs()

        again = reopen(store)

        assert again.snapshot(9.0) == before
        assert again.list_jobs() == everything
        assert again.memory() == memory
        assert again.latest_round() == summary_of(1) == again.get_round(1)
        assert again.queue_counts() == {QUEUE: (3, 1), f"{QUEUE}-2": (0, 0)}
        assert again.desired("n0").replicas[0].job_id == jobs[0].id
        assert again.jobs_changed_since(Cursor(), limit=100) == tuple(sorted(everything, key=Cursor.of))
        assert submit(again, spec())[0].sequence == 7

    def test_sequences_and_revisions_go_on_where_they_were(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        do(store, c.CancelJobs((job.id,)))
        revision = store.current_revision()
        again = reopen(store)
        (next_job,) = submit(again, spec())
        assert (next_job.sequence, next_job.revision) == (2, revision + 1)

    def test_a_repeated_request_is_recognised_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        specs = (spec(), spec(queue="nowhere"))
        first = do(store, c.SubmitJobs(specs, "once"))
        do(store, c.CancelJobs((first[0].id,)))
        again = reopen(store)
        repeated = do(again, c.SubmitJobs(specs, "once"))
        assert (repeated[0].id, repeated[0].state) == (first[0].id, JobState.CANCELLED)
        assert str(repeated[1]) == str(first[1])
        assert again.snapshot(1.0).jobs == ()

    def test_epochs_grow_although_a_round_was_committed_and_not_recorded(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        pushed = commit(store, start(job, "n0")).desired[0]
        again = reopen(store)
        assert again.desired("n0") == pushed
        assert again.snapshot(1.0).round == 1
        do(again, c.CancelJobs((job.id,)))
        assert again.desired("n0").epoch > pushed.epoch
        later = commit(again)
        assert [desired.node for desired in later.desired] == ["n0", "n1"]
        assert all(desired.epoch > pushed.epoch for desired in later.desired)

    def test_a_watcher_goes_on_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        jobs = submit(store, *(spec() for _ in range(5)))
        cursor = Cursor.of(store.jobs_changed_since(Cursor(), limit=2)[-1])
        again = reopen(store)
        do(again, c.CancelJobs((jobs[0].id,)))
        rest = again.jobs_changed_since(cursor)
        assert [job.sequence for job in rest] == [3, 4, 5, 1]

"""What every store must answer to readers; see `contract`."""

from __future__ import annotations

import pytest

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.errors import NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from tests.store.cluster import QUEUE, WAITS, AnyStore, commit, do, node, set_up, spec, start, submit


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

"""What every store must do with jobs that may not start yet; see `contract`."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.job import Job, JobState
from allocator.domain.process import Condition, Dependency, Retries
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from tests.store.cluster import QUEUE, AnyStore, Reopen, commit, do, set_up, spec, start, submit


def fail(store: AnyStore, job: Job, now: float) -> Job:
    """Its agent says that the running job has failed; the job afterwards."""
    allocation = store.get_job(job.id).allocation
    assert allocation is not None
    report = c.ReplicaReport(job.id, 0, allocation.epoch, c.ReplicaState.FAILED, "exit code 1")
    do(store, c.Heartbeat(allocation.placement.nodes[0], (report,)), now)
    return store.get_job(job.id)


def after(*names: str, condition: Condition = Condition.SUCCEEDED) -> tuple[Dependency, ...]:
    return tuple(Dependency(name, condition) for name in names)


class HeldContract:
    """Snapshots have them apart; everybody else sees them as pending jobs."""

    def test_those_that_wait_for_others_are_apart_and_come_back_in_order(self, store: AnyStore) -> None:
        set_up(store)
        first, waits, last = submit(store, spec(), replace(spec(), after=after("#0")), spec())
        snapshot = store.snapshot(1.0)
        assert (snapshot.jobs, snapshot.held) == ((first, last), (waits,))
        assert store.list_jobs(states=[JobState.PENDING]) == (first, waits, last)
        assert store.queue_counts() == {QUEUE: (3, 0)}
        assert store.jobs_changed_since(Cursor()) == (first, waits, last)
        commit(store, start(first, "n0"))
        fail(store, first, 6.0)
        ended = store.get_job(waits.id)
        assert (ended.state, ended.message) == (JobState.FAILED, "never started: j1 had to succeed first, and failed")
        assert [job.id for job in store.jobs_changed_since(Cursor.of(last))] == [first.id, waits.id]

    def test_those_released_stand_where_their_number_is(self, store: AnyStore) -> None:
        set_up(store)
        first, _, last = submit(store, spec(), replace(spec(), after=after("#0", condition=Condition.ENDED)), spec())
        do(store, c.CancelJobs((first.id,)))
        snapshot = store.snapshot(1.0)
        assert ([job.id for job in snapshot.jobs], snapshot.held) == (["j2", last.id], ())

    def test_jobs_that_ended_long_ago_can_be_named(self, store: AnyStore) -> None:
        set_up(store)
        (first,) = submit(store, spec())
        do(store, c.CancelJobs((first.id,)))
        (fine, broken) = submit(
            store, replace(spec(), after=after("j1", condition=Condition.ENDED)), replace(spec(), after=after("j1"))
        )
        assert (fine.state, broken.state) == (JobState.PENDING, JobState.FAILED)
        assert store.get_job(broken.id) == broken
        assert store.list_jobs(states=[JobState.FAILED]) == (broken,)

    def test_a_failed_one_is_apart_until_its_next_try(self, store: AnyStore) -> None:
        set_up(store)
        job, other = submit(store, replace(spec(), retries=Retries(1, 100.0)), spec())
        commit(store, start(job, "n0"), now=5.0)
        failed = fail(store, job, 10.0)
        early, late = store.snapshot(109.0), store.snapshot(110.0)
        assert (early.jobs, early.held, early.held_until) == ((other,), (failed,), 110.0)
        assert (late.jobs, late.held) == ((failed, other), ())
        assert store.snapshot(109.0).jobs == (other,)
        assert store.snapshot(111.0).jobs == late.jobs
        assert store.desired("n0").replicas == ()

    def test_an_earlier_snapshot_can_be_told_from_a_later_one(self, store: AnyStore) -> None:
        """Whoever keeps count by `since` sees the jobs of the later one, without a look at all of them."""
        set_up(store)
        job, _, other = submit(
            store, replace(spec(), retries=Retries(9, 100.0)), replace(spec(), after=after("#0")), spec()
        )
        known = {each.id: each for each in store.snapshot(1.0).jobs}
        before = store.snapshot(1.0).jobs

        def look(now: float) -> None:
            nonlocal before
            snapshot = store.snapshot(now)
            if snapshot.jobs is not before:
                assert snapshot.since is not None
                assert snapshot.since.jobs is before
                for each in snapshot.since.changed:
                    if each.state.is_final or each.is_held(now):
                        known.pop(each.id, None)
                    else:
                        known[each.id] = each
            before = snapshot.jobs
            assert sorted(known.values(), key=lambda each: each.sequence) == list(snapshot.jobs)

        commit(store, start(job, "n0"), now=5.0)
        fail(store, job, 10.0)
        look(10.0)
        look(110.0)
        look(50.0)
        look(120.0)
        commit(store, start(job, "n0"), now=120.0)
        look(121.0)
        do(store, c.CancelJobs((job.id,)), 122.0)
        look(122.0)
        submit(store, replace(spec(), after=after(other.id)))
        look(123.0)
        assert [each.id for each in before] == [other.id]


class DurableHeldContract:
    """The same after closing and opening again."""

    def test_those_held_are_held_and_released_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        first, waits, failing, _ = submit(
            store,
            spec(),
            replace(spec(), after=after("#0", condition=Condition.FAILED)),
            replace(spec(), retries=Retries(2, 100.0)),
            replace(spec(), after=after("#1", "#2")),
        )
        commit(store, start(failing, "n0"))
        failed = fail(store, failing, 10.0)
        before = store.snapshot(20.0)
        assert [job.id for job in before.held] == ["j2", "j3", "j4"]
        again = reopen(store)
        assert again.snapshot(20.0) == before
        assert again.snapshot(110.0).jobs == (first, failed)
        do(again, c.CancelJobs((first.id,)), 21.0)
        assert [job.id for job in again.snapshot(21.0).jobs] == [waits.id]
        once_more = reopen(again)
        assert [job.waits_for for job in once_more.snapshot(21.0).held] == [(), ("j2", "j3")]
        do(once_more, c.CancelJobs((waits.id,)), 22.0)
        assert once_more.get_job("j4").message == "never started: j2 had to succeed first, and was cancelled"

"""What every store must do, whatever it is made of. Each implementation's test module inherits these classes.

The class that inherits provides the fixtures `store` (open and empty) and, for DurableContract, `reopen`.
"""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.job import JobState
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import MAX_AMOUNT
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from tests.store.cluster import FLAVOR, QUEUE, WAITS, AnyStore, Reopen, commit, do, set_up, spec, start, submit
from tests.store.cluster import summary as summary_of
from tests.store.contract_commands import CommandContract
from tests.store.contract_held import DurableHeldContract, HeldContract
from tests.store.contract_policies import DurablePolicyContract, PolicyContract
from tests.store.contract_reads import ReadContract
from tests.store.contract_rounds import RoundContract


class StoreContract(CommandContract, RoundContract, ReadContract, PolicyContract, HeldContract):
    """All of it."""


class DurableContract(StoreContract, DurablePolicyContract, DurableHeldContract):
    """What must be the same after closing and opening again."""

    def test_everything_is_the_same_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        quotas = (Quota("a100", "cpu", 3000, 0, 3000), Quota("h100", "memory", MAX_AMOUNT, lending_limit=1))
        do(store, c.CreateQueue(Queue(f"{QUEUE}-2", 0.1, False, 7, -5, quotas, Discipline.FIFO)))
        kinds = {0: replace(spec(), job_class="kind", expected_duration_seconds=60.0, deadline=1e9)}
        jobs = submit(store, *(kinds.get(index, spec(name=f"job {index}")) for index in range(6)))
        do(store, c.UpdateJobs((c.JobUpdate(jobs[0].id, weight=0.3, priority_class="high"),)))
        commit(store, start(jobs[0], "n0"), start(jobs[1], "n1"), waiting={jobs[2].id: WAITS})
        do(store, c.ReportProgress(jobs[0].id, 1.5))
        assert [estimate.name for estimate in store.snapshot(9.0).estimates] == [(QUEUE, "kind", FLAVOR, 1)]
        do(store, c.CancelJobs((jobs[3].id, jobs[1].id), "enough"))
        memory = Memory.of(5.0, {1: 0.1, 3: -7.0}, {1: -1.0 / 3.0}, {("a100", "cpu"): 2.0 / 3.0})
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

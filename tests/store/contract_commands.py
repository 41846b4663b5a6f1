"""What every store must do with commands; see `contract`."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from allocator.domain.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.intake import commands as c
from tests.store.cluster import QUEUE, AnyStore, do, node, set_up, spec, submit


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

    def test_what_can_never_run_is_judged_by_the_nodes_that_are_known_by_then(self, store: AnyStore) -> None:
        """Also those that came, and went, with the commands just before."""
        set_up(store)
        for known in store.nodes():
            do(store, c.LoseNode(known.name))
            do(store, c.RemoveNode(known.name))
        anything = c.SubmitJobs((spec(),), feasible_only=True)
        futures = [
            store.execute(anything, 1.0),
            store.execute(c.RegisterNode(replace(node("odd"), flavor="odd")), 1.0),
            store.execute(anything, 1.0),
            store.execute(c.LoseNode("odd"), 1.0),
            store.execute(c.RemoveNode("odd"), 1.0),
            store.execute(anything, 1.0),
        ]
        answers = [future.result(timeout=60) for future in futures]
        assert [type(answers[index][0]) for index in (0, 2, 5)] == [Job, FailedPrecondition, Job]

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

    def test_quotas_are_kept_sorted_and_replaced_together(self, store: AnyStore) -> None:
        a100, h100 = Quota("a100", "gpu", 8000), Quota("h100", "gpu", 16_000, 8000, 0)
        made = do(store, c.CreateQueue(Queue("a", quotas=(h100, a100), priority=2)))
        assert made.quotas == (a100, h100)
        assert store.get_queue("a") == made == store.snapshot(1.0).queues[0]
        heavier = do(store, c.UpdateQueue("a", weight=2.0, discipline=Discipline.FIFO))
        assert heavier == Queue("a", 2.0, priority=2, quotas=(a100, h100), discipline=Discipline.FIFO)
        memory = Quota("a100", "memory", 7, lending_limit=7)
        assert do(store, c.UpdateQueue("a", quotas=(memory, a100))).quotas == (a100, memory)
        revision = store.current_revision()
        do(store, c.UpdateQueue("a", quotas=(memory, a100), discipline=Discipline.FIFO, priority=2))
        assert store.current_revision() == revision
        assert do(store, c.UpdateQueue("a", quotas=())).quotas == () == store.get_queue("a").quotas
        with pytest.raises(InvalidInput, match="quotas"):
            do(store, c.UpdateQueue("a", weight=3.0, quotas=(memory, memory)))
        assert store.get_queue("a").weight == 2.0

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
        name = 'quote " backslash \\ umlaut ü emoji 🙂'
        message = f"{name} nul \0 line \n"
        (job,) = submit(store, spec(name=name))
        do(store, c.CancelJobs((job.id,), message))
        found = store.get_job(job.id)
        assert (found.spec.name, found.message) == (name, message)

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

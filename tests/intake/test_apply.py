"""What every command answers and changes, through a store, as rpc and replays use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.errors import (
    AllocatorError,
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ResourceExhausted,
)
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Epoch, Placement, ReplicaPlacement
from allocator.domain.plan import Plan, Start
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from tests.builders import configuration, node, spec


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    execute(store, c.CreateQueue(Queue("q")))
    execute(store, c.RegisterNode(node()))
    return store


def execute(store: MemoryStore, command: c.Command, now: float = 10.0) -> Any:
    return store.execute(command, now).result(timeout=60)


def submit(store: MemoryStore, *specs: Any, request_id: str = "", now: float = 10.0) -> tuple[c.ItemResult, ...]:
    answers: tuple[c.ItemResult, ...] = execute(store, c.SubmitJobs(specs, request_id), now)
    return answers


def admitted(store: MemoryStore, **fields: Any) -> Job:
    (job,) = submit(store, spec("q", **fields))
    assert isinstance(job, Job)
    return job


def running(store: MemoryStore, replicas: int = 1) -> Job:
    (job,) = submit(store, spec("q", configuration(replicas=replicas)))
    assert isinstance(job, Job)
    places = tuple(ReplicaPlacement("n1", (gpu,)) for gpu in range(replicas))
    snapshot = store.snapshot(11.0)
    plan = Plan(snapshot.revision, snapshot.round, (Start(Placement(job.id, 0, places)),), (), ())
    assert not store.commit(plan, 11.0).rejected
    return current(store, job)


def current(store: MemoryStore, job: Job) -> Job:
    return store.get_job(job.id)


class TestSubmit:
    def test_admits_in_order_with_growing_sequence(self, store: MemoryStore) -> None:
        first, second = submit(store, spec("q"), spec("q"), now=12.5)
        assert isinstance(first, Job)
        assert isinstance(second, Job)
        assert (first.state, first.submit_time, second.sequence) == (JobState.PENDING, 12.5, first.sequence + 1)

    def test_one_bad_item_spoils_no_other(self, store: MemoryStore) -> None:
        good, unknown, wrong, also_good = submit(
            store, spec("q"), spec("nowhere"), spec("q", weight=-1.0), spec("q", name="x")
        )
        assert isinstance(good, Job)
        assert isinstance(unknown, NotFound)
        assert isinstance(wrong, InvalidInput)
        assert [v.field for v in wrong.violations] == ["weight"]
        assert isinstance(also_good, Job)
        assert [job.id for job in store.snapshot(11.0).jobs] == [good.id, also_good.id]

    def test_same_request_same_answer(self, store: MemoryStore) -> None:
        specs = (spec("q"), spec("nowhere"), spec("q", weight=-1.0))
        first = submit(store, *specs, request_id="r1")
        again = submit(store, *specs, request_id="r1", now=99.0)
        assert [str(a) if isinstance(a, AllocatorError) else a.id for a in first] == [
            str(a) if isinstance(a, AllocatorError) else a.id for a in again
        ]
        assert len(store.snapshot(100.0).jobs) == 1

    def test_same_request_other_body(self, store: MemoryStore) -> None:
        submit(store, spec("q"), request_id="r1")
        with pytest.raises(AlreadyExists, match="used before with other jobs"):
            submit(store, spec("q", name="other"), request_id="r1")

    def test_the_body_counts_rather_than_what_was_understood_of_it(self, store: MemoryStore) -> None:
        one = c.SubmitJobs((spec("q"), InvalidInput.of("weight", "no")), "r1", "body 1")
        first = execute(store, one)
        again = execute(store, one, 99.0)
        assert [type(answer) for answer in first] == [type(answer) for answer in again] == [Job, InvalidInput]
        assert [v.field for v in again[1].violations] == ["weight"]
        for other in (replace(one, body="body 2"), replace(one, body=""), c.SubmitJobs((spec("q"),), "r1")):
            with pytest.raises(AlreadyExists):
                execute(store, other)

    def test_a_request_of_refusals_only_is_remembered_too(self, store: MemoryStore) -> None:
        bad = c.SubmitJobs((InvalidInput.of("queue", "must name a queue"),), "r1", "body 1")
        assert [str(answer) for answer in execute(store, bad)] == [str(answer) for answer in execute(store, bad)]
        with pytest.raises(AlreadyExists):
            execute(store, replace(bad, body="body 2"))
        submit(store, spec("nowhere"), request_id="r2")
        execute(store, c.CreateQueue(Queue("nowhere")))
        assert isinstance(submit(store, spec("nowhere"), request_id="r2")[0], NotFound)

    def test_what_was_refused_for_now_is_tried_again_if_nothing_was_admitted(self, store: MemoryStore) -> None:
        execute(store, c.UpdateQueue("q", max_live_jobs=0))
        specs = (spec("q"), spec("nowhere"), spec("q"))
        refused = submit(store, *specs, request_id="r1")
        assert [type(answer) for answer in refused] == [ResourceExhausted, NotFound, ResourceExhausted]
        execute(store, c.UpdateQueue("q", max_live_jobs=1))
        admitted = submit(store, *specs, request_id="r1")
        assert [type(answer) for answer in admitted] == [Job, NotFound, ResourceExhausted]
        execute(store, c.UpdateQueue("q", max_live_jobs=9))
        again = submit(store, *specs, request_id="r1")
        assert [str(answer) for answer in again[1:]] == [str(answer) for answer in admitted[1:]]
        assert isinstance(again[0], Job)
        assert len(store.snapshot(11.0).jobs) == 1

    def test_cordoned_queue(self, store: MemoryStore) -> None:
        execute(store, c.CordonQueue("q", cordoned=True))
        (refused,) = submit(store, spec("q"))
        assert isinstance(refused, FailedPrecondition)
        execute(store, c.CordonQueue("q", cordoned=False))
        assert isinstance(submit(store, spec("q"))[0], Job)

    def test_queue_with_children_takes_no_jobs(self, store: MemoryStore) -> None:
        execute(store, c.CreateQueue(Queue("q/below")))
        (refused,) = submit(store, spec("q"))
        assert isinstance(refused, FailedPrecondition)

    def test_bound_on_live_jobs_counts_the_batch(self, store: MemoryStore) -> None:
        execute(store, c.UpdateQueue("q", max_live_jobs=2))
        answers = submit(store, spec("q"), spec("q"), spec("q"))
        assert [type(answer) for answer in answers] == [Job, Job, ResourceExhausted]
        execute(store, c.UpdateQueue("q", clear_max_live_jobs=True))
        assert isinstance(submit(store, spec("q"))[0], Job)

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (spec("q", configuration(replicas=0)), "configurations[0].replicas"),
            (spec("q", configuration(throughput=float("nan"))), "configurations[0].throughput"),
            (spec("q", configuration(throughput=0.0)), "configurations"),
            (spec("q", configuration(gpu=1.5)), "configurations[0].demand.gpu_millis"),
            (spec("q", configuration(cpu=0, gpu=0)), "configurations[0].demand"),
            (spec("q", configuration(cpu=-1)), "configurations[0].demand.cpu_millicores"),
            (spec("q", configuration(), configuration()), "configurations[1]"),
            (replace(spec("q"), configurations=()), "configurations"),
            (spec("q", priority_class="urgent"), "priority_class"),
            (spec("q", restart_cost_seconds=-1.0), "restart_cost_seconds"),
            (spec("q", expected_duration_seconds=0.0), "expected_duration_seconds"),
            (spec("q", labels=(("", "x"),)), "labels['']"),
            (spec("", configuration()), "queue"),
        ],
    )
    def test_names_the_wrong_field(self, store: MemoryStore, bad: Any, field: str) -> None:
        (refused,) = submit(store, bad)
        assert isinstance(refused, InvalidInput)
        assert field in [violation.field for violation in refused.violations]


class TestCancelAndUpdate:
    def test_cancel_pending_running_unknown_and_twice(self, store: MemoryStore) -> None:
        waiting, runs = admitted(store), running(store)
        one, two, unknown, again = execute(store, c.CancelJobs((waiting.id, runs.id, "j999", waiting.id), "enough"))
        assert (one.state, one.message, one.end_time) == (JobState.CANCELLED, "enough", 10.0)
        assert (two.state, two.allocation) == (JobState.CANCELLED, None)
        assert isinstance(unknown, NotFound)
        assert again.state is JobState.CANCELLED
        assert store.snapshot(12.0).jobs == ()

    def test_cancel_what_has_ended(self, store: MemoryStore) -> None:
        job = running(store)
        assert job.allocation is not None
        report = c.ReplicaReport(job.id, 0, job.allocation.epoch, c.ReplicaState.SUCCEEDED)
        execute(store, c.Heartbeat("n1", (report,)))
        (refused,) = execute(store, c.CancelJobs((job.id,)))
        assert isinstance(refused, FailedPrecondition)

    @pytest.mark.parametrize(
        ("end", "words"),
        [
            (c.ReplicaState.SUCCEEDED, "has already succeeded; "),
            (c.ReplicaState.FAILED, "has already failed; "),
            (None, "has already been cancelled; "),
        ],
    )
    def test_refusals_say_how_it_ended(self, store: MemoryStore, end: c.ReplicaState | None, words: str) -> None:
        job = running(store)
        assert job.allocation is not None
        if end is None:
            execute(store, c.CancelJobs((job.id,)))
        else:
            execute(store, c.Heartbeat("n1", (c.ReplicaReport(job.id, 0, job.allocation.epoch, end),)))
            (refused,) = execute(store, c.CancelJobs((job.id,)))
            assert str(refused) == f"job {job.id!r}: {words}nothing to cancel"
        (refused,) = execute(store, c.UpdateJobs((c.JobUpdate(job.id, weight=2.0),)))
        assert str(refused) == f"job {job.id!r}: {words}only live jobs can be updated"
        with pytest.raises(FailedPrecondition, match=f"{words}only a running job makes progress"):
            execute(store, c.ReportProgress(job.id, 1.0))

    def test_update_weight_and_priority(self, store: MemoryStore) -> None:
        job = admitted(store)
        updates = (c.JobUpdate(job.id, weight=3.0), c.JobUpdate(job.id, priority_class="high"), c.JobUpdate("j9"))
        _, second, unknown = execute(store, c.UpdateJobs(updates))
        assert (second.spec.weight, second.priority) == (3.0, 100)
        assert isinstance(unknown, NotFound)
        assert current(store, job).spec.weight == 3.0

    def test_update_to_nonsense(self, store: MemoryStore) -> None:
        job = admitted(store)
        (refused,) = execute(store, c.UpdateJobs((c.JobUpdate(job.id, weight=0.0),)))
        assert isinstance(refused, InvalidInput)
        assert current(store, job).spec.weight == 1.0


class TestProgress:
    def test_measurement_replaces_the_declared_throughput(self, store: MemoryStore) -> None:
        job = running(store)
        execute(store, c.ReportProgress(job.id, 2.5))
        after = current(store, job)
        assert after.throughput(after.spec.configurations[0]) == 2.5

    def test_about_an_earlier_placement(self, store: MemoryStore) -> None:
        job = running(store)
        with pytest.raises(FailedPrecondition, match="runs since epoch"):
            execute(store, c.ReportProgress(job.id, 2.5, Epoch(0, 0)))

    def test_that_would_lead_another_configuration_out_of_bounds(self, store: MemoryStore) -> None:
        ways = configuration(throughput=1.0), configuration(replicas=2, throughput=1e10)
        (waiting,) = submit(store, spec("q", *ways))
        assert isinstance(waiting, Job)
        start = Start(Placement(waiting.id, 0, (ReplicaPlacement("n1", (0,)),)))
        snapshot = store.snapshot(11.0)
        assert not store.commit(Plan(snapshot.revision, snapshot.round, (start,), (), ()), 11.0).rejected
        job = current(store, waiting)
        with pytest.raises(
            InvalidInput, match=r"throughput: is too far .* configurations\[1\] would count with 1e\+13"
        ):
            execute(store, c.ReportProgress(job.id, 1e3))
        assert current(store, job) == job
        execute(store, c.ReportProgress(job.id, 1e2))
        assert current(store, job).throughput(ways[1]) == 1e12

    @pytest.mark.parametrize("throughput", [0.0, -1.0, 1e-300, 1e300, float("inf"), float("nan")])
    def test_not_a_speed(self, store: MemoryStore, throughput: float) -> None:
        job = running(store)
        with pytest.raises(InvalidInput, match="throughput"):
            execute(store, c.ReportProgress(job.id, throughput))

    def test_only_of_running_jobs(self, store: MemoryStore) -> None:
        with pytest.raises(FailedPrecondition, match="only a running job"):
            execute(store, c.ReportProgress(admitted(store).id, 1.0))


class TestHeartbeat:
    def test_job_succeeds_with_its_last_replica(self, store: MemoryStore) -> None:
        job = running(store, replicas=2)
        assert job.allocation is not None
        epoch = job.allocation.epoch
        execute(store, c.Heartbeat("n1", (c.ReplicaReport(job.id, 0, epoch, c.ReplicaState.SUCCEEDED),)))
        assert current(store, job).state is JobState.RUNNING
        execute(store, c.Heartbeat("n1", (c.ReplicaReport(job.id, 1, epoch, c.ReplicaState.SUCCEEDED),)), 20.0)
        after = current(store, job)
        assert (after.state, after.end_time, after.allocation) == (JobState.SUCCEEDED, 20.0, None)

    def test_job_fails_with_its_first_failed_replica(self, store: MemoryStore) -> None:
        job = running(store, replicas=2)
        assert job.allocation is not None
        report = c.ReplicaReport(job.id, 1, job.allocation.epoch, c.ReplicaState.FAILED, "exit code 3")
        execute(store, c.Heartbeat("n1", (report,)))
        after = current(store, job)
        assert after.state is JobState.FAILED
        assert after.message == "replica 1 failed on node n1: exit code 3"

    def test_what_a_node_in_trouble_has_not_begun_waits_for_another_place(self, store: MemoryStore) -> None:
        job = running(store, replicas=2)
        assert job.allocation is not None
        report = c.ReplicaReport(job.id, 1, job.allocation.epoch, c.ReplicaState.NOT_BEGUN)
        execute(store, c.Heartbeat("n1", (report,)), 20.0)
        assert current(store, job).state is JobState.RUNNING, "it would be placed there again at once"
        execute(store, c.RegisterNode(replace(node(), trouble="No space left on device")))
        execute(store, c.Heartbeat("n1", (report,)), 20.0)
        after = current(store, job)
        assert (after.state, after.allocation, after.not_before) == (JobState.PENDING, None, None)
        assert (after.failures, after.preemption_count, after.work_done(30.0)) == (0, 0, 0.0)
        execute(store, c.Heartbeat("n1", (report,)), 21.0)
        assert current(store, job) == after

    @pytest.mark.parametrize("what", ["epoch", "node", "replica", "job"])
    def test_reports_about_something_else_change_nothing(self, store: MemoryStore, what: str) -> None:
        job = running(store)
        assert job.allocation is not None
        execute(store, c.RegisterNode(node("n2")))
        report = c.ReplicaReport(
            "j999" if what == "job" else job.id,
            7 if what == "replica" else 0,
            Epoch(0, 0) if what == "epoch" else job.allocation.epoch,
            c.ReplicaState.SUCCEEDED,
        )
        execute(store, c.Heartbeat("n2" if what == "node" else "n1", (report,)))
        assert current(store, job) == job

    def test_brings_a_lost_node_back(self, store: MemoryStore) -> None:
        assert execute(store, c.LoseNode("n1")).health is NodeHealth.LOST
        assert execute(store, c.Heartbeat("n1")).health is NodeHealth.READY

    def test_of_an_unknown_node(self, store: MemoryStore) -> None:
        with pytest.raises(NotFound):
            execute(store, c.Heartbeat("n9"))


class TestNodes:
    def test_registering_again_keeps_the_operators_word(self, store: MemoryStore) -> None:
        execute(store, c.SetNodeAvailability("n1", NodeAvailability.CORDONED))
        again = execute(store, c.RegisterNode(replace(node(), capacity=Resources(cpu_millicores=5))))
        assert again.availability is NodeAvailability.CORDONED
        assert again.capacity.cpu_millicores == 5

    def test_trouble_is_the_engines_and_stops_nobody(self, store: MemoryStore) -> None:
        job = running(store)
        execute(store, c.SetNodeAvailability("n1", NodeAvailability.CORDONED))
        troubled = execute(store, c.RegisterNode(replace(node(), trouble="No space left on device")))
        assert (troubled.trouble, troubled.takes_new_work) == ("No space left on device", False)
        opened = execute(store, c.SetNodeAvailability("n1", NodeAvailability.OPEN))
        assert (opened.trouble, opened.takes_new_work) == ("No space left on device", False)
        assert execute(store, c.RegisterNode(node())).takes_new_work
        assert current(store, job) == job
        with pytest.raises(InvalidInput, match="trouble: must be at most 1024 characters"):
            execute(store, c.RegisterNode(replace(node(), trouble="x" * 1025)))

    def test_taints_are_the_operators_once_the_node_is_known(self, store: MemoryStore) -> None:
        first = execute(store, c.RegisterNode(replace(node("n2"), taints=(("spot", ""),))))
        assert first.taints == (("spot", ""),)
        changed = execute(store, c.TaintNode("n2", (("dedicated", "web"),), ("spot", "unknown")))
        assert changed.taints == (("dedicated", "web"),)
        assert execute(store, c.RegisterNode(replace(node("n2"), taints=(("spot", ""),)))) == changed
        assert execute(store, c.TaintNode("n2", (("dedicated", "web"),))) == changed
        with pytest.raises(InvalidInput, match="taints: must hold at most 16 entries, got 17"):
            execute(store, c.TaintNode("n2", tuple((f"k{number:02}", "") for number in range(16))))

    def test_another_flavor_while_jobs_run(self, store: MemoryStore) -> None:
        running(store)
        with pytest.raises(FailedPrecondition, match="drain it before"):
            execute(store, c.RegisterNode(node(flavor="v100")))

    def test_remove(self, store: MemoryStore) -> None:
        job = running(store)
        with pytest.raises(FailedPrecondition, match="not draining"):
            execute(store, c.RemoveNode("n1"))
        execute(store, c.LoseNode("n1"))
        with pytest.raises(FailedPrecondition, match="still holds 1 job; wait for the next round or cancel it"):
            execute(store, c.RemoveNode("n1"))
        execute(store, c.CancelJobs((job.id,)))
        execute(store, c.RemoveNode("n1"))
        assert store.snapshot(12.0).nodes == ()

    def test_nothing_at_all_is_no_node(self, store: MemoryStore) -> None:
        with pytest.raises(InvalidInput, match="capacity: must have something"):
            execute(store, c.RegisterNode(node("n3", cpu=0, gpu=0, memory_gib=0)))

    def test_half_a_gpu_is_no_node(self, store: MemoryStore) -> None:
        with pytest.raises(InvalidInput, match="whole GPUs"):
            execute(store, c.RegisterNode(node("n3", gpu=1.5)))


class TestQueues:
    def test_tree(self, store: MemoryStore) -> None:
        with pytest.raises(NotFound):
            execute(store, c.CreateQueue(Queue("a/b")))
        execute(store, c.CreateQueue(Queue("a")))
        execute(store, c.CreateQueue(Queue("a/b", weight=2.0)))
        with pytest.raises(AlreadyExists):
            execute(store, c.CreateQueue(Queue("a/b")))
        with pytest.raises(FailedPrecondition, match="has 1 queue below it; delete that first"):
            execute(store, c.DeleteQueue("a"))
        execute(store, c.CreateQueue(Queue("a/c")))
        with pytest.raises(FailedPrecondition, match="has 2 queues below it; delete those first"):
            execute(store, c.DeleteQueue("a"))
        execute(store, c.DeleteQueue("a/c"))
        execute(store, c.DeleteQueue("a/b"))
        execute(store, c.DeleteQueue("a"))
        assert [queue.name for queue in store.snapshot(1.0).queues] == ["q"]

    def test_no_child_under_a_queue_with_jobs(self, store: MemoryStore) -> None:
        admitted(store)
        with pytest.raises(FailedPrecondition, match="holds 1 live job of its own"):
            execute(store, c.CreateQueue(Queue("q/below")))
        with pytest.raises(FailedPrecondition, match="holds 1 live job; cancel it or let it end first"):
            execute(store, c.DeleteQueue("q"))
        admitted(store)
        with pytest.raises(FailedPrecondition, match="holds 2 live jobs; cancel them or let them end first"):
            execute(store, c.DeleteQueue("q"))

    @pytest.mark.parametrize(
        ("queue", "field"),
        [
            (Queue("Big"), "name"),
            (Queue("a//b"), "name"),
            (Queue("x", weight=0.0), "weight"),
            (Queue("x", weight=float("inf")), "weight"),
            (Queue("x", max_live_jobs=-1), "max_live_jobs"),
            (Queue("x", priority=1_000_001), "priority"),
            (Queue("x", quotas=(Quota("h100", "cpu", 1), Quota("a100", "cpu", -1))), "quotas[1].nominal"),
            (Queue("x", quotas=(Quota("h100", "cpu", 1), Quota("a100", "cpu", 1, None, 2))), "quotas[1].lending_limit"),
            (Queue("x", quotas=(Quota("h100", "gpu", 1500),)), "quotas[0].nominal"),
            (Queue("x", quotas=(Quota("h100", "cpu", 1), Quota("h100", "cpu", 1, 1, 1))), "quotas[1]"),
            (Queue("x", quotas=tuple(Quota(f"f{n}", "cpu", 1) for n in range(257))), "quotas"),
        ],
    )
    def test_names_the_wrong_field(self, store: MemoryStore, queue: Queue, field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            execute(store, c.CreateQueue(queue))
        assert [violation.field for violation in caught.value.violations] == [field]

    def test_refused_update_changes_nothing(self, store: MemoryStore) -> None:
        with pytest.raises(InvalidInput):
            execute(store, c.UpdateQueue("q", weight=-2.0))
        with pytest.raises(InvalidInput, match=r"quotas\[1\]\.borrowing_limit"):
            execute(store, c.UpdateQueue("q", quotas=(Quota("h100", "gpu", 1000), Quota("a100", "gpu", 1000, -1))))
        assert store.snapshot(1.0).queues == (Queue("q"),)

    def test_what_an_update_does_not_name_stays(self, store: MemoryStore) -> None:
        quotas = (Quota("a100", "gpu", 1000), Quota("h100", "gpu", 2000, 0, 0))
        execute(store, c.UpdateQueue("q", 2.0, 7, priority=3, quotas=quotas[::-1], discipline=Discipline.FIFO))
        everything = Queue("q", 2.0, False, 7, 3, quotas, Discipline.FIFO)
        assert execute(store, c.UpdateQueue("q")) == everything
        assert execute(store, c.UpdateQueue("q", priority=0)) == replace(everything, priority=0)
        assert execute(store, c.UpdateQueue("q", quotas=())) == replace(everything, priority=0, quotas=())
        fair = execute(store, c.UpdateQueue("q", discipline=Discipline.FAIR))
        assert fair == Queue("q", 2.0, False, 7)

    def test_quotas_are_for_any_flavor_and_may_exceed_those_above(self, store: MemoryStore) -> None:
        """A flavor may come later, and what is promised twice is shared in proportion."""
        execute(store, c.CreateQueue(Queue("a", quotas=(Quota("not-yet", "gpu", 1000),))))
        below = Queue("a/b", quotas=(Quota("not-yet", "gpu", 9000),))
        assert execute(store, c.CreateQueue(below)) == below
        assert execute(store, c.UpdateQueue("a", quotas=())).quotas == ()

    def test_a_queue_whose_jobs_wait_can_be_given_any_quota_and_any_order(self, store: MemoryStore) -> None:
        held = running(store, replicas=3)
        changed = execute(
            store, c.UpdateQueue("q", quotas=(Quota("a100", "gpu", 0, 0, 0),), discipline=Discipline.FIFO)
        )
        assert changed.discipline is Discipline.FIFO
        assert current(store, held) == held

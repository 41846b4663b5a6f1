"""Applying a policy: all of it in one revision, or none and every reason why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.applied_policy import AppliedPolicy, PolicyDocument
from allocator.domain.errors import FailedPrecondition, InvalidInput
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.policy import Policy
from allocator.domain.priority_class import BUILT_IN, PriorityClass
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from tests.builders import node, resources, spec
from tests.store.cluster import plan, start

CLASSES = (PriorityClass("normal", 0), PriorityClass("serving", 9, preemptible=False))
LIMIT = SideConstraint("l", (Term("gpu", queues=("q",)),), most=1.0)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    execute(store, c.CreateQueue(Queue("q")))
    return store


def execute(store: MemoryStore, command: c.Command, now: float = 10.0) -> Any:
    return store.execute(command, now).result(timeout=60)


def apply(store: MemoryStore, *queues: Queue, policy: Policy | None = None, **more: Any) -> AppliedPolicy:
    unsaid = more.pop("unsaid", frozenset())
    document = PolicyDocument(policy or Policy(), queues, unsaid)
    answer: AppliedPolicy = execute(store, c.ApplyPolicy(document, **more))
    return answer


def refused(store: MemoryStore, *queues: Queue, **more: Any) -> str:
    revision, before = store.current_revision(), store.snapshot(0.0)
    with pytest.raises(FailedPrecondition) as error:
        apply(store, *queues, **more)
    assert (store.current_revision(), store.snapshot(0.0)) == (revision, before)
    return str(error.value)


def submit(store: MemoryStore, queue: str = "q", **fields: Any) -> c.ItemResult:
    answer: c.ItemResult = execute(store, c.SubmitJobs((spec(queue, **fields),)))[0]
    return answer


def test_queues_and_policy_change_in_one_revision(store: MemoryStore) -> None:
    before = store.current_revision()
    quotas = (Quota("b", "gpu", 1000), Quota("a", "gpu", 2000))
    made = apply(store, Queue("q", 3.0, quotas=quotas), Queue("r"), policy=Policy(fairness=2.0), author="me")
    assert (made.version, made.time, made.author, made.policy.fairness) == (1, 10.0, "me", 2.0)
    snapshot = store.snapshot(0.0)
    assert (store.current_revision(), snapshot.revision, snapshot.applied) == (before + 1, before + 1, made)
    assert [(queue.name, queue.weight) for queue in snapshot.queues] == [("q", 3.0), ("r", 1.0)]
    assert snapshot.queues[0].quotas == tuple(sorted(quotas)), "kept sorted"


def test_versions_count_up_and_what_says_nothing_new_is_no_new_one(store: MemoryStore) -> None:
    first = apply(store, Queue("q"), text="one")
    revision = store.current_revision()
    assert apply(store, text="two") is first
    assert store.current_revision() == revision
    assert apply(store, policy=Policy(gap=0.1)).version == 2
    assert apply(store, Queue("q", 2.0), policy=Policy(gap=0.1)).version == 3, "a queue is something new, too"
    assert [each.version for each in store.list_policies()] == [3, 2, 1]
    assert store.get_policy(1) is first


def test_the_expected_version_must_be_in_force(store: MemoryStore) -> None:
    assert apply(store, expected_version=0).version == 1
    told = refused(store, policy=Policy(gap=0.1), expected_version=0)
    assert "version 1 is in force, and not 0" in told
    assert apply(store, policy=Policy(gap=0.1), expected_version=1).version == 2


def test_other_queues_stay_unless_they_are_pruned(store: MemoryStore) -> None:
    execute(store, c.CreateQueue(Queue("old")))
    apply(store, Queue("q"))
    assert [queue.name for queue in store.queues()] == ["old", "q"]
    apply(store, Queue("q"), prune=True, policy=Policy(gap=0.1))
    assert [queue.name for queue in store.queues()] == ["q"]


def test_no_queue_with_live_jobs_is_removed(store: MemoryStore) -> None:
    execute(store, c.CreateQueue(Queue("old")))
    submit(store, "old")
    submit(store, "old")
    assert "queue old cannot be removed: it holds 2 live jobs" in refused(store, Queue("q"), prune=True)
    with pytest.raises(InvalidInput, match="would remove every queue"):
        apply(store, prune=True)


def test_a_class_with_live_jobs_cannot_be_gone(store: MemoryStore) -> None:
    submit(store, priority_class="high")
    assert "priority class high cannot be gone: 1 live job is in it" in refused(
        store, policy=Policy(priority_classes=CLASSES)
    )
    execute(store, c.UpdateJobs((c.JobUpdate("j1", priority_class="normal"),)))
    apply(store, policy=Policy(priority_classes=CLASSES))


def test_jobs_may_be_in_the_classes_of_the_policy_and_in_no_other(store: MemoryStore) -> None:
    assert isinstance(submit(store, priority_class="serving"), InvalidInput)
    apply(store, policy=Policy(priority_classes=CLASSES))
    job = submit(store, priority_class="serving")
    assert isinstance(job, Job)
    wrong = submit(store, priority_class="high")
    assert isinstance(wrong, InvalidInput)
    assert str(wrong) == "priority_class: must be one of normal, serving; got 'high'"
    (answer,) = execute(store, c.UpdateJobs((c.JobUpdate(job.id, priority_class="low"),)))
    assert isinstance(answer, InvalidInput)
    assert isinstance(submit(store, priority_class="NO"), InvalidInput)


def test_a_tree_without_parents_is_refused_with_every_reason(store: MemoryStore) -> None:
    submit(store, "q")
    limit = SideConstraint("l", (Term("gpu", queues=("z",)),), most=1.0)
    told = refused(store, Queue("q/below"), Queue("x/y"), policy=Policy(side_constraints=(limit,)))
    assert "queue x, above queues of the file, does not exist" in told
    assert "queue q holds 1 live job of its own, so no queue can be made below it" in told
    assert "limit l names queue z, which would not exist" in told


def test_queues_stay_open_or_closed_where_the_file_does_not_say(store: MemoryStore) -> None:
    execute(store, c.CordonQueue("q", cordoned=True))
    apply(store, Queue("q", 2.0), unsaid=frozenset({"q"}))
    assert store.get_queue("q").cordoned
    apply(store, Queue("q", 2.0))
    assert not store.get_queue("q").cordoned


def test_what_cannot_mean_anything_is_told_by_field(store: MemoryStore) -> None:
    document = PolicyDocument(Policy(gap=7.0, priority_classes=BUILT_IN[:1]), (Queue("q", -1.0), Queue("q")))
    with pytest.raises(InvalidInput) as error:
        execute(store, c.ApplyPolicy(document, author="\x1b[1m", comment="x" * 5000))
    assert [violation.field for violation in error.value.violations] == [
        "policy.gap", "policy.priority_classes", "queue[0].weight", "queue[1]", "author", "comment",
    ]  # fmt: skip


def test_a_queue_that_a_limit_names_cannot_be_deleted(store: MemoryStore) -> None:
    apply(store, Queue("q"), policy=Policy(side_constraints=(LIMIT,)))
    with pytest.raises(FailedPrecondition, match="named by limit l"):
        execute(store, c.DeleteQueue("q"))
    apply(store, Queue("q"))
    execute(store, c.DeleteQueue("q"))


def test_what_floats_no_node_needs_to_have(store: MemoryStore) -> None:
    execute(store, c.RegisterNode(node()))
    asking = c.SubmitJobs((JobSpec("q", (Configuration("a100", 1, resources(cpu=1, matlab=1)),)),), feasible_only=True)
    (refused_,) = execute(store, asking)
    assert isinstance(refused_, FailedPrecondition)
    apply(store, policy=Policy(floating_resources=("matlab",)))
    (job,) = execute(store, asking)
    assert isinstance(job, Job)


def test_nothing_stops_floating_while_running_jobs_ask_for_it(store: MemoryStore) -> None:
    """No node has it: each of them would be stopped, also those that nobody may stop."""
    floating = Policy(floating_resources=("abaqus", "matlab"))
    apply(store, policy=floating)
    execute(store, c.RegisterNode(node()))
    licensed = Configuration("a100", 1, resources(cpu=1, matlab=1))
    (job,) = execute(store, c.SubmitJobs((JobSpec("q", (licensed,), preemptible=False),)))
    apply(store, policy=Policy(floating_resources=("matlab",)))
    store.commit(replace(plan(store.snapshot(10.0), start(job, "n1")), floating=("matlab",)), 10.0)
    told = refused(store, policy=Policy())
    assert told.endswith(
        "resource matlab cannot stop floating: 1 running job asks for it; cancel or let them end first"
    )
    assert store.get_job(job.id).state is JobState.RUNNING
    execute(store, c.CancelJobs((job.id,)))
    apply(store, policy=Policy())

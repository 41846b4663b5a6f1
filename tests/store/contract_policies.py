"""What every store must do with policies; see `contract`."""

from __future__ import annotations

import math

import pytest

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import FailedPrecondition, NotFound
from allocator.domain.policy import Policy
from allocator.domain.priority_class import PriorityClass
from allocator.domain.queue import Queue
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.intake import commands as c
from tests.store.cluster import QUEUE, AnyStore, Reopen, do, set_up, spec, submit

POLICY = Policy(
    fairness=math.inf,
    gap=0.1 + 0.2,
    aging_seconds=1e-3,
    side_constraints=(
        SideConstraint("power", (Term("gpu", 1 / 3, ("a100",), (QUEUE,), (("a", 'b"\\'),), ()),), most=0.1, unit="kW"),
        SideConstraint("part", (Term("cpu"),), most_part=1 / 3),
        SideConstraint("matlab", (Term("matlab"),), most=3.0),
    ),
    floating_resources=("matlab",),
    priority_classes=(PriorityClass("normal", 0), PriorityClass("serving", 7, preemptible=False)),
)


def applied(text: str = "", policy: Policy = POLICY, *queues: Queue) -> c.ApplyPolicy:
    return c.ApplyPolicy(PolicyDocument(policy, queues), text, author="ä", comment="why\nnot\0")


class PolicyContract:
    """One is in force, all that ever were are kept, and queues change with it."""

    def test_none_is_in_force_at_first(self, store: AnyStore) -> None:
        assert store.applied_policy() is None
        assert store.snapshot(1.0).applied is None
        assert store.list_policies() == ()
        with pytest.raises(NotFound):
            store.get_policy(1)

    def test_what_is_applied_is_in_force_with_its_queues_at_one_revision(self, store: AnyStore) -> None:
        set_up(store)
        before = store.current_revision()
        made = do(store, applied("text", POLICY, Queue("new", 3.0)), 7.0)
        snapshot = store.snapshot(9.0)
        assert (made.version, made.time, made.policy, made.text) == (1, 7.0, POLICY, "text")
        assert (snapshot.applied, store.applied_policy(), store.get_policy(1)) == (made, made, made)
        assert (snapshot.revision, store.current_revision()) == (before + 1, before + 1)
        assert [queue.name for queue in snapshot.queues] == ["new", QUEUE]

    def test_every_policy_is_kept_also_of_one_batch(self, store: AnyStore) -> None:
        set_up(store)
        futures = [store.execute(applied("", Policy(gap=gap)), 1.0) for gap in (0.1, 0.2, 0.3)]
        assert [future.result(timeout=60).version for future in futures] == [1, 2, 3]
        assert [each.policy.gap for each in store.list_policies(2)] == [0.3, 0.2]
        assert store.get_policy(1).policy.gap == 0.1
        for version in (0, 4, -1, 10**30):
            with pytest.raises(NotFound):
                store.get_policy(version)

    def test_a_refused_policy_changes_nothing(self, store: AnyStore) -> None:
        set_up(store)
        submit(store, spec())
        before, revision = store.snapshot(1.0), store.current_revision()
        with pytest.raises(FailedPrecondition):
            do(store, c.ApplyPolicy(PolicyDocument(Policy(), (Queue("new"),)), prune=True))
        assert (store.snapshot(1.0), store.current_revision()) == (before, revision)


class DurablePolicyContract(PolicyContract):
    """The same after closing and opening again."""

    def test_a_policy_is_the_same_after_reopening(self, store: AnyStore, reopen: Reopen) -> None:
        set_up(store)
        first = do(store, applied("first", Policy(gap=0.1)))
        second = do(store, applied("second", POLICY, Queue("new")))
        before = store.snapshot(3.0)
        again = reopen(store)
        assert again.snapshot(3.0) == before
        assert (again.applied_policy(), again.list_policies()) == (second, (second, first))
        assert do(again, applied("third", Policy())).version == 3

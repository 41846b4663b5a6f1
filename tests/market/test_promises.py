"""Promises to jobs: kept out of their queue's own money, and given up by and by where that does not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.formulation.problem import Floats
from allocator.market.clearing import Cleared
from allocator.market.water import pour
from tests.market.markets import GPU, Want, Way, cleared, gpus, market, used

MANY = 100


def promised(
    queues: list[Queue], wants: list[Want], capacity: object, least: list[float], **changes: object
) -> tuple[Cleared, Floats]:
    """The market, and the utility of each row's jobs."""
    opened = market(queues, wants, capacity, **changes)  # type: ignore[arg-type]
    opened = replace(opened, claims=replace(opened.claims, least=np.array(least)))
    found = cleared(opened)
    return found, found.problem.utilities(found.solution.shares)


def test_a_promise_is_paid_by_its_own_queue() -> None:
    """Two of four GPUs are queue a's: its ten jobs would have a fifth of one each."""
    wants = [gpus("a"), gpus("a", count=9), gpus("b", count=MANY)]
    found, utility = promised([Queue("a"), Queue("b")], wants, 4, [0.8, 0, 0])
    assert utility == pytest.approx([0.8, 1.2 / 9, 0.02], abs=1e-3)
    assert used(found, "b")[0, 0] == pytest.approx(2)


def test_who_has_more_anyway_does_not_notice() -> None:
    wants = [gpus("a"), gpus("a", count=3)]
    _, utility = promised([Queue("a")], wants, 2, [0.3, 0])
    assert utility == pytest.approx([0.5, 0.5], abs=1e-3)


def test_of_promises_beyond_the_queues_money_small_ones_hold() -> None:
    """One GPU is the queue's, 0.3 + 1.0 of one are promised: 0.7 are left for the second, 10/7 of which it would need,
    so it gets (2 - 10/7) 0.7 = 0.4 of them before everybody else.
    """
    wants = [gpus("a"), gpus("a"), gpus("a", count=5), gpus("b", count=MANY)]
    found, utility = promised([Queue("a"), Queue("b")], wants, 2, [0.3, 1.0, 0, 0])
    assert utility[:3] == pytest.approx([0.3, 0.4, 0.06], abs=2e-3)
    assert used(found, "b")[0, 0] == pytest.approx(1, abs=1e-3)


def test_what_cannot_hold_by_far_costs_siblings_nothing() -> None:
    """Three jobs are promised all their time on one GPU. Their sibling cannot use it, and what it wants is elsewhere:
    a quarter of their queue's money is its own, beside the other queue's half.
    """
    wants = [gpus("a"), gpus("a"), gpus("a"), Want("a", (Way(1, (1.0,)),)), Want("b", (Way(1, (1.0,)),), count=MANY)]
    _, utility = promised([Queue("a"), Queue("b")], wants, [[1.0], [1.0]], [1.0, 1.0, 1.0, 0, 0])
    assert utility[:3] == pytest.approx([1 / 3] * 3, abs=1e-3)
    assert utility[3] == pytest.approx((1 / 8) / (1 / 8 + 1 / 2), abs=1e-3)


def test_in_a_queue_that_serves_in_order_a_promise_comes_before_the_first() -> None:
    wants = [gpus("a") for _ in range(4)]
    _, utility = promised([Queue("a", discipline=Discipline.FIFO)], wants, 2, [0, 0, 0, 0.5])
    assert utility == pytest.approx([1, 0.5, 0, 0.5], abs=0.01)


def test_a_promise_does_not_break_a_guarantee() -> None:
    queues = [Queue("a", 9.0), Queue("b", quotas=(Quota("f0", "gpu", 3 * GPU),))]
    wants = [gpus("a", count=4), gpus("b", count=MANY)]
    found, utility = promised(queues, wants, 4, [1.0, 0])
    assert used(found, "b")[0, 0] == pytest.approx(3, abs=1e-3)
    assert utility[0] == pytest.approx(0.25, abs=1e-3)


def test_a_slower_flavor_may_keep_it_if_that_is_cheaper() -> None:
    """Half of the fast flavor's work is promised: the slow one, all the time, does exactly that."""
    both = (Way(0, (1.0,), 2.0), Way(1, (1.0,), 1.0))
    wants = [Want("a", both), Want("a", both, count=9)]
    _, utility = promised([Queue("a")], wants, [[2.0], [2.0]], [0.5, 0])
    assert utility[0] == pytest.approx(0.5, abs=5e-3)
    assert utility[0] + 9 * utility[1] == pytest.approx(3, rel=0.01)  # all is used


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.data())
def test_what_a_queue_can_pay_for_is_kept_and_no_other_queue_loses(data: st.DataObject) -> None:
    """Over random trees and flavors; of a single flavor, what each row gets before the others is known."""
    flavors = data.draw(st.integers(1, 3))
    speeds = st.lists(st.floats(0.3, 3.0), min_size=flavors, max_size=flavors)
    queues = [Queue("a"), Queue("a/x"), Queue("a/y", 2.0), Queue("b")]
    wants, least = [], []
    for queue in ("a/x", "a/y", "b"):
        for _ in range(data.draw(st.integers(1, 3))):
            count = data.draw(st.integers(1, 6))
            ways = tuple(Way(f, (1.0,), speed) for f, speed in enumerate(data.draw(speeds)))
            wants.append(Want(queue, ways, count=count))
            least.append(data.draw(st.sampled_from([0.0, 0.0, 0.3, 0.6, 1.0])))
    capacity = [[data.draw(st.floats(0.5, 4.0))] for _ in range(flavors)]
    plain, before = promised(queues, wants, capacity, [0.0] * len(wants))
    found, after = promised(queues, wants, capacity, least)
    assert (before >= -1e-9).all()
    if flavors > 1:
        return
    for queue in ("a/x", "a/y", "b"):
        assert used(found, queue) == pytest.approx(used(plain, queue), rel=0.01, abs=0.01)
        rows = np.array([row for row, want in enumerate(wants) if want.queue == queue and least[row]], dtype=np.int64)
        if not rows.size:
            continue
        many = np.array([wants[row].count for row in rows], dtype=float)
        asked, mine = many * np.array(least)[rows], used(found, queue)[0]
        can = pour(np.zeros(rows.size, dtype=np.int64), many, np.zeros(rows.size), asked, mine)
        first = np.where(can < asked, can * np.clip(2 - asked / can, 0, 1), asked)
        assert (after[rows] * many >= first - 0.02).all()

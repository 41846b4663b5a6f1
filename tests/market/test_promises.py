"""Promises to jobs: kept out of their queue's own money, lowered in proportion where that does not do."""

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


def test_promises_beyond_the_queues_money_are_lowered_in_proportion() -> None:
    """One GPU is the queue's, 0.8 + 1.0 of one are promised."""
    wants = [gpus("a"), gpus("a"), gpus("a", count=5), gpus("b", count=MANY)]
    found, utility = promised([Queue("a"), Queue("b")], wants, 2, [0.8, 1.0, 0, 0])
    assert utility[:2] == pytest.approx([0.8 / 1.8, 1.0 / 1.8], abs=2e-3)
    assert utility[2] < 0.01
    assert used(found, "b")[0, 0] == pytest.approx(1, abs=1e-3)


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
def test_what_a_queue_can_pay_for_is_kept_and_no_sibling_queue_loses(data: st.DataObject) -> None:
    """Over random trees and flavors. What a queue can pay for: its promises are worth at most its part by weight even
    at the price of its best configuration."""
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
    for queue in ("a/x", "a/y", "b"):
        rows = [row for row, want in enumerate(wants) if want.queue == queue]
        ratios = [after[row] / least[row] for row in rows if least[row] > 0]
        if not ratios or min(ratios) >= 0.98:
            continue
        # Not all kept: then all are lowered alike, and nobody else of the queue has anything to speak of.
        short = [ratio for ratio in ratios if ratio < 0.98]
        assert max(short) - min(short) < 0.03
        assert all(after[row] < 0.03 for row in rows if not least[row])
    if flavors == 1:
        for queue in ("a/x", "a/y", "b"):
            assert used(found, queue) == pytest.approx(used(plain, queue), rel=0.01, abs=0.01)
    assert (before >= -1e-9).all()

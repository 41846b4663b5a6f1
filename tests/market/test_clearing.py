"""Small markets whose answers can be worked out by hand: weights, siblings, quotas, classes, service in order."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.formulation.objective import objective
from allocator.market.limited import Limited
from allocator.market.limits import KEPT, Bounds
from allocator.solvers.solution import Status, WarmStart
from tests.market.markets import GPU, Want, Way, cleared, gpus, market, solver, used


def quota(nominal: int, borrow: int | None = None, lend: int | None = None, flavor: str = "f0") -> Quota:
    return Quota(flavor, "gpu", nominal * GPU, *(None if limit is None else limit * GPU for limit in (borrow, lend)))


def got(queues: list[Queue], wants: list[Want], capacity: float, **changes: object) -> dict[str, float]:
    """GPUs by queue."""
    found = cleared(market(queues, wants, capacity, **changes))  # type: ignore[arg-type]
    assert found.solution.status is Status.OPTIMAL
    return {
        queue.name: round(float(used(found, queue.name)[0, 0]), 3) for queue in queues if queue.name in found.tree.names
    }


MANY = 100


def test_queues_that_want_more_than_there_is_share_by_weight() -> None:
    assert got([Queue("a"), Queue("b", 3.0)], [gpus("a", count=MANY), gpus("b", count=MANY)], 16) == {"a": 4, "b": 12}


def test_what_a_satisfied_queue_leaves_goes_to_its_siblings_first() -> None:
    tree = [Queue("r"), Queue("r/x"), Queue("r/y"), Queue("s")]
    wants = [gpus("r/x", count=2), gpus("r/y", count=MANY), gpus("s", count=MANY)]
    assert got(tree, wants, 12) == {"r": 6, "r/x": 2, "r/y": 4, "s": 6}


def test_what_no_sibling_can_use_goes_up() -> None:
    tree = [Queue("r"), Queue("r/x"), Queue("r/y"), Queue("s")]
    wants = [gpus("r/x", count=2), gpus("r/y", count=1), gpus("s", count=MANY)]
    assert got(tree, wants, 12) == {"r": 3, "r/x": 2, "r/y": 1, "s": 9}


def test_a_nominal_quota_is_guaranteed_when_it_is_demanded() -> None:
    queues = [Queue("a", quotas=(quota(8),)), Queue("b", 3.0)]
    assert got(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16) == {"a": 8, "b": 8}


def test_an_idle_quota_is_lent() -> None:
    queues = [Queue("a", quotas=(quota(8),)), Queue("b", 3.0)]
    assert got(queues, [gpus("a", count=2), gpus("b", count=MANY)], 16) == {"a": 2, "b": 14}


def test_a_guarantee_is_not_a_limit() -> None:
    queues = [Queue("a", 3.0, quotas=(quota(2),)), Queue("b")]
    assert got(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16) == {"a": 12, "b": 4}


def test_nobody_uses_what_a_queue_does_not_lend() -> None:
    queues = [Queue("a", quotas=(quota(8, lend=2),)), Queue("b", 3.0)]
    found = cleared(market(queues, [gpus("a", count=2), gpus("b", count=MANY)], 16))
    assert used(found, "a")[0, 0] == pytest.approx(2)
    assert used(found, "b")[0, 0] == pytest.approx(10)
    assert found.limit_prices[KEPT + "a", "f0", "gpu"] > 0


def test_a_queue_borrows_up_to_its_limit_even_when_it_is_alone() -> None:
    assert got([Queue("a", quotas=(quota(4, borrow=2),))], [gpus("a", count=MANY)], 16) == {"a": 6}


def test_what_a_limit_keeps_a_queue_from_goes_to_the_others() -> None:
    queues = [Queue("a", 5.0, quotas=(quota(4, borrow=2),)), Queue("b"), Queue("c", 4.0)]
    wants = [gpus(name, count=MANY) for name in "abc"]
    assert got(queues, wants, 16) == {"a": 6, "b": 2, "c": 8}


def test_an_outer_limit_holds_for_everybody_below() -> None:
    queues = [Queue("r", 9.0, quotas=(quota(0, borrow=6),)), Queue("r/x", 2.0), Queue("r/y"), Queue("s")]
    wants = [gpus(name, count=MANY) for name in ("r/x", "r/y", "s")]
    assert got(queues, wants, 16) == {"r": 6, "r/x": 4, "r/y": 2, "s": 10}


def test_guarantees_above_the_capacity_are_broken_in_proportion() -> None:
    queues = [Queue("a", quotas=(quota(20),)), Queue("b", quotas=(quota(12),))]
    assert got(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16) == {"a": 10, "b": 6}


def test_a_higher_class_is_served_first() -> None:
    wants = [gpus("a", count=4, priority=100), gpus("a", count=MANY), gpus("b", count=MANY)]
    found = cleared(market([Queue("a"), Queue("b")], wants, 16))
    assert found.solution.shares[0, 0] == pytest.approx(1.0)
    assert used(found, "a")[0, 0] == pytest.approx(8.0, abs=1e-3), "the class is part of what its queue gets"
    assert [stage.priority for stage in found.stages] == [100, 0]


def test_a_lower_class_gets_nothing_that_a_higher_one_could_use() -> None:
    wants = [gpus("a", count=MANY, priority=100), gpus("b", count=MANY)]
    assert got([Queue("a"), Queue("b")], wants, 16) == {"a": 16, "b": 0}


def test_what_a_queue_is_guaranteed_no_class_of_others_takes() -> None:
    wants = [gpus("a", count=MANY, priority=100), gpus("b", count=MANY)]
    assert got([Queue("a"), Queue("b", quotas=(quota(6),))], wants, 16) == {"a": 10, "b": 6}


def test_a_queue_of_higher_priority_has_what_it_can_use_before_its_siblings() -> None:
    found = got([Queue("a", priority=5), Queue("b")], [gpus("a", count=10), gpus("b", count=MANY)], 16)
    assert found["a"] == pytest.approx(10, abs=0.01)
    found = got([Queue("a", priority=5), Queue("b")], [gpus("a", count=MANY), gpus("b", count=MANY)], 16)
    assert found["b"] == pytest.approx(0, abs=0.01)


def test_first_in_first_out_serves_one_job_after_the_other() -> None:
    queues = [Queue("a", discipline=Discipline.FIFO), Queue("b")]
    found = cleared(market(queues, [gpus("a", 5), gpus("a", 4), gpus("a", 4), gpus("b", count=MANY)], 16))
    assert found.solution.shares[:3, 0] == pytest.approx([1.0, 0.75, 0.0], abs=1e-3)


def test_what_a_queue_holds_for_good_is_part_of_what_it_gets() -> None:
    wants = [gpus("a", count=MANY), gpus("b", count=MANY)]
    assert got([Queue("a"), Queue("b")], wants, 12, held={"a": [[4.0]]}) == {"a": 4, "b": 8}
    assert got([Queue("a"), Queue("b")], wants, 4, held={"a": [[12.0]]})["b"] == pytest.approx(4, abs=0.01)


def test_held_capacity_counts_against_limits() -> None:
    queues = [Queue("a", quotas=(quota(4, borrow=2),)), Queue("b")]
    wants = [gpus("a", count=MANY), gpus("b", count=MANY)]
    assert got(queues, wants, 12, held={"a": [[4.0]]}) == {"a": 2, "b": 10}


def test_a_limit_of_nothing_leaves_a_queue_out_and_the_others_whole() -> None:
    queues = [Queue("a", quotas=(quota(0, borrow=0),)), Queue("b")]
    assert got(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16) == {"a": 0, "b": 16}


@pytest.mark.parametrize("fairness", [0.5, 1.0, 2.0])
def test_a_guarantee_holds_for_every_fairness(fairness: float) -> None:
    queues = [Queue("a", quotas=(quota(8),)), Queue("b", 9.0)]
    found = got(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16, fairness=fairness)
    assert found["a"] == pytest.approx(8, abs=0.01)


def test_where_flavors_differ_a_guarantee_is_kept_in_worth() -> None:
    """Both would take either flavor, one twice as fast: 4 fast GPUs are worth 8 slow ones, and may be had as those."""
    two = (Way(0, (1.0,), 1.0), Way(1, (1.0,), 0.5))
    wants = [Want("a", two, count=MANY), Want("b", two, count=MANY)]
    found = cleared(market([Queue("a", quotas=(quota(4),)), Queue("b", 99.0)], wants, [[8.0], [8.0]]))
    assert used(found, "a")[:, 0] @ [1.0, 0.5] == pytest.approx(4.0, abs=0.01)
    assert np.sum([used(found, name)[:, 0] for name in "ab"], axis=0) == pytest.approx([8.0, 8.0])


def test_a_queue_without_jobs_keeps_what_it_does_not_lend() -> None:
    queues = [Queue("a", quotas=(quota(8, lend=2),)), Queue("b", 3.0), Queue("idle")]
    assert got(queues, [gpus("b", count=MANY)], 16) == {"a": 0, "b": 10}


def test_queues_that_keep_more_than_there_is_keep_it_in_proportion() -> None:
    queues = [Queue("a", quotas=(quota(8, lend=0),)), Queue("b", quotas=(quota(24, lend=0),)), Queue("c", 9.0)]
    assert got(queues, [gpus(name, count=MANY) for name in "abc"], 16) == {"a": 4, "b": 12, "c": 0}


def test_what_a_higher_class_got_is_not_there_twice() -> None:
    """What `a` keeps is lowered to what there is, not to that and what its class of higher priority has already."""
    queues = [Queue("a", quotas=(quota(20, lend=0),)), Queue("b", quotas=(quota(12, lend=0),))]
    wants = [gpus("a", count=4, priority=100), gpus("b", count=MANY)]
    assert got(queues, wants, 16)["b"] == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("fairness", [1.0, 2.0, 5.0])
def test_priority_and_order_hold_for_every_fairness(fairness: float) -> None:
    wants = [gpus("a", count=MANY), gpus("b", count=MANY)]
    found = got([Queue("a", priority=5), Queue("b")], wants, 16, fairness=fairness)
    assert found["b"] == pytest.approx(0, abs=0.1)


def test_what_is_cut_off_to_keep_a_limit_is_told_by_the_gap() -> None:
    """An answer that knows no limits, cut down to one: half of the use gone costs log 2 of everybody's budget."""
    opened = market([Queue("a", quotas=(quota(0, borrow=4),))], [gpus("a", count=8)], 8)
    leaf = opened.claims.queue
    bounds = Bounds.of(opened.tree, opened.problem.capacity, opened.held)
    limited = Limited(solver(), opened.tree, leaf, bounds, opened.flavors, opened.resources)  # type: ignore[arg-type]
    free = limited(opened.problem, WarmStart(opened.problem.capacity * np.nan))
    kept = limited.within(opened.problem, free)
    assert kept.shares.ravel().tolist() == pytest.approx([0.5])
    assert kept.objective == pytest.approx(objective(opened.problem, kept.shares))
    assert kept.gap == pytest.approx(np.log(2), rel=1e-6)
    assert kept.status is Status.INACCURATE


@pytest.mark.parametrize("fairness", [0.5, 1.0, 2.0])
def test_what_a_gap_leaves_of_a_borrowing_limit_is_nothing_and_has_no_price(fairness: float) -> None:
    queues = [Queue("a", quotas=(quota(4, borrow=2),)), Queue("b")]
    wants = [gpus("a", count=MANY, priority=100), gpus("a", count=MANY), gpus("b", count=MANY)]
    found = cleared(market(queues, wants, 16, fairness))
    above, below = found.stages
    assert used(found, "a")[0, 0] == pytest.approx(6, abs=1e-5)
    assert used(found, "b")[0, 0] == pytest.approx(10, abs=1e-5)
    assert found.solution.status is Status.OPTIMAL
    assert found.solution.gap < 1e-6
    assert 0 < above.limit_prices["a", "f0", "gpu"] < 1
    assert not below.limit_prices


def test_crumbs_of_limits_are_nothing_and_no_limit_stays_none() -> None:
    bounds = Bounds(np.array([[[6.0, 6.0, np.inf, 0.0]]]), np.array([[[4.0, 4.0, 0.0, 0.0]]]))
    left = bounds.after(np.array([[[6 - 1e-8, 3.0, 100.0, 1e-9]]]))
    assert left.most.tolist() == [[[0.0, 3.0, np.inf, 0.0]]]
    assert left.kept.tolist() == [[[0.0, 1.0, 0.0, 0.0]]]
    assert bounds.after(np.array([[[0.0, 4 - 1e-8, 0.0, 0.0]]])).kept.tolist() == [[[4.0, 0.0, 0.0, 0.0]]]


def test_money_that_is_not_settled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [Queue("a", quotas=(quota(8, borrow=2),)), Queue("b", 3.0)]
    opened = market(queues, [gpus("a", count=MANY), gpus("b", count=MANY)], 16)
    settled = cleared(opened)
    assert not any("budgets" in attempt for attempt in settled.solution.attempts)
    monkeypatch.setattr("allocator.market.equilibrium.MOST_SOLVES", 1)
    found = cleared(opened)
    assert found.stages[0].moved > 0.01
    assert found.solution.attempts[-1] == f"budgets: {100 * found.stages[0].moved:.2g} % of the money not settled"
    assert found.solution.status is Status.OPTIMAL

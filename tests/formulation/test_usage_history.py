"""Who was short is paid back: by hand, and what holds for any past."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, QueueHistory
from allocator.formulation.usage_history import (
    history_at,
    history_of,
    nominal_parts,
    paces,
    repayments,
    weighed,
    window,
)

DAY = 86_400.0
PAYING = Policy(usage_strength=1.0, usage_half_life_seconds=DAY, weight_factor_limit=8.0)
TWO = (Queue("a"), Queue("b"))
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def factors(queues: tuple[Queue, ...], history: dict[str, tuple[float, float]], policy: Policy = PAYING) -> list[float]:
    found = repayments(queues, [queue.name for queue in queues], history, policy)
    return [found[queue.name].factor for queue in queues]


def test_half_of_what_was_is_forgotten_in_a_half_life() -> None:
    memory = Memory(time=100.0, history={"a": QueueHistory(8.0, 4.0)})
    assert history_at(memory, 100.0 + DAY, DAY)["a"] == pytest.approx((4.0, 2.0))
    assert history_at(memory, 0.0, DAY) == {"a": (8.0, 4.0)}, "a clock that was set back forgets nothing"


def test_a_pace_for_a_half_life_is_half_a_window() -> None:
    memory = Memory(time=0.0, history={"a": QueueHistory(0.0, 0.0, 1.0, 0.25)})
    had, entitled = history_at(memory, DAY, DAY)["a"]
    assert had == pytest.approx(DAY / math.log(2) / 2)
    assert entitled == pytest.approx(had / 4)


@QUICK
@given(
    past=st.builds(QueueHistory, *[st.floats(0, 1e6)] * 2, *[st.floats(0, 1)] * 2),
    first=st.floats(0, 1e7),
    second=st.floats(0, 1e7),
    half_life=st.floats(1, 1e7),
)
def test_two_rounds_settle_like_one(past: QueueHistory, first: float, second: float, half_life: float) -> None:
    """Exact for any length: what is seen does not depend on how often somebody looked."""
    memory = Memory(history={"q": past})
    middle = history_at(memory, first, half_life)
    again = Memory(time=first, history=history_of(middle, {"q": (past.had_pace, past.entitled_pace)}))
    whole = history_at(memory, first + second, half_life)["q"]
    assert history_at(again, first + second, half_life)["q"] == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_queues_are_entitled_to_their_part_of_what_siblings_have_whether_they_want_it_or_not() -> None:
    queues = (Queue("a", 3.0), Queue("a/x"), Queue("a/y"), Queue("b"), Queue("idle", 4.0))
    found = paces(queues, {"a/x": 0.3, "b": 0.5}, worth=2.0)
    expected = {
        "a": (0.15, 0.4 * 3 / 8),
        "a/x": (0.15, 0.075),
        "a/y": (0.0, 0.075),
        "b": (0.25, 0.4 / 8),
        "idle": (0.0, 0.2),
    }
    assert set(found) == set(expected)
    for name, pace in expected.items():
        assert found[name] == pytest.approx(pace)


def test_where_nothing_is_scarce_nothing_counts() -> None:
    assert paces(TWO, {"a": 0.0}, worth=0.0) == {"a": (0.0, 0.0), "b": (0.0, 0.0)}


def test_a_higher_priority_is_not_paid_back_by_a_lower_one() -> None:
    queues = (Queue("high", priority=1), Queue("low1"), Queue("low2", 3.0))
    found = paces(queues, {"high": 0.9, "low1": 0.1}, worth=1.0)
    assert found["high"] == (0.9, 0.9)
    assert found["low2"] == pytest.approx((0.0, 0.075))


def test_one_that_had_all_for_a_half_life() -> None:
    """By hand: a window of 1 in days / ln 2. `a` had 1/2, was entitled to 1/4, and is taken to have had its 1/4 in the
    other half of the window: 3/4 against 1/2. `b` had 0 and 1/4: 1/4 against 1/2. So `a` counts 2/3, `b` twice.
    """
    whole = window(DAY)
    history = {"a": (whole / 2, whole / 4), "b": (0.0, whole / 4)}
    assert factors(TWO, history) == [pytest.approx(2 / 3), pytest.approx(2.0)]
    found = repayments(TWO, ["a", "b"], history, PAYING)["a"]
    assert (found.had, found.entitled) == pytest.approx((0.5, 0.25))
    twice = Policy(usage_strength=2.0, usage_half_life_seconds=DAY)
    assert factors(TWO, history, twice) == [pytest.approx(4 / 9), pytest.approx(4.0)]
    assert [queue.weight for queue in weighed(TWO, repayments(TWO, ["a", "b"], history, PAYING))] == [
        pytest.approx(2 / 3),
        pytest.approx(2.0),
    ]


def test_nobody_counts_more_or_less_than_the_limit_says() -> None:
    whole = window(DAY)
    history = {"a": (whole, whole / 2), "b": (0.0, whole / 2)}
    assert factors(TWO, history) == [pytest.approx(0.5), pytest.approx(8.0)]
    many = (Queue("a"), Queue("b", 1e-3))
    history = {"a": (0.0, whole), "b": (whole, whole / 1000)}
    assert factors(many, history) == [pytest.approx(8.0), pytest.approx(1 / 8)]


def test_without_a_past_weights_are_what_they_are() -> None:
    assert factors(TWO, {}) == [1.0, 1.0]


def test_a_queue_that_wants_something_alone_is_compared_with_nobody() -> None:
    whole = window(DAY)
    history = {"a": (whole, whole / 2), "b": (0.0, whole / 2)}
    found = repayments(TWO, ["a"], history, PAYING)
    assert found["a"].factor == pytest.approx(1.0)
    both = repayments(TWO, ["a", "b"], history, PAYING)
    assert found["b"].factor == both["b"].factor, "what it would count"


def test_those_who_want_something_are_compared_with_each_other_however_many_sleep() -> None:
    """Two of a hundred queues had all, one of them three quarters of it."""
    whole = window(DAY)
    queues = tuple(Queue(f"q{number:02}") for number in range(100))
    history = {queue.name: (0.0, whole / 100) for queue in queues}
    history["q00"], history["q01"] = (0.75 * whole, whole / 100), (0.25 * whole, whole / 100)
    found = repayments(queues, ["q00", "q01"], history, PAYING)
    assert [found[name].factor for name in ("q00", "q01")] == [pytest.approx(2 / 3), pytest.approx(2.0)]


def test_a_new_queue_is_owed_nothing_for_the_time_before_it_was() -> None:
    whole = window(DAY)
    history = {"a": (whole / 2, whole / 2), "b": (whole / 2, whole / 2)}
    assert factors((*TWO, Queue("new")), history) == [pytest.approx(1.0)] * 3


def test_a_job_in_a_leaf_wakes_the_queues_above_it() -> None:
    whole = window(DAY)
    queues = (Queue("a"), Queue("a/x"), Queue("b"))
    history = {"a": (0.0, whole / 2), "a/x": (0.0, 0.0), "b": (whole, whole / 2)}
    found = repayments(queues, ["a/x", "b"], history, PAYING)
    assert found["a"].factor == pytest.approx(8.0)
    assert found["b"].factor == pytest.approx(0.5)


def test_parts_flow_down_the_tree() -> None:
    queues = (Queue("a", 3.0), Queue("a/x", 1.0), Queue("a/y", 2.0), Queue("b", 1.0), Queue("gone/z", 4.0))
    assert nominal_parts(queues) == {
        "a": 3 / 8,
        "a/x": 1 / 8,
        "a/y": 1 / 4,
        "b": 1 / 8,
        "gone/z": 1 / 2,
    }


Wants = Callable[[float], bool]


def fluid(
    weights: list[float], wants: Sequence[Wants], until: float, policy: Policy, step: float = 900.0
) -> list[list[tuple[float, float]]]:
    """What each queue has had by any time, in a market of one resource where all money of those awake is spent."""
    queues = tuple(Queue(f"q{number}", weight) for number, weight in enumerate(weights))
    memory, now = Memory(), 0.0
    total = [0.0] * len(weights)
    seen: list[list[tuple[float, float]]] = [[] for _ in weights]
    while now < until:
        awake = [queue.name for queue, wanted in zip(queues, wants, strict=True) if wanted(now)]
        past = history_at(memory, now, policy.usage_half_life_seconds)
        found = weighed(queues, repayments(queues, awake, past, policy))
        money = {queue.name: queue.weight for queue in found if queue.name in awake}
        together = sum(money.values())
        charged = {name: weight / together for name, weight in money.items()}
        memory = Memory(time=now, history=history_of(past, paces(queues, charged, 1.0 if awake else 0.0)))
        for number, queue in enumerate(queues):
            total[number] += charged.get(queue.name, 0.0) * step
            seen[number].append((now + step, total[number]))
        now += step
    return seen


def always(now: float) -> bool:
    return True


def awake_from(start: float) -> Wants:
    return lambda now: now >= start


def had_between(seen: list[tuple[float, float]], first: float, last: float) -> float:
    before = max((amount for time, amount in seen if time <= first), default=0.0)
    return max(amount for time, amount in seen if time <= last) - before


def test_after_days_of_sleep_a_queue_is_paid_back_within_a_few_half_lives() -> None:
    seen = fluid([1.0, 1.0], [always, awake_from(4 * DAY)], 12 * DAY, PAYING)
    day = [had_between(seen[1], start * DAY, (start + 1) * DAY) / DAY for start in range(4, 11)]
    assert 0.7 < day[0] < 0.95, "it gets much more, and yet nobody starves"
    assert all(later < earlier for earlier, later in pairwise(day))
    assert day[3] == pytest.approx(0.5, abs=0.02)
    repaid = sum(day) - 0.5 * len(day)
    deficit = 0.5 * window(DAY) / DAY * (1 - 2**-4)  # what is not forgotten when it comes back
    assert 0.45 < repaid / deficit < 0.75


def test_the_stronger_the_more_is_paid_back() -> None:
    back = []
    for strength in (0.25, 1.0, 4.0):
        policy = Policy(usage_strength=strength, usage_half_life_seconds=DAY, weight_factor_limit=64.0)
        seen = fluid([1.0, 1.0], [always, awake_from(4 * DAY)], 12 * DAY, policy)
        back.append(had_between(seen[1], 4 * DAY, 12 * DAY))
    assert back[0] < back[1] < back[2]


@QUICK
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=2, max_size=4),
    sleeps=st.data(),
)
def test_all_who_are_awake_go_back_to_their_weights(weights: list[float], sleeps: st.DataObject) -> None:
    """Whatever happened before: at any time nobody who is awake starves, and in the end weights decide."""
    starts = [sleeps.draw(st.sampled_from([0.0, 0.5, 2.0])) for _ in weights]
    starts[0] = 0.0
    policy = Policy(usage_strength=1.0, usage_half_life_seconds=DAY, weight_factor_limit=4.0)
    seen = fluid(weights, [awake_from(start * DAY) for start in starts], 12 * DAY, policy, step=3600.0)
    for weight, mine in zip(weights, seen, strict=True):
        part = weight / sum(weights)
        assert had_between(mine, 10 * DAY, 12 * DAY) / (2 * DAY) == pytest.approx(part, rel=0.02)
        for start in range(2, 12):
            assert had_between(mine, start * DAY, (start + 1) * DAY) / DAY >= part / 16 * 0.99


def test_a_queue_that_is_awake_every_other_half_life_gets_nearer_to_its_weight() -> None:
    """Both get their half only if the one that sleeps is paid back when it wakes; without it has a quarter."""

    def every_other(now: float) -> bool:
        return now // (DAY / 4) % 2 == 1

    strong = Policy(usage_strength=4.0, usage_half_life_seconds=4 * DAY, weight_factor_limit=64.0)
    seen = fluid([1.0, 1.0], [always, every_other], 20 * DAY, strong)
    assert had_between(seen[1], 10 * DAY, 20 * DAY) / (10 * DAY) > 0.4
    off = fluid([1.0, 1.0], [always, every_other], 20 * DAY, Policy(usage_strength=0.0))
    assert had_between(off[1], 10 * DAY, 20 * DAY) / (10 * DAY) == pytest.approx(0.25)


@QUICK
@given(
    amounts=st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=5),
    strength=st.floats(0.001, 8),
    limit=st.floats(1, 1024),
)
def test_factors_are_within_the_limit_for_any_past(
    amounts: list[tuple[float, float]], strength: float, limit: float
) -> None:
    queues = tuple(Queue(f"q{number}") for number in range(len(amounts)))
    policy = Policy(usage_strength=strength, weight_factor_limit=limit)
    history = {queue.name: amount for queue, amount in zip(queues, amounts, strict=True)}
    for factor in factors(queues, history, policy):
        assert 1 / limit * (1 - 1e-9) <= factor <= limit * (1 + 1e-9)

"""The system's clock says when no round is under way."""

from __future__ import annotations

import threading
import time

from allocator.daemon.clock import SystemClock


def test_it_rests_before_the_first_round_and_while_it_waits() -> None:
    clock = SystemClock()
    assert clock.resting.is_set()
    assert clock.wait(clock.now(), quiet_until=0.0)
    assert not clock.resting.is_set(), "the next round has begun"
    waiting = threading.Thread(target=clock.wait, args=(time.time() + 60,), kwargs={"quiet_until": 0.0})
    waiting.start()
    assert clock.resting.wait(30)
    clock.stop()
    waiting.join()
    assert clock.resting.is_set(), "no round follows the last"


def waited(clock: SystemClock, until: float, news_after: float | None = None) -> float:
    """How long the clock waited; news may come meanwhile."""
    began = time.monotonic()
    teller = threading.Timer(news_after or 0.0, clock.news)
    if news_after is not None:
        teller.start()
    assert clock.wait(time.time() + until, quiet_until=0.0)
    return time.monotonic() - began


def test_a_round_comes_early_where_there_is_news() -> None:
    clock = SystemClock(minimum_interval=0.05)
    clock.wait(clock.now(), quiet_until=0.0)
    assert waited(clock, 60, news_after=0.1) < 30


def test_news_from_during_a_round_makes_the_next_come_early_but_not_at_once() -> None:
    clock = SystemClock(minimum_interval=0.3)
    clock.wait(clock.now(), quiet_until=0.0)
    clock.news()
    assert 0.25 < waited(clock, 60) < 30


def test_rounds_that_take_long_leave_the_rest_to_others() -> None:
    clock = SystemClock(minimum_interval=0.001)
    clock.wait(clock.now(), quiet_until=0.0)
    clock.news()
    time.sleep(0.1)  # the round
    assert 0.35 < waited(clock, 60) < 30


def test_news_is_answered_once() -> None:
    clock = SystemClock(minimum_interval=0.001)
    clock.news()
    clock.wait(clock.now() + 60, quiet_until=0.0)
    assert waited(clock, 0.5) > 0.45, "nothing has happened since"


def test_after_a_round_that_broke_nothing_comes_early_and_then_one_does_though_rounds_are_rare() -> None:
    clock = SystemClock(minimum_interval=0.001)
    clock.news()
    began = time.monotonic()
    clock.pause(0.3)
    assert time.monotonic() - began >= 0.3
    assert waited(clock, 60) < 30, "what the broken round knew of is still to be decided"


def test_without_a_minimum_none_comes_early() -> None:
    clock = SystemClock()
    clock.news()
    assert waited(clock, 0.5) > 0.45


def test_stopping_ends_the_wait_for_news() -> None:
    clock = SystemClock(minimum_interval=0.001)
    clock.wait(clock.now(), quiet_until=0.0)
    threading.Timer(0.1, clock.stop).start()
    assert not clock.wait(time.time() + 60, quiet_until=0.0)

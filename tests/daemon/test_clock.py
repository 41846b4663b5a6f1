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

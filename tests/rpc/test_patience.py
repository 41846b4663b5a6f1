"""An answer waits for rounds, but not for ever."""

from __future__ import annotations

import threading

from allocator.rpc.patience import Patience, patience_within


def test_all_checkpoints_of_an_answer_together_wait_only_so_long() -> None:
    asked: list[float] = []

    def under_way(seconds: float) -> None:
        asked.append(seconds)
        threading.Event().wait(min(seconds, 0.02))

    patience = Patience(under_way, 0.05)
    for _ in range(20):
        patience()
    assert asked[0] == 0.05
    assert asked == sorted(asked, reverse=True)
    assert len(asked) <= 3, "after that it goes on"


def test_while_no_round_is_under_way_nothing_is_used_up() -> None:
    asked: list[float] = []
    patience = Patience(asked.append, 10.0)
    for _ in range(3):
        patience()
    assert len(asked) == 3
    assert min(asked) > 9.0


def test_half_of_the_clients_time_is_for_the_answer_itself() -> None:
    assert patience_within(None) == 10.0
    assert patience_within(60.0) == 10.0
    assert patience_within(10.0) == 5.0
    assert patience_within(-1.0) == 0.0


def test_for_a_client_that_is_gone_nothing_is_waited_for() -> None:
    asked: list[float] = []
    there = [True, False]
    patience = Patience(asked.append, 10.0, lambda: there.pop(0))
    patience()
    patience()
    assert len(asked) == 1

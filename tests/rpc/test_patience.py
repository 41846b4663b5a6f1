"""An answer waits for rounds, but not for ever."""

from __future__ import annotations

import threading

from allocator.rpc.patience import Patience


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

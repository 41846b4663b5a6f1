"""Checkpoints: they wait where somebody said so, on that thread alone."""

from __future__ import annotations

import threading

from allocator.domain.giving_way import checkpoint, giving_way


def test_a_checkpoint_waits_only_inside_and_only_on_this_thread() -> None:
    called: list[str] = []
    checkpoint()
    with giving_way(lambda: called.append("outer")):
        checkpoint()
        with giving_way(lambda: called.append("inner")):
            checkpoint()
        other = threading.Thread(target=checkpoint)
        other.start()
        other.join()
        checkpoint()
    checkpoint()
    assert called == ["outer", "inner", "outer"]

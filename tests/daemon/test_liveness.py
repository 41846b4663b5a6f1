"""Silence becomes a fact, a jump of the wall clock or a restart does not."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from allocator.daemon.ledger import ObservedLedger
from allocator.daemon.liveness import Liveness
from allocator.domain.cluster import NodeHealth
from allocator.domain.errors import StoreUnavailable
from allocator.intake.commands import Command, Heartbeat, LoseNode, RegisterNode
from allocator.metrics import Metrics
from tests.builders import node

ONE, TWO = node("n1"), node("n2")


class Monotonic:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_the_silent_node_is_lost_and_only_after_the_timeout() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.hear(RegisterNode(ONE))
    liveness.hear(RegisterNode(TWO))
    clock.now = 10.0
    liveness.hear(Heartbeat("n2"))
    assert liveness.silent([ONE, TWO]) == []
    clock.now = 10.5
    assert liveness.silent([ONE, TWO]) == [LoseNode("n1")]


def test_lost_nodes_are_lost_once() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    clock.now = 100.0
    assert liveness.silent([replace(ONE, health=NodeHealth.LOST)]) == []


def test_nodes_of_an_earlier_process_get_a_full_timeout() -> None:
    clock = Monotonic()
    clock.now = 1000.0
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    clock.now = 1009.0
    assert liveness.silent([ONE]) == []
    clock.now = 1011.0
    assert liveness.silent([ONE]) == [LoseNode("n1")]


def test_longest_silence() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE, TWO])
    clock.now = 4.0
    liveness.hear(Heartbeat("n2"))
    clock.now = 5.0
    assert liveness.longest_silence([ONE, TWO]) == 5.0
    assert liveness.longest_silence([]) is None


def test_the_process_own_pause_is_no_silence() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    clock.now = 60.0
    liveness.forgive(55.0)
    assert liveness.silent([ONE]) == []
    clock.now = 66.0
    assert liveness.silent([ONE]) == [LoseNode("n1")]


def test_agents_are_heard_while_the_store_is_away() -> None:
    """An outage of the store is no silence of the agents: their commands fail, and still they live."""

    class Away:
        def execute(self, command: Command, now: float) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(StoreUnavailable("disk full"))
            return future

    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    ledger = ObservedLedger(Away(), liveness, Metrics(version="test", round_interval=1.0))
    clock.now = 9.0
    with pytest.raises(StoreUnavailable):
        ledger.execute(Heartbeat("n1"), 0.0).result()
    clock.now = 18.0
    assert liveness.silent([ONE]) == []

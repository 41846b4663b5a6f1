"""Silence becomes a fact, a jump of the wall clock or a restart does not."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from allocator.daemon.ledger import ObservedLedger
from allocator.daemon.liveness import LISTENING_SECONDS, Liveness
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


def listen(liveness: Liveness, clock: Monotonic, until: float) -> None:
    """The process runs, and hears nobody."""
    while clock.now < until:
        clock.now += LISTENING_SECONDS
        liveness.listening()


def test_only_the_silent_node_is_lost_and_only_after_the_timeout() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.hear(RegisterNode(ONE))
    liveness.hear(RegisterNode(TWO))
    listen(liveness, clock, 10.0)
    liveness.hear(Heartbeat("n2"))
    assert liveness.silent([ONE, TWO]) == []
    listen(liveness, clock, 10.5)
    assert liveness.silent([ONE, TWO]) == [LoseNode("n1")]


def test_lost_nodes_are_lost_once() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    listen(liveness, clock, 100.0)
    assert liveness.silent([replace(ONE, health=NodeHealth.LOST)]) == []


def test_nodes_of_an_earlier_process_get_a_full_timeout() -> None:
    clock = Monotonic()
    clock.now = 1000.0
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    listen(liveness, clock, 1009.0)
    assert liveness.silent([ONE]) == []
    listen(liveness, clock, 1011.0)
    assert liveness.silent([ONE]) == [LoseNode("n1")]


def test_a_longer_lease_of_an_earlier_process_is_honoured() -> None:
    """Its agents may not have heard yet that leases are shorter now, and run what they run until theirs are over."""
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE, TWO], longest_lease=45.0)
    liveness.hear(Heartbeat("n2"))
    listen(liveness, clock, 45.0)
    assert liveness.silent([ONE, TWO]) == []
    assert not liveness.earlier_leases_are_over
    listen(liveness, clock, 46.0)
    assert liveness.silent([ONE, TWO]) == [LoseNode("n1"), LoseNode("n2")]
    assert liveness.earlier_leases_are_over


def test_longest_silence() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE, TWO])
    clock.now = 4.0
    liveness.hear(Heartbeat("n2"))
    clock.now = 5.0
    assert liveness.longest_silence([ONE, TWO]) == 5.0
    assert liveness.longest_silence([]) is None


@pytest.mark.parametrize("judged_first", [True, False])
def test_the_process_own_pause_is_no_silence(judged_first: bool) -> None:
    """Whichever comes first after it: the judgement, or the note that the process runs."""
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    listen(liveness, clock, 4.0)
    clock.now = 60.0
    if not judged_first:
        liveness.listening()
    assert liveness.silent([ONE]) == []
    assert not liveness.is_silent("n1")
    listen(liveness, clock, 65.0)
    assert liveness.silent([ONE]) == []
    listen(liveness, clock, 67.0)
    assert liveness.silent([ONE]) == [LoseNode("n1")]


def test_what_was_heard_right_after_a_pause_counts_from_then() -> None:
    clock = Monotonic()
    liveness = Liveness(10.0, clock)
    liveness.begin([ONE])
    clock.now = 100.0
    liveness.hear(Heartbeat("n1"))
    liveness.listening()
    listen(liveness, clock, 110.0)
    assert liveness.silent([ONE]) == []
    listen(liveness, clock, 111.0)
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
    ledger = ObservedLedger(Away(), liveness, Metrics(version="test", round_interval=1.0), lambda _: None)
    listen(liveness, clock, 9.0)
    with pytest.raises(StoreUnavailable):
        ledger.execute(Heartbeat("n1"), 0.0).result()
    listen(liveness, clock, 18.0)
    assert liveness.silent([ONE]) == []

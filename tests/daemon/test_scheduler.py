"""Rounds go on after one that broke, whatever else breaks on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

from allocator.daemon.scheduler import Scheduler
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.rounds.report import RoundReport
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore


class BreakingOnce:
    """A pusher that fails the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("lost")


class Rounds:
    """An observer that tells when it has seen enough rounds."""

    def __init__(self, enough: int) -> None:
        self.seen = 0
        self.reached = threading.Event()
        self._enough = enough

    def observe(self, report: RoundReport) -> None:
        self.seen += 1
        if self.seen >= self._enough:
            self.reached.set()
        raise ValueError("an observer's own failure")


def run(on_broken_round: Callable[[], None]) -> Rounds:
    rounds = Rounds(3)
    scheduler = Scheduler(
        store=MemoryStore(),
        pusher=BreakingOnce(),
        observers=[rounds],
        solver=ChainSolver(),
        policy=Policy,
        interval_seconds=0.02,
        on_broken_round=on_broken_round,
    )
    scheduler.start()
    assert rounds.reached.wait(30)
    scheduler.stop()
    return rounds


def test_rounds_go_on_and_the_broken_one_is_told() -> None:
    broken: list[str] = []
    run(lambda: broken.append("told"))
    assert broken == ["told"]


def test_rounds_go_on_even_if_the_repair_breaks() -> None:
    def repair() -> None:
        raise KeyError("node gone")

    assert run(repair).seen >= 3

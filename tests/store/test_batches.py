"""Whoever counts batches is told of each one, and cannot stop the store by failing."""

from __future__ import annotations

from pathlib import Path

from allocator.domain.queue import Queue
from allocator.intake.commands import CreateQueue
from allocator.store.sql import SqlStore


def test_batches_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    with SqlStore(f"sqlite:///{tmp_path / 'a.db'}", on_batch=lambda *batch: told.append(batch)) as store:
        store.execute(CreateQueue(Queue("q")), 0.0).result(timeout=60)
    assert sum(commands for commands, _ in told) == 1
    assert all(seconds > 0 for _, seconds in told)


def test_a_failing_counter_stops_nothing(tmp_path: Path) -> None:
    def fail(commands: int, seconds: float) -> None:
        raise RuntimeError("counter broken")

    with SqlStore(f"sqlite:///{tmp_path / 'a.db'}", on_batch=fail) as store:
        for name in ("q1", "q2"):
            store.execute(CreateQueue(Queue(name)), 0.0).result(timeout=60)
        assert [queue.name for queue in store.queues()] == ["q1", "q2"]

"""Whoever counts batches is told of each one, and whoever listens of what changes; none can stop it by failing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from allocator.domain.errors import AllocatorError
from allocator.domain.queue import Queue
from allocator.intake.commands import Command, CreateQueue, Heartbeat, LoseNode, RegisterNode
from allocator.store.sql import SqlStore
from tests.builders import node


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


def test_commands_that_change_something_are_told(tmp_path: Path) -> None:
    told: list[Command] = []
    create, again, other = CreateQueue(Queue("q")), RegisterNode(node()), RegisterNode(node("n2"))
    with SqlStore(f"sqlite:///{tmp_path / 'a.db'}", on_change=told.append) as store:
        for command in (create, again, again, LoseNode("n1"), Heartbeat("n1"), Heartbeat("n1"), other, LoseNode("no")):
            with suppress(AllocatorError):
                store.execute(command, 0.0).result(timeout=60)
    assert told == [create, again, LoseNode("n1"), Heartbeat("n1"), other]

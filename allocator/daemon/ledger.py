"""The store's write side with ears: liveness hears of agents, metrics count every command and its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from allocator.daemon.liveness import Liveness
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job
from allocator.intake.commands import Command, ReportProgress, SubmitJobs
from allocator.intake.ports import Ledger
from allocator.metrics import Metrics, command_kind, error_code


class ObservedLedger:
    """Implements `intake.ports.Ledger` by passing everything on to another one."""

    def __init__(
        self, ledger: Ledger, liveness: Liveness, metrics: Metrics, took_effect: Callable[[Command], None]
    ) -> None:
        """`took_effect` is told of every command that did, before who sent it is answered."""
        self._ledger = ledger
        self._liveness = liveness
        self._metrics = metrics
        self._took_effect = took_effect

    def execute(self, command: Command, now: float) -> Future[Any]:
        self._liveness.hear(command)  # before it is answered: an outage of the store is no silence of the agents
        future = self._ledger.execute(command, now)
        future.add_done_callback(lambda done: self._answered(command, done))
        return future

    def _answered(self, command: Command, future: Future[Any]) -> None:
        kind = command_kind(command)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, AllocatorError):
            self._metrics.count_command(kind, error_code(error))
            return
        if error is not None or future.cancelled():
            self._metrics.count_command(kind, "internal")
            return
        self._metrics.count_command(kind)
        self._took_effect(command)
        if isinstance(command, SubmitJobs):
            admitted = sum(isinstance(item, Job) for item in future.result())
            self._metrics.count_submitted(admitted, len(command.specs) - admitted)


def is_news(command: Command) -> bool:
    """Of one that changed something: whether the next round need not wait for its time. How fast work goes can."""
    return not isinstance(command, ReportProgress)

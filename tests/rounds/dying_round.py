"""One round on a SQLite store that dies in the middle, as by a power cut. Arguments: URL, before-push|before-record."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from allocator.daemon.clock import SystemClock
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.solvers import ChainSolver
from allocator.store.sql import SqlStore
from tests.builders import node, spec


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(SqlStore):
    """Dies when the round is to be recorded."""

    def record(self, *_: Any) -> None:
        die()


class DyingPusher:
    """Dies when the allocations are to be pushed."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        die()


class QuietPusher:
    def push(self, desired: tuple[NodeDesired, ...]) -> None: ...


def main(url: str, when: str) -> None:
    store = (SqlStore if when == "before-push" else DyingStore)(url).open()
    store.execute(c.CreateQueue(Queue("q")), 0.0).result()
    store.execute(c.RegisterNode(node(gpu=2)), 0.0).result()
    store.execute(c.SubmitJobs((spec("q"),) * 3), 0.0).result()
    run_round(
        store=store,
        pusher=DyingPusher() if when == "before-push" else QuietPusher(),
        clock=SystemClock(),
        solver=ChainSolver(),
        policy=Policy(),
        memory=store.memory(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A small cluster that lives: the daemon as a process, simulated agents and clients on its API, more work than room."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from allocator.client import AsyncClient
from allocator.daemon.demo.agent import PretendedWork, SimulatedAgent
from allocator.domain.cluster import Node
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from tests.daemon.process import DaemonProcess

QUEUES = ("research", "serving")
_GIB = 2**30
_QUOTAS = tuple(
    Quota("a100", resource, nominal, borrowing_limit=nominal, lending_limit=nominal)
    for resource, nominal in (
        ("bandwidth", 4 * 10**9), ("cpu", 16_000), ("disk", 10**11), ("gpu", 2000), ("licence", 3), ("memory", 2**36),
    )
)  # fmt: skip
"""Of `research`: something of everything, so that every metric of quotas has something to show."""
_POLICY = """
version = 1

[[limit]]
name = "power"
most = 3
unit = "kW"

[[limit.term]]
resource = "gpu"
per_unit = 0.4
"""
_WIDE = 4
"""Jobs that want a piece of a certain rack, so that what lies in pieces has something to show; none ever ends."""
_FOREVER = 1e9
_WORK_SECONDS = 3.0
_SUBMIT_SECONDS = 0.5


def _node(name: str, flavor: str, gpus: int) -> Node:
    capacity = Resources(
        cpu_millicores=32_000,
        gpu_millis=gpus * 1000,
        memory_bytes=256 * _GIB,
        bandwidth_bytes_per_second=10 * 10**9,
        disk_bytes=10**12,
        extra=(("licence", 4),),
    )
    return Node(name, flavor, capacity, simulated=True)


STEADY = (replace(_node("n1", "a100", 4), labels=(("rack", "r1"),)), _node("n2", "a100", 4))
UNSTEADY = _node("n3", "t4", 2)


def _spec(queue: str) -> JobSpec:
    demand = Resources(4000, 1000, 16 * _GIB, 10**9, 10**9, (("licence", 1),))
    return JobSpec(
        queue,
        (Configuration("a100", 1, demand, 3.0), Configuration("t4", 1, demand, 1.0)),
        restart_cost_seconds=1.0,
    )


def _wide() -> JobSpec:
    """For three GPUs of one node, which has them once."""
    demand = Resources(gpu_millis=3000)
    only = Constraints(nodes=(NodeRule("rack", ("r1",)),))
    return JobSpec("serving", (Configuration("a100", 1, demand, 3.0),), constraints=only)


class LivingCluster:
    """Jobs come, run for a moment and end; one node falls silent again and again; clients make mistakes."""

    def __init__(self, directory: Path) -> None:
        self._daemon = DaemonProcess(
            directory,
            ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS="0.2",
            ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS="1",
        )
        self.metrics_port = self._daemon.metrics_port
        self._leaving = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="clients")

    def __enter__(self) -> Self:
        self._daemon.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        self._daemon.kill()
        if self._failure is not None:
            raise AssertionError("the cluster did not live as it should") from self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001 (shown by __exit__, on the test's thread)
            self._failure = error

    async def _live(self) -> None:
        async with AsyncClient(self._daemon.address) as client:
            for queue in QUEUES:
                await client.create_queue(Queue(queue, quotas=_QUOTAS if queue == "research" else ()))
            await client.apply_policy(_POLICY)
            work = PretendedWork()
            for result in await client.submit([_wide()] * _WIDE):
                assert isinstance(result, Job), result
                work.add(result.id, result.spec, _FOREVER)
            lives = [
                *(SimulatedAgent(client, node, work).run() for node in STEADY),
                self._come_and_go(client, work),
                self._submit(client, work),
                self._watch(client),
            ]
            leaving = asyncio.to_thread(self._leaving.wait, None)
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(life) for life in (*lives, leaving)]
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for task in done:
                task.result()

    async def _come_and_go(self, client: AsyncClient, work: PretendedWork) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await SimulatedAgent(client, UNSTEADY, work).run()
            await asyncio.sleep(2.5)

    async def _submit(self, client: AsyncClient, work: PretendedWork) -> None:
        """First more than there is room for, then about as much as ends."""
        specs = [_spec(queue) for queue in QUEUES for _ in range(12)]
        while True:
            for spec, result in zip(specs, await client.submit(specs), strict=True):
                assert isinstance(result, Job), result
                work.add(result.id, spec, _WORK_SECONDS)
            assert isinstance((await client.submit([_spec("nobody")]))[0], AllocatorError)
            with contextlib.suppress(AllocatorError):
                await client.delete_queue("nobody")
            specs = [_spec(queue) for queue in QUEUES for _ in range(2)]
            await asyncio.sleep(_SUBMIT_SECONDS)

    async def _watch(self, client: AsyncClient) -> None:
        async for _ in client.watch_jobs():
            pass

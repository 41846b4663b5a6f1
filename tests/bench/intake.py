"""Durable submits through the real daemon on SQLite: batches, single ones side by side, and what is left after kill -9.

The limit: an acknowledgement waits for an fsync, which is shared by whatever arrived in the last few milliseconds;
beyond that the daemon's one interpreter decodes, admits and writes rows.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from rich.table import Table

from allocator.client import AsyncClient, Client
from allocator.domain.job import Job
from allocator.domain.queue import Queue
from tests.builders import configuration, node, spec
from tests.daemon.process import running

BATCHES, BATCH = 10, 1000
SINGLES, CONCURRENCY = 2000, 64


def measure() -> Table:
    """One table of jobs per second, and what a restart after kill -9 finds."""
    table = Table(title="Intake: durable submits (SQLite, WAL, synchronous=FULL)", title_justify="left")
    for column in ("what", "result"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as directory:
        table.add_row("fsync of 4 KiB here, median of 50", f"{_fsync_seconds(Path(directory)) * 1000:.2f} ms")
        with running(Path(directory), ALLOCATOR_ROUNDS__INTERVAL_SECONDS="2") as daemon:
            told = asyncio.run(_load(daemon.address, table))
            daemon.kill()
            begin = time.perf_counter()
            daemon.start()
            restart = time.perf_counter() - begin
            with Client(daemon.address) as client:
                found = {job.id for job in client.jobs()}
        table.add_row("acknowledged, then kill -9", f"{len(told)} jobs")
        table.add_row("missing after the restart", f"{len(told - found)} jobs")
        table.add_row("restart until it answers", f"{restart:.1f} s")
    return table


async def _load(address: str, table: Table) -> set[str]:
    told: set[str] = set()
    async with AsyncClient(address, timeout=60) as client:
        await client.create_queue(Queue("q"))
        await client.register_node(node(gpu=8))
        request = [spec("q", configuration(), name=f"batch-{index}") for index in range(BATCH)]
        begin = time.perf_counter()
        for _ in range(BATCHES):
            told |= {answer.id for answer in await client.submit(request) if isinstance(answer, Job)}
        seconds = time.perf_counter() - begin
        table.add_row(
            f"{BATCHES * BATCH} jobs in batches of {BATCH}, one after the other",
            f"{BATCHES * BATCH / seconds:,.0f} jobs/s",
        )

        latencies: list[float] = []
        left = iter(range(SINGLES))

        async def worker() -> None:
            for index in left:
                sent = time.perf_counter()
                (answer,) = await client.submit([spec("q", configuration(), name=f"single-{index}")])
                latencies.append(time.perf_counter() - sent)
                assert isinstance(answer, Job)
                told.add(answer.id)

        begin = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        seconds = time.perf_counter() - begin
    latencies.sort()
    table.add_row(f"{SINGLES} single submits, {CONCURRENCY} at a time", f"{SINGLES / seconds:,.0f} jobs/s")
    table.add_row(
        "their latency, median and 99th percentile",
        f"{latencies[len(latencies) // 2] * 1000:.0f} ms, {latencies[len(latencies) * 99 // 100] * 1000:.0f} ms",
    )
    return told


def _fsync_seconds(directory: Path) -> float:
    taken = []
    with (directory / "probe").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - begin)
    return sorted(taken)[25]

"""The whole daemon, on its database and by the system's clock: its rounds captured, and decided again to the bit."""

from __future__ import annotations

import asyncio
from pathlib import Path

from allocator.client import Client, Configuration, JobSpec, Queue, ReplicaReport, ReplicaState, Resources
from allocator.daemon.app import Daemon
from allocator.daemon.config import load
from allocator.domain.cluster import Node
from allocator.domain.job import JobState
from allocator.wire.recording import CapturedRecord, CapturedRound
from simulations.capture.checking import check
from simulations.capture.file import CaptureReader, CaptureWriter
from simulations.capture.workload import read_workload
from tests.ports import free_port

ROUNDS = 12
POLICY = """
version = 1
[objective]
name = "max-min"
minimum_run = "0s"
hysteresis = "0s"
"""


def job(name: str, gpus: int) -> JobSpec:
    return JobSpec("q", (Configuration("a100", 1, Resources(cpu_millicores=1000, gpu_millis=gpus * 1000)),), name=name)


def captured_while_something_happens(address: str, path: Path) -> None:
    """At each captured round something changes, so that the next one sees it."""
    with Client(address) as client, Client(address) as watcher, CaptureWriter(path) as writer:
        client.create_queue(Queue("q"))
        client.register_node(Node("n1", "a100", Resources(cpu_millicores=32_000, gpu_millis=4000)))
        rounds = 0
        for record in watcher.capture_rounds():
            writer.add(record.content)
            rounds += _is_round(record)
            if rounds == ROUNDS:
                return
            if not _is_round(record):
                continue
            client.submit([job(f"job{rounds}", 1 + rounds % 3)])
            if rounds == ROUNDS // 2:
                client.apply_policy(POLICY)
            if rounds % 2 == 0:
                running = next(iter(client.jobs(states=[JobState.RUNNING])), None)
                if running is not None and running.allocation is not None:
                    report = ReplicaReport(running.id, 0, running.allocation.epoch, ReplicaState.SUCCEEDED)
                    client.heartbeat("n1", [report])


def _is_round(record: CapturedRecord) -> bool:
    return record.kind == "round"


async def test_its_rounds_are_captured_and_decided_again(tmp_path: Path) -> None:
    path = tmp_path / "daemon.capture.gz"
    settings = load(
        None,
        {
            "server.port": 0,
            "metrics.port": free_port(),
            "store.url": f"sqlite:///{tmp_path / 'allocator.db'}",
            "rounds.interval_seconds": 0.2,
        },
    )
    daemon = Daemon(settings)
    port = await daemon.start()
    try:
        await asyncio.to_thread(captured_while_something_happens, f"127.0.0.1:{port}", path)
    finally:
        await daemon.stop()
    rounds = [one for one in CaptureReader(path) if isinstance(one, CapturedRound)]
    assert len(rounds) == ROUNDS
    assert {one.policy.fairness for one in rounds} == {1.0, float("inf")}
    assert any(one.ended for one in rounds)
    result = check(rounds_again := CaptureReader(path))
    assert (result.differences, result.rounds) == ((), ROUNDS)
    assert rounds_again.cut_off == [path]  # nobody ended it in good order
    assert read_workload(path).workload.arrivals

"""Many agents on one daemon, which dies and comes back, or stands still: nothing is lost, nothing is started twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from allocator.client import AsyncClient
from allocator.domain.cluster import NodeHealth
from allocator.domain.job import Job, JobState
from allocator.domain.queue import Queue
from tests.builders import configuration, spec
from tests.crowd import CORES, Crowd, machines
from tests.daemon.process import running
from tests.rpc.serving import until

pytestmark = pytest.mark.system

AGENTS, ENDED = 100, 10
ONE_PER_NODE = configuration("cpu", gpu=0, cpu=0.6 * CORES)


async def all_are_told(crowd: Crowd) -> None:
    """Return when every agent has a desired state that came after what was taken of what it has seen."""
    told: set[str] = set()

    def some_more() -> bool:
        told.update(node for node, _, _ in crowd.take_seen().arrivals)
        return len(told) == len(crowd.agents)

    await until(some_more)


async def test_a_push_reaches_all_and_a_restart_of_the_daemon_starts_nothing_anew(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        async with (
            AsyncClient(daemon.address, timeout=60) as client,
            Crowd(daemon.address, machines(0, AGENTS)) as crowd,
        ):
            await client.create_queue(Queue("q"))
            await all_are_told(crowd)
            answers = await client.submit([spec("q", ONE_PER_NODE)] * AGENTS)
            jobs = [answer.id for answer in answers if isinstance(answer, Job)]
            await until(lambda: len(crowd.running()) == AGENTS)
            assert len(set(crowd.running().values())) == AGENTS
            before = {job.id: job.last_start_time async for job in client.jobs()}

            daemon.kill()
            assert crowd.end(ENDED) == ENDED  # while nobody hears it
            crowd.take_seen()
            await asyncio.to_thread(daemon.start)
            await all_are_told(crowd)
            await until(lambda: len(crowd.running()) == AGENTS - ENDED)

            after = {job.id: job async for job in client.jobs()}
            assert Counter(job.state for job in after.values()) == {
                JobState.RUNNING: AGENTS - ENDED,
                JobState.SUCCEEDED: ENDED,
            }
            assert {job.id: job.last_start_time for job in after.values()} == before
            assert sorted(run[0] for run in crowd.start_counts.elements()) == sorted(jobs)
            assert [node.name async for node in client.nodes() if node.health is NodeHealth.LOST] == []


async def test_a_daemon_that_stood_still_for_longer_than_the_lease_gives_up_no_node(tmp_path: Path) -> None:
    """It did not hear because it did not listen. A node that is silent afterwards is lost all the same."""
    lease = {"ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "4", "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "0.5"}
    with running(tmp_path, **lease) as daemon:
        async with AsyncClient(daemon.address, timeout=60) as client:
            async with Crowd(daemon.address, machines(0, 5)) as crowd:
                await all_are_told(crowd)
                assert daemon.process is not None
                daemon.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(6.0)
                daemon.process.send_signal(signal.SIGCONT)
                first = (await client.round()).round
                await until(lambda: len(crowd.take_seen().beats) > 0)
                async for summary in client.watch_rounds():
                    if summary.round > first + 10:
                        break
                assert "node lost" not in daemon.log.read_text()
            await until(lambda: daemon.log.read_text().count("node lost") == 5)

"""SchedulerService by its clients: rounds one by one, in pages, as they end; and the state of the cluster."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundReport
from allocator.rpc.scheduler_service import rounds_after
from allocator.store.memory import MemoryStore
from allocator.v1 import scheduler_service_pb2 as pb
from allocator.wire.rounds import NodeCounts, cluster_status_from_proto, round_from_proto
from tests.builders import node
from tests.rpc.serving import Served, round_summary, until

PATIENCE = 90


def record(served: Served, *numbers: int) -> None:
    """Rounds end: recorded, then observed, as the loop does it."""
    for number in numbers:
        served.store.record(round_summary(number), Memory())
        served.hub.observe(cast("RoundReport", Reported(round_summary(number))))


class Reported:
    """The part of a report that the hub may look at."""

    def __init__(self, summary: Any) -> None:
        self.summary = summary


async def test_one_round_and_the_newest(served: Served) -> None:
    record(served, 1, 2, 3)
    got = await served.scheduler.GetRound(pb.GetRoundRequest(round=2))
    assert round_from_proto(got.round) == round_summary(2)
    assert (await served.scheduler.GetRound(pb.GetRoundRequest())).round.round == 3
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.scheduler.GetRound(pb.GetRoundRequest(round=4))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_rounds_in_pages_newest_first_while_there_are_more(served: Served) -> None:
    record(served, *range(1, 26))
    request = pb.ListRoundsRequest(page_size=10)
    found: list[int] = []
    while not found or request.page_token:
        page = await served.scheduler.ListRounds(request)
        found += [summary.round for summary in page.rounds]
        record(served, 26 + len(found))
        request.page_token = page.next_page_token
    assert found == list(range(25, 0, -1))


async def watched(stream: Any, count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(stream), PATIENCE)).round.round for _ in range(count)]


async def test_a_watch_begins_with_the_newest_and_goes_on(served: Served) -> None:
    record(served, 1, 2, 3)
    stream = aiter(served.scheduler.WatchRounds(pb.WatchRoundsRequest()))
    assert await watched(stream, 1) == [3]
    for number in range(4, 9):
        await asyncio.to_thread(record, served, number)
    assert await watched(stream, 5) == [4, 5, 6, 7, 8]


async def test_a_watch_before_the_first_round_waits_for_it(served: Served) -> None:
    stream = aiter(served.scheduler.WatchRounds(pb.WatchRoundsRequest()))
    first = asyncio.create_task(watched(stream, 1))
    await until(lambda: served.hub.stream_counts()["rounds"].watchers)
    record(served, 1)
    assert await first == [1]


async def test_a_resumed_watch_misses_no_round(served: Served) -> None:
    record(served, *range(1, 351))
    stream = aiter(served.scheduler.WatchRounds(pb.WatchRoundsRequest(after_round=0)))
    assert await watched(stream, 350) == list(range(1, 351))
    record(served, 351)
    assert await watched(stream, 1) == [351]
    stream = aiter(served.scheduler.WatchRounds(pb.WatchRoundsRequest(after_round=349)))
    assert await watched(stream, 2) == [350, 351]


@pytest.mark.parametrize("after", [0, 1, 4999, 5000, 5001, 9998, 9999, 10_000, 20_000])
def test_rounds_that_are_no_longer_kept_are_passed_over(after: int) -> None:
    store = MemoryStore()
    for number in (*range(5000, 5150), *range(9998, 10_001)):
        store.record(round_summary(number), Memory())
    kept = [number for number in (*range(5000, 5150), *range(9998, 10_001)) if number > after]
    found: list[int] = []
    while page := rounds_after(store, found[-1] if found else after):
        found += [summary.round for summary in page]
    assert found == kept


async def test_the_cluster_before_the_first_round(served: Served) -> None:
    for name, availability in (("n2", NodeAvailability.CORDONED), ("n3", NodeAvailability.DRAINING)):
        served.do(c.RegisterNode(node(name, flavor="h100", cpu=8, gpu=2)))
        served.do(c.SetNodeAvailability(name, availability))
    served.do(c.RegisterNode(node("n4")))
    served.do(c.LoseNode("n4"))
    served.do(c.RegisterNode(replace(node("n5", flavor="t4"), trouble="No space left on device")))
    served.submit(3)
    status = cluster_status_from_proto(await served.scheduler.GetClusterStatus(pb.GetClusterStatusRequest()))
    assert status.nodes == NodeCounts(open=1, cordoned=1, draining=1, lost=1, in_trouble=1)
    assert (status.pending_jobs, status.running_jobs, status.gap, status.last_round) == (3, 0, None, None)
    assert status.revision == served.store.current_revision()
    assert {(u.flavor, u.resource): u.capacity for u in status.flavors if u.resource != "memory"} == {
        ("a100", "cpu"): 1_000_000,
        ("a100", "gpu"): 4000,
        ("h100", "cpu"): 16_000,
        ("h100", "gpu"): 4000,
        ("t4", "cpu"): 32_000,
        ("t4", "gpu"): 4000,
    }


async def test_the_cluster_after_a_round(served: Served) -> None:
    (job, _) = served.submit(2)
    served.start(job)
    usage = FlavorUsage("a100", "cpu", 1_000_000, 2000, 1000, 0.25)
    summary = replace(round_summary(9), flavors=(usage,), queues=(QueueUsage("q", 1.0, 1, 1, 0.5, 0.4),), gap=0.02)
    served.store.record(summary, Memory())
    message = await served.scheduler.GetClusterStatus(pb.GetClusterStatusRequest())
    status = cluster_status_from_proto(message)
    assert (status.pending_jobs, status.running_jobs, message.gap) == (1, 1, 0.02)
    assert (status.flavors, status.queues, status.last_round) == ((usage,), summary.queues, summary)

"""WatchAllocations: what holds now, then what is newer; slow readers skip, an older epoch never follows a newer one."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.rpc.hub import Draining, Hub
from allocator.v1 import node_service_pb2 as pb
from allocator.wire.nodes import desired_from_proto
from tests.builders import resources
from tests.rpc.serving import Served, serving

PATIENCE = 90


def desired(number: int, replicas: int = 0, node: str = "n1") -> NodeDesired:
    epoch = Epoch(number, number)
    replica = DesiredReplica("j1", 0, 1, epoch, "a100", resources(cpu=1), (), epoch)
    return NodeDesired(node, epoch, (replica,) * replicas)


async def test_first_what_holds_then_what_is_pushed(served: Served) -> None:
    first, second = served.submit(2, replicas=2)
    served.start(first)
    stream = aiter(served.nodes.WatchAllocations(pb.WatchAllocationsRequest(node="n1")))
    now = desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired)
    assert [(replica.job_id, replica.replica) for replica in now.replicas] == [(first.id, 0), (first.id, 1)]
    assert now == served.store.desired("n1")
    pushed = served.start(second)
    await asyncio.to_thread(served.hub.push, pushed)
    later = desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired)
    assert (later,) == pushed
    assert later.epoch > now.epoch


async def test_what_was_pushed_before_is_not_sent_again(served: Served) -> None:
    (job,) = served.submit()
    pushed = served.start(job)
    stream = aiter(served.nodes.WatchAllocations(pb.WatchAllocationsRequest(node="n1")))
    now = desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired)
    served.hub.push(pushed)  # the round was slower than the watcher
    await asyncio.sleep(0)
    served.hub.push((desired(now.epoch.round + 5),))
    assert desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired).epoch.round == (
        now.epoch.round + 5
    )


async def test_the_same_state_comes_again_only_when_others_may_begin() -> None:
    waiting = {"j1", "j2"}

    def shown(state: NodeDesired) -> NodeDesired:
        return replace(state, waiting=frozenset(waiting))

    async with serving(shown=shown) as served:
        stream = aiter(served.nodes.WatchAllocations(pb.WatchAllocationsRequest(node="n1")))

        async def next_one() -> NodeDesired:
            return desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired)

        first = await next_one()
        assert first.waiting == {"j1", "j2"}
        served.hub.push((served.store.desired("n1"),))
        await asyncio.sleep(0)
        waiting.remove("j1")
        served.hub.push((served.store.desired("n1"),))
        assert await next_one() == replace(first, waiting=frozenset({"j2"}))
        waiting.clear()
        served.hub.push((NodeDesired("n1", Epoch(0, 0), ()),))  # older than what the watcher has: a reason to look
        assert await next_one() == replace(first, waiting=frozenset())


async def test_a_slow_reader_skips_to_the_newest() -> None:
    # Small windows, so that a few states fill what lies between the server and a client that does not read.
    small = (("grpc.http2.lookahead_bytes", 2**16), ("grpc.http2.bdp_probe", 0))
    async with serving(channel_options=small) as served:
        stream = aiter(served.nodes.WatchAllocations(pb.WatchAllocationsRequest(node="n1")))
        epochs = [desired_from_proto((await asyncio.wait_for(anext(stream), PATIENCE)).desired).epoch]
        last = 400
        for number in range(2, last + 1):
            await asyncio.to_thread(served.hub.push, (desired(number, replicas=1000),))
        while epochs[-1] != Epoch(last, last):
            message = await asyncio.wait_for(anext(stream), PATIENCE)
            epochs.append(desired_from_proto(message.desired).epoch)
        counts = served.hub.stream_counts()["allocations"]
    assert epochs == sorted(set(epochs))
    assert len(epochs) < last / 2
    assert counts.coalesced > last / 2
    assert counts.pushes <= last - 1


async def test_pushes_from_many_threads_arrive_newest_last() -> None:
    hub = Hub()
    hub.attach(asyncio.get_running_loop())
    with hub.allocations("n1") as slot:

        def push_every_third(start: int) -> None:
            for number in range(start, 300, 3):
                hub.push((desired(number),))

        threads = [threading.Thread(target=push_every_third, args=(start,)) for start in range(3)]
        for thread in threads:
            thread.start()
        seen = Epoch(0, 0)
        async with asyncio.timeout(PATIENCE):
            while seen != Epoch(299, 299):
                seen = max(seen, (await slot.take()).epoch)
        for thread in threads:
            thread.join()
    assert hub.stream_counts()["allocations"].watchers == 0


async def test_an_older_state_never_replaces_a_newer_one() -> None:
    hub = Hub()
    hub.attach(asyncio.get_running_loop())
    with hub.allocations("n1") as slot:
        hub.push((desired(5), desired(4)))
        hub.push((desired(3),))
        await asyncio.sleep(0)
        hub.push((desired(2),))
        await asyncio.sleep(0)
        assert (await slot.take()).epoch == Epoch(5, 5)
        assert slot.waiting is None


async def test_nobody_watches_and_nothing_is_kept() -> None:
    hub = Hub()
    hub.push((desired(1),))  # before there is a loop
    hub.attach(asyncio.get_running_loop())
    hub.push(tuple(desired(1, node=f"n{index}") for index in range(100)))
    await asyncio.sleep(0)
    with hub.allocations("n1") as slot:
        hub.push((desired(2),))
        assert (await slot.take()).epoch == Epoch(2, 2)
    hub.detach()
    hub.push((desired(3),))


async def test_a_closed_hub_ends_watches_and_begins_none() -> None:
    hub = Hub()
    hub.attach(asyncio.get_running_loop())
    with hub.allocations("n1") as slot:
        hub.close()
        with pytest.raises(Draining):
            await slot.take()
    with pytest.raises(Draining), hub.jobs():
        pass
    assert hub.stream_counts()["jobs"].watchers == 0


def test_news_for_a_loop_that_is_gone_is_dropped() -> None:
    hub = Hub()
    loop = asyncio.new_event_loop()
    hub.attach(loop)
    loop.close()
    hub.push((desired(1),))
    hub.changed(1)

"""QueueService and NodeService by their clients, without the watches."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from allocator.domain.cluster import NodeHealth
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.intake import commands as c
from allocator.rpc.settings import RpcSettings
from allocator.v1 import node_pb2, queue_pb2
from allocator.v1 import node_service_pb2 as nodes
from allocator.v1 import queue_service_pb2 as queues
from allocator.wire.nodes import node_to_proto
from tests.builders import node
from tests.rpc.serving import Served, serving


async def test_the_life_of_a_queue(served: Served) -> None:
    stub = served.queues
    made = await stub.CreateQueue(queues.CreateQueueRequest(queue=queue_pb2.Queue(name="r", weight=2, max_live_jobs=5)))
    assert (made.queue.weight, made.queue.max_live_jobs, made.queue.cordoned) == (2, 5, False)
    changed = await stub.UpdateQueue(queues.UpdateQueueRequest(name="r", weight=3))
    assert (changed.queue.weight, changed.queue.max_live_jobs) == (3, 5)
    zero = await stub.UpdateQueue(queues.UpdateQueueRequest(name="r", max_live_jobs=0))
    assert (zero.queue.HasField("max_live_jobs"), zero.queue.max_live_jobs) == (True, 0)
    unbounded = await stub.UpdateQueue(queues.UpdateQueueRequest(name="r", clear_max_live_jobs=True))
    assert not unbounded.queue.HasField("max_live_jobs")
    closed = await stub.CordonQueue(queues.CordonQueueRequest(name="r", cordoned=True))
    assert closed.queue.cordoned
    assert (await stub.GetQueue(queues.GetQueueRequest(name="r"))).queue == closed.queue
    await stub.DeleteQueue(queues.DeleteQueueRequest(name="r"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetQueue(queues.GetQueueRequest(name="r"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_quotas_are_replaced_together_or_stay(served: Served) -> None:
    stub = served.queues
    h100 = queue_pb2.Quota(flavor="h100", resource="gpu", nominal=16_000, borrowing_limit=0, lending_limit=4000)
    a100 = queue_pb2.Quota(flavor="a100", resource="memory", nominal=2**40)
    new = queue_pb2.Queue(name="r", priority=-2, quotas=[h100, a100], discipline=queue_pb2.DISCIPLINE_FIFO)
    made = (await stub.CreateQueue(queues.CreateQueueRequest(queue=new))).queue
    assert (made.priority, made.discipline) == (-2, queue_pb2.DISCIPLINE_FIFO)
    assert list(made.quotas) == [a100, h100]
    assert made.quotas[1].HasField("borrowing_limit")
    assert not made.quotas[0].HasField("borrowing_limit")
    same = (await stub.UpdateQueue(queues.UpdateQueueRequest(name="r", weight=2, priority=0))).queue
    assert (list(same.quotas), same.priority, same.discipline) == ([a100, h100], 0, queue_pb2.DISCIPLINE_FIFO)
    fair = queues.UpdateQueueRequest(name="r", quotas=[h100], discipline=queue_pb2.DISCIPLINE_FAIR)
    changed = (await stub.UpdateQueue(fair)).queue
    assert (list(changed.quotas), changed.discipline) == ([h100], queue_pb2.DISCIPLINE_FAIR)
    assert (await stub.ListQueues(queues.ListQueuesRequest())).queues[1] == changed
    assert not (await stub.UpdateQueue(queues.UpdateQueueRequest(name="r", clear_quotas=True))).queue.quotas


async def test_a_queue_counts_the_jobs_below_it(served: Served) -> None:
    for name in ("team", "team/a", "team/b", "teammates"):
        served.do(c.CreateQueue(Queue(name)))
    (running, *_) = served.submit(3, queue="team/a")
    served.submit(2, queue="team/b")
    served.submit(1, queue="teammates")
    served.start(running)
    listed = (await served.queues.ListQueues(queues.ListQueuesRequest())).queues
    assert {queue.name: (queue.pending_jobs, queue.running_jobs) for queue in listed} == {
        "q": (0, 0),
        "team": (4, 1),
        "team/a": (2, 1),
        "team/b": (2, 0),
        "teammates": (1, 0),
    }
    got = (await served.queues.GetQueue(queues.GetQueueRequest(name="team"))).queue
    assert (got.pending_jobs, got.running_jobs) == (4, 1)


async def test_pages_of_queues_with_many_quotas_are_bounded_in_bytes_too() -> None:
    async with serving(RpcSettings(max_message_bytes=2**16)) as served:
        quotas = tuple(Quota("f" * 200, f"x{number}", number) for number in range(40))
        for index in range(12):
            served.do(c.CreateQueue(Queue(f"q{index:02}", quotas=quotas)))
        request = queues.ListQueuesRequest(page_size=1000)
        names: list[str] = []
        while not names or request.page_token:
            page = await served.queues.ListQueues(request)
            assert page.ByteSize() < 2**15
            names += [queue.name for queue in page.queues]
            request.page_token = page.next_page_token
        assert names == ["q", *(f"q{index:02}" for index in range(12))]


async def test_pages_of_nodes_with_many_labels_are_bounded_in_bytes_too() -> None:
    async with serving(RpcSettings(max_message_bytes=2**16)) as served:
        labels = tuple((f"k{number:02}", "v" * 200) for number in range(30))
        for index in range(12):
            served.do(c.RegisterNode(replace(node(f"m{index:02}"), labels=labels)))
        request = nodes.ListNodesRequest(page_size=1000)
        names: list[str] = []
        while not names or request.page_token:
            page = await served.nodes.ListNodes(request)
            assert page.ByteSize() < 2**15
            names += [each.name for each in page.nodes]
            request.page_token = page.next_page_token
        assert names == [*(f"m{index:02}" for index in range(12)), "n1"]


async def test_queues_and_nodes_come_in_pages(served: Served) -> None:
    for index in range(25):
        served.do(c.CreateQueue(Queue(f"q{index:02}")))
        served.do(c.RegisterNode(node(f"m{index:02}")))
    request = queues.ListQueuesRequest(page_size=10)
    names: list[str] = []
    while not names or request.page_token:
        page = await served.queues.ListQueues(request)
        assert len(page.queues) <= 10
        names += [queue.name for queue in page.queues]
        request.page_token = page.next_page_token
    assert names == ["q", *(f"q{index:02}" for index in range(25))]
    first = await served.nodes.ListNodes(nodes.ListNodesRequest(page_size=25))
    rest = await served.nodes.ListNodes(nodes.ListNodesRequest(page_size=25, page_token=first.next_page_token))
    assert [n.name for n in (*first.nodes, *rest.nodes)] == [*(f"m{index:02}" for index in range(25)), "n1"]
    assert not rest.next_page_token


async def test_the_life_of_a_node(served: Served) -> None:
    stub = served.nodes
    message = node_pb2.Node(name="n2", flavor="h100", simulated=True, labels={"rack": "r1"})
    message.capacity.gpu_millis = 8000
    answer = await stub.RegisterNode(nodes.RegisterNodeRequest(node=message))
    assert (answer.node.health, answer.node.availability) == (
        node_pb2.NODE_HEALTH_READY,
        node_pb2.NODE_AVAILABILITY_OPEN,
    )
    assert answer.lease_seconds > answer.heartbeat_interval_seconds > 0
    assert (await stub.GetNode(nodes.GetNodeRequest(name="n2"))).node == answer.node
    closed = await stub.CordonNode(nodes.CordonNodeRequest(name="n2", cordoned=True))
    assert closed.node.availability == node_pb2.NODE_AVAILABILITY_CORDONED
    opened = await stub.CordonNode(nodes.CordonNodeRequest(name="n2"))
    assert opened.node.availability == node_pb2.NODE_AVAILABILITY_OPEN
    draining = await stub.DrainNode(nodes.DrainNodeRequest(name="n2"))
    assert draining.node.availability == node_pb2.NODE_AVAILABILITY_DRAINING
    again = await stub.RegisterNode(nodes.RegisterNodeRequest(node=message))
    assert again.node.availability == node_pb2.NODE_AVAILABILITY_DRAINING
    tainted = await stub.TaintNode(nodes.TaintNodeRequest(name="n2", taints={"dedicated": "web", "spot": ""}))
    assert dict(tainted.node.taints) == {"dedicated": "web", "spot": ""}
    changed = await stub.TaintNode(nodes.TaintNodeRequest(name="n2", taints={"spot": "x"}, removed_keys=["dedicated"]))
    assert dict(changed.node.taints) == {"spot": "x"}
    await stub.RemoveNode(nodes.RemoveNodeRequest(name="n2"))
    assert [n.name for n in served.store.nodes()] == ["n1"]


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(20, 2.0), (100, 2.0), (300, 6.0), (449, 8.98), (1000, 9.0)],
    ids=["few", "just as many as may be", "many", "almost too many", "too many"],
)
def test_many_agents_are_asked_to_report_less_often_but_five_times_per_lease(count: int, seconds: float) -> None:
    settings = RpcSettings(lease_seconds=45.0, heartbeat_interval_seconds=2.0, heartbeats_per_second=50.0)
    assert settings.heartbeat_interval(count) == pytest.approx(seconds)


def test_an_interval_that_was_set_is_never_shortened() -> None:
    assert RpcSettings(lease_seconds=10.0, heartbeat_interval_seconds=4.0).heartbeat_interval(10**6) == 4.0


async def test_agents_are_told_how_often_to_report_as_nodes_come() -> None:
    async with serving(RpcSettings(lease_seconds=45.0, heartbeats_per_second=1.0)) as served:
        for count in range(2, 6):
            message = node_to_proto(node(f"n{count}"))
            registered = await served.nodes.RegisterNode(nodes.RegisterNodeRequest(node=message))
            assert registered.heartbeat_interval_seconds == count
            answer = await served.nodes.Heartbeat(nodes.HeartbeatRequest(node="n1"))
            assert answer.heartbeat_interval_seconds == count


async def test_a_heartbeat_brings_a_lost_node_back_and_ends_jobs(served: Served) -> None:
    (job,) = served.submit()
    served.start(job)
    served.do(c.LoseNode("n1"))
    running = served.store.get_job(job.id)
    assert running.allocation is not None
    request = nodes.HeartbeatRequest(node="n1")
    request.reports.add(
        job_id=job.id,
        epoch={"round": running.allocation.epoch.round, "revision": running.allocation.epoch.revision},
        state=node_pb2.REPLICA_STATE_FAILED,
        message="out of memory",
    )
    answer = await served.nodes.Heartbeat(request)
    assert answer.lease_seconds > answer.heartbeat_interval_seconds > 0
    assert served.store.get_node("n1").health is NodeHealth.READY
    assert "out of memory" in served.store.get_job(job.id).message

"""What is wrong with a request is answered with its code and the path of its field; the server goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rpc import RpcSettings
from allocator.rpc.tokens import JobCursor, page_token
from allocator.v1 import job_service_pb2 as jobs
from allocator.v1 import node_service_pb2 as nodes
from allocator.v1 import queue_service_pb2 as queues
from allocator.v1 import scheduler_service_pb2 as scheduler
from tests.rpc.serving import Served, fields_of, serving, status_of

INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXISTS, STATE = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION


def of(kind: Callable[..., Any], **fields: Any) -> Any:
    """A message with fields given as plain values, which the stubs do not know of."""
    return kind(**fields)


CASES: list[tuple[str, Any, grpc.StatusCode, list[str]]] = [
    ("jobs.SubmitJobs", of(jobs.SubmitJobsRequest, jobs=[{}] * 10_001), INVALID, ["jobs"]),
    ("jobs.SubmitJobs", of(jobs.SubmitJobsRequest, request_id="x" * 129), INVALID, ["request_id"]),
    ("jobs.CancelJobs", of(jobs.CancelJobsRequest, job_ids=["j"] * 10_001), INVALID, ["job_ids"]),
    ("jobs.UpdateJobs", of(jobs.UpdateJobsRequest, updates=[{}] * 10_001), INVALID, ["updates"]),
    ("jobs.GetJob", of(jobs.GetJobRequest, job_id="j999"), MISSING, []),
    ("jobs.GetJob", of(jobs.GetJobRequest, job_id="字" * 100_000), MISSING, []),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_size=-1), INVALID, ["page_size"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, states=[1, 0]), INVALID, ["states[1]"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, states=[77]), INVALID, ["states[0]"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_token="?"), INVALID, ["page_token"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_token="字"), INVALID, ["page_token"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_token=page_token("1")), INVALID, ["page_token"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_token=page_token("-1", "")), INVALID, ["page_token"]),
    ("jobs.ListJobs", of(jobs.ListJobsRequest, page_token=page_token("9" * 20, "")), INVALID, ["page_token"]),
    ("jobs.ReportProgress", of(jobs.ReportProgressRequest, job_id="j1"), INVALID, ["throughput"]),
    ("jobs.ReportProgress", of(jobs.ReportProgressRequest, throughput=math.nan), INVALID, ["throughput"]),
    ("jobs.ReportProgress", of(jobs.ReportProgressRequest, job_id="j9", throughput=1), MISSING, []),
    ("jobs.ReadOutput", of(jobs.ReadOutputRequest, job_id="j9"), MISSING, []),
    ("jobs.ReadOutput", of(jobs.ReadOutputRequest, tail_lines=-1), INVALID, ["tail_lines"]),
    ("jobs.ReadOutput", of(jobs.ReadOutputRequest, resume={"node": "n1", "offset": -1}), INVALID, ["resume"]),
    ("jobs.WatchJobs", of(jobs.WatchJobsRequest, cursor="x"), INVALID, ["cursor"]),
    ("jobs.WatchJobs", of(jobs.WatchJobsRequest, cursor=JobCursor(0, 0).written("q")), INVALID, ["cursor"]),
    ("jobs.WatchJobs", of(jobs.WatchJobsRequest, cursor=JobCursor(99, 0).written("")), STATE, []),
    ("queues.CreateQueue", of(queues.CreateQueueRequest), INVALID, ["queue"]),
    ("queues.CreateQueue", of(queues.CreateQueueRequest, queue={"name": "Q!"}), INVALID, ["queue.name"]),
    ("queues.CreateQueue", of(queues.CreateQueueRequest, queue={"name": "r", "weight": -1}), INVALID, ["queue.weight"]),
    ("queues.CreateQueue", of(queues.CreateQueueRequest, queue={"name": "q"}), EXISTS, []),
    ("queues.CreateQueue", of(queues.CreateQueueRequest, queue={"name": "x/y"}), MISSING, []),
    ("queues.UpdateQueue", of(queues.UpdateQueueRequest, name="q", weight=0), INVALID, ["weight"]),
    ("queues.UpdateQueue", of(queues.UpdateQueueRequest, name="q", max_live_jobs=-1), INVALID, ["max_live_jobs"]),
    ("queues.UpdateQueue", of(queues.UpdateQueueRequest, name="x"), MISSING, []),
    ("queues.UpdateQueue", of(queues.UpdateQueueRequest, name="q", priority=2_000_000), INVALID, ["priority"]),
    ("queues.UpdateQueue", of(queues.UpdateQueueRequest, name="q", discipline=7), INVALID, ["discipline"]),
    (
        "queues.UpdateQueue",
        of(queues.UpdateQueueRequest, name="q", quotas=[{"flavor": "b", "resource": "cpu"}, {"nominal": -1}]),
        INVALID,
        ["quotas[1].flavor", "quotas[1].resource", "quotas[1].nominal"],
    ),
    (
        "queues.CreateQueue",
        of(
            queues.CreateQueueRequest,
            queue={"name": "r", "quotas": [{"flavor": "b", "resource": "cpu", "nominal": 1, "lending_limit": 2}]},
        ),
        INVALID,
        ["queue.quotas[0].lending_limit"],
    ),
    ("queues.GetQueue", of(queues.GetQueueRequest, name="x"), MISSING, []),
    ("queues.DeleteQueue", of(queues.DeleteQueueRequest, name="parent"), STATE, []),
    ("queues.CordonQueue", of(queues.CordonQueueRequest), MISSING, []),
    ("queues.ListQueues", of(queues.ListQueuesRequest, page_size=-5), INVALID, ["page_size"]),
    ("nodes.RegisterNode", of(nodes.RegisterNodeRequest), INVALID, ["node"]),
    (
        "nodes.RegisterNode",
        of(nodes.RegisterNodeRequest, node={"name": "n"}),
        INVALID,
        ["node.capacity", "node.flavor"],
    ),
    ("nodes.Heartbeat", of(nodes.HeartbeatRequest, node="n9"), MISSING, []),
    (
        "nodes.Heartbeat",
        of(nodes.HeartbeatRequest, node="n1", reports=[{"job_id": "j1", "epoch": {}}]),
        INVALID,
        ["reports[0].state"],
    ),
    (
        "nodes.Heartbeat",
        of(nodes.HeartbeatRequest, node="n1", reports=[{"epoch": {}}], leaving=[{"job_id": "j1"}, {"start_epoch": {}}]),
        INVALID,
        ["reports[0].job_id", "leaving[0].start_epoch", "leaving[1].job_id"],
    ),
    ("nodes.GetNode", of(nodes.GetNodeRequest, name="n9"), MISSING, []),
    ("nodes.DrainNode", of(nodes.DrainNodeRequest, name="n9"), MISSING, []),
    ("nodes.CordonNode", of(nodes.CordonNodeRequest, name="n9"), MISSING, []),
    ("nodes.TaintNode", of(nodes.TaintNodeRequest, name="n9"), MISSING, []),
    ("nodes.TaintNode", of(nodes.TaintNodeRequest, name="n1", taints={"": "x"}), INVALID, ["taints['']"]),
    (
        "nodes.TaintNode",
        of(nodes.TaintNodeRequest, name="n1", taints={f"k{i}": "" for i in range(17)}),
        INVALID,
        ["taints"],
    ),
    ("nodes.RemoveNode", of(nodes.RemoveNodeRequest, name="n1"), STATE, []),
    ("nodes.ListNodes", of(nodes.ListNodesRequest, page_token="?"), INVALID, ["page_token"]),
    ("nodes.WatchAllocations", of(nodes.WatchAllocationsRequest, node="n9"), MISSING, []),
    ("scheduler.GetRound", of(scheduler.GetRoundRequest), MISSING, []),
    ("scheduler.GetRound", of(scheduler.GetRoundRequest, round=-1), MISSING, []),
    ("scheduler.ListRounds", of(scheduler.ListRoundsRequest, page_size=-1), INVALID, ["page_size"]),
    ("scheduler.ListRounds", of(scheduler.ListRoundsRequest, page_token="MQ"), INVALID, ["page_token"]),
    ("scheduler.WatchRounds", of(scheduler.WatchRoundsRequest, after_round=-1), INVALID, ["after_round"]),
]


async def outcome(served: Served, method: str, request: Any) -> Any:
    """The answer, or the first message of a stream."""
    service, _, name = method.partition(".")
    call = getattr(getattr(served, service), name)(request, timeout=90)
    return await call.read() if name.startswith(("Watch", "Read")) else await call


async def test_every_bad_request_is_refused_with_its_code_and_fields(served: Served) -> None:
    for name in ("parent", "parent/child"):
        served.do(c.CreateQueue(Queue(name)))
    revision = served.store.current_revision()
    wrong: list[tuple[Any, ...]] = []
    for method, request, code, fields in CASES:
        try:
            answer = await outcome(served, method, request)
        except grpc.aio.AioRpcError as error:
            status = status_of(error)
            if (error.code(), fields_of(status), status.code) != (code, fields, code.value[0]):
                wrong.append((method, str(request)[:100], error.code(), error.details(), fields_of(status)))
        else:
            wrong.append((method, str(request)[:100], answer))
    assert not wrong
    assert served.store.current_revision() == revision


async def test_bytes_that_are_no_message_are_the_client_s_fault(served: Served) -> None:
    call: Any = served.channel.unary_unary("/allocator.v1.JobService/GetJob")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"\xff\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    for method in ("/allocator.v1.JobService/Nonsense", "/other.Service/Method"):
        call: Any = served.channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large_is_refused_and_the_connection_lives() -> None:
    async with serving(RpcSettings(max_message_bytes=2**16)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.jobs.GetJob(jobs.GetJobRequest(job_id="x" * 2**17))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.queues.GetQueue(queues.GetQueueRequest(name="q"))).queue.name == "q"

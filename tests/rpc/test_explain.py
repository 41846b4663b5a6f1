"""ExplainService by its clients: before the first round, afterwards, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory
from allocator.formulation.problem import Problem
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rpc import explain_service
from allocator.solvers import ChainSolver
from allocator.solvers.solution import Status
from allocator.v1 import explain_service_pb2 as pb
from allocator.v1.explain_service_pb2_grpc import ExplainServiceStub
from tests.builders import configuration, node, spec
from tests.rpc.serving import START, Served, fields_of, status_of, until

if TYPE_CHECKING:
    from allocator.v1.explain_service_pb2_grpc import ExplainServiceAsyncStub


class Still:
    """A clock that stands."""

    def now(self) -> float:
        return START

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def stopwatch(self) -> float:
        return 0.0


def a_round(served: Served) -> None:
    report, _ = run_round(
        store=served.store, pusher=served.hub, clock=Still(), solver=ChainSolver(), policy=Policy(), memory=Memory()
    )
    served.hub.observe(report)


def explaining(served: Served) -> ExplainServiceAsyncStub:
    stub: ExplainServiceAsyncStub = ExplainServiceStub(served.channel)
    return stub


async def test_before_the_first_round(served: Served) -> None:
    stub = explaining(served)
    (job,) = served.submit()
    found = (await stub.ExplainJob(pb.ExplainJobRequest(job_id=job.id, estimate=True, what_helps=True))).explanation
    assert (found.job_id, found.HasField("round"), found.HasField("what_helps")) == (job.id, False, False)
    for call in (
        stub.ExplainQueue(pb.ExplainQueueRequest(queue="q")),
        stub.ExplainPrice(pb.ExplainPriceRequest(flavor="a100", resource="cpu")),
        stub.ListLimitPrices(pb.ListLimitPricesRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_job_a_queue_and_a_price(served: Served) -> None:
    stub = explaining(served)
    served.do(c.RegisterNode(node("n2", "t4", cpu=4, gpu=0)))
    wide = spec("q", configuration("a100", cpu=600, gpu=0), preemptible=False)
    served.do(c.SubmitJobs((wide, wide)))
    a_round(served)
    plain = (await stub.ExplainJob(pb.ExplainJobRequest(job_id="j2"))).explanation
    assert plain.round == 1
    assert (plain.HasField("estimate"), plain.HasField("what_helps")) == (False, False)
    request = pb.ExplainJobRequest(job_id="j2", estimate=True, what_helps=True, most_rounds=100)
    whole = (await stub.ExplainJob(request)).explanation
    assert len(whole.estimate.starts) >= 1
    assert whole.what_helps.rounds <= 100
    assert [found.change.nodes for found in whole.what_helps.found] == [1]
    queue = (await stub.ExplainQueue(pb.ExplainQueueRequest(queue="q"))).explanation
    assert queue.actual_share == pytest.approx(600 / 1004)
    price = await stub.ExplainPrice(pb.ExplainPriceRequest(flavor="a100", resource="cpu", one_more=True, history=5))
    assert price.explanation.usage.flavor == "a100"
    assert [past.round for past in price.history] == [1]
    running = (await stub.ExplainJob(request.__class__(job_id="j1", what_helps=True))).explanation
    assert running.received_share == 1.0
    assert not running.HasField("what_helps"), "nothing needs to help who runs"


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("ExplainJob", pb.ExplainJobRequest(job_id="nope"), grpc.StatusCode.NOT_FOUND),
        ("ExplainJob", pb.ExplainJobRequest(), grpc.StatusCode.NOT_FOUND),
        ("ExplainQueue", pb.ExplainQueueRequest(queue="nope"), grpc.StatusCode.NOT_FOUND),
        ("ExplainPrice", pb.ExplainPriceRequest(flavor="a100", resource="nope"), grpc.StatusCode.NOT_FOUND),
        ("ExplainPrice", pb.ExplainPriceRequest(flavor="\x00", resource=""), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_does_not_exist(served: Served, method: str, request_: object, code: grpc.StatusCode) -> None:
    a_round(served)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await getattr(explaining(served), method)(request_)
    assert raised.value.code() is code


async def test_bad_input_names_the_field(served: Served) -> None:
    a_round(served)
    stub = explaining(served)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ExplainJob(pb.ExplainJobRequest(job_id="j1", most_rounds=-1))
    assert fields_of(status_of(raised.value)) == ["most_rounds"]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ExplainPrice(pb.ExplainPriceRequest(flavor="a100", resource="cpu", history=1001))
    assert fields_of(status_of(raised.value)) == ["history"]


async def test_a_queue_that_no_round_has_seen_says_so(served: Served) -> None:
    from allocator.domain.queue import Queue

    a_round(served)
    served.do(c.CreateQueue(Queue("late")))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await explaining(served).ExplainQueue(pb.ExplainQueueRequest(queue="late"))
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_replay_ends_when_its_client_goes_away(served: Served) -> None:
    served.do(c.SubmitJobs((spec("q", configuration("a100", cpu=600, gpu=0), preemptible=False),) * 2))
    a_round(served)
    service = served.server._explaining
    begun, go_on = threading.Event(), threading.Event()

    def rest(_: float) -> None:
        begun.set()
        go_on.wait(20)

    service._rest = rest
    call = explaining(served).ExplainJob(pb.ExplainJobRequest(job_id="j2", what_helps=True, most_rounds=10_000))
    asking = asyncio.ensure_future(call)
    await until(begun.is_set)
    call.cancel()
    await until(lambda: service._replaying == 0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    service._rest = lambda _: None
    again = await explaining(served).ExplainJob(pb.ExplainJobRequest(job_id="j2", what_helps=True, most_rounds=3))
    assert again.explanation.what_helps.rounds == 3, "the thread is free again"


def test_replayed_rounds_stop_when_nobody_asks() -> None:
    problem = Problem.from_arrays(throughput=[[1.0]], flavor=[[0]], demand=[[[1.0]]], capacity=[[1.0]])
    solver = explain_service._WhileAsked()
    solution = solver.solve(problem, gap=1e-4, iterations=100, warm_start=None)
    assert solution.status is Status.OPTIMAL
    solver.abandon()
    with pytest.raises(explain_service._Abandoned):
        solver.solve(problem, gap=1e-4, iterations=100, warm_start=None)


async def test_too_many_replays_at_a_time_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.submit(2000)  # more than the node holds
    a_round(served)
    monkeypatch.setattr(explain_service, "MOST_WAITING", 0)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await explaining(served).ExplainJob(pb.ExplainJobRequest(job_id="j2000", what_helps=True))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

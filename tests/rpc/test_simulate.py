"""What-ifs over the wire: answered as the next round will decide, refused by field, and nothing happens."""

from __future__ import annotations

import asyncio
import sys

import grpc
import pytest

from allocator.intake import commands as c
from allocator.rpc import RpcSettings
from allocator.v1 import job_service_pb2 as job_pb
from allocator.v1 import simulate_service_pb2 as pb
from allocator.v1.simulate_service_pb2_grpc import SimulateServiceStub
from allocator.wire.jobs import spec_to_proto
from tests.builders import configuration, node, spec
from tests.rpc.serving import Served, fields_of, serving, status_of


def stub(served: Served):  # type: ignore[no-untyped-def] # the stubs name it in stubs only
    return SimulateServiceStub(served.channel)


async def test_it_answers_what_would_start_and_commits_nothing(served: Served) -> None:
    waiting = served.do(c.SubmitJobs((spec("q", configuration(gpu=4)),) * 2))
    revision = served.store.current_revision()
    change = pb.SimulatedChange(add_nodes=pb.AddNodes(flavor="a100"))
    answer = await stub(served).Simulate(pb.SimulateRequest(changes=[change], job_ids=[waiting[1].id]))
    assert (answer.before.summary.started_jobs, answer.after.summary.started_jobs) == (1, 2)
    (job,) = answer.jobs
    assert not job.before.HasField("configuration")
    assert job.after.configuration == 0
    assert {change.job_id for change in answer.after.changes} == {each.id for each in waiting}
    assert served.store.current_revision() == revision
    assert len(served.store.nodes()) == 1


async def test_a_submit_is_answered_item_by_item_as_a_real_one_would_be(served: Served) -> None:
    items = [spec("q"), spec("nowhere"), spec("q", configuration(gpu=8))]
    request = job_pb.SubmitJobsRequest(jobs=[spec_to_proto(item) for item in items])
    simulated = await stub(served).Simulate(pb.SimulateRequest(changes=[pb.SimulatedChange(submit_jobs=request)]))
    assert served.store.snapshot(0.0).jobs == ()
    real = await served.jobs.SubmitJobs(request)
    for mine, theirs in zip(simulated.submitted, real.results, strict=True):
        assert mine.WhichOneof("outcome") == theirs.WhichOneof("outcome")
        assert mine.error == theirs.error
    assert "the largest node of a100 has 4" in real.results[2].error.message
    assert "1 replica of 1 core, 4 GPUs would fit" in real.results[2].error.message


async def test_jobs_for_nodes_to_come_are_taken_when_asked_for(served: Served) -> None:
    large = [spec_to_proto(spec("q", configuration(gpu=8)))]
    answer = await served.jobs.SubmitJobs(job_pb.SubmitJobsRequest(jobs=large, allow_infeasible=True))
    assert answer.results[0].job.id


async def test_a_server_may_let_all_of_them_wait() -> None:
    async with serving(RpcSettings(reject_infeasible=False)) as served:
        large = job_pb.SubmitJobsRequest(jobs=[spec_to_proto(spec("q", configuration(gpu=8)))])
        answer = await served.jobs.SubmitJobs(large)
        assert answer.results[0].job.id
        (told,) = (
            await stub(served).Simulate(pb.SimulateRequest(changes=[pb.SimulatedChange(submit_jobs=large)]))
        ).jobs
        assert "would fit" in told.never


async def test_a_repeated_request_gets_the_same_refusal(served: Served) -> None:
    jobs = [spec_to_proto(spec("q")), spec_to_proto(spec("q", configuration(gpu=8)))]
    request = job_pb.SubmitJobsRequest(jobs=jobs, request_id="once")
    first = await served.jobs.SubmitJobs(request)
    served.do(c.RegisterNode(node("n2", gpu=8)))
    assert await served.jobs.SubmitJobs(request) == first


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SimulateRequest(changes=[pb.SimulatedChange()]), "changes[0]"),
        (pb.SimulateRequest(rounds=-1), "rounds"),
        (
            pb.SimulateRequest(changes=[pb.SimulatedChange(add_nodes=pb.AddNodes(flavor="x"))]),
            "changes[0].capacity",
        ),
        (
            pb.SimulateRequest(changes=[pb.SimulatedChange(change_policy=pb.ChangePolicy(values={"gap": "2"}))]),
            "changes[0].policy.gap",
        ),
    ],
)
async def test_bad_input_names_the_field(served: Served, request_: pb.SimulateRequest, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub(served).Simulate(request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(status_of(refused.value)) == [field]


async def test_an_unknown_job_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub(served).Simulate(pb.SimulateRequest(job_ids=["j99"]))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_plan_is_answered_with_what_it_brings(served: Served) -> None:
    served.do(c.SubmitJobs((spec("q", configuration(gpu=4)),) * 3))
    offer = pb.NodeOffer(flavor="a100", cost=10)
    answer = await stub(served).PlanCapacity(pb.PlanCapacityRequest(budget=25, offers=[offer]))
    assert [(each.flavor, each.count) for each in answer.purchases] == [("a100", 2)]
    assert (answer.spent, answer.left, answer.complete) == (20.0, 5.0, True)
    assert answer.after.summary.started_jobs == 3
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub(served).PlanCapacity(pb.PlanCapacityRequest(budget=-1, offers=[offer]))
    assert fields_of(status_of(refused.value)) == ["budget"]


async def test_many_at_a_time_are_all_answered_or_refused_at_once(served: Served) -> None:
    served.do(c.SubmitJobs((spec("q"),) * 5))
    change = pb.SimulatedChange(add_nodes=pb.AddNodes(flavor="a100"))
    calls = [stub(served).Simulate(pb.SimulateRequest(changes=[change])) for _ in range(40)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    answered = [answer for answer in found if isinstance(answer, pb.SimulateResponse)]
    refused = [answer for answer in found if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(answered) >= 16
    assert len(answered) + len(refused) == 40
    assert {error.code() for error in refused} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_an_answer_gives_way_to_rounds_in_all_its_stages(served: Served) -> None:
    """So often that a round that begins meanwhile need not share the interpreter with it for long."""
    served.do(c.SubmitJobs((spec("q", configuration(gpu=4)),) * 3))
    where: set[str] = set()

    def under_way(seconds: float) -> None:
        frame = sys._getframe(3)  # beyond patience and checkpoint
        assert 0 < seconds <= 10
        where.add(frame.f_globals["__name__"].removeprefix("allocator."))

    served.server._simulating._rest = under_way
    await stub(served).Simulate(pb.SimulateRequest(changes=[pb.SimulatedChange(add_nodes=pb.AddNodes(flavor="a100"))]))
    assert where >= {
        "whatif.fork", "rounds.decide", "solvers.chain", "placement.rounding", "placement.explain", "whatif.outcome",
    }  # fmt: skip

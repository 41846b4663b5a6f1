"""JobService by its clients: batches, idempotency, pages, progress."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2  # type: ignore[import-untyped] # ships no py.typed

from allocator.domain.job import Job
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rpc import RpcSettings
from allocator.rpc import job_service as job_service_module
from allocator.v1 import job_pb2
from allocator.v1 import job_service_pb2 as pb
from allocator.wire.jobs import spec_to_proto
from tests.builders import configuration, spec
from tests.rpc.serving import Served, fields_of, reason_of, serving, status_of

JOB = spec_to_proto(spec("q", configuration(gpu=0)))


def job(**changes: Any) -> job_pb2.JobSpec:
    message = job_pb2.JobSpec()
    message.CopyFrom(JOB)
    for field, value in changes.items():
        setattr(message, field, value)
    return message


async def test_a_submitted_job_can_be_got(served: Served) -> None:
    answer = await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job(name="train")]))
    (result,) = answer.results
    got = (await served.jobs.GetJob(pb.GetJobRequest(job_id=result.job.id))).job
    assert got == result.job
    assert (got.spec.name, got.state, got.submit_time.seconds) == ("train", job_pb2.JOB_STATE_PENDING, 1_800_000_000)


async def test_a_bad_item_spoils_no_other(served: Served) -> None:
    request = pb.SubmitJobsRequest(jobs=[job(), job(weight=-1), job(queue="nowhere"), job()])
    results = (await served.jobs.SubmitJobs(request)).results
    assert [result.WhichOneof("outcome") for result in results] == ["job", "error", "error", "job"]
    assert (results[1].error.code, fields_of(results[1].error)) == (code_pb2.INVALID_ARGUMENT, ["jobs[1].weight"])
    assert (results[2].error.code, reason_of(results[2].error)) == (code_pb2.NOT_FOUND, "NOT_FOUND")
    assert len(served.store.list_jobs()) == 2


async def test_a_batch_of_nothing_but_bad_items_writes_nothing(served: Served) -> None:
    revision = served.store.current_revision()
    results = (await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job(queue="")] * 3))).results
    assert [fields_of(result.error) for result in results] == [[f"jobs[{index}].queue"] for index in range(3)]
    assert served.store.current_revision() == revision
    assert not (await served.jobs.SubmitJobs(pb.SubmitJobsRequest())).results


async def test_the_same_request_id_gets_the_same_answer(served: Served) -> None:
    request = pb.SubmitJobsRequest(jobs=[job(name="a"), job(weight=-1), job(name="b")], request_id="r1")
    first = await served.jobs.SubmitJobs(request)
    assert await served.jobs.SubmitJobs(request) == first
    assert len(served.store.list_jobs()) == 2


async def test_the_same_request_id_with_another_body_is_refused(served: Served) -> None:
    await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job(name="a")], request_id="r1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job(name="b")], request_id="r1"))
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(status_of(raised.value)) == "ALREADY_EXISTS"


@pytest.mark.parametrize("changed", [[{}, {"queue": ""}], [{}], [{"weight": -1}, {}], [{}, {"weight": -2}]])
async def test_what_is_wrong_with_a_request_belongs_to_its_body(served: Served, changed: list[dict[str, Any]]) -> None:
    first = pb.SubmitJobsRequest(jobs=[job(), job(weight=-1)], request_id="r1")
    answer = await served.jobs.SubmitJobs(first)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job(**item) for item in changed], request_id="r1"))
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert await served.jobs.SubmitJobs(first) == answer


async def test_a_request_of_nothing_but_bad_items_is_remembered(served: Served) -> None:
    bad = pb.SubmitJobsRequest(jobs=[job(weight=-1), job(queue="")], request_id="r1")
    first = await served.jobs.SubmitJobs(bad)
    assert [fields_of(result.error) for result in first.results] == [["jobs[0].weight"], ["jobs[1].queue"]]
    assert await served.jobs.SubmitJobs(bad) == first
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=[job()], request_id="r1"))
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_many_at_once_with_one_request_id_are_admitted_once(served: Served) -> None:
    request = pb.SubmitJobsRequest(jobs=[job()] * 5, request_id="r1")
    answers = await asyncio.gather(*(served.jobs.SubmitJobs(request) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert len(served.store.list_jobs()) == 5


async def test_a_large_batch_is_answered_in_order(served: Served) -> None:
    jobs = [job(name=str(index), weight=-1 if index % 7 == 0 else 1) for index in range(1000)]
    results = (await served.jobs.SubmitJobs(pb.SubmitJobsRequest(jobs=jobs))).results
    assert [result.job.spec.name for result in results] == [str(i) if i % 7 else "" for i in range(1000)]
    assert fields_of(results[700].error) == ["jobs[700].weight"]


async def test_cancelling_item_by_item(served: Served) -> None:
    first, second = served.submit(2)
    request = pb.CancelJobsRequest(job_ids=[first.id, "j999", second.id], message="not needed")
    results = (await served.jobs.CancelJobs(request)).results
    assert [result.job.state for result in results] == [job_pb2.JOB_STATE_CANCELLED, 0, job_pb2.JOB_STATE_CANCELLED]
    assert (results[1].error.code, results[0].job.message) == (code_pb2.NOT_FOUND, "not needed")


async def test_updating_item_by_item(served: Served) -> None:
    first, second = served.submit(2)
    updates = [
        pb.JobUpdate(job_id=first.id, weight=5),
        pb.JobUpdate(job_id=second.id, priority_class="urgent"),
        pb.JobUpdate(job_id=second.id, weight=0),
        pb.JobUpdate(job_id="j999"),
    ]
    results = (await served.jobs.UpdateJobs(pb.UpdateJobsRequest(updates=updates))).results
    assert (results[0].job.spec.weight, results[0].job.spec.priority_class) == (5, "normal")
    assert fields_of(results[1].error) == ["updates[1].priority_class"]
    assert fields_of(results[2].error) == ["updates[2].weight"]
    assert results[3].error.code == code_pb2.NOT_FOUND


async def test_reporting_progress(served: Served) -> None:
    (running,) = served.submit(1)
    request = pb.ReportProgressRequest(job_id=running.id, throughput=3)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.jobs.ReportProgress(request)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    (desired,) = served.start(running)
    answer = await served.jobs.ReportProgress(request)
    assert dict(answer.job.measured_throughput) == {"a100": 3}
    request.epoch.round = desired.epoch.round + 1
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.jobs.ReportProgress(request)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def listed(served: Served, request: pb.ListJobsRequest) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        page = await served.jobs.ListJobs(request)
        found += [job.id for job in page.jobs]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_pages_are_complete_while_jobs_are_added(served: Served) -> None:
    before = [job.id for job in served.submit(50)]
    found: list[str] = []
    request = pb.ListJobsRequest(page_size=7)
    for _ in range(6):
        page = await served.jobs.ListJobs(request)
        assert len(page.jobs) == 7
        found += [job.id for job in page.jobs]
        served.submit(3)
        request.page_token = page.next_page_token
    found += await listed(served, request)
    assert found[:50] == before
    assert found == [job.id for job in served.store.list_jobs()]


async def test_filters_and_pages_go_together(served: Served) -> None:
    for name in ("team", "team/a", "team/b", "teammates"):
        served.do(c.CreateQueue(Queue(name)))
    made: dict[str, list[Job]] = {name: [] for name in ("q", "team/a", "team/b", "teammates")}
    for _ in range(4):
        for name in made:
            made[name] += served.submit(2, queue=name)
    cancelled = [made["team/a"][0].id, made["team/b"][3].id]
    served.do(c.CancelJobs(tuple(cancelled)))
    states = [job_pb2.JOB_STATE_CANCELLED]
    assert await listed(served, pb.ListJobsRequest(queue="team", states=states, page_size=1)) == cancelled
    below = sorted((job.sequence, job.id) for name in ("team/a", "team/b") for job in made[name])
    assert await listed(served, pb.ListJobsRequest(queue="team", page_size=3)) == [job_id for _, job_id in below]
    assert await listed(served, pb.ListJobsRequest(queue="team/a", page_size=3)) == [job.id for job in made["team/a"]]
    assert await listed(served, pb.ListJobsRequest(queue="nowhere")) == []


async def test_a_scan_for_a_rare_queue_ends_its_pages_early_and_finds_all(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service_module, "SCAN_JOBS", 1000)
    for name in ("team", "team/a"):
        served.do(c.CreateQueue(Queue(name)))
    served.submit(1500)
    rare = served.submit(2, queue="team/a")
    first = await served.jobs.ListJobs(pb.ListJobsRequest(queue="team"))
    assert (len(first.jobs), bool(first.next_page_token)) == (0, True)
    assert await listed(served, pb.ListJobsRequest(queue="team")) == [job.id for job in rare]


async def test_pages_are_bounded_in_bytes_too() -> None:
    async with serving(RpcSettings(max_message_bytes=2**16)) as served:
        jobs = served.submit(60)
        page = await served.jobs.ListJobs(pb.ListJobsRequest(page_size=1000))
        assert 1 <= len(page.jobs) < 60 or page.ByteSize() < 2**14
        wide = c.SubmitJobs((spec("q", configuration(gpu=0), name="x" * 250),) * 200)
        more = served.do(wide)
        page = await served.jobs.ListJobs(pb.ListJobsRequest(page_size=1000))
        assert page.ByteSize() < 2**15
        assert len(page.jobs) < 260
        assert await listed(served, pb.ListJobsRequest(page_size=1000)) == [job.id for job in (*jobs, *more)]


async def test_a_token_goes_with_its_filter_only(served: Served) -> None:
    served.submit(5)
    token = (await served.jobs.ListJobs(pb.ListJobsRequest(page_size=2))).next_page_token
    for request in (
        pb.ListJobsRequest(page_token=token, queue="q"),
        pb.ListJobsRequest(page_token=token, states=[job_pb2.JOB_STATE_PENDING]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.jobs.ListJobs(request)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert fields_of(status_of(raised.value)) == ["page_token"]

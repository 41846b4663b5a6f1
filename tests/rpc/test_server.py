"""The server around the services: deadlines, cancellation, surprises, drain, health, reflection, counting."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped] # ships no stubs
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped] # ships no stubs
    reflection_pb2,
    reflection_pb2_grpc,
)
from structlog.testing import capture_logs

from allocator.domain.errors import StoreUnavailable
from allocator.intake.commands import Command
from allocator.rpc import SERVICES, Hub, RpcServer, RpcSettings
from allocator.rpc.backend import Backend, DeadlinePassed
from allocator.store.memory import MemoryStore
from allocator.v1 import job_service_pb2 as jobs
from allocator.v1 import node_service_pb2 as nodes
from allocator.v1 import queue_service_pb2 as queues
from allocator.v1 import scheduler_service_pb2 as scheduler
from allocator.wire.commands import submit_jobs_from_proto
from allocator.wire.errors import retry_after
from allocator.wire.jobs import spec_to_proto
from tests.builders import configuration, spec
from tests.rpc.serving import START, Served, reason_of, serving, status_of, until

PATIENCE = 90
SUBMIT = jobs.SubmitJobsRequest(jobs=[spec_to_proto(spec("q", configuration(gpu=0)))])
BUF = Path(__file__).parents[2] / "node_modules/.bin/buf"


class Halting:
    """A ledger that does nothing until it is let, as a disk that is slow."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.waiting: list[tuple[Command, float, Future[Any]]] = []
        self.called = asyncio.Event()

    def execute(self, command: Command, now: float) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((command, now, future))
        self.called.set()
        return future

    def go_on(self) -> None:
        for command, now, future in self.waiting:
            assert future.set_running_or_notify_cancel(), "a client took back what the ledger had in its hands"
            future.set_result(self._store.execute(command, now).result(timeout=60))
        self.waiting.clear()


class Failing:
    """A ledger that refuses, or breaks."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def execute(self, command: Command, now: float) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(self._error)
        return future


def remembered(make: Callable[[MemoryStore], Any]) -> tuple[list[Any], Callable[[MemoryStore], Any]]:
    """The ledgers that `make` has made, and `make`."""
    made: list[Any] = []

    def remember(store: MemoryStore) -> Any:
        made.append(make(store))
        return made[-1]

    return made, remember


async def test_a_client_that_goes_away_does_not_take_its_write_back() -> None:
    made, ledger = remembered(Halting)
    async with serving(ledger=ledger) as served:
        call = served.jobs.SubmitJobs(SUBMIT)
        waiting = asyncio.ensure_future(_outcome(call))
        await asyncio.wait_for(made[0].called.wait(), PATIENCE)
        call.cancel()
        assert await waiting is grpc.StatusCode.CANCELLED
        # The server hears of it before the disk is done.
        await served.queues.GetQueue(queues.GetQueueRequest(name="q"))
        made[0].go_on()
        assert len(served.store.list_jobs()) == 1


async def test_a_deadline_ends_the_wait_and_the_write_stays() -> None:
    made, ledger = remembered(Halting)
    async with serving(ledger=ledger) as served:
        assert await _outcome(served.jobs.SubmitJobs(SUBMIT, timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
        made[0].go_on()
        assert len(served.store.list_jobs()) == 1


async def _outcome(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    except asyncio.CancelledError:
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.OK


class Late:
    """A context whose deadline has passed while the request was on its way through the server."""

    def time_remaining(self) -> float:
        return -0.001


async def test_nothing_is_written_for_a_client_that_no_longer_waits(served: Served) -> None:
    backend = Backend(served.store, served.store, served.hub, lambda: START, RpcSettings())
    late: Any = Late()
    with pytest.raises(DeadlinePassed):
        await backend.write(submit_jobs_from_proto(SUBMIT), late)
    assert not served.store.list_jobs()
    backend.close()


async def test_a_store_that_fails_is_unavailable_and_says_when_to_try_again() -> None:
    async with serving(ledger=lambda _: Failing(StoreUnavailable("disk full"))) as served:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.jobs.SubmitJobs(SUBMIT)
    status = status_of(raised.value)
    assert (raised.value.code(), reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert retry_after(status) == 1.0


async def test_a_surprise_is_told_by_an_id_that_the_log_has_too() -> None:
    async with serving(ledger=lambda _: Failing(RuntimeError("secret inner state"))) as served:
        with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.jobs.SubmitJobs(SUBMIT)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    details = raised.value.details() or ""
    assert "secret" not in details
    (entry,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert entry["error_id"] in details
    assert entry["method"] == "allocator.v1.JobService/SubmitJobs"
    assert "secret inner state" in str(entry["exc_info"])


async def test_calls_are_counted_with_their_codes() -> None:
    seen: list[tuple[str, str, float | None]] = []
    async with serving(on_request=lambda *call: seen.append(call)) as served:
        await served.jobs.SubmitJobs(SUBMIT)
        await _outcome(served.jobs.GetJob(jobs.GetJobRequest(job_id="j9")))
        await _outcome(served.jobs.WatchJobs(jobs.WatchJobsRequest(cursor="?")).read())
        stream = served.jobs.WatchJobs(jobs.WatchJobsRequest())
        await stream.read()
        stream.cancel()
        await until(lambda: len(seen) == 4)
    assert [(method.removeprefix("allocator.v1.JobService/"), code) for method, code, _ in seen] == [
        ("SubmitJobs", "OK"),
        ("GetJob", "NOT_FOUND"),
        ("WatchJobs", "INVALID_ARGUMENT"),
        ("WatchJobs", "CANCELLED"),
    ]
    assert [seconds is not None and 0 < seconds < PATIENCE for _, _, seconds in seen] == [True, True, False, False]


async def test_draining_says_so_first_then_refuses_writes_and_ends_watches(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    statuses = health.Watch(health_pb2.HealthCheckRequest(service="allocator.v1.JobService"))
    assert (await statuses.read()).status == health_pb2.HealthCheckResponse.SERVING
    watches: list[Any] = [
        served.jobs.WatchJobs(jobs.WatchJobsRequest()),
        served.nodes.WatchAllocations(nodes.WatchAllocationsRequest(node="n1")),
        served.scheduler.WatchRounds(scheduler.WatchRoundsRequest()),
    ]
    for watch in watches[:2]:
        await watch.read()
    await until(lambda: served.hub.stream_counts()["rounds"].watchers)
    await served.server.begin_drain()
    assert (await statuses.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    for call in (*(watch.read() for watch in watches), served.jobs.SubmitJobs(SUBMIT)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asyncio.wait_for(call, PATIENCE)
        status = status_of(raised.value)
        assert (raised.value.code(), reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        assert retry_after(status) == 1.0
    assert await _outcome(served.jobs.WatchJobs(jobs.WatchJobsRequest()).read()) is grpc.StatusCode.UNAVAILABLE
    assert (await served.queues.GetQueue(queues.GetQueueRequest(name="q"))).queue.name == "q"
    assert not served.store.list_jobs()
    await served.server.begin_drain()


async def test_stopping_waits_for_what_is_under_way() -> None:
    made, ledger = remembered(Halting)
    async with serving(ledger=ledger) as served:
        answer = asyncio.ensure_future(_outcome(served.jobs.SubmitJobs(SUBMIT)))
        await asyncio.wait_for(made[0].called.wait(), PATIENCE)
        stopping = asyncio.ensure_future(served.server.stop(grace=PATIENCE))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        made[0].go_on()
        assert await answer is grpc.StatusCode.OK
        await asyncio.wait_for(stopping, PATIENCE)


async def test_health_of_every_service(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert await _outcome(health.Check(health_pb2.HealthCheckRequest(service="x"))) is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert {
        f"allocator.v1.{kind}Service"
        for kind in ("Capture", "Explain", "Job", "Queue", "Node", "Policy", "Scheduler", "Simulate")
    } == set(SERVICES)


@pytest.mark.skipif(not BUF.exists() or shutil.which("node") is None, reason="buf is not installed: run npm ci")
async def test_a_stranger_can_call_by_reflection_alone(served: Served) -> None:
    async def curl(method: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"http://{served.address}/allocator.v1.{method}"
        process = await asyncio.create_subprocess_exec(
            BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(body), url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()
        answer: dict[str, Any] = json.loads(out)
        return answer

    job = {"queue": "q", "configurations": [{"flavor": "a100", "demand": {"cpuMillicores": "500"}}]}
    answer = await curl("JobService/SubmitJobs", {"jobs": [job, job | {"queue": "x"}]})
    assert answer["results"][0]["job"]["state"] == "JOB_STATE_PENDING"
    assert answer["results"][1]["error"]["message"] == "queue 'x' does not exist"


async def test_a_port_that_is_taken_is_said_so(served: Served) -> None:
    second = RpcServer(served.store, served.store, Hub(), lambda: START)
    with pytest.raises(OSError, match=f"cannot listen on {served.address}"):
        await second.start(served.address)
    await second.stop(0)


async def test_many_watchers_do_not_slow_a_call(served: Served) -> None:
    """300 open streams, and a unary call is still answered at once: no stream holds a thread."""
    streams = [served.jobs.WatchJobs(jobs.WatchJobsRequest()) for _ in range(300)]
    await asyncio.gather(*(stream.read() for stream in streams))
    await served.jobs.SubmitJobs(SUBMIT, timeout=60)
    changes: list[Any] = await asyncio.gather(*(stream.read() for stream in streams))
    assert len({change.SerializeToString() for change in changes}) == 1
    for stream in streams:
        stream.cancel()

"""WatchJobs loses nothing: a snapshot, its end, then changes; resumed anywhere, filtered or not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import grpc
import pytest

from allocator.domain.job import Job, JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Start
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rpc import job_watch
from allocator.rpc.tokens import JobCursor
from allocator.v1 import job_service_pb2 as pb
from allocator.wire.jobs import job_from_proto
from tests.builders import configuration, spec
from tests.rpc.serving import Served, serving, until

PATIENCE = 90


async def read(stream: AsyncIterator[pb.WatchJobsResponse]) -> pb.WatchJobsResponse:
    return await asyncio.wait_for(anext(stream), PATIENCE)


async def up_to_end(stream: AsyncIterator[pb.WatchJobsResponse]) -> tuple[list[Job], str]:
    """The jobs before the end of the snapshot, and its cursor."""
    jobs: list[Job] = []
    while True:
        message = await read(stream)
        if message.WhichOneof("event") == "end_of_snapshot":
            return jobs, message.end_of_snapshot.cursor
        jobs.append(job_from_proto(message.job_change.job))


def watch(served: Served, cursor: str = "", queue: str = "") -> AsyncIterator[pb.WatchJobsResponse]:
    return aiter(served.jobs.WatchJobs(pb.WatchJobsRequest(queue=queue, cursor=cursor)))


async def test_first_what_lives_then_its_end_then_changes(served: Served) -> None:
    first, second, third = served.submit(3)
    served.do(c.CancelJobs((second.id,)))
    stream = watch(served)
    jobs, _ = await up_to_end(stream)
    assert jobs == [first, third]
    (fourth,) = served.submit()
    assert job_from_proto((await read(stream)).job_change.job) == fourth
    served.do(c.CancelJobs((first.id,)))
    assert job_from_proto((await read(stream)).job_change.job) == served.store.get_job(first.id)


async def test_nothing_lives_and_the_end_comes_at_once(served: Served) -> None:
    jobs, cursor = await up_to_end(watch(served))
    assert (jobs, bool(cursor)) == ([], True)


async def test_a_cursor_brings_what_changed_since_and_nothing_else(served: Served) -> None:
    first, second = served.submit(2)
    _, cursor = await up_to_end(watch(served))
    assert await up_to_end(watch(served, cursor)) == ([], cursor)
    served.do(c.UpdateJobs((c.JobUpdate(second.id, weight=2),)))
    (third,) = served.submit()
    jobs, later = await up_to_end(watch(served, cursor))
    assert jobs == [served.store.get_job(second.id), third]
    assert await up_to_end(watch(served, later)) == ([], later)
    assert first.id not in {job.id for job in jobs}


async def test_a_snapshot_that_was_cut_off_goes_on_where_it_was(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "PAGE", 3)
    submitted = served.submit(10)
    stream = watch(served)
    seen = {}
    for _ in range(5):
        change = (await read(stream)).job_change
        seen[change.job.id] = job_from_proto(change.job)
    # What happens while nobody watches: an early job ends, a late one ends, one is new.
    served.do(c.CancelJobs((submitted[0].id, submitted[8].id)))
    served.submit()
    jobs, _ = await up_to_end(watch(served, change.cursor))
    assert submitted[4] not in jobs
    seen |= {job.id: job for job in jobs}
    assert seen == {job.id: job for job in served.store.list_jobs()}


async def test_a_filtered_watch_sees_its_queue_and_those_below(served: Served) -> None:
    for name in ("team", "team/a", "teammates"):
        served.do(c.CreateQueue(Queue(name)))
    served.submit(2)
    served.submit(1, queue="teammates")
    (mine,) = served.submit(1, queue="team/a")
    stream = watch(served, queue="team")
    jobs, cursor = await up_to_end(stream)
    assert jobs == [mine]
    served.submit(2)
    (more,) = served.submit(1, queue="team/a")
    assert job_from_proto((await read(stream)).job_change.job) == more
    jobs, _ = await up_to_end(watch(served, cursor, queue="team"))
    assert jobs == [more]


async def test_many_changes_in_one_revision_are_all_sent(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_watch, "PAGE", 7)
    stream = watch(served)
    await up_to_end(stream)
    submitted = served.submit(50)
    assert len({job.revision for job in submitted}) == 1
    assert [job_from_proto((await read(stream)).job_change.job) for _ in range(50)] == submitted


class Mischief:
    """Changes at random, from another thread, as the round and other clients make them."""

    def __init__(self, served: Served, seed: int) -> None:
        self._served = served
        self._random = random.Random(seed)
        self._round = 0

    def __call__(self) -> None:
        served, dice = self._served, self._random
        live = served.store.list_jobs(states=(JobState.PENDING, JobState.RUNNING))
        match dice.choice(["submit", "submit", "cancel", "update", "start"]):
            case "submit":
                served.do(c.SubmitJobs((spec("q", configuration(gpu=0)),) * dice.randint(1, 8)))
            case "cancel" if live:
                served.do(c.CancelJobs(tuple({dice.choice(live).id for _ in range(dice.randint(1, 4))})))
            case "update" if live:
                served.do(c.UpdateJobs((c.JobUpdate(dice.choice(live).id, weight=dice.randint(1, 9)),)))
            case "start" if live:
                job = dice.choice(live)
                if job.state is JobState.PENDING:
                    served.commit(Start(Placement(job.id, 0, (ReplicaPlacement("n1"),))))
            case _:
                pass


@pytest.mark.parametrize("seed", range(6))
async def test_no_schedule_of_changes_and_reconnects_loses_a_state(
    served: Served, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In the end the watcher's newest version of every job is the store's, however often it was cut off in between."""
    monkeypatch.setattr(job_watch, "PAGE", 5)
    dice = random.Random(1000 + seed)
    served.submit(dice.randint(0, 30))
    mischief = Mischief(served, seed)
    seen: dict[str, Job] = {}
    cursor = ""
    snapshot_revision: int | None = None
    for _ in range(12):
        # The deadline cuts off a stream on which nothing happens any more.
        stream = served.jobs.WatchJobs(pb.WatchJobsRequest(cursor=cursor), timeout=0.3)
        messages = aiter(stream)
        for _ in range(dice.randint(1, 15)):
            if dice.random() < 0.6:
                await asyncio.to_thread(mischief)
            try:
                message = await anext(messages)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
                break
            cursor = take(seen, message)
            if snapshot_revision is None:
                snapshot_revision = JobCursor.read(cursor, "").revision
        stream.cancel()
    served.submit()
    messages = watch(served, cursor)
    while True:
        message = await read(messages)
        take(seen, message)
        if message.WhichOneof("event") == "end_of_snapshot":
            break
    assert snapshot_revision is not None
    everything = {job.id: job for job in served.store.list_jobs()}
    assert seen.items() <= everything.items()
    unseen = [everything[job_id] for job_id in everything.keys() - seen.keys()]
    assert all(job.state.is_final and job.revision <= snapshot_revision for job in unseen)


def take(seen: dict[str, Job], message: pb.WatchJobsResponse) -> str:
    """Keep what a message says, and return its cursor."""
    if message.WhichOneof("event") == "end_of_snapshot":
        return message.end_of_snapshot.cursor
    job = job_from_proto(message.job_change.job)
    before = seen.get(job.id)
    assert before is None or before.revision <= job.revision, "an older version came after a newer one"
    seen[job.id] = job
    return message.job_change.cursor


async def test_watchers_that_go_away_are_forgotten(served: Served) -> None:
    streams = [served.jobs.WatchJobs(pb.WatchJobsRequest()) for _ in range(10)]
    for stream in streams:
        await up_to_end(aiter(stream))
    assert served.hub.stream_counts()["jobs"].watchers == 10
    for stream in streams:
        stream.cancel()
    await until(lambda: not served.hub.stream_counts()["jobs"].watchers)


async def test_the_watch_of_another_store_is_refused(served: Served) -> None:
    served.submit(3)
    _, cursor = await up_to_end(watch(served))
    async with serving() as fresh:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read(watch(fresh, cursor))
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION

"""Many large jobs: nothing about them is too large for a message, and what is says so."""

from __future__ import annotations

import asyncio

import pytest

from allocator.client import AsyncClient, Job, JobState, JobUpdate, batches
from allocator.domain.errors import InvalidInput, NotFound
from allocator.domain.job import JobSpec
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Start
from allocator.domain.process import Condition, Dependency, Process
from allocator.rpc import RpcSettings
from tests.builders import configuration, spec
from tests.client.conftest import QUICK
from tests.rpc.serving import Served, serving

LARGE = Process(("run",), (("LARGE", "x" * 62_000),))


def client_of(served: Served) -> AsyncClient:
    return AsyncClient(served.address, retry=QUICK, timeout=90)


async def test_a_thousand_large_jobs_on_one_node() -> None:
    """68 MB: more than a request, an answer or a state of a node may have in one message."""
    count = 1100
    async with serving() as served, client_of(served) as client:
        wanted = [spec("q", configuration(gpu=0, cpu=0.1), process=LARGE)] * count
        jobs = [job for job in await client.submit(wanted) if isinstance(job, Job)]
        assert [job.id for job in jobs] == [f"j{number}" for number in range(1, count + 1)]
        here = (ReplicaPlacement("n1"),)
        served.hub.push(served.commit(*(Start(Placement(job.id, 0, here)) for job in jobs)))
        desired = await asyncio.wait_for(anext(aiter(client.watch_allocations("n1"))), 90)
        assert desired == served.store.desired("n1")
        assert len(desired.replicas) == count
        updated = await client.update([JobUpdate(job.id, weight=2.0) for job in jobs])
        assert {job.spec.weight for job in updated if isinstance(job, Job)} == {2.0}
        ended = await client.cancel([*[job.id for job in jobs[:250]], "j9999"])
        assert [job.state for job in ended if isinstance(job, Job)] == [JobState.CANCELLED] * 250
        assert isinstance(ended[250], NotFound)


async def test_who_comes_after_others_may_be_in_a_later_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 200_000)  # three jobs
    after = (Dependency("#0"), Dependency("#5", Condition.ENDED))
    wrong: JobSpec = spec("q", process=Process(("",)))
    wanted = [*[spec("q", process=LARGE)] * 4, wrong, *[spec("q", process=LARGE)] * 3]
    wanted += [spec("q", process=LARGE, after=after), spec("q", after=(Dependency("#4"),))]
    async with serving() as served, client_of(served) as client:
        results = await client.submit(wanted, request_id="nightly")
        jobs = {number: job for number, job in enumerate(results) if isinstance(job, Job)}
        assert sorted(jobs) == [0, 1, 2, 3, 5, 6, 7, 8]
        assert [each.job_id for each in jobs[8].spec.after] == [jobs[0].id, jobs[5].id]
        for number, field in ((4, "jobs[4].process.command"), (9, "jobs[9].after[0]")):
            refusal = results[number]
            assert isinstance(refusal, InvalidInput)
            assert [each.field.removesuffix(".job_id") for each in refusal.violations] == [field]
        again = await client.submit(wanted, request_id="nightly")
        assert [str(each) for each in again] == [str(each) for each in results]
        assert len(served.store.snapshot(0.0).jobs) == 8 - 1, "one waits for others"


async def test_what_the_daemon_does_not_take_is_refused_by_its_size() -> None:
    async with serving(RpcSettings(max_message_bytes=2**16)) as served, client_of(served) as client:
        with pytest.raises(InvalidInput, match=r"request: has 124,\d+ bytes, and the daemon takes 65,536 at"):
            await client.submit([spec("q", process=LARGE), spec("q", process=LARGE)])
        assert await client.submit([]) == ()
        assert await client.cancel([]) == ()

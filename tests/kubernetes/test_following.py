"""A copy of what the API server has stays true through everything that lists and watches go through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.aio import client

from allocator.client import RetryPolicy
from allocator.kubernetes.api import NODES, OUR_JOBS, PODS, Server, ServerAway, ServerRefused
from allocator.kubernetes.mirror import Mirror
from allocator.kubernetes.observed import KubeJob, Object, job_of
from tests.kubernetes.test_manifest import manifest, replica
from tests.kubernetes_api import ApiServer

QUICK = RetryPolicy(first_delay=0.02, longest_delay=0.1)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    made = ApiServer()
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def asking(api: ApiServer, **settings: Any) -> AsyncIterator[Server]:
    configuration = client.Configuration()
    configuration.host = api.url
    async with Server(configuration, "jobs", **settings) as server:
        yield server


@asynccontextmanager
async def following(server: Server, path: str = NODES) -> AsyncIterator[Mirror[Object]]:
    mirror = Mirror[Object](server, path, lambda item: item, lambda: None, patience=QUICK)
    task = asyncio.create_task(mirror.run())
    try:
        yield mirror
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nothing tells when it does
            await asyncio.sleep(0.01)


def names(mirror: Mirror[Object]) -> set[str]:
    return {name for _, name in mirror.found}


def add(api: ApiServer, *nodes: str) -> None:
    for name in nodes:
        api.put("nodes", {"metadata": {"name": name}})


async def test_changes_come_one_by_one_and_long_lists_in_pages(api: ApiServer) -> None:
    add(api, *(f"n{number}" for number in range(1203)))
    async with asking(api) as server, following(server) as mirror:
        await until(lambda: len(mirror.found) == 1203)
        add(api, "new")
        api.remove("nodes", api.objects["nodes"]["", "n7"])
        api.put("nodes", {"metadata": {"name": "n8", "labels": {"a": "b"}}})
        await until(lambda: "new" in names(mirror) and "n7" not in names(mirror))
        await until(lambda: mirror.found["", "n8"]["metadata"].get("labels") == {"a": "b"})
    assert sum("limit=" in path for _, path in api.requests) == 3


async def test_nothing_is_missed_between_one_watch_and_the_next(api: ApiServer) -> None:
    async with asking(api, watch_seconds=1) as server, following(server) as mirror:
        await until(lambda: mirror.is_known)
        for number in range(25):
            add(api, f"n{number}")
            await asyncio.sleep(0.1)
        await until(lambda: len(mirror.found) == 25)
    assert sum("watch=" in path for _, path in api.requests) >= 2
    assert sum("limit=" in path for _, path in api.requests) == 1, "it goes on where it was"


async def test_history_that_is_gone_is_listed_again(api: ApiServer) -> None:
    add(api, "a")
    async with asking(api) as server, following(server) as mirror:
        await until(lambda: names(mirror) == {"a"})
        api.stop()
        add(api, "b")
        api.remove("nodes", api.objects["nodes"]["", "a"])
        api.forget()
        await until(lambda: mirror.is_away)
        assert names(mirror) == {"a"}, "what was seen last"
        api.start()
        await until(lambda: names(mirror) == {"b"})
        assert not mirror.is_away


async def test_who_may_not_look_is_told_so_and_asks_with_growing_pauses(api: ApiServer) -> None:
    api.rules = []
    async with asking(api) as server, following(server) as mirror:
        await until(lambda: mirror.is_away)
        assert not mirror.is_known
        before = len(api.requests)
        await asyncio.sleep(0.5)
        assert len(api.requests) - before < 20
        api.rules = None
        await until(lambda: mirror.is_known and not mirror.is_away)


async def test_others_objects_of_the_same_kind_are_not_ours(api: ApiServer) -> None:
    api.put("jobs", {"metadata": {"name": "theirs", "namespace": "jobs"}})
    async with asking(api) as server:
        assert await server.create(manifest(replica()))
        items, _ = await server.everything(server.jobs, OUR_JOBS)
        assert [job is not None for job in map(job_of, items)] == [True]
        assert len((await server.everything(server.jobs))[0]) == 2


async def test_what_is_there_is_not_made_again_and_what_has_changed_is_looked_at_first(api: ApiServer) -> None:
    async def only(server: Server) -> KubeJob:
        ((job,), _) = await server.everything(server.jobs)
        found = job_of(job)
        assert found is not None
        return found

    async with asking(api) as server:
        assert await server.create(manifest(replica()))
        assert not await server.create(manifest(replica()))
        seen = await only(server)
        await server.change(seen, {"spec": {"suspend": False}})
        now = await only(server)
        assert (seen.is_suspended, now.is_suspended) == (True, False)
        await server.change(seen, {"spec": {"suspend": True}})
        assert not (await only(server)).is_suspended, "it has changed since it was seen"
        await server.delete(replace(now, uid="another"))
        assert not (await only(server)).is_leaving, "that was another of the same name"
        await server.delete(now)
        leaving = await only(server)
        assert leaving.is_leaving
        assert leaving.finalizers == ("allocator/reported", "foregroundDeletion")
        await server.let_go(leaving)
        assert (await only(server)).finalizers == ("foregroundDeletion",)
        await server.delete(replace(now, name="gone"))


async def test_refusals_and_absence_are_told_apart(api: ApiServer) -> None:
    wrong = manifest(replica())
    wrong["spec"]["template"]["spec"]["containers"][0]["image"] = " "
    async with asking(api, timeout_seconds=2.0) as server:
        with pytest.raises(ServerRefused) as refused:
            await server.create(wrong)
        assert refused.value.status == 422
        assert "image" in str(refused.value)
        assert await server.resizes()
        api.resizes = False
        assert not await server.resizes()
        api.lose_answers = 1
        with pytest.raises(ServerAway):
            await server.create(manifest(replica()))
        assert not await server.create(manifest(replica())), "it was made all the same"
        api.stop()
        with pytest.raises(ServerAway):
            await server.everything(PODS)

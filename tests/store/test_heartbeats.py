"""Heartbeats that change nothing do not wait for the disk, and still never tell what is not so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.domain.cluster import NodeHealth
from allocator.domain.errors import NotFound, StoreUnavailable
from allocator.domain.job import JobState
from allocator.domain.placement import Epoch
from allocator.intake import commands as c
from allocator.store import writer
from allocator.store.sql import SqlStore
from tests.store.cluster import commit, do, node, set_up, spec, start, submit
from tests.store.conftest import END_OTHERS
from tests.store.test_failures import hold_writer, run_sql


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/allocator.db") as store:
        set_up(store)
        yield store


def report(job_id: str, epoch: Epoch, state: c.ReplicaState) -> c.ReplicaReport:
    return c.ReplicaReport(job_id, 0, epoch, state)


def test_it_is_answered_while_the_writer_is_busy(store: SqlStore) -> None:
    release, _ = hold_writer(store)
    try:
        quiet = c.Heartbeat("n0", (report("j1", Epoch(1, 1), c.ReplicaState.RUNNING),))
        assert store.execute(quiet, 1.0).result(timeout=0) == node("n0")
    finally:
        release.set()


def test_an_end_among_what_runs_is_not_passed_over(store: SqlStore) -> None:
    jobs = submit(store, spec(), spec())
    commit(store, *(start(job, "n0") for job in jobs))
    running = [store.get_job(job.id) for job in jobs]
    epochs = [job.allocation.epoch for job in running if job.allocation]
    reports = zip(running, epochs, (c.ReplicaState.RUNNING, c.ReplicaState.SUCCEEDED), strict=True)
    do(store, c.Heartbeat("n0", tuple(report(job.id, epoch, state) for job, epoch, state in reports)))
    assert [store.get_job(job.id).state for job in jobs] == [JobState.RUNNING, JobState.SUCCEEDED]


def test_it_never_overtakes_a_command_about_a_node(store: SqlStore) -> None:
    """The node is lost first and heard of then, so it is ready; the other way round it would stay lost."""
    for _ in range(20):
        lost = store.execute(c.LoseNode("n0"), 1.0)
        heard = store.execute(c.Heartbeat("n0"), 1.0)
        assert lost.result(timeout=60).health is NodeHealth.LOST
        assert heard.result(timeout=60).health is NodeHealth.READY
        assert store.get_node("n0").health is NodeHealth.READY
    refused = store.execute(c.RemoveNode("n0"), 1.0)
    assert isinstance(refused.exception(timeout=60), Exception)
    assert store.execute(c.Heartbeat("n0"), 1.0).result(timeout=60) == node("n0")


def test_a_lost_node_and_an_unknown_one_are_not_taken_for_ready(store: SqlStore) -> None:
    do(store, c.LoseNode("n0"))
    assert do(store, c.Heartbeat("n0")).health is NodeHealth.READY
    with pytest.raises(NotFound):
        do(store, c.Heartbeat("nowhere"))


def test_while_a_batch_takes_too_long_to_be_durable_none_is_answered(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may be somebody else's by now: agents shall not renew leases that it does not know of."""
    release, _ = hold_writer(store)
    try:
        monkeypatch.setattr(writer, "_SLOW_SECONDS", 0.0)
        waiting = store.execute(c.Heartbeat("n0"), 1.0)
        assert not waiting.done()
    finally:
        release.set()
    assert waiting.result(timeout=60) == node("n0")


def test_a_closed_store_answers_none(store: SqlStore) -> None:
    store.close()
    with pytest.raises(StoreUnavailable):
        do(store, c.Heartbeat("n0"))


def test_whoever_lost_the_database_to_another_answers_none(postgres_url: str) -> None:
    with SqlStore(postgres_url) as store:
        set_up(store)
        run_sql(postgres_url, END_OTHERS)
        with SqlStore(postgres_url):
            with pytest.raises(StoreUnavailable):
                submit(store, spec())
            with pytest.raises(StoreUnavailable):
                do(store, c.Heartbeat("n0"))
        assert do(store, c.Heartbeat("n0")) == node("n0")

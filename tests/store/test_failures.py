"""When the database fails: nobody is told anything false, nothing is half done, and it goes on afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from allocator.domain.errors import FailedPrecondition, ResourceExhausted, StoreUnavailable
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.store.database import parse
from allocator.store.sql import SqlStore
from tests.store.cluster import QUEUE, commit, do, set_up, spec, start, submit, summary
from tests.store.conftest import END_OTHERS


def run_sql(url: str, *statements: str) -> list[Any]:
    """As somebody else, beside the store."""
    engine = create_engine(parse(url))
    found: list[Any] = []
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
            found += result.all() if result.returns_rows else []
    engine.dispose()
    return found


class FailureContract:
    """For a fixture `url` that names an empty database."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[SqlStore]:
        with SqlStore(url) as store:
            yield store

    def test_a_failed_write_changes_nothing_and_later_ones_succeed(self, url: str, store: SqlStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        before = store.snapshot(1.0)
        run_sql(url, "ALTER TABLE job RENAME TO job_away")
        futures = [store.execute(c.SubmitJobs((spec(),)), 1.0) for _ in range(3)]
        for future in futures:
            with pytest.raises(StoreUnavailable):
                future.result(timeout=60)
        with pytest.raises(StoreUnavailable):
            commit(store, start(job, "n0"))
        assert store.snapshot(1.0) == before
        assert store.desired("n0").replicas == ()
        run_sql(url, "ALTER TABLE job_away RENAME TO job")
        assert submit(store, spec())[0].sequence == 2
        done = commit(store, start(job, "n0"))
        assert [desired.node for desired in done.desired if desired.replicas] == ["n0"]

    def test_a_failed_record_leaves_the_memory_of_the_last_round(self, url: str, store: SqlStore) -> None:
        set_up(store)
        store.record(summary(1), Memory(1.0))
        run_sql(url, "ALTER TABLE round RENAME TO round_away")
        with pytest.raises(StoreUnavailable):
            store.record(summary(2), Memory(2.0))
        assert store.memory() == Memory(1.0)
        assert store.snapshot(3.0).round == 2
        run_sql(url, "ALTER TABLE round_away RENAME TO round")
        store.record(summary(2), Memory(2.0))
        assert [found.round for found in store.list_rounds()] == [2, 1]

    def test_reads_of_history_say_that_the_database_is_away(self, url: str, store: SqlStore) -> None:
        set_up(store)
        (job,) = submit(store, spec())
        run_sql(url, "ALTER TABLE job RENAME TO job_away")
        with pytest.raises(StoreUnavailable):
            store.get_job("j99")
        with pytest.raises(StoreUnavailable):
            store.list_jobs()
        assert store.get_job(job.id) == job

    def test_what_cannot_be_stored_fails_alone(self, url: str, store: SqlStore) -> None:
        set_up(store)
        release, held = hold_writer(store)
        first = store.execute(c.SubmitJobs((spec(name="first"),)), 1.0)
        too_large = store.execute(c.CreateQueue(Queue("large", max_live_jobs=2**80)), 1.0)
        second = store.execute(c.SubmitJobs((spec(name="second"),)), 1.0)
        release.set()
        held.result(timeout=60)
        assert first.result(timeout=60)[0].spec.name == "first"
        assert second.result(timeout=60)[0].spec.name == "second"
        with pytest.raises(StoreUnavailable):
            too_large.result(timeout=60)
        assert [queue.name for queue in store.queues()] == ["hold", QUEUE]
        assert len(run_sql(url, "SELECT id FROM job")) == 2

    def test_a_commit_whose_answer_got_lost_is_found_again(self, url: str, store: SqlStore) -> None:
        set_up(store)

        def lose_answer(connection: Any) -> None:
            event.remove(store._journal.engine, "commit", lose_answer)
            driver = connection.connection.driver_connection
            driver.execute("COMMIT")
            raise OperationalError("COMMIT", None, Exception("the answer got lost"))

        event.listen(store._journal.engine, "commit", lose_answer)
        with pytest.raises(StoreUnavailable):
            do(store, c.SubmitJobs((spec(name="lost"),), "again"))
        assert store.snapshot(1.0).jobs == ()
        (job,) = do(store, c.SubmitJobs((spec(name="lost"),), "again"))
        assert store.snapshot(1.0).jobs == (job,)
        assert len(run_sql(url, "SELECT id FROM job")) == 1
        assert store.queue_counts() == {QUEUE: (1, 0)}

    def test_only_what_is_durable_can_be_seen_and_looking_does_not_wait(self, store: SqlStore) -> None:
        set_up(store)
        reached, release = threading.Event(), threading.Event()

        def wait(_connection: Any) -> None:
            reached.set()
            assert release.wait(60)

        event.listen(store._journal.engine, "commit", wait)
        future = store.execute(c.SubmitJobs((spec(),)), 1.0)
        assert reached.wait(60)
        assert store.snapshot(1.0).jobs == ()
        assert store.queue_counts() == {QUEUE: (0, 0)}
        assert store.list_jobs() == ()
        release.set()
        (job,) = future.result(timeout=60)
        assert store.snapshot(1.0).jobs == (job,)

    def test_closing_finishes_what_was_handed_in_and_takes_nothing_more(self, url: str, store: SqlStore) -> None:
        set_up(store)
        futures = [store.execute(c.SubmitJobs((spec(),)), 1.0) for _ in range(200)]
        store.close()
        assert [future.result(timeout=0)[0].sequence for future in futures] == list(range(1, 201))
        with pytest.raises(StoreUnavailable):
            do(store, c.SubmitJobs((spec(),)))
        with pytest.raises(StoreUnavailable):
            store.record(summary(1), Memory())
        with SqlStore(url) as again:
            assert len(again.snapshot(1.0).jobs) == 200

    def test_a_database_has_one_writer(self, url: str, store: SqlStore) -> None:
        with pytest.raises(FailedPrecondition, match="in use by another allocator"):
            SqlStore(url).open()
        set_up(store)
        store.close()
        with SqlStore(url) as again:
            assert len(again.queues()) == 1


class TestSqlite(FailureContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/allocator.db"


class TestPostgres(FailureContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def test_a_lost_connection_is_replaced(self, url: str, store: SqlStore) -> None:
        set_up(store)
        run_sql(url, END_OTHERS)
        with pytest.raises(StoreUnavailable):
            submit(store, spec())
        assert submit(store, spec())[0].sequence == 1
        run_sql(url, END_OTHERS)
        assert [job.sequence for job in store.list_jobs()] == [1]

    def test_whoever_lost_the_lease_with_the_connection_writes_no_more(self, url: str, store: SqlStore) -> None:
        set_up(store)
        run_sql(url, END_OTHERS)
        with SqlStore(url) as other:
            submit(other, spec())
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    submit(store, spec())
            assert len(other.list_jobs()) == 1
        assert [job.sequence for job in submit(store, spec())] == [2]
        assert len(store.snapshot(1.0).jobs) == 2


def hold_writer(store: SqlStore) -> tuple[threading.Event, Any]:
    """Make the writer wait, after one more change, until the event is set; what is handed in meanwhile is one batch."""
    reached, release = threading.Event(), threading.Event()

    def wait(_revision: int) -> None:
        reached.set()
        assert release.wait(60)

    end = store.subscribe(wait)
    held = store.execute(c.CreateQueue(Queue("hold")), 1.0)
    assert reached.wait(60)
    end()
    return release, held


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/allocator.db"


def test_too_many_waiting_commands_are_refused(file_url: str) -> None:
    with SqlStore(file_url, max_waiting=3) as store:
        release, _ = hold_writer(store)
        futures = [store.execute(c.CreateQueue(Queue(f"q{index}")), 1.0) for index in range(4)]
        with pytest.raises(ResourceExhausted):
            futures[3].result(timeout=0)
        release.set()
        assert [future.result(timeout=60).name for future in futures[:3]] == ["q0", "q1", "q2"]


def test_a_command_whose_caller_gave_up_before_it_began_is_not_done(file_url: str) -> None:
    with SqlStore(file_url) as store:
        release, _ = hold_writer(store)
        given_up = store.execute(c.CreateQueue(Queue("given-up")), 1.0)
        wanted = store.execute(c.CreateQueue(Queue("wanted")), 1.0)
        assert given_up.cancel()
        release.set()
        wanted.result(timeout=60)
        assert not wanted.cancel()
        assert [queue.name for queue in store.queues()] == ["hold", "wanted"]


def test_nothing_but_open_works_before_open(file_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        do(SqlStore(file_url), c.CreateQueue(Queue("q")))


def test_a_defect_while_applying_one_command_spoils_no_other(file_url: str) -> None:
    with SqlStore(file_url) as store:
        release, _ = hold_writer(store)
        defect = store.execute(c.CreateQueue(None), 1.0)  # type: ignore[arg-type]  # what no caller shall do
        fine = store.execute(c.CreateQueue(Queue("fine")), 1.0)
        release.set()
        assert fine.result(timeout=60).name == "fine"
        with pytest.raises(AttributeError):
            defect.result(timeout=60)


def test_sqlite_writes_to_disk_before_it_answers(file_url: str) -> None:
    with SqlStore(file_url) as store, store._journal.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "wal_autocheckpoint": 16_384,
    }

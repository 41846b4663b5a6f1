"""The shipped migrations make exactly the tables that the program uses, and other schemas are refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, StoreUnavailable
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.store import migrations
from allocator.store.database import parse, shown
from allocator.store.sql import SqlStore
from allocator.store.tables import Row
from tests.store.cluster import QUEUE, do, set_up, spec, submit, summary


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/allocator.db"
    return str(request.getfixturevalue("postgres_url"))


def execute(url: str, statement: str) -> None:
    engine = create_engine(parse(url))
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_migrations_and_tables_agree(url: str) -> None:
    assert migrations.current(url) is None
    assert migrations.upgrade(url) == migrations.head() == migrations.current(url)
    engine = create_engine(parse(url))
    with engine.connect() as connection:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), Row.metadata)
    engine.dispose()
    assert differences == []


def test_upgrading_again_changes_nothing_and_opening_needs_no_upgrade(url: str) -> None:
    migrations.upgrade(url)
    migrations.upgrade(url)
    migrations.check(url)
    with SqlStore(url) as store:
        assert store.current_revision() == 0


def test_an_empty_database_is_made_ready_by_opening_it(url: str) -> None:
    with pytest.raises(FailedPrecondition, match="allocator db upgrade"):
        migrations.check(url)
    SqlStore(url).open().close()
    migrations.check(url)


def test_a_newer_schema_says_that_the_program_is_too_old(url: str) -> None:
    migrations.upgrade(url)
    execute(url, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    for attempt in (migrations.check, migrations.upgrade, lambda url: SqlStore(url).open()):
        with pytest.raises(FailedPrecondition, match="program is older than the database"):
            attempt(url)


def without_quotas(url: str) -> None:
    """Make a database as version 0003 of the schema left it."""
    execute(url, "DROP TABLE policy")
    execute(url, "DROP TABLE estimate")
    execute(url, "DROP TABLE agent_lease")
    promises = ("job_class", "deadline", "minimum_throughput", "work_done_seconds", "work_counted_time")
    processes = ("process", "retries", "after", "waits_for", "array_index", "failures", "not_before")
    for name in (*promises, *processes):
        execute(url, f'ALTER TABLE job DROP COLUMN "{name}"')
    for name in ("capabilities", "trouble"):
        execute(url, f"ALTER TABLE node DROP COLUMN {name}")
    for name in ("priority", "quotas", "discipline"):
        execute(url, f"ALTER TABLE queue DROP COLUMN {name}")
    execute(url, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0003'")


def downgrade(url: str) -> None:
    """Make a database as the first version of the schema left it."""
    migrations.upgrade(url)
    execute(url, "ALTER TABLE memory DROP COLUMN credits")
    for name in ("constraints", "resizable", "divisible"):
        execute(url, f"ALTER TABLE job DROP COLUMN {name}")
    execute(url, "ALTER TABLE node DROP COLUMN taints")
    without_quotas(url)
    for name in ("ix_job_live", "ix_job_ended_revision", "ix_job_ended_state", "ix_job_ended_queue"):
        execute(url, f"DROP INDEX {name}")
    execute(url, "CREATE INDEX ix_job_revision_sequence ON job (revision, sequence)")
    execute(url, "CREATE INDEX ix_job_state_sequence ON job (state, sequence)")
    execute(url, "CREATE INDEX ix_job_queue_state_sequence ON job (queue, state, sequence)")
    execute(url, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0001'")


def test_an_older_schema_says_how_to_upgrade(url: str) -> None:
    downgrade(url)
    for attempt in (migrations.check, lambda url: SqlStore(url).open()):
        with pytest.raises(FailedPrecondition, match="run `allocator db upgrade`"):
            attempt(url)
    assert migrations.upgrade(url) == migrations.head()
    migrations.check(url)


def test_what_a_round_remembered_before_an_upgrade_is_remembered_after_it(url: str) -> None:
    with SqlStore(url) as store:
        set_up(store)
        first, second, third = submit(store, spec(), spec(), spec())
        do(store, c.CancelJobs((second.id,)))
    downgrade(url)
    owed = {third.id: 2.5, second.id: 1.0}  # of an ended job nothing is remembered
    content = {"time": 7.0, "credits": owed, "pace": {first.id: -0.1}, "prices": [["a100", "gpu", 0.5]]}
    execute(url, f"INSERT INTO memory (id, content) VALUES (1, '{json.dumps(content).replace(':', chr(92) + ':')}')")
    migrations.upgrade(url)
    expected = Memory.of(7.0, {third.sequence: 2.5}, {first.sequence: -0.1}, {("a100", "gpu"): 0.5})
    with SqlStore(url) as store:
        assert store.memory() == expected
        store.record(summary(1), expected)
    with SqlStore(url) as store:
        assert store.memory() == expected


def test_queues_from_before_there_were_quotas_have_none_and_get_them(url: str) -> None:
    with SqlStore(url) as store:
        set_up(store)
        do(store, c.CreateQueue(Queue("below", 2.5, cordoned=True, max_live_jobs=7)))
        (job,) = submit(store, spec())
    without_quotas(url)
    with pytest.raises(FailedPrecondition, match="run `allocator db upgrade`"):
        SqlStore(url).open()
    migrations.upgrade(url)
    quotas = (Quota("a100", "gpu", 8000, borrowing_limit=4000), Quota("h100", "gpu", 16_000, lending_limit=0))
    with SqlStore(url) as store:
        below = Queue("below", 2.5, cordoned=True, max_live_jobs=7)
        assert store.queues() == (below, Queue(QUEUE))
        assert store.get_job(job.id) == job
        changed = do(store, c.UpdateQueue("below", priority=-3, quotas=quotas, discipline=Discipline.FIFO))
        assert changed == replace(below, priority=-3, quotas=quotas, discipline=Discipline.FIFO)
    with SqlStore(url) as store:
        assert store.queues() == (changed, Queue(QUEUE))


def test_an_upgrade_is_refused_while_a_daemon_runs(url: str) -> None:
    with SqlStore(url), pytest.raises(FailedPrecondition, match="in use by another allocator"):
        migrations.upgrade(url)


def test_tables_of_another_program_are_left_alone(url: str) -> None:
    execute(url, "CREATE TABLE job (anything INTEGER)")
    with pytest.raises(FailedPrecondition, match="another program"):
        SqlStore(url).open()
    execute(url, "DROP TABLE job")
    SqlStore(url).open().close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must look like"),
        ("allocator.db", "must look like"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("mysql://host/name", "sqlite:// or postgresql://"),
        ("postgresql+asyncpg://host/name", "sqlite:// or postgresql://"),
    ],
)
def test_a_url_that_cannot_work_says_what_would(url: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        SqlStore(url)
    assert refused.value.violations[0].field == "url"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InvalidInput, match=r"allocator\[postgres\]"):
        SqlStore("postgresql://host/name")


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://postgres@127.0.0.1:1/name"])
def test_a_database_that_cannot_be_reached_is_unavailable(url: str) -> None:
    for attempt in (migrations.check, lambda url: SqlStore(url).open()):
        with pytest.raises(StoreUnavailable):
            attempt(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and there are many of them\n" * 100)
    with pytest.raises(AllocatorError, match="not a database"):
        SqlStore(f"sqlite:///{path}").open()
    assert path.read_text().startswith("these are my notes")


def test_passwords_are_not_shown() -> None:
    assert shown(parse("postgresql://ada:secret@host/name")) == "postgresql://ada:***@host/name"

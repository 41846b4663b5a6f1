"""Reads of a database with many ended jobs look at what they answer with, not at every job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from allocator.domain.job import JobState
from allocator.intake import commands as c
from allocator.store import journal
from allocator.store.database import parse, writing_engine
from allocator.store.feed import Cursor
from allocator.store.sql import SqlStore
from tests.store.cluster import QUEUE, do, set_up, spec, submit


def test_every_look_at_jobs_has_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/allocator.db"
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "FROM job" in statement:
            asked.append((statement, parameters))

    def observed(*arguments: Any) -> Any:
        engine = writing_engine(*arguments)
        event.listen(engine, "before_cursor_execute", note)
        return engine

    monkeypatch.setattr(journal, "writing_engine", observed)
    with SqlStore(url) as store:
        set_up(store)
        jobs = submit(store, *(spec() for _ in range(8)))
        do(store, c.CancelJobs(tuple(job.id for job in jobs[:4])))
    asked.clear()
    with SqlStore(url) as store:
        event.listen(store._engine, "before_cursor_execute", note)
        assert [job.sequence for job in store.snapshot(1.0).jobs] == [5, 6, 7, 8]
        assert [job.sequence for job in store.jobs_changed_since(Cursor())] == [5, 6, 7, 8, 1, 2, 3, 4]
        assert len(store.list_jobs(limit=3)) == 3
        assert len(store.list_jobs(QUEUE, (JobState.CANCELLED,))) == 4
        assert store.get_job("j1").state is JobState.CANCELLED
    engine = create_engine(parse(url))
    with engine.connect() as connection:
        plans = [
            " ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            for statement, parameters in asked
        ]
    engine.dispose()
    used = {word for plan in plans for word in plan.split() if word.startswith(("ix_job", "sqlite_autoindex_job"))}
    assert used == {
        "ix_job_live",
        "ix_job_ended_revision",
        "ix_job_ended_state",
        "ix_job_ended_queue",
        "sqlite_autoindex_job_1",
    }
    assert all("INDEX" in plan for plan in plans), plans

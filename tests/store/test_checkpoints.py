"""The write-ahead log is moved into the database beside the writer, and nothing depends on it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from allocator.store import checkpoints
from allocator.store.checkpoints import Checkpoints
from allocator.store.sql import SqlStore
from tests.store.cluster import set_up, spec, submit


def jobs_in_the_file_alone(path: Path) -> int:
    """Without the log: what a copy of only the database file holds."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy)
    try:
        return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
    finally:
        connection.close()


def test_a_moment_after_a_write_the_log_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "allocator.db"
    moved = threading.Event()

    def told_when_done(where: str) -> None:
        checkpoint(where)
        moved.set()

    checkpoint = checkpoints.checkpoint
    monkeypatch.setattr(checkpoints, "checkpoint", told_when_done)
    monkeypatch.setattr(checkpoints, "PAUSE_SECONDS", 0.0)
    with SqlStore(f"sqlite:///{path}") as store:
        set_up(store)
        submit(store, *(spec() for _ in range(50)))
        for _ in range(2):  # the first one may have begun before the last write
            moved.clear()
            submit(store, spec())
            assert moved.wait(60)
        assert jobs_in_the_file_alone(path) >= 50


def test_writers_and_checkpoints_do_not_wait_for_one_another(tmp_path: Path) -> None:
    path = tmp_path / "allocator.db"
    with SqlStore(f"sqlite:///{path}") as store:
        set_up(store)
        for number in range(20):
            submit(store, spec(name=f"job {number}"))
            checkpoints.checkpoint(str(path))
    with SqlStore(f"sqlite:///{path}") as store:
        assert [job.spec.name for job in store.list_jobs()] == [f"job {number}" for number in range(20)]


def test_a_checkpoint_that_fails_is_logged_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    def fails(_path: str) -> None:
        tried.release()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpoints, "checkpoint", fails)
    monkeypatch.setattr(checkpoints, "PAUSE_SECONDS", 0.0)
    running = Checkpoints(str(tmp_path / "any.db"))
    for _ in range(2):
        running.written()
        assert tried.acquire(timeout=60)
    running.close()
    assert "disk I/O error" in caplog.text


def test_closing_does_not_wait_for_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PAUSE_SECONDS", 3600.0)
    running = Checkpoints(str(tmp_path / "any.db"))
    running.written()
    running.close()

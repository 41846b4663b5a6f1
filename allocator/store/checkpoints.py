"""Moves what has been committed from SQLite's write-ahead log into the database file, beside the writer.

By itself SQLite does that within a commit, every thousand pages: a round's commit then takes several times as long as
what it writes. Here a thread with a connection of its own does it a moment after a write; commits append to the log and
go on. Should it not keep up, the writer helps as usual, at LOG_PAGES. A checkpoint adds and loses nothing: what is
committed is durable before and after it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""From a write to the checkpoint after it: what is changed again in this time is moved once."""
LOG_PAGES = 16_384
"""How long the log gets before the writer helps: 64 MiB."""


class Checkpoints:
    """The thread for the database in the file `path`; `close` ends it. Its failures are logged: the writer helps."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="allocator-store-checkpoints", daemon=True)
        self._thread.start()

    def written(self) -> None:
        """Something was committed."""
        self._written.set()

    def close(self) -> None:
        """End, after the checkpoint that is under way."""
        self._closed.set()
        self._written.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._written.wait()
            self._written.clear()
            if self._closed.wait(PAUSE_SECONDS):
                return
            try:
                checkpoint(self._path)
            except sqlite3.Error as error:
                log.warning("the log of database %s could not be moved into it: %s", self._path, error)


def checkpoint(path: str) -> None:
    """Move what can be moved without anybody having to wait. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        connection.close()

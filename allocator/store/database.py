"""Connections to the two kinds of database, set up so that what is committed is on disk.

`sqlite:///path` uses write-ahead logging with `synchronous=FULL`; readers run beside the writer. `postgresql://...`
uses psycopg 3 (extra `postgres`). Only one program may write to a database at a time: `Lease` sees to it.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from allocator.domain.errors import FailedPrecondition, InvalidInput, StoreUnavailable
from allocator.store.checkpoints import LOG_PAGES

BUSY_TIMEOUT_MILLISECONDS = 5000
CONNECT_TIMEOUT_SECONDS = 5
READ_CONNECTIONS = 8
WRITE_CACHE_KIB = 64 * 1024
"""What one transaction changes shall fit: otherwise SQLite writes pages out before they are finished."""
_ADVISORY_LOCK = 0x616C6C6F6361746F
"""Ours among the advisory locks of a PostgreSQL database: "allocato" as a number."""


def parse(url: str) -> URL:
    """A database URL that this program can use. Raises InvalidInput saying what would be right."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput.of("url", f"must look like sqlite:///path or postgresql://host/name; got {url!r}") from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
            if not parsed.database or parsed.database == ":memory:":
                raise InvalidInput.of("url", f"must name a file, as in sqlite:///var/allocator.db; got {url!r}")
            return parsed.set(drivername="sqlite+pysqlite")
        case "postgresql" if parsed.drivername in ("postgresql", "postgresql+psycopg"):
            if importlib.util.find_spec("psycopg") is None:
                raise InvalidInput.of("url", "PostgreSQL needs the driver: pip install 'allocator[postgres]'")
            return parsed.set(drivername="postgresql+psycopg")
    raise InvalidInput.of("url", f"must be of sqlite:// or postgresql://, got {parsed.drivername}://")


def shown(url: URL) -> str:
    """The URL as people write it, without its password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def writing_engine(url: URL) -> Engine:
    """For the one writing connection."""
    engine = create_engine(url, poolclass=NullPool, connect_args=_connect_arguments(url))
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "begin", _begin_immediate)
    else:
        event.listen(engine, "connect", _prepare_postgres)
    return engine


def reading_engine(url: URL) -> Engine:
    """For short reads from any thread."""
    engine = create_engine(
        url,
        pool_size=READ_CONNECTIONS,
        max_overflow=READ_CONNECTIONS,
        pool_pre_ping=True,
        connect_args=_connect_arguments(url),
        isolation_level="SERIALIZABLE" if url.get_backend_name() == "sqlite" else "REPEATABLE READ",
    )
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "connect", _forbid_writing)
        event.listen(engine, "begin", _begin)
    return engine


def _connect_arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"check_same_thread": False}
    return {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_SECONDS}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver shall not begin transactions by itself: it would leave out DDL and reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MILLISECONDS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA cache_size=-{WRITE_CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    cursor.close()


def _forbid_writing(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgres(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SHOW synchronous_commit")
    if cursor.fetchone()[0] == "off":
        cursor.execute("SET synchronous_commit TO on")
    cursor.close()
    connection.commit()


class Lease(Protocol):
    """The right to write to one database, held by one program at a time."""

    def take(self, connection: Connection) -> None:
        """Take it for `connection`, or keep it. Raises FailedPrecondition while somebody else has it."""
        ...

    def give_back(self) -> None: ...


def lease(url: URL) -> Lease:
    """The lease that fits the kind of database; not taken yet."""
    return _FileLease(url) if url.get_backend_name() == "sqlite" else _AdvisoryLease(url)


class _FileLease:
    """A lock on `<database>.lock`, which the kernel drops when the process ends, however it ends."""

    def __init__(self, url: URL) -> None:
        assert url.database is not None
        self._path = Path(f"{url.database}.lock")
        self._descriptor: int | None = None

    def take(self, connection: Connection) -> None:  # noqa: ARG002 - the file's lock does not depend on connections
        if self._descriptor is not None:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise FailedPrecondition(
                f"database {self._path.with_suffix('')}",
                f"is in use by another allocator (process {holder or 'unknown'}); stop that one first",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def give_back(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _AdvisoryLease:
    """An advisory lock of the writing connection itself: when that is lost, so is the right to write."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def take(self, connection: Connection) -> None:
        granted = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}).scalar_one()
        connection.commit()
        if not granted:
            raise FailedPrecondition(
                f"database {shown(self._url)}", "is in use by another allocator; stop that one first"
            )

    def give_back(self) -> None:
        """Nothing to do: the lock ends with the connection."""

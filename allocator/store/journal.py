"""The one connection that writes: holds the lease, loads the facts, makes one batch after the other durable.

After any failure the next batch first compares how far the database has come with how far memory has: a commit may
have reached the disk although its answer got lost, and then memory is read anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from allocator.domain.errors import StoreUnavailable
from allocator.store import migrations
from allocator.store.checkpoints import Checkpoints
from allocator.store.database import lease, shown, writing_engine
from allocator.store.feed import FEED_LIMIT
from allocator.store.history import SqlArchive, load, read_position
from allocator.store.mapping import Row
from allocator.store.overlay import Overlay
from allocator.store.state import State
from allocator.store.writing import Statements

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round's record, written out: its row, the row of its memory, the round's number and time."""

    row: Row
    memory: Row
    number: int
    time: float


class Journal:
    """Used by one thread at a time. Retention: see `SqlStore`."""

    def __init__(self, url: URL, *, receipt_retention_seconds: float, round_retention: int) -> None:
        self._url = url
        self._engine = writing_engine(url)
        self._lease = lease(url)
        self._statements = Statements(url.get_backend_name())
        self._archive = SqlArchive()
        self._receipt_retention_seconds = receipt_retention_seconds
        self._round_retention = round_retention
        self._connection: Connection | None = None
        self._suspect = False
        self._checkpoints: Checkpoints | None = None

    @property
    def engine(self) -> Engine:
        """For tests that make statements fail."""
        return self._engine

    @property
    def is_sound(self) -> bool:
        """Whether nothing has failed since memory and database were last compared. For any thread."""
        return not self._suspect

    def open(self) -> State:
        """Take the lease, make or check the schema, and load.

        Raises FailedPrecondition when another program holds the database or its schema is another one, and
        StoreUnavailable when it cannot be reached.
        """
        try:
            connection = self._connect()
            if migrations.current_of(connection) is None:
                migrations.upgrade_of(connection)
            migrations.check_of(connection)
            with connection.begin():
                state = load(connection, self._archive, FEED_LIMIT)
        except SQLAlchemyError as error:
            self.close()
            raise StoreUnavailable(f"database {shown(self._url)} cannot be opened: {error}") from error
        except BaseException:
            self.close()
            raise
        if self._url.get_backend_name() == "sqlite":
            assert self._url.database is not None
            self._checkpoints = Checkpoints(self._url.database)
        return state

    def close(self) -> None:
        """Give up the connection and the lease."""
        if self._checkpoints is not None:
            self._checkpoints.close()
            self._checkpoints = None
        self.disconnect()
        self._lease.give_back()
        self._engine.dispose()

    def recover(self, state: State) -> State | None:
        """After a failure: connect again. Returns other facts if `state` is not what the database holds."""
        if not self._suspect:
            return None
        connection = self._connection or self._connect()
        other = None
        with connection.begin():
            found = read_position(connection)
            if found != state.position:
                log.warning("the database is at %s, memory was at %s: reading it anew", found, state.position)
                other = load(connection, self._archive, FEED_LIMIT)
        self._suspect = False
        return other

    def look_up(self, job_ids: Iterable[str], request_ids: Iterable[str]) -> None:
        """Fetch what a batch is going to ask the archive for."""
        self._archive.begin(self._connected, job_ids, request_ids)

    def end_reading(self) -> None:
        """End the transaction of the look-ups."""
        self._connected.rollback()

    def write(self, overlay: Overlay, records: Sequence[RoundRecord]) -> None:
        """Make a batch durable: when this returns, it is on disk; when it raises, assume nothing."""
        connection = self._connected
        self._statements.write(connection, overlay)
        for record in records:
            self._statements.write_round(connection, record.row, record.memory)
            self._statements.prune(
                connection,
                receipts_before=record.time - self._receipt_retention_seconds,
                rounds_before=record.number - self._round_retention + 1,
            )
        connection.commit()
        if self._checkpoints is not None:
            self._checkpoints.written()

    def undo(self) -> None:
        """Roll back what was begun; nothing is certain until `recover`."""
        self._suspect = True
        if self._connection is not None:
            self._connection.rollback()

    def disconnect(self) -> None:
        """Drop the connection, and with it whatever was not committed; `recover` makes a new one."""
        self._suspect = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError:
            log.warning("the connection to the database could not be closed in order", exc_info=True)
            connection.invalidate()

    @property
    def _connected(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        try:
            self._lease.take(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

"""The schema's history, shipped with the program and run by it: `allocator db upgrade`, or by itself on a new database.

`versions/` holds one file per step; `env.py` is what Alembic runs them in. A whole upgrade is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from allocator.domain.errors import FailedPrecondition, StoreUnavailable
from allocator.store.database import Lease, lease, parse, shown, writing_engine
from allocator.store.tables import Row

VERSION_TABLE = "allocator_schema"

Answer = TypeVar("Answer")


def head() -> str:
    """The schema version that this program reads and writes."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


def current(url: str) -> str | None:
    """The schema version of a database; None if it holds none of our tables."""
    return _with_connection(url, current_of)


def upgrade(url: str) -> str:
    """Bring a database to `head()` and return that. Refused while a daemon uses the database, or if it is newer."""
    return _with_connection(url, upgrade_of, writes=True)


def check(url: str) -> None:
    """Raise FailedPrecondition, saying what to do, unless the database is at `head()`."""
    _with_connection(url, check_of)


def current_of(connection: Connection) -> str | None:
    """See `current`."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    with connection.begin():
        return context.get_current_revision()


def upgrade_of(connection: Connection) -> str:
    """See `upgrade`; the caller holds the lease."""
    version = current_of(connection)
    if version is None:
        _refuse_foreign_tables(connection)
    elif version not in _known():
        raise _newer(connection, version)
    config = _config()
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, "head")
    return head()


def check_of(connection: Connection) -> None:
    """See `check`."""
    version = current_of(connection)
    if version == head():
        return
    if version is None:
        raise FailedPrecondition(_subject(connection), "holds no schema yet; run `allocator db upgrade`")
    if version in _known():
        raise FailedPrecondition(
            _subject(connection),
            f"has schema version {version}, this program needs {head()}; run `allocator db upgrade`",
        )
    raise _newer(connection, version)


def _with_connection(url: str, act: Callable[[Connection], Answer], *, writes: bool = False) -> Answer:
    parsed = parse(url)
    held: Lease | None = lease(parsed) if writes else None
    engine = writing_engine(parsed)
    try:
        with engine.connect() as connection:
            if held is not None:
                held.take(connection)
            return act(connection)
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"database {shown(parsed)}: {error}") from error
    finally:
        if held is not None:
            held.give_back()
        engine.dispose()


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _newer(connection: Connection, version: str) -> FailedPrecondition:
    return FailedPrecondition(
        _subject(connection),
        f"has schema version {version}, which this program does not know: the program is older than the database; "
        "install the newer one",
    )


def _refuse_foreign_tables(connection: Connection) -> None:
    with connection.begin():
        taken = set(inspect(connection).get_table_names()) & set(Row.metadata.tables)
    if taken:
        raise FailedPrecondition(
            _subject(connection),
            f"holds tables of another program ({', '.join(sorted(taken))}); use a database of its own",
        )


def _subject(connection: Connection) -> str:
    return f"database {shown(connection.engine.url)}"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

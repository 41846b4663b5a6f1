"""What a daemon's database holds, read beside the daemon or without one: nothing is written, and no lease is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from sqlalchemy.exc import SQLAlchemyError

from allocator.domain.errors import NotFound, StoreUnavailable
from allocator.domain.job import Job, JobState
from allocator.domain.snapshot import Snapshot
from allocator.store.database import parse, reading_engine, shown
from allocator.store.history import History, SqlArchive, load

PAGE = 1000
_ROUNDS = 50
"""So many of the newest tell how far rounds are apart."""
_FINAL = tuple(state for state in JobState if state.is_final)


@dataclass(frozen=True, slots=True)
class Standing:
    """The live facts at the time of the last recorded round, and jobs that had ended. `interval_seconds` is what lay
    between rounds, None where there were too few.
    """

    snapshot: Snapshot
    ended: Iterator[Job]
    """In order of admission; read as they are taken, while the context is open."""
    interval_seconds: float | None


@contextmanager
def standing(url: str) -> Iterator[Standing]:
    """Inside, the database can be read. Raises InvalidInput for what is no URL, NotFound, and StoreUnavailable where it
    cannot be read, or is that of another version.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        raise NotFound("database", shown(parsed))
    engine = reading_engine(parsed)
    try:
        with engine.connect() as connection:
            state = load(connection, SqlArchive(), feed_limit=0)
        history = History(engine)
        rounds = history.rounds(None, _ROUNDS)
        apart = [newer.time - older.time for newer, older in pairwise(rounds) if newer.round == older.round + 1]
        time = rounds[0].time if rounds else 0.0
        yield Standing(state.snapshot(time), _ended(history), median(apart) if apart else None)
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{shown(parsed)} cannot be read as a database of this version: {error}") from error
    finally:
        engine.dispose()


def _ended(history: History) -> Iterator[Job]:
    after = 0
    while page := history.ended_jobs(None, _FINAL, after, PAGE):
        yield from page
        after = page[-1].sequence

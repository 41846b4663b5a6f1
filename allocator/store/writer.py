"""Group commit: one thread collects what arrived in the last few milliseconds, and makes it durable at once.

An fsync costs some 4 ms whatever it covers; so all commands of a batch share one. They take effect in the order in
which they were handed in, each sees the effects of those before it, and each gets its own answer. If the database
refuses the batch, it is as if none of them had been asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from allocator.domain.errors import AllocatorError, ResourceExhausted, StoreUnavailable
from allocator.store.image import Image
from allocator.store.journal import Journal, RoundRecord
from allocator.store.overlay import Overlay
from allocator.store.writing import StrayWriter

log = logging.getLogger(__name__)

OUTAGES = (OperationalError, InterfaceError, StrayWriter, AllocatorError)
"""Failures of the database itself (of the lease too); anything else is the doing of a single piece of work."""

_SLOW_SECONDS = 2.0
"""A batch that takes longer than this may never be durable."""


class Unstorable(Exception):
    """A change that the database does not take, such as a number too large for it."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do to the facts, and who waits for it.

    `size` bounds batches. After `urgent` work nothing more is waited for. `job_ids` and `request_ids` name what it may
    ask the archive for, so that a batch looks it all up at once.
    """

    step: Callable[[Overlay], Any]
    future: Future[Any] = field(default_factory=Future)
    size: int = 1
    urgent: bool = False
    job_ids: Sequence[str] = ()
    request_ids: Sequence[str] = ()
    record: RoundRecord | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """Work that was tried: its answer, or why it was refused."""

    work: Work
    answer: Any = None
    refusal: AllocatorError | None = None

    def tell(self) -> None:
        if self.refusal is None:
            self.work.future.set_result(self.answer)
        else:
            self.work.future.set_exception(self.refusal)


class Writer:
    """Owns the thread. `max_batch` bounds the sum of sizes of a batch, `max_waiting` the number of works not begun."""

    def __init__(
        self,
        journal: Journal,
        image: Image,
        *,
        group_commit_seconds: float,
        max_batch: int,
        max_waiting: int,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._on_batch = on_batch or (lambda _commands, _seconds: None)
        self._journal = journal
        self._image = image
        self._group_commit_seconds = group_commit_seconds
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._door = threading.Lock()
        self._open = True
        self._began: float | None = None
        """Since when the batch under way is, by the monotonic clock."""
        self._thread = threading.Thread(target=self._run, name="allocator-store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Hand in; the future tells the rest, also when the store is closed or has too much to do."""
        with self._door:
            if not self._open:
                work.future.set_exception(StoreUnavailable("the store is closed"))
            elif self._waiting.qsize() >= self._max_waiting and not work.urgent:
                work.future.set_exception(ResourceExhausted("store", f"{self._max_waiting} commands wait already"))
            else:
                self._waiting.put(work)
        return work.future

    @property
    def is_well(self) -> bool:
        """Whether it is open, the database took what it was last given, and is not slow to take what it has now. For
        any thread.
        """
        began = self._began
        return self._open and self._journal.is_sound and (began is None or time.monotonic() - began < _SLOW_SECONDS)

    def close(self) -> None:
        """Finish what was handed in, then end."""
        with self._door:
            if self._open:
                self._open = False
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._collect()
            batch = [work for work in batch if work.future.set_running_or_notify_cancel()]
            if batch:
                self._began = begin = time.monotonic()
                self._settle(batch)
                self._began = None
                self._tell(len(batch), time.monotonic() - begin)

    def _tell(self, commands: int, seconds: float) -> None:
        try:
            self._on_batch(commands, seconds)
        except Exception:  # its own failure: the batch is durable and answered, and the thread must go on
            log.exception("whoever counts batches failed")

    def _collect(self) -> tuple[list[Work], bool]:
        """The next batch, and whether there will be another one."""
        work = self._waiting.get()
        batch: list[Work] = []
        size = 0
        deadline = time.monotonic() + self._group_commit_seconds
        while work is not None:
            batch.append(work)
            size += work.size
            if size >= self._max_batch or work.urgent:
                return batch, True
            try:
                work = self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return batch, True
        return batch, False

    def _settle(self, batch: Sequence[Work]) -> None:
        """Do a batch and answer everybody. Never raises: the thread must go on."""
        try:
            done = self._attempt(batch)
        except OUTAGES as error:
            log.warning("a batch of %d could not be made durable: %s", len(batch), error)
            self._journal.disconnect()
            _tell_all(batch, _unavailable(error))
        except Exception as error:  # one of them cannot be done or stored: alone, it fails alone
            self._undo()
            if len(batch) > 1:
                for work in batch:
                    self._settle([work])
            else:
                log.exception("a command or a round could not be done or stored")
                _tell_all(batch, _unavailable(error) if isinstance(error, SQLAlchemyError | Unstorable) else error)
        else:
            for item in done:
                item.tell()

    def _undo(self) -> None:
        try:
            self._journal.undo()
        except SQLAlchemyError:
            self._journal.disconnect()

    def _attempt(self, batch: Sequence[Work]) -> list[_Done]:
        """Apply, write, show. Raises if the batch as a whole cannot be made durable, and then nothing has changed."""
        other = self._journal.recover(self._image.state)
        if other is not None:
            self._image.replace(other)
        live = self._image.state.jobs
        self._journal.look_up(
            job_ids=[job_id for work in batch for job_id in work.job_ids if job_id not in live],
            request_ids=[request_id for work in batch for request_id in work.request_ids],
        )
        overlay = Overlay(self._image.state)
        done = [_try(work, overlay) for work in batch]
        if overlay.changed:
            self._write(overlay, [item.work.record for item in done if item.work.record and item.refusal is None])
        else:
            self._journal.end_reading()
        self._image.merge(overlay)
        return done

    def _write(self, overlay: Overlay, records: Sequence[RoundRecord]) -> None:
        try:
            self._journal.write(overlay, records)
        except OUTAGES:
            raise
        except Exception as error:
            raise Unstorable(str(error)) from error


def _try(work: Work, overlay: Overlay) -> _Done:
    try:
        return _Done(work, answer=work.step(overlay))
    except AllocatorError as refusal:
        return _Done(work, refusal=refusal)


def _tell_all(batch: Sequence[Work], error: Exception) -> None:
    for work in batch:
        work.future.set_exception(error)


def _unavailable(cause: Exception) -> StoreUnavailable:
    told = StoreUnavailable(f"nothing was acknowledged: {cause}")
    told.__cause__ = cause
    return told

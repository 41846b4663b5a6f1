"""Carries news from rounds and writer to watch streams: newest wins, memory is bounded, slow readers hold up nobody.
Captures are the exception: they want every round, and who cannot keep up is told so.

Rounds and store call from their own threads; what they say is kept under a lock, newest only, and handed to the event
loop in one go. Each watcher has a slot for a single value: a newer one replaces it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from allocator.domain.errors import ResourceExhausted
from allocator.domain.placement import NodeDesired
from allocator.rounds.captured import SeenRound
from allocator.rounds.report import RoundReport

Value = TypeVar("Value")


class Draining(Exception):
    """The server is about to stop: watches end, and what would change facts is refused."""


@dataclass(slots=True)
class StreamCounts:
    """Of one kind of stream: open watchers, values handed to them, and values replaced before they were taken."""

    watchers: int = 0
    pushes: int = 0
    coalesced: int = 0


class Slot(Generic[Value]):
    """Room for one value on its way to one watcher. Used on the event loop only."""

    def __init__(self, counts: StreamCounts | None = None) -> None:
        self._counts = counts
        self._value: Value | None = None
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> Value | None:
        """What has been put and not taken."""
        return self._value

    def put(self, value: Value) -> None:
        """Replace whatever has not been taken yet."""
        if self._counts is not None:
            self._counts.pushes += 1
            self._counts.coalesced += self._value is not None
        self._value = value
        self._changed.set()

    def close(self) -> None:
        """From now on `take` raises Draining."""
        self._closed = True
        self._changed.set()

    async def take(self) -> Value:
        """The newest value, as soon as there is one that was not taken. Raises Draining when closed."""
        await self._changed.wait()
        if self._closed or self._value is None:
            raise Draining
        value, self._value = self._value, None
        self._changed.clear()
        return value


class Rounds:
    """Room for `most` rounds on their way to one capture. Put from any thread, taken on the event loop."""

    def __init__(self, counts: StreamCounts, most: int, loop: asyncio.AbstractEventLoop) -> None:
        self._counts = counts
        self._most = most
        self._loop = loop
        self._lock = threading.Lock()
        self._rounds: deque[SeenRound] = deque()
        self._behind = self._closed = False
        self._changed = asyncio.Event()

    def put(self, seen: SeenRound) -> None:
        """Add a round; where there is no room, let go of all: the reader is too slow. Returns at once."""
        with self._lock:
            if self._behind or self._closed:
                return
            self._counts.pushes += 1
            self._rounds.append(seen)
            if len(self._rounds) > self._most:
                self._counts.coalesced += len(self._rounds)
                self._rounds.clear()
                self._behind = True
        self._wake()

    def close(self) -> None:
        """From now on `take` raises Draining once nothing is left."""
        with self._lock:
            self._closed = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the loop was closed, and whoever waited on it is gone
            return

    async def take(self) -> SeenRound:
        """The next round, as soon as there is one. Raises ResourceExhausted when there was no room, Draining."""
        while True:
            with self._lock:
                if self._behind:
                    why = f"is more than {self._most} rounds behind, which is all that is kept for it: capture again"
                    raise ResourceExhausted("capture", why)
                if self._rounds:
                    return self._rounds.popleft()
                if self._closed:
                    raise Draining
                self._changed.clear()
            await self._changed.wait()


class Hub:
    """Implements `rounds.ports.Pusher` and `rounds.ports.Observer` for watch streams.

    Without an event loop (before `attach`, after `detach`) there are no watchers, and news is dropped: whoever comes
    later reads the current state from the store.
    """

    def __init__(self) -> None:
        self._allocations = StreamCounts()
        self._jobs = StreamCounts()
        self._rounds = StreamCounts()
        self._captures = StreamCounts()
        self.counts: Mapping[str, StreamCounts] = {
            "allocations": self._allocations,
            "jobs": self._jobs,
            "rounds": self._rounds,
            "captures": self._captures,
        }
        self._captured: tuple[Rounds, ...] = ()
        """Replaced as a whole, so that rounds read it without a lock."""
        self._node_slots: dict[str, set[Slot[NodeDesired]]] = {}
        self._job_slots: set[Slot[int]] = set()
        self._round_slots: set[Slot[int]] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._pending_desired: dict[str, NodeDesired] = {}
        self._pending_revision: int | None = None
        self._pending_round: int | None = None
        self.newest: RoundReport | None = None
        """The last round that was observed, whole, for whoever explains it. It is only ever replaced: no lock."""

    # --- from any thread ---

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Publish the whole desired state of each node that changed. Returns at once."""
        with self._lock:
            for state in desired:
                known = self._pending_desired.get(state.node)
                if known is None or known.epoch <= state.epoch:
                    self._pending_desired[state.node] = state
            self._schedule()

    def observe(self, report: RoundReport) -> None:
        """Tell watchers that a round was recorded."""
        self.newest = report
        captured = self._captured
        if captured:
            seen = SeenRound.of(report)
            for rounds in captured:
                rounds.put(seen)
        with self._lock:
            self._pending_round = report.summary.round
            self._schedule()

    def changed(self, revision: int) -> None:
        """Tell watchers of jobs that facts changed; to be subscribed to the store."""
        with self._lock:
            self._pending_revision = revision
            self._schedule()

    def stream_counts(self) -> Mapping[str, StreamCounts]:
        """Counts by kind of stream."""
        return self.counts

    def _schedule(self) -> None:
        """Have `_deliver` called on the loop once, however often news comes before that."""
        if self._loop is None:
            self._drop()
        elif not self._scheduled:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
                self._scheduled = True
            except RuntimeError:  # the loop was closed without `detach`
                self._drop()

    def _drop(self) -> None:
        self._pending_desired, self._pending_revision, self._pending_round = {}, None, None

    # --- on the event loop ---

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on `loop` from now on."""
        with self._lock:
            self._loop, self._scheduled = loop, False
        self._closed = False

    def detach(self) -> None:
        """Drop news from now on."""
        with self._lock:
            self._loop = None
            self._drop()

    def close(self) -> None:
        """End every watch, and those that would begin."""
        self._closed = True
        every: chain[Slot[Any]] = chain(self._job_slots, self._round_slots, *self._node_slots.values())
        for slot in every:
            slot.close()
        for rounds in self._captured:
            rounds.close()

    def check_open(self) -> None:
        """Raises Draining after `close`: for watchers between two slots' values."""
        if self._closed:
            raise Draining

    @contextmanager
    def allocations(self, node: str) -> Iterator[Slot[NodeDesired]]:
        """Desired states of `node`, from now on."""
        slot = Slot[NodeDesired](self._allocations)
        slots = self._node_slots.setdefault(node, set())
        with self._watching(self._allocations, slots, slot):
            try:
                yield slot
            finally:
                if slots == {slot}:
                    self._node_slots.pop(node, None)

    @contextmanager
    def jobs(self) -> Iterator[Slot[int]]:
        """Revisions of the store, from now on."""
        slot = Slot[int]()
        with self._watching(self._jobs, self._job_slots, slot):
            yield slot

    @contextmanager
    def rounds(self) -> Iterator[Slot[int]]:
        """Numbers of recorded rounds, from now on."""
        slot = Slot[int]()
        with self._watching(self._rounds, self._round_slots, slot):
            yield slot

    @contextmanager
    def captures(self, most: int) -> Iterator[Rounds]:
        """Every round from now on, whole, as long as no more than `most` wait."""
        self.check_open()
        rounds = Rounds(self._captures, most, asyncio.get_running_loop())
        self._captured = (*self._captured, rounds)
        self._captures.watchers += 1
        try:
            yield rounds
        finally:
            self._captured = tuple(other for other in self._captured if other is not rounds)
            self._captures.watchers -= 1

    @contextmanager
    def _watching(self, counts: StreamCounts, slots: set[Slot[Value]], slot: Slot[Value]) -> Iterator[None]:
        self.check_open()
        slots.add(slot)
        counts.watchers += 1
        try:
            yield
        finally:
            slots.discard(slot)
            counts.watchers -= 1

    def _deliver(self) -> None:
        with self._lock:
            desired, revision, round_number = self._pending_desired, self._pending_revision, self._pending_round
            self._drop()
            self._scheduled = False
        for state in desired.values():
            for slot in self._node_slots.get(state.node, ()):
                if slot.waiting is None or slot.waiting.epoch <= state.epoch:
                    slot.put(state)
        if revision is not None:
            for revisions in self._job_slots:
                revisions.put(revision)
        if round_number is not None:
            for numbers in self._round_slots:
                numbers.put(round_number)

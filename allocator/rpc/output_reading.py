"""One ReadOutput stream: finds where a replica runs or last ran, and passes on what it prints, piece after piece.

A piece is asked for when the one before it was taken, so a slow client slows its own reading and nothing else, and a
client that goes away ends it. What runs is known from the facts; where something ran before is not kept in them, so the
nodes that can be asked are all asked for the newest run that they know of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

from allocator.domain.errors import FailedPrecondition, InvalidInput, NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.output import (
    OutputEnd,
    OutputEvent,
    OutputFault,
    OutputMissing,
    OutputPiece,
    OutputPosition,
    OutputQuestion,
    OutputRun,
    OutputWait,
)
from allocator.domain.placement import Epoch
from allocator.rpc.backend import Backend
from allocator.rpc.hub import Slot
from allocator.rpc.output_relay import NodeAway

PIECE_BYTES = 2**16
_FOLLOW_SECONDS = 10.0
"""That a question waits for more, before it is asked again."""
_BEGIN_SECONDS = 2.0
"""That somebody who does not follow waits for a run to begin, and for a node that reconnects."""
_SEARCH_SECONDS = 5.0
_GATHER_SECONDS = 0.2
"""From a change of the facts to the next look: many changes are looked at once."""
_LOOK_SECONDS = 2.0
"""How often is looked without a change."""
_ASKED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for."""

    job_id: str
    replica: int = 0
    errors: bool = False
    tail_lines: int | None = None
    follow: bool = False
    resume: OutputPosition | None = None


async def read_output(backend: Backend, wanted: Wanted) -> AsyncIterator[OutputEvent]:
    """The stream; ends with an OutputEnd. Raises NotFound, InvalidInput, FailedPrecondition, ResourceExhausted,
    Draining.
    """
    with backend.outputs.reader(), backend.hub.jobs() as slot:
        reading = _Reading(backend, wanted, slot)
        async for event in reading.events():
            yield event


class _Reading:
    """How far it has got, and what it knows."""

    def __init__(self, backend: Backend, wanted: Wanted, slot: Slot[int]) -> None:
        self._backend, self._relay, self._wanted, self._slot = backend, backend.outputs, wanted, slot
        self._position: OutputPosition | None = wanted.resume
        self._complete = False
        """Whether all of the run at the position was read."""
        self._told: OutputWait | None = None
        self._looked_at: tuple[object, ...] = ()
        """What tells starts of the job apart, when its newest run was looked for: a later one may have printed, too."""

    async def events(self) -> AsyncIterator[OutputEvent]:
        job = await self._job()
        _check_replica(job, self._wanted.replica)
        was_live = not job.state.is_final
        while True:
            place = self._place(job)
            try:
                async for event in self._here(job, *place) if place else self._elsewhere(job, was_live=was_live):
                    self._told = None if not isinstance(event, OutputWait) else self._told
                    yield event
                if not self._wanted.follow or self._is_over(job):
                    yield OutputEnd()
                    return
                wait = None if place else OutputWait.NOT_STARTED
            except NodeAway:
                wait = OutputWait.NODE_AWAY
                if not self._wanted.follow or job.state.is_final:
                    raise FailedPrecondition(*_away(self._position, place)) from None
            except _NotBegun:
                wait = OutputWait.NOT_STARTED
            if wait is not None and wait is not self._told:
                self._told = wait
                yield wait
            await self._change()
            job = await self._job()

    # --- where

    def _place(self, job: Job) -> tuple[str, Epoch] | None:
        """Node and start of the run that goes on now."""
        allocation = job.allocation
        if allocation is None or self._wanted.replica >= len(allocation.placement.replicas):
            return None
        return allocation.placement.replicas[self._wanted.replica].node, allocation.start_epoch

    def _is_over(self, job: Job) -> bool:
        """Nothing more can come."""
        if job.allocation is not None:
            return self._complete and self._wanted.replica in job.allocation.finished
        return job.state.is_final

    async def _job(self) -> Job:
        return await self._backend.ask(self._backend.reads.get_job, self._wanted.job_id)

    async def _change(self) -> None:
        """Until facts or nodes have changed, or for a while."""
        waiting = [asyncio.ensure_future(self._slot.take()), asyncio.ensure_future(self._relay.changed.wait())]
        try:
            done, _ = await asyncio.wait(waiting, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in waiting:
                each.cancel()
        self._backend.hub.check_open()
        await asyncio.sleep(_GATHER_SECONDS)

    # --- reading

    async def _here(self, job: Job, node: str, start: Epoch) -> AsyncIterator[OutputEvent]:
        """From the run that goes on now, or, before that, what is left of the one that was read last."""
        with suppress(NotFound):  # a node that was removed meanwhile is away
            if self._backend.reads.get_node(node).simulated:
                raise FailedPrecondition(f"node {node!r}", f"is simulated: job {job.id!r} prints nothing there")
        position = self._position
        if position is not None and not self._complete:
            if position.start_epoch == start or position.node in self._relay.nodes():
                async for event in self._rest(position):
                    yield event
                if not self._complete:
                    return
            position = self._position
        if not await self._relay.reachable(node, _BEGIN_SECONDS):
            raise NodeAway
        first = self._question(node)
        first = replace(first, start_epoch=start, most_bytes=0 if position is not None else PIECE_BYTES)
        try:
            piece = await self._ask(first)
        except OutputMissing as missing:
            if missing.fault is OutputFault.NO_RUN:
                if self._wanted.follow:
                    raise _NotBegun from None
                where = f"has a place on node {node!r}, but has not begun there yet; follow it to wait for that"
                raise FailedPrecondition(f"job {job.id!r}", where) from None
            raise _refusal(job, node, missing) from None
        self._looked_at = _starts(job)
        if not self._is_news(piece):
            return
        async for event in self._run(node, piece):
            yield event

    async def _elsewhere(self, job: Job, *, was_live: bool) -> AsyncIterator[OutputEvent]:
        """It does not run: what is left of the run that was read last, or else the newest that any node knows."""
        if self._position is not None and not self._complete:
            async for event in self._rest(self._position):
                yield event
        if self._position is not None and self._looked_at == _starts(job):
            return
        self._looked_at = _starts(job)
        found = await self._search(job)
        if found is not None:
            if self._is_news(found[1]):
                async for event in self._run(*found):
                    yield event
        elif self._position is None and (not self._wanted.follow or not was_live):
            raise FailedPrecondition(f"job {job.id!r}", self._why_nothing(job))

    def _is_news(self, piece: OutputPiece) -> bool:
        """Whether its run is not the one that was read last, nor an older one."""
        position = self._position
        return position is None or (piece.run != position.run and piece.start_epoch >= position.start_epoch)

    async def _search(self, job: Job) -> tuple[str, OutputPiece] | None:
        """The node with the newest run, and that run."""
        if job.first_start_time is None:
            return None
        turns = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(node: str) -> tuple[str, OutputPiece] | None:
            with suppress(OutputMissing, NodeAway, TimeoutError):
                async with turns, asyncio.timeout(_SEARCH_SECONDS):
                    return node, await self._relay.ask(replace(self._question(node), most_bytes=0))
            return None

        answers = await asyncio.gather(*map(ask, self._relay.nodes()))
        found = [answer for answer in answers if answer is not None]
        return max(found, key=lambda answer: answer[1].start_epoch, default=None)

    def _why_nothing(self, job: Job) -> str:
        if job.first_start_time is None:
            if job.state.is_final:
                return "has ended without having run: there is no output"
            return "has not started yet: there is no output; follow it to wait for that"
        asked = len(self._relay.nodes())
        nodes = "the one node that is" if asked == 1 else f"any of the {asked} nodes that are"
        return (
            f"has no output of replica {self._wanted.replica} on {nodes} heard of: it printed nothing, its output was "
            "removed, or it ran on a node that is away or simulated"
        )

    async def _run(self, node: str, first: OutputPiece) -> AsyncIterator[OutputEvent]:
        self._position = OutputPosition(node, first.run, first.start_epoch, first.offset)
        self._complete = False
        yield OutputRun(self._position, first.shared)
        async for event in self._rest(self._position, first if first.content else None):
            yield event

    async def _rest(self, position: OutputPosition, piece: OutputPiece | None = None) -> AsyncIterator[OutputEvent]:
        """All behind `position`, of which `piece` is there already; who does not follow gets what there is now."""
        until: int | None = None
        while True:
            if piece is None:
                piece = await self._next(position)
            if piece is None:  # nothing was printed, and so nothing was kept
                self._complete = True
                return
            if piece.content:
                position = self._position = replace(position, offset=piece.end)
                yield piece
            self._complete = piece.complete
            until = piece.size if until is None else until
            if self._complete or (not self._wanted.follow and (position.offset >= until or not piece.content)):
                return
            piece = None

    async def _next(self, position: OutputPosition) -> OutputPiece | None:
        question = replace(self._question(position.node), run=position.run, offset=position.offset, tail_lines=None)
        try:
            piece = await self._ask(question)
        except OutputMissing as missing:
            if missing.fault is OutputFault.NO_RUN:
                return None
            raise _refusal(await self._job(), position.node, missing) from None
        if piece.offset != position.offset or piece.run != position.run:
            raise FailedPrecondition(f"node {position.node!r}", "answered something else than it was asked for")
        return piece

    async def _ask(self, question: OutputQuestion) -> OutputPiece:
        """Raises OutputMissing, NodeAway."""
        while True:
            try:
                piece = await self._relay.ask(question)
            except OutputMissing as missing:
                if missing.fault is not OutputFault.BUSY:
                    raise
                await asyncio.sleep(_GATHER_SECONDS)
                continue
            if len(piece.content) > question.most_bytes:
                raise FailedPrecondition(f"node {question.node!r}", "answered more than it was asked for")
            return piece

    def _question(self, node: str) -> OutputQuestion:
        wanted = self._wanted
        return OutputQuestion(
            node,
            wanted.job_id,
            wanted.replica,
            wanted.errors,
            tail_lines=wanted.tail_lines if self._position is None else None,
            most_bytes=PIECE_BYTES,
            wait_seconds=_FOLLOW_SECONDS if wanted.follow else 0.0,
        )


class _NotBegun(Exception):
    """The replica has a place, and its node has not begun it."""


def _starts(job: Job) -> tuple[object, ...]:
    return job.last_start_time, job.preemption_count, job.failures, job.state.is_final


def _check_replica(job: Job, replica: int) -> None:
    if job.allocation is not None:
        count = len(job.allocation.placement.replicas)
    else:
        count = max(configuration.replicas for configuration in job.spec.configurations)
    if not 0 <= replica < count:
        numbers = "0, the only one" if count == 1 else f"from 0 to {count - 1}"
        state = "runs with" if job.state is JobState.RUNNING else "has"
        of = "1 replica" if count == 1 else f"{count} replicas"
        raise InvalidInput.of("replica", f"must be {numbers}: job {job.id!r} {state} {of}; got {replica}")


def _away(position: OutputPosition | None, place: tuple[str, Epoch] | None) -> tuple[str, str]:
    node = place[0] if place is not None else position.node if position is not None else "?"
    why = "is not heard of, or its agent does not offer output: try again when it is back, or follow to wait for it"
    return f"node {node!r}", why


def _refusal(job: Job, node: str, missing: OutputMissing) -> FailedPrecondition:
    return FailedPrecondition(f"output of job {job.id!r} on node {node!r}", missing.message or missing.fault.value)

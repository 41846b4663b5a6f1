"""Carries questions about output to those who run replicas, over the streams that they opened, and their answers back.

Nothing is kept: a question is open until it is answered, is withdrawn, or its stream ends. As many are open as there
are readers, each for one piece of bounded size, so memory is bounded by the number of readers. Used on the event loop
only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from allocator.domain.errors import ResourceExhausted
from allocator.domain.output import OutputMissing, OutputPiece, OutputQuestion
from allocator.rpc.hub import Draining

ANSWER_SECONDS = 15.0
"""How long an answer may take beyond what the question itself waits."""


class NodeAway(Exception):
    """Nobody who runs what the node runs answers (any more)."""


@dataclass(slots=True)
class Line:
    """One stream on which questions can be asked: `to_send` of (id, question), or of (id, None) to withdraw one."""

    nodes: tuple[str, ...]
    to_send: asyncio.Queue[tuple[int, OutputQuestion | None] | None] = field(default_factory=asyncio.Queue)
    open: dict[int, asyncio.Future[OutputPiece | OutputMissing]] = field(default_factory=dict)
    draining: bool = False

    async def questions(self) -> AsyncIterator[tuple[int, OutputQuestion | None]]:
        """What to send, until the line is closed. Raises Draining when the server stops."""
        while (each := await self.to_send.get()) is not None:
            yield each
        if self.draining:
            raise Draining

    def close(self) -> None:
        """Nothing more is sent."""
        self.to_send.put_nowait(None)

    def answered(self, id_: int, outcome: OutputPiece | OutputMissing) -> None:
        """To a question that is open; nobody listens to others."""
        future = self.open.get(id_)
        if future is not None and not future.done():
            future.set_result(outcome)


class OutputRelay:
    """The lines of one server."""

    def __init__(self, most_readers: int) -> None:
        self._most_readers = most_readers
        self._readers = 0
        self._lines: dict[str, Line] = {}
        self._ids = count(1)
        self._changed = asyncio.Event()
        self._closed = False

    @contextmanager
    def line(self, nodes: tuple[str, ...]) -> Iterator[Line]:
        """A stream offers to read what these nodes' replicas print."""
        if self._closed:
            raise Draining
        line = Line(nodes)
        for node in nodes:
            self._lines[node] = line
        self._tell()
        try:
            yield line
        finally:
            for node in nodes:
                if self._lines.get(node) is line:
                    del self._lines[node]
            for future in line.open.values():
                if not future.done():
                    future.set_exception(NodeAway())
            self._tell()

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Somebody reads. Raises ResourceExhausted when too many do."""
        if self._closed:
            raise Draining
        if self._readers >= self._most_readers:
            raise ResourceExhausted("readers of output", f"are {self._most_readers} already: try again later", 5.0)
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def nodes(self) -> tuple[str, ...]:
        """Those that can be asked, by name."""
        return tuple(sorted(self._lines))

    @property
    def changed(self) -> asyncio.Event:
        """Set, and replaced, when a node comes or goes."""
        return self._changed

    async def reachable(self, node: str, seconds: float) -> bool:
        """Whether the node can be asked, now or within so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while node not in self._lines:
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True

    async def ask(self, question: OutputQuestion) -> OutputPiece:
        """Raises OutputMissing, NodeAway, Draining. Whoever is cancelled withdraws its question."""
        if self._closed:
            raise Draining
        line = self._lines.get(question.node)
        if line is None:
            raise NodeAway
        id_ = next(self._ids)
        future: asyncio.Future[OutputPiece | OutputMissing] = asyncio.get_running_loop().create_future()
        line.open[id_] = future
        line.to_send.put_nowait((id_, question))
        try:
            async with asyncio.timeout(question.wait_seconds + ANSWER_SECONDS):
                outcome = await future
        except TimeoutError:
            raise NodeAway from None
        finally:
            del line.open[id_]
            if not future.done() or future.cancelled():
                line.to_send.put_nowait((id_, None))
        if self._closed:
            raise Draining
        if isinstance(outcome, OutputMissing):
            raise outcome
        return outcome

    def close(self) -> None:
        """End every line and all that is read, and what would begin."""
        self._closed = True
        for each in {id(line): line for line in self._lines.values()}.values():
            each.draining = True
            each.close()
            for future in each.open.values():
                if not future.done():
                    future.set_exception(Draining())
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

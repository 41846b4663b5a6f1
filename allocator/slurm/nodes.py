"""Slurm's nodes as the daemon knows them: registers them, closes those that take no new work, sends their heartbeats,
and listens to what is wanted there. One that the daemon refuses keeps no other from anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from allocator.client import AsyncClient
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.output import OutputPiece, OutputQuestion
from allocator.domain.placement import Epoch, NodeDesired
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.slurm.observed import SlurmNode
from allocator.slurm.spool import Spool
from allocator.slurm.translation import node_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """The nodes as Slurm tells of them. `held`: (cores, MiB, GPUs) of our own jobs by node. `unknown`: nodes where jobs
    of ours are of which nobody knows yet what they hold. `open_nodes`: those that take new work.
    """

    nodes: tuple[SlurmNode, ...]
    held: Mapping[str, tuple[int, int, int]]
    unknown: frozenset[str]
    open_nodes: frozenset[str]

    def ours(self, node: SlurmNode) -> tuple[int, int, int]:
        """Where jobs are unknown, all that is in use is taken to be ours: else they would be stopped for a lack of room
        that they make themselves.
        """
        if node.name in self.unknown:
            return node.used_cpus, node.used_memory_mib, node.used_gpus
        return self.held.get(node.name, (0, 0, 0))


class Reader(Protocol):
    """Answers what jobs print."""

    async def answer(self, question: OutputQuestion) -> OutputPiece: ...


class Nodes:
    """`changed` is called when something else is wanted; `suspends`: whether jobs are suspended. Raises AllocatorError
    while the daemon is away, and OSError.
    """

    def __init__(
        self,
        client: AsyncClient,
        spool: Spool,
        reader: Reader,
        changed: Callable[[], None],
        *,
        retry_seconds: float,
        suspends: bool,
    ) -> None:
        self._client, self._spool, self._reader, self._changed = client, spool, reader, changed
        self._retry_seconds, self._suspends = retry_seconds, suspends
        self.desired: dict[str, NodeDesired] = {}
        """What is wanted of those of which it is known."""
        self._registered: dict[str, Node] = {}
        self._closed: set[str] = set()
        """Nodes that we cordoned, because they take no new work."""
        self._written: frozenset[str] = frozenset()
        """The same as the spool has it, for whoever comes after us; perhaps some more."""
        self._foreign: dict[str, tuple[int, int, int]] = {}
        """Cores, MiB and GPUs of each node that seemed to be in use by others at the last look."""
        self._told: dict[str, tuple[list[ReplicaReport], float]] = {}
        """The last heartbeat of each node: what it said, and when the next is due."""
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._offered: tuple[str, ...] = ()
        self._offer: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Blocking."""
        self._written = self._spool.closed_nodes()

    def end(self) -> None:
        for task in (*self._watches.values(), self._offer):
            if task is not None:
                task.cancel()

    async def register(self, seen: Seen) -> None:
        """Those that answer, as they are now; and open or close all."""
        for node in seen.nodes:
            if node.answers:
                await self._take(node_of(node, self._ours(node, seen), suspends=self._suspends))
            if node.name in self._registered:
                await self._open_or_close(node.name, takes_new_work=node.name in seen.open_nodes)
            nothing_new = node.name in self.desired and node.name not in self._registered
            if node.name not in self._watches and not nothing_new:
                self._watches[node.name] = asyncio.create_task(self._watch(node.name))
        names = tuple(sorted(self._registered))
        if names != self._offered:
            self._offered = names
            if self._offer is not None:
                self._offer.cancel()
            self._offer = asyncio.create_task(self._offer_output(names))

    def _ours(self, node: SlurmNode, seen: Seen) -> tuple[int, int, int]:
        """What is not ours is believed at the second look: Slurm may tell of what ended up to a second ago."""
        used, ours = (node.used_cpus, node.used_memory_mib, node.used_gpus), seen.ours(node)
        cpus, memory, gpus = (max(0, whole - mine) for whole, mine in zip(used, ours, strict=True))
        before = self._foreign.get(node.name, (cpus, memory, gpus))
        self._foreign[node.name] = (cpus, memory, gpus)
        return used[0] - min(cpus, before[0]), used[1] - min(memory, before[1]), used[2] - min(gpus, before[2])

    async def _take(self, node: Node) -> None:
        if self._registered.get(node.name) == node:
            return
        try:
            await self._client.register_node(node)
            self._registered[node.name] = node
        except (InvalidInput, FailedPrecondition) as refused:  # such as another flavor while jobs run there
            log.warning("node %s is not taken as it is now: %s", node.name, refused)

    async def _open_or_close(self, name: str, *, takes_new_work: bool) -> None:
        """Cordoned while Slurm drains it, plans it for others, or cannot reach it. Written down before: who comes after
        us must know that it was not an operator.
        """
        try:
            if not takes_new_work and name not in self._closed:
                await self._write_closed(self._written | {name})
                await self._client.cordon_node(name, cordoned=True)
                self._closed.add(name)
                log.info("node %s closed", name)
            elif takes_new_work and name in self._closed | self._written:
                await self._client.cordon_node(name, cordoned=False)
                self._closed.discard(name)
                await self._write_closed(self._written - {name})
                log.info("node %s opened", name)
        except NotFound:
            self._forgotten(name)

    async def _write_closed(self, nodes: frozenset[str]) -> None:
        await asyncio.to_thread(self._spool.write_closed_nodes, nodes)
        self._written = nodes

    async def _watch(self, node: str) -> None:
        """Until the daemon says that it does not know it: then nothing is wanted there until it is registered. So a
        node that has never answered keeps no waiting job from being stopped.
        """
        while True:
            try:
                async for desired in self._client.watch_allocations(node):
                    known = self.desired.get(node)
                    if known is None or desired.epoch >= known.epoch:
                        self.desired[node] = desired
                        self._changed()
            except NotFound:
                self.desired.setdefault(node, NodeDesired(node, Epoch(0, 0), ()))
                self._watches.pop(node, None)
                self._changed()
                return
            except AllocatorError as error:
                log.warning("cannot watch node %s: %s", node, error)
            await asyncio.sleep(self._retry_seconds)

    async def _offer_output(self, nodes: tuple[str, ...]) -> None:
        """Let the daemon ask for what jobs print; of these nodes, whose logs are all in the spool."""
        while True:
            try:
                await self._client.offer_output(nodes, self._reader.answer)
            except AllocatorError as error:
                log.info("what jobs print cannot be asked for, for now: %s", error)
            await asyncio.sleep(self._retry_seconds)

    async def tell(self, reports: Mapping[str, list[ReplicaReport]], answering: frozenset[str]) -> None:
        """`answering`: nodes whose daemons do, or did when that was last known. What ended where nobody answers is
        known from the spool, and told too.
        """
        ends = {
            name for name, several in reports.items() if any(each.state is not ReplicaState.RUNNING for each in several)
        }
        names = sorted(self._registered.keys() & (answering | ends))
        await together(self._heartbeat(name, reports.get(name, [])) for name in names)

    async def _heartbeat(self, name: str, reports: list[ReplicaReport]) -> None:
        """If it says something new, or it is time."""
        said, due = self._told.get(name, ([], 0.0))
        if said == reports and time.monotonic() < due:
            return
        try:
            lease = await self._client.heartbeat(name, reports)
        except NotFound:
            self._forgotten(name)
        else:
            self._told[name] = (reports, time.monotonic() + lease.heartbeat_interval_seconds)

    def _forgotten(self, name: str) -> None:
        """By the daemon: register it again."""
        self._registered.pop(name, None)
        self._told.pop(name, None)
        self._closed.discard(name)


async def together(several: Iterable[Awaitable[None]]) -> None:
    """At once, and all to their end; raises the first failure."""
    for answer in await asyncio.gather(*several, return_exceptions=True):
        if answer is not None:
            raise answer

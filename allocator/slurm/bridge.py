"""Drives a Slurm cluster: registers its nodes, submits and stops jobs as the daemon decides, and reports what became of
them.

One poll asks the controller for nodes and jobs, does what `reconcile` says, and sends a heartbeat for every node whose
daemon answers. While the controller is away nothing is done and no heartbeat says that all is well for longer than the
daemon's lease: heartbeats go on, because running jobs do, but nothing new is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from allocator.client import AsyncClient
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, NotFound
from allocator.domain.placement import NodeDesired
from allocator.slurm import reconcile
from allocator.slurm.batch import submission
from allocator.slurm.control import Control, SlurmAway, SlurmRefused
from allocator.slurm.gangs import Gang, Run, gangs_of
from allocator.slurm.observed import SlurmJob, SlurmNode
from allocator.slurm.reconcile import Ended, Release, Stop, Submit
from allocator.slurm.translation import held_by, node_of

log = logging.getLogger(__name__)
_MOST_PAUSE = 8
"""So many polls' time at most between two questions to a controller that is away."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`spool` must be at the same place on all nodes."""

    spool: Path
    poll_seconds: float = 1.0
    partition: str = ""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Slurm's names by resource, such as bandwidth: net_gbps."""


class Bridge:
    """`run` until cancelled. `seen` hears of every poll that went well, for tests and logs."""

    def __init__(
        self, client: AsyncClient, control: Control, settings: Settings, seen: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self._control, self._settings, self._seen = client, control, settings, seen
        self._registered: dict[str, Node] = {}
        self._closed: set[str] = set()
        """Nodes that we cordoned, because Slurm drains them."""
        self._desired: dict[str, NodeDesired] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[Run, Ended] = {}
        self._last: dict[Run, Gang] = {}
        """What is or was wanted of runs that Slurm still has: how they want to be told to end."""
        self._live: frozenset[str] = frozenset()
        """Ids of jobs that have not ended, at the last poll."""
        self._woken = asyncio.Event()
        self._polled = asyncio.Event()
        """Set, and replaced, at each poll."""

    async def run(self) -> None:
        self._settings.spool.mkdir(parents=True, exist_ok=True)
        pause = 1
        try:
            while True:
                try:
                    await self._poll()
                    pause = 1
                    self._seen()
                except SlurmAway as away:
                    log.warning("slurm is away: %s", away)
                    await self._heartbeats({}, {})
                    pause = min(_MOST_PAUSE, pause * 2)
                except AllocatorError as error:
                    log.warning("the daemon is away: %s", error)
                await self._wait(self._settings.poll_seconds * pause)
        finally:
            for task in (*self._watches.values(), *self._stopping.values()):
                task.cancel()

    async def _wait(self, seconds: float) -> None:
        """Until then, or until something else is wanted."""
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _poll(self) -> None:
        nodes, jobs = await self._control.nodes(), await self._control.jobs()
        self._live = frozenset(job.id for job in jobs if job.is_live)
        self._polled.set()
        self._polled = asyncio.Event()
        desired = dict(self._desired)  # what is wanted, and of which nodes that is known, from one moment
        mine, wanted = reconcile.ours_in(jobs), gangs_of(desired.values())
        known = self._last | dict(wanted)
        self._last = {run: gang for run, gang in known.items() if run in wanted or run in mine}
        await asyncio.to_thread(self._forget, known.keys() - self._last.keys())
        running = [self._last[run] for run, job in mine.items() if job.state != "PENDING" and run in self._last]
        # after a restart, what our own jobs hold is known only when their nodes have said what is wanted there
        unknown = {node for run, job in mine.items() if job.is_live and run not in self._last for node in job.nodes}
        await self._register(nodes, [gang for gang in running if mine[gang.run].is_live], unknown)
        self._ended = await asyncio.to_thread(self._read_ends, wanted, mine)
        everywhere = frozenset(node.name for node in nodes)
        for action in reconcile.actions(wanted, jobs, self._ended, frozenset(desired), everywhere):
            await self._do(action)
        await self._heartbeats(wanted, mine, frozenset(node.name for node in nodes if node.answers))

    # --- nodes

    async def _register(self, nodes: tuple[SlurmNode, ...], running: list[Gang], unknown: set[str]) -> None:
        """On nodes where jobs of ours are `unknown`, all that is in use is taken to be ours: else they would be stopped
        for a lack of room that they make themselves.
        """
        ours = held_by(running)
        for seen in nodes:
            if not seen.answers:
                continue
            everything = (seen.used_cpus, seen.used_memory_mib, seen.used_gpus)
            node = node_of(seen, everything if seen.name in unknown else ours.get(seen.name, (0, 0, 0)))
            if self._registered.get(seen.name) != node:
                await self._client.register_node(node)
                self._registered[seen.name] = node
            if seen.takes_new_work == (seen.name in self._closed):
                await self._client.cordon_node(seen.name, cordoned=not seen.takes_new_work)
                (self._closed.discard if seen.takes_new_work else self._closed.add)(seen.name)
            if seen.name not in self._watches:
                self._watches[seen.name] = asyncio.create_task(self._watch(seen.name))

    async def _watch(self, node: str) -> None:
        while True:
            try:
                async for desired in self._client.watch_allocations(node):
                    known = self._desired.get(node)
                    if known is None or desired.epoch >= known.epoch:
                        self._desired[node] = desired
                        self._woken.set()
            except AllocatorError as error:
                log.warning("cannot watch node %s: %s", node, error)
            await asyncio.sleep(self._settings.poll_seconds)

    # --- jobs

    def _read_ends(self, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob]) -> dict[Run, Ended]:
        """Of wanted runs that are not under way: what their batch scripts wrote."""
        found = {}
        for run in wanted:
            job = mine.get(run)
            if job is not None and job.is_live:
                continue
            with suppress(FileNotFoundError):
                text = (self._settings.spool / f"{run.file_name}.exit").read_text(encoding="ascii", errors="replace")
                found[run] = reconcile.written_end(text)
        return found

    def _forget(self, runs: Iterable[Run]) -> None:
        """Nobody asks about them any more: only what they printed stays."""
        for run in runs:
            for what in ("hosts", "started", "exit"):
                (self._settings.spool / f"{run.file_name}.{what}").unlink(missing_ok=True)

    async def _do(self, action: reconcile.Action) -> None:
        try:
            match action:
                case Submit(gang):
                    work = submission(gang, self._settings.spool, self._settings.partition, self._settings.licences)
                    job_id = await self._control.submit(work, self._settings.spool / f"{gang.run.file_name}.hosts")
                    log.info("submitted %s as slurm job %s", gang.run.job_id, job_id)
                    self._woken.set()
                case Release(job):
                    await self._control.release(job.id)
                case Stop(job, run):
                    if job.id not in self._stopping:
                        self._stopping[job.id] = asyncio.create_task(self._stop(job, run))
        except SlurmRefused as refused:
            log.warning("slurm refused: %s", refused)

    async def _stop(self, job: SlurmJob, run: Run) -> None:
        """Tell its tasks to end, give them their grace, and cancel what is left. What waits has nothing to save."""
        gang = self._last.get(run)
        process = None if gang is None else gang.first.process
        try:
            if process is not None and job.state == "RUNNING":
                await self._control.signal(job.id, process.checkpoint.name)
                with suppress(TimeoutError):
                    async with asyncio.timeout(process.grace_seconds):
                        while job.id in self._live:
                            await self._polled.wait()
            await self._control.cancel(job.id)
            log.info("stopped slurm job %s of %s", job.id, run.job_id)
        except (SlurmRefused, SlurmAway) as error:
            log.warning("could not stop slurm job %s yet: %s", job.id, error)
        finally:
            self._stopping.pop(job.id, None)

    # --- reports

    async def _heartbeats(
        self, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob], answering: frozenset[str] | None = None
    ) -> None:
        """`answering`: nodes whose daemons do; None: nobody knows, and they are given the benefit of the doubt."""
        for name in sorted(self._registered):
            if answering is not None and name not in answering:
                continue
            reports = [
                report
                for run, gang in wanted.items()
                if name in gang.nodes
                for report in reconcile.reports_of(
                    name, gang, reconcile.outcome(gang, mine.get(run), self._ended.get(run))
                )
            ]
            try:
                await self._client.heartbeat(name, reports)
            except NotFound:
                self._registered.pop(name)  # the daemon has forgotten it: register it again
                return

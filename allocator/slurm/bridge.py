"""Drives a Slurm cluster: submits and stops jobs as the daemon decides, and reports what became of them.

One poll asks the controller for nodes, unless that was less than a second ago, and then for jobs, unless it was woken
in between: then what is newly wanted is submitted by what is known of them. It does what `reconcile` says, some of it
at once, and has heartbeats sent for every node whose daemon answers, when there is news or it is time (`nodes`). While
the controller is away nothing is done and no heartbeat says that all is well for longer than the daemon's lease:
heartbeats go on, because running jobs do, but nothing new is reported, except successes: between polls one looks for
them in the spool, and reports them at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from allocator.client import AsyncClient
from allocator.domain.errors import AllocatorError, NotFound
from allocator.engine.runs import Run
from allocator.intake.commands import ReplicaReport
from allocator.slurm import reconcile
from allocator.slurm.batch import submission
from allocator.slurm.control import Control, SlurmAway, SlurmRefused
from allocator.slurm.gangs import Gang, comment_of, gangs_of, known_of, run_of
from allocator.slurm.holders import Holders
from allocator.slurm.nodes import Nodes, Seen, together
from allocator.slurm.observed import SlurmJob, SlurmNode
from allocator.slurm.outcomes import Outcomes
from allocator.slurm.output import SpoolReader
from allocator.slurm.reconcile import Name, Resume, Stop, Submit, Suspend, Suspension
from allocator.slurm.spool import Spool
from allocator.slurm.translation import held_by

log = logging.getLogger(__name__)
_STRETCH_SECONDS = 2.0
"""About how long a poll acts at a stretch: then heartbeats are due, or the daemon gives all nodes up."""
_MOST_PAUSE = 8
"""So many polls' time at most between two questions to a controller that is away."""
_HOLDS_NO_CORES = ("PENDING", "SUSPENDED")
"""The memory of a suspended job is still in use: nobody can have it, its own job included."""
_TOLD_LATE_SECONDS = 3.0
"""So long after a job has ended a node may still be told to hold what it had: it is asked up to a second after the jobs
are, and what Slurm says of it was so up to a second ago."""
_NODES_SECONDS = 1.0
"""From look to look at the nodes at least: what is wanted shall not wait for them each time."""
_SOON_SECONDS = 0.1
"""To the next look at the jobs while something waits for one of them to leave."""
_HELD_BACK_SECONDS = 2.0
"""So long it waits at most: where many end, somebody always leaves."""
_AT_ONCE = 8
"""Commands of Slurm's that change something."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`spool` must be at the same place on all nodes."""

    spool: Path
    poll_seconds: float = 1.0
    fence_seconds: float = 10.0
    """Within so many, tasks that may not run any more, on nodes that nobody can reach, have ended."""
    partition: str = ""
    suspends: bool = False
    """What is preempted stands still, and goes on if its job starts again where it was, instead of being stopped."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Slurm's names by resource, such as bandwidth: net_gbps."""


class Bridge:
    """`run` until cancelled. `seen` hears of every poll that went well, for tests and logs."""

    def __init__(
        self, client: AsyncClient, control: Control, settings: Settings, seen: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self._control, self._settings, self._seen = client, control, settings, seen
        self._spool, self._holders = Spool(settings.spool), Holders(settings.spool, settings.fence_seconds)
        self._outcomes = Outcomes(self._spool)
        self._telling = asyncio.Lock()
        self._woken = asyncio.Event()
        reader = SpoolReader(settings.spool, lambda run: self._last.get(run), self._is_over)  # noqa: PLW0108 - the newest
        self._daemon = Nodes(
            client,
            self._spool,
            reader,
            self._woken.set,
            retry_seconds=settings.poll_seconds,
            suspends=settings.suspends,
        )
        self._nodes: tuple[SlurmNode, ...] = ()
        self._nodes_due = 0.0
        self._jobs: tuple[SlurmJob, ...] = ()
        """As of the last look, and what was submitted since."""
        self._jobs_due = 0.0
        self._is_doubtful = False
        """Whether Slurm may have taken what it was given since, and its answer was lost."""
        self._answering: frozenset[str] = frozenset()
        """Nodes whose daemons did when the controller last told: a node that was dead then lives for nobody's sake."""
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._changing = asyncio.Semaphore(_AT_ONCE)
        self._named: set[str] = set()
        """Slurm jobs that may run what they were submitted for."""
        self._settled: set[str] = set()
        """Slurm jobs that have ended and of which nothing is left."""
        self._planned_for_us: frozenset[str] = frozenset()
        """Nodes of those that waited at the last look."""
        self._held: dict[Run, float] = {}
        """When each was last seen to hold something."""
        self._over: frozenset[str] = frozenset()
        """Slurm jobs that had ended by the last look."""
        self._wanted: Mapping[Run, Gang] = {}
        self._mine: Mapping[Run, SlurmJob] = {}
        """What was wanted, and what Slurm had of it, at the last look."""
        self._last: dict[Run, Gang] = {}
        """What is or was wanted of runs that Slurm still has: how they want to be told to end."""
        self._present: frozenset[Run] = frozenset()
        """Those that Slurm still runs, or will."""
        self._held_back: dict[Run, float] = {}
        """Since when runs have waited for others to leave their nodes."""
        self._has_tidied = False
        """Whether what earlier bridges left in the spool is gone."""
        self._live: frozenset[str] = frozenset()
        """Ids of jobs that have not ended, at the last poll."""
        self._polled = asyncio.Event()
        """Set, and replaced, at each poll."""

    async def run(self) -> None:
        self._spool.prepare()
        self._daemon.begin()
        looking = asyncio.create_task(self._look_for_successes())
        pause = 1
        try:
            while True:
                self._woken.clear()
                try:
                    await self._poll()
                    pause = 1
                    self._seen()
                except (SlurmAway, SlurmRefused, OSError) as away:  # whatever is wrong with Slurm or the spool may pass
                    self._is_doubtful = True
                    log.warning("slurm is away: %s", away)
                    with suppress(AllocatorError):  # so is the daemon: the next poll says so
                        async with self._telling:
                            await self._daemon.tell({}, self._answering)
                    pause = min(_MOST_PAUSE, pause * 2)
                except AllocatorError as error:
                    self._is_doubtful = True  # Slurm may be away as well: one of both is told of
                    log.warning("the daemon is away: %s", error)
                await self._wait(
                    max(self._jobs_due - time.monotonic(), 0.0) if pause == 1 else self._settings.poll_seconds * pause
                )
        finally:
            self._daemon.end()
            stopping = [looking, *self._stopping.values()]
            for task in stopping:
                task.cancel()
            await asyncio.gather(*stopping, return_exceptions=True)  # each ends the command that it waits for

    async def _wait(self, seconds: float) -> None:
        """Until then, or until something else is wanted than when the last poll began."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _poll(self) -> None:
        """What is wanted newly is begun by what the last look at the jobs showed, and what was submitted since: nobody
        else submits a run that is wanted for the first time.
        """
        looks = time.monotonic() >= self._nodes_due
        if looks:
            self._nodes = await self._control.nodes()
            self._nodes_due = time.monotonic() + max(_NODES_SECONDS, self._settings.poll_seconds)
            self._answering = frozenset(node.name for node in self._nodes if node.answers)
        # what nodes hold is told apart by the jobs of that moment
        is_new = looks or self._is_doubtful or time.monotonic() >= self._jobs_due
        if is_new:
            self._jobs = await self._control.jobs()
            self._is_doubtful = False
            self._jobs_due = time.monotonic() + self._settings.poll_seconds
            self._polled.set()
            self._polled = asyncio.Event()
        jobs = self._jobs
        self._live = frozenset(job.id for job in jobs if job.is_live)
        desired = dict(self._daemon.desired)  # what is wanted, and of which nodes that is known, from one moment
        mine, wanted = reconcile.ours_in(jobs), gangs_of(desired.values())
        self._present = frozenset(run for run, job in mine.items() if job.is_live)
        known = known_of(self._last, wanted)
        self._last = {run: gang for run, gang in known.items() if run in wanted or run in mine}
        everywhere = frozenset(node.name for node in self._nodes)
        await asyncio.to_thread(self._forget, known.keys() - self._last.keys())
        if is_new and not self._has_tidied and desired.keys() >= everywhere:
            await asyncio.to_thread(self._spool.forget_all_but, {*wanted, *mine})
            self._has_tidied = True
        holding = [known[run] for run in self._held_lately(jobs) if run in known]
        open_nodes = self._open_nodes(mine)
        if looks:
            await self._daemon.register(Seen(self._nodes, held_by(holding), self._unknown(mine), open_nodes))
        await asyncio.to_thread(self._settle, jobs)
        await self._outcomes.refresh(wanted, mine, self._answering)
        self._wanted, self._mine = wanted, mine
        self._named &= self._live
        actions = reconcile.actions(
            wanted,
            jobs,
            self._outcomes.ended,
            frozenset(desired),
            everywhere,
            frozenset(self._named),
            await self._suspension(open_nodes, mine, wanted),
            everywhere - self._answering,
            self._outcomes.leaving(),
            self._hold_back(wanted, mine),
        )
        if not is_new and not all(isinstance(action, Submit | Name) for action in actions):
            self._jobs_due = 0.0  # what waited then may run by now: nothing is stopped for what was
            actions = tuple(action for action in actions if isinstance(action, Submit | Name))
        await together([self._tell(), self._act(actions)])

    def _hold_back(self, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob]) -> frozenset[Run]:
        """What waits for others to leave its nodes; while something does, one looks often."""
        now = time.monotonic()
        waiting = reconcile.without_room(wanted, mine, self._outcomes.leaving())
        self._held_back = {run: self._held_back.get(run, now) for run in waiting}
        held_back = frozenset(run for run, since in self._held_back.items() if now - since < _HELD_BACK_SECONDS)
        if held_back:
            self._jobs_due = min(self._jobs_due, now + _SOON_SECONDS)
        return held_back

    def _unknown(self, mine: Mapping[Run, SlurmJob]) -> frozenset[str]:
        """After a restart, what our own jobs hold is known only when their nodes have said what is wanted there."""
        return frozenset(
            node for run, job in mine.items() if job.is_live and run not in self._last for node in job.nodes
        )

    def _open_nodes(self, mine: Mapping[Run, SlurmJob]) -> frozenset[str]:
        """The nodes were asked between two looks at the jobs: what waited at either may be what one is planned for."""
        waiting = [self._last[run] for run, job in mine.items() if job.state == "PENDING" and run in self._last]
        planned_for_us = frozenset(node for gang in waiting for node in gang.nodes)
        before, self._planned_for_us = self._planned_for_us, planned_for_us
        return frozenset(node.name for node in self._nodes if node.is_open(planned_for_us | before))

    def _held_lately(self, jobs: Iterable[SlurmJob]) -> frozenset[Run]:
        """Runs that the nodes may tell of as holding something: what one of ours held for a moment, or lately, must not
        be taken for somebody else's, or whoever has its place now would be stopped for a lack of room.
        """
        now = time.monotonic()
        ours = [
            (run, job) for job in jobs if (run := run_of(job.comment)) is not None and job.state not in _HOLDS_NO_CORES
        ]
        self._held |= {run: now for run, job in ours if job.is_live or job.id not in self._over}
        self._held = {run: at for run, at in self._held.items() if at >= now - _TOLD_LATE_SECONDS}
        self._over = frozenset(job.id for _, job in ours if not job.is_live)
        return frozenset(self._held)

    async def _suspension(
        self, open_nodes: frozenset[str], mine: Mapping[Run, SlurmJob], wanted: Mapping[Run, Gang]
    ) -> Suspension:
        if not self._settings.suspends:
            return reconcile.NO_SUSPENSION
        unfinished = set()
        for job_id in {run.job_id for run, job in mine.items() if job.is_live and run not in wanted}:
            with suppress(NotFound):
                if not (await self._client.job(job_id)).state.is_final:
                    unfinished.add(job_id)
        return Suspension(frozenset(unfinished), open_nodes, self._last)

    # --- what became of runs

    def _is_over(self, run: Run) -> bool:
        return run not in self._present and (run in self._outcomes.ended or run not in self._last)

    def _settle(self, jobs: Iterable[SlurmJob]) -> None:
        found = {job.id: run for run, job in reconcile.settled(jobs, self._answering)}
        for slurm_id in found.keys() - self._settled:
            self._holders.settle(found[slurm_id], slurm_id)
        self._settled = set(found)

    def _forget(self, runs: Iterable[Run]) -> None:
        """Nobody asks about them any more."""
        for run in runs:
            self._holders.revoke(run)
            self._spool.forget(run)

    async def _look_for_successes(self) -> None:
        """A place that is free is told so when it is, not at the next poll; whatever is wrong, the next poll says."""
        while True:
            try:
                with suppress(OSError, AllocatorError):
                    if await self._outcomes.look():
                        await self._tell()
            except Exception:  # else nobody would look any more, and nobody say so
                log.exception("looking for successes failed; it goes on")
            await self._outcomes.rest()

    async def _tell(self) -> None:
        """One at a time, so that what is told last is what was known last."""
        async with self._telling:
            reports: defaultdict[str, list[ReplicaReport]] = defaultdict(list)
            for run, gang in self._wanted.items():
                found = reconcile.outcome(gang, self._mine.get(run), self._outcomes.ended.get(run))
                for node, report in reconcile.reports_of(gang, found):
                    reports[node].append(report)
            await self._daemon.tell(reports, self._answering)

    # --- what is done

    async def _act(self, actions: Iterable[reconcile.Action]) -> None:
        """As much as there is time for; what takes no time comes first. The next poll finds the rest."""
        until = time.monotonic() + _STRETCH_SECONDS
        ordered = sorted(actions, key=lambda action: isinstance(action, Submit))
        await together([self._do(action, until) for action in ordered])

    async def _do(self, action: reconcile.Action, until: float) -> None:
        async with self._changing:
            if time.monotonic() > until:
                self._woken.set()
                return
            try:
                match action:
                    case Submit(gang):
                        await self._name(await self._submit(gang), gang.run)
                    case Name(job, run):
                        await self._name(job.id, run)
                    case Suspend(job):
                        await self._control.suspend(job.id)
                        log.info("suspended slurm job %s", job.id)
                    case Resume(job, run):
                        await self._resume(job, run)
                    case Stop(job, run):
                        if job.id not in self._stopping:
                            self._stopping[job.id] = asyncio.create_task(self._stop(job, run))
            except SlurmRefused as refused:
                log.warning("slurm refused: %s", refused)

    async def _submit(self, gang: Gang) -> str:
        how = self._settings
        work = submission(gang, how.spool, how.partition, how.licences, how.fence_seconds)
        try:
            slurm_id = await self._control.submit(work, self._spool.hosts(gang.run))
        except SlurmRefused as refused:
            self._is_doubtful = True
            self._outcomes.refuse(gang.run, str(refused))
            raise
        self._jobs += (SlurmJob(slurm_id, "PENDING", (), "", comment_of(gang.run)),)
        log.info("submitted %s as slurm job %s", gang.run.job_id, slurm_id)
        return slurm_id

    async def _name(self, slurm_id: str, run: Run) -> None:
        """Unless something of the job may still be elsewhere: then the next polls try again."""
        if await asyncio.to_thread(self._holders.claim, run, slurm_id):
            self._named.add(slurm_id)

    async def _resume(self, job: SlurmJob, run: Run) -> None:
        """Each step may be the last one before a crash: until its comment says so, it is another run's."""
        before = run_of(job.comment)
        if before is not None:
            await asyncio.to_thread(self._spool.carry_on, before, run)
        await asyncio.to_thread(self._holders.pass_on, run, job.id)
        if job.state == "SUSPENDED":
            await self._control.resume(job.id)
        await self._control.rename(job.id, comment_of(run))
        log.info("slurm job %s goes on as another run of %s", job.id, run.job_id)

    async def _stop(self, job: SlurmJob, run: Run) -> None:
        """Tell its tasks to end, give them their grace, and cancel what is left. What waits has nothing to save."""
        gang = self._last.get(run)
        process = None if gang is None else gang.first.process
        try:
            if gang is not None and process is not None and job.state == "RUNNING":
                await self._control.signal(job.id, process.checkpoint.name, steps=not gang.is_alone)
                with suppress(TimeoutError):
                    async with asyncio.timeout(process.grace_seconds):
                        while job.id in self._live:
                            await self._polled.wait()
            await self._control.cancel(job.id)
            log.info("stopped slurm job %s of %s", job.id, run.job_id)
        except (SlurmRefused, SlurmAway, OSError) as error:
            log.warning("could not stop slurm job %s yet: %s", job.id, error)
        finally:
            self._stopping.pop(job.id, None)

"""Drives a Kubernetes cluster: registers its nodes, has Jobs run what the daemon decides, and reports what became of
them.

Nodes, pods and our Jobs are mirrored by watches. Whenever they or the daemon's wishes change, what `reconcile` says is
done, and every node that is ready sends a heartbeat. While the API server is away nothing is done, and nodes keep the
health that was last seen: running pods do not need it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from allocator.client import AsyncClient, Lease
from allocator.domain.cluster import Node, NodeAvailability
from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.placement import Epoch, NodeDesired
from allocator.domain.resources import NOTHING, Resources
from allocator.engine.runs import Run
from allocator.intake.commands import ReplicaReport
from allocator.kubernetes import observed, reconcile, translation
from allocator.kubernetes.api import NODES, OUR_JOBS, PODS, Server, ServerAway, ServerRefused
from allocator.kubernetes.gangs import gangs_of
from allocator.kubernetes.manifest import Surroundings, called, job_manifest, resize_patch
from allocator.kubernetes.mirror import Mirror
from allocator.kubernetes.observed import KubeJob, KubeNode, KubePod
from allocator.kubernetes.reconcile import Create, LetGo, Release, Rename, Resize, Sight, Stop
from allocator.kubernetes.translation import Kinds

log = logging.getLogger(__name__)
_GAP_SECONDS = 0.05
"""At least, between two looks, however much changes."""
_ASK_AGAIN_SECONDS = 5.0
"""After which a Job that was made and not seen yet is made again; if it is there, the server says so."""
_NEVER_TAKEN = frozenset((400, 422))
_AT_ONCE = 16
"""Calls of the API server at the same time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`keep_seconds`: how long Jobs that have ended stay, with what they printed. `start_seconds`: a replica that has
    not started by then has failed.
    """

    around: Surroundings
    kinds: Kinds = field(default_factory=Kinds)
    poll_seconds: float = 1.0
    """At most this long between two looks, whether anything changes or not."""
    keep_seconds: int = 3600
    start_seconds: float = 600.0


class Bridge:
    """`run` until cancelled. `seen` hears of every look that went well, for tests and logs."""

    def __init__(
        self, client: AsyncClient, server: Server, settings: Settings, seen: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self._server, self._settings, self._seen = client, server, settings, seen
        gpu, namespace = settings.kinds.gpu, settings.around.namespace
        self._nodes = Mirror[KubeNode](server, NODES, lambda item: observed.node_of(item, gpu), self._wake)
        self._pods = Mirror[KubePod](server, PODS, lambda item: observed.pod_of(item, namespace, gpu), self._wake)
        self._jobs = Mirror[KubeJob](server, server.jobs, observed.job_of, self._wake, OUR_JOBS)
        self._woken = asyncio.Event()
        self._registered: dict[str, Node] = {}
        self._refused_nodes: dict[str, Node] = {}
        self._lease = Lease(45.0, 2.0)
        self._availability: dict[str, NodeAvailability] = {}
        """Of nodes that we closed."""
        self._desired: dict[str, NodeDesired] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._resizes = False
        self._refused: dict[str, tuple[Run, str]] = {}
        """By name of a Job that the server will never take: why."""
        self._asked: dict[str, float] = {}
        self._not_resized: set[tuple[str, Resources]] = set()
        self._told: dict[str, tuple[tuple[ReplicaReport, ...], float]] = {}
        """What each node's last heartbeat said, and when."""
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def _wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Raises ServerRefused where looking is not allowed."""
        self._resizes = await self._ask_until_answered()
        try:
            async with asyncio.TaskGroup() as tasks:
                for mirror in (self._nodes, self._pods, self._jobs):
                    tasks.create_task(mirror.run())
                tasks.create_task(self._look_for_ever())
        finally:
            for task in self._watches.values():
                task.cancel()

    async def _ask_until_answered(self) -> bool:
        pause = 0.2
        while True:
            try:
                found = await self._server.resizes()
            except ServerAway as away:
                log.warning("kubernetes is away: %s", away)
                await asyncio.sleep(pause)
                pause = min(15.0, pause * 2)
            else:
                if not found:
                    log.warning("this server cannot resize pods in place: changed shares hold from the next start on")
                return found

    async def _look_for_ever(self) -> None:
        took = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_seconds):
                    await self._woken.wait()
            await asyncio.sleep(max(_GAP_SECONDS, took))  # in a large cluster something changes all the time
            self._woken.clear()
            began = time.monotonic()
            if not all(mirror.is_known for mirror in (self._nodes, self._pods, self._jobs)):
                continue
            try:
                await self._look()
                took = time.monotonic() - began
                self._seen()
            except AllocatorError as error:
                log.warning("the daemon is away: %s", error)
                await asyncio.sleep(self._settings.poll_seconds)

    async def _look(self) -> None:
        desired = dict(self._desired)  # what is wanted, and of which nodes that is known, from one moment
        wanted, sight = gangs_of(desired.values()), self._sight(desired)
        await self._register(sight)
        if not any(mirror.is_away for mirror in (self._nodes, self._pods, self._jobs)):
            await self._do_all(reconcile.actions(wanted, sight))
        self._refused = {name: found for name, found in self._refused.items() if found[0] in wanted}
        await self._heartbeats(reconcile.reports_of(wanted, replace(sight, refused=self._refusals())))

    def _refusals(self) -> Mapping[str, str]:
        return {name: why for name, (_, why) in self._refused.items()}

    def _sight(self, desired: Mapping[str, NodeDesired]) -> Sight:
        pods: dict[str, list[KubePod]] = {}
        for pod in self._pods.found.values():
            if pod.is_ours and pod.owner:
                pods.setdefault(pod.owner, []).append(pod)
        by_owner = {
            owner: tuple(sorted(theirs, key=lambda pod: (pod.created, pod.name))) for owner, theirs in pods.items()
        }
        jobs = tuple(job for _, job in sorted(self._jobs.found.items()))
        names = {job.name for job in jobs}
        self._asked = {name: when for name, when in self._asked.items() if name not in names}
        if self._not_resized:
            living = self._living_pods()
            self._not_resized = {each for each in self._not_resized if each[0] in living}
        sight = Sight(
            jobs,
            by_owner,
            frozenset(desired),
            frozenset(node.name for node in self._nodes.found.values() if node.is_ready),
            self._settings.around.template,
            self._resizes,
            self._refusals(),
        )
        now = datetime.now(UTC).timestamp()
        return replace(sight, overdue=overdue(sight, now - self._settings.start_seconds))

    def _living_pods(self) -> frozenset[str]:
        """Uids of ours."""
        return frozenset(pod.uid for pod in self._pods.found.values() if pod.is_ours)

    # --- nodes

    async def _register(self, sight: Sight) -> None:
        foreign = translation.foreign_use(self._pods.found.values())
        stranded = reconcile.stranded_nodes(sight)
        tolerated = self._settings.around.template.tolerated
        for seen in list(self._nodes.found.values()):
            if seen.is_ready:
                node = translation.node_of(seen, foreign.get(seen.name, NOTHING), self._settings.kinds)
                wanted = translation.availability_of(seen, tolerated, strands=seen.name in stranded)
                await self._register_one(node, wanted)
            self._follow(seen.name)
        for job in sight.jobs:
            self._follow(job.node)

    async def _register_one(self, node: Node, wanted: NodeAvailability) -> None:
        """One that the daemon does not take spoils no other."""
        try:
            if self._registered.get(node.name) != node and self._refused_nodes.get(node.name) != node:
                self._lease = (await self._client.register_node(node)).lease
                self._registered[node.name] = node
            if node.name in self._registered:
                await self._open_or_close(node.name, wanted)
        except NotFound:
            self._forget_node(node.name)
        except (InvalidInput, FailedPrecondition) as refused:
            log.warning("the daemon does not take node %s: %s", node.name, refused)
            self._refused_nodes[node.name] = node

    def _forget_node(self, name: str) -> None:
        """The daemon has forgotten it: register it again."""
        self._registered.pop(name, None)
        self._availability.pop(name, None)

    async def _open_or_close(self, name: str, wanted: NodeAvailability) -> None:
        """Never opens what somebody else has closed."""
        if wanted is self._availability.get(name, NodeAvailability.OPEN):
            return
        if wanted is NodeAvailability.DRAINING:
            await self._client.drain_node(name)
        else:
            await self._client.cordon_node(name, cordoned=wanted is NodeAvailability.CORDONED)
        self._availability[name] = wanted

    def _follow(self, node: str) -> None:
        if node not in self._watches:
            self._watches[node] = asyncio.create_task(self._watch(node))

    async def _watch(self, node: str) -> None:
        while True:
            try:
                async for desired in self._client.watch_allocations(node):
                    known = self._desired.get(node)
                    if known is None or desired.epoch >= known.epoch:
                        self._desired[node] = desired
                        self._wake()
            except NotFound:
                if ("", node) not in self._nodes.found:  # neither side knows it: nothing is wanted there
                    self._desired[node] = NodeDesired(node, Epoch(0, 0), ())
                    self._wake()
            except AllocatorError as error:
                log.warning("cannot watch node %s: %s", node, error)
            await asyncio.sleep(self._settings.poll_seconds)

    # --- jobs

    async def _do_all(self, actions: tuple[reconcile.Action, ...]) -> None:
        await asyncio.gather(*(self._do(action) for action in actions))

    async def _do(self, action: reconcile.Action) -> None:
        try:
            async with self._gate:
                match action:
                    case Create():
                        await self._create(action)
                    case Release(job):
                        await self._server.change(job, {"spec": {"suspend": False}})
                    case Rename(job, wanted):
                        await self._server.change(job, {"metadata": {"annotations": called(wanted.replica)}})
                    case Resize():
                        await self._resize(action)
                    case Stop(job):
                        if job.is_kept:
                            await self._server.let_go(job)
                        await self._server.delete(job)
                    case LetGo(job):
                        await self._server.let_go(job, None if job.is_leaving else self._settings.keep_seconds)
        except ServerAway as away:
            log.warning("kubernetes is away: %s", away)
        except ServerRefused as refused:
            log.warning("kubernetes refused (%d): %s", refused.status, refused)

    async def _create(self, action: Create) -> None:
        now = time.monotonic()
        if now - self._asked.get(action.name, -_ASK_AGAIN_SECONDS) < _ASK_AGAIN_SECONDS:
            return
        self._asked[action.name] = now
        node = self._nodes.found.get(("", action.wanted.node))
        offered = NOTHING if node is None else node.allocatable
        around = self._settings.around
        manifest = job_manifest(action.run, action.wanted, action.name, action.peers, around, offered)
        try:
            if await self._server.create(manifest):
                log.info("made Job %s for %s on %s", action.name, action.run.job_id, action.wanted.node)
        except ServerRefused as refused:
            if refused.status in _NEVER_TAKEN:
                self._refused[action.name] = (action.run, f"Kubernetes refuses it: {refused}")
            raise

    async def _resize(self, action: Resize) -> None:
        pod, demand = action.pod, action.demand
        if (pod.uid, demand) in self._not_resized:
            return
        try:
            await self._server.resize(pod, resize_patch(demand))
        except ServerRefused as refused:
            if refused.status in _NEVER_TAKEN:
                self._not_resized.add((pod.uid, demand))
            raise

    # --- reports

    async def _heartbeats(self, reports: Mapping[str, tuple[ReplicaReport, ...]]) -> None:
        """Of nodes that are ready: at once when there is something new to say, otherwise now and then."""
        ready = {node.name for node in self._nodes.found.values() if node.is_ready}
        now = time.monotonic()
        due = []
        for name in sorted(self._registered):
            said, when = self._told.get(name, ((), -1e9))
            news = reports.get(name, ())
            if name in ready and (news != said or now - when >= self._lease.heartbeat_interval_seconds):
                due.append((name, news))
        await asyncio.gather(*(self._heartbeat(name, news) for name, news in due))

    async def _heartbeat(self, name: str, news: tuple[ReplicaReport, ...]) -> None:
        async with self._gate:
            try:
                self._lease = await self._client.heartbeat(name, news)
                self._told[name] = (news, time.monotonic())
            except NotFound:
                self._forget_node(name)


def overdue(sight: Sight, before: float) -> frozenset[str]:
    """Names of Jobs that were to start before then (seconds since 1970), again or for the first time, and have not."""
    found = set()
    for job in sight.jobs:
        pods = sight.pods.get(job.uid, ())
        if job.is_suspended or job.has_ended or not job.start_time or any(pod.has_started for pod in pods[-1:]):
            continue
        if max(_time(text) for text in (job.start_time, *(pod.created for pod in pods))) < before:
            found.add(job.name)
    return frozenset(found)


def _time(text: str) -> float:
    """0 where it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0

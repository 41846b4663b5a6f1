"""The agent itself: registers the machine, follows what the daemon wants, and reports, for as long as it lives.

Five tasks on one event loop: heartbeats, which renew the lease; the watch, which brings the desired state; the
work, one thread that makes what runs what is desired (`plan`, `runner`); answers to who reads what jobs print
(`output`); and what they say of their progress (`progress`). A daemon that is away changes nothing until
the lease is about to end: then the supervisors stop what runs, and nothing begins before the daemon has said anew what
shall run here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from allocator.agent.ability import Ability, Patience
from allocator.agent.hindrance import hindrance, said
from allocator.agent.output import OutputReader
from allocator.agent.plan import Begin, leaving, plan
from allocator.agent.records import boot_time
from allocator.agent.runner import Runner
from allocator.client import AsyncClient, Lease, RetryPolicy
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.placement import Epoch, JobStart, NodeDesired
from allocator.intake.commands import ReplicaReport

T = TypeVar("T")

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often runs are looked at when nothing tells that one has ended."""
_REPORT_GAP_SECONDS = 0.05
"""At least, between two heartbeats, however many runs end."""
_JITTER = 0.1
"""Of the interval, at random: agents that began together, or found the daemon again together, come apart."""
_STEP_SECONDS = 0.5
"""About how long is worked at a stretch: then heartbeats get their turn."""
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0
_NOTHING_SEEN = Epoch(0, 0)
_SAFETY = 0.2
"""Of the lease: the same share at its end in which supervisors stop what runs; nothing begins then."""


class Agent:
    """Runs until it is cancelled; what runs on the machine goes on then, and is found again by the next agent."""

    def __init__(
        self,
        client: AsyncClient,
        node: Node,
        runner: Runner,
        registered: Callable[[Node], None] | None = None,
        *,
        end_jobs: bool = False,
        patience: Patience | None = None,
    ) -> None:
        """`registered` is told when the daemon has taken the node in. `end_jobs`: nothing outlives the agent.
        `patience`: with a machine on which nothing can begin.
        """
        self._client = client
        self._node = node
        self._runner = runner
        self._registered = registered
        self._end_jobs = end_jobs
        self._desired: NodeDesired | None = None
        """None: what is desired is not known, or not any more."""
        self._newest = Epoch(0, 0)
        self._ability = Ability(patience)
        self._said: str | None = None
        """Of the ability, to the daemon; None: that may have been lost."""
        self._lease = Lease(0.0, 1.0)
        self._deadline = 0.0
        self._work_to_do = asyncio.Event()
        self._news = asyncio.Event()
        """There is something that the daemon waits to hear."""
        self._ask_again = asyncio.Event()
        self._watched: dict[str, int] = {}
        self._backoff = RetryPolicy(first_delay=_FIRST_DELAY, longest_delay=_LONGEST_DELAY)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._hands = ThreadPoolExecutor(1, thread_name_prefix="runs")

    async def run(self) -> None:
        """Raises InvalidInput, FailedPrecondition: the daemon refuses the node. OSError: no state folder."""
        try:
            await self._by_hand(self._runner.open)
            await self._register()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._heartbeats())
                tasks.create_task(self._watches())
                tasks.create_task(self._work())
                tasks.create_task(self._outputs())
                tasks.create_task(self._progress())
        except asyncio.CancelledError:
            if not self._end_jobs:
                _log.info("the agent stops; what runs goes on until the lease ends")
            raise
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._hands.shutdown()  # what it is at is short, and is finished
            if self._end_jobs:
                self._runner.end_everything()
            self._runner.close()

    # --- staying known

    async def _register(self, *, announce: bool = True) -> None:
        failures = 0
        while True:
            sent, trouble = boot_time(), self._ability.trouble
            try:
                registration = await self._client.register_node(replace(self._node, trouble=trouble))
            except (InvalidInput, FailedPrecondition):
                raise
            except AllocatorError as error:
                if failures == 0:
                    _log.warning("cannot register yet: %s", error)
                await asyncio.sleep(self._backoff.delay(failures, self._rng))
                failures += 1
            else:
                await self._renew(sent, registration.lease)
                self._said = trouble
                await self._by_hand(self._ability.told, registration.node.trouble)
                if announce and self._registered is not None:
                    self._registered(registration.node)
                return

    async def _heartbeats(self) -> None:
        failures = 0
        while True:
            if self._said != self._ability.trouble:
                await self._register(announce=False)
            sent = boot_time()
            # What is wanted is looked at before the runs are: nothing begins in between that a newer word forbids.
            desired = self._desired
            try:
                reports, still_there = await self._by_hand(self._look_around, desired)
                lease = await self._client.heartbeat(
                    self._node.name,
                    reports,
                    seen=_NOTHING_SEEN if desired is None else desired.epoch,
                    leaving=still_there,
                    timeout=self._patience(),
                )
            except NotFound:
                _log.warning("the daemon does not know this node (any more): registering again")
                self._doubt()
                await self._register()
            except AllocatorError as error:
                if failures == 0:
                    _log.warning("no heartbeat: %s", error)
                failures += 1
                await asyncio.sleep(self._backoff.delay(failures - 1, self._rng))
                continue
            else:
                if failures:
                    _log.info("the daemon is back after %d attempts", failures)
                await self._renew(sent, lease)
            failures = 0
            await self._pause()

    def _look_around(self, desired: NodeDesired | None) -> tuple[tuple[ReplicaReport, ...], tuple[JobStart, ...]]:
        """On the other thread. How everything is, and what is not wanted any more but still there."""
        reports = (*self._runner.reports(), *self._ability.reports())
        return reports, () if desired is None else leaving(desired, self._runner.runs())

    def _patience(self) -> float:
        """Seconds to wait for an answer: some attempts must fit into a lease."""
        return max(1.0, self._lease.lease_seconds / 4)

    async def _pause(self) -> None:
        """Until the next heartbeat is due, or there is news."""
        await asyncio.sleep(_REPORT_GAP_SECONDS)
        interval = self._lease.heartbeat_interval_seconds * self._rng.uniform(1 - _JITTER, 1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, interval - _REPORT_GAP_SECONDS)):
                await self._news.wait()
        self._news.clear()

    async def _renew(self, sent: float, lease: Lease) -> None:
        try:
            await self._by_hand(self._runner.renew, sent + lease.lease_seconds, lease.lease_seconds)
        except OSError as error:  # supervisors go by what is written: so do we
            _log.error("cannot write down how long the lease holds: %s", error)
            await self._by_hand(self._ability.failed, said(error, self._runner.settings.state), boot_time())
        else:
            # Only now that something may begin again: while nothing may, what was seen is as true as ever, and told.
            if self._deadline and boot_time() > self._last_beginning():
                _log.warning("the lease had run out: what runs here is what the daemon says from now on")
                self._doubt()
            self._deadline = sent + lease.lease_seconds
        self._lease = lease

    def _last_beginning(self) -> float:
        """Until when something may begin on the daemon's last word."""
        return self._deadline - self._lease.lease_seconds * _SAFETY

    def _doubt(self) -> None:
        """What was desired may be out of date: ask again before anything is done about it.

        What is answered then is believed even if it is older: the daemon may have been restored from a backup.
        """
        self._desired, self._newest, self._said = None, Epoch(0, 0), None
        self._ask_again.set()

    # --- what is desired

    async def _watches(self) -> None:
        """One watch after the other: a new one when there is doubt whether the old one still tells the truth."""
        while True:
            self._ask_again.clear()
            watch = asyncio.create_task(self._watch())
            asked = asyncio.create_task(self._ask_again.wait())
            try:
                await asyncio.wait((watch, asked), return_when=asyncio.FIRST_COMPLETED)
                failure = watch.exception() if watch.done() else None
            finally:
                for task in (watch, asked):
                    task.cancel()
                await asyncio.gather(watch, asked, return_exceptions=True)
            if failure is not None:
                _log.warning("the watch ended: %s", failure)
                await asyncio.sleep(_FIRST_DELAY)

    async def _watch(self) -> None:
        """Reconnects by itself, with growing delays."""
        async for desired in self._client.watch_allocations(self._node.name):
            if desired.epoch >= self._newest and not self._ask_again.is_set():  # else it was said before the doubt
                if desired.waiting and (self._desired is None or desired.waiting != self._desired.waiting):
                    _log.info("jobs that may still run elsewhere wait: %s", ", ".join(sorted(desired.waiting)))
                self._newest = desired.epoch
                self._desired = desired
                self._work_to_do.set()
                if desired.is_awaited:
                    self._news.set()

    # --- what is printed

    async def _outputs(self) -> None:
        """One stream after the other on which the daemon asks for what runs print. Nothing else depends on it."""
        reader = OutputReader(self._runner.settings)
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._client.offer_output((self._node.name,), reader.answer)
            except AllocatorError as error:
                failures = 1 if time.monotonic() - began > _LONGEST_DELAY else failures + 1
                if failures == 1:
                    _log.info("what jobs print cannot be asked for, for now: %s", error)
            await asyncio.sleep(self._backoff.delay(max(0, failures - 1), self._rng))

    # --- how fast jobs get on

    async def _progress(self) -> None:
        """Tell what jobs measured. What cannot be told is not told later: the next measurement is as good."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for measured in await self._by_hand(self._runner.progress):
                try:
                    await self._client.report_progress(
                        measured.job_id, measured.throughput, epoch=measured.epoch, timeout=self._patience()
                    )
                except AllocatorError as error:
                    _log.info("progress of job %s was not taken: %s", measured.job_id, error)

    # --- making it so

    async def _work(self) -> None:
        while True:
            news, more = await self._by_hand(self._attempt, self._desired, self._last_beginning())
            if news:
                self._news.set()
            if more:
                self._work_to_do.set()
            self._watch_supervisors()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._work_to_do.wait()
            self._work_to_do.clear()

    def _attempt(self, desired: NodeDesired | None, last_beginning: float) -> tuple[bool, bool]:
        """On the other thread. Whether there is something to tell, and whether there is more to do at once."""
        before = self._ability.trouble, self._ability.given_back
        try:
            ended, more = self._step(desired, last_beginning)
        except OSError as error:  # a full disk, say: it is tried again
            _log.error("cannot do what is desired: %s", error)
            self._ability.failed(said(error, self._runner.settings.state), boot_time())
            ended, more = True, False
        if self._ability.is_doubtful(boot_time()):
            self._ability.checked(hindrance(self._runner.settings.state), boot_time())
        if self._ability.trouble != before[0]:
            if self._ability.trouble:
                _log.warning("nothing can begin here: %s", self._ability.trouble)
            else:
                _log.info("something could begin here again")
        return ended or (self._ability.trouble, self._ability.given_back) != before, more

    def _step(self, desired: NodeDesired | None, last_beginning: float) -> tuple[bool, bool]:
        """On the other thread. Whether a run has ended, and whether there is more to do at once.

        `last_beginning` belongs to `desired`: neither is newer.
        """
        began = time.monotonic()
        ended = self._runner.look()
        self._was_refused()
        if desired is None:
            return ended, False
        while True:
            actions = self._ability.permitted(desired, plan(desired, self._runner.runs(), self._node.capacity))
            if boot_time() > last_beginning:
                actions = tuple(action for action in actions if not isinstance(action, Begin))
            if not actions:
                return ended, False
            for action in actions:
                self._runner.perform(action)
                if self._was_refused():  # by the machine: it needs a moment
                    return ended, False
                if time.monotonic() - began > _STEP_SECONDS:
                    return ended, True

    def _was_refused(self) -> bool:
        """Whether the machine has kept a run from beginning since this was last asked."""
        refusal = self._runner.take_refusal()
        if refusal:
            self._ability.failed(refusal, boot_time())
        return bool(refusal)

    def _watch_supervisors(self) -> None:
        """Have every end of a run wake the work."""
        loop = asyncio.get_running_loop()
        now = self._runner.descriptors()
        for run_id, descriptor in list(self._watched.items()):
            if now.get(run_id) != descriptor:
                loop.remove_reader(descriptor)
                del self._watched[run_id]
        for run_id, descriptor in now.items():
            if run_id not in self._watched:
                self._watched[run_id] = descriptor
                loop.add_reader(descriptor, self._supervisor_ended, descriptor)

    def _supervisor_ended(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        self._work_to_do.set()

    async def _by_hand(self, function: Callable[..., T], *arguments: object) -> T:
        """On the thread that all runs belong to."""
        return await asyncio.get_running_loop().run_in_executor(self._hands, function, *arguments)

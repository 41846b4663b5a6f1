"""The daemon assembled: store, rounds, API and metrics, started in order and stopped in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import structlog
from sqlalchemy import make_url

from allocator import __version__
from allocator.daemon import logs
from allocator.daemon.config import Settings
from allocator.daemon.finished import FinishedJobs
from allocator.daemon.ledger import ObservedLedger, is_news
from allocator.daemon.liveness import LISTENING_SECONDS, Liveness
from allocator.daemon.noticed import Noticed
from allocator.daemon.scheduler import Scheduler
from allocator.domain.errors import AllocatorError, FailedPrecondition, NotFound
from allocator.intake.commands import Command
from allocator.metrics import Metrics, MetricsServer
from allocator.rpc import Departures, Hub, RpcServer, RpcSettings
from allocator.solvers import ChainSolver
from allocator.store.sql import SqlStore

log = structlog.stdlib.get_logger("allocator.daemon")

LIVENESS_CHECK_SECONDS = 1.0


class Daemon:
    """Everything `allocator serve` runs. `start` and `stop` are called on one event loop.

    Order of the end: health says NOT_SERVING and watches end, the round under way commits and pushes, calls under way
    finish, metrics, and the store last. Running jobs do not depend on any of it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(version=__version__, round_interval=settings.rounds.interval_seconds)
        self.hub = Hub()
        self.store = SqlStore(
            settings.store.url,
            group_commit_seconds=settings.store.group_commit_seconds,
            on_batch=self.metrics.observe_store_batch,
            on_change=self._has_changed,
        )
        self.liveness = Liveness(settings.nodes.heartbeat_timeout_seconds)
        self.departures = Departures(self.store, self.hub)
        self.ledger = ObservedLedger(self.store, self.liveness, self.metrics, self.departures.hear)
        policy = settings.policy.policy()
        self.rpc = RpcServer(
            self.ledger,
            self.store,
            self.hub,
            time.time,
            RpcSettings(
                max_message_bytes=settings.server.max_message_bytes,
                lease_seconds=settings.nodes.heartbeat_timeout_seconds,
                heartbeat_interval_seconds=settings.nodes.heartbeat_interval_seconds,
                heartbeats_per_second=settings.nodes.heartbeats_per_second,
                round_interval_seconds=settings.rounds.interval_seconds,
                reject_infeasible=settings.submission.infeasible == "reject",
            ),
            on_request=self.metrics.rpc_request,
            policy=lambda: policy,
            rest=self._rest,
            shown=self.departures.shown,
        )
        self.metrics_server = MetricsServer(self.metrics.registry, settings.metrics.host, settings.metrics.port)
        self.scheduler = Scheduler(
            store=self.store,
            pusher=self.departures,
            observers=[self.metrics, self.hub, FinishedJobs(self.store, self.metrics), Noticed()],
            solver=ChainSolver(),
            policy=lambda: policy,
            interval_seconds=settings.rounds.interval_seconds,
            minimum_interval_seconds=settings.rounds.minimum_interval_seconds,
            on_broken_round=self._after_broken_round,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._exits = contextlib.AsyncExitStack()

    async def start(self) -> int:
        """Open, listen, begin with rounds; returns the API's port. After an AllocatorError nothing is left open."""
        async with contextlib.AsyncExitStack() as exits:
            await asyncio.to_thread(self.store.open)
            exits.push_async_callback(asyncio.to_thread, self.store.close)
            longest_lease = await asyncio.to_thread(self._promise)
            self.liveness.begin(self.store.nodes(), longest_lease)
            self.departures.begin(longest_lease)
            self.metrics.set_push_source(self.hub.stream_counts)
            self.metrics.set_node_source(lambda: self.liveness.longest_silence(self.store.nodes()))
            self.metrics.set_departure_source(self.departures.waiting_jobs)
            self.metrics_server.start()
            exits.callback(self.metrics_server.stop)
            server = self.settings.server
            try:
                port = await self.rpc.start(f"{server.host}:{server.port}")
            except OSError as error:
                raise FailedPrecondition("server", f"{error}; set server.host and server.port") from None
            exits.push_async_callback(self.rpc.stop, server.drain_seconds)
            self.scheduler.start()
            exits.push_async_callback(asyncio.to_thread, self.scheduler.stop)
            for work in (self._listen(), self._watch_nodes()):
                self._tasks.append(asyncio.create_task(work))
                exits.callback(self._tasks[-1].cancel)
            exits.push_async_callback(self.rpc.begin_drain)
            self._exits = exits.pop_all()
        return port

    async def stop(self) -> None:
        """Drain and close; nothing acknowledged is lost."""
        await self._exits.aclose()

    def _promise(self) -> float:
        """The longest lease that agents may hold: the one that they will be promised, or an earlier one."""
        longest = max(self.liveness.timeout_seconds, self.store.promised_lease())
        if longest != self.store.promised_lease():
            self.store.promise_lease(longest)
        return longest

    async def _listen(self) -> None:
        """On the loop that heartbeats come in on: while that stands still, nobody can be heard."""
        while True:
            self.liveness.listening()
            await asyncio.sleep(LISTENING_SECONDS)

    async def _watch_nodes(self) -> None:
        """Turn silence into LoseNode, once a second."""
        while True:
            await asyncio.sleep(LIVENESS_CHECK_SECONDS)
            self.departures.expire()
            await self.forget_longer_leases()
            for command in self.liveness.silent(self.store.nodes()):
                if not self.liveness.is_silent(command.node):
                    continue  # it spoke while others were being marked
                log.warning("node lost", node=command.node, silent_for_seconds=self.liveness.timeout_seconds)
                try:
                    await asyncio.wrap_future(self.ledger.execute(command, time.time()))
                except Exception as error:  # noqa: BLE001 the next second tries again, and the watch must go on
                    log.warning("node could not be marked as lost", node=command.node, error=str(error))

    async def forget_longer_leases(self) -> None:
        """Those that an earlier process promised, once they are over."""
        lease = self.liveness.timeout_seconds
        if self.store.promised_lease() > lease and self.liveness.earlier_leases_are_over:
            try:
                await asyncio.to_thread(self.store.promise_lease, lease)
            except AllocatorError as error:
                log.warning("that leases are shorter now could not be kept", error=str(error))

    def _has_changed(self, command: Command) -> None:
        if is_news(command):
            self.scheduler.clock.news()

    def _rest(self, seconds: float) -> bool:
        """Wait until no round is under way, at most so long."""
        return self.scheduler.clock.resting.wait(seconds)

    def _after_broken_round(self) -> None:
        """It broke perhaps between its commit and its push: tell every node what it shall run."""
        self.metrics.count_broken_round()
        states = []
        for node in self.store.nodes():
            with contextlib.suppress(NotFound):  # removed meanwhile
                states.append(self.store.desired(node.name))
        self.departures.push(tuple(states))


def serve(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT; the exit status. A second signal ends it at once."""
    logs.configure(settings.log.level, settings.log.format)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop_or_abort, stop)
    daemon = Daemon(settings)
    try:
        port = await daemon.start()
    except AllocatorError as error:
        log.error("cannot start", error=str(error))  # noqa: TRY400 the error says it all, a traceback would hide it
        return 1
    log.info(
        "serving",
        api=f"{settings.server.host}:{port}",
        metrics=daemon.metrics_server.url,
        store=make_url(settings.store.url).render_as_string(hide_password=True),
        version=__version__,
    )
    _tell_policy(daemon)
    await stop.wait()
    log.info("draining")
    await daemon.stop()
    log.info("stopped")
    return 0


def _tell_policy(daemon: Daemon) -> None:
    """Which policy is in force: the one that was applied last, and the configuration's only while there is none."""
    applied = daemon.store.applied_policy()
    if applied is None:
        log.info("policy", version=0, origin="section [policy] of the configuration, until one is applied")
        return
    told = {"author": applied.author, "comment": applied.comment}
    log.info("policy", version=applied.version, origin="applied", **{key: text for key, text in told.items() if text})
    if daemon.settings.policy != type(daemon.settings.policy)():
        log.warning("section [policy] of the configuration is not in force", because="a policy was applied")


def _stop_or_abort(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(130)
    stop.set()

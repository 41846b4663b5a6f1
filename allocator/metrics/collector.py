"""The metrics of a daemon: what rounds did, what came in and went out, in one object that is also an Observer.

A scrape sees whole rounds: everything a round changes is changed under one lock, and read under it. What other parts
know better than anybody (open streams, silent nodes) is asked for at each scrape; a part that fails then costs the
scrape only its own metrics, and is counted.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric

from allocator.domain.errors import StoreUnavailable
from allocator.domain.job import JobState
from allocator.intake.commands import Command
from allocator.metrics import names, round_totals
from allocator.metrics.bounded import BoundedLabel
from allocator.metrics.instruments import Accumulators, counter, empty, gauge
from allocator.metrics.kinds import command_kind, error_code
from allocator.metrics.market_gauges import MarketGauges
from allocator.metrics.round_gauges import OWNER_LIMIT, QUEUE_LIMIT, RoundLabels, round_gauges
from allocator.rounds.report import RoundReport

METHOD_LIMIT = 200
OK = "ok"
"""The code of a command that did what it was asked."""

STORE_UNAVAILABLE = error_code(StoreUnavailable())
"""There from the start for every kind of command: an alert must see the first one."""

_PUSH, _NODES, _DEPARTURES = "push", "nodes", "departures"
_EVENT_FAMILIES = (
    names.BROKEN_ROUNDS,
    names.SUBMITTED,
    names.FINISHED,
    names.COMMANDS,
    names.BATCH_COMMANDS,
    names.BATCH_DURATION,
    names.RPCS,
    names.RPC_DURATION,
    names.SOURCE_FAILURES,
)

_ORDER = tuple(empty(family).name for family in names.FAMILIES)


class StreamCounts(Protocol):
    """How one kind of watch stream is doing: `watchers` are open now, the others only grow."""

    @property
    def watchers(self) -> int: ...

    @property
    def pushes(self) -> int: ...

    @property
    def coalesced(self) -> int: ...


PushSource = Callable[[], Mapping[str, StreamCounts]]
"""Counts by name of stream, such as `jobs`; a fixed, small set of names."""

NodeSource = Callable[[], float | None]
"""Seconds since the last heartbeat of the ready node that has been silent longest; None without ready nodes."""

DepartureSource = Callable[[], int]
"""Jobs that were placed and may not begin yet."""


class Metrics:
    """Everything on /metrics. Methods may be called from any thread and cost microseconds, except `observe`.

    `round_interval` is the configured time from one round to the next, in seconds: what "late" is measured by.
    `queue_limit` bounds the queues that have series of their own, `owner_limit` those that have some for their quotas;
    the others are summed as `names.OTHER`.
    """

    def __init__(
        self,
        *,
        version: str,
        round_interval: float,
        queue_limit: int = QUEUE_LIMIT,
        owner_limit: int = OWNER_LIMIT,
    ) -> None:
        self._lock = threading.Lock()
        self._labels = RoundLabels(queues=queue_limit, owners=owner_limit)
        self._gauges: tuple[Metric, ...] = ()
        self._market: MarketGauges | None = None
        self._totals = Accumulators(round_totals.FAMILIES)
        self._events = Accumulators(_EVENT_FAMILIES)
        self._methods = BoundedLabel(METHOD_LIMIT)
        self._push_source: PushSource | None = None
        self._node_source: NodeSource | None = None
        self._departure_source: DepartureSource | None = None
        self._constants = [
            gauge(names.ROUND_INTERVAL, [((), round_interval)]),
            gauge(names.BUILD, [((version, platform.python_version()), 1.0)]),
        ]
        round_totals.begin(self._totals)
        self._begin_events()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def _begin_events(self) -> None:
        for state in JobState:
            if state.is_final:
                self._events.add(names.FINISHED, (state.value,), 0)
        for source in (_PUSH, _NODES, _DEPARTURES):
            self._events.add(names.SOURCE_FAILURES, (source,), 0)
        for result in ("admitted", "refused"):
            self._events.add(names.SUBMITTED, (result,), 0)
        for command in get_args(Command):
            self._events.add(names.COMMANDS, (command_kind(command), OK), 0)
            self._events.add(names.COMMANDS, (command_kind(command), STORE_UNAVAILABLE), 0)

    # What happens in the daemon.

    def observe(self, report: RoundReport) -> None:
        """A round has ended: replace its gauges and add to its counters, both at once."""
        with self._lock:
            round_totals.drop_gone(self._totals, self._labels.settle(report))
            self._gauges = round_gauges(report, self._labels)
            self._market = MarketGauges.of(report, self._labels)
            round_totals.add_round(self._totals, report, self._labels)

    def count_broken_round(self) -> None:
        """An error ended a round before it was recorded."""
        self._events.add(names.BROKEN_ROUNDS)

    def count_command(self, kind: str, code: str = OK) -> None:
        """A command was answered. `kind` as in `command_kind`, `code` is `OK` or as in `error_code`."""
        self._events.add(names.COMMANDS, (kind, code))

    def count_submitted(self, admitted: int, refused: int) -> None:
        """The items of a submission, one by one."""
        self._events.add(names.SUBMITTED, ("admitted",), admitted)
        self._events.add(names.SUBMITTED, ("refused",), refused)

    def count_finished(self, state: JobState, count: int = 1) -> None:
        """`count` jobs reached `state`, a final one."""
        if not state.is_final:
            raise ValueError(f"state must be final, got {state}")
        self._events.add(names.FINISHED, (state.value,), count)

    def observe_store_batch(self, commands: int, seconds: float) -> None:
        """One group commit made `commands` commands durable in `seconds`."""
        self._events.observe(names.BATCH_COMMANDS, commands)
        self._events.observe(names.BATCH_DURATION, seconds)

    def rpc_request(self, method: str, code: str, seconds: float | None = None) -> None:
        """A call ended. `method` is `package.Service/Method`, `code` a gRPC status name such as `NOT_FOUND`.

        `seconds` goes into the latency histogram; None for streams, whose length says nothing. Anybody can call methods
        that do not exist, so those (code UNIMPLEMENTED) share one label.
        """
        label = names.OTHER if code == "UNIMPLEMENTED" else self._methods.of(method.removeprefix("/"))
        self._events.add(names.RPCS, (label, code))
        if seconds is not None:
            self._events.observe(names.RPC_DURATION, seconds, (label,))

    # What others know.

    def set_push_source(self, source: PushSource) -> None:
        """Ask `source` for the state of the watch streams at each scrape."""
        self._push_source = source

    def set_node_source(self, source: NodeSource) -> None:
        """Ask `source` for the age of the oldest heartbeat at each scrape."""
        self._node_source = source

    def set_departure_source(self, source: DepartureSource) -> None:
        """Ask `source` for jobs that wait for their earlier starts to end, at each scrape."""
        self._departure_source = source

    # What Prometheus gets (prometheus_client's Collector).

    def describe(self) -> Iterator[Metric]:
        """Every family without samples: the registry learns the names without asking anybody."""
        return (empty(family) for family in names.FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """Every family that has something to say, in the order of the table."""
        with self._lock:
            found, market = [*self._gauges, *self._totals.collect()], self._market
        if market is not None:
            found += market.metrics()
        found += [*self._asked(_PUSH, self._streams), *self._asked(_NODES, self._heartbeats), *self._constants]
        found += [*self._asked(_DEPARTURES, self._departures), *self._events.collect()]
        by_name = {metric.name: metric for metric in found if metric.samples}
        return (by_name[name] for name in _ORDER if name in by_name)

    def _asked(self, source: str, ask: Callable[[], list[Metric]]) -> list[Metric]:
        try:
            return ask()
        except Exception:  # noqa: BLE001 (whatever a source raises, the rest of the scrape must get through)
            self._events.add(names.SOURCE_FAILURES, (source,))
            return []

    def _streams(self) -> list[Metric]:
        if self._push_source is None:
            return []
        counts = sorted(self._push_source().items())
        return [
            gauge(names.WATCHERS, [((stream,), count.watchers) for stream, count in counts]),
            counter(names.PUSHES, [((stream,), count.pushes) for stream, count in counts]),
            counter(names.COALESCED, [((stream,), count.coalesced) for stream, count in counts]),
        ]

    def _heartbeats(self) -> list[Metric]:
        age = None if self._node_source is None else self._node_source()
        return [] if age is None else [gauge(names.HEARTBEAT_AGE, [((), age)])]

    def _departures(self) -> list[Metric]:
        source = self._departure_source
        return [] if source is None else [gauge(names.WAITING_FOR_DEPARTURE, [((), source())])]

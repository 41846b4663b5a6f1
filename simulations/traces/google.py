"""Google's cluster of May 2011 ("google"): the events of tasks, as they were submitted, scheduled, evicted and ended.

    machines       machine_id, cpu, memory                         (with a header)
    task_events    time, missing info, job, task, machine, event, user, scheduling class, priority, CPU request,
                   memory request, disk request, different machine  (without; shards in order of time)

time is microseconds; the log begins at second 600, and events at time 0 tell what was there before. event is 0 SUBMIT,
1 SCHEDULE, 2 EVICT, 3 FAIL, 4 FINISH, 5 KILL, 6 LOST, 7 UPDATE_PENDING, 8 UPDATE_RUNNING. Amounts are parts of the
largest machine's. Source: Reiss, Wilkes, Hellerstein, "Google cluster-usage traces: format + schema", 2011, version 2.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import NOTHING, Resources
from simulations.traces.errors import TraceError
from simulations.traces.rows import (
    MOST_JOBS,
    Row,
    find_file,
    read_rows,
    read_unnamed,
    require_folder,
    require_unique,
)
from simulations.traces.window import Window
from simulations.workload import Arrival, Workload

MACHINE_FILES = ("machines.csv",)
MACHINE_COLUMNS = ("machine_id", "cpu", "memory")
EVENT_COLUMNS = (
    "time", "missing info", "job", "task", "machine", "event", "user", "scheduling class", "priority", "CPU request",
    "memory request", "disk request", "different machine",
)  # fmt: skip
SHARD = re.compile(r"task_events-part-([0-9]{5})-of-[0-9]{5}\.csv(\.gz)?\Z")
FLAVOR = "machine"
JOB_LABEL = "job"

START = 600.0
"""The log's first second; what was there before arrives then."""
ORIGIN = datetime(2011, 5, 1, 22, 50, tzinfo=UTC)
DEFAULT_WINDOW = Window(START)
MICROS = 1e6

CORES, GIB = 100, 400
"""What the largest machine is taken to have: with 100 cores, the five decimals of a request are whole millicores."""
LEAST_PRODUCTION, MOST_FREE = 9, 1

SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL, LOST, UPDATE_PENDING, UPDATE_RUNNING = map(str, range(9))
EVENTS = frozenset((SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL, LOST, UPDATE_PENDING, UPDATE_RUNNING))

NOTES = (
    "A task is a job of one replica, named by its job and its index; queues are users, each with weight 1.",
    f"The largest machine is taken to have {CORES} cores and {GIB} GiB: the trace tells parts of it. Disk is not read.",
    "Machines are one flavor of several sizes, all there all the time.",
    "What was there before the log (time 0) arrives at second 600 and runs as long as it still did from then.",
    "Run time is from SCHEDULE to FINISH, FAIL or KILL. A task submitted again after one of these is a new job (#2).",
    "A task that was evicted or lost is still the same job, with the run time of its last run: earlier ones are lost.",
    "What still runs at the end of the log is taken to end there; what waits then after an eviction, to have ended so.",
    "Priorities 9 to 11 (production) are class high and not preemptible, 0 and 1 (free) low, the others normal.",
    "A task that wants another machine than the others of its job carries a label of the job, at most one to a node.",
    "By the trace, running tasks asked for 112 to 116 % of all CPU: nothing is over-committed here, so some must wait.",
)


def read(path: Path, window: Window = DEFAULT_WINDOW, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read the folder of the trace, or one shard with the machines beside it. Raises TraceError.

    Virtual time is seconds since the trace's second 0. Dropped are `never_scheduled`, `request_unknown`,
    `asks_for_nothing`, `no_run_time` and `fits_no_node`.
    """
    shards = find_shards(path)
    nodes = _read_machines(find_file(shards[0].parent, MACHINE_FILES))
    reader = _EventReader(nodes, window, restart_cost_seconds)
    for shard in shards:
        before = reader.rows
        for row in read_unnamed(shard, EVENT_COLUMNS):
            reader.take(row)
        if reader.rows == before:
            raise TraceError(shard, "is empty; each line is an event of a task")
    running = reader.close()
    reader.arrivals.sort(key=lambda arrival: arrival.time)
    queues = sorted({arrival.spec.queue for arrival in reader.arrivals}) or ["unknown"]
    return Workload(
        name="google",
        start=window.start,
        nodes=nodes,
        queues=tuple(Queue(name) for name in queues),
        arrivals=tuple(reader.arrivals),
        notes=(
            *NOTES,
            f"The last event is at second {reader.now:g}; {running:,} tasks ran on.",
            f"Runs that were evicted or lost and followed by another: {reader.repeated:,}.",
            f"Events passed over, as they do not follow from those before (an end without a start): {reader.odd:,}.",
            window.description,
            f"Stopping a task costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(reader.dropped.items())),
    )


def find_shards(path: Path) -> list[Path]:
    """The shards in order of time, none between them missing."""
    if path.is_file():
        return [path]
    require_folder(path, ("task_events-part-*-of-*.csv", *MACHINE_FILES))
    found = {int(match[1]): file for file in sorted(path.iterdir()) if (match := SHARD.match(file.name))}
    if not found:
        raise TraceError(path, "holds no task_events-part-00000-of-00500.csv (with or without .gz)")
    for number in range(min(found), max(found)):
        if number not in found:
            raise TraceError(path, f"holds shards {min(found)} to {max(found)}, but no number {number} of task_events")
    return [found[number] for number in sorted(found)]


def _read_machines(file: Path) -> tuple[Node, ...]:
    seen: dict[str, int] = {}
    nodes = []
    for row in read_rows(file, MACHINE_COLUMNS):
        node = Node(require_unique(row, "machine_id", seen), FLAVOR, _amounts(row, "cpu", "memory"))
        for violation in node.violations():
            raise row.error("machine_id", violation.description)
        nodes.append(node)
    if not nodes:
        raise TraceError(file, "has a header and no machines")
    return tuple(sorted(nodes, key=lambda node: node.name))


def _amounts(row: Row, cpu: str, memory: str) -> Resources:
    return Resources(
        cpu_millicores=round(row.number(cpu, maximum=1.0) * CORES * 1000),
        memory_bytes=round(row.number(memory, maximum=1.0) * GIB * 2**30),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What tasks of one user, priority and request have in common; `hindrance`: why none can be replayed."""

    queue: str
    ways: tuple[Configuration, ...]
    priority_class: str
    preemptible: bool
    apart: bool
    hindrance: str


@dataclass(slots=True, eq=False)
class _Task:
    """A task that has not ended. Times in seconds; `started` None while it waits; `run` the last run that was cut off,
    (start, seconds)."""

    submitted: float
    kind: _Kind
    started: float | None = None
    run: tuple[float, float] | None = None


class _EventReader:
    """Follows every task from event to event, and counts what cannot be replayed."""

    def __init__(self, nodes: tuple[Node, ...], window: Window, restart_cost_seconds: float) -> None:
        self.arrivals: list[Arrival] = []
        self.dropped: Counter[str] = Counter()
        self.rows = 0
        self.repeated = 0
        self.odd = 0
        self.now = 0.0
        self._sizes = {node.capacity for node in nodes}
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._live: dict[str, _Task] = {}
        self._submissions: Counter[str] = Counter()
        self._kinds: dict[tuple[str, ...], _Kind] = {}
        self._alike: dict[Resources, tuple[Configuration, ...]] = {}
        self._apart: dict[str, tuple[Labels, Constraints]] = {}

    def take(self, row: Row) -> None:
        """Check one event and follow it."""
        self.rows += 1
        fields = row.fields
        now = row.integer("time") / MICROS
        if now < self.now:
            raise row.error(
                "time", f"must be at least {self.now * MICROS:.0f}, that of the event before; got {fields[0]}"
            )
        self.now = now
        event = fields[5]
        if event not in EVENTS:
            raise row.error("event", f"must be a number from 0 to 8, got {event!r}")
        traits = (*fields[6:11], fields[12])
        kind = self._kinds.get(traits)
        if kind is None:
            kind = self._kinds[traits] = self._kind(row)
        if not (fields[2].isdecimal() and fields[3].isdecimal()):
            row.integer("job")
            row.integer("task")
        name = f"{fields[2]}-{fields[3]}"
        task = self._live.get(name)
        if event == SUBMIT:
            self._submitted(row, name, task, kind)
        elif event == SCHEDULE:
            self._scheduled(name, task, kind)
        elif event in (UPDATE_PENDING, UPDATE_RUNNING):
            if task is not None and task.started is None:
                task.kind = kind
        elif task is None:
            self.odd += 1
        elif event in (EVICT, LOST):
            self._stopped(task)
        else:
            self._ended(name, task)

    def close(self) -> int:
        """The end of the log; how many tasks ran on."""
        running = 0
        for name, task in list(self._live.items()):
            running += task.started is not None
            self._ended(name, task)
        return running

    def _submitted(self, row: Row, name: str, task: _Task | None, kind: _Kind) -> None:
        if task is None:
            self._live[name] = _Task(self.now, kind)
            self._submissions[name] += 1
            if len(self._submissions) > MOST_JOBS:
                raise row.error("task", f"is one more than {MOST_JOBS:,}; at most so many can be read")
        elif task.started is None and task.run is None:
            if task.submitted == self.now:
                raise row.error("task", f"task {name} was submitted at this very time before; each event once")
            self.odd += 1
        elif task.started is not None:
            self.odd += 1
            self._stopped(task)

    def _scheduled(self, name: str, task: _Task | None, kind: _Kind) -> None:
        if task is None:
            self.odd += 1
            task = self._live[name] = _Task(self.now, kind)
            self._submissions[name] += 1
        elif task.started is not None:
            self.odd += 1
            return
        if task.run is not None:
            self.repeated += 1
            task.run = None
        task.started = max(self.now, START)

    def _stopped(self, task: _Task) -> None:
        """By the scheduler or its failure: the task is to run again."""
        if task.started is not None:
            task.run = (task.started, self.now - task.started)
            task.started = None

    def _ended(self, name: str, task: _Task) -> None:
        """It goes among the arrivals, if it can be replayed."""
        del self._live[name]
        self._stopped(task)
        arrived = max(task.submitted, START)
        started, duration = task.run or (None, 0.0)
        timing = self._window.cut(arrived, started, duration)
        if timing is None:
            return
        kind = task.kind
        if started is None:
            self.dropped["never_scheduled"] += 1
        elif kind.hindrance:
            self.dropped[kind.hindrance] += 1
        elif timing[1] <= 0:
            self.dropped["no_run_time"] += 1
        else:
            number = self._submissions[name]
            self.arrivals.append(Arrival(timing[0], self._spec(name, number, kind), timing[1]))

    def _spec(self, name: str, number: int, kind: _Kind) -> JobSpec:
        labels, constraints = self._kept_apart(name) if kind.apart else ((), UNCONSTRAINED)
        return JobSpec(
            kind.queue,
            kind.ways,
            name if number == 1 else f"{name}#{number}",
            priority_class=kind.priority_class,
            preemptible=kind.preemptible,
            restart_cost_seconds=self._restart_cost_seconds,
            labels=labels,
            constraints=constraints,
        )

    def _kept_apart(self, name: str) -> tuple[Labels, Constraints]:
        job = name.partition("-")[0]
        if job not in self._apart:
            labels = ((JOB_LABEL, job),)
            self._apart[job] = labels, Constraints(at_most=(AtMost(1, of=labels),))
        return self._apart[job]

    def _kind(self, row: Row) -> _Kind:
        row.integer("scheduling class", maximum=3)
        priority = row.integer("priority", maximum=11)
        apart = row["different machine"]
        if apart not in ("", "0", "1"):
            raise row.error("different machine", f"must be 0 or 1, or empty where it is missing; got {apart!r}")
        user = hashlib.sha256(row.text("user").encode()).hexdigest()[:10]
        ways, hindrance = self._ways(row)
        production = priority >= LEAST_PRODUCTION
        return _Kind(
            queue=f"user-{user}",
            ways=ways,
            priority_class="high" if production else "low" if priority <= MOST_FREE else "normal",
            preemptible=not production,
            apart=apart == "1",
            hindrance=hindrance,
        )

    def _ways(self, row: Row) -> tuple[tuple[Configuration, ...], str]:
        if not row["CPU request"] or not row["memory request"]:
            return (), "request_unknown"
        demand = _amounts(row, "CPU request", "memory request")
        if demand == NOTHING:
            return (), "asks_for_nothing"
        if not any(demand.fits_in(size) for size in self._sizes):
            return (), "fits_no_node"
        return self._alike.setdefault(demand, (Configuration(FLAVOR, 1, demand),)), ""

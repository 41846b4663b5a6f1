"""The Standard Workload Format: what sites of parallel computing publish of their batch systems.

    job, submit, wait, run, processors allocated, average CPU time, memory used, processors requested, time requested,
    memory requested, status, user, group, executable, queue, partition, preceding job, think time

18 fields a line, separated by blanks; times in seconds, submit since the start of the log, memory in KB per processor,
-1 where nothing is known. Lines with ; are the header: "; MaxProcs: 8192". Beside the log there may be a list of
clusters named as the log with .machines after it, with fields id, name, nodes, CPUs per node, speed, and KB of memory
per node. Source: Feitelson, Tsafrir, Krakov, "Experience with using the Parallel Workloads Archive", JPDC 74(10), 2014.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.cluster import Node
from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from simulations.traces.errors import TraceError
from simulations.traces.gangs import CORE, MOST_CORES, Gangs, alike, machines_of
from simulations.traces.rows import MOST_NODES, Row, require_folder, require_unique, shown
from simulations.traces.text import LONGEST_LINE, NotText, opened
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Arrival, Workload

COLUMNS = (
    "job", "submit", "wait", "run", "processors allocated", "average CPU time", "memory used", "processors requested",
    "time requested", "memory requested", "status", "user", "group", "executable", "queue", "partition",
    "preceding job", "think time",
)  # fmt: skip
MACHINE_COLUMNS = ("id", "name", "nodes", "CPUs per node", "speed", "memory per node")
QUEUE_COLUMNS = ("user", "group", "queue", "partition")
PARTIAL = ("2", "3", "4")
"""Statuses of lines that tell a part of a run; another line of the job tells the whole."""
_LARGEST_HEADER = 10_000
_KB = 1024
_COMMENT = b";"
"""Names of people and places stand there in any encoding."""
_UNKNOWN = "-1"

NOTES = (
    "A job asks for the processors it requested (if the log does not tell, those it was allocated), a core for each.",
    "A job is a gang of equal replicas, as few as divide its processors and fit nodes: 48 on nodes of 8 are 6x8.",
    "Run times are those recorded; the requested time is the expected duration.",
    "Recorded waits only tell what ran at the start of a window (--carry-in).",
    "Jobs are not preemptible. A job that ended early or was cancelled while it ran is done after the time it ran.",
    "A job arrives when it was submitted, whatever preceding job the log names.",
)


def read(
    path: Path,
    window: Window = EVERYTHING,
    *,
    restart_cost_seconds: float = 0.0,
    queue_by: str = "user",
    machines: str | None = None,
) -> Workload:
    """Read a log, or the folder that holds exactly one. Raises TraceError, InvalidInput for an unknown `queue_by`.

    `queue_by` is the column whose values are the queues; `machines` ("1024x8") goes before the list of clusters, and
    that before the header. Virtual time is seconds since the Unix epoch if the header has UnixStartTime, otherwise
    since the start of the log.
    """
    if queue_by not in QUEUE_COLUMNS:
        raise InvalidInput.of("queue_by", f"must be one of {', '.join(QUEUE_COLUMNS)}; got {queue_by!r}")
    file = find_log(path)
    header = read_header(file)
    cluster = _cluster(file, header, machines)
    reader = _JobReader(cluster, window, restart_cost_seconds, queue_by, header.epoch)
    for row in _rows(file):
        reader.take(row)
    if not reader.rows:
        raise TraceError(file, "has no jobs; one is a line of 18 numbers")
    reader.arrivals.sort(key=lambda arrival: arrival.time)
    queues = sorted({arrival.spec.queue for arrival in reader.arrivals}) or ["unknown"]
    return Workload(
        name=f"swf {file.name.removesuffix('.gz').removesuffix('.swf')}",
        start=header.epoch + window.start,
        nodes=cluster.nodes,
        queues=tuple(Queue(name) for name in queues),
        arrivals=tuple(reader.arrivals),
        notes=(
            *NOTES,
            cluster.note,
            f"Queues are the values of {queue_by}, each with weight 1; -1 is 'unknown'.",
            f"{reader.following:,} jobs named a preceding job.",
            window.description,
            f"Stopping a job costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(reader.dropped.items())),
    )


def find_log(path: Path) -> Path:
    """The log that is meant."""
    if path.is_file() or not path.exists():
        return path
    require_folder(path, ("one log (.swf)",))
    found = sorted(file for file in path.iterdir() if re.search(r"\.swf(\.gz)?\Z", file.name))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found)
    raise TraceError(path, f"holds several logs; name one of {names}" if found else "holds no log (.swf or .swf.gz)")


@dataclass(frozen=True, slots=True)
class Header:
    """What the lines with ; say, and on which line; `epoch` is 0 without UnixStartTime."""

    file: Path
    fields: dict[str, tuple[int, str]]

    @property
    def epoch(self) -> float:
        return float(self.integer("UnixStartTime", 0, 2**40) or 0)

    def integer(self, name: str, minimum: int, maximum: int) -> int | None:
        """None where it is not said, or said not to be known."""
        line, value = self.fields.get(name, (0, ""))
        if value in ("", _UNKNOWN):
            return None
        row = Row(self.file, line, {name: 0}, [value.split()[0]])
        return row.integer(name, minimum=minimum, maximum=maximum)


def read_header(file: Path) -> Header:
    """The comments before the first job."""
    fields: dict[str, tuple[int, str]] = {}
    with opened(file, _COMMENT) as lines, suppress(NotText):  # reading the jobs says what is wrong
        for line in lines:
            if line.strip() and not line.startswith(";"):
                break
            name, colon, value = line[1:].partition(":")
            if colon and name.strip().isalpha() and len(fields) < _LARGEST_HEADER:
                fields.setdefault(name.strip(), (lines.number, value.strip()))
    return Header(file, fields)


def origin(path: Path) -> datetime | None:
    """The date of second 0, where the header tells."""
    epoch = read_header(find_log(path)).epoch
    return datetime.fromtimestamp(epoch, UTC) if epoch else None


@dataclass(frozen=True, slots=True)
class _Cluster:
    nodes: tuple[Node, ...]
    speeds: dict[str, float]
    note: str


def _cluster(file: Path, header: Header, machines: str | None) -> _Cluster:
    """As said, as listed beside the log, or as in its header: the first of these that there is."""
    if machines is not None:
        count, cores = machines_of(machines, file)
        return _alike(count, cores, "as said")
    for name in (f"{file.name}.machines", f"{file.name.removesuffix('.gz')}.machines"):
        if (listed := file.with_name(name)).is_file():
            return _listed(listed)
    processors = header.integer("MaxProcs", 1, MOST_NODES * MOST_CORES)
    count = header.integer("MaxNodes", 1, MOST_NODES) or min(processors or 0, MOST_NODES)
    if not count:
        what = "has no '; MaxNodes:' or '; MaxProcs:' in its header; say the machines in words, such as 1024x8"
        raise TraceError(file, what)
    return _alike(count, max(1, (processors or count) // count), "as the header says")


def _alike(count: int, cores: int, who: str) -> _Cluster:
    nodes = tuple(alike("node", count, Resources(cpu_millicores=cores * CORE)))
    note = f"There are {count:,} nodes of {cores:,} cores, {who}; memory is not read, as nobody tells what nodes have."
    return _Cluster(nodes, {}, note)


def _listed(file: Path) -> _Cluster:
    nodes: list[Node] = []
    speeds: dict[str, float] = {}
    seen: dict[str, int] = {}
    for row in _blank_separated(file, MACHINE_COLUMNS):
        flavor = require_unique(row, "name", seen)
        count = row.integer("nodes", minimum=1, maximum=MOST_NODES - len(nodes))
        capacity = Resources(
            cpu_millicores=row.integer("CPUs per node", minimum=1, maximum=MOST_CORES) * CORE,
            memory_bytes=row.integer("memory per node", maximum=2**42) * _KB,
        )
        speeds[flavor] = row.number("speed", minimum=1e-6, maximum=1e6)
        members = alike(flavor, count, capacity)
        for violation in members[0].violations():
            raise row.error("name", violation.description)
        nodes += members
    if not nodes:
        raise TraceError(file, "has no clusters; one is a line of id, name, nodes, CPUs, speed and KB of memory")
    note = f"Nodes are those of {file.name}; a job asks for the memory it requested, none if it did not say."
    return _Cluster(tuple(sorted(nodes, key=lambda node: node.name)), speeds, note)


def _rows(file: Path) -> Iterator[Row]:
    return _blank_separated(file, COLUMNS)


def _blank_separated(file: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Lines of so many fields, without comments and blank lines."""
    index = {name: place for place, name in enumerate(columns)}
    width = len(columns)
    with opened(file, _COMMENT) as lines:
        try:
            for line in lines:
                if line[0] == ";":
                    continue
                fields = line.split(None, width)
                if len(fields) != width:
                    if not fields:
                        continue
                    count = len(line[:LONGEST_LINE].split())
                    what = f"has {count} fields; each line has {width} columns: {', '.join(columns)}"
                    raise TraceError(file, what, line=lines.number)
                yield Row(file, lines.number, index, fields)
        except NotText as error:
            place = max(0, len((error.prefix + "x").split()) - 1)
            raise TraceError(file, error.what, line=error.line, column=columns[min(place, width - 1)]) from None


class _JobReader:
    """Turns lines into arrivals, and counts those that cannot be replayed."""

    def __init__(
        self, cluster: _Cluster, window: Window, restart_cost_seconds: float, queue_by: str, epoch: float
    ) -> None:
        self.arrivals: list[Arrival] = []
        self.dropped: Counter[str] = Counter()
        self.rows = 0
        self.following = 0
        self._gangs = Gangs(cluster.nodes, cluster.speeds)
        self._memory = any(node.capacity.memory_bytes for node in cluster.nodes)
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._queue_by = queue_by
        self._epoch = epoch
        self._seen: dict[str, int] = {}
        self._queues: dict[str, str] = {_UNKNOWN: "unknown"}

    def take(self, row: Row) -> None:
        """Check one line, window or not, and keep it if it is to be replayed."""
        self.rows += 1
        if row["status"] in PARTIAL:
            self.dropped["partial_run"] += 1
            return
        name = require_unique(row, "job", self._seen)
        submitted = row.seconds("submit")
        run = _known(row, "run")
        wait = _known(row, "wait")
        processors = self._processors(row)
        queue = self._queue(row)
        expected = _known(row, "time requested")
        memory = (_known(row, "memory requested") or 0.0) if self._memory else 0.0
        self.following += row["preceding job"] != _UNKNOWN
        timing = self._window.cut(submitted, None if wait is None else submitted + wait, run or 0.0)
        if timing is None:
            return
        if timing[1] <= 0:
            self.dropped["no_run_time"] += 1
        elif not processors:
            self.dropped["no_processors"] += 1
        elif not (ways := self._gangs.ways(processors, round(memory * _KB))):
            self.dropped["fits_no_node"] += 1
        else:
            spec = JobSpec(
                queue,
                ways,
                name,
                preemptible=False,
                restart_cost_seconds=self._restart_cost_seconds,
                expected_duration_seconds=min(expected, MOST_SECONDS) if expected else None,
            )
            self.arrivals.append(Arrival(self._epoch + timing[0], spec, timing[1]))

    def _processors(self, row: Row) -> int:
        """0: not known."""
        for column in ("processors requested", "processors allocated"):
            count = row.integer(column, minimum=-1, maximum=10**9)
            if count > 0:
                return count
        return 0

    def _queue(self, row: Row) -> str:
        value = row[self._queue_by]
        known = self._queues.get(value)
        if known is None:
            number = row.integer(self._queue_by, maximum=10**9)
            known = self._queues[value] = f"{self._queue_by}-{number}"
        return known


def _known(row: Row, column: str) -> float | None:
    """None for -1."""
    value = row[column]
    if value == _UNKNOWN:
        return None
    number = row.number(column, minimum=-1.0)
    if number < 0:
        raise row.error(column, f"must be at least 0, or -1 where it is not known; got {shown(value)}")
    return number

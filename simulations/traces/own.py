"""Workloads in the project's own tables (`SCHEMA.md`): what `simulations convert` writes, and people can."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Discipline, Queue
from simulations.traces.errors import TraceError
from simulations.traces.gangs import room
from simulations.traces.jsontext import read_json
from simulations.traces.own_schema import ABOUT_FILE, NEEDED, TABLES
from simulations.traces.own_tables import find_table, read_table
from simulations.traces.own_values import (
    amounts,
    capabilities,
    constraints,
    number,
    pairs,
    quotas,
    refuse_violations,
    speeds,
    truth,
)
from simulations.traces.rows import MOST_NODES, Row, require_unique, shown
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Arrival, Workload

FIRST_DATE = 1e8
"""Starts from here on (1973) are dates, earlier ones seconds since some start."""
Ways = tuple[Configuration, ...]

NOTES = ("Workload in the project's own tables; times, sizes and ways to run are as they stand there.",)


def needed(table: str) -> tuple[str, ...]:
    """Columns that must be there."""
    return tuple(column.name for column in TABLES[table][0] if column.default is NEEDED)


def read(path: Path, window: Window = EVERYTHING, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read a folder with nodes and jobs, or a list of jobs with the rest beside it. Raises TraceError.

    Virtual time is that of submit_s; the window counts from start_s. `restart_cost_seconds` is for jobs that do not say
    theirs.
    """
    jobs, folder = _places(path)
    about = read_about(folder)
    nodes_file = find_table(folder, "nodes", needed=True)
    assert nodes_file is not None
    nodes = _read_nodes(nodes_file)
    queues = _read_queues(find_table(folder, "queues", needed=False))
    shapes = _read_shapes(find_table(folder, "shapes", needed=False), nodes)
    reader = _JobReader(nodes, shapes, queues, restart_cost_seconds)
    for row in read_table(jobs, needed("jobs")):
        reader.take(row)
    if not reader.jobs:
        raise TraceError(jobs, "has columns and no jobs")
    first = min(submitted for submitted, _, _ in reader.jobs)
    start = first if about.start is None else about.start
    if start > first:
        what = f"is {start:g}; it must be at most the first submit_s, {first:g}"
        raise TraceError(folder / ABOUT_FILE, what, column="start_s")
    arrivals, dropped = _inside(window, start, reader)
    named = queues if queues is not None else {arrival.spec.queue: Queue(arrival.spec.queue) for arrival in arrivals}
    return Workload(
        name=about.name or folder.resolve().name,
        start=start + window.start,
        nodes=nodes,
        queues=tuple(named[name] for name in sorted(named)) or (Queue("default"),),
        arrivals=tuple(arrivals),
        notes=(*(about.notes or NOTES), *([] if window == EVERYTHING else [window.description])),
        dropped={cause: about.dropped.get(cause, 0) + dropped[cause] for cause in sorted({*about.dropped, *dropped})},
    )


def origin(path: Path) -> datetime | None:
    """The date of the start, where it is one."""
    jobs, folder = _places(path)
    start = read_about(folder).start
    if start is None:
        start = min((row.number("submit_s", minimum=-math.inf) for row in read_table(jobs, ("submit_s",))), default=0.0)
    return datetime.fromtimestamp(start, UTC) if FIRST_DATE <= start < 2.5e11 else None


def _places(path: Path) -> tuple[Path, Path]:
    """(the jobs, the folder of the rest)."""
    if path.is_file():
        return path, path.parent
    jobs = find_table(path, "jobs", needed=True)
    assert jobs is not None
    return jobs, path


@dataclass(frozen=True, slots=True)
class About:
    """What workload.json says; `start` None: nothing."""

    name: str = ""
    start: float | None = None
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


def read_about(folder: Path) -> About:
    """Raises TraceError."""
    file = folder / ABOUT_FILE
    if not file.is_file():
        return About()
    document = read_json(file)
    content = document.mapping(document.content, ())
    notes = document.entries(content.get("notes", []), ("notes",))
    dropped = document.mapping(content.get("dropped", {}), ("dropped",))
    return About(
        document.string(content.get("name", ""), ("name",)),
        document.number(content["start_s"], ("start_s",), minimum=-1e12) if "start_s" in content else None,
        tuple(document.string(note, ("notes", index)) for index, note in enumerate(notes)),
        {cause: document.integer(count, ("dropped", cause)) for cause, count in dropped.items()},
    )


def _read_nodes(file: Path) -> tuple[Node, ...]:
    seen: dict[str, int] = {}
    nodes = []
    for row in read_table(file, needed("nodes")):
        name = require_unique(row, "node", seen)
        if len(seen) > MOST_NODES:
            raise row.error("node", f"is one more than {MOST_NODES:,} nodes; at most so many can be read")
        node = Node(
            name,
            row.text("flavor"),
            amounts(row),
            pairs(row, "labels"),
            taints=pairs(row, "taints"),
            capabilities=capabilities(row),
        )
        refuse_violations(row, node.violations(), "node")
        nodes.append(node)
    if not nodes:
        raise TraceError(file, "has columns and no nodes")
    return tuple(sorted(nodes, key=lambda node: node.name))


def _read_queues(file: Path | None) -> dict[str, Queue] | None:
    """None where there is no such table."""
    if file is None:
        return None
    seen: dict[str, int] = {}
    queues = {}
    for row in read_table(file, needed("queues")):
        name = require_unique(row, "queue", seen)
        discipline = row.get("discipline") or Discipline.FAIR.value
        if discipline not in (each.value for each in Discipline):
            raise row.error("discipline", f"must be fair or fifo, got {shown(discipline)}")
        queue = Queue(
            name,
            number(row, "weight", 1.0),
            truth(row, "cordoned", otherwise=False),
            row.integer("max_live_jobs") if row.get("max_live_jobs") else None,
            row.integer("priority", minimum=-(2**53)) if row.get("priority") else 0,
            quotas(row),
            Discipline(discipline),
        )
        refuse_violations(row, queue.violations(), "queue")
        queues[name] = queue
    if not queues:
        raise TraceError(file, "has columns and no queues; leave it out if jobs name theirs")
    return queues


def _way(row: Row, flavor: str, throughput: float, flavors: Iterable[str]) -> Configuration:
    """Of a row of shapes, or of a job that says its ways itself."""
    suffix = "" if "flavor" in row.columns else "s"
    if flavor not in flavors:
        raise row.error(f"flavor{suffix}", f"names {shown(flavor)}; the nodes have {', '.join(sorted(flavors))}")
    replicas = row.integer("replicas", minimum=1) if row.get("replicas") else 1
    way = Configuration(flavor, replicas, amounts(row), throughput, truth(row, "declared", otherwise=True))
    refuse_violations(row, way.violations(), "replicas", {"throughput": f"throughput{suffix}"})
    return way


def _read_shapes(file: Path | None, nodes: tuple[Node, ...]) -> dict[str, Ways]:
    found: dict[str, list[Configuration]] = {}
    flavors = {node.flavor for node in nodes}
    for row in read_table(file, needed("shapes")) if file else ():
        ways = found.setdefault(row.text("shape"), [])
        way = _way(row, row.text("flavor"), number(row, "throughput", 1.0), flavors)
        if any((way.flavor, way.replicas) == (other.flavor, other.replicas) for other in ways):
            raise row.error("shape", f"has {way.flavor} with {way.replicas} replicas on an earlier row; each pair once")
        ways.append(way)
    return {name: tuple(ways) for name, ways in found.items()}


class _JobReader:
    """Turns rows into jobs; what they have in common is one object."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        shapes: dict[str, Ways],
        queues: dict[str, Queue] | None,
        restart_cost_seconds: float,
    ) -> None:
        self.jobs: list[tuple[float, float | None, Arrival]] = []
        """(submitted, started, job at its submission)."""
        self.fits: dict[int, bool] = {}
        """Whether the ways to run with this id have room on the empty nodes."""
        self._sizes: dict[str, Counter[Any]] = {}
        for node in nodes:
            self._sizes.setdefault(node.flavor, Counter())[node.capacity] += 1
        self._shapes = shapes
        self._queues = queues
        self._restart_cost_seconds = restart_cost_seconds
        self._seen: dict[str, int] = {}
        self._inline: dict[tuple[str, ...], Ways] = {}

    def take(self, row: Row) -> None:
        """Check one row and keep it."""
        name = require_unique(row, "job", self._seen)
        submitted = row.number("submit_s", minimum=-1e12, maximum=1e12)
        duration = row.seconds("run_s")
        ways = self._ways(row)
        spec = self._spec(row, name, ways)
        refuse_violations(row, spec.violations(), "job", _COLUMN_OF)
        started = row.number("start_s", minimum=submitted, maximum=1e12) if row.get("start_s") else None
        self.jobs.append((submitted, started, Arrival(submitted, spec, duration, speeds(row))))

    def _spec(self, row: Row, name: str, ways: Ways) -> JobSpec:
        queue = row.get("queue") or "default"
        if self._queues is not None and queue not in self._queues:
            raise row.error("queue", f"names {shown(queue)}, which is none of the queues")
        if self._queues is None:
            refuse_violations(row, Queue(queue).violations(), "queue")
        get = row.get
        return JobSpec(
            queue,
            ways,
            name,
            number(row, "weight", 1.0),
            get("priority_class") or "normal",
            preemptible=truth(row, "preemptible", otherwise=True),
            restart_cost_seconds=number(row, "restart_cost_s", self._restart_cost_seconds),
            expected_duration_seconds=row.seconds("expected_s") if get("expected_s") else None,
            labels=pairs(row, "labels"),
            constraints=constraints(row),
            resizable=truth(row, "resizable", otherwise=False),
            divisible=truth(row, "divisible", otherwise=False),
            job_class=get("job_class"),
            deadline=row.number("deadline_s", maximum=1e12) if get("deadline_s") else None,
            minimum_throughput=row.number("minimum_throughput") if get("minimum_throughput") else None,
        )

    def _ways(self, row: Row) -> Ways:
        shape = row.get("shape")
        if shape:
            if shape not in self._shapes:
                raise row.error("shape", f"names {shown(shape)}, which is none of the shapes")
            ways = self._shapes[shape]
        else:
            key = tuple([row.get(column) for column in _WAY_COLUMNS])
            if key not in self._inline:
                self._inline[key] = self._said_inline(row)
            ways = self._inline[key]
        if id(ways) not in self.fits:
            self.fits[id(ways)] = any(self._room(way) for way in ways)
        return ways

    def _said_inline(self, row: Row) -> Ways:
        flavors = [each.strip() for each in row.get("flavors").split("|") if each.strip()]
        said = [each.strip() for each in row.get("throughputs").split("|") if each.strip()]
        if said and len(said) != len(flavors):
            raise row.error("throughputs", f"must be as many as flavors, {len(flavors)}; got {len(said)}")
        one = {"throughputs": 0}
        found = [Row(row.file, row.line, one, [each], row.unit).number("throughputs") for each in said]
        if flavors:
            found = found or [1.0] * len(flavors)
            return tuple(_way(row, *named, self._sizes) for named in zip(flavors, found, strict=True))
        every = tuple(_way(row, flavor, 1.0, self._sizes) for flavor in sorted(self._sizes))
        return tuple(way for way in every if self._room(way)) or every

    def _room(self, way: Configuration) -> bool:
        sizes = self._sizes[way.flavor]
        return sum(count * room(capacity, way.demand) for capacity, count in sizes.items()) >= way.replicas


_WAY_COLUMNS = (
    "flavors", "throughputs", "replicas", "cores", "gpus", "memory_gib", "bandwidth_gb_per_second", "disk_gib", "extra",
)  # fmt: skip
_COLUMN_OF = {
    "queue": "queue",
    "weight": "weight",
    "priority_class": "priority_class",
    "restart_cost_seconds": "restart_cost_s",
    "expected_duration_seconds": "expected_s",
    "labels": "labels",
    "constraints": "constraints",
    "divisible": "divisible",
    "job_class": "job_class",
    "deadline": "deadline_s",
    "minimum_throughput": "minimum_throughput",
    "configurations": "shape",
}
"""Of the fields of a job, where each is told."""


def _inside(window: Window, start: float, reader: _JobReader) -> tuple[list[Arrival], Counter[str]]:
    """(the jobs inside the window in order of time, how many of its are dropped by cause)."""
    dropped: Counter[str] = Counter()
    arrivals = []
    for submitted, started, job in reader.jobs:
        timing = window.cut(submitted - start, None if started is None else started - start, job.duration)
        if timing is None:
            continue
        if timing[1] <= 0:
            dropped["no_run_time"] += 1
        elif not reader.fits[id(job.spec.configurations)]:
            dropped["fits_no_node"] += 1
        else:
            as_told = timing == (submitted - start, job.duration)
            arrivals.append(job if as_told else replace(job, time=start + timing[0], duration=timing[1]))
    arrivals.sort(key=lambda arrival: arrival.time)
    return arrivals, dropped

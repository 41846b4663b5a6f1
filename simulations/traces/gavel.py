"""Jobs whose speed depends on the GPU model, with measured throughputs ("gavel").

    jobs           job_id, job_type, scale_factor, total_steps, arrival_unit   (further columns are not read)
    throughputs    by "job_type|scale_factor", then by GPU model: steps per second of the whole job

scale_factor is a number of GPUs. Arrivals are a Poisson stream of rate 1: the time of an arrival is arrival_unit x 3600
seconds / (jobs per hour). Source: Narayanan et al., "Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning
Workloads", OSDI 2020.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.traces.errors import TraceError
from simulations.traces.gangs import alike
from simulations.traces.jsontext import read_json
from simulations.traces.rows import MOST_NODES, Row, find_file, read_rows, require_unique
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Arrival, Workload

JOB_FILES = ("gavel_continuous_seed0_singlegpu.csv", "gavel_jobs.csv")
THROUGHPUT_FILES = ("gavel_isolated_throughputs.json",)
JOB_COLUMNS = ("job_id", "job_type", "scale_factor", "total_steps", "arrival_unit")
QUEUE = "gavel"
JOBS_PER_HOUR = 4.0
MACHINES = "v100=36,p100=36,k80=36"
HOUR = 3600.0
_UNCONSOLIDATED = "_unconsolidated"
_COUNT = re.compile(r"([a-z0-9][a-z0-9_\-]*)=([0-9]{1,6})\Z")

NOTES = (
    "A flavor is a GPU model; every node has one GPU and nothing else that jobs ask for.",
    "A job of several GPUs is a gang of replicas of one GPU each.",
    "It accepts every model on which its throughput is above 0, with that throughput, steps per second of the gang.",
    "Of several GPUs, the throughput is that of workers on different servers (_unconsolidated), where there is one.",
    "Its true run time is its steps over its largest throughput.",
    "Jobs are preemptible and all in one queue.",
)


def read(
    path: Path,
    window: Window = EVERYTHING,
    *,
    restart_cost_seconds: float = 0.0,
    jobs_per_hour: float = JOBS_PER_HOUR,
    machines: str = MACHINES,
) -> Workload:
    """Read the folder, or a list of jobs with the throughputs beside it. Raises TraceError, InvalidInput for options.

    `machines` says how many nodes of which model there are. Virtual time is seconds since the start of the stream. Jobs
    have no recorded starts: a window's carry-in takes along none.
    """
    if not 1e-6 <= jobs_per_hour <= 1e9:
        raise InvalidInput.of("jobs_per_hour", f"must be from 1e-6 to 1e9, got {jobs_per_hour:g}")
    jobs = path if path.is_file() else find_file(path, JOB_FILES)
    nodes = _nodes(machines)
    throughputs = _read_throughputs(find_file(jobs.parent, THROUGHPUT_FILES))
    reader = _JobReader(nodes, throughputs, window, restart_cost_seconds, HOUR / jobs_per_hour)
    for row in read_rows(jobs, JOB_COLUMNS):
        reader.take(row)
    if not reader.rows:
        raise TraceError(jobs, "has a header and no jobs")
    reader.arrivals.sort(key=lambda arrival: arrival.time)
    return Workload(
        name="gavel",
        start=window.start,
        nodes=nodes,
        queues=(Queue(QUEUE),),
        arrivals=tuple(reader.arrivals),
        notes=(
            *NOTES,
            f"Jobs arrive at {jobs_per_hour:g} an hour on average, on nodes {machines}.",
            window.description,
            f"Stopping a job costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(reader.dropped.items())),
    )


def _nodes(machines: str) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for part in machines.split(","):
        count = _COUNT.match(part.strip())
        if count is None or not 1 <= int(count[2]) <= MOST_NODES - len(nodes):
            what = f"must be numbers of nodes by GPU model, such as {MACHINES}, at most {MOST_NODES:,}; got {part!r}"
            raise InvalidInput.of("machines", what)
        if any(node.flavor == count[1] for node in nodes):
            raise InvalidInput.of("machines", f"names {count[1]} twice; each model once")
        nodes += alike(count[1], int(count[2]), Resources(gpu_millis=GPU_MILLIS))
    return tuple(sorted(nodes, key=lambda node: node.name))


def _read_throughputs(file: Path) -> dict[str, dict[str, float]]:
    """By kind of job ("type|GPUs"), then by GPU model, as it is on servers of one GPU."""
    document = read_json(file)
    content = document.mapping(document.content, ())
    found: dict[str, dict[str, float]] = {}
    for kind, value in document.mapping(document.member(content, (), "throughputs"), ("throughputs",)).items():
        place = ("throughputs", kind)
        measured = {
            model: document.number(speed, (*place, model), maximum=1e12)
            for model, speed in document.mapping(value, place).items()
        }
        found[kind] = {
            model: measured.get(model + _UNCONSOLIDATED, speed)
            for model, speed in measured.items()
            if not model.endswith(_UNCONSOLIDATED)
        }
    return found


class _JobReader:
    """Turns job rows into arrivals, and counts those that cannot be replayed."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        throughputs: dict[str, dict[str, float]],
        window: Window,
        restart_cost_seconds: float,
        unit_seconds: float,
    ) -> None:
        self.arrivals: list[Arrival] = []
        self.dropped: Counter[str] = Counter()
        self.rows = 0
        self._counts = Counter(node.flavor for node in nodes)
        self._throughputs = throughputs
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._unit_seconds = unit_seconds
        self._seen: dict[str, int] = {}
        self._known: dict[str, tuple[Configuration, ...]] = {}

    def take(self, row: Row) -> None:
        """Check one row, window or not, and keep it if it is to be replayed."""
        self.rows += 1
        name = require_unique(row, "job_id", self._seen)
        steps = row.number("total_steps")
        arrived = row.number("arrival_unit") * self._unit_seconds
        ways = self._ways_to_run(row)
        if self._window.cut(arrived, None, 0.0) is None:
            return
        if steps <= 0:
            self.dropped["no_run_time"] += 1
        elif not ways:
            self.dropped["fits_no_node"] += 1
        else:
            spec = JobSpec(QUEUE, ways, name, restart_cost_seconds=self._restart_cost_seconds)
            self.arrivals.append(Arrival(arrived, spec, steps / max(way.throughput for way in ways)))

    def _ways_to_run(self, row: Row) -> tuple[Configuration, ...]:
        """Shared by all jobs of a kind; on the fly, whether the kind has been measured at all."""
        gpus = row.integer("scale_factor", minimum=1, maximum=MOST_NODES)
        kind = f"{row.text('job_type')}|{gpus}"
        if kind not in self._known:
            if kind not in self._throughputs:
                raise row.error("job_type", f"{kind!r} is not among the throughputs")
            speeds = self._throughputs[kind]
            self._known[kind] = tuple(
                Configuration(model, gpus, Resources(gpu_millis=GPU_MILLIS), speeds[model])
                for model, count in sorted(self._counts.items())
                if speeds.get(model, 0.0) > 0 and gpus <= count
            )
        return self._known[kind]

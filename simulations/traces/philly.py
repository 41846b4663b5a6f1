"""Microsoft's multi-tenant deep-learning cluster of 2017 ("Philly"): gang jobs of virtual clusters.

    machines  machineId, number of GPUs, single GPU mem       (such as: m0, 2, 12GB)
    jobs      job_id, arrival_s, gpus, duration_s, vc          (further columns are not read)

arrival_s is seconds since 2017-08-14 23:27:00 UTC, gpus a count, duration_s seconds of running, vc the virtual cluster
(empty: not known). Source: Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads",
USENIX ATC 2019.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.traces.errors import TraceError
from simulations.traces.rows import Row, find_file, read_rows, require_unique
from simulations.traces.window import Window
from simulations.workload import Arrival, Workload

GIB = 2**30
ORIGIN = datetime(2017, 8, 14, 23, 27, tzinfo=UTC)
UNKNOWN_QUEUE = "unknown"
MACHINE_FILES = ("cluster_machine_list.csv",)
JOB_FILES = ("philly_jobs.csv",)
MACHINE_COLUMNS = ("machineId", "number of GPUs", "single GPU mem")
JOB_COLUMNS = ("job_id", "arrival_s", "gpus", "duration_s", "vc")
_GPU_MEMORY = re.compile(r"([0-9]+) ?GB\Z", re.IGNORECASE)

DEFAULT_WINDOW = Window()

NODE_CORES_PER_GPU, NODE_GIB_PER_GPU = 6, 64
JOB_CORES_PER_GPU, JOB_GIB_PER_GPU = 4, 32

NOTES = (
    "A flavor is a size of machine, named by its GPUs' memory (gpu12gb: 2 GPUs, gpu24gb: 8 GPUs).",
    "A job accepts every flavor with a throughput of 1: the trace does not tell how fast it would run elsewhere.",
    "A job of more GPUs than a machine has is a gang, otherwise it is one replica.",
    "Replicas of a gang have the largest size that divides its GPUs and fits a machine: 16 GPUs are 2x8 or 8x2.",
    "CPU and memory are nominal, as the trace has none; GPUs are what is scarce. There is no bandwidth and no disk.",
    f"Per GPU, a machine has {NODE_CORES_PER_GPU} cores, {NODE_GIB_PER_GPU} GiB.",
    f"Per GPU, a job asks for {JOB_CORES_PER_GPU} cores, {JOB_GIB_PER_GPU} GiB.",
    "Queues are the virtual clusters, each with weight 1; jobs without one are in 'unknown'.",
    "All jobs are preemptible and keep their progress.",
)


def read(path: Path, window: Window = DEFAULT_WINDOW, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read the folder of the trace, or a job list with the machine list beside it. Raises TraceError.

    Virtual time is seconds since the Unix epoch. The list tells arrival and run time, not when a job started, so
    `window.carry_in` takes a job to have started when it arrived.
    """
    jobs = path if path.is_file() else find_file(path, JOB_FILES)
    nodes = _read_machines(find_file(jobs.parent, MACHINE_FILES))
    reader = _JobReader(nodes, window, restart_cost_seconds)
    for row in read_rows(jobs, JOB_COLUMNS):
        reader.take(row)
    if not reader.rows:
        raise TraceError(jobs, "has a header and no jobs")
    arrivals = sorted(reader.arrivals, key=lambda arrival: arrival.time)
    queues = sorted({arrival.spec.queue for arrival in arrivals} or {UNKNOWN_QUEUE})
    return Workload(
        name="philly",
        start=ORIGIN.timestamp() + window.start,
        nodes=nodes,
        queues=tuple(Queue(name) for name in queues),
        arrivals=tuple(arrivals),
        notes=(
            *NOTES,
            window.description,
            f"Stopping a job costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(reader.dropped.items())),
    )


def _read_machines(file: Path) -> tuple[Node, ...]:
    nodes = []
    seen: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for row in read_rows(file, MACHINE_COLUMNS):
        name = require_unique(row, "machineId", seen)
        gpus = row.integer("number of GPUs", minimum=1, maximum=1024)
        memory = _GPU_MEMORY.match(row.text("single GPU mem"))
        if memory is None:
            raise row.error("single GPU mem", f"must be a size such as 12GB, got {row['single GPU mem']!r}")
        flavor = f"gpu{int(memory[1])}gb"
        if sizes.setdefault(flavor, gpus) != gpus:
            raise row.error("number of GPUs", f"must be {sizes[flavor]}, as on the other {flavor} machines; got {gpus}")
        capacity = _amounts(gpus, NODE_CORES_PER_GPU, NODE_GIB_PER_GPU)
        node = Node(name, flavor, capacity)
        for violation in node.violations():
            raise row.error("machineId", violation.description)
        nodes.append(node)
    if not nodes:
        raise TraceError(file, "has a header and no machines")
    return tuple(sorted(nodes, key=lambda node: node.name))


def _amounts(gpus: int, cores_per_gpu: int, gib_per_gpu: int) -> Resources:
    return Resources(
        cpu_millicores=gpus * cores_per_gpu * 1000,
        gpu_millis=gpus * GPU_MILLIS,
        memory_bytes=gpus * gib_per_gpu * GIB,
    )


class _JobReader:
    """Turns job rows into arrivals, and counts those that cannot be replayed."""

    def __init__(self, nodes: tuple[Node, ...], window: Window, restart_cost_seconds: float) -> None:
        self.arrivals: list[Arrival] = []
        self.dropped: Counter[str] = Counter()
        self.rows = 0
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._seen: dict[str, int] = {}
        counts = Counter(node.flavor for node in nodes)
        self._flavors = [
            (flavor, next(node.gpu_count for node in nodes if node.flavor == flavor), machines)
            for flavor, machines in sorted(counts.items())
        ]
        self._configurations: dict[int, tuple[Configuration, ...]] = {}

    def take(self, row: Row) -> None:
        """Check one row, window or not, and keep it if it is to be replayed."""
        self.rows += 1
        name = require_unique(row, "job_id", self._seen)
        gpus = row.integer("gpus", minimum=1, maximum=100_000)
        arrived = row.seconds("arrival_s")
        duration = row.seconds("duration_s")
        queue = row["vc"] or UNKNOWN_QUEUE
        for violation in Queue(queue).violations():
            raise row.error("vc", f"is not usable as a queue: {violation.description}")
        timing = self._timing(arrived, duration)
        if timing is None:
            return
        configurations = self._ways_to_run(gpus)
        if timing[1] <= 0:
            self.dropped["no_run_time"] += 1
        elif not configurations:
            self.dropped["fits_no_flavor"] += 1
        else:
            spec = JobSpec(queue, configurations, name, restart_cost_seconds=self._restart_cost_seconds)
            self.arrivals.append(Arrival(ORIGIN.timestamp() + timing[0], spec, timing[1]))

    def _timing(self, arrived: float, duration: float) -> tuple[float, float] | None:
        """(arrival, run time) inside the window; None outside."""
        window = self._window
        if window.start <= arrived < window.end:
            return arrived, duration
        if arrived < window.start and window.carry_in and arrived + duration > window.start:
            return window.start, arrived + duration - window.start
        return None

    def _ways_to_run(self, gpus: int) -> tuple[Configuration, ...]:
        """One configuration per flavor that has enough machines for the gang."""
        if gpus not in self._configurations:
            found = []
            for flavor, machine_gpus, machines in self._flavors:
                size = max(size for size in range(1, min(gpus, machine_gpus) + 1) if gpus % size == 0)
                replicas = gpus // size
                if replicas <= machines * (machine_gpus // size):
                    demand = _amounts(size, JOB_CORES_PER_GPU, JOB_GIB_PER_GPU)
                    found.append(Configuration(flavor, replicas, demand))
            self._configurations[gpus] = tuple(found)
        return self._configurations[gpus]

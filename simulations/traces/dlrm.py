"""Alibaba's trace of disaggregated recommendation inference of 2025 ("dlrm"): services that ask for network bandwidth.

    instances  instance_sn, role, app_name, cpu_request, gpu_request, rdma_request, memory_request, disk_request,
               max_instance_per_node, creation_time, scheduled_time, deletion_time
               (limits and further columns are not read)

role is HN (the part of an app that needs a GPU node) or CN (the part that runs on CPU nodes), cpu_request vCPUs,
rdma_request percent of one RNIC's bandwidth, memory_request and disk_request GiB, max_instance_per_node how many
instances of the same app one node may run (-1: any number), times seconds since the start of the trace. An empty
creation or scheduling time is before the start, an empty deletion time after the end. Source: Yang et al.,
"GPU-Disaggregated Serving for Deep Learning Recommendation Models at Scale", NSDI 2025.

The trace has no nodes: what they are like and how many there are is assumed here, see NOTES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import GPU_MILLIS, NOTHING, Resources
from simulations.traces.errors import TraceError
from simulations.traces.rows import Row, find_file, read_rows, require_unique
from simulations.traces.window import Window
from simulations.workload import Arrival, Workload

GIB = 2**30
APP_LABEL = "app"
INSTANCE_FILES = ("disaggregated_DLRM_trace.csv",)
INSTANCE_COLUMNS = (
    "instance_sn", "role", "app_name", "cpu_request", "gpu_request", "rdma_request", "memory_request", "disk_request",
    "max_instance_per_node", "creation_time", "scheduled_time", "deletion_time",
)  # fmt: skip
NO_LIMIT = "-1"

DEFAULT_WINDOW = Window()

RNIC_BYTES_PER_SECOND = 25 * 10**9
"""What 100 % of an RNIC is: 200 Gbit/s."""
NODES: Mapping[str, Resources] = {
    "cn": Resources(
        cpu_millicores=192_000,
        memory_bytes=1024 * GIB,
        bandwidth_bytes_per_second=RNIC_BYTES_PER_SECOND,
        disk_bytes=4096 * GIB,
    ),
    "hn": Resources(
        cpu_millicores=128_000,
        gpu_millis=8 * GPU_MILLIS,
        memory_bytes=1024 * GIB,
        bandwidth_bytes_per_second=RNIC_BYTES_PER_SECOND,
        disk_bytes=8192 * GIB,
    ),
}
"""By flavor, which is the role in lower case, what one node has: room for the largest instance of the trace, and, but
for bandwidth, for eight of any HN instances."""

NOTES = (
    "The trace has no nodes; what they are like is assumed. HN: 8 GPUs, 128 vCPUs, 1,024 GiB, 8,192 GiB of disk.",
    "CN: 192 vCPUs, 1,024 GiB, 4,096 GiB of disk. Each node has one RNIC of 25 GB/s (200 Gbit/s).",
    "With one RNIC, no instance is split over two: a node that is within its bandwidth is within its RNIC's.",
    "Of each role there are as many nodes as the busiest moment of the trace takes if nothing were lost to fragments.",
    "rdma_request is percent of one RNIC: 1 % is 250 MB/s. Requests count; limits are not read.",
    "A flavor is a role: HN instances run on HN nodes, CN instances on CN nodes, with throughput 1.",
    "Queues are the apps, each with weight 1; an instance is a job of one replica with the label 'app'.",
    "max_instance_per_node is a constraint: at most so many replicas with this app's label on one node.",
    "Instances are services: they are not preemptible.",
    "What was there before the trace began arrives at second 0; what outlives it is taken to end at its last event.",
    "Run time is deletion minus scheduled time; instances that were never scheduled are dropped as never_scheduled.",
)


def read(path: Path, window: Window = DEFAULT_WINDOW, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read the folder of the trace, or its list of instances. Raises TraceError.

    Virtual time is seconds since the start of the trace. How many nodes there are does not depend on the window.
    """
    file = path if path.is_file() else find_file(path, INSTANCE_FILES)
    reader = _InstanceReader()
    for row in read_rows(file, INSTANCE_COLUMNS):
        reader.take(row)
    if not reader.rows:
        raise TraceError(file, "has a header and no instances")
    dropped: Counter[str] = Counter()
    arrivals = []
    for instance in reader.instances:
        timing = instance.timing(window, reader.end)
        if timing is None:
            continue
        time, duration = timing
        cause = "never_scheduled" if instance.scheduled is None else instance.hindrance(duration)
        if cause:
            dropped[cause] += 1
        else:
            arrivals.append(Arrival(time, instance.spec(restart_cost_seconds), duration))
    arrivals.sort(key=lambda arrival: arrival.time)
    outliving = sum(instance.deleted is None for instance in reader.instances)
    return Workload(
        name="dlrm",
        start=window.start,
        nodes=_nodes(reader.instances, reader.end),
        queues=tuple(Queue(name) for name in sorted({instance.app for instance in reader.instances})),
        arrivals=tuple(arrivals),
        notes=(
            *NOTES,
            window.description,
            f"The last event is at second {reader.end:g}; {outliving:,} instances had not ended by then.",
            f"Stopping an instance costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(dropped.items())),
    )


@dataclass(frozen=True, slots=True)
class _Instance:
    """One row, checked. Times in seconds since the start; `scheduled` None: never; `deleted` None: not in the trace."""

    name: str
    app: str
    configuration: Configuration
    constraints: Constraints
    created: float
    scheduled: float | None
    deleted: float | None

    def timing(self, window: Window, end: float) -> tuple[float, float] | None:
        """(arrival, run time) inside the window, the latter 0 if it is not known; None outside."""
        scheduled = self.scheduled
        deleted = end if self.deleted is None else self.deleted
        if window.start <= self.created < window.end:
            return self.created, 0.0 if scheduled is None else deleted - scheduled
        if scheduled is not None and window.carry_in and scheduled <= window.start < deleted:
            return window.start, deleted - window.start
        return None

    def hindrance(self, duration: float) -> str:
        """Why it cannot be replayed with this run time; empty if it can."""
        if duration <= 0:
            return "no_run_time"
        return "" if self.fits else "fits_no_node"

    @property
    def fits(self) -> bool:
        """Whether an empty node has room for it."""
        return self.configuration.demand.fits_in(NODES[self.configuration.flavor])

    def spec(self, restart_cost_seconds: float) -> JobSpec:
        return JobSpec(
            queue=self.app,
            configurations=(self.configuration,),
            name=self.name,
            preemptible=False,
            restart_cost_seconds=restart_cost_seconds,
            labels=((APP_LABEL, self.app),),
            constraints=self.constraints,
        )


def _nodes(instances: Iterable[_Instance], end: float) -> tuple[Node, ...]:
    """Of each role that occurs, at least one node, and enough for the busiest moment of every resource."""
    changes: dict[str, list[tuple[float, int, Resources]]] = {}
    for instance in instances:
        of_role = changes.setdefault(instance.configuration.flavor, [])
        if instance.scheduled is not None and instance.fits:
            demand = instance.configuration.demand
            of_role.append((instance.scheduled, 1, demand))
            of_role.append((end if instance.deleted is None else instance.deleted, -1, demand))
    nodes = []
    for flavor, of_role in sorted(changes.items()):
        capacity, count, held = NODES[flavor], 1, NOTHING
        for _, sign, demand in sorted(of_role, key=lambda change: change[:2]):  # who leaves makes room for who comes
            held = held + demand if sign > 0 else held - demand
            count = max((count, *(-(-amount // capacity.get(name)) for name, amount in held.items())))
        nodes += [Node(f"{flavor}-{index:04}", flavor, capacity) for index in range(count)]
    return tuple(sorted(nodes, key=lambda node: node.name))


class _InstanceReader:
    """Checks rows, whatever the window; what they have in common is one object."""

    def __init__(self) -> None:
        self.instances: list[_Instance] = []
        self.rows = 0
        self.end = 0.0
        """The latest time that any row names."""
        self._seen: dict[str, int] = {}
        self._configurations: dict[tuple[str, Resources], Configuration] = {}
        self._constraints: dict[tuple[str, str], Constraints] = {}

    def take(self, row: Row) -> None:
        """Check one row and keep it."""
        self.rows += 1
        name = require_unique(row, "instance_sn", self._seen)
        app = row.text("app_name")
        for violation in Queue(app).violations():
            raise row.error("app_name", f"is not usable as a queue: {violation.description}")
        configuration = self._configuration(row)
        constraints = self._limit(row, app)
        created, scheduled, deleted = _times(row)
        self.end = max(self.end, created, scheduled or 0.0, deleted or 0.0)
        self.instances.append(_Instance(name, app, configuration, constraints, created, scheduled, deleted))

    def _configuration(self, row: Row) -> Configuration:
        flavor = row.text("role").lower()
        if flavor not in NODES:
            raise row.error("role", f"must be CN or HN, got {row['role']!r}")
        key = (flavor, _demand(row))
        return self._configurations.setdefault(key, Configuration(flavor, 1, key[1]))

    def _limit(self, row: Row, app: str) -> Constraints:
        if row["max_instance_per_node"] == NO_LIMIT:
            return UNCONSTRAINED
        limit = row.integer("max_instance_per_node", minimum=-1, maximum=100_000)
        if limit < 1:
            raise row.error("max_instance_per_node", f"must be {NO_LIMIT} (any number) or at least 1, got {limit}")
        at_most = AtMost(limit, of=((APP_LABEL, app),))
        return self._constraints.setdefault((app, str(limit)), Constraints(at_most=(at_most,)))


def _times(row: Row) -> tuple[float, float | None, float | None]:
    """(creation, scheduling or None for never, deletion or None for after the end)."""
    from_before = not row["creation_time"]
    created = 0.0 if from_before else row.seconds("creation_time")
    scheduled: float | None = None
    if row["scheduled_time"]:
        scheduled = row.seconds("scheduled_time", minimum=created)
    elif from_before:
        scheduled = 0.0
    if not row["deletion_time"]:
        return created, scheduled, None
    deleted = row.seconds("deletion_time", minimum=created)
    if scheduled is not None and deleted < scheduled:
        raise row.error("deletion_time", f"must not be before scheduled_time ({scheduled:g}), got {deleted:g}")
    return created, scheduled, deleted


def _demand(row: Row) -> Resources:
    demand = Resources(
        cpu_millicores=round(row.number("cpu_request", maximum=1e6) * 1000),
        gpu_millis=round(row.number("gpu_request", maximum=1024) * GPU_MILLIS),
        memory_bytes=round(row.number("memory_request", maximum=2.0**23) * GIB),
        bandwidth_bytes_per_second=round(row.number("rdma_request", maximum=100) * RNIC_BYTES_PER_SECOND / 100),
        disk_bytes=round(row.number("disk_request", maximum=2.0**23) * GIB),
    )
    violation = demand.gpu_violation()
    if violation is not None:
        raise row.error("gpu_request", "must be at most 1 (a part of one GPU) or whole")
    if demand == NOTHING:
        raise row.error("cpu_request", "is 0, and so is everything else: an instance must ask for something")
    return demand

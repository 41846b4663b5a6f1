"""Alibaba's GPU-sharing cluster trace of 2023 ("openb"): nodes, and pods: jobs of one replica each.

    nodes  sn, cpu_milli, memory_mib, gpu, model
    pods   name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec, qos, creation_time, deletion_time, scheduled_time
           (pod_phase and further columns are not read)

cpu_milli is 1/1000 core, memory_mib MiB, gpu a count, gpu_milli 1/1000 of each GPU (below 1000 only with num_gpu 1),
gpu_spec "A|B" a choice of models (empty: any), times are seconds since the start of the trace, scheduled_time is empty
for a pod that never got a place. Source: Weng et al., "Beware of Fragmentation", USENIX ATC 2023.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.traces.errors import TraceError
from simulations.traces.rows import Row, find_file, read_rows, require_unique
from simulations.traces.window import DAY, Window
from simulations.workload import Arrival, Workload

MIB = 2**20
CPU_FLAVOR = "cpu"
UNKNOWN_QUEUE = "unknown"
NODE_FILES = ("openb_node_list_all_node.csv",)
POD_FILES = ("openb_pod_list_default.csv",)
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = (
    "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos",
    "creation_time", "deletion_time", "scheduled_time",
)  # fmt: skip
KEPT_TO_THE_END = frozenset({"ls", "guaranteed"})
"""Classes of service whose pods are not stopped once they run: latency-sensitive services, and guaranteed ones."""

DEFAULT_WINDOW = Window(start=109 * DAY)
"""All but 17 of the 8,152 pods arrive after day 109; before, there is nothing to schedule."""

NOTES = (
    "A flavor is a GPU model, or 'cpu' for nodes without GPUs; nodes of one flavor differ in size.",
    "A pod accepts every flavor its gpu_spec names, or every GPU model if it names none; without a GPU, every flavor.",
    "Flavors without a node that a pod fits on are left out; throughput is 1 on the others, as the trace has none.",
    "Queues are the classes of service (qos), each with weight 1: the trace names no user.",
    "LS and Guaranteed pods are not preemptible, the others are.",
    "Run time is deletion minus scheduled time, whatever the pod's phase.",
    "Pods that were never scheduled have no run time; they are dropped and counted as never_scheduled.",
    "The trace has no bandwidth and no disk.",
)


def read(path: Path, window: Window = DEFAULT_WINDOW, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read the folder of the trace, or a pod list with the node list beside it. Raises TraceError.

    Virtual time is seconds since the start of the trace.
    """
    pods = path if path.is_file() else find_file(path, POD_FILES)
    nodes = _read_nodes(find_file(pods.parent, NODE_FILES))
    reader = _PodReader(nodes, window, restart_cost_seconds)
    for row in read_rows(pods, POD_COLUMNS):
        reader.take(row)
    if not reader.rows:
        raise TraceError(pods, "has a header and no pods")
    arrivals = sorted(reader.arrivals, key=lambda arrival: arrival.time)
    queues = sorted({arrival.spec.queue for arrival in arrivals} or {UNKNOWN_QUEUE})
    notes = (*NOTES, window.description, f"Stopping a pod costs it {restart_cost_seconds:g} s of work.")
    return Workload(
        name=f"openb {pods.name.removesuffix('.gz').removesuffix('.csv')}",
        start=window.start,
        nodes=nodes,
        queues=tuple(Queue(name) for name in queues),
        arrivals=tuple(arrivals),
        notes=notes,
        dropped=dict(sorted(reader.dropped.items())),
    )


def _read_nodes(file: Path) -> tuple[Node, ...]:
    nodes = []
    seen: dict[str, int] = {}
    for row in read_rows(file, NODE_COLUMNS):
        name = require_unique(row, "sn", seen)
        gpus = row.integer("gpu", maximum=1024)
        model = row["model"]
        if gpus and not model:
            raise row.error("model", f"is empty, but the node has {gpus} GPUs; name their model")
        node = Node(
            name=name,
            flavor=model if gpus else CPU_FLAVOR,
            capacity=Resources(
                cpu_millicores=row.integer("cpu_milli", minimum=1),
                gpu_millis=gpus * GPU_MILLIS,
                memory_bytes=row.integer("memory_mib", minimum=1, maximum=2**33) * MIB,
            ),
        )
        for violation in node.violations():
            raise row.error("model" if violation.field == "flavor" else "sn", violation.description)
        nodes.append(node)
    if not nodes:
        raise TraceError(file, "has a header and no nodes")
    return tuple(sorted(nodes, key=lambda node: node.name))


class _PodReader:
    """Turns pod rows into arrivals, and counts those that cannot be replayed."""

    def __init__(self, nodes: tuple[Node, ...], window: Window, restart_cost_seconds: float) -> None:
        self.arrivals: list[Arrival] = []
        self.dropped: Counter[str] = Counter()
        self.rows = 0
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._seen: dict[str, int] = {}
        self._shapes: dict[str, set[Resources]] = {}
        for node in nodes:
            self._shapes.setdefault(node.flavor, set()).add(node.capacity)
        self._configurations: dict[tuple[Resources, str], tuple[Configuration, ...]] = {}

    def take(self, row: Row) -> None:
        """Check one row, window or not, and keep it if it is to be replayed."""
        self.rows += 1
        name = require_unique(row, "name", self._seen)
        configurations = self._ways_to_run(row)
        created = row.seconds("creation_time")
        deleted = row.seconds("deletion_time", minimum=created)
        if not row["scheduled_time"]:
            if self._window.start <= created < self._window.end:
                self.dropped["never_scheduled"] += 1
            return
        scheduled = row.seconds("scheduled_time", minimum=created)
        if deleted < scheduled:
            raise row.error("deletion_time", f"must not be before scheduled_time ({scheduled:g}), got {deleted:g}")
        timing = self._timing(created, scheduled, deleted)
        if timing is None:
            return
        time, duration = timing
        if duration <= 0:
            self.dropped["no_run_time"] += 1
        elif not configurations:
            self.dropped["fits_no_node"] += 1
        else:
            self.arrivals.append(Arrival(time, self._spec(row, name, configurations), duration))

    def _timing(self, created: float, scheduled: float, deleted: float) -> tuple[float, float] | None:
        """(arrival, run time) inside the window; None outside."""
        window = self._window
        if window.start <= created < window.end:
            return created, deleted - scheduled
        if created < window.start and window.carry_in and scheduled <= window.start < deleted:
            return window.start, deleted - window.start
        return None

    def _spec(self, row: Row, name: str, configurations: tuple[Configuration, ...]) -> JobSpec:
        queue = row["qos"].lower() or UNKNOWN_QUEUE
        for violation in Queue(queue).violations():
            raise row.error("qos", f"is not usable as a queue: {violation.description}")
        return JobSpec(
            queue=queue,
            configurations=configurations,
            name=name,
            preemptible=queue not in KEPT_TO_THE_END,
            restart_cost_seconds=self._restart_cost_seconds,
        )

    def _ways_to_run(self, row: Row) -> tuple[Configuration, ...]:
        demand = _demand(row)
        choice = row["gpu_spec"]
        key = (demand, choice)
        if key not in self._configurations:
            self._configurations[key] = tuple(
                Configuration(flavor, 1, demand)
                for flavor in self._accepted(row, demand, choice)
                if any(demand.fits_in(capacity) for capacity in self._shapes[flavor])
            )
        return self._configurations[key]

    def _accepted(self, row: Row, demand: Resources, choice: str) -> list[str]:
        """Flavors the pod would run on, if it fits."""
        if not demand.gpu_millis:
            return sorted(self._shapes)
        models = sorted(set(self._shapes) - {CPU_FLAVOR})
        if choice in ("", "nan"):
            return models
        named = [model.strip() for model in choice.split("|")]
        for model in named:
            if model not in models:
                raise row.error(
                    "gpu_spec", f"names the unknown GPU model {model!r}; the nodes have {', '.join(models)}"
                )
        return sorted(set(named))


def _demand(row: Row) -> Resources:
    gpus = row.integer("num_gpu", maximum=1024)
    part = row.integer("gpu_milli", maximum=GPU_MILLIS)
    if gpus == 0 and part:
        raise row.error("gpu_milli", f"must be 0 when num_gpu is 0, got {part}")
    if gpus == 1 and not part:
        raise row.error("gpu_milli", "must be 1 to 1000 when num_gpu is 1, got 0")
    if gpus > 1 and part != GPU_MILLIS:
        raise row.error(
            "gpu_milli", f"must be {GPU_MILLIS} when num_gpu is {gpus}: only one GPU can be shared; got {part}"
        )
    demand = Resources(
        cpu_millicores=row.integer("cpu_milli"),
        gpu_millis=gpus * part,
        memory_bytes=row.integer("memory_mib", maximum=2**33) * MIB,
    )
    if demand == Resources():
        raise row.error("cpu_milli", "is 0, and so are memory_mib and num_gpu: a pod must ask for something")
    return demand

"""What a job of Slurm asked for, and on which flavors it may run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from allocator.domain.job import Configuration
from allocator.domain.resources import GPU_MILLIS, NOTHING, Resources
from simulations.traces import slurm_words as words
from simulations.traces.gangs import room
from simulations.traces.rows import MOST_NODES, Row, shown
from simulations.traces.slurm_nodes import Cluster

_COLUMNS = ("ReqTRES", "AllocTRES", "ReqCPUS", "NCPUS", "AllocCPUS", "ReqNodes", "NNodes", "ReqMem", "Partition")
_GPU = "gres/gpu"
_ANY = ""


class Demands:
    """The ways to run of jobs; equal jobs share them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sizes: dict[str, Counter[Resources]] = {}
        for node in cluster.nodes:
            self._sizes.setdefault(node.flavor, Counter())[node.capacity] += 1
        self._known: dict[tuple[str, ...], tuple[Configuration, ...] | str] = {}
        self._alike: dict[tuple[Configuration, ...], tuple[Configuration, ...]] = {}

    def ways(self, row: Row) -> tuple[Configuration, ...] | str:
        """One for each flavor with room for the gang, or why there is none. Raises TraceError."""
        key = tuple([row.get(column) for column in _COLUMNS])
        if key not in self._known:
            self._known[key] = self._found(row)
        return self._known[key]

    def _found(self, row: Row) -> tuple[Configuration, ...] | str:
        asked, column = _tres(row)
        cpus = _cpus(row, asked, column)
        nodes = _nodes(row, asked, column)
        memory = _memory(row, asked, column, cpus, nodes)
        models = _gpus(row, asked, column)
        gpus = max(models.pop(_ANY, 0), sum(models.values()))
        demand = Resources(
            cpu_millicores=-(-cpus // nodes) * 1000,
            gpu_millis=-(-gpus // nodes) * GPU_MILLIS,
            memory_bytes=-(-memory // nodes),
        )
        if demand == NOTHING:
            return "asks_for_nothing"
        flavors = list(self._flavors(row, frozenset(models)))
        if not flavors:
            return "partition_unknown"
        fitting = tuple(
            Configuration(flavor, nodes, demand)
            for flavor in flavors
            if sum(count * room(capacity, demand) for capacity, count in self._sizes[flavor].items()) >= nodes
        )
        return self._alike.setdefault(fitting, fitting) if fitting else "fits_no_node"

    def _flavors(self, row: Row, models: frozenset[str]) -> Iterator[str]:
        """Those of the job's partitions, all if it or the nodes name none, that have one of the models it named."""
        wanted = {each for each in row.get("Partition").split(",") if each}
        for name, flavor in self._cluster.flavors.items():
            if wanted and self._cluster.partitions and not wanted & flavor.partitions:
                continue
            if not models or models <= flavor.models or _ANY in flavor.models:
                yield name


def _tres(row: Row) -> tuple[dict[str, str], str]:
    """What it asked for if that is told, otherwise what it was given; and in which column."""
    for column in ("ReqTRES", "AllocTRES"):
        text = row.get(column)
        if text:
            try:
                return words.tres(text), column
            except ValueError as error:
                raise row.error(column, f"{error}; got {shown(text)}") from None
    return {}, ""


def _count(row: Row, column: str, text: str, most: int) -> int:
    if not (text.isdecimal() and len(text) <= 9 and int(text) <= most):
        raise row.error(column, f"must hold whole numbers of at most {most:,}, got {shown(text)}")
    return int(text)


def _cpus(row: Row, asked: dict[str, str], column: str) -> int:
    if "cpu" in asked:
        return _count(row, column, asked["cpu"], 10**9)
    for name in ("ReqCPUS", "NCPUS", "AllocCPUS"):
        if row.get(name):
            return row.integer(name, maximum=10**9)
    return 0


def _nodes(row: Row, asked: dict[str, str], column: str) -> int:
    """At least 1. NNodes may be a range or shortened (2K): then the smaller number."""
    if "node" in asked:
        return max(1, _count(row, column, asked["node"], MOST_NODES))
    for name in ("ReqNodes", "NNodes"):
        if row.get(name):
            return max(1, row.integer(name, maximum=MOST_NODES))
    return 1


def _memory(row: Row, asked: dict[str, str], column: str, cpus: int, nodes: int) -> int:
    """Bytes altogether; 0 also where it wants all that the nodes have."""
    source, text = (column, asked["mem"]) if "mem" in asked else ("ReqMem", row.get("ReqMem"))
    if not text:
        return 0
    try:
        return words.memory(text, cpus, nodes)
    except ValueError as error:
        raise row.error(source, f"{error}; got {shown(text)}") from None


def _gpus(row: Row, asked: dict[str, str], column: str) -> Counter[str]:
    """By model, the number of any model under ""."""
    found: Counter[str] = Counter()
    for name, amount in asked.items():
        if name == _GPU or name.startswith(f"{_GPU}:"):
            found[name.removeprefix(_GPU).removeprefix(":").lower()] += _count(row, column, amount, 10**6)
    return found

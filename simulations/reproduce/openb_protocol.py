"""The published placement protocol: a trace's nodes and replicas, arriving one after the other until 130 % is asked.

Weng et al., "Beware of Fragmentation" (USENIX ATC 2023), and the experiments of the simulator that came with it: 1,213
GPU nodes, empty; the replicas of a workload in random order, then random copies of them, until the GPUs asked are 130 %
of those there (a workload above that is thinned at random); nobody leaves; what fits nowhere when it comes is dropped.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allocator.placement.fragmentation import Workload, typical
from allocator.placement.space import Booleans, Integers

FOLDER = "alibaba-openb-2023"
"""In the folder of traces."""
WORKLOADS = (
    "default", "cpu050", "cpu100", "cpu200", "gpushare40", "gpuspec10", "gpuspec20", "multigpu20", "multigpu30",
)  # fmt: skip
"""Those for which results are published."""
LOAD = 1.3
CORES, MEMORY = 0, 1


class Cluster(NamedTuple):
    """N nodes. Resources are thousandths of a core and MiB."""

    free: Integers
    """(N, 2)"""
    devices: Integers
    """(N, G) milli-GPUs left."""
    flavor: Integers
    """(N,) number of the GPU model."""

    @property
    def millis(self) -> int:
        return int(self.devices.sum())

    @property
    def largest(self) -> Integers:
        """(F, 2) of any node of the flavor."""
        flavors = range(int(self.flavor.max()) + 1)
        return np.array([self.free[self.flavor == flavor].max(axis=0) for flavor in flavors])


def read_cluster(trace: Path) -> tuple[Cluster, dict[str, int]]:
    """The nodes with GPUs, and the number of each GPU model."""
    with (trace / "openb_node_list_gpu_node.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    models = {model: number for number, model in enumerate(sorted({row["model"] for row in rows}))}
    gpus = np.array([int(row["gpu"]) for row in rows])
    devices = np.where(np.arange(gpus.max()) < gpus[:, None], 1000, 0)
    free = np.array([(int(row["cpu_milli"]), int(row["memory_mib"])) for row in rows])
    return Cluster(free, devices, np.array([models[row["model"]] for row in rows])), models


def read_replicas(trace: Path, workload: str, models: dict[str, int]) -> tuple[Workload, Integers]:
    """The kinds of replicas, and the kind of each replica in the file's order. Worth: milli-GPUs."""
    with gzip.open(trace / f"openb_pod_list_{workload}.csv.gz", "rt") as lines:
        rows = [_row(row, models) for row in csv.DictReader(lines)]
    kinds = sorted(set(rows))
    number = {kind: index for index, kind in enumerate(kinds)}
    popularity = Counter(rows)
    return workload_of(kinds, [popularity[kind] for kind in kinds]), np.array([number[row] for row in rows])


Kind = tuple[int, int, int, int, tuple[bool, ...]]
"""Thousandths of a core, MiB, whole GPUs, milli-GPUs of one, and for each flavor whether it will do."""


def _row(row: dict[str, str], models: dict[str, int]) -> Kind:
    count, millis = int(row["num_gpu"]), int(row["gpu_milli"])
    whole, part = (count, 0) if millis == 1000 or count == 0 else (0, millis)
    asked = row.get("gpu_spec") or ""
    eligible = tuple(not asked or model in asked.split("|") for model in models)
    return int(row["cpu_milli"]), int(row["memory_mib"]), whole, part if count else 0, eligible


def workload_of(kinds: list[Kind], popularity: list[int]) -> Workload:
    """As arrays, each kind worth its milli-GPUs."""
    cores, memory, whole, part, eligible = (list(column) for column in zip(*kinds, strict=True))
    devices, parts = np.array(whole, np.int64), np.array(part, np.int64)
    amounts = np.array([cores, memory], np.int64).T
    will_do: Booleans = np.array(eligible, np.bool_)
    return Workload(amounts, devices, parts, np.array(popularity, np.int64), devices * 1000 + parts, will_do)


def without_memory(workload: Workload) -> Workload:
    """The kinds by what the published fragmentation looks at (cores, GPUs, models), the typical 95 % of them."""
    counts: Counter[Kind] = Counter()
    for row in range(len(workload.part)):
        eligible = tuple(bool(will_do) for will_do in workload.eligible[row])
        whole, part = int(workload.devices[row]), int(workload.part[row])
        counts[int(workload.amounts[row, CORES]), 0, whole, part, eligible] += int(workload.popularity[row])
    kinds = sorted(counts)
    return typical(workload_of(kinds, [counts[kind] for kind in kinds]))


def arrivals(replicas: Integers, workload: Workload, capacity: int, seed: int) -> Integers:
    """Kinds in the order in which they come, until `LOAD` times `capacity` milli-GPUs are asked."""
    random = np.random.default_rng(seed)
    order = random.permutation(replicas)
    asked, each = int(workload.value[order].sum()), workload.value
    target = LOAD * capacity
    keep = list(order)
    while asked > target:
        asked -= int(each[keep.pop(int(random.integers(len(keep))))])
    thinned = len(keep) < len(order)
    while not thinned:
        kind = int(replicas[random.integers(len(replicas))])
        if asked + int(each[kind]) > target:
            break
        asked += int(each[kind])
        keep.append(kind)
    return np.array(keep, np.int64)


def shuffled(cluster: Cluster, seed: int) -> Cluster:
    """The nodes in an order that the seed decides: ties go to the first, and no order of nodes is the right one."""
    order = np.random.default_rng((seed, 1)).permutation(len(cluster.flavor))
    return Cluster(*(array[order] for array in cluster))


def published(trace: Path) -> dict[tuple[str, str], float]:
    """Mean percentage of GPUs allocated at 130 %, by (workload, policy)."""
    with (trace / "reference_fgd_simulator.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return {
        (row["workload"].removeprefix("openb_pod_list_"), row["policy"][3:]): float(row["mean"])
        for row in rows
        if row["metric"] == "gpu_allocation_pct" and row["arrived_gpu_request_pct"] == "130"
    }

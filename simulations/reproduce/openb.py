"""How full a cluster gets by three rules of placement: the published protocol of Alibaba's GPU-sharing trace.

Random node and device; best fit; and fragmentation gradient descent, as published (Weng et al., Beware of
Fragmentation, USENIX ATC 2023). Means over the ten seeds of the publication, with our own generator.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allocator.placement.fragmentation import Workload
from allocator.placement.prospects import prospects
from allocator.placement.space import Integers
from simulations.reproduce import openb_protocol as protocol
from simulations.reproduce.openb_arriving import BEST_FIT, DESCENT, RANDOM, compiled
from simulations.reproduce.table import POINTS, Reproduction, Row

POLICIES = {"random": (RANDOM, "Random"), "best-fit": (BEST_FIT, "BestFit"), "fgd": (DESCENT, "FGD")}
"""Number of the kernel's rule and name in the publication."""
FIRST_SEED, SEEDS = 42, 10
ALLOWED = 0.5
"""Points: one seed differs from another by about 0.3."""


def reproduce(traces: Path, *, seeds: int = SEEDS, workloads: Sequence[str] = protocol.WORKLOADS) -> Reproduction:
    """`traces` holds the folder of the trace."""
    begin, folder = time.perf_counter(), traces / protocol.FOLDER
    cluster, models = protocol.read_cluster(folder)
    published = protocol.published(folder)
    rows = []
    for name in workloads:
        workload, replicas = protocol.read_replicas(folder, name, models)
        found = _allocated(cluster, workload, replicas, range(FIRST_SEED, FIRST_SEED + seeds))
        for policy, percent in found.items():
            expected = published[name, POLICIES[policy][1]]
            rows.append(Row((name, policy), expected, percent, ALLOWED, POINTS))
    return Reproduction(
        "openb",
        f"GPUs allocated when {protocol.LOAD:.0%} were asked for, mean of {seeds} seeds",
        "Weng et al., Beware of Fragmentation, USENIX ATC 2023, and the results that came with its simulator",
        ("workload", "placement"),
        "% of GPUs",
        tuple(rows),
        time.perf_counter() - begin,
    )


def _allocated(
    cluster: protocol.Cluster, workload: Workload, replicas: Integers, seeds: Sequence[int]
) -> dict[str, float]:
    """Mean percentage of GPUs by policy."""
    place_all = compiled()["place_all"]
    typical = protocol.without_memory(workload)
    tables = prospects(workload, cluster.largest, cluster.devices.shape[1])
    found: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    for seed in seeds:
        nodes = protocol.shuffled(cluster, seed)
        order = protocol.arrivals(replicas, workload, cluster.millis, seed)
        chances = np.random.default_rng((seed, 2)).random((len(order), 2))
        for name, (policy, _) in POLICIES.items():
            free, devices = nodes.free.copy(), nodes.devices.copy()
            place_all(policy, free, devices, nodes.flavor, order, workload, typical, tables, chances)
            found[name].append(100.0 * (1.0 - int(devices.sum()) / cluster.millis))
    return {name: float(np.mean(values)) for name, values in found.items()}

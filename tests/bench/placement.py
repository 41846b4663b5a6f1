"""Placement on the published protocol of `openb`: percent of all GPUs allocated at the end, against published results.

Policies: random; best fit; Fragmentation Gradient Descent as published; and prospects, our own. "in proportion" is the
percentage up to which every arrival could be accepted at best: a linear program that packs parts into devices, without
processors and memory (a bound on what can be had without turning away awkward sizes, not on what can be had at all).

    ALLOCATOR_TRACES=path   the folder that holds alibaba-openb-2023; without it there is nothing to measure
    BENCH_SEEDS=10          how many seeds, from 42 as in the publication; the score was chosen on others
    BENCH_ONLY=default,...  workloads
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.optimize import linprog

from allocator.placement.fragmentation import Workload
from allocator.placement.prospects import prospects
from simulations.reproduce import openb_protocol as openb
from simulations.reproduce.openb_arriving import BEST_FIT, DESCENT, PROSPECTS, RANDOM, compiled
from simulations.reproduce.openb_protocol import Cluster

POLICIES = {"random": RANDOM, "best fit": BEST_FIT, "descent": DESCENT, "prospects": PROSPECTS}
PUBLISHED = {"random": "Random", "best fit": "BestFit", "descent": "FGD"}
FIRST_SEED = 42
_SMALLEST = 100


def measure() -> Table:
    """The table; a title that says what is missing where there is no trace."""
    trace = folder()
    title = f"Placement: GPUs allocated at {openb.LOAD:.0%} load, percent (published)"
    if trace is None:
        return Table(title=f"{title}: ALLOCATOR_TRACES names no folder with {openb.FOLDER}", title_justify="left")
    only = os.environ.get("BENCH_ONLY", "")
    unknown = set(filter(None, only.split(","))) - set(openb.WORKLOADS)
    if unknown:
        raise ValueError(f"BENCH_ONLY: must be some of {', '.join(openb.WORKLOADS)}, with commas; got {only}")
    workloads = [name for name in openb.WORKLOADS if not only or name in only.split(",")]
    seeds = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("BENCH_SEEDS", "10")))
    return _table(title, trace, workloads, seeds)


def folder() -> Path | None:
    """Where the trace is: a folder in the one that ALLOCATOR_TRACES names; None where that is unset or has none."""
    root = os.environ.get("ALLOCATOR_TRACES")
    found = Path(root) / openb.FOLDER if root else None
    return found if found and found.is_dir() else None


def _table(title: str, trace: Path, workloads: Sequence[str], seeds: Sequence[int]) -> Table:
    table = Table(title=f"{title}, {len(seeds)} seeds from {FIRST_SEED}", title_justify="left")
    for column in ("workload", *POLICIES, "prospects - descent", "in proportion", "us each: descent", "prospects"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    cluster, models = openb.read_cluster(trace)
    reference = openb.published(trace)
    means = []
    for name in workloads:
        workload, replicas = openb.read_replicas(trace, name, models)
        found, seconds = run(cluster, workload, replicas, seeds)
        mean = {policy: float(np.mean(values)) for policy, values in found.items()}
        cells = [
            f"{mean[policy]:.2f} ± {np.std(values):.2f}"
            + (f" ({reference[name, PUBLISHED[policy]]:.2f})" if policy in PUBLISHED else "")
            for policy, values in found.items()
        ]
        row = (name, *cells, f"{mean['prospects'] - mean['descent']:+.2f}", f"{in_proportion(cluster, workload):.2f}")
        table.add_row(*row, f"{seconds['descent'] * 1e6:.0f}", f"{seconds['prospects'] * 1e6:.0f}")
        means.append([*mean.values(), mean["prospects"] - mean["descent"]])
    average = np.mean(means, axis=0)
    table.add_section()
    table.add_row("mean", *(f"{value:.2f}" for value in average[:-1]), f"{average[-1]:+.2f}")
    return table


def run(
    cluster: Cluster, workload: Workload, replicas: np.ndarray[tuple[int], np.dtype[np.int64]], seeds: Sequence[int]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """By policy, the percentages of GPUs allocated, one for each seed, and the seconds per arrival."""
    place_all = compiled()["place_all"]
    tables = prospects(workload, cluster.largest, cluster.devices.shape[1])
    typical = openb.without_memory(workload)
    found: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    seconds = dict.fromkeys(POLICIES, 0.0)
    for seed in seeds:
        nodes = openb.shuffled(cluster, seed)
        order = openb.arrivals(replicas, workload, cluster.millis, seed)
        chances = np.random.default_rng((seed, 2)).random((len(order), 2))
        for name, policy in POLICIES.items():
            free, devices = nodes.free.copy(), nodes.devices.copy()
            begin = time.process_time()
            place_all(policy, free, devices, nodes.flavor, order, workload, typical, tables, chances)
            seconds[name] += (time.process_time() - begin) / len(order) / len(seeds)
            found[name].append(100.0 * (1.0 - int(devices.sum()) / cluster.millis))
    return found, seconds


def in_proportion(cluster: Cluster, workload: Workload) -> float:
    """Percent of the GPUs that arrivals in proportion to popularity ask for when they just fit, devices being all.

    maximize a, such that patterns of parts in one device hold a times the parts of each size, and take no more devices
    than whole GPUs leave. Parts below a tenth of a device take no room, which can only raise it.
    """
    sizes = sorted({int(part) for part in workload.part if part >= _SMALLEST}, reverse=True)
    demand = np.array([workload.popularity[workload.part == size].sum() for size in sizes], float)
    patterns = np.array(_patterns(sizes, 1000)).T.reshape(len(sizes), -1)
    whole = float((workload.popularity * workload.devices).sum())
    matrix = np.vstack(
        [
            np.hstack([demand[:, None], -patterns]),
            np.hstack([[whole], np.ones(patterns.shape[1])]),
        ]
    )
    most = np.r_[np.zeros(len(sizes)), cluster.millis / 1000]
    answer = linprog(np.r_[-1.0, np.zeros(patterns.shape[1])], A_ub=matrix, b_ub=most)
    assert answer.x is not None, "nothing placed is feasible, and the devices are a bound"
    return float(100.0 * answer.x[0] * (workload.popularity * workload.value).sum() / cluster.millis)


def _patterns(sizes: Sequence[int], left: int) -> list[tuple[int, ...]]:
    """All ways to fill `left` to which nothing can be added."""
    if not sizes:
        return [()]
    size, *smaller = sizes
    found = []
    for count in range(left // size, -1, -1):
        rest = left - count * size
        found += [(count, *way) for way in _patterns(smaller, rest) if smaller or rest < size]
    return found

"""Folders of results for the tests of the report: a few small replays, once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from allocator.domain.policy import Policy
from simulations.columns import Table
from simulations.output import write_results
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.workload import Arrival
from tests.simulations.worlds import node, on, spec, workload

HOSTILE = '<script>alert("&amp;")</script>'


def made_results(folder: Path, seeds: tuple[int, ...] = (1, 2, 3), horizon: float = math.inf) -> Path:
    """Under `folder`, a sweep of two policies over seeds: `patient/1`, `hasty/1`, and so on."""
    for seed in seeds:
        arrivals = [
            Arrival(
                40.0 * number,
                spec(on(cores=2 + seed % 2, gpus=1), queue=("main", "other")[number % 2]),
                300.0 + 20 * seed,
            )
            for number in range(20)
        ]
        world = workload([node("a"), node("b")], arrivals, ("main", "other"))
        patient = Policy(minimum_run_seconds=600.0)
        for name, policy in (("patient", patient), ("hasty", Policy(minimum_run_seconds=0.0, hysteresis_seconds=0.0))):
            options = ReplayOptions(policy, interval_seconds=60.0, horizon_seconds=horizon, seed=seed, timings=False)
            result = replay(world, options)
            write_results(folder / name / str(seed), result.tables, result.summary)
    return folder


def renamed(result: ReplayResult, old: str, new: str) -> tuple[list[Table], dict[str, Any]]:
    """Its tables and summary with a queue of another name, such as no program of ours would accept."""
    tables = []
    for table in result.tables:
        values = [table.values(column.name) for column in table.columns]
        if table.has("queue"):
            index = [column.name for column in table.columns].index("queue")
            values[index] = [new if name == old else str(name) for name in values[index]]
        tables.append(Table.of(table.name, table.columns, values))
    summary = dict(result.summary)
    summary["queues"] = {new if name == old else name: found for name, found in summary["queues"].items()}
    summary["workload"] = {**summary["workload"], "name": new, "notes": [new], "assumptions": [new]}
    summary["run"] = {**summary["run"], "scheduler": new}
    return tables, summary


def hostile_results(folder: Path) -> Path:
    """Two replays in which every name is a script, and job names too."""
    for number, seconds in enumerate((100.0, 200.0)):
        jobs = [replace(spec(on(cores=8), queue="main"), name=HOSTILE), spec(on(cores=8), queue="other")]
        world = workload(
            [node("a")], [Arrival(5.0 * at, job, seconds) for at, job in enumerate(jobs)], ("main", "other")
        )
        result = replay(world, ReplayOptions(seed=number, timings=False))
        write_results(folder / f"{number}<b>", *renamed(result, "main", HOSTILE))
    return folder


def texts(document: str) -> Iterator[str]:
    """What is between tags."""
    for piece in document.split(">")[1:]:
        yield piece.partition("<")[0]

"""EASY backfilling by another simulator: the start of each of 801 jobs on 32 machines, as Batsim has them.

The variant there keeps the first waiting job's place on named machines, the lowest-numbered ones that are free when it
could start, and always takes the lowest-numbered free ones (`easy-pinned`). Rounds follow each event at once.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

from simulations.replay import ReplayOptions, replay
from simulations.reproduce.table import EXACT, POINTS, Reproduction, Row
from simulations.traces import batsim

FOLDER, WORKLOAD, SCHEDULE = "batsim-easy-reference", "medium_late.json", "easy_out_jobs.csv"
SCHEDULER = "easy-pinned"
SAME_SECONDS = 1e-3
"""Starts are written with six digits."""


def reproduce(traces: Path) -> Reproduction:
    """`traces` holds the folder of the reference."""
    begin = time.perf_counter()
    with (traces / FOLDER / SCHEDULE).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    published = {row["job_id"]: float(row["starting_time"]) for row in rows}
    waits = sum(float(row["waiting_time"]) for row in rows) / len(rows)
    workload = batsim.read(traces / FOLDER / WORKLOAD)
    jobs = replay(workload, ReplayOptions(scheduler=SCHEDULER, interval_seconds=0.0, timings=False)).table("jobs")
    starts = dict(zip(map(str, jobs.values("name")), jobs.numbers("first_start_s").tolist(), strict=True))
    same = sum(abs(starts.get(job, float("nan")) - start) <= SAME_SECONDS for job, start in published.items())
    return Reproduction(
        "easy",
        "EASY backfilling on 32 machines: starts that are equal, and the mean wait in seconds",
        "Dutot et al., Batsim, JSSPP 2016; its answer in the examples of evalys",
        ("what",),
        "jobs, s",
        (
            Row(("equal starts",), len(published), same, 0.0, EXACT),
            Row(("mean wait",), waits, float(jobs.numbers("wait_s").mean()), SAME_SECONDS, POINTS),
        ),
        time.perf_counter() - begin,
    )

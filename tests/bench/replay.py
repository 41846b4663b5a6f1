"""How long whole replays take: reading the trace, every round, every check, and writing the results.

Each is one `python -m simulations replay` in a process of its own, one after another. Wall seconds tell little on a
machine that does other things too; CPU seconds, user and system together, stand beside them. A replay's decisions and
checks run on one core; only its few parallel kernels could use another, and they do not (see `Makefile`).

ALLOCATOR_TRACES names the folder of the traces (folders as in `simulations sources`); what is not there is left out.
  BENCH_ONLY=gavel,fifo    replays whose trace or scheduler is named; all if nothing is
  BENCH_JOBS=10000         of each trace only the first so many jobs: no goal is about that
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table

GIB = 2**30
MOST_MEMORY = 4 * GIB


@dataclass(frozen=True, slots=True)
class Case:
    """One replay. `goal` is in seconds; None where none was set."""

    trace: str
    folder: str
    scheduler: str
    arguments: tuple[str, ...] = ()
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a whole process."""

    seconds: float
    cpu_seconds: float
    memory: int
    """Most bytes that were resident."""
    jobs: int
    rounds: int
    ending: str


GAVEL, PHILLY, RICC, GOOGLE = "gavel-2020", "philly-2017", "swf/RICC-2010-2.swf.gz", "google-2011"
BY_EVENTS = ("--interval", "0")
BY_TURNS = ("--interval", "360")
SEVEN_HOURS = ("--horizon", "7", "--interval", "300")
CASES = (
    Case("gavel", GAVEL, "fifo", BY_EVENTS, 5.0),
    Case("gavel", GAVEL, "las", BY_TURNS, 5.0),
    Case("gavel", GAVEL, "max-min", BY_TURNS, 5.0),
    Case("gavel", GAVEL, "allocator", BY_TURNS, 5.0),
    Case("philly", PHILLY, "fifo", BY_EVENTS, 180.0),
    Case("philly", PHILLY, "las", (), 180.0),
    Case("philly", PHILLY, "allocator", (), 180.0),
    Case("swf", RICC, "fifo", BY_EVENTS, 600.0),
    Case("swf", RICC, "easy", BY_EVENTS, 600.0),
    Case("swf", RICC, "allocator", (), 600.0),
    Case("google", GOOGLE, "allocator", SEVEN_HOURS, 600.0),
)


def measure() -> RenderableType:
    """The table, as far as the traces are there."""
    root = os.environ.get("ALLOCATOR_TRACES")
    if not root:
        return "replay: ALLOCATOR_TRACES names no folder of traces; nothing was measured"
    only = {name for name in os.environ.get("BENCH_ONLY", "").split(",") if name}
    jobs = int(os.environ.get("BENCH_JOBS", "0"))
    table = Table(title="Replays, whole", title_justify="left")
    for column in ("trace", "scheduler", "arguments"):
        table.add_column(column)
    for column in ("jobs", "rounds", "s", "CPU s", "jobs/s", "ms/round", "memory", "goal"):
        table.add_column(column, justify="right")
    err = Console(stderr=True)
    for case in CASES:
        path = Path(root) / case.folder
        wanted = only & {case.trace, case.scheduler}
        if (only and not wanted) or not path.exists():
            continue
        err.print(f"{case.trace}, {case.scheduler} ...")
        table.add_row(
            case.trace, case.scheduler, " ".join(case.arguments), *_figures(case, run(case, path, jobs), jobs)
        )
    return table


def _figures(case: Case, cost: Cost | None, jobs: int) -> tuple[str, ...]:
    if cost is None:
        return ("", "", "failed")
    goal = ""
    if case.goal is not None and not jobs:
        reached = cost.seconds <= case.goal and cost.memory <= MOST_MEMORY
        goal = f"{case.goal:g} s, {'reached' if reached else f'{cost.seconds / case.goal:.2g} times that'}"
    return (
        f"{cost.jobs:,}",
        f"{cost.rounds:,}",
        f"{cost.seconds:.1f}",
        f"{cost.cpu_seconds:.1f}",
        f"{cost.jobs / cost.seconds:,.0f}",
        f"{1000 * cost.cpu_seconds / max(1, cost.rounds):.2f}",
        f"{cost.memory / GIB:.2f} GiB",
        goal,
    )


def run(case: Case, path: Path, jobs: int = 0) -> Cost | None:
    """Replay it, and throw the results away; None if it failed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-replay-"))
    command = [sys.executable, "-m", "simulations", "replay", "--trace", case.trace, "--path", str(path)]
    command += ["--scheduler", case.scheduler, "--out", str(folder / "out"), "--json", *case.arguments]
    if jobs:
        command += ["--limit", str(jobs)]
    try:
        began = time.perf_counter()
        with (folder / "printed").open("wb") as printed:
            child = os.posix_spawn(
                command[0],
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, printed.fileno(), 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
            )
            _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status:
            return None
        summary = json.loads((folder / "out" / "summary.json").read_text())
    finally:
        shutil.rmtree(folder)
    return Cost(
        seconds,
        usage.ru_utime + usage.ru_stime,
        1024 * usage.ru_maxrss,
        summary["workload"]["jobs"],
        summary["rounds"]["count"],
        summary["run"]["ending"],
    )

"""How long whole replays take: reading the trace, every round, every check, and writing the results.

Each is one `python -m simulations replay` in a process of its own, one after another, so that memory is that of the row
alone. Wall seconds tell little on a machine that does other things too: goals are compared with CPU seconds, user and
system together, and with the most memory that was resident. A replay's decisions and checks run on one core; only its
few parallel kernels could use another, and they do not (see `Makefile`).

ALLOCATOR_TRACES names the folder of the traces (folders as in `simulations sources`); what is not there is left out.
  BENCH_ONLY=gavel,fifo    replays whose trace or scheduler is named; of `gavel/fifo` just this pair; all if nothing is
  BENCH_JOBS=10000         of each trace at most the first so many jobs: no goal is about that
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

MIB = 2**20
MOST_MEMORY = 4096 * MIB


PROGRAM = """
import atexit, re, sys
told = lambda: re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1]
atexit.register(lambda: print("", told(), sep="\\n", file=sys.stderr))
from simulations.__main__ import main
main()
"""
"""`python -m simulations`, which says at its end how much of its memory was resident at most, in KiB. What the system
says when a process has ended counts what its parent held when it began, too.
"""


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
FIRST_5000 = ("--limit", "5000")
CASES = (
    *(
        Case("gavel", GAVEL, scheduler, (*interval, *FIRST_5000), 5.0)
        for scheduler, interval in (
            ("fifo", BY_EVENTS),
            ("las", BY_TURNS),
            ("max-min", BY_TURNS),
            ("gavel-max-min", BY_TURNS),
            ("allocator", BY_TURNS),
        )
    ),
    Case("philly", PHILLY, "fifo", BY_EVENTS, 180.0),
    Case("philly", PHILLY, "las", (), 180.0),
    Case("philly", PHILLY, "allocator", (), 180.0),
    Case("swf", RICC, "fifo", BY_EVENTS, 600.0),
    Case("swf", RICC, "easy", BY_EVENTS, 600.0),
    Case("swf", RICC, "allocator", (), 600.0),
    Case("google", GOOGLE, "fifo", SEVEN_HOURS, 600.0),
    Case("google", GOOGLE, "allocator", SEVEN_HOURS, 600.0),
)


def measure() -> RenderableType:
    """The table, as far as the traces are there."""
    root = os.environ.get("ALLOCATOR_TRACES")
    if not root:
        return "replay: ALLOCATOR_TRACES names no folder of traces; nothing was measured"
    only = {name for name in os.environ.get("BENCH_ONLY", "").split(",") if name}
    jobs = int(os.environ.get("BENCH_JOBS", "0"))
    table = Table(title="Replays, whole: goals are of CPU seconds, and of 4,096 MiB", title_justify="left")
    for column in ("trace", "scheduler", "arguments"):
        table.add_column(column)
    for column in ("jobs", "rounds", "CPU s", "wall s", "ms/round", "peak MiB", "goal", ""):
        table.add_column(column, justify="right")
    err = Console(stderr=True)
    for case in CASES:
        path = Path(root) / case.folder
        wanted = only & {case.trace, case.scheduler, f"{case.trace}/{case.scheduler}"}
        if (only and not wanted) or not path.exists():
            continue
        err.print(f"{case.trace}, {case.scheduler} ...")
        cost = run(case, path, jobs)
        figures = ("failed",) if cost is None else _figures(case, cost, limited=bool(jobs))
        table.add_row(case.trace, case.scheduler, " ".join(case.arguments), *figures)
    return table


def _figures(case: Case, cost: Cost, *, limited: bool) -> tuple[str, ...]:
    return (
        f"{cost.jobs:,}",
        f"{cost.rounds:,}",
        f"{cost.cpu_seconds:.1f}",
        f"{cost.seconds:.1f}",
        f"{1000 * cost.cpu_seconds / max(1, cost.rounds):.2f}",
        f"{cost.memory / MIB:,.0f}",
        "" if case.goal is None else f"{case.goal:g} s",
        "" if case.goal is None or limited else _judged(case.goal, cost),
    )


def _judged(goal: float, cost: Cost) -> str:
    missed = [
        f"{part:.2g} times the {what}"
        for what, part in (("time", cost.cpu_seconds / goal), ("memory", cost.memory / MOST_MEMORY))
        if part > 1
    ]
    return ", ".join(missed) or "reached"


def run(case: Case, path: Path, jobs: int = 0) -> Cost | None:
    """Replay it, and throw the results away; None if it failed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-replay-"))
    command = [sys.executable, "-c", PROGRAM, "replay", "--trace", case.trace, "--path", str(path)]
    command += ["--scheduler", case.scheduler, "--out", str(folder / "out"), "--json", *case.arguments]
    if jobs:  # the last one of several limits is the one that counts
        command += ["--limit", str(jobs)]
    try:
        began = time.perf_counter()
        with (folder / "printed").open("wb") as printed, (folder / "told").open("wb") as told:
            child = os.posix_spawn(
                command[0],
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, printed.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, told.fileno(), 2),
                ],
            )
            _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status:
            return None
        summary = json.loads((folder / "out" / "summary.json").read_text())
        memory = 1024 * int((folder / "told").read_text().split()[-1])
    finally:
        shutil.rmtree(folder)
    return Cost(
        seconds,
        usage.ru_utime + usage.ru_stime,
        memory,
        summary["workload"]["jobs"],
        summary["rounds"]["count"],
        summary["run"]["ending"],
    )

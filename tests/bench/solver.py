"""The solver's table: every size, kind and fairness, side by side with Clarabel and HiGHS, in one run.

Each figure is a median over seeds (least and most in brackets), gaps are the worst. What is timed is a Problem in, a
certified Solution out. A unit pass is the plain fused pass of `unit.py`, measured on the same problem right after; the
limit of a solve is the time that its passes would take if they only read their input, in float32, at the bandwidth
measured in this run. Clarabel is stopped at the gap asked for. Figures of different runs are not to be compared.

    BENCH_SEEDS=3           how many seeds, from 0
    BENCH_MOST_JOBS=1000    leaves out larger problems
    BENCH_ONLY=size,ours    sections: small, alpha, size, degenerate, ours, grouped; wide, only if it is named
    BENCH_JSON=path         writes everything measured there, too
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from allocator.solvers import ChainSolver
from tests.bench.cases import ON_DEMAND, Case, cases
from tests.bench.goals import Goal, Row, goals
from tests.bench.instances import churned, instance
from tests.bench.measured import Measurement, measured
from tests.bench.overuse import overuse
from tests.bench.unit import UnitPass, read_bandwidth, threads

__all__ = ["churned", "instance", "measure"]

COLUMNS = (
    ("jobs x\ncolumns", "right"), ("family", "left"), ("alpha", "right"), ("by", "left"),
    ("cold\nseconds", "right"), ("least, most", "right"), ("passes", "right"), ("worst\ngap", "right"), ("", "left"),
    ("unit\npasses", "right"), ("a pass /\nunit", "right"), ("x\nlimit", "right"),
    ("warm\nseconds", "right"), ("/ cold", "right"), ("passes", "right"),
    ("Clarabel\nseconds", "right"), ("gap", "right"), ("x\nslower", "right"),
    ("HiGHS\nseconds", "right"), ("x\nslower", "right"), ("memory\n/ input", "right"),
)  # fmt: skip

_LEGEND = """\
{} processors, {} threads; {:.0f} s in all; all threads together read memory at {:.1f} GB/s
ok: certified within the gap asked for, and nothing overused, without any tolerance; ok*: within it as a part of the
weighted mean of u^(1 - alpha), which is above 1; "!": the warm start's answer was not
passes: over all rows (a cold start of 8,192 rows and more also solves a sample: max(4,096, rows / 16), drawn by money,
whose passes are in the seconds but not here); those of Clarabel are its iterations
x limit: the seconds, relative to passes that only read their input, in float32, as fast as memory can be read
memory: what solving adds at most, its answer included, relative to the arrays handed in
budget: the usual 400 iterations; above 200,000 jobs x columns Clarabel is no second choice
Clarabel is left out where it takes minutes; for max-min it finds the lowest level only, ours is all of them"""


def measure() -> RenderableType:
    """Run what the environment asks for; progress goes to stderr."""
    chosen = _chosen()
    began = time.perf_counter()
    _load()
    bandwidth = read_bandwidth()
    rows = []
    for place, (case, seeds) in enumerate(chosen, 1):
        found = []
        for seed in range(seeds):
            _tell(f"[{time.perf_counter() - began:4.0f} s, {place} of {len(chosen)}] {case.size}, {case.family}, "
                  f"alpha {_alpha(case.fairness)}, seed {seed}")  # fmt: skip
            one = measured(case, seed)
            found.append(one)
            _tell(f"    {one.seconds:.3g} s by {one.solver}, {one.passes} passes, gap {one.gap:.1e}, {_verdict([one])}")
            gc.collect()
        rows.append((case, found))
    judged = goals(rows)
    took = time.perf_counter() - began
    if "BENCH_JSON" in os.environ:
        document = _document(rows, judged, bandwidth, took)
        Path(os.environ["BENCH_JSON"]).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return Group(_table(rows, bandwidth), *(Text(line) for line in _notes(rows, bandwidth, took)), "", "Goals", *(
        Text(f"  {goal}") for goal in judged
    ))  # fmt: skip


def _chosen() -> list[tuple[Case, int]]:
    """What is to be measured, each on how many seeds."""
    most = int(os.environ.get("BENCH_MOST_JOBS", "1000000"))
    seeds = int(os.environ.get("BENCH_SEEDS", "3"))
    everything = cases()
    only = os.environ.get("BENCH_ONLY", "")
    sections = {case.section for case in everything}
    wanted = set(only.split(",")) if only else sections - {ON_DEMAND}
    if not wanted <= sections:
        raise ValueError(f"BENCH_ONLY: must be some of {', '.join(sorted(sections))}, with commas; got {only}")
    return [(case, min(seeds, case.most_seeds)) for case in everything if case.section in wanted and case.jobs <= most]


def _load() -> None:
    """Compile, or read from the cache, all that will be timed."""
    _tell("loading compiled kernels")
    for family, alpha in (("market", 0.5), ("vector demands", 1.0), ("20 types", 2.0), ("20 types", 0.0)):
        problem = instance(20_000, 4, 1, alpha, family)
        solution = ChainSolver().solve(problem, gap=1e-3, iterations=200, warm_start=None)
        overuse(problem, solution.shares)
    UnitPass(problem.throughput).seconds(np.ones(4))
    ChainSolver().solve(instance(10, 4, 1, math.inf), gap=1e-3, iterations=200, warm_start=None)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(rows: list[Row], bandwidth: float) -> Table:
    table = Table(
        title="Solver: Problem in, certified Solution out. Gap asked for: 1e-6 up to 20,000 jobs, then 1e-4",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0),
    )
    for name, justify in COLUMNS:
        table.add_column(name, justify="left" if justify == "left" else "right", no_wrap=True)
    section = None
    for case, found in rows:
        if section is not None and section != case.section:
            table.add_section()
        section = case.section
        table.add_row(*_cells(case, found, bandwidth))
        if case.ungrouped:
            table.add_row(*_ungrouped_cells(case, found))
    return table


def _cells(case: Case, found: list[Measurement], bandwidth: float) -> list[str]:
    clarabel = [one.clarabel for one in found if one.clarabel is not None]
    highs = [one.highs for one in found if one.highs is not None]
    warm = [(one.warm, one.seconds) for one in found]
    memory = [one.memory.solve_factor for one in found if one.memory is not None]
    return [
        case.size,
        case.family,
        _alpha(case.fairness),
        " ".join(sorted({("merged, " if one.merged else "") + one.solver for one in found})),
        *_seconds([one.seconds for one in found]),
        _middle((one.passes for one in found), "g"),
        f"{max(one.gap for one in found):.0e}",
        _verdict(found),
        _middle((one.units for one in found), ".0f"),
        _middle((_ratio(one.own_pass_seconds, one.unit_seconds) for one in found), ".1f"),
        _middle((_from_limit(one, bandwidth) for one in found), ".0f"),
        _middle((one.seconds for one, _ in warm), ".3g"),
        _middle((one.seconds / cold for one, cold in warm), ".2f"),
        _middle((one.passes for one, _ in warm), "g") + ("" if all(one.good for one, _ in warm) else "!"),
        _middle((one.seconds for one in clarabel), ".3g"),
        f"{max(one.gap for one in clarabel):.0e}" if clarabel else "",
        _middle((one.times_slower for one in clarabel), ".3g"),
        _middle((one.seconds for one in highs), ".3g"),
        _middle((one.times_slower for one in highs), ".3g"),
        _middle(memory, ".1f"),
    ]


def _ungrouped_cells(case: Case, found: list[Measurement]) -> list[str]:
    several = [one.grouping for one in found if one.grouping is not None]
    return [
        "",
        "the same, not merged",
        _alpha(case.fairness),
        "price",
        *_seconds([one.ungrouped_seconds for one in several]),
        _middle((one.ungrouped_passes for one in several), "g"),
        f"{max(one.ungrouped_gap for one in several):.0e}",
        "ok" if all(one.ungrouped_good for one in several) else "MISSED",
    ]


def _seconds(values: list[float]) -> tuple[str, str]:
    spread = "" if len(values) == 1 else f"{min(values):.3g}, {max(values):.3g}"
    return f"{statistics.median(values):.3g}", spread


def _middle(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(statistics.median(known), form) if known else ""


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _from_limit(one: Measurement, bandwidth: float) -> float | None:
    """How many times longer it took than its passes would if they only read."""
    if one.own_pass_seconds is None or one.passes == 0:
        return None
    return one.seconds / (one.passes * one.limit_bytes / bandwidth)


def _verdict(found: list[Measurement]) -> str:
    if not all(one.good for one in found):
        return "OVERUSED" if any(one.overuse > 0 for one in found) else "MISSED"
    return "ok*" if any(one.relative for one in found) else "ok"


def _alpha(fairness: float) -> str:
    return f"{fairness:g}" if math.isfinite(fairness) else "max-min"


def _notes(rows: list[Row], bandwidth: float, took: float) -> list[str]:
    lines = [_LEGEND.format(os.cpu_count(), threads(), took, bandwidth / 1e9)]
    for case, found in rows:
        one = found[0]
        if case.jobs >= 100_000 and case.fairness == 1 and one.own_pass_seconds is not None:
            unit = "" if one.unit_seconds is None else f", a unit pass {_per_job(one.unit_seconds, case)}"
            least = one.limit_bytes / bandwidth
            lines.append(
                f"  {case.size} {case.family}: a pass must read {one.limit_bytes / 1e6:.3g} MB, {least * 1000:.2g} ms; "
                f"ours takes {_per_job(one.own_pass_seconds, case)}{unit}."
            )
    return lines


def _per_job(seconds: float, case: Case) -> str:
    return f"{seconds * 1000:.3g} ms ({seconds / case.jobs * 1e9:.0f} ns per job)"


def _document(rows: list[Row], judged: list[Goal], bandwidth: float, took: float) -> dict[str, Any]:
    return {
        "machine": {"processors": os.cpu_count(), "threads": threads(), "bytes_per_second": bandwidth,
                    "python": platform.python_version(), "numpy": np.__version__},
        "seconds": took,
        "rows": [_row_document(case, found) for case, found in rows],
        "goals": [{**asdict(goal), "part": _plain(goal.part), "told": str(goal)} for goal in judged],
    }  # fmt: skip


def _row_document(case: Case, found: list[Measurement]) -> dict[str, Any]:
    several = [{name: _plain(value) for name, value in asdict(one).items()} for one in found]
    return {**asdict(case), "fairness": _alpha(case.fairness), "wished": case.wished, "seeds": several}


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

"""The busiest stretch of a workload, job by job: the same jobs under every scheduler, waiting and running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from simulations.columns import Table
from simulations.report.axes import Axis, linear
from simulations.report.over_time import Shown
from simulations.report.plots import Bar, Numbers, Panel, Plot
from simulations.report.wording import span

Floats = NDArray[np.float64]

JOBS = 48
PANELS = 6
"""Most variants that are drawn."""
QUEUES = 7
"""Most queues with a colour of their own."""


def gantt(shown: Sequence[Shown]) -> Plot | None:
    """A panel per variant; None where runs were not kept."""
    usable = [one for one in shown if one.result.table("runs") is not None and one.result.table("jobs") is not None]
    there, usable = len(usable), usable[:PANELS]
    if not usable or not len(_jobs(usable[0])):
        return None
    rows = _window(usable[0])
    start = float(_jobs(usable[0]).numbers("submit_s")[rows].min())
    end = _until(usable, rows, start)
    first = usable[0].result.start
    x = linear("time since the start", "time", start - first, end - first, wanted=6, tight=True)
    colours = _colours(usable[0], rows)
    legend = tuple((name, colour) for name, colour in colours.items())
    panels, table = [], []
    for one in usable:
        jobs = _jobs(one)
        bars = tuple(_bars(one, rows, colours, end))
        panels.append(Panel(one.name, x, _ROWS, bars=bars, rows=len(rows), variant=one.number, legend=legend))
        wait, stops = jobs.numbers("wait_s")[rows], jobs.numbers("preemptions")[rows]
        done = jobs.numbers("completion_s")[rows]
        table.append(
            (
                one.name,
                f"{len(rows)}",
                span(float(np.nanmean(wait))) if np.isfinite(wait).any() else "–",
                span(float(np.nanmean(done))) if np.isfinite(done).any() else "–",
                f"{int(stops.sum()):,}",
            )
        )
    about = (
        f"{len(rows)} jobs in order of submission, around the time when most waited: one row each, the same in every "
        "panel. Thin: it waits. Thick: it runs, coloured by queue; a gap between two thick stretches is a preemption."
    )
    if there > len(usable):
        about += f" The first {len(usable)} of {there} variants."
    heads = ("", "jobs", "mean delay", "mean completion", "stops and moves")
    return Plot("gantt", "Job by job", about, tuple(panels), Numbers(heads, tuple(table)), wide=True)


_ROWS = Axis("", "number", 0.0, 1.0, ())


def _jobs(one: Shown) -> Table:
    table = one.result.table("jobs")
    assert table is not None
    return table


def _window(one: Shown) -> NDArray[np.int64]:
    """Rows of `jobs`: up to JOBS in order of submission, two thirds of them before the time when most waited."""
    jobs, rounds = _jobs(one), one.result.table("rounds")
    order = np.argsort(jobs.numbers("submit_s"), kind="stable")
    busiest = 0.0
    if rounds is not None and len(rounds):
        busiest = float(rounds.numbers("time_s")[rounds.numbers("pending").argmax()])
    middle = int(np.searchsorted(jobs.numbers("submit_s")[order], busiest, side="right"))
    first = max(0, min(middle - 2 * JOBS // 3, len(order) - JOBS))
    return order[first : first + JOBS].astype(np.int64)


def _until(shown: Sequence[Shown], rows: NDArray[np.int64], start: float) -> float:
    """When nine tenths of them are done under every variant."""
    ends = []
    for one in shown:
        jobs = _jobs(one)
        end = jobs.numbers("end_s")[rows]
        finite = end[np.isfinite(end)]
        ends.append(float(np.percentile(finite, 90)) if len(finite) else float(one.result.summary["run"]["end_s"]))
    return max(*ends, start + 1.0)


def _colours(one: Shown, rows: NDArray[np.int64]) -> dict[str, int]:
    names = [str(name) for name in _jobs(one).values("queue")]
    mine = [names[row] for row in rows.tolist()]
    ranked = sorted(dict.fromkeys(mine), key=lambda name: -mine.count(name))
    found = {name: number for number, name in enumerate(ranked[:QUEUES])}
    return found | ({"other queues": QUEUES} if len(ranked) > QUEUES else {})


def _bars(one: Shown, rows: NDArray[np.int64], colours: dict[str, int], until: float) -> Iterator[Bar]:
    jobs, runs = _jobs(one), one.result.table("runs")
    assert runs is not None
    first = one.result.start
    ids, names, queues = (jobs.values(name) for name in ("job", "name", "queue"))
    submit, begin, over = (jobs.numbers(name) for name in ("submit_s", "first_start_s", "end_s"))
    wanted = {str(ids[row]): number for number, row in enumerate(rows.tolist()) if ids[row]}
    for number, row in enumerate(rows.tolist()):
        ended = min(over[row] if np.isfinite(over[row]) else until, until)
        if ended > submit[row]:
            waited = (begin[row] if np.isfinite(begin[row]) else until) - submit[row]
            about = f"{names[row] or ids[row]} in {queues[row]}: waited {span(waited)}"
            yield Bar(number, submit[row] - first, ended - first, 0, about, waiting=True)
    starts, ends, counts = (runs.numbers(name) for name in ("start_s", "end_s", "node_count"))
    flavors, shown_nodes = runs.values("flavor"), runs.values("first_nodes")
    for index, job in enumerate(runs.values("job")):
        place = wanted.get(str(job))
        if place is None or starts[index] >= until:
            continue
        row = int(rows[place])
        ended = ends[index] if np.isfinite(ends[index]) else until
        where = f"{flavors[index]}, {int(counts[index])} nodes: {shown_nodes[index]}"
        about = f"{names[row] or ids[row]} in {queues[row]}: ran {span(ended - starts[index])} on {where}"
        colour = colours.get(str(queues[row]), QUEUES)
        yield Bar(place, starts[index] - first, min(ended, until) - first, colour, about)

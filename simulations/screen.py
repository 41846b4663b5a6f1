"""What a person sees of a replay: a bar while it runs, tables when it is done."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from simulations.columns import Table
from simulations.comparison import Compared
from simulations.measures import STAGE_COLUMNS
from simulations.replay import Standing
from simulations.report.wording import written
from simulations.summary import distribution

_REFRESH_SECONDS = 0.2


def duration(seconds: float | None) -> str:
    """A time span for reading: `12 s`, `3.4 min`, `5.6 h`, `7.8 d`; a dash for None."""
    if seconds is None:
        return "-"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


class ReplayBar:
    """A progress bar on standard error, by jobs done; silent when that is no terminal.

    The time left is judged by jobs done per real second over the whole run.
    """

    def __init__(self, console: Console, start: float) -> None:
        self._start = start
        self._began = time.monotonic()
        self._shown = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[standing]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("replay", total=None, standing="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, standing: Standing) -> None:
        """Update, at most a few times a second."""
        now = time.monotonic()
        if now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        left = ""
        if standing.jobs_done:
            each = (now - self._began) / standing.jobs_done
            left = f"{duration(each * (standing.jobs_expected - standing.jobs_done))} left"
        self._progress.update(
            self._bar,
            total=standing.jobs_expected,
            completed=standing.jobs_done,
            standing=f"{standing.jobs_done:,} of {standing.jobs_expected:,} jobs, "
            f"day {(standing.time - self._start) / 86400:.2f}, round {standing.round.round:,}",
            left=left,
        )


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """The summary as tables."""
    workload, run, rounds = summary["workload"], summary["run"], summary["rounds"]
    console.print(
        f"[bold]{escape(workload['name'])}[/]: {workload['jobs']:,} jobs on {workload['nodes']:,} nodes, "
        f"{run['ending']} after {duration(run['end_s'] - workload['start_s'])} (virtual) and {rounds['count']:,} rounds"
    )
    console.print(_times(summary))
    console.print(_queues(summary))
    console.print(_figures(summary), markup=False)


def show_sharing(console: Console, sharing: dict[str, Any]) -> None:
    """How far queues were below what their part of the machines would have given them."""
    table = _plain_table("\nBelow its part of the machines", "", "count", "within 1 %", "mean", "p99", "worst", "queue")
    for name, key in (("in the optimum, by round and queue", "in_the_optimum"), ("in what ran, by hour", "ran_hourly")):
        row = sharing[key]
        figures = (_part(row[each]) for each in ("within_bound", "mean", "p99", "max"))
        table.add_row(name, f"{row['count']:,}", *figures, row.get("worst_queue", "-"))
    console.print(table)
    jain = (
        (name, sharing[f"jain_{key}"])
        for name, key in (
            ("held / optimum", "held_over_optimum"),
            ("optimum / entitlement", "optimum_over_entitlement"),
        )
    )
    shown = "; ".join(f"{name} mean {_ratio(found['mean'])}, least {_ratio(found['min'])}" for name, found in jain)
    console.print(f"Jain index: {shown}")


def show_timings(console: Console, rounds: Table) -> None:
    """How long the stages of the rounds really took; nothing if that was not kept."""
    table = _plain_table("\nReal time of a round", "", "mean", "p50", "p95", "p99", "max")
    for column in STAGE_COLUMNS:
        found = distribution(rounds.numbers(column.name))
        if found["count"]:
            shown = (_milliseconds(found[key]) for key in ("mean", "p50", "p95", "p99", "max"))
            table.add_row(column.name.removesuffix("_s"), *shown)
    if table.row_count:
        console.print(table)


def show_comparison(console: Console, compared: Compared) -> None:
    """Replays side by side; behind each but the first, its ratio to the first."""
    heads = [head for index, name in enumerate(compared.names) for head in ([name] if index == 0 else [name, "ratio"])]
    table = _plain_table("", "", *map(escape, heads))
    for figure, values in compared.rows:
        cells = [written(values[0], figure.unit)]
        for value, ratio in zip(values[1:], compared.ratios(values)[1:], strict=True):
            cells += [written(value, figure.unit), _ratio(ratio)]
        table.add_row(figure.name, *cells)
    console.print(table)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f} ms"


def _plain_table(title: str, *columns: str) -> Grid:
    table = Grid(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _times(summary: dict[str, Any]) -> Grid:
    table = _plain_table("\nJobs", "", "count", "mean", "p50", "p95", "p99", "max")
    jobs = summary["jobs"]
    for name, key, shown in (
        ("wait", "wait_s", duration),
        ("completion", "completion_s", duration),
        ("slowdown", "slowdown", _ratio),
        ("bounded slowdown", "bounded_slowdown", _ratio),
        ("finish-time fairness (rho)", "rho", _ratio),
    ):
        row = jobs[key]
        table.add_row(name, f"{row['count']:,}", *(shown(row[k]) for k in ("mean", "p50", "p95", "p99", "max")))
    return table


def _queues(summary: dict[str, Any]) -> Grid:
    heads = ("", "jobs", "entitled", "held", "wait mean", "wait p95", "slowdown", "rho")
    table = _plain_table("\nQueues", *heads)
    for name, queue in summary["queues"].items():
        table.add_row(
            escape(name),
            f"{queue['jobs']:,}",
            _part(queue.get("entitled_share")),
            _part(queue.get("held_share")),
            duration(queue["wait_s"]["mean"]),
            duration(queue["wait_s"]["p95"]),
            _ratio(queue["slowdown"]["mean"]),
            _ratio(queue["rho"]["mean"]),
        )
    return table


def _figures(summary: dict[str, Any]) -> str:
    jobs, rounds, preemptions = summary["jobs"], summary["rounds"], summary["preemptions"]
    utilization, fairness, invariants = summary["utilization"], summary["fairness"], summary["invariants"]
    service, entitlement, fragments = summary["service"], summary["entitlement"], summary["fragmentation"]
    arriving = summary["throughput"]["while_jobs_arrive"]
    lived = service["long_lived"]
    lines = {
        "jobs by state": _counts(jobs["by_state"]),
        "dropped by the reader": _counts(summary["workload"]["dropped"]),
        "makespan": duration(jobs["makespan_s"]),
        "utilization while jobs arrive": _percentages(utilization["while_jobs_arrive"]),
        "utilization to the end": _percentages(utilization["to_the_end"]),
        "free GPUs, cores of no use": f"{_part(fragments.get('gpu'))}, {_part(fragments.get('cpu'))}",
        "mean time in the system": duration(summary["throughput"]["mean_time_in_system_s"]),
        "done per hour while jobs arrive": _done(arriving),
        "fairness error, hourly, Jain index": f"{_ratio(entitlement['error_hourly'])}, "
        f"{_ratio(entitlement['jain_index'])}",
        "late beyond their part": f"{entitlement['violations']:,}, {_part(entitlement['violated'])}",
        "against the optimum": f"{_ratio(fairness['fairness_error'])}, {_ratio(fairness['jain_index'])}",
        "gap mean, max": f"{_small(rounds['gap_mean'])}, {_small(rounds['gap_max'])}",
        "rounding loss mean, max": f"{_ratio(rounds['rounding_loss_mean'])}, {_ratio(rounds['rounding_loss_max'])}",
        "rounding loss, shortfall over time": f"{_ratio(service['rounding_loss'])}, {_ratio(service['shortfall'])}",
        "lag p95, max": f"{duration(service['lag_s']['p95'])}, {duration(service['lag_s']['max'])}",
        "long-lived jobs, within 2 % of their due": f"{lived['jobs']:,}, {_part(lived['close'])}",
        "rounds by outcome": _counts(rounds["by_outcome"]),
        "stopped, moved": f"{preemptions['stopped']:,}, {preemptions['moved']:,}",
        "preemptions per job, by choice": _ratio(preemptions["per_job"]),
        "lost to preemptions": _amounts(preemptions["resource_seconds_lost"]),
        "invariants checked, broken": f"{invariants['checks']:,}, {invariants['broken']:,}",
    }
    width = max(map(len, lines))
    return "\n" + "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines.items())


def _done(throughput: dict[str, float | None]) -> str:
    """Jobs, and hours of work by what there is."""
    names = {"jobs_per_hour": "jobs", "gpu_hours_per_hour": "GPU hours", "core_hours_per_hour": "core hours"}
    return ", ".join(f"{name} {_ratio(throughput[key])}" for key, name in names.items() if key in throughput)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3f}"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _percentages(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {part:.1%}" for name, part in parts.items()) or "-"


def _amounts(amounts: dict[str, float]) -> str:
    return ", ".join(f"{name} {amount:,.0f}" for name, amount in amounts.items()) or "none"

"""The live terminal view: one finished round as tables and bars. Draws what it is given, asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from allocator.daemon.demo.here import FLAVOR, Here
from allocator.domain.resources import STANDARD_RESOURCES, display_unit
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary

BAR_WIDTH = 10
NEGLIGIBLE_PRICE = 1e-6
"""In budget per display unit: below it is the solver's tolerance, not scarcity."""

_FIXED_LINES = 30
"""Lines of the full screen without those per flavor (three) and per queue (one)."""

OUTCOME_STYLE = {
    RoundOutcome.OPTIMAL: "green",
    RoundOutcome.INACCURATE: "yellow",
    RoundOutcome.FALLBACK: "yellow",
    RoundOutcome.STALE: "red",
    RoundOutcome.RULED: "green",
}


@dataclass(slots=True)
class Tally:
    """What has happened since the start, counted by the demonstration's own clients."""

    submitted: int = 0
    finished: int = 0
    started: int = 0
    preempted: int = 0
    waiting: int = 0
    first_allocation_seconds: float | None = None
    here: Here = field(default_factory=Here)
    addresses: Mapping[str, str] = field(default_factory=dict)


def screen(summary: RoundSummary | None, tally: Tally, height: int | None = None) -> RenderableType:
    """Everything on one screen of 80 columns or more. With `height` lines too few for all of it, the same in short."""
    if summary is None:
        return Panel(Text("waiting for the first round ...", style="dim"), title="allocator", title_align="left")
    flavors = len({usage.flavor for usage in summary.flavors})
    if height is not None and height < _FIXED_LINES + 3 * flavors + len(summary.queues):
        return Group(_headline(summary), _queues(summary.queues), _flavors_in_short(summary.flavors), _last_line(tally))
    return Group(
        _headline(summary),
        _flavors(summary.flavors),
        _queues(summary.queues),
        _footer(summary, tally),
    )


def line(summary: RoundSummary, tally: Tally) -> str:
    """A round in one line, for logs and pipes."""
    seconds = sum(seconds for _, seconds in summary.stages)
    busiest = max(summary.flavors, key=lambda usage: usage.utilization, default=None)
    used = f", {busiest.flavor} {busiest.resource} {busiest.utilization:.0%}" if busiest else ""
    running = sum(usage.running for usage in summary.queues)
    return (
        f"round {summary.round}: {summary.outcome.value}, gap {summary.gap:.1e}, {running} running, "
        f"{sum(usage.pending for usage in summary.queues)} waiting, {tally.finished} finished{used}, "
        f"{seconds * 1000:.0f} ms"
    )


def _headline(summary: RoundSummary) -> RenderableType:
    total = sum(seconds for _, seconds in summary.stages)
    line = Text.assemble(
        ("round ", "dim"),
        (f"{summary.round}", "bold"),
        "  ",
        (summary.outcome.value, OUTCOME_STYLE[summary.outcome]),
        (" by ", "dim"),
        summary.solver,
        ("  gap ", "dim"),
        f"{summary.gap:.1e}",
        ("  rounding loss ", "dim"),
        f"{summary.rounding_loss:.1%}",
        ("  in ", "dim"),
        f"{total * 1000:.0f} ms\n",
        ("  ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in summary.stages), "dim"),
    )
    return Panel(line, title="allocator", title_align="left")


def _flavors(usages: tuple[FlavorUsage, ...]) -> RenderableType:
    table = _table("Capacity: how much is allocated, and the price of one more")
    present = {usage.resource for usage in usages if usage.capacity}
    resources = [name for name in STANDARD_RESOURCES if name in present]
    resources += sorted(present - set(resources))
    table.add_column("flavor", no_wrap=True)
    for resource in resources:
        table.add_column(resource, no_wrap=True)
    by_cell = {(usage.flavor, usage.resource): usage for usage in usages}
    for flavor in sorted({usage.flavor for usage in usages}):
        kind = ("real", "bold green") if flavor == FLAVOR else ("simulated", "dim")
        name = Text.assemble(flavor, "\n", kind)
        table.add_row(name, *(_cell(by_cell.get((flavor, resource))) for resource in resources))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", expand=True, box=box.SIMPLE_HEAD, pad_edge=False)


def _flavors_in_short(usages: tuple[FlavorUsage, ...]) -> RenderableType:
    """A line per flavor: how much of each resource is allocated, and its price where it has one."""
    table = _table("Capacity: allocated, and the price of one more")
    resources = [name for name in STANDARD_RESOURCES if any(u.resource == name and u.capacity for u in usages)]
    for name in ("flavor", *resources):
        table.add_column(name, no_wrap=True)
    by_cell = {(usage.flavor, usage.resource): usage for usage in usages}
    for flavor in sorted({usage.flavor for usage in usages}):
        cells = []
        for resource in resources:
            usage = by_cell.get((flavor, resource))
            if usage is None or not usage.capacity:
                cells.append(Text("-", style="dim"))
                continue
            price = f"  {usage.price:.2g}" if usage.price > NEGLIGIBLE_PRICE else ""
            cells.append(Text.assemble(f"{usage.utilization:4.0%}", (price, "magenta")))
        kind = (" real", "bold green") if flavor == FLAVOR else (" sim.", "dim")
        table.add_row(Text.assemble(flavor, kind), *cells)
    return table


def _last_line(tally: Tally) -> RenderableType:
    return Text(
        f"{tally.submitted} submitted, {tally.finished} finished, {tally.preempted} preempted; Ctrl-C stops",
        style="dim",
    )


def _cell(usage: FlavorUsage | None) -> RenderableType:
    if usage is None or not usage.capacity:
        return Text("-", style="dim")
    name, unit = display_unit(usage.resource)
    amounts = f"{usage.allocated / unit:.4g}/{usage.capacity / unit:.4g} {name}"
    priced = (f"price {usage.price:.2g}", "magenta") if usage.price > NEGLIGIBLE_PRICE else ("free", "dim")
    return Text.assemble(_bar(usage.utilization, 9), f" {usage.utilization:4.0%}\n", (amounts, "dim"), "\n", priced)


def _queues(usages: tuple[QueueUsage, ...]) -> RenderableType:
    table = _table("Queues: dominant share of the cluster")
    table.add_column("queue", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("actual share", no_wrap=True)
    table.add_column("fair share", no_wrap=True)
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("waits", justify="right", no_wrap=True)
    for usage in usages:
        table.add_row(
            usage.queue,
            f"{usage.weight:g}",
            Text.assemble(_bar(usage.actual_share), f" {usage.actual_share:6.1%}"),
            Text.assemble(_bar(usage.fair_share, style="blue"), f" {usage.fair_share:6.1%}"),
            f"{usage.running}",
            f"{usage.pending}",
        )
    return table


def _footer(summary: RoundSummary, tally: Tally) -> RenderableType:
    waiting = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in summary.waiting) or "nobody"
    rows = [
        Text.assemble(("waiting   ", "dim"), waiting),
        Text.assemble(
            ("so far    ", "dim"),
            f"{tally.submitted} submitted, {tally.started} started, {tally.finished} finished, ",
            f"{tally.preempted} preempted",
        ),
    ]
    if tally.here.limits:
        rows.append(Text.assemble(("real      ", "dim"), "; ".join(tally.here.lines()) or "no jobs just now"))
        rows.append(Text.assemble(("          on ", "dim"), tally.here.offered()))
        if tally.here.live:
            newest = max(tally.here.live.values(), key=lambda job: job.sequence)
            rows.append(Text.assemble(("          ", "dim"), f"allocator logs -f {newest.id}"))
    if tally.first_allocation_seconds is not None:
        rows.append(
            Text.assemble(("first     ", "dim"), f"allocation pushed after {tally.first_allocation_seconds:.1f} s")
        )
    rows += [Text.assemble((f"{name:<10}", "dim"), address) for name, address in tally.addresses.items()]
    rows.append(Text("Ctrl-C drains and stops", style="dim"))
    return Panel(Group(*rows))


def _bar(ratio: float, width: int = BAR_WIDTH, style: str = "") -> Text:
    """A bar in eighths of a character, green unless a style is given."""
    eighths = round(min(max(ratio, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    blocks = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text.assemble((blocks, style or "green"), ("·" * (width - len(blocks)), "dim"))

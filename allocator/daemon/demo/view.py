"""The live terminal view: one finished round as tables and bars. Draws what it is given, asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from allocator.domain.resources import STANDARD_RESOURCES, display_unit
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary

BAR_WIDTH = 12

OUTCOME_STYLE = {
    RoundOutcome.OPTIMAL: "green",
    RoundOutcome.INACCURATE: "yellow",
    RoundOutcome.FALLBACK: "yellow",
    RoundOutcome.STALE: "red",
}


@dataclass(slots=True)
class Tally:
    """What has happened since the start, counted by the demonstration's own clients."""

    submitted: int = 0
    finished: int = 0
    started: int = 0
    preempted: int = 0
    addresses: Mapping[str, str] = field(default_factory=dict)


def screen(summary: RoundSummary | None, tally: Tally) -> RenderableType:
    """Everything on one screen of 100 columns and about 40 lines."""
    if summary is None:
        return Panel(Text("waiting for the first round ...", style="dim"), title="allocator", title_align="left")
    return Group(
        _headline(summary),
        _flavors(summary.flavors),
        _queues(summary.queues),
        _footer(summary, tally),
    )


def _headline(summary: RoundSummary) -> RenderableType:
    stages = dict(summary.stages)
    total = sum(stages.values())
    line = Text.assemble(
        ("round ", "dim"),
        (f"{summary.round}", "bold"),
        ("   ", ""),
        (summary.outcome.value, OUTCOME_STYLE[summary.outcome]),
        (" by ", "dim"),
        summary.solver,
        ("   gap ", "dim"),
        f"{summary.gap:.1e}",
        ("   rounding loss ", "dim"),
        f"{summary.rounding_loss:.1%}",
        ("   round ", "dim"),
        f"{total * 1000:.0f} ms",
        (f" (solve {stages.get('solve', 0.0) * 1000:.0f}, place {stages.get('place', 0.0) * 1000:.0f}, ", "dim"),
        (f"commit {stages.get('commit', 0.0) * 1000:.0f})", "dim"),
    )
    return Panel(line, title="allocator", title_align="left")


def _flavors(usages: tuple[FlavorUsage, ...]) -> RenderableType:
    table = Table(title="Capacity: share allocated, and price", title_justify="left", expand=True, pad_edge=False)
    present = {usage.resource for usage in usages if usage.capacity}
    resources = [name for name in STANDARD_RESOURCES if name in present]
    resources += sorted(present - set(resources))
    table.add_column("flavor", no_wrap=True)
    for resource in resources:
        table.add_column(f"{resource} [dim]({display_unit(resource)[0]})[/]", no_wrap=True)
    by_cell = {(usage.flavor, usage.resource): usage for usage in usages}
    for flavor in sorted({usage.flavor for usage in usages}):
        table.add_row(flavor, *(_cell(by_cell.get((flavor, resource))) for resource in resources))
    return table


def _cell(usage: FlavorUsage | None) -> RenderableType:
    if usage is None or not usage.capacity:
        return Text("-", style="dim")
    _, unit = display_unit(usage.resource)
    amounts = f"{usage.allocated / unit:.4g}/{usage.capacity / unit:.4g}"
    priced = (f"{usage.price:.3g}", "bold magenta") if usage.price > 1e-9 else ("free", "dim")
    return Text.assemble(_bar(usage.utilization, 8), f" {usage.utilization:4.0%}\n", (amounts, "dim"), "  ", priced)


def _queues(usages: tuple[QueueUsage, ...]) -> RenderableType:
    table = Table(title="Queues: dominant share of the cluster", title_justify="left", expand=True, pad_edge=False)
    table.add_column("queue", no_wrap=True)
    table.add_column("weight", justify="right")
    table.add_column("actual share", no_wrap=True)
    table.add_column("fair share", no_wrap=True)
    table.add_column("running", justify="right")
    table.add_column("waiting", justify="right")
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
    rows += [Text.assemble((f"{name:<10}", "dim"), address) for name, address in tally.addresses.items()]
    rows.append(Text("Ctrl-C drains and stops", style="dim"))
    return Panel(Group(*rows))


def _bar(ratio: float, width: int = BAR_WIDTH, style: str = "") -> Text:
    """A bar in eighths of a character, green unless a style is given."""
    eighths = round(min(max(ratio, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    blocks = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text.assemble((blocks, style or "green"), ("·" * (width - len(blocks)), "dim"))

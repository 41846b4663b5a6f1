"""How the cluster, its prices and its rounds look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from allocator.cli import screen, words
from allocator.cli.quantities import age, approximate, significant
from allocator.cli.quotas import quota_table
from allocator.cli.screen import Column, Table
from allocator.client import ClusterStatus, Discipline, QueueStatus
from allocator.domain.resources import display_unit
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundSummary


def show_status(status: ClusterStatus, queues: Sequence[QueueStatus], address: str, now: float) -> None:
    """One screen: counts, use per flavor and resource, queues, the last round."""
    screen.facts(
        [
            ("daemon", address),
            ("nodes", _node_counts(status)),
            ("jobs", f"{status.running_jobs} running, {status.pending_jobs} waiting"),
            ("last round", _last_round(status.last_round, now)),
            ("policy", "" if status.last_round is None else _policy(status.last_round)),
        ]
    )
    if status.flavors:
        screen.heading("Flavors")
        screen.show(usage_table(status.flavors))
    if queues:
        screen.heading("Queues")
        screen.show(queue_table(queues, {usage.queue: usage for usage in status.queues}))


def usage_table(usages: Iterable[FlavorUsage]) -> Table:
    """One line per flavor and resource, in display units."""
    table = Table(
        (
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("HAS", right=True),
            Column("IN USE", right=True),
            Column("", give_way=2),
            Column("%", right=True),
            Column("WANTED", right=True, give_way=1),
            Column("PRICE", right=True, give_way=3),
            Column("UNIT", give_way=4),
        )
    )
    for usage in usages:
        table.add(
            usage.flavor,
            usage.resource,
            approximate(usage.resource, usage.capacity),
            approximate(usage.resource, usage.allocated),
            screen.bar(usage.utilization, 10),
            f"{100 * usage.utilization:.0f}",
            approximate(usage.resource, usage.requested),
            price(usage.price),
            display_unit(usage.resource)[0],
        )
    return table


def queue_table(queues: Sequence[QueueStatus], usage: Mapping[str, QueueUsage]) -> Table:
    """One line per queue: jobs now, and for leaves the dominant shares as of the last round."""
    table = Table(
        (
            Column("QUEUE"),
            Column("WEIGHT", right=True, give_way=1),
            Column("WAITING", right=True),
            Column("RUNNING", right=True),
            Column("AT MOST", right=True, give_way=3),
            Column("FAIR SHARE", right=True),
            Column("HOLDS", right=True),
            Column("", give_way=4),
            Column("PRIORITY", right=True, give_way=2),
            Column("DISCIPLINE", give_way=3),
            Column("STATE", give_way=2),
        )
    )
    parents = {status.queue.parent for status in queues}
    for status in queues:
        queue = status.queue
        shares = None if queue.name in parents else usage.get(queue.name)
        table.add(
            queue.name,
            words.weight(queue.weight),
            str(status.pending_jobs),
            str(status.running_jobs),
            "-" if queue.max_live_jobs is None else str(queue.max_live_jobs),
            words.percent(shares.fair_share) if shares else "-",
            words.percent(shares.actual_share) if shares else "-",
            screen.bar(shares.actual_share, 10) if shares else "-",
            str(queue.priority or "-"),
            "-" if queue.discipline is Discipline.FAIR else queue.discipline.value,
            "cordoned" if queue.cordoned else "-",
        )
    return table


def show_queue(status: QueueStatus, usage: QueueUsage | None) -> None:
    """The page about one queue; `usage` as of the last round, if it was in it."""
    queue = status.queue
    screen.facts(
        [
            ("queue", queue.name),
            ("state", "cordoned" if queue.cordoned else "open"),
            ("weight", words.weight(queue.weight)),
            ("priority", str(queue.priority)),
            ("discipline", queue.discipline.value),
            ("jobs", f"{status.running_jobs} running, {status.pending_jobs} waiting"),
            ("at most", "" if queue.max_live_jobs is None else f"{queue.max_live_jobs} jobs"),
            ("fair share", words.percent(usage.fair_share) if usage else ""),
            ("holds", words.percent(usage.actual_share) if usage else ""),
            ("quotas", "" if queue.quotas else "none"),
        ]
    )
    if queue.quotas:
        screen.heading("Quotas")
        screen.show(quota_table([queue], named=False))


def flavor_prices(usages: Iterable[FlavorUsage]) -> dict[str, float]:
    """What all of each flavor is worth: price times capacity, summed over its resources; the total budget is 1."""
    worth: dict[str, float] = {}
    for usage in usages:
        amount = usage.capacity / display_unit(usage.resource)[1]
        worth[usage.flavor] = worth.get(usage.flavor, 0.0) + usage.price * amount
    return worth


def price_table(usages: Sequence[FlavorUsage]) -> Table:
    """One line per flavor and resource; the flavor's part of the budget stands in its first line."""
    table = Table(
        (
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("PRICE", right=True),
            Column("PER"),
            Column("HAS", right=True, give_way=3),
            Column("IN USE", right=True, give_way=2),
            Column("ALL OF IT", right=True),
            Column("FLAVOR'S BUDGET", right=True),
        )
    )
    worth = flavor_prices(usages)
    told: set[str] = set()
    for usage in usages:
        unit, size = display_unit(usage.resource)
        table.add(
            usage.flavor,
            usage.resource,
            price(usage.price),
            unit.removesuffix("s") if unit in ("cores", "GPUs", "units") else unit,
            approximate(usage.resource, usage.capacity),
            f"{100 * usage.utilization:.0f} %",
            words.percent(usage.price * usage.capacity / size),
            "" if usage.flavor in told else words.percent(worth[usage.flavor]),
        )
        told.add(usage.flavor)
    return table


def round_table(rounds: Iterable[RoundSummary], now: float) -> Table:
    """One line per round."""
    table = Table(
        (
            Column("ROUND", right=True),
            Column("AGE", right=True),
            Column("OUTCOME"),
            Column("GAP", right=True),
            Column("LOSS", right=True, give_way=3),
            Column("STARTED", right=True),
            Column("MOVED", right=True, give_way=4),
            Column("PREEMPTED", right=True),
            Column("KEPT", right=True),
            Column("WAITING", right=True),
            Column("REFUSED", right=True, give_way=5),
            Column("SOLVER", give_way=2),
            Column("ITERATIONS", right=True, give_way=6),
            Column("TOOK", right=True, give_way=1),
        )
    )
    for summary in rounds:
        table.add(
            str(summary.round),
            age(now - summary.time),
            summary.outcome.value,
            significant(summary.gap, 2),
            words.percent(summary.rounding_loss),
            str(summary.started),
            str(summary.moved),
            str(_total(summary.preempted)),
            str(summary.kept),
            str(_total(summary.waiting)),
            str(summary.rejected),
            summary.solver,
            str(summary.iterations),
            _took(summary),
        )
    return table


def round_line(summary: RoundSummary) -> str:
    """One round of a watch."""
    return (
        f"{screen.local_time(summary.time)}  round {summary.round} {summary.outcome.value}: "
        f"{summary.started} started, {summary.moved} moved, {_total(summary.preempted)} preempted, "
        f"{summary.kept} kept, {_total(summary.waiting)} waiting, gap {significant(summary.gap, 2)}, {_took(summary)}"
    )


def show_round(summary: RoundSummary) -> None:
    """The page about one round."""
    screen.facts(
        [
            ("round", str(summary.round)),
            ("time", screen.local_time(summary.time)),
            ("outcome", summary.outcome.value),
            ("solver", f"{summary.solver}, {summary.iterations} iterations, fairness {significant(summary.fairness)}"),
            ("policy", _policy(summary)),
            ("objective", significant(summary.objective, 6)),
            ("bound", significant(summary.bound, 6)),
            ("gap", significant(summary.gap, 3)),
            ("rounding loss", words.percent(summary.rounding_loss)),
            ("jobs", _done(summary)),
            ("preempted", _counts(summary.preempted)),
            ("waiting", _counts(summary.waiting)),
            ("refused", f"{summary.rejected} changes at the commit" if summary.rejected else ""),
            ("work lost", "\n".join(_lost(*lost) for lost in summary.lost)),
            ("stages", ", ".join(f"{stage} {_seconds(seconds)}" for stage, seconds in summary.stages)),
        ]
    )
    if summary.flavors:
        screen.heading("Flavors")
        screen.show(usage_table(summary.flavors))
    if summary.queues:
        screen.heading("Queues")
        screen.show(_queue_usage_table(summary.queues))


def _done(summary: RoundSummary) -> str:
    resized = f"{summary.resized} resized, " if summary.resized else ""
    return f"{summary.started} started, {summary.moved} moved, {resized}{summary.kept} kept"


def price(value: float) -> str:
    """Three digits; a price below a billionth of the budget is what solvers leave instead of zero."""
    return "0" if abs(value) < 1e-9 else significant(value)


def _queue_usage_table(usages: Iterable[QueueUsage]) -> Table:
    table = Table(
        (
            Column("QUEUE"),
            Column("WEIGHT", right=True),
            Column("WAITING", right=True),
            Column("RUNNING", right=True),
            Column("FAIR SHARE", right=True),
            Column("HELD", right=True),
        )
    )
    for usage in usages:
        table.add(
            usage.queue,
            words.weight(usage.weight),
            str(usage.pending),
            str(usage.running),
            words.percent(usage.fair_share),
            words.percent(usage.actual_share),
        )
    return table


def _node_counts(status: ClusterStatus) -> str:
    counts = status.nodes
    parts = [f"{counts.open} open"]
    others = (
        (counts.in_trouble, "in trouble"),
        (counts.cordoned, "cordoned"),
        (counts.draining, "draining"),
        (counts.lost, "lost"),
    )
    parts += [f"{count} {what}" for count, what in others if count]
    return ", ".join(parts)


def _policy(summary: RoundSummary) -> str:
    """Which one it was decided by."""
    if summary.policy_version:
        return f"version {summary.policy_version} (allocator policy show)"
    return "the daemon's configuration"


def _last_round(last: RoundSummary | None, now: float) -> str:
    if last is None:
        return "none yet"
    return (
        f"{last.round}, {age(now - last.time)} ago: {last.outcome.value}, gap {significant(last.gap, 2)}, "
        f"rounding loss {words.percent(last.rounding_loss)}, took {_took(last)}"
    )


def _took(summary: RoundSummary) -> str:
    return _seconds(sum(seconds for _, seconds in summary.stages))


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{significant(seconds)} s"


def _total(counts: Iterable[tuple[str, int]]) -> int:
    return sum(count for _, count in counts)


def _counts(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts)


def _lost(flavor: str, resource: str, amount_seconds: float) -> str:
    unit, size = display_unit(resource)
    return f"{significant(amount_seconds / size)} {unit}·s of {resource} on {flavor}"

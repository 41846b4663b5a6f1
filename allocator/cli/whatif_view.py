"""How what-ifs look: tables of what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from allocator.cli import promise_view, screen, words
from allocator.cli.cluster_view import price
from allocator.cli.limit_view import limit_title
from allocator.cli.quantities import approximate, format_duration, significant
from allocator.cli.reasons import why_waiting
from allocator.cli.screen import Column, Table
from allocator.cli.whatif_json import kind_of
from allocator.client import CapacityPlan, Outcome
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job
from allocator.domain.reason import PendingReason
from allocator.domain.resources import display_unit
from allocator.rounds.report import RoundSummary
from allocator.whatif.answers import Fate, JobView, View

_ARROW = "→"
_NEAR = 1e-3
"""Relative: smaller differences are the solver's, not the change's."""
_CRUMB = 1e-3
"""Display units: fewer are what solvers leave instead of nothing."""
_MOST_LINES = 20


def show_outcome(outcome: Outcome) -> None:
    """Round, queues, prices and jobs, where they differ."""
    before, after = outcome.before.summary, outcome.after.summary
    screen.facts(
        [
            ("next round", ""),
            ("started", _counts(before.started, after.started)),
            ("preempted", _counts(_total(before.preempted), _total(after.preempted))),
            ("moved", _counts(before.moved, after.moved)),
            ("waiting", _counts(_total(before.waiting), _total(after.waiting))),
            ("rounding loss", _pair(words.percent(before.rounding_loss), words.percent(after.rounding_loss))),
        ]
    )
    for title, table in (
        ("Queues (as things are → with the changes)", queue_table(outcome.before, outcome.after)),
        ("Prices", price_table(before, after)),
        ("Limits", limits_table(outcome.before, outcome.after)),
    ):
        if table.rows:
            screen.heading(title)
            screen.show(table)
    lines = list(_other_fates(outcome))
    if lines:
        screen.heading("Jobs that fare otherwise in the next round")
        for line in lines[:_MOST_LINES]:
            screen.line(line)
        if len(lines) > _MOST_LINES:
            screen.remark(f"and {len(lines) - _MOST_LINES} more; --json tells the first 1000")
    if outcome.jobs:
        screen.heading("Jobs that were asked about")
        screen.show(job_table(outcome))
        for line in _promise_lines(outcome):
            screen.line(line)


def queue_table(before: View, after: View) -> Table:
    """One line per queue, flavor and resource where something differs; one where only money does."""
    table = Table(
        (
            Column("QUEUE"), Column("MONEY", right=True), Column("FLAVOR"), Column("RESOURCE"),
            Column("DEMAND", right=True), Column("OPTIMUM", right=True), Column("HOLDS", right=True), Column("UNIT"),
        )
    )  # fmt: skip
    old = {queue.queue: queue for queue in before.queues}
    new = {queue.queue: queue for queue in after.queues}
    for name in sorted(old | new):
        amounts = [
            {(each.flavor, each.resource): each for each in found[name].amounts} if name in found else {}
            for found in (old, new)
        ]
        money = [found[name].money if name in found else 0.0 for found in (old, new)]
        differs = False
        for kind in sorted(amounts[0] | amounts[1]):
            values = [
                (found[kind].demand, found[kind].optimum, found[kind].held) if kind in found else (0.0, 0.0, 0.0)
                for found in amounts
            ]
            if not any(_differ(*each, least=_CRUMB) for each in zip(*values, strict=True)):
                continue
            differs = True
            table.add(
                name,
                _pair(*map(significant, money)),
                kind[0] or words.FLOATING,
                kind[1],
                *(_pair(*map(_amount, both)) for both in zip(*values, strict=True)),
                display_unit(kind[1])[0],
            )
        if not differs and _differ(*money):
            table.add(name, _pair(*map(significant, money)), "all", "as before", "-", "-", "-", "-")
    return table


def price_table(before: RoundSummary, after: RoundSummary) -> Table:
    """One line per flavor and resource whose price or capacity differs."""
    table = Table(
        (Column("FLAVOR"), Column("RESOURCE"), Column("PRICE", right=True), Column("HAS", right=True), Column("UNIT"))
    )
    old = {(usage.flavor, usage.resource): usage for usage in before.flavors}
    new = {(usage.flavor, usage.resource): usage for usage in after.flavors}
    for kind in sorted(old | new):
        prices = [found[kind].price if kind in found else 0.0 for found in (old, new)]
        has = [found[kind].capacity if kind in found else 0 for found in (old, new)]
        if _differ(*prices) or has[0] != has[1]:
            table.add(
                *kind,
                _pair(*map(price, prices)),
                _pair(*(approximate(kind[1], each) for each in has)),
                display_unit(kind[1])[0],
            )
    return table


def limits_table(before: View, after: View) -> Table:
    """One line per limit whose price, amount or use differs."""
    table = Table(
        (
            Column("LIMIT"), Column("PRICE", right=True), Column("IN USE", right=True), Column("AT MOST", right=True),
            Column("UNIT"),
        )
    )  # fmt: skip
    old = {each.name: each for each in before.limits}
    new = {each.name: each for each in after.limits}
    for name in [*old, *(name for name in new if name not in old)]:
        both = [found.get(name) for found in (old, new)]
        there = [each for each in both if each is not None]
        numbers = [
            (each.price, each.used or 0.0, -1.0 if each.most is None else each.most)
            if each is not None
            else (0.0, 0.0, -1.0)
            for each in both
        ]
        if any(_differ(*each) for each in zip(*numbers, strict=True)):
            table.add(
                limit_title(there[0]),
                _pair(*("-" if each is None else price(each.price) for each in both)),
                _pair(*("-" if each is None or each.used is None else significant(each.used) for each in both)),
                _pair(*("no limit" if each is None or each.most is None else significant(each.most) for each in both)),
                there[0].unit or "-",
            )
    return table


def job_table(outcome: Outcome) -> Table:
    """One line per followed job."""
    table = Table(
        (
            Column("JOB"), Column("NAME", elastic=True, give_way=2), Column("QUEUE"), Column("SHARE", right=True),
            Column("NEXT ROUND"), Column("STARTS", give_way=1), Column("WHY", elastic=True),
        )
    )  # fmt: skip
    submitted = {item.id for item in outcome.submitted if not isinstance(item, AllocatorError)}
    for view in outcome.jobs:
        fates = [view.before, view.after]
        is_new = view.job.id in submitted
        shown = fates[1:] if is_new else fates
        reason = view.after.reason if view.after is not None else None
        table.add(
            "new" if is_new else view.job.id,
            view.job.spec.name or "-",
            view.job.spec.queue,
            _pair(*map(_share, shown)),
            _pair(*(_state(fate, view.job) for fate in shown)),
            _pair(
                *(
                    _start(each, outcome)
                    for each in ([view.starts_after] if is_new else [view.starts_before, view.starts_after])
                )
            ),
            view.never or ("" if reason is None else _why(reason)),
        )
    return table


def dry_run_lines(outcome: Outcome) -> list[str]:
    """What would become of what is submitted, like jobs together."""
    told: Counter[str] = Counter(_would(view, outcome) for view in outcome.jobs)
    silent = sum(not isinstance(item, AllocatorError) for item in outcome.submitted) - len(outcome.jobs)
    lines = [f"{count} jobs: {line}" if count > 1 else line for line, count in told.items()]
    return lines + ([f"{silent} more would be admitted"] if silent > 0 else [])


def _would(view: JobView, outcome: Outcome) -> str:
    fate, name = view.after, f"{view.job.spec.name}: " if view.job.spec.name else ""
    if view.never:
        return f"{name}would be admitted, and wait for other nodes: {view.never}"
    if view.job.state.is_final:
        return f"{name}would be admitted, and fail: {view.job.message}"
    if fate is None:
        waits = len(view.job.waits_for)
        wait = f", and wait for {waits} job{'' if waits == 1 else 's'} to end first" if waits else ""
        return f"{name}would be admitted{wait}"
    share = "" if fate.share is None else f"; its share of the time is {words.percent(fate.share)}"
    share += "" if fate.promise is None else f"; {promise_view.in_short(fate.promise)}"
    if fate.configuration is not None:
        configuration = view.job.spec.configurations[fate.configuration]
        asked = f"{configuration.replicas} × {configuration.flavor}"
        return f"{name}would start in the next round on {asked}{share}"
    later = "" if view.starts_after is None else f" and start {_start(view.starts_after, outcome)}"
    why = "" if fate.reason is None else f": {_why(fate.reason)}"
    return f"{name}would wait{later}{why}{share}"


def show_dry_run(outcome: Outcome) -> None:
    """What would become of what is submitted, and prices where they would differ."""
    for line in dry_run_lines(outcome):
        screen.line(line)
    for title, table in (
        ("Prices (as things are → with these jobs)", price_table(outcome.before.summary, outcome.after.summary)),
        ("Limits (as things are → with these jobs)", limits_table(outcome.before, outcome.after)),
    ):
        if table.rows:
            screen.heading(title)
            screen.show(table)


def show_plan(plan: CapacityPlan) -> None:
    """What to buy, and what it brings."""
    table = Table(
        (
            Column("FLAVOR"), Column("BUY", right=True), Column("COST OF ONE", right=True), Column("COST", right=True),
            Column("WORTH OF ONE", right=True), Column("WORTH PER 1000", right=True, give_way=1),
        )
    )  # fmt: skip
    for each in plan.purchases:
        table.add(
            each.flavor, str(each.count), f"{each.cost:.10g}", f"{each.count * each.cost:.10g}",
            words.percent(each.worth), words.percent(1000 * each.worth / each.cost),
        )  # fmt: skip
    screen.show(table)
    before, after = plan.before.summary, plan.after.summary
    screen.facts(
        [
            ("spent", f"{plan.spent:.10g}, {plan.left:.10g} left"),
            ("welfare", _pair(significant(plan.welfare_before, 4), significant(plan.welfare_after, 4))),
            ("started next round", _counts(before.started, after.started)),
            ("waiting", _counts(_total(before.waiting), _total(after.waiting))),
        ]
    )
    gains = Table((Column("QUEUE"), Column("GAIN", right=True)))
    for queue, gain in plan.gains:
        gains.add(queue, significant(gain))
    screen.heading("What queues gain")
    screen.show(gains)
    prices = price_table(before, after)
    if prices.rows:
        screen.heading("Prices")
        screen.show(prices)
    if not plan.complete:
        screen.remark("the search was cut short; a longer --timeout may find a better plan")


# --- words --------------------------------------------------------------------------------------------------------


def _other_fates(outcome: Outcome) -> Iterable[str]:
    """Starts, preemptions and moves of only one of the two rounds."""
    before = {(change.job_id, kind_of(change)) for change in outcome.before.changes}
    after = {(change.job_id, kind_of(change)) for change in outcome.after.changes}
    new = {item.id for item in outcome.submitted if not isinstance(item, AllocatorError)}
    verbs = {"start": "start", "preempt": "be stopped", "move": "move", "resize": "change its size"}
    for job_id, kind in sorted((after - before) | (before - after), key=lambda pair: (len(pair[0]), pair)):
        if job_id not in new:
            yield f"{job_id} would {'' if (job_id, kind) in after else 'not '}{verbs[kind]}"


def _promise_lines(outcome: Outcome) -> Iterable[str]:
    """How deadlines and minimum throughputs of followed jobs stand."""
    for view in outcome.jobs:
        told = [promise_view.in_short(fate.promise) for fate in (view.before, view.after) if fate and fate.promise]
        if told:
            yield f"{view.job.spec.name or view.job.id}: {_pair(*told)}"


def _differ(one: float, other: float, *, least: float = _NEAR**2) -> bool:
    return abs(one - other) > max(_NEAR * max(abs(one), abs(other)), least)


def _amount(value: float) -> str:
    return significant(value) if abs(value) > _CRUMB else "0"


def _counts(before: int, after: int) -> str:
    return _pair(str(before), str(after))


def _pair(*texts: str) -> str:
    return texts[0] if len(set(texts)) == 1 else f" {_ARROW} ".join(texts)


def _total(counts: Sequence[tuple[str, int]]) -> int:
    return sum(count for _, count in counts)


def _why(reason: PendingReason) -> str:
    """On one line."""
    return why_waiting(reason).replace("\n", "; ")


def _share(fate: Fate | None) -> str:
    return "-" if fate is None or fate.share is None else words.percent(fate.share)


def _state(fate: Fate | None, job: Job) -> str:
    if fate is None:
        return "held" if job.waits_for or job.not_before is not None else "gone"
    if fate.configuration is None:
        return "waits" if not fate.runs_before else "stopped"
    return "runs" if fate.runs_before else "starts"


def _start(seconds: float | None, outcome: Outcome) -> str:
    if seconds is None:
        return f"not in {format_duration(outcome.rounds * outcome.interval)}" if outcome.rounds else "-"
    return "next round" if seconds == 0 else f"{format_duration(seconds)} after the next round"

"""Explanations on a terminal: what a job, a queue or a price is about, in words and in human units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from allocator.cli import held_words, limit_view, promise_view, reasons, screen, words
from allocator.cli.cluster_view import price
from allocator.cli.limit_view import brings, gains_table, in_words, per_unit
from allocator.cli.quantities import age, approximate, format_amount, significant
from allocator.cli.screen import Column, Table
from allocator.domain.queue import Queue
from allocator.explain.answers import (
    Assumption,
    Change,
    ChangeKind,
    Estimate,
    JobExplanation,
    JobWeight,
    Outcome,
    PastUsage,
    QueueAmounts,
    QueueExplanation,
    Shortfall,
    Tier,
    WhatHelps,
)
from allocator.explain.scarcity import PriceExplanation
from allocator.rounds.report import RoundSummary
from allocator.wire.explanations import PastPrice

Command = Callable[[Change], str]
"""The command line that makes a change; empty if there is none."""

_TIERS = {
    Tier.NEVER: "never, as the cluster is",
    Tier.NOT_NOW: "not now",
    Tier.NEXT_ROUND: "next round",
}
_ASSUMPTIONS = {
    Assumption.NO_ARRIVALS: "nobody else comes, and nodes, queues and policy stay as they are",
    Assumption.EXPECTED_DURATIONS_HOLD: "jobs that say how long they run need that long",
    Assumption.UNKNOWN_LAST_AS_LONG_AGAIN: (
        "the others run, in the middle, as long again as they have run, but at least the policy's horizon"
    ),
    Assumption.ROUNDS_SKIPPED: "of later rounds only some are looked at, so it may be up to a quarter earlier",
}
_SHORTFALLS = {
    Shortfall.CAPACITY: "no: all together ask for more of their quotas than there is",
    Shortfall.SPENT_ELSEWHERE: "in money: its jobs got other flavors for it",
}


def show_job(found: JobExplanation, now: float, command: Command) -> None:
    """The page about one job; `command` gives the command line for a change."""
    held = held_words.held(found.reason, found.waits_for, found.failures, found.not_before)
    screen.facts(
        [
            ("job", found.job_id),
            ("queue", found.queue),
            ("state", found.state.value),
            ("when", _TIERS[found.tier] if found.tier else ""),
            ("why", held or (reasons.why_waiting(found.reason) if found.tier else "")),
            ("as of", as_of(found.round, found.time, now)),
            ("share", _share(found)),
            ("keeps", "\n".join(words.LACKING[each] for each in found.lacking)),
            ("credit", _credit(found.credit_seconds)),
            ("budget", _budget(found)),
            ("promise", "" if found.promise is None else promise_view.promise(found.promise, now)),
            ("speed", promise_view.throughputs(found.configurations, found.throughputs)),
            ("weight", "" if found.weight is None else _weight(found.weight)),
            ("position", "" if found.position is None else f"{found.position} of {found.waiting} that wait"),
            ("start", "" if found.estimate is None else _estimate(found.estimate)),
        ]
    )
    if found.round is None:
        if not found.state.is_final and not held:
            screen.remark("no round has looked at it yet: ask again after the next one")
        return
    if found.configurations:
        screen.heading("Configurations, at what its priority class pays")
        screen.show(_configurations(found))
        _explain_marks(found)
    if found.bindings:
        screen.heading("Scarce for it")
        screen.show(limit_view.scarce(found.bindings))
        for line in limit_view.amounts(found.bindings):
            screen.line(line)
    if found.what_helps is not None:
        screen.heading("What would help")
        _show_what_helps(found.what_helps, command)


def as_of(number: int | None, time: float | None, now: float) -> str:
    """Which round it was."""
    return "" if number is None or time is None else f"round {number}, {age(now - time)} ago"


def _share(found: JobExplanation) -> str:
    if found.owed_share is None:
        return ""
    has = f", has {words.percent(found.received_share)}" if found.received_share is not None else ""
    return f"owed {words.percent(found.owed_share)} of its time{has}"


def _credit(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if abs(seconds) < 1:
        return "even"
    return f"owed {age(seconds)} of run time" if seconds > 0 else f"has had {age(-seconds)} in advance"


def _budget(found: JobExplanation) -> str:
    if found.budget is None or found.spends is None:
        return ""
    return f"{words.percent(found.budget)} of all money, spends {words.percent(found.spends)}"


def _weight(found: JobWeight) -> str:
    """What it counts, and why."""
    counts = f"{words.weight(found.declared)}, counts as {words.weight(found.counts)}"
    had = f"having received {age(found.received_seconds)} of run time"
    return "\n".join(
        [
            f"{counts} in its queue",
            f"- x {significant(found.service_factor)} by the policy's weighting, {had}",
            f"- x {significant(found.aging_factor)}, having waited {age(found.waited_seconds)}",
        ]
    )


def _past(found: PastUsage) -> str:
    """Why a queue's weight counts more or less than declared."""
    had = f"of what was scarce it had {words.percent(found.had)}, and {words.percent(found.entitled)} was its part"
    return f"{had} (half-life {age(found.half_life_seconds)})"


def _estimate(estimate: Estimate) -> str:
    """Earliest, middle and latest scenario, then what is assumed."""
    within = [start for start in estimate.starts if start is not None]
    horizon = age(estimate.horizon_seconds)
    lines = []
    if not estimate.rounds:
        return "not as the cluster is"
    if not within:
        lines.append(f"not within {horizon}")
    elif len(estimate.starts) == 1:
        lines.append(f"in about {age(within[0])}")
    else:
        middle = estimate.quantile(0.5)
        typical = f"in about {age(middle)}" if middle is not None else f"perhaps not within {horizon}"
        late = len(estimate.starts) - len(within)
        rest = f", in {late} of {len(estimate.starts)} scenarios not within {horizon}" if late else ""
        span = f"from {age(within[0])} to {age(within[-1])}" if within[0] < within[-1] else "in all scenarios alike"
        lines.append(f"{typical} ({span}{rest})")
    return "\n".join([*lines, *(f"- {_ASSUMPTIONS[each]}" for each in estimate.assumptions)])


def _explain_marks(found: JobExplanation) -> None:
    possible = {each.configuration for each in found.configurations if each.possible}
    told = promise_view.legend(
        mark for index, mark in promise_view.marks(found.throughputs).items() if index in possible
    )
    if told:
        screen.remark(f"speed: {told}")


def _configurations(found: JobExplanation) -> Table:
    marks = promise_view.marks(found.throughputs)
    table = Table(
        (
            Column("FLAVOR"),
            Column("REPLICAS", right=True),
            Column("SPEED", right=True),
            Column("SHARE", right=True),
            Column("COST", right=True),
            Column("OF THAT, LIMITS", right=True, give_way=1),
        )
    )
    for each in found.configurations:
        if each.possible:
            costs = (words.percent(each.cost), words.percent(each.limits_cost) if each.limits_cost else "-")
            speed = f"{significant(each.speed)}{marks.get(each.configuration, '')}"
            told = (speed, words.percent(each.share), *costs)
        else:
            told = ("-", "not possible now", "-", "-")
        table.add(each.flavor, str(each.replicas), *told)
    return table


def _show_what_helps(found: WhatHelps, command: Command) -> None:
    table = Table((Column("CHANGE"), Column("SHARE", right=True), Column("STARTS"), Column("COMMAND", give_way=1)))
    if found.unchanged is not None:
        table.add("none", words.percent(found.unchanged.share), _starts(found.unchanged, found.horizon_seconds), "-")
    for each in found.found:
        starts = _starts(each.outcome, found.horizon_seconds)
        table.add(change(each.change), words.percent(each.outcome.share), starts, command(each.change) or "-")
    screen.show(table)
    if found.useless:
        screen.remark(f"no help: {'; '.join(change(each) for each in found.useless)}")
    if not found.complete:
        screen.remark(f"the search ended after {found.rounds} rounds: there may be more; --most-rounds allows them")
    screen.remark("each was tried on a copy of the facts, nobody ending and nobody else coming")


def change(made: Change) -> str:
    """What is changed, and what together with it."""
    if made.also:
        return " and ".join(change(each) for each in (replace(made, also=()), *made.also))
    return _one_change(made)


def _one_change(made: Change) -> str:
    """`weight 4.8`, `also accept t4`, `1 node more of a100`, `nominal quota of 4 GPUs of a100 for research`."""
    amounts = words.joined(words.amount(*each) for each in made.amounts) if made.amounts else ""
    match made.kind:
        case ChangeKind.WEIGHT:
            return f"weight {words.weight(made.weight)}"
        case ChangeKind.FLAVOR:
            return f"also accept {made.flavor}, if it is as fast there"
        case ChangeKind.NODES:
            return f"{made.nodes} node{'s' if made.nodes > 1 else ''} more of {made.flavor}"
        case ChangeKind.NOMINAL_QUOTA:
            return f"quota of {made.queue} on {made.flavor}: {amounts}"
        case ChangeKind.BORROWING_LIMIT:
            return f"borrowing limit of {made.queue} on {made.flavor}: {amounts}"
        case ChangeKind.LENDING_LIMIT:
            return f"lending limit of {made.queue} on {made.flavor}: {amounts}"
        case ChangeKind.LIMIT:
            return f"limit {made.limit} of the policy: {significant(made.most, 6)} {made.unit}".rstrip()


def _starts(outcome: Outcome, horizon: float) -> str:
    if outcome.starts_after_seconds is not None:
        return f"after {age(outcome.starts_after_seconds)}"
    why = f": {outcome.waits_for.value.replace('_', ' ')}" if outcome.waits_for is not None else ""
    return f"not within {age(horizon)}{why}"


def show_queue(found: QueueExplanation, now: float) -> None:
    """The page about one queue."""
    error = found.fairness_error
    screen.facts(
        [
            ("queue", found.queue),
            ("as of", as_of(found.round, found.time, now)),
            ("weight", _queue_weight(found)),
            ("entitled to", f"{words.percent(found.entitlement)} of all money"),
            ("may spend", f"{words.percent(found.budget)}, spends {words.percent(found.spends)}"),
            ("demand", words.percent(found.demand)),
            ("could use", f"{words.percent(found.constrained_demand)}, within quotas and what nodes have"),
            ("fair share", words.percent(found.fair_share)),
            ("adjusted", f"{words.percent(found.adjusted_fair_share)}, with what others leave"),
            ("holds", words.percent(found.actual_share)),
            ("error", f"{words.percent(abs(error))} too {'much' if error > 0 else 'little'}" if error else "none"),
        ]
    )
    if found.amounts:
        screen.heading("On each flavor")
        screen.show(_amounts_table(found.amounts))
    for each in found.amounts:
        if each.shortfall is not None:
            screen.line(f"guarantee of {each.flavor}/{each.resource} met: {_SHORTFALLS[each.shortfall]}")
        if each.borrowers:
            held = ", ".join(f"{one.queue} {significant(one.amount)}" for one in each.borrowers)
            screen.line(f"what it lends of {each.flavor}/{each.resource} is held by: {held}")


def _queue_weight(found: QueueExplanation) -> str:
    """As declared; and, where it counts otherwise, as what and why."""
    declared, past = words.weight(found.weight), found.past
    alone = found.weight * (1.0 if past is None else past.factor)
    if not found.counts or math.isclose(found.counts, alone, rel_tol=1e-6):
        return declared + ("" if past is None else f", counts {significant(past.factor)} times\n- {_past(past)}")
    counts = f"{declared}, counts as {significant(found.counts)}: with the weights of its jobs"
    return counts + ("" if past is None else f", and {significant(past.factor)} times\n- {_past(past)}")


def _amounts_table(amounts: Iterable[QueueAmounts]) -> Table:
    table = Table(
        (
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("QUOTA", right=True),
            Column("AT MOST", right=True, give_way=3),
            Column("ASKS", right=True),
            Column("COULD USE", right=True, give_way=2),
            Column("OPTIMUM", right=True),
            Column("HOLDS", right=True),
            Column("GUARANTEED", right=True, give_way=1),
            Column("LENDS", right=True, give_way=4),
            Column("LIMIT'S PRICE", right=True, give_way=5),
        )
    )
    for each in amounts:
        table.add(
            each.flavor or words.FLOATING,
            each.resource,
            "-" if each.nominal is None else significant(each.nominal),
            "-" if each.most is None else significant(each.most),
            *(significant(value) for value in (each.demand, each.constrained_demand, each.optimum, each.holds)),
            significant(each.guaranteed) if each.nominal is not None else "-",
            significant(each.lent) if each.lent > 0 else "-",
            price(each.limit_price) if each.limit_price > 0 else "-",
        )
    return table


def show_price(found: PriceExplanation, history: tuple[PastPrice, ...], now: float, *, one_more: bool) -> None:
    """The page about one price; `one_more`: it was asked what one more unit would bring."""
    usage = found.usage
    whatif = f"allocator whatif --add-node {usage.flavor}" if usage.allocated >= usage.capacity else ""
    unit = per_unit(usage.resource)
    more = found.one_more
    screen.facts(
        [
            ("price", f"{price(usage.price)} of all money per {unit} of {usage.flavor}"),
            ("as of", as_of(found.round, found.time, now)),
            ("has", approximate(usage.resource, usage.capacity, unit=True)),
            ("in use", f"{100 * usage.utilization:.0f} %"),
            ("wanted", approximate(usage.resource, usage.requested, unit=True)),
            (
                "classes",
                ", ".join(f"priority {each.priority}: {price(each.price)}" for each in found.classes)
                if len(found.classes) > 1
                else "",
            ),
            (
                f"one {unit} more",
                in_words(more, whatif) if one_more else "",
            ),
        ]
    )
    if found.payers:
        screen.heading("Who pays")
        table = Table((Column("QUEUE"), Column("PAYS", right=True), Column("GETS", right=True)))
        for each in found.payers:
            table.add(each.queue, words.percent(each.paid), significant(each.amount))
        screen.show(table)
    if more is not None and more.gains and brings(more):
        screen.heading(f"Who would gain by one {unit} more")
        screen.show(gains_table(more))
    if history:
        screen.heading("Before")
        table = Table((Column("ROUND", right=True), Column("AGE", right=True), Column("PRICE", right=True)))
        for past in history:
            table.add(str(past.round), age(now - past.time), price(past.price))
        screen.show(table)


def price_history(rounds: Sequence[RoundSummary], flavor: str | None, now: float) -> Table:
    """One line per round, one column per flavor and resource that ever had a price."""
    priced = {
        (usage.flavor, usage.resource)
        for summary in rounds
        for usage in summary.flavors
        if (flavor is None or usage.flavor == flavor) and price(usage.price) != "0"
    }
    names = sorted(priced)
    table = Table(
        (
            Column("ROUND", right=True),
            Column("AGE", right=True),
            *(Column(f"{name}/{resource}", right=True) for name, resource in names),
        )
    )
    for summary in rounds:
        prices = {(usage.flavor, usage.resource): usage.price for usage in summary.flavors}
        cells = (price(prices[name]) if name in prices else "-" for name in names)
        table.add(str(summary.round), age(now - summary.time), *cells)
    return table


def price_line(summary: RoundSummary, flavor: str | None) -> str:
    """One round of a watch: everything that has a price."""
    told = [
        f"{usage.flavor}/{usage.resource} {price(usage.price)}"
        for usage in summary.flavors
        if (flavor is None or usage.flavor == flavor) and price(usage.price) != "0"
    ]
    return f"{screen.local_time(summary.time)}  round {summary.round}: {', '.join(told) or 'nothing has a price'}"


def quota_flags(arranged: Queue) -> str:
    """`--quota a100/gpu=4,borrow=2 ...`: all quotas of a queue, as `queues update` takes them."""
    flags = []
    for quota in arranged.quotas:
        text = f"{quota.flavor}/{quota.resource}={format_amount(quota.resource, quota.nominal)}"
        for word, limit in (("borrow", quota.borrowing_limit), ("lend", quota.lending_limit)):
            if limit is not None:
                text += f",{word}={format_amount(quota.resource, limit)}"
        flags.append(f"--quota {text}")
    return " ".join(flags)

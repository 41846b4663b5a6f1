"""What is scarce for a job, and the prices of side constraints and of what lies in pieces, on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from allocator.cli import screen, words
from allocator.cli.cluster_view import price
from allocator.cli.quantities import significant
from allocator.cli.screen import Column, Table
from allocator.domain.resources import display_unit
from allocator.explain.scarcity import Binding, BindingKind, LimitExplanation, LimitPrice, OneMore, Payer, ScarceLimit
from allocator.rounds.report import LimitKind, LimitUsage

_MOST_PAYERS = 3
"""That a line has room for."""
_MOST_ON_A_SCREEN = 12
_KINDS = {
    LimitKind.SIDE_CONSTRAINT: "a limit of the policy",
    LimitKind.FLOATING: "a floating resource",
    LimitKind.QUOTA: "a quota",
    LimitKind.LENDING: "what a queue lends of its quota",
}


def scarce(bindings: Iterable[Binding]) -> Table:
    """One line for each."""
    table = Table(
        (
            Column("WHAT"),
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("PRICE", right=True),
            Column("PER"),
            Column("IT PAYS", right=True),
        )
    )
    for each in bindings:
        table.add(
            _what(each),
            each.flavor or "-",
            each.resource or "-",
            price(each.price),
            per_unit(each.resource) if each.limit is None else _per(each.limit, each.resource),
            words.percent(each.paid),
        )
    return table


def amounts(bindings: Iterable[Binding]) -> list[str]:
    """How much there is of each side constraint, and of what lies in pieces, and who wants it: a line for each."""
    return [_told(each.limit, each.flavor, each.resource) for each in bindings if each.limit is not None]


def limit_table(limits: Iterable[LimitPrice]) -> Table:
    """One line for each that has a price."""
    table = Table(
        (
            Column("LIMIT"),
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("PRICE", right=True),
            Column("PER"),
            Column("HAS", right=True, give_way=3),
            Column("WANTED", right=True, give_way=2),
            Column("ALL OF IT", right=True),
            Column("PAID BY", give_way=1),
        )
    )
    for each in limits:
        table.add(
            each.limit.name or _pieces(each.limit, "some jobs"),
            each.flavor or "-",
            each.resource or "-",
            price(each.price),
            _per(each.limit, each.resource),
            significant(each.limit.most),
            significant(each.limit.wanted),
            words.percent(sum(payer.paid for payer in each.payers)),
            _paid_by(each.payers),
        )
    return table


def usage_table(usages: Iterable[LimitUsage]) -> Table:
    """One line for each limit, binding or not."""
    table = Table(
        (
            Column("LIMIT"),
            Column("USED", right=True),
            Column("", give_way=3),
            Column("%", right=True, give_way=2),
            Column("GUARANTEED", right=True, give_way=4),
            Column("AT MOST", right=True),
            Column("PRICE", right=True),
            Column("UNIT", give_way=1),
        )
    )
    for each in usages:
        part = part_used(each)
        table.add(
            limit_title(each),
            "-" if each.used is None else significant(each.used),
            "-" if part is None else screen.bar(min(part, 1.0), 10),
            "-" if part is None else f"{100 * part:.0f}",
            "-" if each.least is None else significant(each.least),
            "no limit" if each.most is None else significant(each.most),
            price(each.price),
            each.unit or "-",
        )
    return table


def show_fullest(usages: Sequence[LimitUsage]) -> None:
    """The limits of a screen: those with a price first, then those of which most is taken."""
    if not usages:
        return
    order = sorted(usages, key=lambda each: (price(each.price) == "0", -(part_used(each) or 0.0)))
    screen.heading("Limits")
    screen.show(usage_table(order[:_MOST_ON_A_SCREEN]))
    if len(order) > _MOST_ON_A_SCREEN:
        screen.remark(f"and {len(order) - _MOST_ON_A_SCREEN} more: allocator prices")


def part_used(usage: LimitUsage) -> float | None:
    """What part of it is taken; None where that says nothing."""
    if usage.used is None or not usage.most:
        return None
    return usage.used / usage.most


def limit_title(usage: LimitUsage) -> str:
    """`limit batch-on-h100`, `floating matlab`, `quota research:h100/gpu`, `lent by research:h100/gpu`."""
    if usage.kind is LimitKind.LENDING:
        return f"lent by {usage.name.removesuffix(',lend')}"
    return f"{usage.kind.value} {usage.name}"


def show_limit(found: LimitExplanation, as_of: str, *, one_more: bool) -> None:
    """The page about one limit; `one_more`: it was asked what one more unit would bring."""
    usage, more = found.usage, found.one_more
    unit = _singular(usage.unit)
    part = part_used(usage)
    used = "" if usage.used is None else f"{significant(usage.used)}{'' if part is None else f' ({100 * part:.0f} %)'}"
    screen.facts(
        [
            ("limit", f"{usage.name}, {_KINDS[usage.kind]}"),
            ("as of", as_of),
            ("price", f"{price(usage.price)} of all money per {unit}"),
            ("with", ", ".join(found.together) and f"{', '.join(found.together)}: only together they bind"),
            ("guaranteed", "" if usage.least is None else _with_unit(usage.least, usage.unit)),
            ("at most", "no limit" if usage.most is None else _with_unit(usage.most, usage.unit)),
            ("in use", used),
            ("too much", too_much(usage)),
            (f"one {unit} more", _one_more_of(usage, more) if one_more else ""),
        ]
    )
    if found.payers:
        screen.heading("Who gets it, and pays for it")
        table = Table((Column("QUEUE"), Column("PAYS", right=True), Column("GETS", right=True)))
        for each in found.payers:
            table.add(each.queue, words.percent(each.paid), significant(each.amount))
        screen.show(table)
    if more is not None and more.gains and brings(more):
        screen.heading(f"Who would gain by one {unit} more")
        screen.show(gains_table(more))


def _one_more_of(usage: LimitUsage, more: OneMore | None) -> str:
    full = usage.used is not None and usage.most is not None and usage.used >= usage.most
    larger = shlex.quote(f"{usage.name}={significant((usage.used or 0.0) + 1.0)}")
    return in_words(more, f"allocator whatif --limit {larger}" if full else "")


def in_words(more: OneMore | None, whatif: str) -> str:
    """What one unit more brings; where all there is is held for good, nobody shares it, and `whatif` tells instead."""
    if whatif and not brings(more):
        return f"changes nobody's share; who would start with more: {whatif}"
    return "brings nothing: nobody could use it as the cluster is" if more is None else _gain_in_words(more)


def brings(more: OneMore | None) -> bool:
    """Whether it brings anything that is not what solvers leave."""
    return more is not None and abs(more.objective) > more.accuracy


def _gain_in_words(more: OneMore) -> str:
    """What it adds to the objective."""
    told = f"adds {significant(more.objective)} to the objective"
    return told + (", which is within the solver's accuracy" if abs(more.objective) <= more.accuracy else "")


def gains_table(more: OneMore) -> Table:
    """One line per queue."""
    table = Table((Column("QUEUE"), Column("OBJECTIVE", right=True), Column("JOBS' WORTH", right=True)))
    for gain in more.gains:
        table.add(gain.queue, significant(gain.objective), significant(gain.utility))
    return table


def too_much(usage: LimitUsage) -> str:
    """By how much more is in use than is allowed, where a limit was lowered; empty where it is not."""
    if usage.used is None or usage.most is None or usage.used <= usage.most * (1 + 1e-9):
        return ""
    over = _with_unit(usage.used - usage.most, usage.unit)
    return f"{over}: nobody is stopped for it, and nobody that it counts starts before so much has ended"


def _with_unit(amount: float, unit: str) -> str:
    return f"{significant(amount)} {_singular(unit) if amount == 1 and unit else unit}".rstrip()


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if unit in ("cores", "GPUs", "units") else unit or "unit"


def per_unit(resource: str) -> str:
    """What a price is per: `core`, `GPU`, `GiB`, `GB/s`, `unit`."""
    return _singular(display_unit(resource)[0])


def _what(each: Binding) -> str:
    match each.kind:
        case BindingKind.CAPACITY:
            return "capacity"
        case BindingKind.BORROWING:
            return f"limit of {each.queue}"
        case BindingKind.LENDING:
            return f"kept by {each.queue.replace('+', ', ')}"
        case BindingKind.LIMIT:
            return f"limit {'' if each.limit is None else each.limit.name}"
        case BindingKind.PIECES:
            return "pieces" if each.limit is None else _pieces(each.limit, "it")


def _pieces(limit: ScarceLimit, whom: str) -> str:
    """`pieces of 8 GPUs`, `nodes that admit it`, `pieces of 8 GPUs on nodes that admit it`."""
    where = f"nodes that admit {whom}"
    if not limit.size:
        return where
    pieces = f"pieces of {significant(limit.size)} GPU{'' if limit.size == 1 else 's'}"
    return f"{pieces} on {where}" if limit.some_nodes else pieces


def _per(limit: ScarceLimit, resource: str) -> str:
    if limit.name:
        return limit.unit or "unit"
    return "piece" if limit.size else per_unit(resource)


def _told(limit: ScarceLimit, flavor: str, resource: str) -> str:
    many = limit.jobs != 1
    jobs = f"{limit.jobs} job{'s' if many else ''}"
    if limit.name:
        unit = f" {limit.unit}" if limit.unit else ""
        used = "" if limit.used is None else f", {significant(limit.used)} in use"
        wanted = f"{jobs} would take {significant(limit.wanted)} together"
        return f"{limit.name}: {significant(limit.most)}{unit} allowed{used}; {wanted}"
    there = _amount(limit, resource) if limit.most else "nothing"
    wanted = f"{jobs} {'want' if many else 'wants'} {significant(limit.wanted)}"
    return f"{_pieces(limit, 'it')}, {flavor}: {there} beside jobs that stay; {wanted}"


def _amount(limit: ScarceLimit, resource: str) -> str:
    if limit.size:
        return significant(limit.most)
    unit = display_unit(resource)[0]
    named = {"cores": unit, "GPUs": unit, "units": resource}.get(unit, f"{unit} {resource}")
    return f"{significant(limit.most)} {named}"


def _paid_by(payers: tuple[Payer, ...]) -> str:
    told = [f"{each.queue} {words.percent(each.paid)}" for each in payers[:_MOST_PAYERS]]
    rest = len(payers) - len(told)
    return ", ".join([*told, *([f"{rest} other{'s' if rest > 1 else ''}"] if rest else [])])

"""What is scarce for a job, and the prices of side constraints and of what lies in pieces, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.cli import words
from allocator.cli.cluster_view import price
from allocator.cli.quantities import significant
from allocator.cli.screen import Column, Table
from allocator.domain.resources import display_unit
from allocator.explain.scarcity import Binding, BindingKind, LimitPrice, Payer, ScarceLimit

_MOST_PAYERS = 3
"""That a line has room for."""


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


def per_unit(resource: str) -> str:
    """What a price is per: `core`, `GPU`, `GiB`, `GB/s`, `unit`."""
    unit = display_unit(resource)[0]
    return unit.removesuffix("s") if unit in ("cores", "GPUs", "units") else unit


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
        used = "" if limit.used is None else f", {significant(limit.used)} in use when the round looked"
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

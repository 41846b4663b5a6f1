"""Quotas as people write them, `h100/gpu=16,borrow=8,lend=4`, and as a table.

Amounts are written as everywhere (`allocator.cli.quantities`) and shown in display units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from allocator.cli.quantities import approximate, format_amount, parse_amount
from allocator.cli.screen import Column, Table
from allocator.client import ClusterStatus, Queue, Quota
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.resources import GPU_MILLIS, display_unit

FLAG = "--quota"
_EXAMPLE = "h100/gpu=16 or h100/gpu=16,borrow=8,lend=4"
_LIMITS = {"borrow": "borrowing_limit", "lend": "lending_limit"}
_NO_LIMIT = "no limit"

_Kind = tuple[str, str]
"""Flavor and resource."""


def parse_quotas(texts: Sequence[str]) -> tuple[Quota, ...]:
    """One quota per text, in order. Errors: InvalidInput with all that is wrong, each fault naming its quota."""
    found: dict[str, Quota] = {}
    faults: list[Violation] = []
    for text in texts:
        try:
            quota = _parse(text)
        except InvalidInput as error:
            faults += error.violations
            continue
        name = f"{quota.flavor}/{quota.resource}"
        if name in found:
            faults.append(Violation(f"{FLAG} {name}", "was given before: each flavor and resource once"))
        found[name] = quota
    if faults:
        raise InvalidInput(*faults)
    return tuple(found.values())


def _parse(text: str) -> Quota:
    head, *limits = [part.strip() for part in text.split(",")]
    name, given, nominal = head.partition("=")
    flavor, _, resource = name.strip().partition("/")
    if not flavor or not resource:
        raise InvalidInput.of(FLAG, f"cannot read {text!r}; write FLAVOR/RESOURCE=AMOUNT such as {_EXAMPLE}")
    where = f"{FLAG} {flavor}/{resource}"
    if not given:
        raise InvalidInput.of(
            where, f"tells no amount; write {flavor}/{resource}=AMOUNT such as {_EXAMPLE}; 0 guarantees nothing"
        )
    amounts: dict[str, int] = {}
    for limit in limits:
        key, _, amount = limit.partition("=")
        if key not in _LIMITS:
            close = get_close_matches(key, _LIMITS, n=1)
            hint = (
                f"did you mean {close[0]}=?" if close else "after the amount may follow borrow=AMOUNT and lend=AMOUNT"
            )
            raise InvalidInput.of(where, f"cannot read {limit!r}; {hint}")
        if _LIMITS[key] in amounts:
            raise InvalidInput.of(where, f"{key}= is given twice: each once")
        amounts[_LIMITS[key]] = _amount(resource, amount, f"{where}: {key}")
    quota = Quota(flavor, resource, _amount(resource, nominal, where), **amounts)
    _require_valid(quota, where)
    return quota


def _amount(resource: str, text: str, where: str) -> int:
    amount = parse_amount(resource, text, where)
    if resource == "gpu" and amount % GPU_MILLIS:
        raise InvalidInput.of(where, f"must be whole GPUs such as 16, got {text.strip()!r}")
    return amount


def _require_valid(quota: Quota, where: str) -> None:
    """In the words of whoever wrote it: amounts with units, the flag instead of fields."""
    if quota.lending_limit is not None and quota.lending_limit > quota.nominal:
        nominal, lent = (format_amount(quota.resource, amount) for amount in (quota.nominal, quota.lending_limit))
        wrong = f"must be at most the quota itself, {nominal}: nobody lends what is not theirs; got {lent}"
        raise InvalidInput.of(f"{where}: lend", wrong)
    violations = quota.violations()
    if violations:
        raise InvalidInput(*(Violation(f"{where}: {fault.field}", fault.description) for fault in violations))


def quota_table(queues: Iterable[Queue], *, named: bool = True) -> Table:
    """One line per quota, in display units; `named`: with the queue's name in its first line."""
    table = Table(
        (
            *((Column("QUEUE"),) if named else ()),
            Column("FLAVOR"),
            Column("RESOURCE"),
            Column("NOMINAL", right=True),
            Column("MAY BORROW", right=True),
            Column("MAY LEND", right=True),
            Column("UNIT"),
        )
    )
    for queue in queues:
        for quota in queue.quotas:
            table.add(
                *((queue.name,) if named else ()),
                quota.flavor,
                quota.resource,
                approximate(quota.resource, quota.nominal),
                _limit(quota.resource, quota.borrowing_limit),
                _limit(quota.resource, quota.lending_limit),
                display_unit(quota.resource)[0],
            )
    return table


def _limit(resource: str, amount: int | None) -> str:
    return _NO_LIMIT if amount is None else approximate(resource, amount)


def remarks(queue: Queue, queues: Sequence[Queue], status: ClusterStatus) -> list[str]:
    """What is allowed and still may surprise about the quotas of `queue`, one of `queues`, in a sentence each."""
    capacity = {(usage.flavor, usage.resource): usage.capacity for usage in status.flavors if usage.capacity}
    return [*_unknown(queue, capacity), *_promised_twice(queue, queues, capacity)]


def _unknown(queue: Queue, capacity: Mapping[_Kind, int]) -> Iterator[str]:
    """Quotas on what no node has now: mostly a slip of the pen."""
    there = [f"{flavor}/{resource}" for flavor, resource in capacity]
    for quota in queue.quotas:
        if (quota.flavor, quota.resource) not in capacity:
            name = f"{quota.flavor}/{quota.resource}"
            close = get_close_matches(name, there, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            yield f"no node offers {name} now{hint}; the quota holds as soon as one does"


def _promised_twice(queue: Queue, queues: Sequence[Queue], capacity: Mapping[_Kind, int]) -> Iterator[str]:
    """Where siblings together are guaranteed more than their parent, or roots more than there is."""
    above = next((other for other in queues if other.name == queue.parent), None)
    guaranteed = {} if above is None else {(quota.flavor, quota.resource): quota.nominal for quota in above.quotas}
    for quota in queue.quotas:
        kind = (quota.flavor, quota.resource)
        around = _nominal(kind, (other for other in queues if other.parent == queue.parent))
        below = _nominal(kind, (other for other in queues if other.parent == queue.name))
        if above is None and kind in capacity and around > capacity[kind]:
            yield _too_much(kind, "all queues at the top", around, "there is now", capacity[kind])
        if above is not None and kind in guaranteed and around > guaranteed[kind]:
            yield _too_much(kind, f"the queues below {above.name}", around, "its own", guaranteed[kind])
        if below > quota.nominal:
            yield _too_much(kind, f"the queues below {queue.name}", below, "its own", quota.nominal)


def _nominal(kind: _Kind, queues: Iterable[Queue]) -> int:
    return sum(quota.nominal for queue in queues for quota in queue.quotas if (quota.flavor, quota.resource) == kind)


def _too_much(kind: _Kind, who: str, promised: int, whose: str, there: int) -> str:
    flavor, resource = kind
    more, less = (approximate(resource, amount) for amount in (promised, there))
    unit = display_unit(resource)[0]
    return (
        f"{flavor}/{resource}: {who} are guaranteed {more} {unit} together, more than {whose}, {less}: "
        "when all ask for it, each gets its part in proportion"
    )

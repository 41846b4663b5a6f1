"""What running jobs take of the side constraints: power, licences, money per hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from allocator.domain.side_constraint import SideConstraint, Term
from allocator.formulation.side_constraints import _most, _sorts
from allocator.formulation.zones import Zones

if TYPE_CHECKING:
    from allocator.explain.finished import Finished


@dataclass(frozen=True, slots=True)
class LimitInUse:
    """Amounts in the unit of the constraint."""

    name: str
    used: float
    """By the jobs that ran when the round looked."""
    most: float
    """What it allows, of the nodes that there are."""
    price: float
    """Money per unit; 0 where it does not bind. Of constraints that only together are a row, the price of that."""
    unit: str = ""


def limits_in_use(finished: Finished) -> tuple[LimitInUse, ...]:
    """All side constraints of the policy that the round was decided by, in its order."""
    constraints, live = finished.policy.side_constraints, finished.live
    if not constraints:
        return ()
    terms = [term for constraint in constraints for term in constraint.terms]
    sort, counts = _sorts(terms, live)
    running = live.jobs.configuration >= 0
    resources, floating = finished.report.formulation.resources, tuple(sorted(finished.policy.floating_resources))
    zones = Zones.of(terms, live, running, sort, resources, tuple(name for name in floating if name in resources))
    taken = zones.taken(terms, counts, live).tolist()
    prices = {
        name: price
        for (together, flavor, _), price in finished.market.limit_prices.items()
        if not flavor
        for name in members(together, constraints)
    }
    found, first = [], 0
    for constraint in constraints:
        used = sum(taken[first : first + len(constraint.terms)])
        first += len(constraint.terms)
        price = prices.get(constraint.name, 0.0)
        found.append(LimitInUse(constraint.name, used, _most(constraint, zones), price, constraint.unit))
    return tuple(found)


def members(name: str, constraints: Sequence[SideConstraint]) -> tuple[str, ...]:
    """The constraints that are the row of this name: of many, it has the first and how many more."""
    known = {each.name: each for each in constraints}
    parts = name.split("+")
    if all(part in known for part in parts):
        return tuple(parts)
    if parts[0] not in known:
        return ()
    wanted = _anywhere(known[parts[0]])
    names = [each.name for each in constraints if _anywhere(each) == wanted]
    first = names.index(parts[0])
    return tuple(names[first : first + 1 + int(parts[1])]) if parts[-1].isdecimal() else (parts[0],)


def _anywhere(constraint: SideConstraint) -> tuple[Term, ...]:
    """Its terms, but for the nodes that they are about."""
    return tuple(replace(term, node_labels=()) for term in constraint.terms)

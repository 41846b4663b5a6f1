"""What running jobs take of every limit that there is: quotas, side constraints, floating resources. Pure.

As of the end of a round, or for limits that are not in force yet: what a lowered limit would find in use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from allocator.domain.plan import Commit
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.domain.snapshot import LimitName
from allocator.formulation.build import Formulation
from allocator.formulation.live import Live
from allocator.formulation.problem import Floats, Integers
from allocator.formulation.side_rows import most_of
from allocator.formulation.side_terms import sorts_of
from allocator.formulation.zones import Zones
from allocator.market.clearing import Cleared
from allocator.market.limits import KEPT
from allocator.rounds.report import LimitKind, LimitUsage
from allocator.rounds.settle import configurations_after, parts_after


@dataclass(frozen=True, eq=False)
class Taken:
    """What the live jobs (J,) hold once `commit` is true."""

    formulation: Formulation
    commit: Commit

    @property
    def _live(self) -> Live:
        return self.formulation.live

    @cached_property
    def configuration(self) -> Integers:
        """(J,) that each job runs in; -1 of those that wait."""
        return configurations_after(self._live, self.commit)

    @cached_property
    def part(self) -> Floats:
        """(J,) of its demand that each job holds."""
        return parts_after(self._live, self.commit)

    def of_constraints(self, policy: Policy) -> list[tuple[float, float]]:
        """(used, most) of each side constraint of a policy, which need not be in force."""
        constraints, live = policy.side_constraints, self._live
        if not constraints:
            return []
        terms = [term for constraint in constraints for term in constraint.terms]
        sort, counts = sorts_of(terms, live)
        resources, floating = self.formulation.resources, tuple(sorted(policy.floating_resources))
        floating = tuple(name for name in floating if name in resources)
        applied = [each for each in self.commit.applied if each.allocation is not None]
        changed = live.positions(each.change.job_id for each in self.commit.applied)
        stays = self.configuration >= 0
        stays[changed] = False
        zones = Zones.of(terms, live, stays, sort, resources, floating)
        position = {node.name: number for number, node in enumerate(live.nodes.nodes)} if applied else {}
        pieces = dict(zones.pieces)
        for number, each in zip(live.positions(each.change.job_id for each in applied).tolist(), applied, strict=True):
            assert each.allocation is not None
            placement = each.allocation.placement
            kind = int(live.shapes.kind[live.shape[number], placement.configuration])
            for replica in placement.replicas:
                place = int(zones.zone[position[replica.node]])
                key = (kind, placement.millis, int(sort[number]), place)
                pieces[key] = pieces.get(key, 0) + 1
        taken = replace(zones, pieces=pieces).taken(terms, counts, live).tolist()
        found, first = [], 0
        for constraint in constraints:
            used = sum(taken[first : first + len(constraint.terms)])
            first += len(constraint.terms)
            found.append((used, most_of(constraint, zones)))
        return found

    @cached_property
    def by_queue(self) -> Mapping[tuple[str, str, str], int]:
        """By queue, flavor and resource, in integer units; those of queues below included."""
        live = self._live
        jobs = np.flatnonzero(self.configuration >= 0)
        found: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        if not jobs.size:
            return found
        kind = live.shapes.kind[live.shape[jobs], self.configuration[jobs]]
        queue = live.profiles.queue[live.jobs.profile[jobs]]
        key, which = np.unique(np.stack([queue, kind]), axis=1, return_inverse=True)
        gangs = np.bincount(which.ravel(), weights=self.part[jobs], minlength=key.shape[1])
        for (leaf, number), count in zip(key.T.tolist(), gangs.tolist(), strict=True):
            gang = live.kinds[number]
            for name in with_above(live.queues[leaf]):
                for resource, amount in gang.asks.items():
                    found[name, gang.flavor, resource] += round(amount * gang.replicas * count)
        return found

    @cached_property
    def anywhere(self) -> Mapping[str, int]:
        """By resource, what all jobs hold together, in integer units."""
        found: defaultdict[str, int] = defaultdict(int)
        for (queue, _, resource), amount in self.by_queue.items():
            if "/" not in queue:
                found[resource] += amount
        return found


def limits_in_use(taken: Taken, policy: Policy, queues: Iterable[Queue], market: Cleared | None) -> list[LimitUsage]:
    """Every limit of a policy and of queues: side constraints in the order of the policy, floating resources that have
    none of their own, quotas by queue. Without a market, prices are 0.
    """
    prices: Mapping[LimitName, float] = {} if market is None else market.limit_prices
    found = list(_constraints(taken, policy, prices))
    told = {each.resource for each in found if each.kind is LimitKind.FLOATING}
    for name in policy.floating_resources:
        if name not in told:
            unit, size = display_unit(name)
            used = taken.anywhere[name] / size
            found.append(LimitUsage(LimitKind.FLOATING, name, "", "", name, unit, used, None, None, 0.0))
    own = quota_prices(prices, taken.formulation)
    for queue in queues:
        for quota in queue.quotas:
            found += _quota(taken, queue, quota, own)
    return found


def _constraints(taken: Taken, policy: Policy, prices: Mapping[LimitName, float]) -> Iterator[LimitUsage]:
    constraints = policy.side_constraints
    paid = {
        name: price
        for (together, flavor, _), price in prices.items()
        if not flavor
        for name in taken.formulation.constraints_of(together)
    }
    for constraint, (used, most) in zip(constraints, taken.of_constraints(policy), strict=True):
        name = constraint.name
        if is_of_floating(constraint, policy):
            kind, resource, unit = LimitKind.FLOATING, name, display_unit(name)[0]
        else:
            kind, resource, unit = LimitKind.SIDE_CONSTRAINT, "", constraint.unit
        yield LimitUsage(kind, name, "", "", resource, unit, used, None, most, paid.get(name, 0.0))


def is_of_floating(constraint: SideConstraint, policy: Policy) -> bool:
    """Whether the constraint says how many there are of a floating resource."""
    return constraint.name in policy.floating_resources and constraint.terms == (Term(constraint.name),)


def _quota(
    taken: Taken, queue: Queue, quota: Quota, prices: Mapping[tuple[LimitKind, str, str, str], float]
) -> Iterator[LimitUsage]:
    where = (queue.name, quota.flavor, quota.resource)
    name, (unit, size) = f"{queue.name}:{quota.flavor}/{quota.resource}", display_unit(quota.resource)
    used, least = taken.by_queue.get(where, 0) / size, quota.nominal / size
    most = None if quota.most is None else quota.most / size
    price = prices.get((LimitKind.QUOTA, *where), 0.0)
    yield LimitUsage(LimitKind.QUOTA, name, *where, unit, used, least, most, price)
    if quota.lending_limit is not None:
        price = prices.get((LimitKind.LENDING, *where), 0.0)
        yield LimitUsage(LimitKind.LENDING, f"{name},lend", *where, unit, None, None, quota.lending_limit / size, price)


def quota_prices(
    prices: Mapping[LimitName, float], formulation: Formulation
) -> Mapping[tuple[LimitKind, str, str, str], float]:
    """By kind of limit, queue, flavor and resource, of a market's prices of limits. Where several queues together keep
    something to themselves, it is the price of each one's lending limit.
    """
    found: defaultdict[tuple[LimitKind, str, str, str], float] = defaultdict(float)
    others = set(formulation.limit_names)
    for (name, flavor, resource), price in prices.items():
        if (name, flavor, resource) in others:
            continue
        keeps = name.startswith(KEPT)
        kind = LimitKind.LENDING if keeps else LimitKind.QUOTA
        for owner in name.removeprefix(KEPT).split("+") if keeps else [name]:
            found[kind, owner, flavor, resource] += price
    return found


def with_above(queue: str) -> Iterator[str]:
    """The queue, and those above it."""
    while queue:
        yield queue
        queue = queue.rpartition("/")[0]

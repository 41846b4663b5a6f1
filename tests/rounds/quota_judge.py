"""Quotas of random worlds, and whether they are kept: worked out from what they say, apart from the code that keeps
them.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from allocator.domain.job import Configuration, Job
from allocator.domain.placement import held
from allocator.domain.plan import Commit, Start
from allocator.domain.quota import Quota
from allocator.store.memory import MemoryStore

FLAVORS = "ab"


def drawn_quotas(dice: random.Random) -> tuple[Quota, ...]:
    """Of processors; often none."""
    found = []
    for flavor in FLAVORS if dice.random() < 0.4 else ():
        nominal = dice.randint(0, 8) * 1000
        borrow, lend = dice.choice((None, 0, 4000)), dice.choice((None, None, 0, nominal))
        found.append(Quota(flavor, "cpu", nominal, borrow, lend))
    return tuple(found)


def within_quotas(store: MemoryStore, live: Sequence[Job], queue: str, way: Configuration) -> bool:
    """Whether a gang of a queue may start."""
    quotas = {q.name: quota for q in store.queues() for quota in q.quotas if quota.flavor == way.flavor}
    wanted = _used(live, way.flavor)
    more = way.total_demand.cpu_millicores
    before = _reserved(store, live, way.flavor, quotas, wanted)
    wanted[queue] += more
    most = quotas[queue].most if queue in quotas else None
    if more and most is not None and wanted[queue] > most:
        return False
    after = _reserved(store, live, way.flavor, quotas, wanted)
    return (
        after <= _there(store, live, way.flavor) or after == before or not any(quota.kept for quota in quotas.values())
    )


def beyond_quotas(store: MemoryStore, live: Sequence[Job], commit: Commit) -> Iterator[str]:
    """Who started and brought its queue beyond what that may use of a flavor."""
    jobs = {job.id: job for job in live}
    quotas = {(q.name, quota.flavor): quota for q in store.queues() for quota in q.quotas}
    for applied in commit.applied:
        if not isinstance(applied.change, Start):
            continue
        job = jobs[applied.change.job_id]
        way = job.spec.configurations[applied.change.placement.configuration]
        quota = quotas.get((job.spec.queue, way.flavor))
        used = _used(live, way.flavor)[job.spec.queue]
        if quota is not None and quota.most is not None and way.demand.cpu_millicores and used > quota.most:
            yield f"queue {job.spec.queue} uses {used} of {quota.most} millicores on {way.flavor}"


def _used(live: Sequence[Job], flavor: str) -> Counter[str]:
    """Millicores that the jobs of each queue hold on a flavor."""
    found: Counter[str] = Counter()
    for job in live:
        if job.allocation is not None:
            way = job.spec.configurations[job.allocation.placement.configuration]
            if way.flavor == flavor:
                each = held(way.demand, job.allocation.placement.millis)  # a divisible job may hold a part
                found[job.spec.queue] += each.cpu_millicores * len(job.allocation.standing)
    return found


def _there(store: MemoryStore, live: Sequence[Job], flavor: str) -> int:
    """Of nodes that take new work, and what is in use on the others."""
    nodes = {n.name: n for n in store.nodes() if n.flavor == flavor}
    found = sum(n.capacity.cpu_millicores for n in nodes.values() if n.takes_new_work)
    for job in live:
        if job.allocation is not None:
            way = job.spec.configurations[job.allocation.placement.configuration]
            closed = [r for r in job.allocation.standing if r.node in nodes and not nodes[r.node].takes_new_work]
            found += held(way.demand, job.allocation.placement.millis).cpu_millicores * len(closed)
    return found


def _reserved(
    store: MemoryStore, live: Sequence[Job], flavor: str, quotas: dict[str, Quota], wanted: Counter[str]
) -> int:
    """What queues use, or do not lend if that is more; less in proportion where more is promised than there is."""
    there, promised = _there(store, live, flavor), sum(quota.nominal for quota in quotas.values())
    part = there / promised if promised > there else 1.0
    kept = {name: math.floor(quota.kept * part) for name, quota in quotas.items()}
    return sum(max(wanted[name], kept.get(name, 0)) for name in wanted.keys() | kept.keys())

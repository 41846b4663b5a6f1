"""Why a job waits, true of the state at the end of the round and in numbers that can be checked.

INSUFFICIENT_CAPACITY: on no flavor that the job accepts is its gang's total demand free, on nodes that the job may use;
the shortages say, per flavor and resource, what is missing in total. FRAGMENTED: somewhere it is, but not in pieces
that fit; the shortages say what one more replica misses on the node that comes closest, after as many of the gang's
replicas as fit are placed. CONSTRAINED: the pieces are there, but the job's limits per node or domain, or what it must
be near to, leave too few of them. RESERVED: it would fit, on nodes that are kept for somebody who is owed more.
OVER_LIMIT: side constraints leave too little for its gang, wherever it would be, or on the nodes where it would fit.

A job may use nodes that take new work, whose labels and taints suit it, and that are not kept for somebody else. Every
reason says per flavor what its nodes said (`examining`). A flavor with several configurations is described by the one
that comes closest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from allocator.domain.giving_way import checkpoint
from allocator.domain.placement import WHOLE
from allocator.domain.reason import Examined, PendingCause, PendingReason, Shortage
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.side_constraint import SideConstraint
from allocator.domain.snapshot import Snapshot
from allocator.formulation.eligibility import open_nodes_of, why_never
from allocator.placement.alike import alike_in
from allocator.placement.examining import Examiner, Ties
from allocator.placement.exceeding import QuotaExaminer, is_never, over_quota
from allocator.placement.over_limits import NOBODY, Asking, LimitExaminer, over_limit
from allocator.placement.rounding import Outcome
from allocator.placement.space import Booleans, Integers, derive, empty_space

Missing = dict[str, int]
"""Resource to what lacks of it, in its integer unit; no zeros."""
_NO_TIES: Ties = ()
_CENTURY = 3.2e9
"""Seconds; what is expected later than that nobody knows."""


class _Asker(NamedTuple):
    """Who asks why it waits, but for its kinds: jobs that are alike in this get the same answer."""

    ties: Ties
    barred: bool
    """Whether nodes that are kept for others are closed to it."""
    leaf: int
    asking: Asking
    whole: bool
    """Whether it has all it asks for or nothing."""
    millis: int
    """Thousandths of its demand that it would hold, where quotas ask."""

    @property
    def unbound(self) -> _Asker:
        """The same without quotas and side constraints."""
        return self._replace(leaf=-1, asking=NOBODY, millis=WHOLE)


class Explainer:
    """Explains any number of waiting jobs; each distinct list of kinds costs one look at the nodes."""

    def __init__(self, snapshot: Snapshot, outcome: Outcome, constraints: Sequence[SideConstraint] = ()) -> None:
        self._snapshot = snapshot
        self._outcome = outcome
        self._constraints = constraints
        self._limits = LimitExaminer(outcome, constraints)
        live, kinds = outcome.formulation.live, outcome.kinds
        self._bounds = None if outcome.world is None else outcome.world.bounds
        self._now = Examiner(live, kinds, outcome.space, self._bounds, outcome.reserved, self._limits)
        self._reasons: dict[tuple[tuple[int, ...], _Asker], PendingReason] = {}
        self._of_shape: dict[tuple[int, PendingReason | None], PendingReason] = {}
        self._row = outcome.everybody.option_row
        self._barred = _barred(outcome)
        self._quotas = QuotaExaminer(outcome)
        self._tied = None if self._bounds is None else (np.diff(self._bounds.starts) > 0)
        self._divisible = live.profiles.divisible[live.jobs.profile]

    def reasons(self, jobs: Integers) -> list[PendingReason]:
        """Why the jobs at these positions have no place now. Only those that differ in something are looked at."""
        options, row = self._outcome.everybody.options, self._row[jobs]
        count = options.choices[row]
        no_kind = len(self._outcome.kinds.flavor)
        kinds = np.where(np.arange(options.kind.shape[1]) < count[:, None], options.kind[row], no_kind)
        kinds.sort(axis=1)
        askers = self._askers(jobs)
        first, alike = alike_in([*kinds.T, *askers])
        checkpoint()
        found: list[PendingReason | None] = [
            self._reason(tuple(kinds[at, : count[at]].tolist()), self._asker(int(jobs[at]))) if count[at] else None
            for at in first.tolist()
        ]
        return [
            self._never(job) if reason is None else reason
            for job, reason in zip(jobs.tolist(), map(found.__getitem__, alike.tolist()), strict=True)
        ]

    def _reason(self, kinds: tuple[int, ...], asker: _Asker) -> PendingReason:
        known = self._reasons.get((kinds, asker))
        if known is None:
            known = self._reasons[kinds, asker] = self._explain(kinds, asker)
        return known

    def _askers(self, jobs: Integers) -> list[Integers]:
        """Columns (jobs,): those who agree in all of them are the same `_Asker`."""
        limits, leaf = self._limits.groups(jobs), self._quotas.leaves(jobs)
        bounded = (leaf >= 0) | (limits >= 0)
        return [
            np.zeros_like(jobs) if self._tied is None else np.where(self._tied[jobs], jobs, -1),
            np.zeros_like(jobs) if self._barred is None else self._barred[jobs].astype(np.int64),
            leaf,
            limits,
            self._divisible[jobs].astype(np.int64),
            np.where(bounded, self._outcome.places.millis[jobs], WHOLE),
        ]

    def _asker(self, job: int) -> _Asker:
        """What matters of a job besides its kinds."""
        barred, leaf = self._barred is not None and bool(self._barred[job]), self._quotas.leaf(job)
        return _Asker(
            self._ties(job),
            barred,
            leaf,
            self._limits.asking(job),
            not bool(self._divisible[job]),
            WHOLE if leaf < 0 else int(self._outcome.places.millis[job]),
        )

    def _ties(self, job: int) -> Ties:
        bounds = self._bounds
        if bounds is None or self._tied is None or not self._tied[job]:
            return _NO_TIES
        mine = slice(int(bounds.starts[job]), int(bounds.starts[job + 1]))
        return tuple(zip(bounds.bound[mine].tolist(), bounds.role[mine].tolist(), strict=True))

    def _never(self, job: int) -> PendingReason:
        """With what the nodes say when they are empty."""
        formulation, shape = self._outcome.formulation, int(self._outcome.formulation.live.shape[job])
        never = formulation.never.get(formulation.live.jobs.ids[job])
        found = self._of_shape.get((shape, never))
        if found is None:
            found = self._of_shape[shape, never] = self._explain_never(shape, never)
        return found

    def _explain_never(self, shape: int, never: PendingReason | None) -> PendingReason:
        live = self._outcome.formulation.live
        able = live.shapes.kind[shape][live.shapes.throughput[shape] > 0].tolist()
        if never is None or never.cause is PendingCause.INSUFFICIENT_CAPACITY:
            open_nodes = open_nodes_of(self._snapshot.nodes)
            never = why_never((live.kinds[kind], open_nodes.verdict(live.kinds[kind])) for kind in able)
        there = sorted({kind for kind in able if self._outcome.kinds.flavor[kind] >= 0})
        return replace(never, examined=_most_places(self._empty.ask(kind).examined for kind in there))

    @cached_property
    def _empty(self) -> Examiner:
        """The nodes without anybody."""
        live = self._outcome.formulation.live
        return Examiner(live, self._outcome.kinds, empty_space(live.nodes), limits=self._empty_limits)

    @cached_property
    def _lasting(self) -> Examiner:
        """The nodes without those who may be stopped."""
        outcome, everybody = self._outcome, self._outcome.everybody
        lasting = ~everybody.preemptible | (everybody.pinned & outcome.in_place)
        space = empty_space(outcome.formulation.live.nodes)
        kind = np.where(lasting, outcome.places.kind, -1)
        if (kind >= 0).any():
            outcome.kernels.load(space, outcome.kinds, outcome.pool, outcome.places._replace(kind=kind))
            derive(space)
        return Examiner(outcome.formulation.live, outcome.kinds, space)

    def _explain(self, kinds: tuple[int, ...], asker: _Asker) -> PendingReason:
        excesses = [self._quotas.excesses(asker.leaf, kind, asker.millis) for kind in kinds]
        if asker != asker.unbound and not any(excesses) and not self._is_limited(kinds, asker):
            if (kinds, asker.unbound) not in self._reasons:
                self._reasons[kinds, asker.unbound] = self._explain(kinds, asker.unbound)
            return self._reasons[kinds, asker.unbound]  # the same whatever its queue
        if all(excesses):
            return over_quota(excesses, whole=asker.whole)
        later = not asker.whole or any(excess and not is_never(excess) for excess in excesses)
        kinds = tuple(kind for kind, excess in zip(kinds, excesses, strict=True) if not excess)
        limited = [self._limits.excesses(asker.asking, kind) for kind in kinds]
        if all(limited):
            return over_limit(limited, never=not later and all(self._takes_too_much(kind, asker) for kind in kinds))
        later |= any(
            found and not self._takes_too_much(kind, asker) for kind, found in zip(kinds, limited, strict=True)
        )
        kinds = tuple(kind for kind, found in zip(kinds, limited, strict=True) if not found)
        if not later and asker.asking != NOBODY and all(self._takes_too_much(kind, asker) for kind in kinds):
            return self._over_limit_even_alone(kinds, asker)
        ties, barred = asker.ties, asker.barred
        if barred and any(
            self._now.ask(kind, ties, asker.asking).examined.places >= self._need(kind) for kind in kinds
        ):
            return self._reserved(kinds, asker)
        totals = [(kind, self._missing_in_total(kind, barred)) for kind in kinds]
        if all(missing for _, missing in totals):
            return self._lacking(PendingCause.INSUFFICIENT_CAPACITY, totals, asker)
        over = self._over_local(kinds, asker)
        if over:
            return self._over_limit_here(over, asker)
        answers = [self._now.ask(kind, ties, asker.asking, barred=barred) for kind in kinds]
        if any(
            not missing and answer.pieces >= self._need(kind)
            for (kind, missing), answer in zip(totals, answers, strict=True)
        ):
            return PendingReason(PendingCause.CONSTRAINED, examined=_most_places(answer.examined for answer in answers))
        closest = [(kind, self._missing_on_closest_node(kind, barred)) for kind in kinds]
        return self._lacking(PendingCause.FRAGMENTED, closest, asker)

    def _is_limited(self, kinds: Sequence[int], asker: _Asker) -> bool:
        """Whether any side constraint leaves it too little, anywhere or on some nodes."""
        asks = [asker.asking] if asker.asking != NOBODY else []
        return any(
            self._limits.excesses(asking, kind) or self._limits.local_rows(asking, kind)
            for asking in asks
            for kind in kinds
        )

    def _over_local(self, kinds: Sequence[int], asker: _Asker) -> list[int]:
        """Kinds of which a gang would fit but for side constraints on single nodes."""
        return [
            kind
            for kind in kinds
            if self._limits.local_rows(asker.asking, kind)
            and self._now.ask(kind, asker.ties, barred=asker.barred).examined.places >= self._need(kind)
        ]

    def _over_limit_here(self, over: Sequence[int], asker: _Asker) -> PendingReason:
        named = [
            self._limits.local_excesses(asker.asking, kind, np.flatnonzero(self._now.room(kind, asker.barred)))
            for kind in over
        ]
        examined = _most_places(
            self._now.ask(kind, asker.ties, asker.asking, barred=asker.barred).examined for kind in over
        )
        return replace(over_limit([each for each in named if each] or [()], never=False), examined=examined)

    def _over_limit_even_alone(self, kinds: Sequence[int], asker: _Asker) -> PendingReason:
        """Wherever its nodes have room for it when they are empty, side constraints leave too little."""
        named = [
            self._empty_limits.local_excesses(asker.asking, kind, np.flatnonzero(self._empty.room(kind)))
            for kind in kinds
        ]
        examined = _most_places(self._empty.ask(kind, (), asker.asking).examined for kind in kinds)
        return replace(over_limit([each for each in named if each] or [()], never=True), examined=examined)

    def _takes_too_much(self, kind: int, asker: _Asker) -> bool:
        """Whether side constraints would not let a gang start if nobody else took anything of them."""
        empty = self._empty_limits
        if empty.excesses(asker.asking, kind):
            return True
        if not empty.local_rows(asker.asking, kind):
            return False
        return self._empty.ask(kind, (), asker.asking).examined.places < self._need(kind)

    @cached_property
    def _empty_limits(self) -> LimitExaminer:
        return LimitExaminer(self._outcome, self._constraints, empty=True)

    def _reserved(self, kinds: Sequence[int], asker: _Asker) -> PendingReason:
        """It would fit, on nodes that are kept for others."""
        outcome, world = self._outcome, self._outcome.world
        assert world is not None
        examined = _most_places(
            (self._now.ask(kind, asker.ties, asker.asking, barred=True).examined for kind in kinds),
            lambda number: self._now.ask(kinds[number], asker.ties, asker.asking).examined,
        )
        flavors = set(outcome.kinds.flavor[list(kinds)].tolist())
        holders = [int(job) for job in world.reservations.job if job >= 0]
        wanted = world.options.kind[world.jobs.option_row[holders], 0]
        ids = outcome.formulation.live.jobs.ids
        start = float(world.reservations.start[0])
        return PendingReason(
            PendingCause.RESERVED,
            examined=examined,
            reserved_for=tuple(
                ids[job]
                for job, kind in zip(holders, wanted.tolist(), strict=True)
                if int(outcome.kinds.flavor[kind]) in flavors
            ),
            reserved_until=self._snapshot.time + start if start <= _CENTURY else None,
        )

    def _lacking(self, cause: PendingCause, found: Iterable[tuple[int, Missing]], asker: _Asker) -> PendingReason:
        """Per flavor what the kind that comes closest misses, in order of flavors, resources in order of the demand."""
        closest: dict[str, tuple[float, int, Missing]] = {}
        for kind, missing in found:
            flavor, _, demand, *_ = self._outcome.formulation.live.kinds[kind]
            distance = sum(lacking / demand.get(resource) for resource, lacking in missing.items())
            if flavor not in closest or distance < closest[flavor][0]:
                closest[flavor] = (distance, kind, missing)
        shortages, examined = [], []
        for flavor in sorted(closest):
            _, kind, missing = closest[flavor]
            held = self._held(kind) if cause is PendingCause.INSUFFICIENT_CAPACITY else {}
            shortages += [Shortage(flavor, name, lacking, held.get(name, 0)) for name, lacking in missing.items()]
            examined.append(self._now.ask(kind, asker.ties, asker.asking, barred=asker.barred).examined)
        return PendingReason(cause, tuple(shortages), tuple(examined))

    def _need(self, kind: int) -> int:
        return int(self._outcome.kinds.replicas[kind])

    def _missing_in_total(self, kind: int, barred: bool) -> Missing:
        return self._beyond(kind, self._now.free(kind, barred))

    def _held(self, kind: int) -> Missing:
        """What would be missing even if every job that may be stopped were."""
        return self._beyond(kind, self._lasting.free(kind))

    def _beyond(self, kind: int, free: Missing) -> Missing:
        """By how much the gang needs more than this."""
        wanted = (self._outcome.formulation.live.kinds[kind].demand * self._need(kind)).items()
        return {name: amount - free.get(name, 0) for name, amount in wanted if amount > free.get(name, 0)}

    def _missing_on_closest_node(self, kind: int, barred: bool) -> Missing:
        """What the next replica misses on the node that comes closest, once all replicas that fit are placed.

        Closest: the smallest sum over resources of what is missing relative to what is asked for; ties by name.
        """
        outcome, nodes = self._outcome, self._now.nodes(kind)
        space, kinds = outcome.space, outcome.kinds
        demand = outcome.formulation.live.kinds[kind].demand
        admitted = self._now.permitted(kind, barred)
        if not admitted.any():
            return dict(demand.items())
        counts = self._now.room(kind)
        lacks: dict[str, Integers] = {}
        for column, name in enumerate(outcome.formulation.live.nodes.resources):
            amount = int(kinds.amount[kind, column])
            if amount:
                lacks[name] = np.maximum(amount - (space.free[nodes, column] - counts * amount), 0)
        if kinds.devices[kind] or kinds.part[kind]:
            lacks["gpu"] = self._gpus_lacking(kind, counts)
        relative = np.where(admitted, 0.0, np.inf)
        for resource, lacking in lacks.items():
            relative = relative + lacking / demand.get(resource)
        closest = int(np.argmin(relative))
        missing = {resource: int(lacking[closest]) for resource, lacking in lacks.items() if lacking[closest]}
        known = {*outcome.formulation.live.nodes.resources, "gpu"}
        return missing | {name: amount for name, amount in demand.items() if name not in known}

    def _gpus_lacking(self, kind: int, counts: Integers) -> Integers:
        """(nodes of its flavor,) milli-GPUs that one more replica lacks after `counts` are placed."""
        space, nodes = self._outcome.space, self._now.nodes(kind)
        devices, part = int(self._outcome.kinds.devices[kind]), int(self._outcome.kinds.part[kind])
        if devices:
            lacking: Integers = np.maximum(devices * (counts + 1) - space.whole[nodes], 0) * GPU_MILLIS
            return lacking
        left = space.devices[nodes]
        each = left // part
        exhausted = each.sum(axis=1) <= counts
        largest_rest = (left - each * part).max(axis=1, initial=0)
        rest: Integers = np.where(exhausted, part - largest_rest, 0)
        return rest


def _barred(outcome: Outcome) -> Booleans | None:
    """(J,) jobs that may not start where nodes are kept for others; None if nothing is kept."""
    world = outcome.world
    if world is None or not outcome.reserved.any():
        return None
    start = float(world.reservations.start[0])
    found: Booleans = ~outcome.everybody.preemptible & ~(np.isfinite(start) & (world.jobs.duration <= start))
    found[world.reservations.job[world.reservations.job >= 0]] = False
    return found


def _most_places(examined: Iterable[Examined], judged: Callable[[int], Examined] | None = None) -> tuple[Examined, ...]:
    """Per flavor the one with places for the largest part of the gang, then room for the largest part, in order of
    flavors. `judged` tells by position of what to judge each by, if not by itself.
    """
    best: dict[str, tuple[tuple[float, float], Examined]] = {}
    for number, each in enumerate(examined):
        by = each if judged is None else judged(number)
        parts = (by.places / by.replicas, by.room / by.replicas)
        if each.flavor not in best or parts > best[each.flavor][0]:
            best[each.flavor] = (parts, each)
    return tuple(best[flavor][1] for flavor in sorted(best))

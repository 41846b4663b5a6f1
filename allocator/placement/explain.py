"""Why a job waits, true of the state at the end of the round and in numbers that can be checked.

INSUFFICIENT_CAPACITY: on no flavor that the job accepts is its gang's total demand free; the shortages say, per flavor
and resource, what is missing in total. FRAGMENTED: somewhere it is, but not in pieces that fit; the shortages say what
one more replica misses on the node that comes closest, after as many of the gang's replicas as fit are placed.
CONSTRAINED: the pieces are there, but the job's limits per node or domain leave too few of them. RESERVED: it would
fit, on nodes that are kept for somebody who is owed more. A flavor with several configurations is described by the
one that comes closest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.snapshot import Snapshot
from allocator.formulation.eligibility import open_nodes_of, why_never
from allocator.placement.rounding import Outcome
from allocator.placement.space import Integers

Missing = dict[str, int]
"""Resource to what lacks of it, in its integer unit; no zeros."""


class Explainer:
    """Explains any number of waiting jobs; each distinct list of kinds costs one look at the nodes."""

    def __init__(self, snapshot: Snapshot, outcome: Outcome) -> None:
        self._snapshot = snapshot
        self._outcome = outcome
        self._free: dict[int, Missing] = {}
        self._reasons: dict[tuple[int, ...], PendingReason] = {}
        self._of_row: dict[int, PendingReason] = {}
        options = outcome.everybody.options
        self._count = options.choices.tolist()
        self._row = outcome.everybody.option_row

    def reason(self, job: int) -> PendingReason:
        """Why the job at this position has no place now."""
        row = int(self._row[job])
        if self._count[row] == 0:
            return self._never(job)
        found = self._of_row.get(row)
        if found is None:
            kinds = tuple(self._outcome.everybody.options.kind[row, : self._count[row]].tolist())
            key = tuple(sorted(kinds))
            known = self._reasons.get(key)
            if known is None:
                known = self._reasons[key] = self._explain(kinds)
            found = self._of_row[row] = known
        return found

    def _never(self, job: int) -> PendingReason:
        formulation = self._outcome.formulation
        never = formulation.never.get(formulation.live.jobs.ids[job])
        if never is not None and never.cause is not PendingCause.INSUFFICIENT_CAPACITY:
            return never
        live, open_nodes = formulation.live, open_nodes_of(self._snapshot.nodes)
        shape = int(live.shape[job])
        able = live.shapes.kind[shape][live.shapes.throughput[shape] > 0].tolist()
        return why_never((live.kinds[kind], open_nodes.verdict(live.kinds[kind])) for kind in able)

    def _explain(self, kinds: Sequence[int]) -> PendingReason:
        outcome = self._outcome
        usable = [kind for kind in kinds if self._is_open(kind)]
        if not usable:
            return PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)
        totals = [(kind, self._missing_in_total(kind)) for kind in usable]
        if all(missing for _, missing in totals):
            return PendingReason(PendingCause.INSUFFICIENT_CAPACITY, self._shortages(totals))
        in_pieces = [kind for kind, missing in totals if not missing and self._pieces(kind).sum() >= self._need(kind)]
        if in_pieces:
            reserved = bool(outcome.reserved.any()) and any(self._could_start(kind) for kind in in_pieces)
            return PendingReason(PendingCause.RESERVED if reserved else PendingCause.CONSTRAINED)
        return PendingReason(
            PendingCause.FRAGMENTED, self._shortages((kind, self._missing_on_closest_node(kind)) for kind in usable)
        )

    def _need(self, kind: int) -> int:
        return int(self._outcome.kinds.replicas[kind])

    def _is_open(self, kind: int) -> bool:
        nodes = self._nodes(kind)
        return bool(self._outcome.space.open[nodes].any())

    def _nodes(self, kind: int) -> slice:
        """The nodes of its flavor."""
        flavor, starts = self._outcome.kinds.flavor[kind], self._outcome.space.flavor_starts
        return slice(int(starts[flavor]), int(starts[flavor + 1])) if flavor >= 0 else slice(0, 0)

    def _pieces(self, kind: int) -> Integers:
        """(nodes of its flavor,) how many replicas each could take, whatever the gang's limits on itself."""
        outcome = self._outcome
        counts = np.zeros(len(outcome.space.open), dtype=np.int64)
        replicas = outcome.kinds.replicas
        outcome.kernels.count_all(outcome.space, outcome.kinds._replace(cap=replicas), kind, WHOLE, counts)
        return counts[self._nodes(kind)]

    def _could_start(self, kind: int) -> bool:
        """Whether it fits, reservations aside."""
        outcome = self._outcome
        counts = np.zeros(len(outcome.space.open), dtype=np.int64)
        fill = np.zeros((len(counts) + 1, 2), dtype=np.int64)
        total = outcome.kernels.count_all(outcome.space, outcome.kinds, kind, WHOLE, counts)
        need = self._need(kind)
        return bool(
            total >= need and outcome.kernels.choose(outcome.space, outcome.kinds, kind, need, counts, fill) > 0
        )

    def _missing_in_total(self, kind: int) -> Missing:
        flavor = int(self._outcome.kinds.flavor[kind])
        free = self._free.get(flavor)
        if free is None:
            free = self._free[flavor] = self._free_in_total(kind)
        demand = self._outcome.formulation.live.kinds[kind].demand
        replicas = self._need(kind)
        return {
            resource: amount * replicas - free.get(resource, 0)
            for resource, amount in demand.items()
            if amount * replicas > free.get(resource, 0)
        }

    def _free_in_total(self, kind: int) -> Missing:
        """What is free on all nodes of its flavor that take new work; Python integers, which do not overflow."""
        space, nodes = self._outcome.space, self._nodes(kind)
        open_nodes = space.open[nodes]
        names = self._outcome.formulation.live.nodes.resources
        free = {name: sum(space.free[nodes, column][open_nodes].tolist()) for column, name in enumerate(names)}
        free["gpu"] = sum(space.devices[nodes][open_nodes].ravel().tolist())
        return free

    def _missing_on_closest_node(self, kind: int) -> Missing:
        """What the next replica misses on the node that comes closest, once all replicas that fit are placed.

        Closest: the smallest sum over resources of what is missing relative to what is asked for; ties by name.
        """
        outcome, nodes = self._outcome, self._nodes(kind)
        space, kinds = outcome.space, outcome.kinds
        demand = outcome.formulation.live.kinds[kind].demand
        counts = self._pieces(kind)
        lacks: dict[str, Integers] = {}
        for column, name in enumerate(outcome.formulation.live.nodes.resources):
            amount = int(kinds.amount[kind, column])
            if amount:
                lacks[name] = np.maximum(amount - (space.free[nodes, column] - counts * amount), 0)
        if kinds.devices[kind] or kinds.part[kind]:
            lacks["gpu"] = self._gpus_lacking(kind, counts)
        admitted = space.open[nodes]
        if kinds.mask[kind] >= 0:
            admitted = admitted & kinds.masks[kinds.mask[kind], nodes]
        relative = np.where(admitted, 0.0, np.inf)
        for resource, lacking in lacks.items():
            relative = relative + lacking / demand.get(resource)
        closest = int(np.argmin(relative))
        missing = {resource: int(lacking[closest]) for resource, lacking in lacks.items() if lacking[closest]}
        known = {*outcome.formulation.live.nodes.resources, "gpu"}
        return missing | {name: amount for name, amount in demand.items() if name not in known}

    def _gpus_lacking(self, kind: int, counts: Integers) -> Integers:
        """(nodes of its flavor,) milli-GPUs that one more replica lacks after `counts` are placed."""
        space, nodes = self._outcome.space, self._nodes(kind)
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

    def _shortages(self, found: Iterable[tuple[int, Missing]]) -> tuple[Shortage, ...]:
        """Per flavor those of the kind that comes closest, in order of flavors, resources in order of the demand."""
        closest: dict[str, tuple[float, Missing]] = {}
        for number, missing in found:
            kind = self._outcome.formulation.live.kinds[number]
            distance = sum(lacking / kind.demand.get(resource) for resource, lacking in missing.items())
            if kind.flavor not in closest or distance < closest[kind.flavor][0]:
                closest[kind.flavor] = (distance, missing)
        return tuple(
            Shortage(flavor, resource, lacking)
            for flavor in sorted(closest)
            for resource, lacking in closest[flavor][1].items()
        )

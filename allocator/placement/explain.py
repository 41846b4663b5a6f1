"""Why a job waits, true of the state at the end of the round and in numbers that can be checked.

INSUFFICIENT_CAPACITY: on no flavor that the job accepts is its gang's total demand free; the shortages say, per flavor
and resource, what is missing in total. FRAGMENTED: somewhere it is, but not in pieces that fit; the shortages say what
one more replica misses on the node that comes closest, after as many of the gang's replicas as fit are placed.
A flavor with several configurations is described by the one that comes closest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.resources import GPU_MILLIS
from allocator.placement.contenders import Contender
from allocator.placement.packing import Integers, NodeSpace, Shape, Spaces

Missing = dict[str, int]
"""Resource to what lacks of it, in its integer unit; no zeros."""


class Explainer:
    """Explains any number of waiting jobs; each distinct set of shapes costs one look at the nodes."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._free: dict[str, Missing] = {}
        self._reasons: dict[tuple[Shape, ...], PendingReason] = {}

    def reason(self, contender: Contender) -> PendingReason:
        """Why it has no place now."""
        if contender.never is not None:
            return contender.never
        shapes = tuple(option.shape for option in contender.options)
        reason = self._reasons.get(shapes)
        if reason is None:
            reason = self._reasons[shapes] = self._explain(shapes)
        return reason

    def _explain(self, shapes: Sequence[Shape]) -> PendingReason:
        usable = [shape for shape in shapes if self._spaces.by_flavor[shape.flavor].open.any()]
        if not usable:
            return PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)
        totals = [(shape, self._missing_in_total(shape)) for shape in usable]
        if all(missing for _, missing in totals):
            return PendingReason(PendingCause.INSUFFICIENT_CAPACITY, _shortages(totals))
        pieces = [(shape, missing_on_closest_node(self._spaces.by_flavor[shape.flavor], shape)) for shape in usable]
        return PendingReason(PendingCause.FRAGMENTED, _shortages(pieces))

    def _missing_in_total(self, shape: Shape) -> Missing:
        free = self._free.get(shape.flavor)
        if free is None:
            free = self._free[shape.flavor] = free_in_total(self._spaces.by_flavor[shape.flavor])
        return {
            resource: amount * shape.replicas - free.get(resource, 0)
            for resource, amount in shape.demand.items()
            if amount * shape.replicas > free.get(resource, 0)
        }


def free_in_total(space: NodeSpace) -> Missing:
    """What is free of each resource on all nodes that take new work; Python integers, which do not overflow."""
    free = {resource: sum(space.free[row, space.open].tolist()) for row, resource in enumerate(space.resources)}
    free["gpu"] = sum(space.devices[:, space.open].ravel().tolist())
    return free


def missing_on_closest_node(space: NodeSpace, shape: Shape) -> Missing:
    """What the next replica misses on the node that comes closest, once all replicas that fit are placed.

    Closest: the smallest sum over resources of what is missing relative to what is asked for; ties by name.
    """
    counts = space.counts(shape)
    lacks: dict[str, NDArray[np.int64]] = {
        space.resources[row]: np.maximum(amount - (space.free[row] - counts * amount), 0)
        for row, amount in shape.amounts
    }
    if shape.devices or shape.part:
        lacks["gpu"] = _gpus_lacking(space, shape, counts)
    relative = np.where(space.open, 0.0, np.inf)
    for resource, lacking in lacks.items():
        relative = relative + lacking / shape.demand.get(resource)
    closest = int(np.argmin(relative))
    missing = {resource: int(lacking[closest]) for resource, lacking in lacks.items() if lacking[closest]}
    return missing | dict(shape.absent)


def _gpus_lacking(space: NodeSpace, shape: Shape, counts: Integers) -> Integers:
    """(N,) milli-GPUs that one more replica lacks after `counts` are placed."""
    if shape.devices:
        lacking: Integers = np.maximum(shape.devices * (counts + 1) - space.whole, 0) * GPU_MILLIS
        return lacking
    each = space.devices // shape.part
    exhausted = each.sum(axis=0) <= counts
    largest_rest = (space.devices - each * shape.part).max(axis=0, initial=0)
    rest: Integers = np.where(exhausted, shape.part - largest_rest, 0)
    return rest


def _shortages(found: Iterable[tuple[Shape, Missing]]) -> tuple[Shortage, ...]:
    """Per flavor those of the shape that comes closest, in order of flavors, resources in order of the demand."""
    closest: dict[str, tuple[float, Missing]] = {}
    for shape, missing in found:
        distance = sum(lacking / shape.demand.get(resource) for resource, lacking in missing.items())
        if shape.flavor not in closest or distance < closest[shape.flavor][0]:
            closest[shape.flavor] = (distance, missing)
    return tuple(
        Shortage(flavor, resource, lacking)
        for flavor in sorted(closest)
        for resource, lacking in closest[flavor][1].items()
    )

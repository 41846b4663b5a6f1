"""The distinct ways in which live jobs can run on the nodes there are, as arrays for kernels."""

from __future__ import annotations

import numpy as np

from allocator.domain.errors import InvalidInput
from allocator.domain.job import Job
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.resources import Resources
from allocator.domain.snapshot import WorkKind
from allocator.formulation.catalogue import Catalogue
from allocator.formulation.eligibility import OpenNodes, why_never
from allocator.formulation.nodes import NodeArrays
from allocator.placement.costs import costs_on, no_costs
from allocator.placement.space import Kinds, kinds_on
from simulations.schedulers.scene import Shapes

_WAITS = PendingReason(PendingCause.INSUFFICIENT_CAPACITY)


class Ways:
    """Numbers shapes (`Shapes`) and kinds (`allocator.placement.space.Kinds`); they stay as they are while the nodes
    change, what they say of nodes does not.
    """

    def __init__(self) -> None:
        self._catalogue = Catalogue()
        self._samples: list[Job] = []
        """By shape, a job that has it."""
        self._orders: list[list[tuple[int, int, float]]] = []
        """By shape: (kind, configuration, slowness) of what could run on empty nodes, the fastest first."""
        self._nodes: NodeArrays | None = None
        self._open: OpenNodes | None = None
        self.shapes = _tabulated([])
        self.kinds: Kinds | None = None
        self.plain: Kinds | None = None

    def shape(self, job: Job) -> int:
        """The number of the job's shape. InvalidInput for jobs with limits on others, which no rule here knows of."""
        number = self._catalogue.shape(job)
        if number == len(self._samples):
            _require_known(job)
            self._samples.append(job)
        return number

    def demand(self, kind: int) -> tuple[str, Resources, int]:
        """(flavor, demand of one replica, replicas) of a kind."""
        found = self._catalogue.kinds[kind]
        return found.flavor, found.demand, found.replicas

    def kind(self, shape: int, configuration: int) -> int:
        """The kind of the configuration of this index, whether or not the nodes could run it."""
        return int(self._catalogue.columns(np.array([shape])).kind[0, configuration])

    def options(self, shape: int) -> list[tuple[int, int, float]]:
        """(kind, configuration, slowness), the fastest first; none where the nodes could never run it."""
        return self._orders[shape]

    def reason(self, shape: int) -> PendingReason:
        """Why a job of the shape waits."""
        if self._orders[shape]:
            return _WAITS
        assert self._open is not None
        return why_never([(kind, self._open.verdict(kind)) for kind in self._catalogue.kinds_of(shape)])

    def update(
        self, nodes: NodeArrays, open_nodes: OpenNodes, work: tuple[WorkKind, ...], placement: str, *, by_cost: bool
    ) -> bool:
        """Tabulate everything for these nodes; whether anything is new."""
        catalogue = self._catalogue
        other = nodes is not self._nodes
        if other:
            self._nodes, self._open, self._orders = nodes, open_nodes, []
        fresh = len(self._orders) < len(self._samples)
        if fresh:
            self._orders += [self._ordered(shape) for shape in range(len(self._orders), len(self._samples))]
            self.shapes = _tabulated(self._orders)
        if other or self.plain is None or len(self.plain.flavor) < len(catalogue.kinds):
            self.plain = kinds_on(nodes, tuple(catalogue.kinds))
            self.kinds = None
        if self.kinds is None:
            costs = costs_on(nodes, len(catalogue.kinds), work, placement) if by_cost else no_costs()
            self.kinds = self.plain._replace(costs=costs)
            return True
        return other or fresh

    def forget_costs(self) -> None:
        """Have them made anew at the next update: other work comes."""
        self.kinds = None

    def _ordered(self, shape: int) -> list[tuple[int, int, float]]:
        assert self._open is not None
        catalogue = self._catalogue
        columns = catalogue.columns(np.array([shape]))
        speed = columns.throughput[0].tolist()
        best = max(speed)
        found = [
            (kind, configuration, best / speed[configuration])
            for configuration, kind in enumerate(columns.kind[0].tolist())
            if speed[configuration] > 0 and self._open.verdict(catalogue.kinds[kind]).cause is None
        ]
        return sorted(found, key=lambda option: option[2])


def _tabulated(orders: list[list[tuple[int, int, float]]]) -> Shapes:
    width = max(map(len, orders), default=1) or 1
    shape = (len(orders), width)
    kind, configuration = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    slowness = np.ones(shape)
    for row, options in enumerate(orders):
        for column, option in enumerate(options):
            kind[row, column], configuration[row, column], slowness[row, column] = option
    choices = np.array([len(options) for options in orders], dtype=np.int64)
    return Shapes(kind, configuration, choices, slowness)


def _require_known(job: Job) -> None:
    constraints = job.spec.constraints
    if constraints.near or any(limit.of for limit in constraints.at_most):
        raise InvalidInput.of(
            f"job {job.spec.name or job.id}",
            "has limits on other jobs, or must be near some: only the scheduler 'allocator' knows these",
        )

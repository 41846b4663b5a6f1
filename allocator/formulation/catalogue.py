"""The distinct ways in which live jobs can run, numbered, as arrays; remembered from one round to the next.

A *kind* is a distinct (flavor, replicas, demand): what has to be judged against the nodes. A *shape* is a distinct list
of kinds with the throughput of each, measured where it ever was: what a job brings along. Both depend on the jobs
alone, and hardly any job changes between two rounds, so a round looks its jobs up by the identity of their
configurations, and works only for the new ones. Numbers mean nothing outside one catalogue, and no result may depend on
their order.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from allocator.domain.job import Configuration, Job
from allocator.domain.resources import Resources, display_unit
from allocator.formulation.eligibility import OpenNodes
from allocator.formulation.problem import Booleans, Floats, Integers

Configurations = tuple[Configuration, ...]
Measured = tuple[tuple[str, float], ...]
_FEW = 1000
"""Entries that are not worth forgetting."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Configurations of some shapes in the order of the specs, padded to the width of the widest."""

    kind: Integers
    """(S, W) number of the kind; 0 where padding."""
    throughput: Floats
    """(S, W) work per second, measured where it ever was; 0 where padding."""


class Catalogue:
    """Grows by what `numbers` is asked about."""

    def __init__(self) -> None:
        self.shapes: list[Configurations] = []
        """By number, the configurations of the first job that had the shape."""
        self.kinds: list[Configuration] = []
        """By number, one of the configurations that are of the kind."""
        self._alive: list[Configurations] = []
        """Whose identities are keys below: while they live, nothing else has the same."""
        self._by_identity: dict[int, int] = {}
        self._by_measurement: dict[tuple[int, Measured], int] = {}
        self._by_value: dict[tuple[tuple[int, ...], tuple[float, ...]], int] = {}
        self._kind_by_identity: dict[tuple[str, int, int], int] = {}
        self._kind_by_value: dict[tuple[str, int, Resources], int] = {}
        self._starts = array("q", [0])
        self._kind = array("q")
        self._throughput = array("d")
        self._resources: tuple[str, ...] = ()
        self._amounts = array("d")
        self._judge: OpenNodes | None = None
        self._fits: list[bool] = []

    def numbers(self, jobs: Sequence[Job]) -> Integers:
        """(n,) the shape of each job."""
        known, known_measured = self._by_identity.get, self._by_measurement.get
        found = []
        for job in jobs:
            measured = job.measured_throughput
            identity = id(job.spec.configurations)
            number = known_measured((identity, measured)) if measured else known(identity)
            found.append(self._learn(job) if number is None else number)
        return np.array(found, dtype=np.int64)

    def columns(self, shapes: Integers) -> Columns:
        """The configurations of these shapes (S,)."""
        starts = np.array(self._starts, dtype=np.int64)
        first = starts[shapes]
        count = starts[shapes + 1] - first
        within = np.arange(count.max(initial=0))
        there = within < count[:, None]
        where = np.where(there, first[:, None] + within, 0)
        return Columns(
            kind=np.where(there, np.array(self._kind, dtype=np.int64)[where], 0),
            throughput=np.where(there, np.array(self._throughput)[where], 0.0),
        )

    def flavor_of_kinds(self, flavors: Sequence[str]) -> Integers:
        """(kinds,) position of each kind's flavor among `flavors`; 0 for one that is not there, which fits nowhere."""
        position = {name: index for index, name in enumerate(flavors)}
        return np.array([position.get(kind.flavor, 0) for kind in self.kinds], dtype=np.int64)

    def amounts_of_kinds(self, resources: tuple[str, ...]) -> Floats:
        """(kinds, R) what the whole gang needs, in display units."""
        if self._resources != resources:
            self._resources, self._amounts = resources, array("d")
        units = [(name, display_unit(name)[1]) for name in resources]
        known = len(self._amounts) // len(resources) if resources else len(self.kinds)
        for kind in self.kinds[known:]:
            gang = kind.total_demand
            self._amounts.extend([gang.get(name) / unit for name, unit in units])
        return np.array(self._amounts, dtype=np.float64).reshape(len(self.kinds), len(resources))

    def kinds_that_fit(self, open_nodes: OpenNodes) -> Booleans:
        """(kinds,) whether the empty nodes could run it."""
        if self._judge is not open_nodes:
            self._judge, self._fits = open_nodes, []
        self._fits += [open_nodes.verdict(kind).cause is None for kind in self.kinds[len(self._fits) :]]
        return np.array(self._fits, dtype=np.bool_)

    def is_mostly_stale(self, in_use: int) -> bool:
        """Whether it remembers the configurations of far more jobs than the `in_use` that were last asked about."""
        return len(self._alive) > 2 * in_use + _FEW

    def _learn(self, job: Job) -> int:
        configurations, measured = job.spec.configurations, job.measured_throughput
        self._alive.append(configurations)
        kinds = tuple([self._kind_of(configuration) for configuration in configurations])
        speeds = tuple([job.throughput(configuration) for configuration in configurations])
        number = self._by_value.get((kinds, speeds))
        if number is None:
            number = self._by_value[kinds, speeds] = len(self.shapes)
            self.shapes.append(configurations)
            self._kind.extend(kinds)
            self._throughput.extend(speeds)
            self._starts.append(len(self._kind))
        if measured:
            self._by_measurement[id(configurations), measured] = number
        else:
            self._by_identity[id(configurations)] = number
        return number

    def _kind_of(self, configuration: Configuration) -> int:
        flavor, replicas, demand = configuration.flavor, configuration.replicas, configuration.demand
        number = self._kind_by_identity.get((flavor, replicas, id(demand)))
        if number is None:
            number = self._kind_by_value.setdefault((flavor, replicas, demand), len(self.kinds))
            if number == len(self.kinds):
                self.kinds.append(configuration)
            self._kind_by_identity[flavor, replicas, id(demand)] = number
        return number


_spare: list[Catalogue] = []


@contextmanager
def last_catalogue() -> Iterator[Catalogue]:
    """The catalogue of the last round, or a new one. Nobody else has it meanwhile: two threads never share one.

    It is kept for the next round unless what is done with it fails, or it has grown stale.
    """
    try:
        catalogue = _spare.pop()
    except IndexError:
        catalogue = Catalogue()
    yield catalogue
    _spare[:] = [catalogue]


def forget_catalogue() -> None:
    """Begin with an empty one next time."""
    _spare.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Eligible:
    """The configurations of some shapes that can have a share, moved to the left."""

    count: Integers
    """(S,) how many there are."""
    index: Integers
    """(S, K) index into the spec's configurations; -1 where padding."""
    kind: Integers
    """(S, K); 0 where padding."""
    throughput: Floats
    """(S, K); 0 where padding."""

    @classmethod
    def of(cls, columns: Columns, able: Booleans) -> Eligible:
        """`able` by number of the kind: whether it can have a share. K is the most that any shape has."""
        eligible = (columns.throughput > 0) & able[columns.kind]
        count = eligible.sum(axis=1)
        order = np.argsort(~eligible, axis=1, kind="stable")[:, : int(count.max(initial=0))]
        there = np.arange(order.shape[1]) < count[:, None]
        return cls(
            count=count,
            index=np.where(there, order, -1),
            kind=np.where(there, np.take_along_axis(columns.kind, order, axis=1), 0),
            throughput=np.where(there, np.take_along_axis(columns.throughput, order, axis=1), 0.0),
        )

    def position(self, shape: Integers, index: Integers) -> Integers:
        """(n,) which column of its shape a configuration is, by its index in the spec; -1 if it is none."""
        if not self.index.size:
            return np.full(len(shape), -1, dtype=np.int64)
        same = self.index[shape] == index[:, None]
        position: Integers = np.where(same.any(axis=1) & (index >= 0), same.argmax(axis=1), -1)
        return position

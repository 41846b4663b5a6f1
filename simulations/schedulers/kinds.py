"""Live jobs by what kind of job they are, as arrays: for schedulers that give shares of flavors.

Jobs of one kind ask for the same in the same places, run as fast there, and weigh the same, so they have equal shares.
A job has one way to run on each flavor: its configuration with the largest throughput there (the first of several).
Flavors are in one order, that of `flavors`; amounts are in the resources' integer units, as floats.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.resources import resource_names
from allocator.formulation.eligibility import Kind, OpenNodes, open_nodes_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NOWHERE = -1


@dataclass(slots=True, eq=False)
class Kinds:
    """Every kind seen so far on the nodes there are now; K kinds, F flavors, R resources. Arrays are not to be changed.

    `fits` is judged on empty nodes. Another set of nodes needs another `Kinds`.
    """

    flavors: tuple[str, ...]
    resources: tuple[str, ...]
    capacity: Floats
    """(F, R) of all open nodes."""
    open_nodes: OpenNodes
    speed: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """(K, F) throughput where it could run if the cluster were empty, 0 elsewhere."""
    configuration: Integers = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    """(K, F) index into the spec's; NOWHERE where it cannot run."""
    place: Integers = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    """(K, C) the flavor of each configuration of the spec; NOWHERE if there is none, or no node of it."""
    demand: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    """(K, F, R) of the whole gang."""
    weight: Floats = field(default_factory=lambda: np.zeros(0))
    """(K,)"""
    size: Floats = field(default_factory=lambda: np.zeros(0))
    """(K,) the part of all there is that a gang takes, of the resource of which it takes the largest part, on the
    flavor where it runs fastest."""
    _number: dict[object, int] = field(default_factory=dict)
    _of_job: dict[int, int] = field(default_factory=dict)
    """By sequence, of jobs that nobody has measured."""

    @classmethod
    def on(cls, nodes: tuple[Node, ...]) -> Kinds:
        """No kinds yet. Flavors are sorted by name; those without an open node are there, too."""
        open_nodes = open_nodes_of(nodes)
        flavors = tuple(sorted({node.flavor for node in nodes}))
        resources = resource_names([node.capacity for node in nodes])
        amounts = [open_nodes.capacity(flavor) for flavor in flavors]
        capacity = np.array([[float(each.get(name)) for name in resources] for each in amounts])
        shape = (len(flavors), len(resources))
        return cls(
            flavors,
            resources,
            capacity.reshape(shape),
            open_nodes,
            speed=np.zeros((0, len(flavors))),
            configuration=np.zeros((0, len(flavors)), dtype=np.int64),
            demand=np.zeros((0, *shape)),
        )

    def of(self, jobs: tuple[Job, ...]) -> Integers:
        """(J,) the kind of each job."""
        known = self._of_job
        found = [known.get(job.sequence) if not job.measured_throughput else self._kind(job) for job in jobs]
        for position, number in enumerate(found):
            if number is None:
                found[position] = known[jobs[position].sequence] = self._kind(jobs[position])
        if len(known) > 2 * len(jobs) + 1000:
            live = {job.sequence for job in jobs}
            self._of_job = {sequence: number for sequence, number in known.items() if sequence in live}
        return np.array(found, dtype=np.int64)

    def _kind(self, job: Job) -> int:
        spec = job.spec
        key = (spec.configurations, spec.constraints, spec.weight, job.measured_throughput)
        number = self._number.get(key)
        if number is None:
            number = self._number[key] = len(self._number)
            self._add(job)
        return number

    def _add(self, job: Job) -> None:
        speed, index = np.zeros(len(self.flavors)), np.full(len(self.flavors), NOWHERE)
        demand = np.zeros(self.capacity.shape)
        for number, configuration in enumerate(job.spec.configurations):
            place = self._place(job, configuration)
            throughput = job.throughput(configuration)
            if place is None or not throughput > speed[place]:
                continue
            speed[place], index[place] = throughput, number
            gang = configuration.total_demand
            demand[place] = [float(gang.get(name)) for name in self.resources]
        places = [self._flavor(configuration) for configuration in job.spec.configurations]
        self.place = _widened(self.place, places)
        self.speed = np.vstack([self.speed, speed])
        self.configuration = np.vstack([self.configuration, index])
        self.demand = np.concatenate([self.demand, demand[None]])
        self.weight = np.append(self.weight, job.spec.weight)
        self.size = np.append(self.size, self._size(speed, demand))

    def _place(self, job: Job, configuration: Configuration) -> int | None:
        """The flavor's number, if the configuration could run on its empty open nodes."""
        place = self._flavor(configuration)
        if place == NOWHERE or not configuration.throughput > 0:
            return None
        kind = Kind(configuration.flavor, configuration.replicas, configuration.demand, job.spec.constraints)
        return None if self.open_nodes.verdict(kind).cause else place

    def _flavor(self, configuration: Configuration) -> int:
        return self.flavors.index(configuration.flavor) if configuration.flavor in self.flavors else NOWHERE

    def _size(self, speed: Floats, demand: Floats) -> float:
        if not speed.any():
            return 0.0
        total = self.capacity.sum(axis=0)
        needed = demand[int(speed.argmax())]
        return float(np.divide(needed, total, out=np.zeros(len(total)), where=total > 0).max(initial=0.0))


def _widened(table: Integers, row: list[int]) -> Integers:
    """`table` with one row more; rows end with NOWHERE."""
    width = max(table.shape[1], len(row))
    found = np.full((len(table) + 1, width), NOWHERE)
    found[:-1, : table.shape[1]] = table
    found[-1, : len(row)] = row
    return found

"""The distinct ways in which live jobs can run, numbered, as arrays; remembered from one round to the next.

A *kind* is a distinct (flavor, replicas, demand, constraints): what has to be judged against the nodes. A *shape* is a
distinct list of kinds with the throughput of each, measured where it ever was, and whether a job may go from one to
another without a restart. A *profile* is everything about a job
that is not its own: shape, queue, weight, priority, what stopping it costs. All depend on the jobs alone, and hardly
any job changes between two rounds, so a round works only for the new ones (`formulation.columns`). Numbers mean
nothing outside one catalogue, and no result may depend on their order.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from allocator.domain.constraints import Constraints
from allocator.domain.estimates import Learned, learned
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.priority_class import BUILT_IN, DEFAULT_CLASS, PriorityClass
from allocator.domain.resources import display_unit
from allocator.formulation.eligibility import Kind, OpenNodes, parted
from allocator.formulation.problem import Booleans, Floats, Integers

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
    resizable: Booleans
    """(S,) whether going to another replica count is no restart."""


class Profile(NamedTuple):
    """What jobs of one kind of request have in common; amounts and times as in `JobSpec`."""

    shape: int
    queue: str
    weight: float
    priority: int
    preemptible: bool
    restart_cost_seconds: float
    divisible: bool


@dataclass(frozen=True, slots=True, eq=False)
class ProfileColumns:
    """Everything about the profiles (P,) of one catalogue but their queues, as arrays; see `Profile`."""

    shape: Integers
    weight: Floats
    priority: Integers
    preemptible: Booleans
    restart_cost: Floats
    divisible: Booleans
    queue: Integers
    """(P,) index into the catalogue's `queues`."""


class Catalogue:
    """Grows by what `profile` is asked about. `classes` are the priority classes that there are, `floating` the
    resources that belong to no node.
    """

    def __init__(self, classes: tuple[PriorityClass, ...] = BUILT_IN, floating: tuple[str, ...] = ()) -> None:
        self._floating = frozenset(floating)
        self._classes = {each.name: each for each in classes}
        self.kinds: list[Kind] = []
        self.profiles: list[Profile] = []
        self.queues: list[str] = []
        """Names, by the numbers that `ProfileColumns.queue` has."""
        self._alive: list[JobSpec] = []
        """Whose identities are keys below: while they live, nothing else has the same."""
        self._by_identity: dict[int, int] = {}
        self._by_measurement: dict[tuple[int, Measured, object], int] = {}
        self._learned = learned(())
        self._views: dict[tuple[str, str, bool], object] = {}
        """What is used of each class that jobs here are of; with whether some of them guess."""
        self.learner_names: list[tuple[str, str, bool]] = []
        """Keys of `_views`, by number."""
        self._learner_numbers: dict[tuple[str, str, bool], int] = {}
        self._by_value: dict[tuple[tuple[int, ...], tuple[float, ...], bool], int] = {}
        self._kind_by_identity: dict[tuple[str, int, int, int], int] = {}
        self._kind_by_value: dict[Kind, int] = {}
        self._profile_by_value: dict[Profile, int] = {}
        self._queue_by_name: dict[str, int] = {}
        self._profile_columns: ProfileColumns | None = None
        self._resizable = array("b")
        self._starts = array("q", [0])
        self._kind = array("q")
        self._throughput = array("d")
        self._resources: tuple[str, ...] = ()
        self._amounts = array("d")
        self._judge: OpenNodes | None = None
        self._fits = array("b")
        self._listed: tuple[Kind, ...] = ()

    @property
    def all_kinds(self) -> tuple[Kind, ...]:
        """By number; the same object until there are more."""
        if len(self._listed) != len(self.kinds):
            self._listed = tuple(self.kinds)
        return self._listed

    @property
    def shape_count(self) -> int:
        return len(self._resizable)

    def shape(self, job: Job) -> int:
        """The number of a job's shape."""
        measured, identity = job.measured_throughput, id(job.spec)
        learner = self.learner(job)
        if not measured and learner < 0:
            known = self._by_identity.get(identity)
        else:
            view = self._views[self.learner_names[learner]] if learner >= 0 else None
            known = self._by_measurement.get((identity, measured, view))
        return self._learn(job) if known is None else known

    def learner(self, job: Job) -> int:
        """Number of what the throughputs of the job depend on besides itself; -1 of nothing."""
        spec = job.spec
        if not spec.job_class and spec.is_declared:
            return -1
        name = (spec.queue if spec.job_class else "", spec.job_class, not spec.is_declared)
        number = self._learner_numbers.get(name)
        if number is None:
            number = self._learner_numbers[name] = len(self.learner_names)
            self.learner_names.append(name)
            self._views[name] = self._learned.view(*name[:2], guesses=name[2])
        return number

    def learn(self, known: Learned) -> Booleans:
        """From now on, throughputs are by what is `known`. For whom that makes a difference, by `learner`."""
        changed = np.zeros(len(self.learner_names), dtype=np.bool_)
        if known is self._learned:
            return changed
        self._learned = known
        for number, name in enumerate(self.learner_names):
            view = known.view(*name[:2], guesses=name[2])
            changed[number] = view != self._views[name]
            self._views[name] = view
        return changed

    def profile(self, job: Job) -> int:
        """The number of a job's profile."""
        spec = job.spec
        # The policy keeps the classes of live jobs; the facts of another policy's time are no reason to fail.
        found = self._classes.get(spec.priority_class) or self._classes[DEFAULT_CLASS]
        profile = Profile(
            self.shape(job),
            spec.queue,
            spec.weight,
            found.priority,
            spec.preemptible and found.preemptible,
            spec.restart_cost_seconds,
            spec.divisible,
        )
        number = self._profile_by_value.get(profile)
        if number is None:
            number = self._profile_by_value[profile] = len(self.profiles)
            self.profiles.append(profile)
        return number

    @property
    def profile_columns(self) -> ProfileColumns:
        """All profiles there are now, as arrays."""
        known = self._profile_columns
        if known is None or len(known.shape) != len(self.profiles):
            known = self._profile_columns = self._tabulated(known)
        return known

    def _tabulated(self, known: ProfileColumns | None) -> ProfileColumns:
        """The columns of `known`, and those of the profiles that came after."""
        fresh = self.profiles[len(known.shape) if known is not None else 0 :]
        for profile in fresh:
            if profile.queue not in self._queue_by_name:
                self._queue_by_name[profile.queue] = len(self.queues)
                self.queues.append(profile.queue)
        columns = ProfileColumns(
            shape=np.array([profile.shape for profile in fresh], dtype=np.int64),
            weight=np.array([profile.weight for profile in fresh], dtype=np.float64),
            priority=np.array([profile.priority for profile in fresh], dtype=np.int64),
            preemptible=np.array([profile.preemptible for profile in fresh], dtype=np.bool_),
            restart_cost=np.array([profile.restart_cost_seconds for profile in fresh], dtype=np.float64),
            divisible=np.array([profile.divisible for profile in fresh], dtype=np.bool_),
            queue=np.array([self._queue_by_name[profile.queue] for profile in fresh], dtype=np.int64),
        )
        if known is None:
            return columns
        names = ProfileColumns.__dataclass_fields__
        return ProfileColumns(
            **{name: np.concatenate([getattr(known, name), getattr(columns, name)]) for name in names}
        )

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
            resizable=np.array(self._resizable, dtype=np.bool_)[shapes],
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
            gang = kind.asks * kind.replicas
            self._amounts.extend([gang.get(name) / unit for name, unit in units])
        return np.array(self._amounts, dtype=np.float64).reshape(len(self.kinds), len(resources))

    def kinds_that_fit(self, open_nodes: OpenNodes) -> Booleans:
        """(kinds,) whether the empty nodes could run it."""
        if self._judge is not open_nodes:
            self._judge, self._fits = open_nodes, array("b")
        self._fits.extend([open_nodes.verdict(kind).cause is None for kind in self.kinds[len(self._fits) :]])
        return np.array(self._fits, dtype=np.bool_)

    def kinds_of(self, shape: int) -> list[Kind]:
        """Those of a shape that can run somewhere, in order of the configurations."""
        first, last = self._starts[shape], self._starts[shape + 1]
        return [self.kinds[self._kind[at]] for at in range(first, last) if self._throughput[at] > 0]

    def is_mostly_stale(self, in_use: int) -> bool:
        """Whether it remembers far more than the `in_use` jobs that there are now."""
        return max(len(self._alive), len(self.profiles)) > 3 * in_use + _FEW

    def _learn(self, job: Job) -> int:
        spec, measured = job.spec, job.measured_throughput
        self._alive.append(spec)
        kinds = tuple([self._kind_of(configuration, spec.constraints) for configuration in spec.configurations])
        speeds = self._learned.throughputs(job)
        key = (kinds, speeds, spec.resizable)
        number = self._by_value.get(key)
        if number is None:
            number = self._by_value[key] = len(self._resizable)
            self._resizable.append(spec.resizable)
            self._kind.extend(kinds)
            self._throughput.extend(speeds)
            self._starts.append(len(self._kind))
        learner = self.learner(job)
        if measured or learner >= 0:
            view = self._views[self.learner_names[learner]] if learner >= 0 else None
            self._by_measurement[id(spec), measured, view] = number
        else:
            self._by_identity[id(spec)] = number
        return number

    def _kind_of(self, configuration: Configuration, constraints: Constraints) -> int:
        """Jobs share the objects of their demands, and hashing those is what costs."""
        flavor, replicas, demand = configuration.flavor, configuration.replicas, configuration.demand
        key = (flavor, replicas, id(demand), id(constraints))
        number = self._kind_by_identity.get(key)
        if number is None:
            on_node, apart = parted(demand, self._floating)
            kind = Kind(flavor, replicas, on_node, constraints, apart)
            number = self._kind_by_identity[key] = self._kind_by_value.setdefault(kind, len(self.kinds))
            if number == len(self.kinds):
                self.kinds.append(kind)
        return number


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
    resizable: Booleans
    """(S,) as in `Columns`."""

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
            resizable=columns.resizable,
        )

    def position(self, shape: Integers, index: Integers) -> Integers:
        """(n,) which column of its shape a configuration is, by its index in the spec; -1 if it is none."""
        if not self.index.size:
            return np.full(len(shape), -1, dtype=np.int64)
        same = self.index[shape] == index[:, None]
        position: Integers = np.where(same.any(axis=1) & (index >= 0), same.argmax(axis=1), -1)
        return position

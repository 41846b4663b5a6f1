"""Random small worlds, drawn with a seed, and real rounds on them while nothing else happens.

A world is drawn with plain generators, so thousands of them cost seconds; ALLOCATOR_WORLDS says how many a search
tries, and every finding names the seed that makes it again.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory
from allocator.formulation.build import Formulation, build
from allocator.formulation.problem import Problem
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.ports import Solver
from allocator.rounds.report import RoundReport
from allocator.solvers.solution import Solution, Status, WarmStart
from allocator.store.memory import MemoryStore
from tests.placement.worlds import node, way

Shares = tuple[tuple[float, ...], ...]
"""Per job in order of submission, the share of each of its configurations."""

PARTS = (0.25, 0.3, 0.5, 0.7)
"""Fractions of a GPU that jobs ask for: some divide it, some do not."""

SHARDS = 10


def worlds_to_try(usual: int) -> int:
    """How many worlds a search tries: `usual` in the ordinary suite, ALLOCATOR_WORLDS of them when that is set."""
    return int(os.environ.get("ALLOCATOR_WORLDS", usual))


def shard(number: int, usual: int) -> range:
    """Seeds of one of SHARDS equal parts of a search, each a test of its own: so none outlasts its time limit."""
    count = worlds_to_try(usual)
    return range(count * number // SHARDS, count * (number + 1) // SHARDS)


@dataclass(frozen=True)
class SmallWorld:
    """Everything that decides what happens. Without `shares` a real solver finds them."""

    seed: int
    nodes: tuple[Node, ...]
    specs: tuple[JobSpec, ...]
    policy: Policy
    interval: float
    shares: Shares | None = None
    ages: tuple[float, ...] = ()
    """Seconds since submission of each job when the first round begins; none: 0."""


def drawn(seed: int, *, given_shares: bool = True, alone: bool = False, most_nodes: int = 8) -> SmallWorld:
    """The world of a seed: 3 to 12 jobs of all kinds on a few nodes, the cluster too small or large enough.

    `alone`: each job accepts one configuration, all are preemptible and of one priority class, and restarts are free.
    """
    dice = random.Random(seed)
    flavors = "abc"[: dice.randint(1, 3)]
    nodes = drawn_nodes(dice, flavors, dice.randint(3, most_nodes))
    specs = tuple(drawn_spec(dice, flavors, index, alone=alone) for index in range(dice.randint(3, 12)))
    limit = dice.choice((200.0, 7200.0, 7200.0))
    policy = Policy(
        minimum_run_seconds=dice.choice((0.0, 30.0, 100.0)),
        hysteresis_seconds=dice.choice((0.0, 20.0, 60.0, 150.0)),
        credit_limit_seconds=limit,
    )
    world = SmallWorld(seed, nodes, specs, policy, dice.choice((20.0, 30.0, 60.0)))
    if not given_shares:
        return patient(dice, world)
    wished = tuple(tuple(_share(dice) / len(spec.configurations) for _ in spec.configurations) for spec in specs)
    return patient(dice, replace(world, shares=affordable(world, wished)))


def patient(dice: random.Random, world: SmallWorld) -> SmallWorld:
    """The same with jobs of different ages, and in half of the worlds the old ones are more patient."""
    ages = tuple(dice.choice((0.0, 300.0, 1000.0)) for _ in world.specs)
    return replace(world, policy=replace(world.policy, lag_tolerance=dice.choice((0.0, 0.1))), ages=ages)


def drawn_nodes(dice: random.Random, flavors: str, number: int) -> tuple[Node, ...]:
    """Nodes of 3 to 8 cores and up to 4 GPUs."""
    return tuple(
        node(f"n{index}", flavor=dice.choice(flavors), cpu=dice.randint(3, 8), gpu=dice.choice((0, 1, 2, 2, 4)))
        for index in range(number)
    )


def drawn_spec(dice: random.Random, flavors: str, index: int, *, alone: bool = False) -> JobSpec:
    """A job whose weight nobody else has, so that it is a row of its own."""
    ways: dict[tuple[str, int], Configuration] = {}
    for _ in range(1 if alone else dice.choice((1, 1, 2, 3))):
        flavor, replicas = dice.choice(flavors), dice.choice((1, 1, 1, 2, 2, 3, 4))
        ways[flavor, replicas] = drawn_way(dice, flavor, replicas)
    return JobSpec(
        "q",
        tuple(ways.values()),
        weight=1.0 + index / 97,
        priority_class="normal" if alone else dice.choice(("low", *["normal"] * 6, "high")),
        preemptible=alone or dice.random() < 0.85,
        restart_cost_seconds=0.0 if alone else dice.choice((0.0, 0.0, 40.0, 100.0, 1000.0)),
    )


def drawn_way(dice: random.Random, flavor: str, replicas: int) -> Configuration:
    """Cores only, parts of a GPU, or whole ones."""
    kind = dice.random()
    gpu: float = 0 if kind < 0.3 else dice.choice(PARTS) if kind < 0.6 else dice.choice((1, 1, 2, 3))
    cpu = dice.randint(0, 3) if gpu else dice.randint(1, 6)
    return way(flavor=flavor, replicas=replicas, cpu=cpu, gpu=gpu, throughput=dice.choice((1.0, 1.0, 2.0, 3.0)))


def _share(dice: random.Random) -> float:
    return dice.choice((0.0, 0.1, dice.random(), dice.random(), 1.0))


def affordable(world: SmallWorld, wished: Shares) -> Shares:
    """`wished`, each flavor scaled down until no resource of it is promised more than once."""
    capacity: dict[tuple[str, str], int] = defaultdict(int)
    for member in world.nodes:
        for resource, amount in member.capacity.items():
            capacity[member.flavor, resource] += amount
    asked: dict[tuple[str, str], float] = defaultdict(float)
    for spec, shares in zip(world.specs, wished, strict=True):
        for configuration, share in zip(spec.configurations, shares, strict=True):
            for resource, amount in configuration.total_demand.items():
                asked[configuration.flavor, resource] += amount * share
    part: dict[str, float] = defaultdict(lambda: 1.0)
    for (flavor, resource), total in asked.items():
        if total:
            part[flavor] = min(part[flavor], capacity[flavor, resource] / total)
    return tuple(
        tuple(share * part[way.flavor] for way, share in zip(spec.configurations, shares, strict=True))
        for spec, shares in zip(world.specs, wished, strict=True)
    )


class GivenShares:
    """A Solver that answers with shares by job id, whatever the problem; it looks into the store for the names."""

    def __init__(self, store: MemoryStore, policy: Policy, shares: Mapping[str, Sequence[float]]) -> None:
        self._store, self._policy, self._shares = store, policy, shares
        self.now = 0.0

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        del gap, iterations, warm_start
        formulation = build(self._store.snapshot(self.now), self._policy)
        shares = np.zeros(problem.throughput.shape)
        for row, whose in enumerate(self._rows(problem, formulation)):
            group, columns = formulation.groups[whose], formulation.configurations[whose]
            for column, index in enumerate(columns):
                if index >= 0:
                    shares[row, column] = self._shares[group[0]][index]
        return Solution(
            shares,
            prices=np.zeros(problem.capacity.shape),
            limit_prices=np.zeros(problem.limit_count),
            objective=0.0,
            bound=0.0,
            gap=0.0,
            status=Status.OPTIMAL,
            solver="given",
            iterations=0,
        )

    def _rows(self, problem: Problem, formulation: Formulation) -> list[int]:
        """Which rows of the formulation these are: all of them, or those of one priority class that can run still."""
        whole = formulation.problem
        if problem.row_count == whole.row_count:
            return list(range(whole.row_count))
        priority = {job.id: job.priority for job in self._store.snapshot(self.now).jobs}
        classes = [priority[group[0]] for group in formulation.groups]
        for wanted in sorted(set(classes), reverse=True):
            found: list[int] = []
            for row in (row for row, each in enumerate(classes) if each == wanted):
                if len(found) < problem.row_count and _is_same(problem, len(found), whole, row):
                    found.append(row)
            if len(found) == problem.row_count:
                return found
        raise AssertionError("no priority class has these rows")


def _is_same(part: Problem, row: int, whole: Problem, other: int) -> bool:
    """Whether two rows are of jobs that ask for the same; what has no room any more has no throughput in the part."""
    left = part.throughput[row]
    return (
        np.array_equal(part.demand[row], whole.demand[other])
        and np.array_equal(part.flavor[row], whole.flavor[other])
        and bool(((left == 0) | (left == whole.throughput[other])).all())
    )


@dataclass(frozen=True)
class Played:
    """One round: what it saw, did and left behind. `credits` are in seconds at its moment, as decisions see them."""

    report: RoundReport
    credits: Mapping[str, float]
    memory: Memory
    """What the round was given."""
    after: tuple[Job, ...]

    @property
    def quiet(self) -> bool:
        """Nothing changed."""
        return not self.report.commit.applied and not self.report.commit.rejected

    @property
    def jobs(self) -> dict[str, Job]:
        """As the round found them."""
        return {job.id: job for job in self.report.snapshot.jobs}


class Stage:
    """A store with the world's nodes and jobs, and a clock that stands still during a round."""

    def __init__(self, world: SmallWorld, solver: Solver | None = None) -> None:
        self.world = world
        self.store = MemoryStore()
        self.time = 0.0
        self.memory = Memory()
        self.do(c.CreateQueue(Queue("q")))
        for member in world.nodes:
            self.do(c.RegisterNode(member))
        for spec, age in zip(world.specs, world.ages or (0.0,) * len(world.specs), strict=True):
            self.store.execute(c.SubmitJobs((spec,)), -age).result()
        self.jobs: tuple[Job, ...] = self.store.snapshot(0.0).jobs
        shares = world.shares or tuple((0.0,) * len(spec.configurations) for spec in world.specs)
        self.given = GivenShares(self.store, world.policy, {j.id: s for j, s in zip(self.jobs, shares, strict=True)})
        self.solver: Solver = solver or self.given

    def do(self, command: c.Command) -> object:
        return self.store.execute(command, self.time).result()

    # The ports of a round.

    def now(self) -> float:
        return self.time

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        raise NotImplementedError("rounds are played one by one")

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Nobody listens."""

    def play(self) -> Played:
        """One round now; then time goes on by the interval."""
        memory, policy = self.memory, self.world.policy
        self.given.now = self.time
        report, self.memory = run_round(
            store=self.store, pusher=self, clock=self, solver=self.solver, policy=policy, memory=memory
        )
        limit = policy.credit_limit_seconds
        credits_now = {
            job.id: min(limit, max(-limit, memory.credit(job.sequence, self.time))) for job in report.snapshot.jobs
        }
        played = Played(report, credits_now, memory, self.store.snapshot(self.time).jobs)
        self.time += self.world.interval
        return played

    def rounds(self, number: int) -> Iterable[Played]:
        for _ in range(number):
            yield self.play()

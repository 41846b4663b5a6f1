"""Markets in a few words, for tests: queues, who wants what, what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from allocator.domain.queue import Queue
from allocator.formulation.problem import Floats, Limit, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Claims
from allocator.market.clearing import Cleared, Market, clear
from allocator.solvers.chain import ChainSolver
from allocator.solvers.solution import Solution, WarmStart

GPU = 1000


class Way(NamedTuple):
    """A configuration: where, what of each resource, how fast."""

    flavor: int
    demand: tuple[float, ...]
    throughput: float = 1.0


@dataclass(frozen=True)
class Want:
    """`count` jobs of one queue that can run in these ways."""

    queue: str
    ways: tuple[Way, ...]
    weight: float = 1.0
    count: int = 1
    priority: int = 0


def gpus(queue: str, amount: float = 1.0, **changes: object) -> Want:
    """Jobs that need so many GPUs of the only flavor."""
    return Want(queue, (Way(0, (amount,)),), **changes)  # type: ignore[arg-type]


def solver(gap: float = 1e-7) -> object:
    """The chain."""

    def solve(problem: Problem, start: WarmStart) -> Solution:
        return ChainSolver().solve(problem, gap=gap, iterations=400, warm_start=start)

    return solve


def market(
    queues: Sequence[Queue],
    wants: Sequence[Want],
    capacity: Sequence[Sequence[float]] | float,
    fairness: float = 1.0,
    held: dict[str, list[list[float]]] | None = None,
    limits: dict[str, Limit] | None = None,
) -> Market:
    """Flavors f0, f1, ...; resources gpu, cpu, memory: amounts in display units. `limits` count wants by number."""
    room = np.atleast_2d(np.asarray(capacity, dtype=float))
    flavors = tuple(f"f{number}" for number in range(room.shape[0]))
    resources = ("gpu", "cpu", "memory")[: room.shape[1]]
    width = max(len(want.ways) for want in wants)
    throughput = np.zeros((len(wants), width))
    flavor = np.zeros((len(wants), width), dtype=np.int64)
    demand = np.zeros((len(wants), width, room.shape[1]))
    for row, want in enumerate(wants):
        for column, way in enumerate(want.ways):
            throughput[row, column], flavor[row, column], demand[row, column] = way.throughput, way.flavor, way.demand
    names = sorted({want.queue for want in wants} | set(held or {}))
    tree = QueueTree.of(queues, names, flavors, resources)
    leaf = {name: int(tree.leaf[position]) for position, name in enumerate(names)}
    taken = np.zeros((tree.size, *room.shape))
    for name, amounts in (held or {}).items():
        taken[leaf[name]] = amounts
    return Market(
        problem=Problem.from_arrays(
            throughput=throughput,
            flavor=flavor,
            demand=demand,
            capacity=room,
            weight=np.full(len(wants), 1 / len(wants)),
            count=[want.count for want in wants],
            fairness=fairness,
            limits=tuple((limits or {}).values()),
        ),
        claims=Claims(
            np.array([leaf[want.queue] for want in wants]),
            np.array([want.weight for want in wants]),
            np.arange(len(wants)),
        ),
        priority=np.array([want.priority for want in wants]),
        tree=tree,
        held=tree.above(taken),
        flavors=flavors,
        resources=resources,
        side=tuple((name, "", "") for name in limits or {}),
    )


def cleared(opened: Market, start: Floats | None = None) -> Cleared:
    """From nothing, unless prices are given."""
    prices = np.full(opened.problem.capacity.shape, np.nan) if start is None else start
    return clear(opened, solver(), WarmStart(prices), {})  # type: ignore[arg-type]


def used(found: Cleared, queue: str) -> Floats:
    """(F, R) what the queue gets, those below it included."""
    amounts: Floats = found.used[found.tree.names.index(queue)]
    return amounts

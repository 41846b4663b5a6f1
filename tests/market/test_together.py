"""Everything at once: trees with quotas, priorities and service in order, classes, pinned jobs, side constraints, any
fairness. Nothing is ever broken, in the first round and from the last round's prices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.domain.queue import Discipline, Queue
from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Floats, Limit
from allocator.market.clearing import Cleared, clear
from allocator.market.limits import Bounds
from allocator.market.pools import lacking
from allocator.solvers.solution import Status, WarmStart
from tests.market.markets import Want, market, solver
from tests.market.test_properties import worlds

WORLDS = 60


def _varied(random: np.random.Generator, queues: list[Queue], wants: list[Want]) -> tuple[list[Queue], list[Want]]:
    disciplines = (Discipline.FIFO, Discipline.FAIR, Discipline.FAIR)
    return (
        [
            replace(queue, priority=int(random.choice([0, 0, 3])), discipline=disciplines[random.integers(3)])
            for queue in queues
        ],
        [replace(want, priority=int(random.choice([0, 0, 100]))) for want in wants],
    )


def _limits(random: np.random.Generator, wants: int, shape: tuple[int, ...]) -> dict[str, Limit]:
    found = {}
    for number in range(random.integers(0, 3)):
        members = np.flatnonzero(random.random(wants) < 0.6)
        terms = tuple(
            (flavor, int(random.integers(shape[1])), float(random.choice([0.5, 1.0, 3.0])))
            for flavor in range(shape[0])
        )
        found[f"limit{number}"] = Limit(terms, float(random.choice([0.5, 1.0, 4.0, 20.0])), members)
    return found


def _nothing_is_broken(found: Cleared, capacity: Floats, held: Floats) -> bool:
    problem, shares = found.problem, found.solution.shares
    bounds = Bounds.of(found.tree, capacity, held)
    _, reserved = lacking(found.tree, bounds.kept, found.used, capacity)
    return bool(
        (problem.coupled_usage(shares) <= problem.available * (1 + 1e-9) + 1e-9).all()
        and (found.used <= bounds.most + 1e-6).all()
        and (reserved <= capacity * (1 + 1e-4) + 1e-5).all()
    )


def test_nothing_is_broken_whatever_comes_together() -> None:
    accurate = 0
    for seed, queues, wants, capacity in worlds(quotas=True, first=9000):
        if seed >= 9000 + WORLDS:
            break
        random = np.random.default_rng(seed)
        tree, jobs = _varied(random, queues, wants)
        held = {wants[0].queue: (4 * random.random(capacity.shape)).tolist()} if random.random() < 0.4 else None
        fairness = float(random.choice([0.0, 0.01, 0.5, 1.0, 1.0, 2.0, 5.0, np.inf]))
        opened = market(tree, jobs, capacity, fairness, held, _limits(random, len(jobs), capacity.shape))  # type: ignore[arg-type]
        start = WarmStart(np.full(capacity.shape, np.nan))
        known: dict[LimitName, float] = {}
        for again in range(2):
            found = clear(opened, solver(1e-6), start, known)  # type: ignore[arg-type]
            assert found.solution.status is not Status.FAILED, (seed, again)
            assert _nothing_is_broken(found, capacity, opened.held), (seed, again)
            accurate += found.solution.status is Status.OPTIMAL
            start, known = WarmStart(found.solution.prices), dict(found.limit_prices)
    assert accurate > 1.9 * WORLDS

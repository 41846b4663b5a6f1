"""Small random problems for property tests: with ties, idle resources, impossible columns, counts and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from allocator.formulation.limits import Limit, LimitPart
from allocator.formulation.problem import Problem

ALPHAS = (0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf"))


@st.composite
def problems(draw: st.DrawFn, alphas: tuple[float, ...] = ALPHAS, *, limited: bool = True) -> Problem:
    """1 to 6 rows, 1 to 4 columns, 1 to 3 flavors and resources; amounts from few values, so that ties are common."""
    n, width = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    flavors, resources = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    throughput = random.choice([0.0, 0.5, 1.0, 1.0, 2.0, 3.7], (n, width))
    flavor = random.integers(0, flavors, (n, width))
    demand = random.choice([0.0, 0.25, 1.0, 1.0, 2.0, 8.0], (n, width, resources))
    capacity = random.choice([0.0, 1.0, 3.0, 10.0, 50.0], (flavors, resources))
    open_column = ~((demand > 0) & (capacity[flavor] == 0)).any(axis=2) & (throughput > 0)
    for row in np.flatnonzero(~open_column.any(axis=1)):  # every row needs somewhere to run
        throughput[row, 0] = 1.0
        demand[row, 0] = np.where(capacity[flavor[row, 0]] > 0, demand[row, 0], 0.0)
    limits = [
        random_limit(random, n, capacity.shape, float(random.choice([0.5, 2.0, 20.0])))
        for _ in range(draw(st.integers(0, 2)) if limited else 0)
    ]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=flavor,
        demand=demand,
        capacity=capacity,
        weight=random.choice([0.2, 1.0, 1.0, 3.0], n),
        count=random.choice([1, 1, 2, 5], n),
        fairness=draw(st.sampled_from(alphas)),
        limits=limits,
    )


def random_limit(random: np.random.Generator, n: int, shape: tuple[int, ...], amount: float) -> Limit:
    """Half of them of one resource of one flavor, others of several, some with terms that only some members have."""

    def terms() -> tuple[tuple[int, int, float], ...]:
        most = int(random.choice([1, 3]))
        return tuple(
            (
                int(random.integers(shape[0])),
                int(random.integers(shape[1])),
                float(random.choice([0.25, 1.0, 1.0, 3.0])),
            )
            for _ in range(most)
        )

    def members() -> list[int]:
        return sorted(set(random.integers(0, n, 1 + n // 2).tolist()))

    if random.random() < 0.5:
        return Limit.of(int(random.integers(shape[0])), int(random.integers(shape[1])), amount, members())
    more = tuple(LimitPart(terms(), members()) for _ in range(int(random.integers(0, 3))))
    return Limit(terms(), amount, members(), more)


def single_job(**changes: Any) -> Problem:
    """One job, one flavor with one unit of one resource, of which it wants two."""
    arguments: dict[str, Any] = {
        "throughput": [[1.0]],
        "flavor": [[0]],
        "demand": [[[2.0]]],
        "capacity": [[1.0]],
    }
    return Problem.from_arrays(**(arguments | changes))

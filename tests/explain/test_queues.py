"""What is worked out of all queues at once is what the market works out of one after the other."""

from __future__ import annotations

import numpy as np

from allocator.explain.queues import counted_in, entitlements
from allocator.market.quotas import fill
from tests.market.markets import gpus, market
from tests.market.test_properties import worlds


def test_jobs_are_counted_in_as_the_market_does_it() -> None:
    compared = 0
    for seed, queues, wants, capacity in worlds(first=3000):
        opened = market(queues, wants, capacity)  # type: ignore[arg-type]
        random = np.random.default_rng(seed)
        every = np.arange(opened.tree.size)
        queue = random.permutation(every)[: random.integers(1, every.size + 1)]
        bound = random.choice([0.0, 1.0, 3.0, np.inf], (len(queue), *capacity.shape))
        bound = np.minimum(bound, capacity)
        expected = fill(opened.problem, opened.tree, opened.claims.queue, queue, bound).bundle
        found = counted_in(opened.problem, opened.tree, opened.claims.queue, queue, bound)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        compared += len(queue)
    assert compared > 300


def test_entitlements_go_by_weight_among_those_that_want_something() -> None:
    opened = market([], [gpus("r/x"), gpus("s", count=3)], 4.0, held={"t": [[1.0]]})
    tree = opened.tree
    found = dict(zip(tree.names, entitlements(tree, opened.claims.queue, opened.held), strict=True))
    assert {name: round(part, 9) for name, part in found.items()} == {
        "r/x": 0.333333333,
        "s": 0.333333333,
        "t": 0.333333333,
    }

"""Compiles the kernels for large problems ahead of time: `python -m allocator.solvers`, once per machine and version.

Otherwise the first large round does it, and takes about 40 s longer, and the first one with many quotas another 30 s.
Where they go: see NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Limit, Problem
from allocator.solvers.chain import LEVEL_ROWS, solve

_ROWS = 20_000
"""More than any method needs to be chosen, and to use threads."""
_QUEUE = 100
"""Rows that share a limit."""


def compile_kernels() -> None:
    """Solve one problem for every kind of kernel."""
    assert _ROWS >= LEVEL_ROWS
    random = np.random.default_rng(0)
    shared = [Limit.of(0, 0, _QUEUE / 50, range(first, first + _QUEUE)) for first in range(0, _ROWS, _QUEUE)]
    for rows, fairness, limits in (
        (_ROWS, 1.0, []), (_ROWS, float("inf"), []), (_ROWS // 100, 1.0, []), (_ROWS, 1.0, shared)
    ):  # fmt: skip
        solve(
            Problem.from_arrays(
                throughput=np.resize(random.uniform(0.1, 1.0, (rows, 3)), (_ROWS, 3)),
                flavor=np.broadcast_to([0, 1, 2], (_ROWS, 3)),
                demand=np.ones((_ROWS, 3, 2)),
                capacity=np.full((3, 2), _ROWS / 10),
                fairness=fairness,
                limits=limits,
            )
        )


if __name__ == "__main__":
    compile_kernels()

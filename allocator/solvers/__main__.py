"""Compiles the kernels for large problems ahead of time: `python -m allocator.solvers`, once per machine and version.

Otherwise the first large round does it, and takes about 40 s longer. Where they go: see NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Problem
from allocator.solvers.chain import LEVEL_ROWS, solve

_ROWS = 20_000
"""More than any method needs to be chosen, and to use threads."""


def compile_kernels() -> None:
    """Solve one problem for every kind of kernel."""
    assert _ROWS >= LEVEL_ROWS
    random = np.random.default_rng(0)
    for rows, fairness in ((_ROWS, 1.0), (_ROWS, float("inf")), (_ROWS // 100, 1.0)):
        solve(
            Problem.from_arrays(
                throughput=np.resize(random.uniform(0.1, 1.0, (rows, 3)), (_ROWS, 3)),
                flavor=np.broadcast_to([0, 1, 2], (_ROWS, 3)),
                demand=np.ones((_ROWS, 3, 2)),
                capacity=np.full((3, 2), _ROWS / 10),
                fairness=fairness,
            )
        )


if __name__ == "__main__":
    compile_kernels()

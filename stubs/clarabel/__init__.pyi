# The part of clarabel 0.11 that is used here; the package ships no types.

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

class ZeroConeT:
    def __init__(self, dim: int) -> None: ...

class NonnegativeConeT:
    def __init__(self, dim: int) -> None: ...

class SecondOrderConeT:
    def __init__(self, dim: int) -> None: ...

class ExponentialConeT:
    def __init__(self) -> None: ...

class PowerConeT:
    def __init__(self, alpha: float) -> None: ...

class DefaultSettings:
    max_iter: int
    max_step_fraction: float
    max_threads: int
    verbose: bool
    direct_solve_method: str
    presolve_enable: bool
    equilibrate_enable: bool
    equilibrate_max_iter: int
    tol_gap_abs: float
    tol_gap_rel: float
    tol_feas: float
    @staticmethod
    def default() -> DefaultSettings: ...

class DefaultSolution:
    @property
    def x(self) -> list[float]: ...
    @property
    def z(self) -> list[float]: ...
    @property
    def s(self) -> list[float]: ...
    @property
    def status(self) -> object: ...
    @property
    def iterations(self) -> int: ...
    @property
    def solve_time(self) -> float: ...

class DefaultSolver:
    def __init__(
        self,
        quadratic: sp.csc_array[Any],
        linear: NDArray[np.float64],
        constraints: sp.csc_array[Any],
        bounds: NDArray[np.float64],
        cones: Sequence[object],
        settings: DefaultSettings,
        /,
    ) -> None: ...
    def solve(self) -> DefaultSolution: ...

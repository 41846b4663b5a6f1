"""Clarabel, an interior-point method: the exact solver for every alpha.

Every sign flip and order of this package is here:

- Clarabel minimises q.v subject to A v + s = b, s in a product of cones; we maximise, so q = -(our coefficients).
- Columns v: first x' of every eligible share in C order of (row, column), then one epigraph variable t per row
  (alpha > 0), or the single level t' (alpha = inf).
- Rows: x' >= 0 as -x' <= 0; each job's time; each scarce coupling row divided by what is available; for alpha = inf
  the levels w_i t <= u_i; then three cone rows per job:

      alpha = 1      exponential (t, 1, y): y >= exp(t)                      maximise  sum o_i t_i
      alpha = 2      second order (y + t, y - t, 2): t y >= 1                maximise  sum -o_i t_i
      alpha > 1      power 1 / alpha (t, y, 1): t >= y^(1 - alpha)           maximise  sum o_i t_i / (1 - alpha)
      0 < alpha < 1  power 1 - alpha (y, 1, t): t <= y^(1 - alpha)           maximise  sum o_i t_i / (1 - alpha)
      alpha = 0      none                                                    maximise  sum o_i y_i

- y_i = u_i / unit_i, with unit_i a guess of the utility the job will get, so that y is about 1; a share is
  unit_i / (best utility of i) times its x'. o_i = c_i w_i unit_i^(1 - alpha), divided by their mean. It is the sum that
  is maximised, not the mean: dividing by n as well ends in "insufficient progress" on wide problems.
- The dual of a row A v <= b of a minimisation is >= 0 as Clarabel gives it. Undoing both scalings,
  price = dual x mean(o) / available.

One thread and one factorisation method, so that the same problem gives the same bits; a budget of iterations, never
of seconds, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import clarabel
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.formulation.certificate import objective, positive_split, repair
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.solvers.candidate import Candidate

_TOLERANCE, _LARGEST_TOLERANCE = 1e-10, 1e-7
_PART = 0.03
"""Tolerance, in gaps asked for: Clarabel's is relative to numbers of its own."""
_FEW_ROWS = 50
"""Up to so many rows the last digits cost next to nothing."""
_NEARLY_ONE = 3e-4
"""So close to alpha = 1 its optimum is taken: it is off by the square of this, the power cones by much more."""
_LEVEL_TOLERANCE = 1e-7
"""For the second step of max-min, which maximises throughput at the level that the first step found."""
_LEVEL_SLACK = 1e-6
"""By how much of itself that level may fall in the second step."""
_USABLE = ("Solved", "AlmostSolved")
_Cone = clarabel.NonnegativeConeT | clarabel.SecondOrderConeT | clarabel.ExponentialConeT | clarabel.PowerConeT


def conic(
    problem: Problem,
    iterations: int,
    *,
    near: Floats | None = None,
    step_fraction: float = 0.99,
    gap: float = 0.0,
) -> Candidate:
    """Shares and prices within `gap` of the optimum, or as exact as floats allow, or where `iterations` left Clarabel.

    The problem must have rows. `near` (n, K) are feasible shares that give every job something: the utilities are
    measured in theirs, so the better the guess, the better the conditioning; without it, an equal split.
    `step_fraction` is how far towards the boundary a step may go. Raises what Clarabel raises on numbers that it
    cannot take.
    """
    guess = repair(problem, positive_split(problem)) if near is None else near
    scaled = _Scaled.of(problem, problem.utilities(guess))
    if np.isinf(scaled.fairness):
        return _max_min(scaled, iterations, step_fraction)
    program = Program.finite(scaled)
    exact = problem.row_count <= _FEW_ROWS
    tolerance = _TOLERANCE if exact else min(max(_PART * gap, _TOLERANCE), _LARGEST_TOLERANCE)
    found = program.run(iterations, step_fraction, tolerance)
    return scaled.candidate(found, scaled.objective_unit, found.iterations)


def _max_min(scaled: _Scaled, iterations: int, step_fraction: float) -> Candidate:
    """First the highest level; then, with what is left of the budget, the most throughput at that level."""
    problem = scaled.problem
    first = Program.level(scaled).run(iterations, step_fraction)
    answer = scaled.candidate(first, scaled.level_unit, first.iterations)
    left = iterations - first.iterations
    if first.status not in _USABLE or left < 1:
        return answer
    reached = objective(problem, repair(problem, answer.shares))
    second = Program.throughput_at(scaled, reached).run(left, step_fraction, _LEVEL_TOLERANCE)
    spent = first.iterations + second.iterations
    shares = scaled.shares(second.point)
    keeps_level = objective(problem, repair(problem, shares)) >= reached * (1 - _LEVEL_SLACK)
    return replace(answer, shares=shares if keeps_level else answer.shares, iterations=spent)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Clarabel's answer in its own variables."""

    point: Floats
    duals: Floats
    iterations: int
    status: str


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The problem in numbers of about 1, without what cannot matter: ineligible columns, rows nobody can fill."""

    problem: Problem
    fairness: float
    """alpha, or 1 if it is nearly that."""
    columns: Integers
    """(N,) index of each x' among the (i, k) in C order."""
    owner: Integers
    """(N,) row of each x'."""
    spread: Floats
    """(N,) share = spread x'."""
    gain: Floats
    """(N,) what x' adds to its owner's y."""
    unit: Floats
    """(n,) u = unit y."""
    scarce: Integers
    """(M,) the coupling rows that can bind."""
    load: tuple[Integers, Integers, Floats]
    """Scarce rows, x', and what of the first the second uses, relative to what is available; in this order."""
    value: Floats
    """(n,) o: the objective's coefficient of each job, its mean 1 (finite alpha)."""
    objective_unit: float
    """What `value` was divided by."""
    level_unit: float
    """t = level_unit t' (alpha = inf)."""

    @classmethod
    def of(cls, problem: Problem, guess: Floats) -> _Scaled:
        columns = np.flatnonzero(problem.eligible.ravel())
        owner = columns // problem.column_count
        earned = problem.weight * problem.count
        best = problem.utility.max(axis=1)
        spread = (guess / best)[owner]
        order = np.argsort(problem.entries.row, kind="stable")
        number = np.cumsum(problem.eligible.ravel()) - 1  # only eligible columns have entries
        row, column = problem.entries.row[order], number[problem.entries.column[order]]
        amount = problem.coupling.data[order]
        binds = _greediest(row, owner[column], amount, (problem.available.size, problem.row_count)) > problem.available
        scarce, kept = np.flatnonzero(binds), binds[row]
        row, column = row[kept], column[kept]
        amount = amount[kept] * spread[column] / problem.available[row]
        load = ((np.cumsum(binds) - 1)[row], column, amount)
        alpha = 1.0 if abs(problem.fairness - 1) <= _NEARLY_ONE else problem.fairness
        value, objective_unit = _values(earned, guess, alpha)
        return cls(
            problem=problem,
            fairness=alpha,
            columns=columns,
            owner=owner,
            spread=spread,
            gain=problem.utility.ravel()[columns] / best[owner],
            unit=guess,
            scarce=scarce,
            load=load,
            value=value,
            objective_unit=objective_unit,
            level_unit=float((guess / problem.weight).min()),
        )

    def shares(self, point: Floats) -> Floats:
        """(n, K) shares of Clarabel's variables."""
        shares = np.zeros(self.problem.eligible.size)
        shares[self.columns] = point[: self.columns.size] * self.spread
        return shares.reshape(self.problem.eligible.shape)

    def candidate(self, found: Found, unit: float, iterations: int) -> Candidate:
        """`found` in the problem's own units; `unit` is what the objective was divided by."""
        first = self.columns.size + self.problem.row_count
        prices = np.zeros(self.problem.available.size)
        duals = found.duals[first : first + self.scarce.size]
        prices[self.scarce] = duals * unit / self.problem.available[self.scarce]
        capacity = self.problem.capacity
        return Candidate(
            shares=self.shares(found.point),
            prices=prices[: capacity.size].reshape(capacity.shape),
            limit_prices=prices[capacity.size :],
            iterations=iterations,
            outcome=found.status,
        )


def largest_use(coupling: sp.csr_array[Any], owner: Integers, n: int) -> Floats:
    """(m,) upper bound on the use of each coupling row: every job whole in its greediest column."""
    if coupling.nnz == 0:
        return np.zeros(coupling.shape[0])
    row = np.repeat(np.arange(coupling.shape[0]), np.diff(coupling.indptr))
    return _greediest(row, owner[coupling.indices], coupling.data, (coupling.shape[0], n))


def _greediest(row: Integers, owner: Integers, amount: Floats, shape: tuple[int, int]) -> Floats:
    """(m,) of `shape` (m, n): by row the sum over owners of their largest amount. Entries in order of row and owner."""
    if not len(row):
        return np.zeros(shape[0])
    start = np.flatnonzero(np.diff(row * shape[1] + owner, prepend=-1))  # columns of one owner are neighbours
    largest = np.maximum.reduceat(amount, start)
    return np.bincount(row[start], largest, minlength=shape[0]).astype(np.float64, copy=False)


def _values(earned: Floats, unit: Floats, alpha: float) -> tuple[Floats, float]:
    """c w unit^(1 - alpha), divided by its mean, and that mean; in logarithms, because powers overflow."""
    if np.isinf(alpha):
        return np.ones_like(unit), 1.0
    exponent = np.log(earned) + (1 - alpha) * np.log(unit)
    top = float(exponent.max())
    relative = np.exp(exponent - top)
    mean = float(relative.mean())
    with np.errstate(over="ignore"):
        return relative / mean, float(np.exp(top) * mean)


@dataclass(slots=True, eq=False)
class Program:
    """Clarabel's input, gathered row block by row block."""

    cost: Floats
    """(N + epigraphs,) q."""
    height: int = 0
    rows: list[Integers] = field(default_factory=list)
    columns: list[Integers] = field(default_factory=list)
    entries: list[Floats] = field(default_factory=list)
    bounds: list[Floats] = field(default_factory=list)
    cones: list[_Cone] = field(default_factory=list)

    @classmethod
    def finite(cls, scaled: _Scaled) -> Program:
        """Finite alpha: sum of o phi(y), by whichever cone states phi (see the top)."""
        alpha = scaled.fairness
        if alpha == 0:
            program = cls(-scaled.value[scaled.owner] * scaled.gain)
            program.add_feasible_set(scaled)
            return program
        factor = 1.0 if alpha == 1 else 1 / (1 - alpha)
        program = cls(np.concatenate([np.zeros(scaled.columns.size), -factor * scaled.value]))
        program.add_feasible_set(scaled)
        if alpha == 2:
            program.add_second_order_cones(scaled)
        elif alpha == 1:
            program.add_cones(scaled, clarabel.ExponentialConeT(), epigraph=0, one=1, utility=2)
        elif alpha > 1:
            program.add_cones(scaled, clarabel.PowerConeT(1 / alpha), epigraph=0, utility=1, one=2)
        else:
            program.add_cones(scaled, clarabel.PowerConeT(1 - alpha), utility=0, one=1, epigraph=2)
        return program

    @classmethod
    def level(cls, scaled: _Scaled) -> Program:
        """alpha = inf: the highest t' with w_i level_unit t' <= u_i."""
        size, n = scaled.columns.size, scaled.problem.row_count
        program = cls(np.concatenate([np.zeros(size), [-1.0]]))
        program.add_feasible_set(scaled)
        heights = scaled.problem.weight * scaled.level_unit / scaled.unit
        program.add(program.height + np.arange(n), np.full(n, size), heights)
        program.add(program.height + scaled.owner, np.arange(size), -scaled.gain)
        program.close(np.zeros(n), [clarabel.NonnegativeConeT(n)])
        return program

    @classmethod
    def throughput_at(cls, scaled: _Scaled, level: float) -> Program:
        """alpha = inf, second step: the most total normalised throughput with everybody at `level` or above."""
        n = scaled.problem.row_count
        worth = scaled.problem.count * scaled.unit
        program = cls(-(worth / worth.mean())[scaled.owner] * scaled.gain)
        program.add_feasible_set(scaled)
        program.add(program.height + scaled.owner, np.arange(scaled.columns.size), -scaled.gain)
        program.close(-level * scaled.problem.weight / scaled.unit, [clarabel.NonnegativeConeT(n)])
        return program

    def add_feasible_set(self, scaled: _Scaled) -> None:
        """x' >= 0, every job's time, every scarce row."""
        size, n = scaled.columns.size, scaled.problem.row_count
        share = np.arange(size)
        self.add(share, share, np.full(size, -1.0))
        self.add(size + scaled.owner, share, scaled.spread)
        row, column, amount = scaled.load
        self.add(size + n + row, column, amount)
        scarce = scaled.scarce.size
        bounds = np.concatenate([np.zeros(size), np.ones(n + scarce)])
        self.close(bounds, [clarabel.NonnegativeConeT(size + n + scarce)])

    def add_cones(self, scaled: _Scaled, cone: _Cone, *, epigraph: int, utility: int, one: int) -> None:
        """One three-dimensional cone per job; the keywords say at which place each of t, y and 1 stands in it."""
        size, n = scaled.columns.size, scaled.problem.row_count
        job = np.arange(n)
        self.add(self.height + 3 * job + epigraph, size + job, np.full(n, -1.0))
        self.add(self.height + 3 * scaled.owner + utility, np.arange(size), -scaled.gain)
        bounds = np.zeros((n, 3))
        bounds[:, one] = 1.0
        self.close(bounds.ravel(), [cone] * n)

    def add_second_order_cones(self, scaled: _Scaled) -> None:
        """(y + t, y - t, 2) per job."""
        size, n = scaled.columns.size, scaled.problem.row_count
        job, share = np.arange(n), np.arange(size)
        for place, sign in ((0, -1.0), (1, 1.0)):
            self.add(self.height + 3 * job + place, size + job, np.full(n, sign))
            self.add(self.height + 3 * scaled.owner + place, share, -scaled.gain)
        bounds = np.tile([0.0, 0.0, 2.0], n)
        self.close(bounds, [clarabel.SecondOrderConeT(3)] * n)

    def add(self, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], entries: Floats) -> None:
        """Entries of A at absolute positions."""
        self.rows.append(np.asarray(rows, dtype=np.int64))
        self.columns.append(np.asarray(columns, dtype=np.int64))
        self.entries.append(entries)

    def close(self, bounds: Floats, cones: list[_Cone]) -> None:
        """End a block of rows: its part of b, and the cones it lies in."""
        self.bounds.append(bounds)
        self.cones += cones
        self.height += bounds.size

    def run(self, iterations: int, step_fraction: float, tolerance: float = _TOLERANCE) -> Found:
        """Let Clarabel work for at most `iterations`."""
        settings = clarabel.DefaultSettings.default()
        settings.verbose = False
        settings.max_iter = iterations
        settings.max_step_fraction = step_fraction
        settings.max_threads = 1
        settings.direct_solve_method = "qdldl"
        settings.presolve_enable = False
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
        width = self.cost.size
        where = (np.concatenate(self.rows), np.concatenate(self.columns))
        matrix = sp.csc_array(sp.coo_array((np.concatenate(self.entries), where), shape=(self.height, width)))
        quadratic = sp.csc_array((width, width), dtype=np.float64)
        bounds = np.concatenate(self.bounds)
        answer = clarabel.DefaultSolver(quadratic, self.cost, matrix, bounds, self.cones, settings).solve()
        return Found(np.array(answer.x), np.array(answer.z), int(answer.iterations), str(answer.status))

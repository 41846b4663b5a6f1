"""A primal-dual interior point whose linear algebra sees only prices: every row is eliminated in closed form.

In the numbers of a `Layout` (omega_i the row's part of all money, y its utility, a its use, everything about 1):

    maximise sum_i omega_i phi(y_i),   y = sum_k g_k x_k,   sum_k x_k + s = 1,
    with sum_i omega_i a_i x_i + z = 1 for each coupling row

At the optimum there are prices p, time prices t and marginal utilities lam with v_k = a_k . p + t - lam g_k >= 0 and

    x v = s t = mu,   p z = mu,   log lam + alpha log y = 0        with mu = 0

Newton on these, mu falling (Mehrotra's predictor and corrector; Wright, Primal-Dual Interior-Point Methods, 1997,
chapter 10). With delta = x / v (s / t for idle time, whose g is 0), means and variances over a row's columns weighted
by delta, h = (target - x v) / x - a . dp, and q = alpha lam / y, a row answers price changes dp with

    dx = delta (h - mean h) + dlam delta (g - mean g),   dlam = (lam r - q cov(g, h)) / (1 + q var g),

r the residual of the last equation. Deviations from a mean do not cancel as inner products do, so ties and rows with
one column are harmless. What is left is (sum_i omega_i a N a' + diag(z / p)) dp = rhs, m x m, N the matrix of dx by h.
An iteration makes three passes over the rows: add up, predict, correct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from allocator.formulation.problem import Floats
from allocator.solvers.price_centre import centre
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_newton import assemble, direct

COLD = 0.1
"""The barrier at which nothing need be known about prices."""
_NEAREST, _FARTHEST = 0.95, 0.9999
"""How much of the way to the boundary a step may go: less while mu is large."""
_ROUNDS = 10
"""Steps that a row may take towards its central point; most need two or three."""
_FALL, _SLOWEST = 0.1, 0.35
"""By what mu falls in `follow`, and how slowly it may fall before `step` takes over."""
_RISE = 30.0
"""By what mu rises when the first prices were not as good as hoped."""
_MOST_NEWTON, _LEAST_PART = 8, 0.05
"""Newton steps for one mu, and how little of one is worth trying."""
_BALANCE = 0.1
"""The barrier does not fall below this part of what is left of log lam + alpha log y = 0."""
_SHORTEST = 1e-6
"""Steps below this lead nowhere."""
Run = Callable[[Callable[[int], None], int], None]


@dataclass(slots=True)
class State:
    """Where an iteration is; arrays (K, n), (n,), (m,) of the layout.

    `gap` is relative to the layout's money; `overuse` is what use beyond or short of capacity is worth.
    """

    x: Floats
    v: Floats
    s: Floats
    t: Floats
    lam: Floats
    prices: Floats
    room: Floats
    gap: float = float("inf")
    overuse: float = float("inf")
    iterations: int = 0

    def close(self, wished: float) -> bool:
        """Whether shares and prices here can be expected to be certified within `wished` x the layout's money."""
        return self.gap + self.overuse <= 0.9 * wished and self.overuse <= 0.5 * wished


@contextmanager
def workers(threads: int) -> Iterator[Run]:
    """Runs `task(chunk)` for every chunk, on up to `threads` threads; what is written does not depend on how many."""
    if threads <= 1:

        def alone(task: Callable[[int], None], count: int) -> None:
            for chunk in range(count):
                task(chunk)

        yield alone
        return
    with ThreadPoolExecutor(threads) as pool:

        def together(task: Callable[[int], None], count: int) -> None:
            for _ in pool.map(task, range(count)):
                pass

        yield together


def _moved(values: Floats, moves: Floats) -> Floats:
    """values + moves, but at most four times and at least a tenth of the values."""
    moved: Floats = values * np.clip(1 + moves / values, 0.1, 4.0)
    return moved


def _solve(factor: tuple[Floats, bool], scale: Floats, rhs: Floats) -> Floats:
    solved: Floats = scale * scipy.linalg.cho_solve(factor, scale * rhs, check_finite=False)
    return solved


class Interior:
    """One layout's iteration: `follow` from prices; where that leads no further, `step` until `state.close(...)`."""

    def __init__(self, layout: Layout, run: Run) -> None:
        self.layout = layout
        self._run = run
        n, m = layout.size, layout.scarce.size
        shape = layout.gain.shape
        self.state = State(
            np.zeros(shape), np.ones(shape), np.ones(n), np.ones(n), np.ones(n),
            np.ones(m), np.ones(m),
        )  # fmt: skip
        self._moves = (np.zeros(shape), np.zeros(shape), np.zeros(n), np.zeros(n), np.zeros(n))
        self._chunks = layout.chunks.size - 1
        self._schur = np.empty((self._chunks, m, m))
        self._vectors = np.empty((self._chunks, 3, m))
        self._sums = np.empty((self._chunks, 5))
        self._residual = np.zeros(m)
        self._products, self._number, self._imbalance = 0.0, 1.0, 0.0
        self._mu = np.inf

    def follow(self, prices: Floats, mu: float, final: float, wished: float, budget: int) -> bool:
        """Newton on prices alone, every row kept on its central point, while mu falls from `mu` to `final`.

        Sums over many rows are smooth even when mu is small, so that this takes few passes; over few rows it may not
        converge: False then, and the state is that of the last mu at which it did, for `step` to go on from. True when
        the state is close to `wished`, or the budget is used up.
        """
        state = self.state
        self._begin(prices, mu)
        reached: tuple[Floats, Floats, float] | None = None
        fall = _FALL
        while True:
            if self._settle(mu, wished if mu <= final else 0.0, budget):
                if state.close(wished) or state.iterations >= budget:
                    return True
                if mu <= final:
                    return False
                reached = (state.prices.copy(), state.room.copy(), mu)
                mu, fall = max(mu * fall, final), max(fall**1.5, _FALL)
                continue
            if reached is None and mu < COLD:  # the prices were not as good as hoped: a smoother problem first
                mu = min(mu * _RISE, COLD)
                self._begin(prices, mu)
                continue
            fall **= 0.5
            if reached is None or fall > _SLOWEST:
                break
            state.prices, state.room, mu = reached[0].copy(), reached[1].copy(), max(reached[2] * fall, final)
            self._evaluate(mu)
        if reached is not None:
            state.prices, state.room, mu = reached
        self._evaluate(mu)
        return False

    def _begin(self, prices: Floats, mu: float) -> None:
        self.state.prices = np.maximum(prices, mu)  # on the central path price x room is mu, and room at most 1
        self.state.room = mu / self.state.prices
        self._evaluate(mu)

    def _settle(self, mu: float, wished: float, budget: int) -> bool:
        """Newton at `mu` until the decrement says that the prices are on the central path; False if they stray.

        A step counts as good when the next one in the same metric would be shorter (the natural monotonicity test:
        Deuflhard, Newton Methods for Nonlinear Problems, 2004, section 3.3); otherwise a quarter of it is tried.
        """
        state = self.state
        for _ in range(_MOST_NEWTON):
            factor = self._factorised(self._sum(self._schur))
            rhs = mu / state.prices - state.room - self._residual
            if factor is None or not np.isfinite(rhs).all():
                return False
            moves = factor(rhs)
            decrement = float(rhs @ moves)
            if decrement < 0.05 * mu * (1 + state.prices.size) and (wished == 0 or state.close(wished)):
                return True
            if state.iterations >= budget or (wished > 0 and decrement < 1e-9 * wished):
                return True
            prices, room, part = state.prices, state.room, 1.0
            room_moves = mu / prices - room - room * moves / prices
            while True:
                state.prices, state.room = _moved(prices, part * moves), _moved(room, part * room_moves)
                self._evaluate(mu)
                rhs = mu / state.prices - state.room - self._residual
                if not self._imbalance < mu * self._number:  # no digits left to find the central points with
                    return False
                if float(rhs @ factor(rhs)) <= (1 - part / 4) * decrement:
                    break
                part /= 4
                if part < _LEAST_PART or state.iterations >= budget:
                    return False
        return False

    def _evaluate(self, mu: float) -> None:
        self._centre(mu)
        for moves in self._moves:
            moves[:] = 0.0
        self._add_up(0.0, 0.0)
        self.state.iterations += 1

    def recentre(self) -> None:
        """Every row to the central point of a larger barrier at the prices of now, to get away from a boundary."""
        self._evaluate(min(10 * self._mu, COLD))

    def step(self) -> bool:
        """One iteration; False when the numbers allow no further one (the state stays usable)."""
        state, schur = self.state, self._sum(self._schur)
        rhs = self._sum(self._vectors)[0] - self._residual
        mu = self._mu
        factor = self._factorised(schur)
        if factor is None or not np.isfinite(rhs).all():
            return False
        predicted = factor(rhs - state.room)
        self._pass(final=False, target=0.0, moves=predicted)
        room = -state.room - state.room * predicted / state.prices
        primal, dual = self._longest(predicted, room, 1.0)
        sums = self._sum(self._sums)
        products = self._products
        after = (
            products + primal * sums[2] + dual * sums[3] + primal * dual * sums[4]
            + (state.prices + dual * predicted) @ (state.room + primal * room)
        )  # fmt: skip
        sigma = min(max(after / (self._number * mu), 0.0) ** 3, 1.0)
        target = max(sigma * mu, min(mu, _BALANCE * self._imbalance / self._number))
        bend = predicted * room
        vectors = self._sum(self._vectors)
        corrected = rhs + target * vectors[0] + vectors[1] + (target - state.prices * state.room - bend) / state.prices
        moves = factor(corrected)
        if not np.isfinite(moves).all():
            return False
        self._pass(final=True, target=target, moves=moves)
        room = (target - bend - state.room * moves) / state.prices - state.room
        reach = min(max(_NEAREST, 1 - mu), _FARTHEST)
        primal, dual = self._longest(moves, room, reach)
        if not (np.isfinite(self._sums).all() and max(primal, dual) > _SHORTEST):
            return False
        state.prices = np.maximum(state.prices + dual * moves, 1e-300)
        state.room = np.maximum(state.room + primal * room, 1e-300)
        self._add_up(primal, dual)
        state.iterations += 1
        return bool(np.isfinite(self._mu))

    def _tables(self, chunk: int) -> tuple[Any, ...]:
        layout = self.layout
        tiles = layout.tiles[layout.chunks[chunk] : layout.chunks[chunk + 1]]
        return (
            layout.alpha, tiles, layout.columns, layout.column_count, layout.entries, layout.entry_count,
            layout.amount, layout.gain,
        )  # fmt: skip

    def _rows(self) -> tuple[Any, ...]:
        state = self.state
        return (self.layout.omega, state.x, state.v, state.s, state.t, state.lam, *self._moves)

    def _centre(self, mu: float) -> None:
        state = self.state

        def task(chunk: int) -> None:
            rows = (state.x, state.v, state.s, state.t, state.lam)
            arguments: tuple[Any, ...] = (mu, _ROUNDS, state.prices, *self._tables(chunk), *rows)
            centre(*arguments)

        self._run(task, self._chunks)

    def _add_up(self, primal: float, dual: float) -> None:
        """Take the steps; sums of the next Newton system, residuals and the gap."""
        state = self.state
        self._schur[:], self._vectors[:], self._sums[:] = 0.0, 0.0, 0.0

        def task(chunk: int) -> None:
            into = (self._schur[chunk], *self._vectors[chunk], self._sums[chunk])
            arguments: tuple[Any, ...] = (primal, dual, state.prices, *self._tables(chunk), *self._rows(), *into)
            assemble(*arguments)

        self._run(task, self._chunks)
        self._products, surplus, money, self._imbalance, number = self._sum(self._sums)
        _, usage, through = self._sum(self._vectors)
        self._residual = 1 - usage - state.room
        self._number = number + state.prices.size
        self._mu = float((self._products + state.prices @ state.room) / self._number)
        state.gap = float(state.prices.sum() + surplus - money)
        state.overuse = float(state.prices @ np.abs(self._residual) + np.maximum(usage - 1, 0.0) @ through)

    def _pass(self, *, final: bool, target: float, moves: Floats) -> None:
        self._vectors[:], self._sums[:] = 0.0, 0.0

        def task(chunk: int) -> None:
            first, second, _ = self._vectors[chunk]
            into = (first, second, self._sums[chunk])
            arguments: tuple[Any, ...] = (final, target, moves, *self._tables(chunk), *self._rows(), *into)
            direct(*arguments)

        self._run(task, self._chunks)

    def _longest(self, moves: Floats, room: Floats, reach: float) -> tuple[float, float]:
        """Primal and dual step: `reach` of the way to the boundary, at most 1."""
        state = self.state
        primal = max(float(self._sums[:, 0].max()), float((-room / state.room).max(initial=0.0)))
        dual = max(float(self._sums[:, 1].max()), float((-moves / state.prices).max(initial=0.0)))
        return min(1.0, reach / max(primal, 1e-9)), min(1.0, reach / max(dual, 1e-9))

    def _factorised(self, schur: Floats) -> Callable[[Floats], Floats] | None:
        """Solves (schur + diag(room / prices)) dp = rhs, scaled to a unit diagonal."""
        if not schur.size:
            return lambda rhs: rhs
        matrix = schur + np.diag(self.state.room / self.state.prices)
        scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled = matrix * scale[:, None] * scale
        if not np.isfinite(scaled).all():
            return None
        for shift in (1e-15, 1e-12, 1e-9, 1e-6):
            try:
                factor = scipy.linalg.cho_factor(scaled + shift * np.eye(len(scaled)), lower=True)
            except scipy.linalg.LinAlgError:
                continue
            return partial(_solve, factor, scale)
        return None

    @staticmethod
    def _sum(parts: Floats) -> Floats:
        """Over chunks, in order."""
        total = np.zeros(parts.shape[1:])
        for part in parts:
            total += part
        return total

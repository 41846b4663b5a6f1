"""A primal-dual interior point whose linear algebra sees only prices: every row is eliminated in closed form.

In the numbers of a `Layout` (omega_i the row's part of all money, y its utility, a its use, everything about 1):

    maximise sum_i omega_i phi(y_i),  y = sum_k g_k x_k,  sum_k x_k + s = 1,  sum_i omega_i a_i x_i + z = 1 per coupling row

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
from typing import Any

import numpy as np
import scipy.linalg

from allocator.formulation.problem import Floats
from allocator.solvers.price_centre import centre
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_newton import assemble, direct

_NEAREST, _FARTHEST = 0.95, 0.9999
"""How much of the way to the boundary a step may go: less while mu is large."""
_ROUNDS = 10
_FALL = 0.1
_SLOWEST = 0.6
_RISE = 30.0
_COLD = 0.1
_MOST_NEWTON = 8
_LEAST_PRICE = 1e-12
Run = Callable[[Callable[[int], None], int], None]


@dataclass(slots=True)
class State:
    """Where an iteration is; arrays (K, n), (n,), (m,) of the layout. `gap` is relative to the layout's money, `overuse`
    what the use of all coupling rows beyond (or short of) 1 is worth, `scale` the weighted mean of y^(1 - alpha).
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
    scale: float = 1.0
    iterations: int = 0

    def close(self, wished: float) -> bool:
        """Whether shares and prices here will be certified within `wished` x the layout's money."""
        wished *= max(1.0, self.scale_of_powers)
        return self.gap <= 0.6 * wished and self.overuse <= 0.2 * wished

    @property
    def scale_of_powers(self) -> float:
        return self.scale


@contextmanager
def workers(threads: int) -> Iterator[Run]:
    """Runs `task(chunk)` for every chunk, on up to `threads` threads; what is written does not depend on how many."""
    if threads <= 1:
        yield lambda task, count: [task(chunk) for chunk in range(count)] and None
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda task, count: [None for _ in pool.map(task, range(count))] and None


def _moved(values: Floats, moves: Floats) -> Floats:
    """values + moves, but at most four times and at least a tenth of the values."""
    return values * np.clip(1 + moves / values, 0.1, 4.0)


class Interior:
    """One layout's iteration: `start` from prices, then `step` until `state.close(...)`."""

    def __init__(self, layout: Layout, run: Run, first_lam: Floats | None = None) -> None:
        self.layout = layout
        self._run = run
        n, m = layout.size, layout.scarce.size
        shape = layout.gain.shape
        self.state = State(
            np.zeros(shape), np.ones(shape), np.ones(n), np.ones(n), np.ones(n) if first_lam is None else first_lam,
            np.ones(m), np.ones(m),
        )  # fmt: skip
        self._moves = (np.zeros(shape), np.zeros(shape), np.zeros(n), np.zeros(n), np.zeros(n))
        self._chunks = layout.chunks.size - 1
        self._schur = np.empty((self._chunks, m, m))
        self._vectors = np.empty((self._chunks, 2, m))
        self._sums = np.empty((self._chunks, 5))
        self._moved_prices, self._moved_room, self._residual = np.zeros(m), np.zeros(m), np.zeros(m)
        self._steps = (0.0, 0.0)
        self._mu = np.inf

    def follow(self, prices: Floats, mu: float, final: float, wished: float, budget: int) -> bool:
        """Newton on prices alone, every row kept on its central point, while mu falls from `mu` to `final`.

        Sums over many rows are smooth even when mu is small, so that this takes few passes; over few rows it may not
        converge: False then, and the state is that of the last mu at which it did, for `step` to go on from. True when
        the state is close to `wished`, or the budget is used up.
        """
        state = self.state
        state.prices = np.maximum(prices, _LEAST_PRICE)
        state.room = mu / state.prices
        self._evaluate(mu)
        state.room = np.maximum(state.room, state.room + self._residual)
        reached, fall = None, _FALL
        while True:
            if self._settle(mu, wished if mu <= final else 0.0, budget):
                if state.close(wished) or state.iterations >= budget:
                    return True
                if mu <= final:
                    return False
                reached = (state.prices.copy(), state.room.copy(), mu)
                mu = max(mu * fall, final)
                continue
            if reached is None and mu < _COLD:  # the prices were not as good as hoped: a smoother problem first
                mu = min(mu * _RISE, _COLD)
                state.prices = np.maximum(prices, _LEAST_PRICE)
                state.room = mu / state.prices
                self._evaluate(mu)
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

    def _settle(self, mu: float, wished: float, budget: int) -> bool:
        """Newton at `mu` until the decrement says that the prices are on the central path; False if they stray."""
        state, last, setbacks = self.state, np.inf, 0
        for _ in range(_MOST_NEWTON):
            forcing = mu / state.prices - state.room
            rhs = forcing - self._residual
            moves = self._solve(self._sum(self._schur), rhs)
            decrement = float(rhs @ moves)
            if not np.isfinite(decrement):
                return False
            if decrement < 0.05 * mu * (1 + state.prices.size) and (wished == 0 or state.close(wished)):
                return True
            setbacks += decrement > 0.5 * last
            if state.iterations >= budget or (wished > 0 and decrement < 1e-9 * wished):
                return True
            if setbacks > 1 or decrement > 100 * last:
                return False
            last = decrement
            room = forcing - state.room * moves / state.prices
            state.prices = _moved(state.prices, moves)
            state.room = _moved(state.room, room)
            self._evaluate(mu)
        return False

    def _evaluate(self, mu: float) -> None:
        self._centre(mu)
        for moves in self._moves:
            moves[:] = 0.0
        self._add_up(0.0, 0.0)
        self.state.iterations += 1

    def step(self) -> bool:
        """One iteration; False when the numbers allow no further one (the state stays usable)."""
        state, schur = self.state, self._sum(self._schur)
        rhs = self._sum(self._vectors)[0] - self._residual
        mu = self._mu
        factor = self._factorised(schur)
        if factor is None or not np.isfinite(rhs).all():
            return False
        predicted = factor(rhs - state.room)
        self._pass(direct_final=False, target=0.0, moves=predicted)
        room = -state.room - state.room * predicted / state.prices
        primal, dual = self._longest(predicted, room, 1.0)
        sums = self._ordered(self._sums)
        products = self._products
        after = (
            products + primal * sums[2] + dual * sums[3] + primal * dual * sums[4]
            + (state.prices + dual * predicted) @ (state.room + primal * room)
        )  # fmt: skip
        sigma = min(max(after / (self._number * mu), 0.0) ** 3, 1.0)
        target = sigma * mu
        bend = predicted * room
        vectors = self._sum(self._vectors)
        corrected = rhs + target * vectors[0] + vectors[1] + (target - state.prices * state.room - bend) / state.prices
        moves = factor(corrected)
        if not np.isfinite(moves).all():
            return False
        self._pass(direct_final=True, target=target, moves=moves)
        room = (target - bend - state.room * moves) / state.prices - state.room
        reach = min(max(_NEAREST, 1 - mu), _FARTHEST)
        primal, dual = self._longest(moves, room, reach)
        if not (np.isfinite(self._sums).all() and max(primal, dual) > 1e-6):
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
            centre(mu, _ROUNDS, state.prices, *self._tables(chunk), state.x, state.v, state.s, state.t, state.lam)

        self._run(task, self._chunks)

    def _add_up(self, primal: float, dual: float) -> None:
        """Take the steps; sums of the next Newton system, residuals and the gap."""
        state = self.state
        self._schur[:], self._vectors[:], self._sums[:] = 0.0, 0.0, 0.0

        def task(chunk: int) -> None:
            rhs, usage = self._vectors[chunk]
            assemble(
                primal, dual, state.prices, *self._tables(chunk), *self._rows(),
                self._schur[chunk], rhs, usage, self._sums[chunk],
            )  # fmt: skip

        self._run(task, self._chunks)
        self._products, surplus, money, _, number = self._ordered(self._sums)
        usage = self._sum(self._vectors)[1]
        self._residual = 1 - usage - state.room
        self._number = number + state.prices.size
        self._mu = float((self._products + state.prices @ state.room) / self._number)
        state.gap = float(state.prices.sum() + surplus - money)
        state.overuse = float(state.prices @ np.abs(self._residual) + np.maximum(usage - 1, 0.0).max(initial=0.0))
        state.scale = float(money)

    def _pass(self, *, direct_final: bool, target: float, moves: Floats) -> None:
        self._vectors[:], self._sums[:] = 0.0, 0.0

        def task(chunk: int) -> None:
            first, second = self._vectors[chunk]
            direct(direct_final, target, moves, *self._tables(chunk), *self._rows(), first, second, self._sums[chunk])

        self._run(task, self._chunks)

    def _longest(self, moves: Floats, room: Floats, reach: float) -> tuple[float, float]:
        """Primal and dual step: `reach` of the way to the boundary, at most 1."""
        state = self.state
        primal = max(float(self._sums[:, 0].max()), float((-room / state.room).max(initial=0.0)))
        dual = max(float(self._sums[:, 1].max()), float((-moves / state.prices).max(initial=0.0)))
        return min(1.0, reach / max(primal, 1e-9)), min(1.0, reach / max(dual, 1e-9))

    def _factorised(self, schur: Floats) -> Callable[[Floats], Floats] | None:
        """Solves (schur + diag(room / prices)) dp = rhs, scaled to a unit diagonal."""
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
            return lambda rhs, factor=factor: scale * scipy.linalg.cho_solve(factor, scale * rhs)  # type: ignore[misc]
        return None

    def _solve(self, schur: Floats, rhs: Floats) -> Floats:
        factor = self._factorised(schur)
        return np.full_like(rhs, np.nan) if factor is None else factor(rhs)

    @staticmethod
    def _sum(parts: Floats) -> Floats:
        """Over chunks, in order."""
        total = np.zeros(parts.shape[1:])
        for part in parts:
            total += part
        return total

    def _ordered(self, parts: Floats) -> Floats:
        return self._sum(parts)

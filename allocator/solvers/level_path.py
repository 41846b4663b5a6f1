"""The way to the highest common level and its prices: Newton's method on both, the smoothing taken back step by step.

With every row at y_i(t) = min(base_i + rate_i t, end_i), h(t, p) what that costs at prices p, smoothed as in
`level_response.py`, and b what there is of each coupling row (1, or what settled rows already use), the highest level
is

    min over p >= 0 of T(p),    T(p) the t at which  h(t, p) = p . b

T does not change with the scale of p. Its slope is (b - use) / h_t, its curvature near the minimum that of -h over
h_t; a step minimises that quadratic where h_t stays what it is, and the multiplier of this is how the level moves:
use, to first order, then is b wherever there is a price. (Sequential quadratic programming; Nocedal and Wright,
Numerical Optimization, chapter 18.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.formulation.chunks import Run, added_up
from allocator.formulation.problem import Floats, Problem
from allocator.solvers import level_sums
from allocator.solvers.box import box_minimum, times
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_sums import TILE

NARROWEST = 1e-8
WINDOWS = 10.0
"""How far the first step at a new width may go, relative to prices, in windows."""
_FALL, _SLOW_FALL, _SLOWEST = 0.1, 0.3, 0.5
"""By what the width shrinks: at most, at most when it took many passes, and at least."""
_MANY = 8
_FARTHEST = 3.0
_LEAST_REACH = 1e-8
_LEAST_RATE = 0.1
"""To what part of itself the cost of raising the level may fall in one step: prices must not vanish."""
_DRIFT = 3.0
"""By how much the size of prices may change before smoothing is measured anew."""
_BACK = 3e-4
"""How far a level may fall below the one before, where rows have lost columns that they hardly used."""
_MOST_TRIALS = 60
_ROUNDING = 1e-15
_APART = 3
_FIRST_STRIDE = 0.5
"""How far the level may move at once, relatively."""
_PRICE_FLOOR = 1e-3
_MONEY_FLOOR = 0.05
"""Smoothing is measured as if every price were at least this part of an average one."""
_MULTIPLIER_TURNS = 30
_BELOW_THE_END = 1e-9
"""How little less than all it can have a row gets: at its very end marginal costs would have no bound."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a pass at `prices` (m,) and `level` adds up, for a layout with m coupling rows."""

    prices: Floats
    level: float
    width: float
    use: Floats
    """(m,) what the rows use, relative to what is available."""
    curvature: Floats
    """(m, m) by what use falls with prices."""
    rise: Floats
    """(m,) by what use grows with the level."""
    bill: float
    bend: float
    """Cost and smoothing term of the smooth responses, in the money of the prices; `exact_rate` is of exact ones."""
    rate: float
    """What raising the level costs per unit."""
    exact_rate: float
    loss: float
    """What the rows pay too much for smoothing, relative to what the level costs."""
    strayed: float
    """The largest overuse, or what of the money is not spent, relatively."""
    gap: float
    """How far the level that all can be scaled to is below what the prices allow, relatively."""
    over: float
    """The largest overuse, relatively."""
    rising: int


@dataclass(frozen=True, slots=True)
class Aim:
    """What a level is found to: a relative gap, and a width of the smoothing that tells who pays from who does not."""

    gap: float
    width: float


@dataclass(slots=True)
class _Leash:
    """How far steps may go: prices by `reach` and the level by `stride` of themselves; for `apart` steps not
    together.
    """

    reach: float
    begun: int
    stride: float = _FIRST_STRIDE
    apart: int = 0

    def adapt(self, kept: float, length: float) -> None:
        """After a step of `length` that kept that part of what it promised."""
        if kept > 0.7:
            self.reach = max(self.reach, min(3 * length, _FARTHEST))
        elif kept < 0.3:
            self.reach = (0.2 if kept < 0.05 else 0.5) * min(length, self.reach)


class LevelPath:
    """One layout's way. The state is every row's demand and its open columns; `passes` counts what was evaluated."""

    def __init__(self, problem: Problem, layout: Layout, run: Run) -> None:
        self.layout = layout
        self.passes = 0
        self._run = run
        m, self._chunks = layout.scarce.size, layout.chunks.size - 1
        self.gain = layout.gain
        best = self.gain.max(axis=0)
        unit = problem.utility.max(axis=1)[layout.order] / best
        self.base = np.zeros(layout.size)
        self.rate = problem.weight[layout.order] / unit
        self.end = best * (1 - _BELOW_THE_END)
        self.room = np.ones(m)
        self._known = np.zeros(layout.size, dtype=np.bool_)
        self.bottom = 0.0
        self._unit = np.ones(layout.size)
        self._money = np.ones(layout.size)
        self._wide = np.empty((self._chunks, level_sums.WIDE, self.gain.shape[0], TILE))
        self._thin = np.empty((self._chunks, level_sums.THIN, TILE))
        self._schur = np.empty((self._chunks, m, m))
        self._vectors = np.empty((self._chunks, 2, m))
        self._totals = np.empty((self._chunks, level_sums.PLACES))

    @property
    def top(self) -> float:
        """The level at which every row that rises is at its end."""
        rising = self.rate > 0
        return float((self.end[rising] / self.rate[rising]).max(initial=0.0))

    def afford(self, prices: Floats, level: float) -> tuple[Floats, float]:
        """A level near `level` that `prices` (m,) allow, by bisection; other prices where these allow everything."""
        low, high = 0.0, np.inf
        for _ in range(_MOST_TRIALS):
            at = self.evaluate(prices, level, 1.0, fresh=True)
            if self._exact > float(prices @ self.room):
                high = level
            elif at.rising == 0:
                if at.over == 0.0:
                    break
                prices = prices * (at.use / np.maximum(self.room, 1e-9)) ** 2
                prices /= prices.sum()
                low, level = 0.0, 0.25 * self.top
                continue
            else:
                low = level
            if high <= low * 1.05:
                break
            level = level * 4 if high == np.inf else (level / 4 if low == 0.0 else (low * high) ** 0.5)
        return prices, level

    def follow(self, prices: Floats, level: float, width: float, reach: float, aim: Aim, budget: int) -> Evaluation:
        """The last evaluation on the way from `prices` (m,), `level` and `width` to `aim`, or the best when `budget`
        ends it.

        Prices and level move together. Where that does not go well, because rows reach their ends on the way, they move
        apart for a while: prices at one level, where the cost is concave, then the level at those prices, where it is
        monotone.
        """
        now = best = self._afresh(self.evaluate(prices, level, width, fresh=True), width)
        leash = _Leash(reach, begun=self.passes)
        while self.passes < budget:
            if now.gap <= aim.gap and now.width <= aim.width:
                return now
            move, rise = self._step(now, leash.reach, leash.stride)
            foreseen = self._foreseen(now, move)
            length = float(np.max(np.abs(move) / self._scale(now.prices), initial=0.0))
            if self._arrived(now, foreseen, length, leash, aim):
                if now.width <= NARROWEST:
                    break
                width = self._narrower(now, aim, many=self.passes > leash.begun + _MANY)
                leash = _Leash(WINDOWS * width, begun=self.passes)
                now = self._afresh(now, width)
            else:
                if leash.apart or foreseen < _ROUNDING:
                    rise = self._toward(now, leash.stride)
                    one = foreseen > 10 * abs(rise) / now.level
                    move, rise = (move, 0.0) if one else (np.zeros_like(move), rise)
                then = self.evaluate(np.maximum(now.prices + move, 0.0), now.level + rise, now.width, fresh=False)
                if then.rising == 0 and then.over <= 0.5 * aim.gap:
                    return then  # everybody can have everything
                if self._accepted(now, then, foreseen, length, leash):
                    now = self._afresh(then, then.width) if self._drifted(then) else then
                elif leash.stride < _LEAST_REACH:
                    break
            best = now if now.gap < best.gap else best
        return best

    def _foreseen(self, now: Evaluation, move: Floats) -> float:
        """By how much `move` makes the prices allow less, relatively, if the quadratic model is right."""
        bent = 0.5 * float((move * times(now.curvature, move)).sum())
        return -(float(((self.room - now.use) * move).sum()) + bent) / (now.rate * now.level)

    @staticmethod
    def _arrived(now: Evaluation, foreseen: float, length: float, leash: _Leash, aim: Aim) -> bool:
        """Whether a smaller width is wanted rather than another step."""
        there = foreseen <= max(0.02 * now.loss, 1e-14)
        free = length < 0.99 * leash.reach or foreseen <= 1e-3 * min(aim.gap, max(now.loss, 1e-12))
        near = now.strayed <= max(0.5 * aim.gap, 0.1 * now.loss)
        return (there and free and near) or leash.reach < _LEAST_REACH

    @staticmethod
    def _narrower(now: Evaluation, aim: Aim, *, many: bool) -> float:
        wanted = 0.4 * aim.gap / max(now.loss, 1e-300)
        return now.width * min(max(wanted, _SLOW_FALL if many else _FALL), _SLOWEST)

    def _accepted(self, now: Evaluation, then: Evaluation, foreseen: float, length: float, leash: _Leash) -> bool:
        """Whether the step from `now` to `then` is worth taking; adapts how far the next one may go."""
        moved, rise = bool((then.prices != now.prices).any()), then.level - now.level
        before, after = self._spare(now, now), self._spare(then, now)
        size = now.rate * now.level
        lasting = then.exact_rate > _LEAST_RATE * now.exact_rate
        if not moved:
            good = abs(after) < 0.9 * abs(before) and then.rising > 0
            leash.stride = min(3 * leash.stride, _FIRST_STRIDE) if good else 0.3 * abs(rise) / now.level
        elif rise == 0.0:
            kept = ((before - after) / size + _ROUNDING) / max(foreseen, _ROUNDING)
            good = kept > 1e-3 and lasting
            leash.adapt(kept if lasting else 0.2, length)
        else:
            fallen = self._allowed(now, now) - self._allowed(then, now)
            kept = (fallen / now.level + _ROUNDING) / max(foreseen, _ROUNDING)
            good = then.rising > 0 and lasting and (kept > 0.1 or then.strayed < 0.5 * now.strayed)
            leash.adapt(max(kept, 0.3) if good else 0.5, length)
            leash.apart = leash.apart if good else _APART
        leash.apart = max(leash.apart - 1, 0) if good else leash.apart
        return good

    @staticmethod
    def _drifted(at: Evaluation) -> bool:
        return not 1 / _DRIFT < at.exact_rate * at.level < _DRIFT

    def _toward(self, now: Evaluation, stride: float) -> float:
        """How the level moves to what the prices allow."""
        wanted = self._spare(now, now) / now.rate
        inside = min(max(wanted, -now.level * stride / (1 + stride)), now.level * stride)
        return max(min(inside, self.top - now.level), self.bottom - now.level)

    def _spare(self, at: Evaluation, reference: Evaluation) -> float:
        """Money left, where smoothing is worth what it is at `reference`."""
        return float(at.prices @ self.room) - at.bill - at.bend + reference.bend

    def _allowed(self, at: Evaluation, reference: Evaluation) -> float:
        """The level that the prices allow."""
        return at.level + self._spare(at, reference) / at.rate

    def _afresh(self, at: Evaluation, width: float) -> Evaluation:
        """The same prices, scaled so that the level costs about 1, with smoothing measured in what is paid there."""
        scale = 1 / (at.exact_rate * at.level) if at.exact_rate > 0 else 1.0
        return self.evaluate(at.prices * scale, at.level, width, fresh=True)

    def evaluate(self, prices: Floats, level: float, width: float, *, fresh: bool) -> Evaluation:
        """One pass, nothing settled by it. `fresh` measures smoothing anew, in what rows have and pay there."""
        self._schur[:], self._vectors[:], self._totals[:] = 0.0, 0.0, 0.0
        floor = prices + _MONEY_FLOOR * float(prices.sum()) / max(prices.size, 1)

        def task(chunk: int) -> None:
            into = (self._schur[chunk], *self._vectors[chunk], self._totals[chunk])
            arguments: tuple[Any, ...] = (fresh, width, level, prices, floor, *self._tables(chunk))
            level_sums.respond_to(*arguments, *self._scratch(chunk), *into)

        self._run(task, self._chunks)
        self.passes += 1
        totals, (use, rise) = added_up(self._totals), added_up(self._vectors)
        self._exact = float(totals[level_sums.EXACT])
        size = float(totals[level_sums.EXACT_RATE]) * level
        over = max(float((use - self.room).max(initial=0.0)), 0.0)
        spare = float(prices @ self.room) - float(totals[level_sums.EXACT])
        return Evaluation(
            prices=prices,
            level=level,
            width=width,
            use=use,
            curvature=added_up(self._schur),
            rise=rise,
            bill=float(totals[level_sums.BILL]),
            bend=float(totals[level_sums.BEND]),
            rate=max(float(totals[level_sums.RATE]), 1e-300),
            exact_rate=float(totals[level_sums.EXACT_RATE]),
            loss=max(float(totals[level_sums.BILL] - totals[level_sums.EXACT]), 0.0) / max(size, 1e-300),
            strayed=max(over, abs(float(prices @ self.room) - float(totals[level_sums.BILL])) / max(size, 1e-300)),
            gap=max(spare, 0.0) / max(size, 1e-300) + over,
            over=over,
            rising=int(totals[level_sums.RISING]),
        )

    def write(self, found: Evaluation, shares: Floats) -> None:
        """The rows' answers into `shares` (n, K) of the problem, whose other entries are left alone."""

        def task(chunk: int) -> None:
            state: tuple[Any, ...] = (found.width, found.level, found.prices, *self._tables(chunk))
            arguments: tuple[Any, ...] = (*state, *self._scratch(chunk), self.layout.order, self._known, shares)
            level_sums.write_shares_at(*arguments)

        self._run(task, self._chunks)

    def settle(self, found: Evaluation, believed: Floats, shares: Floats) -> int:
        """Settle rows for which more would cost something at the `believed` prices (m,); how many it were.

        Those that pay are done: their shares go to `shares` (n, K) of the problem, what they use leaves the room.
        """
        if self.gain is self.layout.gain:
            self.gain = self.gain.copy()
        settled = np.zeros(self._chunks, dtype=np.int64)
        taken = np.zeros((self._chunks, believed.size))

        def task(chunk: int) -> None:
            state: tuple[Any, ...] = (found.width, found.level, found.prices, believed)
            into = (self.layout.order, self._known, shares, taken[chunk])
            arguments: tuple[Any, ...] = (*state, *self._tables(chunk), *self._scratch(chunk), *into)
            settled[chunk] = level_sums.settle_rows(*arguments)

        self._run(task, self._chunks)
        self.room = np.where(believed > 0, 0.0, np.maximum(np.maximum(self.room, found.use) - added_up(taken), 0.0))
        self.bottom = found.level * (1 - _BACK)
        return int(settled.sum())

    def price_scale(self, found: Evaluation) -> Floats:
        """(m,) the price at which what is used of each coupling row would cost all the money of those who use it."""
        behind = np.zeros((self._chunks, found.prices.size))

        def task(chunk: int) -> None:
            state: tuple[Any, ...] = (found.width, found.level, found.prices)
            arguments: tuple[Any, ...] = (*state, *self._tables(chunk), *self._scratch(chunk), behind[chunk])
            level_sums.weigh_money(*arguments)

        self._run(task, self._chunks)
        scale: Floats = added_up(behind) / np.maximum(found.use, 1e-300)
        return scale

    def _step(self, now: Evaluation, reach: float, stride: float) -> tuple[Floats, float]:
        """(m,) the move of prices, by at most `reach` x themselves, and that of the level, by at most `stride` x
        itself.

        The move minimises slope . move + move . curvature move / 2 where rise . move = 0; the level moves by the
        multiplier of this, a number at which two sides of a monotone function meet.
        """
        scale = self._scale(now.prices)
        low, high = np.maximum(-now.prices / scale, -reach), np.full(scale.size, reach)
        gone = self.room <= 0  # its price could rise for ever: nothing is left to be shared
        low[gone], high[gone] = np.minimum(-now.prices / scale, 0.0)[gone], 0.0
        curvature = now.curvature * scale[:, None] * scale
        slope, border = (self.room - now.use) * scale, now.rise * scale

        def side(rise: float) -> tuple[float, float, Floats]:
            move = box_minimum(curvature, slope - rise * border, low, high)
            return rise, float(border @ move), move

        def between(one: tuple[float, float, Floats], other: tuple[float, float, Floats]) -> float:
            return float(one[1] / (one[1] - other[1])) if one[1] != other[1] else 0.5

        below = side(max(-now.level * stride / (1 + stride), self.bottom - now.level))
        above = side(min(now.level * stride, max(self.top - now.level, 0.0)))
        if below[1] >= 0 or above[1] <= 0:
            rise, _, move = below if below[1] >= 0 else above
            return scale * move, rise
        tried = min(max(self._spare(now, now) / now.rate, below[0]), above[0])
        for turn in range(_MULTIPLIER_TURNS):
            middle = side(tried)
            below, above = (middle, above) if middle[1] < 0 else (below, middle)
            if above[0] - below[0] <= 1e-10 * now.level or abs(middle[1]) <= 1e-9 * float(np.abs(border) @ high):
                break
            part = between(below, above) if turn % 3 else 0.5
            tried = below[0] + min(max(part, 0.01), 0.99) * (above[0] - below[0])
        part = between(below, above)
        return scale * (below[2] + part * (above[2] - below[2])), below[0] + part * (above[0] - below[0])

    @staticmethod
    def _scale(prices: Floats) -> Floats:
        scale: Floats = prices + _PRICE_FLOOR / max(prices.size, 1)
        return scale

    def _tables(self, chunk: int) -> tuple[Any, ...]:
        layout = self.layout
        tiles = layout.tiles[layout.chunks[chunk] : layout.chunks[chunk + 1]]
        return (
            tiles, layout.columns, layout.column_count, layout.entries, layout.entry_count, layout.amount, self.gain,
            layout.omega, self.base, self.rate, self.end, self._unit, self._money,
        )  # fmt: skip

    def _scratch(self, chunk: int) -> tuple[Any, ...]:
        return self._wide[chunk], self._thin[chunk]

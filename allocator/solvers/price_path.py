"""The way to the prices: Newton's method on a smoothed dual function, the smoothing taken back step by step.

In the numbers of a `Layout` (omega_i the row's part of all money, y its utility, a its use, everything about 1)

    maximise sum_i omega_i phi(g_i . x_i)   subject to   sum_k x_ik <= 1,   sum_i omega_i a_i x_i <= 1

has a dual function of prices p >= 0 that separates by row. But a row's answer jumps between columns as prices move, and
so does the slope. With a term - h sum_k x_k^2 / (2 min(1, 1 / g_k)^2) in each row, its utility measured in what it has,
answers move over a window of relative prices of width h instead. That dual function D_h is smooth and convex, its
curvature a sum over rows (`price_sums.py`); and for any p the exact one bounds the optimum:

    value of the answers, scaled into the capacities  <=  optimum  <=  D_0(p)

Rows whose choice is not close lose nothing by the term, so that the loss falls like h^2, or like h where masses of rows
are indifferent: 0.01 is narrow enough for a gap of 1e-4 where a logarithmic barrier would have to be 1e-6, and a Newton
step, which is good within a window, goes a long way. (Smoothing a dual function by a strongly concave term: Nesterov,
Smooth minimization of non-smooth functions, Math. Programming 103, 2005. Newton's method where the slope has kinks:
Qi and Sun, A nonsmooth version of Newton's method, Math. Programming 58, 1993.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from allocator.formulation.problem import Floats
from allocator.solvers.box import box_minimum, times
from allocator.solvers.price_pass import Evaluation, Passes

WIDEST = 0.3
"""The window at which nothing need be known about prices."""
_NARROW, _NARROWEST = 1e-4, 1e-9
FIRST_REACH, WINDOWS = 0.5, 10.0
"""How far a first step may go, relative to prices: without knowing anything, and in windows."""
_RISE = 10.0
"""By what the window grows when the first prices were not as good as hoped."""
_FALL, _MOST_FALL, _SLOWEST = 0.1, 0.7, 0.8
"""By what the window shrinks: at most, as little as is tried, and at least."""
_USUAL = 6
"""Passes for one window; with fewer the next one may be smaller, with more it is larger."""
_LEAST_REACH = 1e-8
_LOWEST = 0.1
"""Part of itself to which a price may fall in one step, unless it is next to nothing."""
_FIRST_PATIENCE, _PATIENCE = 60, 16
"""Passes for one window; where so many do not suffice, the step from the one before was too large."""
_MOST_TRIALS, _GOOD, _VERY_GOOD = 4, 0.25, 0.7
"""How often a step is shortened; which part of what was foreseen is enough, and which calls for longer steps."""
_MOST_NARROWINGS = 8
_PRICE_FLOOR = 1e-3
"""Prices below this part of their typical size are moved as if they were of that size."""
_PAST_BID = 1.0
"""How many windows below the highest bid the price of what nobody uses may fall in one step."""
_ENOUGH = 1.3
"""The gap, in losses, at which a wide window has no more to tell."""
_CLOSE = 0.9
"""Part of the gap asked for that is aimed at."""
_ROUNDING = 1e-15


@dataclass(frozen=True, slots=True)
class Aim:
    """A certified gap, in the unit of `certificate.gap_unit`."""

    gap: float
    alpha: float
    weight: float
    """Total weight of the problem in the layout's money."""

    def at(self, now: Evaluation) -> float:
        """The gap asked for, in the layout's money."""
        return self.gap * max(self.weight, abs((1 - self.alpha) * now.value))


class _Outcome(Enum):
    """Of a Newton step in one window."""

    GOES_ON = auto()
    ARRIVED = auto()
    STRAYED = auto()


@dataclass(slots=True)
class _Stage:
    """Where Newton's method is, for one window."""

    now: Evaluation
    reach: float
    """How far a price may move in a step, relative to itself."""
    patience: int
    """Passes after which the window is given up."""
    passes: int = 0


def follow(passes: Passes, begun: Evaluation, reach: float, aim: Aim, budget: int) -> Evaluation:
    """The best evaluation on the way from `begun`, one of `passes`, to the gap of `aim`, in at most `budget` passes.

    `reach` is how far the first step may go, relative to prices.
    """
    stage = _Stage(begun, reach, _patience(begun))
    if not np.isfinite(stage.now.gap):
        raise ArithmeticError(
            "numbers that floats do not hold: alpha is too near to 0, or too large for such utilities"
        )
    best, fall = stage.now, _FALL
    before: Evaluation | None = None
    reached: Evaluation | None = None
    while best.gap > _CLOSE * aim.at(best) and passes.count < budget:
        outcome = _newton(passes, stage, aim, budget)
        best = stage.now if stage.now.gap < best.gap else best
        if outcome is _Outcome.GOES_ON:
            continue
        begun_too_narrow = outcome is _Outcome.STRAYED or stage.now.width <= _NARROWEST
        if begun_too_narrow and reached is None and stage.now.width < WIDEST:  # not as good as was thought
            width = min(_RISE * max(stage.now.width, _NARROW), WIDEST)
            begun = passes.evaluate(stage.now.prices, width)
            stage = _Stage(begun, min(WINDOWS * width, FIRST_REACH), _patience(begun))
            continue
        if outcome is _Outcome.ARRIVED or reached is None or fall > _MOST_FALL:
            if stage.now.width <= _NARROWEST:
                break
            before, reached = reached, stage.now
            fall **= min(max(_USUAL / max(stage.passes, 1), 0.5), 1.5)
        else:  # too far at once
            fall **= 0.5
        fall = max(fall, _FALL)
        width = narrower(reached, aim, fall)
        guess = reached.prices if before is None else _extrapolated(before, reached, width)
        stage = _Stage(passes.evaluate(guess, width), WINDOWS * width, _PATIENCE)
        best = stage.now if stage.now.gap < best.gap else best
    return best


def _patience(begun: Evaluation) -> int:
    """Of the first window: what is begun with good prices should not take long; with local limits it may."""
    if begun.width >= WIDEST:
        return _FIRST_PATIENCE
    return _PATIENCE if begun.near.size else _PATIENCE // 2


def narrow_enough(passes: Passes, prices: Floats, width: float, aim: Aim) -> Evaluation:
    """At `prices` (m,) and `width`, or as much less as makes the rows lose no more than half of the gap of `aim`."""
    for _ in range(_MOST_NARROWINGS):
        now = passes.evaluate(prices, width)
        if now.loss <= 0.5 * aim.at(now) or width <= _NARROWEST:
            return now
        width = narrower(now, aim, _FALL)
    return passes.evaluate(prices, width)


def narrower(now: Evaluation, aim: Aim, fall: float) -> float:
    """The window after this one, if losses fell like it."""
    return now.width * min(max(0.4 * aim.at(now) / max(now.loss, 1e-300), fall), _SLOWEST)


def _extrapolated(before: Evaluation, now: Evaluation, width: float) -> Floats:
    """Optimal prices move in proportion to the window as long as the same columns are in use."""
    part = (now.width - width) / (before.width - now.width)
    guess: Floats = np.clip(now.prices + part * (now.prices - before.prices), 0.5 * now.prices, 2.0 * now.prices)
    return guess


def _newton(passes: Passes, stage: _Stage, aim: Aim, budget: int) -> _Outcome:
    """One step, unless this window has no more to give."""
    now = stage.now
    wide = now.loss > 0.5 * aim.at(now)
    if wide and now.gap <= _ENOUGH * now.loss:
        return _Outcome.ARRIVED
    floor = _PRICE_FLOOR * now.scale * passes.typical
    scale = now.prices + floor
    least = np.where(now.prices > floor, _LOWEST * now.prices, 0.0)
    least = np.where(now.bids < now.prices, np.maximum(least, (1 - _PAST_BID * now.width) * now.bids), least)
    low, high = np.maximum((least - now.prices) / scale, -stage.reach), np.full(scale.size, stage.reach)
    step = scale * box_minimum(now.curvature * scale[:, None] * scale, now.slope * scale, low, high)
    length, foreseen = float(np.max(np.abs(step) / scale, initial=0.0)), _foreseen(now, step)
    free = length < 0.99 * stage.reach
    if (free and wide and foreseen <= 0.02 * now.loss) or foreseen <= _ROUNDING * now.scale:
        return _Outcome.ARRIVED
    if stage.passes >= stage.patience or stage.reach < _LEAST_REACH:
        return _Outcome.STRAYED
    part = 1.0
    for _ in range(_MOST_TRIALS):
        then = passes.evaluate(np.maximum(now.prices + part * step, 0.0), now.width, now)
        stage.passes += 1
        kept = (now.dual - then.dual + _ROUNDING * now.scale) / max(_foreseen(now, part * step), _ROUNDING * now.scale)
        if kept > _GOOD or passes.count >= budget:
            break
        part *= _shorter(float((now.slope * step).sum()), float((then.slope * step).sum()))
    if part < 1:
        stage.reach = part * length
    elif kept > _VERY_GOOD:
        stage.reach = max(stage.reach, 3 * length)
    if kept > 0:
        stage.now = then
    return _Outcome.GOES_ON


def _foreseen(now: Evaluation, step: Floats) -> float:
    """By how much the quadratic model falls."""
    return -float((now.slope * step).sum() + 0.5 * (step * times(now.curvature, step)).sum())


def _shorter(before: float, after: float) -> float:
    """What to keep of a step that went too far: up to where the slopes along it, at both ends, say the minimum is."""
    return min(max(before / (before - after), 0.05), 0.7) if after > 0 else 0.3

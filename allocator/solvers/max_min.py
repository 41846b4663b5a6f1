"""Lexicographic weighted max-min: the lowest level u_i / w_i as high as can be, then the next lowest, and so on.

A ladder. With some rows settled at their utilities, the next level is the largest t at which

    u_i >= min(w_i t, e_i) for every row that is not settled,   u_i >= its utility for every one that is,

is feasible, where e_i is what row i reaches with all its time. Rows that meet their e_i on the way are no levels of
their own: any number of them is passed at once. t is found from above. For any prices, `level_bound.py` gives a level
that cannot be exceeded; at that level a linear program (Clarabel) finds the largest s with u_i >= s min(w_i t, e_i). If
s = 1, bound and shares meet: t is the level, and the prices prove it. Otherwise the program's duals are prices with a
lower bound, and so on. The first bounds are those of each crowded capacity alone: where it is the bottleneck, one
program per level is enough.

Then, by complementary slackness with the prices that proved t:

- Rows that reach their e_i, and rows for which more than w_i t costs something, are settled: a capacity with a price is
  used up in every answer.
- Rows that are not settled can use only columns that cost nothing; settled ones only those on the line that carries
  their hull. What is left of a settled row is often one column, or two between which all its time is split: its
  shares are known then, and it leaves the programs with what it uses.

Every level exhausts a capacity or limit that the levels before did not, so there are at most as many as those (ties may
take a further program at the same level). Prices that are not exactly zero by accident are set to 0 where room is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import clarabel
import numpy as np

from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.response import hull_of
from allocator.solvers.candidate import Candidate
from allocator.solvers.conic import Program, largest_use
from allocator.solvers.level_bound import TELLING, Bill, Part

_MET = 1e-9
"""How near 1 the scale of a level must come, or how little a bound may fall, for the level to count as found."""
_ACCEPTABLE = 1e-7
"""The same where Clarabel gets no farther."""
_NEAR = 1e-7
"""Utilities closer than this to a corner of their hull, relatively, are taken to be on either side of it."""
_ON_THE_LINE = 1e-6
"""Distance from a hull's line, relative to the hull's cost, up to which a column is kept."""
_NOISE = 1e-8
"""What a capacity must cost at least, relative to what the level costs, for its price to be believed."""
_PAID = 1e-6
"""How exactly prices must account for a level to be a proof of it, relative to its cost."""
_UNUSED = 1e-8
"""The part of a row's utility up to which a column does not count as used."""
_SLACK = 1e-9
"""How far settled rows that still are in a program may fall below their utility, so that rounding leaves room."""
_USUAL_ITERATIONS = 60
_TRIED_ALONE = 8
"""Of how many of the most crowded capacities the bound is tried."""
_CORRECTION = 1e-3
"""By how much of itself a settled row is corrected at most."""
_RAISES = 3
"""How often a level that can be reached, but that nothing proves to be the highest, is exceeded."""
_STEP_FRACTIONS = (0.99, 0.9)


def max_min(problem: Problem, iterations: int) -> Candidate:
    """The lexicographic optimum, or as many of its levels as `iterations` of Clarabel in total allow; needs rows.

    Where the budget ends early, the levels found are exact, and the others are where the last program left them. Prices
    are those of the first level: what a certificate is about. They are 0 where that level is some row's own e_i / w_i.
    """
    ladder = _Ladder.of(problem)
    outcome = ladder.climb(iterations)
    prices = ladder.first_prices()
    size = problem.capacity.size
    return Candidate(
        shares=ladder.answer(),
        prices=prices[:size].reshape(problem.capacity.shape),
        limit_prices=prices[size:],
        iterations=ladder.spent,
        outcome=outcome,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """A program's answer at one level."""

    shares: Floats
    """(N,) of the part's columns."""
    prices: Floats
    """(m,)"""
    scale: float
    """The s that the shares reach once they are made feasible."""
    solved: bool
    """Whether Clarabel says that it is done."""


@dataclass(slots=True, eq=False)
class _Ladder:
    """How far the climb has come."""

    problem: Problem
    open: Booleans
    """(n, K) columns that may still get a share."""
    left: Floats
    """(m,) of every capacity and limit, what known shares leave."""
    target: Floats
    """(n,) utility of every settled row, else NaN."""
    known: Booleans
    """(n,) whether the row's shares are final."""
    shares: Floats
    """(n, K) of the known rows; of the others what the last program found."""
    exhausted: Booleans
    """(m,) capacities and limits that are used up in every answer."""
    spent: int = 0
    levels: int = 0
    level: float = 0.0
    unfinished: Floats | None = None
    """(n, K) known shares and those of the last program."""
    nearest: tuple[float, Floats] | None = None
    """The largest scale that a program reached, and its (n, K) shares: the answer before any level is found."""
    first: tuple[Floats, float] | None = None
    """Prices (m,) that prove the first level, or come nearest to it, and the bound that they give."""
    tried: list[Floats] = field(default_factory=list)
    """Prices of earlier programs: where a level is split by a tie they bound the next one too."""

    @classmethod
    def of(cls, problem: Problem) -> _Ladder:
        n = problem.row_count
        return cls(
            problem=problem,
            open=problem.eligible.copy(),
            left=problem.available.copy(),
            target=np.full(n, np.nan),
            known=np.zeros(n, dtype=np.bool_),
            exhausted=np.zeros(problem.available.size, dtype=np.bool_),
            shares=np.zeros(problem.throughput.shape),
        )

    def climb(self, iterations: int) -> str:
        """Level after level, until everybody is settled or the budget is spent; how it ended, in words."""
        while True:
            part = self.release()
            if part.settled.all():
                return f"all {self.problem.row_count} rows settled in {self.levels} levels"
            if not self.step(part, iterations):
                settled = int((self.known | np.isfinite(self.target)).sum())
                why = "iterations used up" if self.spent >= iterations else "no progress"
                return f"{why} after {self.levels} levels: {settled} of {self.problem.row_count} rows settled"

    def step(self, part: Part, iterations: int) -> bool:
        """Find the next level and settle whom it stops; False when it could not be found."""
        prices, level = self.first_bound(part)
        step_fractions = iter(_STEP_FRACTIONS)
        fraction = next(step_fractions)
        raises = _RAISES
        while self.spent < iterations:
            allowance = max(_USUAL_ITERATIONS, iterations // 3)
            attempt = self.attempt(part, level, min(iterations - self.spent, allowance), fraction)
            bound = part.bound(attempt.prices)
            if self.levels == 0:
                self.remember_first(attempt.prices, bound)
            self.unfinished = self.with_shares(part, attempt.shares)
            if self.nearest is None or attempt.scale >= self.nearest[0]:
                self.nearest = (attempt.scale, self.unfinished)
            lower = bound < level * (1 - _MET)
            if attempt.scale >= 1 - _MET or (not lower and attempt.scale >= 1 - _ACCEPTABLE):
                proof = self.proof(part, level, prices, attempt.prices)
                self.tried.append(proof)
                if self.settle(part, level, attempt.scale, proof):
                    return True
            if self.levels == 0 and not attempt.solved:
                return False  # the chain's next method knows only this level, but needs one program for it
            higher = bound > level * (1 + _MET) and raises > 0  # what gave the level proves nothing
            if lower or higher:
                raises -= higher
                prices, level = attempt.prices, max(bound, self.level)
                continue
            again = next(step_fractions, None)
            if again is None:
                return False
            fraction = again
        return False

    def release(self) -> Part:
        """The part that is left after everybody has gone whose best column, or one that is good enough, cannot be
        crowded by anybody.
        """
        while True:
            part = self.part()
            touched = np.zeros(part.worth.size, dtype=np.bool_)
            place = part.owner * part.worth.shape[1] + part.columns % part.worth.shape[1]
            touched[place] = np.asarray(part.coupling.T @ part.scarce.astype(np.float64)) > 0
            calm = np.where(touched.reshape(part.worth.shape), 0.0, part.worth)
            enough = np.where(part.settled, part.target, part.end)
            gone = np.flatnonzero((calm.max(axis=1, initial=0.0) >= enough) & (enough > 0))
            if gone.size == 0:
                return part
            column = calm[gone].argmax(axis=1)
            share = np.zeros((gone.size, part.worth.shape[1]))
            share[np.arange(gone.size), column] = np.minimum(enough[gone] / calm[gone, column], 1.0)
            self.target[part.rows[gone]] = enough[gone]
            self.hold(part.rows[gone], share)

    def part(self) -> Part:
        rows = np.flatnonzero(~self.known)
        position = np.zeros(self.problem.row_count, dtype=np.int64)
        position[rows] = np.arange(rows.size)
        width = self.problem.column_count
        columns = np.flatnonzero((self.open & ~self.known[:, None]).ravel())
        owner = position[columns // width]
        coupling = self.problem.coupling[:, columns].tocsr()
        return Part(
            rows=rows,
            weight=self.problem.weight[rows],
            count=self.problem.count[rows],
            worth=np.where(self.open[rows], self.problem.utility[rows], 0.0),
            columns=columns,
            owner=owner,
            coupling=coupling,
            scarce=largest_use(coupling, owner, rows.size) > self.left,
            left=self.left,
            target=self.target[rows],
        )

    def first_bound(self, part: Part) -> tuple[Floats, float]:
        """The lowest bound of a crowded capacity alone, or of prices seen before; with the prices that give it."""
        crowd = np.asarray(part.coupling.sum(axis=1)).ravel() * part.scarce
        pressure = crowd / np.maximum(part.left, 1e-12 * self.problem.available + 1e-300)
        alone = np.argsort(-pressure, kind="stable")[:_TRIED_ALONE]
        candidates = [np.eye(1, part.left.size, int(j)).ravel() for j in alone if part.scarce[j]] + self.tried[-1:]
        bounds = [part.bound(prices) for prices in candidates]
        lowest = int(np.argmin(bounds))
        if self.levels == 0:
            self.remember_first(candidates[lowest], bounds[lowest])
        return candidates[lowest], max(bounds[lowest], self.level)

    def remember_first(self, prices: Floats, bound: float) -> None:
        if self.first is None or bound < self.first[1]:
            self.first = (prices, bound)

    def attempt(self, part: Part, level: float, iterations: int, step_fraction: float) -> _Attempt:
        """Clarabel: the largest s with u_i >= s min(w_i level, e_i), everybody settled at his utility.

        Columns: x' of each open column, x = (need / e) x', then s. Rows: x' >= 0, each job's time, each scarce
        capacity relative to what is left, then the utilities relative to the need.
        """
        size, n = part.columns.size, part.rows.size
        end, settled = part.end, part.settled
        need = np.where(settled, part.target, np.minimum(part.weight * level, end))
        spread = (need / end)[part.owner]
        gain = part.worth.ravel()[part.owner * part.worth.shape[1] + part.columns % part.worth.shape[1]]
        scarce = np.flatnonzero(part.scarce)
        load = part.coupling[scarce].tocoo()
        line, column = load.coords
        unit = np.maximum(part.left[scarce], 1e-12 * self.problem.available[scarce])
        share = np.arange(size)
        program = Program(np.concatenate([np.zeros(size), [-1.0]]))
        program.add(share, share, np.full(size, -1.0))
        program.add(size + part.owner, share, spread)
        program.add(size + n + line, column, load.data * spread[column] / unit[line])
        first = size + n + scarce.size
        program.add(first + part.owner, share, -gain / end[part.owner])
        free = np.flatnonzero(~settled)
        program.add(first + free, np.full(free.size, size), np.ones(free.size))
        bounds = [np.zeros(size), np.ones(n), part.left[scarce] / unit, np.where(settled, _SLACK - 1, 0.0)]
        program.close(np.concatenate(bounds), [clarabel.NonnegativeConeT(first + n)])
        found = program.run(iterations, step_fraction)
        self.spent += found.iterations
        shares = np.clip(np.nan_to_num(found.point[:size], posinf=0.0), 0.0, None) * spread
        prices = np.zeros(part.left.size)
        prices[scarce] = np.maximum(np.nan_to_num(found.duals[size + n : first], posinf=0.0), 0.0) / unit
        used = np.asarray(part.coupling @ shares)
        over = np.divide(used, part.left, out=np.ones_like(used), where=(part.left > 0) & part.scarce).max(initial=1.0)
        over = max(float(over), float(np.bincount(part.owner, weights=shares, minlength=n).max()))
        reached = np.bincount(part.owner, weights=shares * gain, minlength=n) / need
        scale = float(np.where(settled, reached + _SLACK, reached).min()) / over
        return _Attempt(shares, prices, scale, found.status == "Solved")

    def proof(self, part: Part, level: float, *candidates: Floats) -> Floats:
        """Prices (m,) of which `settle` may conclude that somebody cannot rise: the sum of those `candidates` at which
        what is used costs, at `level`, all that there is to pay with. The others, and prices of what is not used up,
        tell nothing: 0.
        """
        assert self.unfinished is not None
        used = np.asarray(part.coupling @ self.unfinished.ravel()[part.columns])
        room = np.maximum(1 - np.divide(used, part.left, out=np.ones_like(used), where=part.left > 0), _NOISE)
        proof = np.zeros(part.left.size)
        for prices in candidates:
            _, needed = part.account(prices, level)
            noteworthy = prices * part.left > _NOISE * needed
            for believed in (self.exhausted | (prices * part.left > room * needed), noteworthy):
                clean = np.where(believed, prices, 0.0)
                budget, needed = part.account(clean, level)
                if needed > TELLING * float(clean @ part.left) and abs(budget - needed) <= _PAID * needed:
                    proof += clean / needed
                    break
        self.exhausted |= proof > 0
        return proof

    def settle(self, part: Part, level: float, scale: float, prices: Floats) -> bool:
        """Settle those who cannot rise above `level`; close the columns that cannot be used any more. False when there
        is nobody to settle.
        """
        assert self.unfinished is not None
        self.shares = self.unfinished
        self.levels += level > self.level * (1 + _ACCEPTABLE)
        self.level = level
        costs = part.costs(prices)
        free = ~part.settled
        bill = part.bill(prices)
        wanted = np.minimum(part.weight * level, part.end)
        stopped = np.zeros(part.rows.size, dtype=np.bool_)
        stopped[free] = bill.rate(wanted[free] * (1 + _MET)) > 0
        settled = part.settled | stopped
        self.target[part.rows[stopped]] = wanted[stopped] * min(scale, 1.0)
        earned = part.worth * self.shares[part.rows]
        used = earned > _UNUSED * earned.sum(axis=1, keepdims=True)
        self.open[part.rows[~settled]] &= (costs <= 0)[~settled] | used[~settled]
        if settled.any():
            self.narrow(part, np.flatnonzero(settled), costs, used, stopped & (wanted >= part.end * (1 - _MET)))
        return bool(stopped.any())

    def narrow(self, part: Part, settled: Integers, costs: Floats, used: Booleans, whole: Booleans) -> None:
        """Keep of the `settled` rows the columns that cost least or are `used` (n, K), and fix the shares of those that
        have no choice. Those that are `whole` (n,) spend all their time in their best column.
        """
        rows = part.rows[settled]
        target, worth, cost = self.target[rows], part.worth[settled], costs[settled]
        bill = Bill(hull_of(worth, cost), part.weight[settled], part.count[settled])
        allowed = used[settled]
        busy = self.shares[rows].sum(axis=1) > 1 - _NEAR
        for side in (1 - _NEAR, 1 + _NEAR):
            above, idle = bill.supporting_columns(target * side, worth, cost)
            allowed |= (above <= _ON_THE_LINE) & (worth > 0)
            busy &= idle > _ON_THE_LINE
        full = whole[settled]
        allowed &= ~full[:, None] | (worth >= part.end[settled, None] * (1 - _MET))
        self.open[rows] &= allowed
        lowest = np.where(allowed, worth, np.inf).argmin(axis=1)
        highest = np.where(allowed, worth, -np.inf).argmax(axis=1)
        each = np.arange(rows.size)
        low, high = worth[each, lowest], worth[each, highest]
        number = allowed.sum(axis=1)
        pair = (number == 2) & busy & (high > low * (1 + _ON_THE_LINE))
        part_high = np.clip(np.divide(target - low, high - low, out=np.ones_like(low), where=pair), 0.0, 1.0)
        shares = np.zeros(worth.shape)
        shares[each, lowest] = 1 - part_high
        shares[each, highest] = np.where(pair, part_high, np.minimum(target / np.maximum(high, 1e-300), 1.0))
        decided = (number == 1) | pair
        self.hold(rows[decided], shares[decided])

    def hold(self, rows: Integers, shares: Floats) -> None:
        """These shares are final."""
        self.known[rows] = True
        self.shares[rows] = shares
        taken = np.zeros(self.problem.throughput.shape)
        taken[rows] = shares
        self.left = np.maximum(self.left - self.problem.coupled_usage(taken), 0.0)

    def with_shares(self, part: Part, found: Floats) -> Floats:
        """(n, K) known shares, and `found` (N,) for the others."""
        shares = np.where(self.known[:, None], self.shares, 0.0)
        shares.ravel()[part.columns] = found
        return shares

    def answer(self) -> Floats:
        """(n, K) shares after the last level, every settled row's at exactly its utility: what rounding leaves of a
        large job would be much for a small one.
        """
        if self.levels == 0 and self.nearest is not None:
            return self.nearest[1]
        reached = self.problem.utilities(self.shares)
        exact = np.isfinite(self.target) & (reached > 0)
        factor = np.divide(self.target, reached, out=np.ones_like(reached), where=exact)
        corrected: Floats = self.shares * np.clip(factor, 1 - _CORRECTION, 1 + _CORRECTION)[:, None]
        return corrected

    def first_prices(self) -> Floats:
        """(m,) per unit of level: scaled so that raising everybody by one level from the first one costs 1."""
        nothing = np.zeros(self.problem.available.size)
        if self.first is None:
            return nothing
        prices, bound = self.first
        start = _Ladder.of(self.problem).part()
        if bound >= float((start.end / start.weight).min()):
            return nothing
        bill = start.bill(prices)
        for side in (1 - _MET, 1 + _MET):
            rate = float((start.weight * start.count) @ bill.rate(start.weight * bound * side))
            if 0 < rate < np.inf:
                return prices / rate
        return nothing

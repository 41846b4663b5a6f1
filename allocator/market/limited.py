"""Solves a market's problem within its quotas: rows that one answer breaks are there for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.certificate import Certificate, gap_unit
from allocator.formulation.fairness import phi
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Charges
from allocator.market.limits import KEPT, Bounds, Cut, Place, borrowing, broken, kept_back, slack, use, wanted
from allocator.market.pools import Pools, lacking, needless, outside, surely_enough
from allocator.market.prices import Prices
from allocator.market.program import Program
from allocator.solvers.solution import Solution, Status, WarmStart

Solve = Callable[[Problem, WarmStart], Solution]

_DEARER = 1e-3
"""A pool may be dearer by that part than the one above it."""
_TOGETHER = 0.01
"""What is reserved may be beyond what there is by that part of what single limits may be: it is everybody who pays."""
_OVERPAID = 0.03
"""What may be overpaid for pools, in gaps."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """`solution` of the market's problem under the rows that were known; `prices` that it charges."""

    solution: Solution
    prices: Prices
    program: Program
    solved: Solution
    """Of the program."""


@dataclass(slots=True, eq=False)
class Limited:
    """Solves problems of the same rows, which may differ in their weights. Remembers which rows were needed."""

    solve: Solve
    tree: QueueTree
    leaf: Integers
    """(n,) of each row of the problems."""
    bounds: Bounds
    flavors: tuple[str, ...]
    resources: tuple[str, ...]
    side: tuple[LimitName, ...] = ()
    """Names of the problems' own limits."""
    gap: float = 1e-4
    """What an answer may lack to count as optimal."""
    known: Mapping[LimitName, float] = field(default_factory=dict)
    """Prices of the last round, by limit."""
    cuts: dict[Place, Cut] = field(default_factory=dict)
    pooled: Booleans = field(init=False)
    """(Q, F, R) who shall have a pool."""
    unbounded: bool = field(init=False)
    """Whether no queue has a limit, nor keeps anything."""
    _program: Program | None = None
    _prices: Prices | None = None
    _wanted: Floats | None = None

    def __post_init__(self) -> None:
        """Begin with what bound in the last round."""
        self.pooled = np.zeros(self.bounds.kept.shape, dtype=np.bool_)
        self.unbounded = not np.isfinite(self.bounds.most).any() and not self.bounds.kept.any()
        for at, name, lending in self._known_places():
            if lending:
                self.pooled[at] = True
            elif np.isfinite(self.bounds.most[at]):
                self.cuts[at] = borrowing(self.tree, self.leaf, self.bounds, at, name)

    def _known_places(self) -> list[tuple[Place, LimitName, bool]]:
        """Of the limits that are known: where, name, and whether it is one for lending."""
        queues = {name: number for number, name in reversed(list(enumerate(self.tree.names)))}
        flavors, resources = (
            {name: number for number, name in enumerate(names)} for names in (self.flavors, self.resources)
        )
        found = []
        for name in self.known:
            queue, flavor, resource = name
            owner = queue.removeprefix(KEPT)
            if owner in queues and flavor in flavors and resource in resources:
                at = queues[owner], flavors[flavor], resources[resource]
                found.append((at, name, queue.startswith(KEPT)))
        return found

    def remembered(self, problem: Problem, common: Floats) -> Prices:
        """Those of the last round, as far as they are about limits of this one; `common` (F, R) of capacity."""
        pools = self._pools(problem)
        less = np.full(self.pooled.shape, np.inf)  # what nobody asked for had no price
        for at, name, lending in self._known_places():
            if lending:
                less[at] = self.known[name]
        own = np.zeros(less.shape)
        for level in range(self.tree.levels):  # a pool's price is told by that of the one above
            here = np.flatnonzero(self.tree.depth == level)
            above = outside(self.tree, common, pools.paid(self.tree, common, own))[here]
            own[here] = np.where(pools.own[here], np.maximum(above - less[here], 0.0), 0.0)
        cuts = {cut.name: (cut, self.known.get(cut.name, 0.0)) for cut in self.cuts.values()}
        return Prices(pools, common, pools.paid(self.tree, common, own), self._side(problem), cuts)

    def _side(self, problem: Problem) -> Floats:
        """(L,) what is known of the problem's own limits."""
        found = np.zeros(problem.limit_count)
        found[: len(self.side)] = [self.known.get(name, 0.0) for name in self.side]
        return found

    def charges(self, problem: Problem, prices: Prices) -> Charges:
        return prices.charges(problem, self.tree, self.leaf)

    def __call__(self, problem: Problem, start: WarmStart, known: Prices | None = None) -> Answer:
        """Shares (n, K) under the rows that are known. Jobs that these leave nothing have a share of 0. To begin with,
        `start` has the prices of capacities, and `known` all others.
        """
        program = self._current(problem)
        solved = self.solve(program.weighted(problem), program.start(known, start))
        prices = program.prices(self.tree, solved)
        shares = np.zeros(problem.throughput.shape)
        shares[program.rows] = solved.shares
        solution = replace(solved, shares=shares, prices=prices.common, limit_prices=prices.side)
        return Answer(solution, prices, program, solved)

    def _current(self, problem: Problem) -> Program:
        if self._program is None:
            pools, cuts = self._pools(problem), tuple(self.cuts.values())
            if not cuts and not pools.own.any():
                rows = np.arange(problem.row_count)
                self._program = Program(problem, rows, pools, (), (), ())
            else:
                self._program = Program.of(problem, self.tree, self.leaf, pools, cuts, self._most(problem))
        return self._program

    def _pools(self, problem: Problem) -> Pools:
        kept = self.bounds.kept
        if not kept.any():
            return Pools.none(self.tree, problem.capacity)
        sure = surely_enough(self.tree, kept, self._most(problem))
        return Pools.of(self.tree, kept, problem.capacity, self.pooled | sure)

    def _most(self, problem: Problem) -> Floats:
        if self._wanted is None:
            self._wanted = wanted(problem, self.leaf, self.tree.size)
        return self._wanted

    def refine(self, problem: Problem, answer: Answer, tolerance: float) -> float:
        """By what part of them `answer` breaks bounds at most, if that is more than `tolerance`, or what part of all
        money is overpaid for pools, if that is much; else 0. The next answer has the rows that keep it from doing so.
        """
        if self.unbounded:
            return 0.0
        used = use(problem, self.tree, self.leaf, answer.solution.shares)
        beyond = broken(self.bounds, used, problem, tolerance)
        for at, _ in beyond:
            if at not in self.cuts:
                queue, flavor, resource = at
                name = self.tree.names[queue], self.flavors[flavor], self.resources[resource]
                self.cuts[at] = borrowing(self.tree, self.leaf, self.bounds, at, name)
                self._program = None
        worst = max((excess for _, excess in beyond), default=0.0)
        return max(worst, self._repool(problem, answer, used, tolerance)) if self.bounds.kept.any() else worst

    def _repool(self, problem: Problem, answer: Answer, used: Floats, tolerance: float) -> float:
        """Give pools to whom they lack, take them from whom they hold back."""
        room = problem.capacity + slack(problem, _TOGETHER * tolerance)
        without, reserved = lacking(self.tree, self.bounds.kept, used, room)
        pools, prices = answer.prices.pools, answer.prices
        above = outside(self.tree, prices.common, prices.paid)
        dearer, overpaid = needless(pools.own, prices.paid, above, pools.amount, _DEARER)
        overpaid /= max(problem.total_weight, 1e-300)
        without &= ~pools.own
        worst = 0.0
        if without.any():
            self.pooled |= without
            short = without.any(axis=0)
            worst = float((reserved[short] / problem.capacity[short] - 1).max())
        if overpaid > _OVERPAID * self.gap:
            self.pooled &= ~dearer
            worst = max(worst, overpaid)
        if worst:
            self._program = None
        return worst

    def within(self, problem: Problem, answer: Answer) -> Solution:
        """The answer's, kept within the bounds that it breaks. What that costs is taken off the objective, and the gap
        is to what could be reached within all limits.
        """
        solution = answer.solution
        if self.unbounded:
            return replace(solution, shares=solution.shares.copy())
        shares = kept_back(problem, self.tree, self.leaf, self.bounds, solution.shares)
        lost = _worth(problem, solution.shares) - _worth(problem, shares)
        bound = answer.program.bound(problem, self.tree, answer.prices, answer.solved)
        value = solution.objective - lost
        gap = solution.gap + (lost + max(bound - solution.bound, 0.0)) / gap_unit(problem, value)
        judged = Certificate(shares, solution.prices, solution.limit_prices, value, bound, gap)
        changed = gap > solution.gap and not judged.within(self.gap)
        status = Status.INACCURATE if changed else solution.status
        return replace(solution, shares=shares, objective=value, bound=bound, gap=gap, status=status)


def _worth(problem: Problem, shares: Floats) -> float:
    """The objective of the jobs that have a share; for alpha = inf their lowest level."""
    utility = problem.utilities(shares)
    some = utility > 0
    if not some.any():
        return 0.0
    if np.isinf(problem.fairness):
        return float((utility[some] / problem.weight[some]).min())
    return float((problem.weight * problem.count)[some] @ phi(utility[some], problem.fairness))

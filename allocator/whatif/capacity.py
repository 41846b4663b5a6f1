"""Which nodes to buy next: greedily, what brings most per cost, each step solved anew.

What a plan is judged by is the welfare of the jobs that are alive now, under fixed weights: for each job its money
times phi(u), where u is the throughput that the optimum gives it, relative to its fastest configuration, and phi is
that of the policy's fairness (the logarithm where that is infinite); a job that gets next to nothing counts as getting
LEAST_UTILITY. At the margin a node brings what it has, at today's prices: that is the order in which kinds of nodes are
tried (their *worth* per cost). A node is no margin on a small cluster, so each is decided by a solve, and at the end
nodes of one kind are exchanged for another while that helps. The whole is verified by the round that would follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.giving_way import checkpoint
from allocator.domain.resources import Resources, display_unit
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import Formulation, build
from allocator.formulation.problem import Floats, Problem
from allocator.market.clearing import clear
from allocator.market.opening import opened
from allocator.rounds.ports import Solver
from allocator.solvers.solution import Solution, Status, WarmStart
from allocator.whatif.answers import MOST_ADDED_NODES, MOST_OFFERS, AddNodes, CapacityPlan, Offer, Purchase
from allocator.whatif.fork import Live, first_round, fork, usual_capacity
from allocator.whatif.outcome import view

LEAST_UTILITY = 0.01
STEPS_PER_BUDGET = 8
"""A step spends at most this part of what the money left would buy; of fewer nodes, one at a time."""
MOST_SOLVES = 400
_MOST_EXCHANGED = 64
"""Plans with more nodes are not improved by exchanges: one node more or less is a margin there."""
_NOTHING = 1e-9


def plan_capacity(
    live: Live,
    budget: float,
    offers: Sequence[Offer],
    solver: Solver,
    keep_going: Callable[[], bool] = lambda: True,
) -> CapacityPlan:
    """Raises InvalidInput for offers and budgets that make no sense. Ends early, with what it has, when told to."""
    checked = _checked(live.snapshot, budget, offers)
    search = _Search(live, budget, checked, solver, keep_going)
    counts = search.improved(search.greedy())
    before = first_round(live, solver)
    bought = [
        AddNodes(offer.flavor, count, offer.capacity) for offer, count in zip(checked, counts, strict=True) if count
    ]
    future = fork(live, bought).live
    after = first_round(future, solver)
    spent = search.cost(counts)
    welfare = [search.welfare(search.nothing), search.welfare(counts)]
    gained = search.of_jobs(counts) - search.of_jobs(search.nothing)
    worths = search.worths
    order = sorted(range(len(checked)), key=lambda index: (-worths[index] / checked[index].cost, index))
    return CapacityPlan(
        purchases=tuple(
            Purchase(checked[index].flavor, counts[index], checked[index].cost, worths[index]) for index in order
        ),
        spent=spent,
        left=budget - spent,
        welfare_before=welfare[0],
        welfare_after=welfare[1],
        gains=search.by_queue(gained),
        before=view(live.snapshot, before, live.policy),
        after=view(future.snapshot, after, future.policy),
        solves=search.solves,
        complete=not search.cut_short,
    )


def _checked(snapshot: Snapshot, budget: float, offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """With capacities."""
    wrong = []
    if not (np.isfinite(budget) and budget > 0):
        wrong.append(Violation("budget", f"must be a finite number above 0, got {budget:g}"))
    if not 1 <= len(offers) <= MOST_OFFERS:
        wrong.append(Violation("offers", f"must be from 1 to {MOST_OFFERS}, got {len(offers)}"))
    found, seen = [], set()
    for index, offer in enumerate(offers[:MOST_OFFERS]):
        where = f"offers[{index}]"
        if not (np.isfinite(offer.cost) and offer.cost > 0):
            wrong.append(Violation(f"{where}.cost", f"must be a finite number above 0, got {offer.cost:g}"))
        if offer.flavor in seen:
            wrong.append(Violation(f"{where}.flavor", f"{offer.flavor!r} was given before: each flavor once"))
        seen.add(offer.flavor)
        try:
            capacity = offer.capacity or usual_capacity(snapshot.nodes, offer.flavor)
        except InvalidInput as error:
            wrong += [violation.under(where) for violation in error.violations]
            continue
        found.append(Offer(offer.flavor, offer.cost, capacity))
    if wrong:
        raise InvalidInput(*wrong)
    return tuple(found)


Counts = tuple[int, ...]
"""How many of each offer."""


class _Search:
    """Plans and what they bring. J live jobs."""

    def __init__(
        self,
        live: Live,
        budget: float,
        offers: tuple[Offer, ...],
        solver: Solver,
        keep_going: Callable[[], bool],
    ) -> None:
        self._live, self._budget, self._offers, self._solver, self._keep_going = (
            live, budget, offers, solver, keep_going,
        )  # fmt: skip
        self.solves = 0
        self.cut_short = False
        self.nothing: Counts = (0,) * len(offers)
        self._known: dict[Counts, Floats] = {}
        self._prices: Mapping[tuple[str, str], float] = live.memory.prices
        everything = [
            AddNodes(offer.flavor, most, offer.capacity)
            for index, offer in enumerate(offers)
            if (most := min(MOST_ADDED_NODES // len(offers), self._affordable(self.nothing, index)))
        ]
        largest = fork(live, everything).live.snapshot
        plain = build(largest, live.policy, live.memory)  # who could ever run has a weight there
        self._jobs = plain.live
        self._fastest = self._jobs.shapes.throughput.max(axis=1)[self._jobs.shape]
        self._weight = _spread(plain, plain.problem.weight)
        formulation, problem, solution = self._solved(self.nothing)
        has_money = formulation.row >= 0
        self._weight = np.where(has_money, _spread(formulation, problem.weight), self._weight)
        self._prices = formulation.price_map(solution.prices)
        self._known[self.nothing] = self._utilities(formulation, problem, solution)
        self.worths = [
            sum(
                amount / display_unit(resource)[1] * self._prices.get((offer.flavor, resource), 0.0)
                for resource, amount in (offer.capacity or Resources()).items()
            )
            for offer in offers
        ]

    def greedy(self) -> Counts:
        """Lazily: what an offer brought per cost last time is tried first; it is taken if it still is the best."""
        counts, last = self.nothing, [np.inf] * len(self._offers)
        order = [worth / offer.cost for worth, offer in zip(self.worths, self._offers, strict=True)]
        while True:
            able = [index for index in range(len(last)) if self._affordable(counts, index) and last[index] > 0]
            if not able or self._must_stop():
                return counts
            index = max(able, key=lambda each: (last[each], order[each]))
            best = self._step(counts, index)
            gain = (self.welfare(best) - self.welfare(counts)) / (self.cost(best) - self.cost(counts))
            others = max((last[each] for each in able if each != index), default=0.0)
            last[index] = gain if gain > _NOTHING / self._budget else 0.0
            if last[index] > 0 and gain >= others:
                counts = best
                last = [known or np.inf for known in last]  # who was of no use alone may be now

    def improved(self, counts: Counts) -> Counts:
        """Exchanges of one node, or of all of a kind, for others, while any helps."""
        while sum(counts) <= _MOST_EXCHANGED:
            better = next((tried for tried in self._exchanges(counts) if self._beats(tried, counts)), None)
            if better is None:
                return counts
            counts = better
        return counts

    def _exchanges(self, counts: Counts) -> Iterator[Counts]:
        for into in range(len(counts)):
            yield self._filled(_with(self.nothing, into, self._affordable(self.nothing, into)))
            for out, count in enumerate(counts):
                if count and out != into:
                    for fewer in (_with(counts, out, -count), _with(counts, out, -1)):
                        yield self._filled(_with(fewer, into, self._affordable(fewer, into)))

    def _beats(self, tried: Counts, counts: Counts) -> bool:
        return not self._must_stop() and self.welfare(tried) > self.welfare(counts) + _NOTHING

    def cost(self, counts: Counts) -> float:
        return float(sum(count * offer.cost for count, offer in zip(counts, self._offers, strict=True)))

    def welfare(self, counts: Counts) -> float:
        return float(self.of_jobs(counts).sum())

    def of_jobs(self, counts: Counts) -> Floats:
        """(J,) what each job contributes."""
        if counts not in self._known:
            self._known[counts] = self._utilities(*self._solved(counts))
        return self._weight * _phi(self._known[counts], self._live.policy.fairness)

    def by_queue(self, amounts: Floats) -> tuple[tuple[str, float], ...]:
        """Sums over the jobs of each queue that has any, by name."""
        names = self._jobs.queues
        queue = self._jobs.profiles.queue[self._jobs.jobs.profile]
        sums = np.bincount(queue, weights=amounts, minlength=len(names))
        return tuple(sorted((names[number], float(sums[number])) for number in np.unique(queue).tolist()))

    def _affordable(self, counts: Counts, index: int) -> int:
        left = self._budget - self.cost(counts)
        most = MOST_ADDED_NODES - sum(counts)
        return int(min(most, left / self._offers[index].cost * (1 + 1e-12)))

    def _step(self, counts: Counts, index: int) -> Counts:
        """Some more of an offer: one or a part of what can be had; more at once where so few bring nothing, because a
        gang may need them together.
        """
        most = self._affordable(counts, index)
        some = max(1, most // STEPS_PER_BUDGET)
        tried = _with(counts, index, some)
        while self.welfare(tried) - self.welfare(counts) <= _NOTHING and some < most and not self._must_stop():
            some = min(2 * some, most)
            tried = _with(counts, index, some)
        return tried

    def _filled(self, counts: Counts) -> Counts:
        """The rest of the money spent on what is worth most per cost."""
        order = sorted(range(len(counts)), key=lambda index: -self.worths[index] / self._offers[index].cost)
        for index in order:
            counts = _with(counts, index, self._affordable(counts, index))
        return counts

    def _must_stop(self) -> bool:
        if self.solves >= MOST_SOLVES or not self._keep_going():
            self.cut_short = True
        return self.cut_short

    def _solved(self, counts: Counts) -> tuple[Formulation, Problem, Solution]:
        """The optimum with so many nodes more; nothing is placed."""
        self.solves += 1
        checkpoint()
        live, policy = self._live, self._live.policy
        bought = [
            AddNodes(offer.flavor, count, offer.capacity)
            for offer, count in zip(self._offers, counts, strict=True)
            if count
        ]
        snapshot = fork(live, bought).live.snapshot
        formulation = build(snapshot, policy, live.memory)

        def solve(problem: Problem, start: WarmStart) -> Solution:
            return self._solver.solve(problem, gap=policy.gap, iterations=policy.iterations, warm_start=start)

        start = WarmStart(formulation.warm_prices(live.memory))
        cleared = clear(opened(formulation, formulation.weightings.queues), solve, start, live.memory.limit_prices)
        return formulation, cleared.problem, cleared.solution

    def _utilities(self, formulation: Formulation, problem: Problem, solution: Solution) -> Floats:
        """(J,) relative throughput of every job that has a row, 0 of those that cannot run, 1 of those in place."""
        if solution.status is Status.FAILED:
            return np.zeros(len(formulation.row))
        got = _spread(formulation, (problem.throughput * solution.shares).sum(axis=1)) / self._fastest
        return np.where(formulation.row == -1, 1.0, got)


def _spread(formulation: Formulation, of_row: Floats) -> Floats:
    """(J,) the value of each job's row; 0 without one."""
    found: Floats = np.zeros(len(formulation.row))
    there = formulation.row >= 0
    found[there] = of_row[formulation.row[there]]
    return found


def _phi(utility: Floats, fairness: float) -> Floats:
    if fairness == 0:
        return utility
    least = np.maximum(utility, LEAST_UTILITY)
    if fairness == 1 or np.isinf(fairness):
        return np.log(least)
    powers: Floats = least ** (1 - fairness) / (1 - fairness)
    return powers


def _with(counts: Counts, index: int, more: int) -> Counts:
    return (*counts[:index], counts[index] + more, *counts[index + 1 :])

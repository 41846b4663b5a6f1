"""A round's decision: facts, memory and policy in, plan out. Pure: it can be tested, replayed and explained alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from allocator.domain.giving_way import checkpoint
from allocator.domain.plan import Plan
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation, build
from allocator.formulation.problem import Problem
from allocator.formulation.promises import in_turns
from allocator.market.clearing import Cleared, clear
from allocator.market.opening import opened
from allocator.placement import hold, place
from allocator.rounds.astray import as_they_went
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.ruled import Ruled
from allocator.solvers.solution import Solution, Status, WarmStart


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that was decided, before anything of it is made true."""

    formulation: Formulation
    """Its problem's weights are the budgets at which the market cleared."""
    market: Cleared
    plan: Plan

    @property
    def solution(self) -> Solution:
        """Shares and prices, and how good they are."""
        return self.market.solution


class Decider(Protocol):
    """What decides a round. `decide` is ours; a replay may put another in its place to compare. It may remember things
    between rounds, but must take facts from the snapshot alone, and the same facts must lead to the same plan.
    """

    def __call__(
        self, snapshot: Snapshot, memory: Memory, policy: Policy, solver: Solver, lap: Lap
    ) -> Decision | Ruled:
        """Say what is to change. `lap` hears "formulate", "solve" and "place" when these stages end."""
        ...


def _unobserved(stage: str) -> None:
    """Nobody wants to know how long stages take."""


def decide(snapshot: Snapshot, memory: Memory, policy: Policy, solver: Solver, lap: Lap = _unobserved) -> Decision:
    """Formulate, solve, place. `lap` hears the name of each stage when it ends; it cannot change anything.

    When no solver has an answer, what runs keeps running and nothing starts.
    """
    formulation = build(snapshot, policy, memory)
    checkpoint()
    lap("formulate")

    def solve(problem: Problem, start: WarmStart) -> Solution:
        return solver.solve(problem, gap=policy.gap, iterations=policy.iterations, warm_start=start)

    def settled(formulation: Formulation) -> tuple[Formulation, Cleared]:
        start = WarmStart(formulation.warm_prices(memory))
        market = opened(formulation, formulation.weightings.queues)
        found = clear(market, solve, start, memory.limit_prices, policy.gap)
        return replace(formulation, problem=found.problem), found

    def placed(formulation: Formulation, market: Cleared) -> Plan:
        return place(snapshot, formulation, in_turns(formulation, market.solution.shares), memory, policy)

    formulation, market = settled(formulation)
    checkpoint()
    lap("solve")
    if market.solution.status is Status.FAILED:
        plan = hold(snapshot, formulation)
    else:
        plan = placed(formulation, market)
        truer = as_they_went(formulation, market.solution.shares, plan)
        if truer is not None:
            again, cleared = settled(replace(formulation, problem=truer))
            if cleared.solution.status is not Status.FAILED:
                formulation, market, plan = again, cleared, placed(again, cleared)
    late = [snapshot.jobs[position] for position in formulation.promises.missed.tolist()]
    plan = replace(plan, missed=tuple(job.id for job in late if not job.message))
    if policy.floating_resources:
        plan = replace(plan, floating=policy.floating_resources)
    lap("place")
    return Decision(formulation, market, plan)

"""The last round, as explanations see it: its facts, what was decided, and what became true.

What several questions need is worked out once per round, when the first of them is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.resources import display_unit
from allocator.domain.snapshot import Memory
from allocator.explain.answers import Tier, tier_of
from allocator.explain.queues import Queues
from allocator.formulation.build import IN_PLACE, NOT_POSSIBLE
from allocator.formulation.live import Live
from allocator.formulation.problem import Booleans, Floats, Integers
from allocator.formulation.promises import in_turns
from allocator.market.clearing import Cleared, Stage
from allocator.placement.contenders import SHARE_FLOOR, ahead_of, credits_now, scale_of
from allocator.rounds.limit_usage import Taken, limits_in_use
from allocator.rounds.report import LimitKind, LimitUsage, RoundReport
from allocator.rounds.standings import Standings, standings
from allocator.solvers.solution import Status

_STEPS = 64
"""As placement compares shares."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished round. J live jobs of its snapshot, n rows of its problem, Q queues of its tree."""

    report: RoundReport
    market: Cleared
    before: Memory
    after: Memory
    policy: Policy

    @classmethod
    def of(cls, report: RoundReport) -> Finished:
        """Of a report with everything in it."""
        assert report.market is not None
        assert report.before is not None
        assert report.after is not None
        assert report.policy is not None
        return cls(report, report.market, report.before, report.after, report.policy)

    @property
    def live(self) -> Live:
        return self.report.formulation.live

    @property
    def solved(self) -> bool:
        """Whether there are shares and prices."""
        return self.report.solution.status is not Status.FAILED

    def position_of(self, sequence: int) -> int | None:
        """Where the job with this sequence is among the live ones; None if the round did not see it."""
        sequences = self.live.jobs.sequence
        found = int(np.searchsorted(sequences, sequence))
        return found if found < len(sequences) and sequences[found] == sequence else None

    @cached_property
    def standings(self) -> Standings:
        """How deadlines and minimum throughputs stand."""
        return standings(self.report.formulation, self.report.solution.shares)

    @cached_property
    def taken(self) -> Taken:
        """What jobs hold after the commit."""
        return Taken(self.report.formulation, self.report.commit)

    @property
    def configuration(self) -> Integers:
        """(J,) that each job runs in after the commit; -1 of those that wait."""
        return self.taken.configuration

    @property
    def part(self) -> Floats:
        """(J,) of its demand that each job holds after the commit."""
        return self.taken.part

    @cached_property
    def share(self) -> Floats:
        """(J,) of time that each job is owed, by turns; 1 of those that stay in place, 0 of those that cannot run."""
        formulation = self.report.formulation
        row, shares = formulation.row, formulation.parts(in_turns(formulation, self.report.solution.shares))
        found = np.where(row == IN_PLACE, 1.0, 0.0)
        there = row >= 0
        if there.any():
            found[there] = np.where(shares > SHARE_FLOOR, shares, 0.0).sum(axis=1)[row[there]]
        return found

    @cached_property
    def served(self) -> Floats:
        """(n,) utility of what runs after the commit, of the jobs of each row together."""
        formulation, problem = self.report.formulation, self.report.formulation.problem
        jobs = np.flatnonzero((self.configuration >= 0) & (formulation.row >= 0))
        if not len(jobs):
            return np.zeros(problem.row_count)
        row = formulation.row[jobs]
        is_it = formulation.index[row] == self.configuration[jobs][:, None]
        gained = np.where(is_it, problem.utility[row], 0.0).max(axis=1, initial=0.0) * self.part[jobs]
        if formulation.most is not None:
            gained /= formulation.most[row]  # utilities of a row are those of what its job can have
        return np.bincount(row, weights=gained, minlength=problem.row_count).astype(np.float64)

    @cached_property
    def credit(self) -> Floats:
        """(J,) seconds that each job was owed when the round looked."""
        return credits_now(self.before, self.live, self.report.snapshot.time, self.policy)

    @cached_property
    def hopeless(self) -> frozenset[str]:
        """Ids of the jobs that can never start, as nodes and quotas are."""
        told = [*self.report.formulation.never.items(), *self.report.plan.waiting]
        return frozenset(job_id for job_id, reason in told if tier_of(reason.cause) is Tier.NEVER)

    @cached_property
    def waiting(self) -> Booleans:
        """(J,) jobs that wait and could run."""
        found: Booleans = (self.configuration < 0) & (self.report.formulation.row != NOT_POSSIBLE)
        if self.hopeless:
            found[self.live.positions(self.hopeless)] = False
        return found

    @cached_property
    def _turn(self) -> Floats:
        """(4, J) what decides whose turn it is, the most important first; larger comes earlier."""
        live = self.live
        priority = live.profiles.priority[live.jobs.profile].astype(np.float64)
        steps = np.where(self.share > 0, np.ceil(self.share * _STEPS - 1e-6), 0.0)
        credit = self.credit * scale_of(live, self.report.snapshot.time, self.policy)
        credit += ahead_of(self.share, self.policy)
        return np.stack([priority, (steps > 0).astype(np.float64), credit, steps])

    def turn_of(self, job: int) -> int:
        """How many of those that wait and could run come before this one, by the order of placement."""
        before = np.zeros(len(self.waiting), dtype=np.bool_)
        level = self.waiting.copy()
        for values in self._turn:
            before |= level & (values > values[job])
            level &= values == values[job]
        return int(before.sum()) + int(level[:job].sum())

    def stage_of(self, row: int) -> Stage | None:
        """The class in which a row of the problem took part."""
        for stage in self.market.stages:
            at = int(np.searchsorted(stage.rows, row))
            if at < len(stage.rows) and stage.rows[at] == row:
                return stage
        return None

    @cached_property
    def node_of_tree(self) -> dict[str, int]:
        """By queue's name, where all that is below it is added up."""
        names = self.market.tree.names
        return {name: position for position, name in reversed(list(enumerate(names)))}

    @cached_property
    def leaf_of_queue(self) -> Integers:
        """(queues,) the leaf of the tree for each of the formulation's queues; -1 of those that take no part."""
        leaf = {name: position for position, name in enumerate(self.market.tree.names)}
        return np.array([leaf.get(name, -1) for name in self.live.queues], dtype=np.int64)

    @cached_property
    def leaf_of_row(self) -> Integers:
        """(n,)"""
        return self.leaf_of_queue[self.report.formulation.claims.queue]

    @cached_property
    def held(self) -> Floats:
        """(Q, F, R) what pinned jobs hold, those of queues below included."""
        formulation, tree = self.report.formulation, self.market.tree
        found = np.zeros((tree.size, *formulation.problem.capacity.shape))
        inside = np.flatnonzero(self.leaf_of_queue >= 0)
        np.add.at(found, self.leaf_of_queue[inside], formulation.held[inside])
        return tree.above(found)

    @cached_property
    def running(self) -> Floats:
        """(Q, F, R) what runs after the commit, in display units, those of queues below included."""
        formulation, live = self.report.formulation, self.live
        jobs = np.flatnonzero(self.configuration >= 0)
        kind = live.shapes.kind[live.shape[jobs], self.configuration[jobs]] if len(jobs) else jobs
        leaf = self.leaf_of_queue[live.profiles.queue[live.jobs.profile[jobs]]]
        flavors = {name: position for position, name in enumerate(formulation.flavors)}
        units = [(name, display_unit(name)[1]) for name in formulation.resources]
        found = np.zeros((self.market.tree.size, *formulation.problem.capacity.shape))
        key, which = np.unique(np.stack([leaf, kind]), axis=1, return_inverse=True)
        gangs = np.bincount(which.ravel(), weights=self.part[jobs], minlength=key.shape[1])
        for (where, number), count in zip(key.T.tolist(), gangs.tolist(), strict=True):
            each = live.kinds[number]
            if where >= 0 and each.flavor in flavors:
                amounts = [each.asks.get(name) * each.replicas / unit for name, unit in units]
                found[where, flavors[each.flavor]] += np.array(amounts) * count
        return self.market.tree.above(found)

    @cached_property
    def queues(self) -> Queues:
        """Where all queues stand."""
        return Queues(self)

    @cached_property
    def limits(self) -> tuple[LimitUsage, ...]:
        """Every limit, and what running jobs take of it."""
        market = self.market if self.solved else None
        return tuple(limits_in_use(self.taken, self.policy, self.report.snapshot.queues, market))

    @cached_property
    def side_constraints(self) -> dict[str, LimitUsage]:
        """Those of the policy, by name."""
        wanted = {each.name for each in self.policy.side_constraints}
        named = (LimitKind.SIDE_CONSTRAINT, LimitKind.FLOATING)
        return {each.name: each for each in self.limits if each.kind in named and each.name in wanted}

    @cached_property
    def total(self) -> Floats:
        """(R,) what all ready nodes have together, in display units."""
        amounts = dict.fromkeys(self.report.formulation.resources, 0)
        for usage in self.report.summary.flavors:
            if usage.resource in amounts:
                amounts[usage.resource] += usage.capacity
        return np.array([amount / display_unit(name)[1] for name, amount in amounts.items()])

    def dominant(self, amounts: Floats) -> float:
        """The largest part of any total that the amounts (F, R) are."""
        together = amounts.sum(axis=0)
        there = self.total > 0
        return float((together[there] / self.total[there]).max(initial=0.0))

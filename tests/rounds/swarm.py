"""Random worlds in which everything goes wrong that may, and what must hold after every round all the same.

One seed is one history: what happens (`happenings`), while solvers fail; and all of it also between a round's snapshot
and its commit, where a commit may refuse what it likes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.plan import Commit, Move, Plan, Preempt, Rejected, Start
from allocator.domain.reason import PreemptionReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.problem import Problem
from allocator.placement import violations
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport, RoundSummary
from allocator.solvers.chain import ChainSolver
from allocator.solvers.solution import Solution, Status, WarmStart
from tests.placement.exhaustive import FreeByNode
from tests.rounds.engine_judge import beyond_engines
from tests.rounds.happenings import Happenings
from tests.rounds.limit_judge import (
    beyond_limits,
    could_start,
    untrue,
)
from tests.rounds.quota_judge import beyond_quotas, within_quotas


class UnreliableSolver:
    """The real one, now and then without an answer."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._real = ChainSolver()
        self.fails = False

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        if not self.fails:
            return self._real.solve(problem, gap=gap, iterations=iterations, warm_start=warm_start)
        nothing = np.zeros(problem.throughput.shape)
        no_prices, no_limits = np.zeros(problem.capacity.shape), np.zeros(problem.limit_amount.shape)
        return Solution(nothing, no_prices, no_limits, -1.0, 0.0, 1.0, Status.FAILED, "none", 0)


@dataclass
class Swarm(Happenings):
    """The same, and rounds: `play` is one, with whatever happens before it and during it."""

    findings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.remembered = Memory()
        self.solver = UnreliableSolver(self.dice)
        self.asked: dict[str, NodeDesired] = {}
        self.calm = True
        """Nothing happened between the last snapshot and its commit, and nothing was refused at will."""
        self.refusing = False

    # --- the ports of a round: this is its store, clock and pusher ---

    def now(self) -> float:
        return self.time

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        raise NotImplementedError("rounds are played one by one")

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        for state in desired:
            before = self.asked.get(state.node)
            if before is not None and not state.epoch > before.epoch:
                self.note(f"node {state.node} was sent epoch {state.epoch} after {before.epoch}")
            self.asked[state.node] = state

    def snapshot(self, now: float) -> Snapshot:
        return self.store.snapshot(now)

    def commit(self, plan: Plan, now: float) -> Commit:
        """The store's, after what happens meanwhile, and without what it refuses at will."""
        if not self.calm:
            for _ in range(self.dice.randint(1, 3)):
                self.something()
        dropped = [change for change in plan.changes if self.refusing and self.dice.random() < 0.3]
        before, ran, nodes = self.impossible(), self.live(), self.store.nodes()
        applied = self.store.commit(
            replace(plan, changes=tuple(change for change in plan.changes if change not in dropped)), now
        )
        self.judge_commit(applied, before)
        for what in beyond_engines(nodes, ran, self.live()):
            self.note(what)
        if self.calm:
            for refused in applied.rejected:
                if "engine" in refused.why:
                    self.note(f"planned what cannot be done: {refused.why}")
        return replace(applied, rejected=(*applied.rejected, *(Rejected(change, "at will") for change in dropped)))

    def memory(self) -> Memory:
        return self.store.memory()

    def record(self, summary: RoundSummary, memory: Memory) -> None:
        self.store.record(summary, memory)

    # --- a round ---

    def play(self, *, calm: bool = False) -> RoundReport:
        """One round; `calm`: nothing but the round happens."""
        self.calm, self.refusing, self.solver.fails = True, False, False
        if not calm:
            for _ in range(self.dice.choice((0, 1, 1, 2, 4))):
                self.something()
            self.calm = self.dice.random() < 0.6
            self.refusing = not self.calm and self.dice.random() < 0.4
            self.solver.fails = self.dice.random() < 0.1
            if self.rules.random() < 0.1:
                self.change_constraints()
        self.before, self.seen = self.live(), self.store.nodes()
        report, self.remembered = run_round(
            store=self, pusher=self, clock=self, solver=self.solver, policy=self.policy, memory=self.remembered
        )
        self.happened.append(f"{self.time:g}: round {report.snapshot.round}")
        self.judge(report)
        self.time += 30.0
        return report

    # --- what must hold ---

    def note(self, what: str) -> None:
        self.findings.append(f"seed {self.seed}: {what}")

    def impossible(self) -> dict[str, str]:
        """What is wrong now, by the node or job that it is about."""
        found = violations(self.store.nodes(), self.live(), self.policy.floating_resources)
        return {" ".join(what.split(":")[0].split()[:2]): what for what in found}

    def judge_commit(self, commit: Commit, before: dict[str, str]) -> None:
        """Right after it: nothing was made worse, and newcomers are on nodes that take them."""
        for subject, what in self.impossible().items():
            if subject not in before or self.calm:
                self.note(f"after a commit: {what}")
        if self.calm and not self.refusing:
            for what in beyond_quotas(self.store, self.live(), commit):
                self.note(what)
        if self.store.nodes() == self.seen:  # otherwise, what is taken of what has changed
            rules = self.policy.side_constraints
            for what in beyond_limits(rules, self.store.nodes(), self.before, self.live(), commit):
                self.note(what)
        nodes = {node.name: node for node in self.store.nodes()}
        for applied in commit.applied:
            if isinstance(applied.change, Preempt):
                continue
            for name in applied.change.placement.nodes:
                if isinstance(applied.change, Start) and (name not in nodes or not nodes[name].takes_new_work):
                    self.note(f"job {applied.change.job_id} was started on {name}, which takes no new work")

    def within_limits(self, job: Job, free: FreeByNode) -> list[Configuration]:
        """As what a gang may start as far as side constraints are concerned."""
        return could_start(self.policy.side_constraints, self.store.nodes(), self.live(), free, job)

    def within_quotas(self, queue: str, way: Configuration) -> bool:
        """Whether a gang may start as far as quotas are concerned."""
        return within_quotas(self.store, self.live(), queue, way)

    def judge(self, report: RoundReport) -> None:
        """After the round."""
        for what in (*self._accounting(report), *self._stops(report), *self._desired(), *self._credits()):
            self.note(what)
        if self.calm and not self.refusing and not self.solver.fails:
            reasons = dict(report.plan.waiting)
            for job in self.live():
                if job.id in reasons and job.allocation is None:
                    rules, nodes = self.policy.side_constraints, self.store.nodes()
                    queue = job.spec.queue

                    def within(live: Sequence[Job], way: Configuration, queue: str = queue) -> bool:
                        return within_quotas(self.store, live, queue, way)

                    for what in untrue(rules, nodes, self.live(), job, reasons[job.id], within):
                        self.note(what)
        if self.calm:
            for job in self.live():
                lost = [r.node for r in job.allocation.standing if self._lost(r.node)] if job.allocation else []
                if lost:
                    self.note(f"job {job.id} runs on {lost}, which was lost before the round")

    def _lost(self, name: str) -> bool:
        return all(node.name != name or node.health is NodeHealth.LOST for node in self.store.nodes())

    def _accounting(self, report: RoundReport) -> Iterator[str]:
        plan = report.plan
        named = [change.job_id for change in plan.changes] + list(plan.kept) + [job_id for job_id, _ in plan.waiting]
        if sorted(named) != sorted(job.id for job in report.snapshot.jobs):
            yield f"the plan of round {plan.round} accounts for {sorted(named)}"
        done = [applied.change.job_id for applied in report.commit.applied]
        done += [refused.change.job_id for refused in report.commit.rejected]
        if sorted(done) != sorted(change.job_id for change in plan.changes):
            yield f"the commit of round {plan.round} answers for {sorted(done)}"
        for job in self.live():
            if (job.state is JobState.RUNNING) != (job.allocation is not None):
                yield f"job {job.id} is {job.state.value} with allocation {job.allocation}"

    def _stops(self, report: RoundReport) -> Iterator[str]:
        """Whoever was stopped was stopped for a reason that is true of what the round saw."""
        seen = report.snapshot
        nodes = {node.name: node for node in seen.nodes}
        wrong = violations(seen.nodes, seen.jobs, self.policy.floating_resources)
        jobs = {job.id: job for job in seen.jobs}
        for change in report.plan.changes:
            reason: PreemptionReason | None = getattr(change, "reason", None)
            job = jobs[change.job_id]
            if reason is None or job.allocation is None:
                continue
            under = [nodes.get(replica.node) for replica in job.allocation.standing]
            names = {replica.node for replica in job.allocation.standing}
            true = {
                PreemptionReason.NODE_LOST: any(n is None or n.health is NodeHealth.LOST for n in under),
                PreemptionReason.NODE_DRAINING: job.spec.preemptible
                and any(n is not None and n.availability is NodeAvailability.DRAINING for n in under),
                PreemptionReason.CAPACITY_SHRUNK: any(
                    f"job {job.id}:" in what or any(f"node {name}:" in what for name in names) for what in wrong
                ),
            }.get(reason, job.spec.preemptible)
            if reason is PreemptionReason.CONSOLIDATED and not isinstance(change, Move):
                yield f"job {job.id} was stopped to make room"
            if not true:
                yield f"job {job.id} was stopped for {reason.value}, which is not so"
            ran = math.inf if job.last_start_time is None else seen.time - job.last_start_time
            chosen = (PreemptionReason.FAIR_SHARE, PreemptionReason.CONSOLIDATED)
            if reason in chosen and ran < self.policy.minimum_run_seconds:
                yield f"job {job.id} was stopped for {reason.value} after {ran:g} s"

    def _desired(self) -> Iterator[str]:
        """Every node was asked for exactly what the allocations say."""
        wanted: dict[str, set[tuple[object, ...]]] = {node.name: set() for node in self.store.nodes()}
        for job in self.live():
            if job.allocation is None:
                continue
            for index, replica in enumerate(job.allocation.placement.replicas):
                if index not in job.allocation.finished:
                    found = (job.id, index, job.allocation.epoch, replica.gpus)
                    wanted.setdefault(replica.node, set()).add(found)
        for name in sorted(wanted.keys() | self.asked.keys()):
            state = self.asked.get(name)
            asked = {(r.job_id, r.replica, r.epoch, r.gpus) for r in state.replicas} if state is not None else set()
            if asked != wanted.get(name, set()):
                yield f"node {name} was asked for {sorted(map(str, asked))}, allocations say {wanted.get(name)}"

    def _credits(self) -> Iterator[str]:
        limit = self.policy.credit_limit_seconds * (1 + 1e-12)
        for job in self.live():
            memory = self.remembered
            credit = memory.credit(job.sequence, memory.time)
            pace = memory.credit(job.sequence, memory.time + 1.0) - credit
            if not (math.isfinite(credit) and abs(credit) <= limit):
                yield f"job {job.id} has credit {credit}"
            if not (math.isfinite(pace) and -1.001 <= pace <= 1.001):
                yield f"the credit of job {job.id} changes by {pace} per second"

"""Answers what-if questions about a store's live facts, on the thread that asks: no lock is held, nothing changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from allocator.domain.errors import InvalidInput, NotFound
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.admission import with_those_above
from allocator.intake.feasibility import infeasible
from allocator.rounds.decide import Decision
from allocator.rounds.ports import Solver
from allocator.whatif.answers import MOST_JOBS, MOST_ROUNDS, CapacityPlan, Fate, JobView, Offer, Outcome, Question, View
from allocator.whatif.capacity import plan_capacity
from allocator.whatif.fork import Fork, Live, first_round, fork, rounds
from allocator.whatif.outcome import fates, view


class Facts(Protocol):
    """The part of a store that is asked."""

    def snapshot(self, now: float) -> Snapshot: ...

    def memory(self) -> Memory: ...

    def get_job(self, job_id: str) -> Job:
        """Live or ended. NotFound if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class NextRound:
    """The next round as things are."""

    live: Live
    decision: Decision
    view: View


class Simulator:
    """`policy`, asked each time, is the one where none was applied; `interval` is that of the rounds, in seconds. One
    thread at a time may ask; its work has checkpoints (`domain.giving_way`).
    """

    def __init__(self, facts: Facts, solver: Solver, policy: Callable[[], Policy], interval: float) -> None:
        self._facts = facts
        self._solver = solver
        self._policy = policy
        self._interval = interval
        self.newest: NextRound | None = None
        """The next round as things were when last asked."""

    def ask(self, question: Question, now: float, keep_going: Callable[[], bool] = lambda: True) -> Outcome:
        """What the first round after `now` would decide, as things are and with the changes.

        Replaying ends early when `keep_going` says so. Raises AllocatorError for changes that could not be made, and
        NotFound for a job that is not alive.
        """
        if not 0 <= question.rounds <= MOST_ROUNDS:
            raise InvalidInput.of("rounds", f"must be from 0 to {MOST_ROUNDS}, got {question.rounds}")
        if len(question.job_ids) > MOST_JOBS:
            raise InvalidInput.of("job_ids", f"must be at most {MOST_JOBS}, got {len(question.job_ids)}")
        before = self.before(now)
        forked = fork(before.live, question.changes)
        wanted = _wanted(before.live.snapshot, forked, question.job_ids)
        decision = first_round(forked.live, self._solver)
        after = view(forked.live.snapshot, decision, forked.live.policy)
        time = before.live.snapshot.time
        fate_before, fate_after = fates(before.decision, wanted, time), fates(decision, wanted, time)
        began, passed = self._starts(forked, decision, wanted, fate_after, question.rounds, keep_going)
        known = {name: job for name, job in wanted.items() if name in fate_before}
        unchanged = fork(before.live, ()) if question.rounds and known else forked
        started, also = self._starts(unchanged, before.decision, known, fate_before, question.rounds, keep_going)
        return Outcome(
            before=before.view,
            after=after,
            submitted=forked.submitted,
            jobs=tuple(
                JobView(
                    job,
                    fate_before.get(name),
                    fate_after.get(name),
                    started.get(name),
                    began.get(name),
                    _never(job, forked),
                )
                for name, job in wanted.items()
            ),
            rounds=max(passed, also),
            interval=self._interval,
        )

    def plan(
        self, budget: float, offers: Sequence[Offer], now: float, keep_going: Callable[[], bool] = lambda: True
    ) -> CapacityPlan:
        """Which nodes to buy: see `whatif.capacity`."""
        return plan_capacity(self.before(now).live, budget, offers, self._solver, keep_going)

    def before(self, now: float) -> NextRound:
        """The next round as things are; decided once as long as nothing changes."""
        at = (math.floor(now / self._interval) + 1) * self._interval
        memory, snapshot = self._facts.memory(), self._facts.snapshot(at)
        policy = snapshot.policy(self._policy())
        known = self.newest
        if known is not None and known.live.memory is memory and known.live.policy == policy:
            old = known.live.snapshot
            if (old.time, old.revision, old.round) == (at, snapshot.revision, snapshot.round):
                return known
        live = Live(snapshot, memory, policy, self._find)
        decision = first_round(live, self._solver)
        self.newest = NextRound(live, decision, view(snapshot, decision, policy))
        return self.newest

    def _find(self, job_id: str) -> Job | None:
        try:
            return self._facts.get_job(job_id)
        except NotFound:
            return None

    def _starts(
        self,
        forked: Fork,
        first: Decision,
        wanted: dict[str, Job],
        fate: dict[str, Fate],
        count: int,
        keep_going: Callable[[], bool],
    ) -> tuple[dict[str, float], int]:
        """Seconds until each wanted job first runs, and how many rounds were replayed after the first."""
        found = {name: 0.0 for name in wanted if name in fate and fate[name].configuration is not None}
        if not count or not wanted:
            return found, 0
        hoped = fate.keys() | {job.id for job in forked.live.snapshot.held if job.id in wanted}
        passed = 0
        replay = rounds(forked, first, count, self._interval, self._solver, keep_going)
        for number, seen in enumerate(replay):
            passed = number
            for applied in seen.commit.applied:
                name = applied.change.job_id
                if applied.allocation is not None and name in wanted:
                    found.setdefault(name, number * self._interval)
            if len(found) == len(hoped):
                break
        return found, passed


def _wanted(snapshot: Snapshot, forked: Fork, job_ids: Sequence[str]) -> dict[str, Job]:
    """Whom to follow, by id: what is submitted (the first MOST_JOBS), then those that are named."""
    wanted = {item.id: item for item in forked.submitted if isinstance(item, Job)}
    wanted = dict(list(wanted.items())[:MOST_JOBS])
    if job_ids:
        alive = {job.id: job for job in (*snapshot.jobs, *snapshot.held)}
        for name in job_ids:
            if name not in alive:
                raise NotFound("live job", name)
            wanted.setdefault(name, alive[name])
    return wanted


def _never(job: Job, forked: Fork) -> str:
    """Why no node could ever run the job, if it is new."""
    queue = forked.facts.queue(job.spec.queue)
    if job.allocation is not None or queue is None:
        return ""
    above = with_those_above(queue, forked.facts)
    found = infeasible(job.spec, forked.facts.all_nodes(), above, forked.live.policy)
    return "" if found is None else str(found)

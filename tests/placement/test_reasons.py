"""Every reason to wait, cause and numbers, against a recomputation that shares nothing with the code that gives it.

Nodes close, fail and shrink while rounds go on, have racks, zones and taints, and are kept for jobs that are owed more;
so every cause comes up. A cause without a judge is an error.

Which nodes are kept for somebody nobody says: of all sets of nodes there must be one with which everything that is said
after a round is true.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.plan import Preempt
from allocator.domain.reason import PendingCause, PendingReason, Refusal, Shortage
from allocator.intake import commands as c
from tests.placement.judging import JUDGES, Moment, wrong
from tests.placement.restricted import crowded, restricted
from tests.placement.small_worlds import SHARDS, Played, SmallWorld, Stage, drawn, shard


def moments(played: Played, stage: Stage) -> list[Moment]:
    """Everybody who waits after a round, also those whom it stopped."""
    plan = played.report.plan
    reasons = dict(plan.waiting) | {ch.job_id: ch.pending for ch in plan.changes if isinstance(ch, Preempt)}
    nodes = stage.store.nodes()
    return [
        Moment(nodes, played.after, job, reasons[job.id], dict(played.credits))
        for job in played.after
        if job.allocation is None
    ]


def disturb(stage: Stage, dice: random.Random) -> None:
    """One node closes, opens, fails, comes back, shrinks or grows; or a job that runs is cancelled."""
    running = [job.id for job in stage.store.snapshot(stage.time).jobs if job.allocation is not None]
    if running and dice.random() < 0.25:
        stage.do(c.CancelJobs((dice.choice(running),)))
        return
    node = dice.choice(stage.store.nodes())
    smaller = replace(node.capacity, cpu_millicores=dice.randint(1, 8) * 1000)
    commands: tuple[c.Command, ...] = (
        c.SetNodeAvailability(node.name, NodeAvailability.CORDONED),
        c.SetNodeAvailability(node.name, NodeAvailability.DRAINING),
        c.SetNodeAvailability(node.name, NodeAvailability.OPEN),
        c.LoseNode(node.name),
        c.Heartbeat(node.name),
        c.RegisterNode(replace(node, capacity=smaller)),
    )
    stage.do(dice.choice(commands))


def untrue(told: Sequence[Moment]) -> list[str]:
    """What is not true of all that was said after one round, with the set of kept nodes that explains most of it."""
    closed_to_some = [moment for moment in told if not moment.job.spec.preemptible]
    least: list[str] | None = None
    for kept in _sets_of_nodes(told) if closed_to_some else [frozenset[str]()]:
        found = [what for moment in told for what in _untrue(moment, kept, told)]
        if not found:
            return []
        if least is None or len(found) < len(least):
            least = found
    return least or []


def _sets_of_nodes(told: Sequence[Moment]) -> Iterator[frozenset[str]]:
    """The smallest first. Only open nodes are kept."""
    names = [node.name for node in told[0].nodes if node.takes_new_work]
    for size in range(len(names) + 1):
        for chosen in combinations(names, size):
            yield frozenset(chosen)


def _untrue(moment: Moment, kept: frozenset[str], told: Sequence[Moment]) -> list[str]:
    """What is wrong with one reason if these nodes are kept: not from those who may be stopped or for whom they are
    kept, nor from those who end soon enough.
    """
    spec = moment.job.spec
    found = wrong(moment if spec.preemptible else replace(moment, kept=kept))
    if not found or not kept or spec.preemptible:
        return found
    holders = {name for other in told for name in other.reason.reserved_for}
    if spec.expected_duration_seconds is not None or moment.job.id in holders or not holders:
        return wrong(moment)
    return found


def world_of(seed: int) -> SmallWorld:
    """Some with demands on places, some full of jobs that nobody may stop."""
    return (lambda seed: drawn(seed, most_nodes=5), restricted, crowded)[seed % 3](seed)


@pytest.mark.parametrize("number", range(SHARDS))
def test_every_reason_and_every_number_is_true(number: int) -> None:
    causes: Counter[PendingCause] = Counter()
    for seed in shard(number, 80):
        dice = random.Random(seed)
        stage = Stage(world_of(seed))
        for _ in range(6):
            played = stage.play()
            told = moments(played, stage)
            causes.update(moment.reason.cause for moment in told)
            if told:
                assert untrue(told) == [], f"seed {seed}, round {played.report.snapshot.round}"
            for _ in range(dice.choice((0, 1, 1, 3))):
                disturb(stage, dice)
    assert len(causes) >= 4, "hardly anything was tried"


def test_every_cause_and_every_refusal_comes_up_in_these_worlds() -> None:
    told = [moment for seed in range(60) for moment in moments(*played_and_stage(seed))]
    causes = Counter(moment.reason.cause for moment in told)
    refusals = Counter(r for moment in told for each in moment.reason.examined for r, _ in each.refused)
    assert {cause.value for cause in JUDGES if causes[cause] < 3} == set()
    elsewhere = {Refusal.LIMIT, Refusal.ENGINE, Refusal.TROUBLE}  # nobody has any here: see tests.rounds.limit_judge
    # and .engine_judge, and tests.placement.test_capabilities
    assert {refusal.value for refusal in set(Refusal) - elsewhere if refusals[refusal] < 3} == set()
    assert sum(any(0 < s.held < s.missing for s in moment.reason.shortages) for moment in told) >= 3
    assert sum(moment.reason.reserved_until is not None for moment in told) >= 1


def played_and_stage(seed: int) -> tuple[Played, Stage]:
    """The third round of a disturbed world."""
    dice = random.Random(seed)
    stage = Stage(world_of(seed))
    for _ in range(2):
        stage.play()
        disturb(stage, dice)
    return stage.play(), stage


def test_the_judges_notice_a_false_cause_and_a_false_number() -> None:
    noticed = tried = 0
    for seed in range(30):
        stage = Stage(drawn(seed, most_nodes=4))
        for moment in moments(stage.play(), stage):
            for cause in JUDGES:
                if cause not in (moment.reason.cause, PendingCause.RESERVED):
                    tried += 1
                    noticed += bool(wrong(replace(moment, reason=replace(moment.reason, cause=cause))))
            for false in falsified(moment.reason):
                assert wrong(replace(moment, reason=false)), false
    assert tried > 100
    assert noticed == tried


def falsified(reason: PendingReason) -> Iterator[PendingReason]:
    """The same reason with one number off by one."""
    if reason.shortages:
        first, *rest = reason.shortages
        for false in (
            Shortage(first.flavor, first.resource, first.missing + 1, first.held),
            replace(first, held=first.held + 1 if first.held < first.missing else first.held - 1),
        ):
            if reason.cause is PendingCause.INSUFFICIENT_CAPACITY or false.held == first.held:
                yield replace(reason, shortages=(false, *rest))
    for index, each in enumerate(reason.examined):
        fewer = each.refused[:-1] if each.refused else ((Refusal.NEAR, 1),)
        for other in (
            replace(each, nodes=each.nodes + 1),
            replace(each, places=each.places + 1),
            replace(each, room=each.room + 1),
            replace(each, refused=fewer),
            replace(each, lacking=(*each.lacking, ("cpu", 1))),
        ):
            yield replace(reason, examined=(*reason.examined[:index], other, *reason.examined[index + 1 :]))


def test_a_cause_without_a_judge_is_an_error() -> None:
    stage = Stage(drawn(3))
    waiting = moments(stage.play(), stage)[0]
    assert wrong(replace(waiting, reason=PendingReason(PendingCause.SCHEDULER_STALE))) == [
        "scheduler_stale has no judge"
    ]

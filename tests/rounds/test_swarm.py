"""A thousand histories in which everything goes wrong, each judged after every commit and every round.

ALLOCATOR_WORLDS says how many; see `tests.rounds.swarm` for what happens in them and what must hold.
"""

from __future__ import annotations

from collections import Counter

import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.plan import Move, Preempt
from allocator.domain.reason import PendingCause
from allocator.formulation.build import build
from allocator.intake import commands as c
from allocator.placement import hold, violations
from tests.placement.small_worlds import SHARDS, shard
from tests.placement.worlds import DRAINING, POLICY, applied, node, running, snapshot, waiting, way
from tests.rounds.limit_judge import free_of
from tests.rounds.swarm import Swarm

ROUNDS, CALM_ROUNDS = 25, 4


def lived_through(seed: int) -> Swarm:
    """The whole history of a seed, or as far as the first finding."""
    swarm = Swarm(seed)
    for _ in range(ROUNDS):
        swarm.play()
        if swarm.findings:
            return swarm
    heal(swarm)
    return swarm


def heal(swarm: Swarm) -> None:
    """Every node comes back and opens, and nothing more happens: then everybody runs or fits nowhere."""
    for member in swarm.store.nodes():
        swarm.do(c.Heartbeat(member.name))
        swarm.do(c.SetNodeAvailability(member.name, NodeAvailability.OPEN))
    for _ in range(CALM_ROUNDS):
        report = swarm.play(calm=True)
    reasons = dict(report.plan.waiting)
    free = free_of(swarm.store.nodes(), swarm.live())
    for job in swarm.live():
        if job.allocation is None and job.id in reasons and reasons[job.id].cause is not PendingCause.RESERVED:
            for way in swarm.within_limits(job, free):
                if swarm.within_quotas(job.spec.queue, way):
                    swarm.note(f"job {job.id} waits although {way} fits")


@pytest.mark.parametrize("number", range(SHARDS))
def test_no_invariant_breaks_whatever_happens(number: int) -> None:
    found = []
    for seed in shard(number, 60):
        found += lived_through(seed).findings[:3]
    assert found == []


def test_without_an_answer_nobody_stays_on_a_gpu_that_is_gone_only_because_the_node_drains() -> None:
    """What seed 202 found."""
    drained = node("n1", cpu=4, gpu=0, availability=DRAINING)
    world = snapshot([drained], [running(waiting(1, way(gpu=1)), "n1:1")])
    after = applied(world, hold(world, build(world, POLICY)))
    assert violations(after.nodes, after.jobs) == []


def test_the_same_seed_is_the_same_history() -> None:
    assert lived_through(5).happened == lived_through(5).happened
    assert lived_through(5).happened != lived_through(6).happened


def test_the_histories_are_eventful() -> None:
    """What the other tests are about does happen, each thing in more than one history in ten."""
    seen: Counter[str] = Counter()
    for seed in range(24):
        swarm = Swarm(seed)
        things = set()
        for _ in range(ROUNDS):
            report = swarm.play()
            things |= {f"outcome {report.summary.outcome.value}"}
            things |= {"refused by the store" for refused in report.commit.rejected if refused.why != "at will"}
            things |= {"refused at will" for refused in report.commit.rejected if refused.why == "at will"}
            for made in report.commit.applied:
                if isinstance(made.change, Preempt | Move):
                    things.add(f"{type(made.change).__name__} for {made.change.reason.value}")
                elif len(set(made.change.placement.nodes)) > 1:
                    things.add("a gang over several nodes starts")
            if any(job.allocation is not None and job.allocation.finished for job in report.snapshot.jobs):
                things.add("a gang is half done")
        things |= {line.split(": ")[1].split("(")[0] for line in swarm.happened if not line.startswith("refused")}
        seen.update(things)
    expected = {
        "outcome stale",
        "refused by the store",
        "refused at will",
        "a gang over several nodes starts",
        "a gang is half done",
        *(f"Preempt for {reason}" for reason in ("fair_share", "priority", "node_lost", "node_draining")),
        *("Move for node_draining", "Move for node_lost"),
        *("LoseNode", "Heartbeat", "RegisterNode", "RemoveNode", "SetNodeAvailability"),
        *("CancelJobs", "UpdateJobs", "ReportProgress"),
    }
    assert {thing: seen[thing] for thing in expected if seen[thing] < 3} == {}


def test_what_the_invariants_are_is_noticed_when_it_breaks() -> None:
    """The judge itself: a node that was not told what it shall run."""
    swarm = Swarm(1)
    report = swarm.play(calm=True)
    assert swarm.findings == []
    victim = next(job for job in swarm.live() if job.allocation is not None and job.spec.preemptible)
    assert victim.allocation is not None
    name = victim.allocation.placement.nodes[0]
    del swarm.asked[name]
    swarm.judge(report)
    assert any(f"node {name} was asked for []" in what for what in swarm.findings)

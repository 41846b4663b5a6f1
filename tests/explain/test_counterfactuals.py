"""What would help a job: every claim, made true, comes true."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from allocator.domain.job import Configuration, JobSpec, JobState
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.explain.answers import Change, ChangeKind, Counterfactual, Tier
from allocator.explain.changes import NEW_NODE, changed, changed_policy, model
from allocator.explain.counterfactuals import LARGER_SHARE, what_helps
from allocator.explain.estimate import estimate_start
from allocator.explain.job import explain_job
from allocator.explain.quotas import with_amounts
from allocator.explain.replay import World as Facts
from allocator.explain.replay import replayed, world_after
from allocator.intake import commands as c
from allocator.solvers import ChainSolver
from tests.explain.worlds import INTERVAL, World, gpus, node, quota

QUICK = Policy(minimum_run_seconds=20.0, hysteresis_seconds=20.0)
ROUNDS, MOST = 20, 150


def found_by_kind(world: World, job_id: str) -> dict[ChangeKind, Counterfactual]:
    helps = what_helps(world.finished, world.job(job_id), ChainSolver(), INTERVAL)
    assert helps.complete
    return {each.change.kind: each for each in helps.found}


def test_another_flavor_would_start_it_now() -> None:
    world = World(["x"], [node("n1", count=1), node("n2", "b", count=1)])
    world.submit(JobSpec("x", (gpus(),), preemptible=False), JobSpec("x", (gpus(),)))
    world.round()
    claim = found_by_kind(world, "j2")[ChangeKind.FLAVOR]
    assert claim.change == Change(ChangeKind.FLAVOR, flavor="b")
    assert claim.outcome.starts_after_seconds == INTERVAL
    assert claim.outcome.share == pytest.approx(1.0, rel=1e-3)


def test_the_fewest_nodes_for_a_gang() -> None:
    world = World(["x"], [node("n1", count=1)])
    world.submit(JobSpec("x", (gpus(replicas=4),)))
    world.round()
    claim = found_by_kind(world, "j1")[ChangeKind.NODES]
    assert (claim.change.flavor, claim.change.nodes) == ("a", 3)
    assert claim.outcome.starts_after_seconds == INTERVAL


def test_the_smallest_weight_that_starts_it() -> None:
    """Of twelve jobs on one GPU: heavier, it is owed its turn sooner."""
    world = World(["x"], [node("n1", count=1)], QUICK)
    world.submit(*[JobSpec("x", (gpus(),)) for _ in range(12)])
    world.round()
    waiting = world.job("j12")
    helps = what_helps(world.finished, waiting, ChainSolver(), INTERVAL)
    claim = next(each for each in helps.found if each.change.kind is ChangeKind.WEIGHT)
    assert claim.outcome.starts_after_seconds is not None
    assert 1.0 < claim.change.weight < 20
    assert helps.unchanged is not None
    anyway = helps.unchanged.starts_after_seconds
    assert anyway is None or claim.outcome.starts_after_seconds <= anyway / 2


def test_a_larger_borrowing_limit_gives_a_larger_share() -> None:
    world = World([Queue("x", quotas=(quota(0, borrow=1),))], [node("n1", count=2)])
    world.submit(JobSpec("x", (gpus(),)), JobSpec("x", (gpus(),)))
    world.round()
    job = world.job("j2") if world.job("j2").state is JobState.PENDING else world.job("j1")
    if job.state is not JobState.PENDING:
        pytest.skip("placement does not keep within quotas: nobody waits")
    claim = found_by_kind(world, job.id)[ChangeKind.BORROWING_LIMIT]
    assert (claim.change.queue, claim.change.amounts) == ("x", (("gpu", 2000),))
    assert claim.outcome.share == pytest.approx(1.0, rel=1e-3)


def test_limits_of_queues_above_are_raised_together() -> None:
    outer, inner = Queue("r", quotas=(quota(0, borrow=1),)), Queue("r/x", quotas=(quota(0, borrow=1),))
    world = World([outer, inner], [node("n1", count=2)])
    world.submit(JobSpec("r/x", (gpus(),)), JobSpec("r/x", (gpus(),)))
    world.round()
    waiting = next(job for job in ("j1", "j2") if world.job(job).state is JobState.PENDING)
    claim = found_by_kind(world, waiting)[ChangeKind.BORROWING_LIMIT]
    assert (claim.change.queue, [each.queue for each in claim.change.also]) == ("r/x", ["r"])
    assert claim.outcome.starts_after_seconds == INTERVAL


def test_a_larger_side_constraint_would_start_it() -> None:
    """0.5 kW of a job runs; another one, of 2 GPUs, would take 1 kW more than the 1.2 that are allowed."""
    power = SideConstraint("power", (Term("gpu", 0.5, flavors=("a",)),), most=1.2, unit="kW")
    world = World(["x"], [node("n1")], replace(QUICK, side_constraints=(power,)))
    world.submit(JobSpec("x", (gpus(),), preemptible=False))
    world.round()
    world.submit(JobSpec("x", (gpus(count=2),)))
    world.round()
    claim = found_by_kind(world, "j2")[ChangeKind.LIMIT]
    assert claim.change == Change(ChangeKind.LIMIT, limit="power", most=2.2, unit="kW")
    assert claim.outcome.starts_after_seconds == INTERVAL
    assert claim.outcome.share == pytest.approx(1.0, rel=1e-3)


def test_a_job_that_a_side_constraint_never_lets_run_starts_under_two_larger_ones() -> None:
    most = {"one": 0.5, "two": 1.0}
    limits = tuple(SideConstraint(name, (Term("gpu", 1.0),), most=amount) for name, amount in most.items())
    world = World(["x"], [node("n1")], replace(QUICK, side_constraints=limits))
    world.submit(JobSpec("x", (gpus(count=2),)))
    world.round()
    claim = found_by_kind(world, "j1")[ChangeKind.LIMIT]
    assert (claim.change.limit, claim.change.most) == ("one", 2.5)
    assert [(each.limit, each.most) for each in claim.change.also] == [("two", 3.0)]
    assert claim.outcome.starts_after_seconds == INTERVAL


def test_a_gang_larger_than_its_quota_never_starts_until_that_is_raised() -> None:
    world = World([Queue("x", quotas=(quota(0, borrow=1),))], [node("n1", count=2)])
    world.submit(JobSpec("x", (gpus(replicas=2),)))
    world.round()
    told = explain_job(world.finished, world.job("j1"))
    assert (told.tier, told.position) == (Tier.NEVER, None)
    assert estimate_start(world.finished, "j1", ChainSolver(), INTERVAL).rounds == 0
    claim = found_by_kind(world, "j1")[ChangeKind.BORROWING_LIMIT]
    assert claim.change.amounts == (("gpu", 3000),)
    assert claim.outcome.starts_after_seconds == INTERVAL


def test_the_horizon_spans_the_hysteresis_also_where_rounds_are_quick() -> None:
    world = World(["x"], [node("n1", count=1)])
    world.submit(JobSpec("x", (gpus(),)), JobSpec("x", (gpus(),)))
    world.round()
    helps = what_helps(world.finished, world.job("j2"), ChainSolver(), 1.0)
    assert helps.unchanged is not None
    assert helps.unchanged.starts_after_seconds is not None
    assert 300 <= helps.unchanged.starts_after_seconds <= 311, "owed 300 s more than who runs: half a second per second"
    assert helps.horizon_seconds >= 590


def test_a_bound_on_rounds_ends_the_search() -> None:
    world = World(["x"], [node("n1", count=1), node("n2", "b", count=1)])
    world.submit(JobSpec("x", (gpus(),), preemptible=False), JobSpec("x", (gpus(),)))
    world.round()
    helps = what_helps(world.finished, world.job("j2"), ChainSolver(), INTERVAL, most_rounds=5)
    assert (helps.complete, helps.rounds) == (False, 5)


def drawn(seed: int) -> tuple[World, str | None]:
    """A small cluster after some rounds, and a job that waits in it."""
    dice = random.Random(seed)
    queues = [Queue("x", quotas=_quotas(dice)), Queue("y", dice.choice((1.0, 3.0)), quotas=_quotas(dice))]
    nodes = [node(f"n{number}", dice.choice("aab"), dice.choice((1, 2, 4))) for number in range(dice.randint(1, 3))]
    world = World(queues, nodes, _limited(seed))
    for _ in range(dice.randint(1, 3)):
        world.submit(
            *[
                JobSpec(
                    dice.choice("xy"),
                    _ways(dice),
                    weight=dice.choice((1.0, 2.0)),
                    priority_class=dice.choice(("normal", "normal", "normal", "high")),
                    preemptible=dice.random() < 0.8,
                )
                for _ in range(dice.randint(1, 4))
            ]
        )
        world.round()
    waiting = [job.id for job in world.store.list_jobs(states=(JobState.PENDING,))]
    return world, dice.choice(waiting) if waiting else None


def _ways(dice: random.Random) -> tuple[Configuration, ...]:
    """One gang, or two on different flavors and not equally fast."""
    first = gpus(dice.choice("aab"), dice.choice((1, 1, 2)), dice.choice((1, 1, 2)))
    if dice.random() < 0.7:
        return (first,)
    other = "b" if first.flavor == "a" else "a"
    return first, gpus(other, dice.choice((1, 2)), throughput=dice.choice((0.5, 2.0)))


def _limited(seed: int) -> Policy:
    """Some with a limit or two on GPUs."""
    dice = random.Random(1000 + seed)
    limits = [
        SideConstraint("all", (Term("gpu", 0.5),), most=dice.choice((0.5, 1.0, 2.0)), unit="kW"),
        SideConstraint("x-on-a", (Term("gpu", 1.0, flavors=("a",), queues=("x",)),), most_part=0.25),
    ]
    return replace(QUICK, side_constraints=tuple(each for each in limits if dice.random() < 0.3))


def _quotas(dice: random.Random) -> tuple[Quota, ...]:
    return (quota(dice.randint(0, 4), dice.choice((None, 0, 2))),) if dice.random() < 0.4 else ()


def make_true(world: World, job_id: str, change: Change) -> None:
    """Through the front door."""
    for other in change.also:
        make_true(world, job_id, other)
    match change.kind:
        case ChangeKind.WEIGHT:
            world.do(c.UpdateJobs((c.JobUpdate(job_id, weight=change.weight),)))
        case ChangeKind.LIMIT:
            world.policy = changed_policy(world.policy, replace(change, also=()))
        case ChangeKind.NODES:
            like = model(world.store.snapshot(world.time), change.flavor)
            assert like is not None
            for number in range(change.nodes):
                world.do(c.RegisterNode(replace(like, name=f"{NEW_NODE}{number:04}")))
        case _:
            queue = world.store.get_queue(change.queue)
            world.do(c.UpdateQueue(queue.name, quotas=with_amounts(queue.quotas, change)))


def comes_true(seed: int, job_id: str, claim: Counterfactual, horizon: float) -> None:
    world, _ = drawn(seed)
    began = world.time
    if claim.change.kind is ChangeKind.FLAVOR:  # there is no command for that: decide on changed facts
        facts = world_after(world.finished)
        job = next(job for job in facts.snapshot.jobs if job.id == job_id)
        facts = Facts(changed(facts.snapshot, job, claim.change), facts.memory, facts.policy).cold
        times = [began + INTERVAL * (number + 1) for number in range(ROUNDS)]
        started = next(
            (step.snapshot.time - began for step in replayed(facts, times, ChainSolver()) if step.starts(job_id)), None
        )
        assert started == claim.outcome.starts_after_seconds, (seed, claim)
        return
    make_true(world, job_id, claim.change)
    cold = True
    share, started = None, None
    while started is None and world.time - began < horizon:
        report = world.round(cold=cold)
        cold = False
        if share is None:
            row = report.formulation.rows.get(job_id)
            share = 0.0 if row is None else float(report.solution.shares[row].sum())
        if world.job(job_id).state is JobState.RUNNING:
            started = world.time - began
    assert started == claim.outcome.starts_after_seconds, (seed, claim)
    assert share == pytest.approx(claim.outcome.share, abs=1e-6), (seed, claim)


@pytest.mark.parametrize("part", range(10))
def test_every_claim_comes_true(part: int) -> None:
    """In random clusters: the change is made by commands to a store, and real rounds do what was claimed."""
    worlds = int(os.environ.get("ALLOCATOR_WORLDS", "30"))
    seeds = range(worlds * part // 10, worlds * (part + 1) // 10)
    claims = 0
    for seed in seeds:
        world, job_id = drawn(seed)
        if job_id is None:
            continue
        helps = what_helps(world.finished, world.job(job_id), ChainSolver(), INTERVAL, ROUNDS, MOST)
        for claim in helps.found:
            assert helps.unchanged is not None
            better = claim.outcome.share > helps.unchanged.share + LARGER_SHARE
            assert better or claim.outcome.starts_after_seconds is not None, (seed, claim)
            comes_true(seed, job_id, claim, helps.horizon_seconds)
            claims += 1
    assert claims or len(seeds) < 10, "nothing was claimed"

"""What holds for every decision, tried on random small clusters in the middle of their lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.plan import Plan, Preempt, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PreemptionReason
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import build
from allocator.placement import hold, violations
from allocator.placement.compiled import plain
from allocator.placement.space import empty_space, loaded, tabulated
from tests.placement.free import Free, fits_anyhow, free_by_node
from tests.placement.standing import scale
from tests.placement.worlds import (
    CORDONED,
    DRAINING,
    LOST,
    NOW,
    OPEN,
    POLICY,
    Shares,
    applied,
    decide,
    node,
    snapshot,
    waiting,
    way,
)

FLAVORS = ("a", "b")
for_the_sake_of_others = (PreemptionReason.FAIR_SHARE, PreemptionReason.PRIORITY)


@dataclass
class Case:
    """A world and everything else a decision depends on."""

    world: Snapshot
    shares: Shares
    credits: dict[str, float]
    policy: Policy

    def decide(self) -> Plan:
        return decide(self.world, self.shares, self.credits, self.policy)


nodes_anyhow = st.builds(
    node,
    st.just("?"),
    flavor=st.sampled_from(FLAVORS),
    cpu=st.integers(2, 8),
    gpu=st.integers(0, 3),
)
ways_anyhow = st.one_of(
    st.builds(way, flavor=st.sampled_from(FLAVORS), replicas=st.integers(1, 3), cpu=st.integers(1, 4)),
    st.builds(
        way,
        flavor=st.sampled_from(FLAVORS),
        replicas=st.integers(1, 3),
        cpu=st.integers(0, 2),
        gpu=st.sampled_from((0.3, 0.5, 1, 2)),
        throughput=st.sampled_from((1.0, 2.0)),
    ),
)


@st.composite
def jobs_anyhow(draw: st.DrawFn, sequence: int) -> Job:
    ways = draw(st.lists(ways_anyhow, min_size=1, max_size=3, unique_by=lambda w: (w.flavor, w.replicas)))
    return waiting(
        sequence,
        *ways,
        priority_class=draw(st.sampled_from(("low", "normal", "normal", "high"))),
        preemptible=draw(st.sampled_from((True, True, True, False))),
        restart_cost=draw(st.sampled_from((0.0, 500.0))),
        weight=1.0,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some jobs start on a healthy cluster; then nodes fail, close and shrink, time passes, and more jobs come."""
    shapes = draw(st.lists(nodes_anyhow, min_size=1, max_size=5))
    nodes = [replace(shape, name=f"n{i}") for i, shape in enumerate(shapes)]
    jobs = [draw(jobs_anyhow(sequence)) for sequence in range(draw(st.integers(1, 9)))]
    early = draw(st.integers(0, len(jobs)))
    since = NOW - draw(st.sampled_from((10.0, 400.0, 10_000.0)))
    before = snapshot(nodes, jobs[:early], since)
    after = applied(before, decide(before))
    aged = [
        replace(n, availability=availability, health=health, capacity=replace(n.capacity, cpu_millicores=cpu))
        for n in nodes
        for availability, health, cpu in [draw(changes_to(n))]
    ]
    world = snapshot(aged, [*after.jobs, *jobs[early:]])
    share = st.sampled_from((0.0, 0.02, 0.4, 1.0))
    pinned = build(world, Policy()).pinned
    entitled = {job.spec.configurations for job in jobs if job.id in pinned or not job.spec.preemptible}
    # Jobs with the same configurations may be one row; a job that was pinned counts as share 1 when it loses its place.
    alike = {
        ways: [1.0 if ways in entitled else draw(share) for _ in ways]
        for ways in dict.fromkeys(job.spec.configurations for job in jobs)
    }
    shares = {job.id: alike[job.spec.configurations] for job in jobs}
    credit = st.sampled_from((-3000.0, -350.0, -20.0, 0.0, 20.0, 350.0, 3000.0))
    policy = Policy(
        minimum_run_seconds=draw(st.sampled_from((0.0, 300.0))),
        hysteresis_seconds=draw(st.sampled_from((0.0, 300.0))),
        lag_tolerance=draw(st.sampled_from((0.0, 0.005))),
    )
    return Case(world, shares, {job.id: draw(credit) for job in jobs}, policy)


def changes_to(n: Node) -> st.SearchStrategy[tuple[NodeAvailability, NodeHealth, int]]:
    same = n.capacity.cpu_millicores
    return st.sampled_from(
        [(OPEN, n.health, same)] * 5
        + [
            (CORDONED, n.health, same),
            (DRAINING, n.health, same),
            (OPEN, LOST, same),
            (OPEN, n.health, same // 2000 * 1000),
        ]
    )


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def eligible(case: Case, job: Job) -> list[Configuration]:
    """Configurations that fit the empty cluster."""
    empty = free_by_node(replace(case.world, jobs=()))
    return [c for c in job.spec.configurations if fits_anyhow(empty, c)]


@examples(120)
@given(cases())
def test_a_plan_accounts_for_every_job_once_and_overfills_nothing(case: Case) -> None:
    for plan in (case.decide(), hold(case.world, build(case.world, case.policy))):
        named = [c.job_id for c in plan.changes] + list(plan.kept) + [job_id for job_id, _ in plan.waiting]
        assert sorted(named) == sorted(job.id for job in case.world.jobs)
        after = applied(case.world, plan)
        assert violations(after.nodes, after.jobs) == []
        states = {job.id: job.state for job in case.world.jobs}
        is_open = {n.name for n in case.world.nodes if n.takes_new_work}
        for change in plan.changes:
            assert (states[change.job_id] is JobState.PENDING) == isinstance(change, Start)
            assert isinstance(change, Preempt) or set(change.placement.nodes) <= is_open
        assert all(states[job_id] is JobState.RUNNING for job_id in plan.kept)
        assert all(states[job_id] is JobState.PENDING for job_id, _ in plan.waiting)


@examples(120)
@given(cases())
def test_nobody_stops_for_others_without_need_and_right(case: Case) -> None:
    plan = case.decide()
    jobs = {job.id: job for job in case.world.jobs}
    formulation = build(case.world, case.policy)
    newcomers = {c.job_id: set(c.placement.nodes) for c in plan.changes if not isinstance(c, Preempt)}
    for change in plan.changes:
        if isinstance(change, Start | Resize) or change.reason not in for_the_sake_of_others:
            continue
        victim = jobs[change.job_id]
        assert victim.spec.preemptible
        assert victim.id not in formulation.pinned
        assert victim.allocation is not None
        old = set(victim.allocation.placement.nodes)
        preemptors = [jobs[i] for i, places in newcomers.items() if i != victim.id and places & old]
        if change.reason is PreemptionReason.PRIORITY:
            assert any(p.priority > victim.priority for p in preemptors)
        else:
            one_scale = scale(victim, case.policy, case.world.time)  # all are of one age
            margin = max(case.policy.hysteresis_seconds / one_scale, victim.spec.restart_cost_seconds)
            assert victim.last_start_time is not None
            assert case.world.time - victim.last_start_time >= case.policy.minimum_run_seconds
            assert any(
                p.priority == victim.priority and case.credits[p.id] >= case.credits[victim.id] + margin
                for p in preemptors
            )


@examples(100)
@given(cases())
def test_whoever_must_go_goes_and_nobody_else_is_evicted_by_faults(case: Case) -> None:
    nodes = {n.name: n for n in case.world.nodes}
    reasons = {c.job_id: c.reason for c in case.decide().changes if not isinstance(c, Start | Resize)}
    for job in case.world.jobs:
        if job.allocation is None:
            continue
        places = [nodes[name] for name in job.allocation.placement.nodes]
        lost = any(n.health is LOST for n in places)
        drained = job.spec.preemptible and any(n.availability is DRAINING for n in places)
        assert lost == (reasons.get(job.id) is PreemptionReason.NODE_LOST)
        assert (drained and not lost) == (reasons.get(job.id) is PreemptionReason.NODE_DRAINING)


@examples(100)
@given(cases())
def test_every_reason_to_wait_is_true_of_the_final_state(case: Case) -> None:
    plan = case.decide()
    after = applied(case.world, plan)
    free = free_by_node(after)
    jobs = {job.id: job for job in case.world.jobs}
    found = [*plan.waiting, *((c.job_id, c.pending) for c in plan.changes if isinstance(c, Preempt))]
    for job_id, reason in found:
        ways = eligible(case, jobs[job_id])
        if reason.cause not in (PendingCause.INSUFFICIENT_CAPACITY, PendingCause.FRAGMENTED):
            assert ways == []
            continue
        assert ways
        assert not any(fits_anyhow(free, c) for c in ways), "a job waits although it fits"
        enough = [c for c in ways if not total_shortage(free, c)]
        told = {(s.flavor, s.resource): s.missing for s in reason.shortages}
        assert {flavor for flavor, _ in told} == {c.flavor for c in ways}
        for flavor in {c.flavor for c in ways}:
            said = {resource: missing for (f, resource), missing in told.items() if f == flavor}
            same_flavor = [c for c in ways if c.flavor == flavor]
            if reason.cause is PendingCause.INSUFFICIENT_CAPACITY:
                assert not enough
                assert said in [total_shortage(free, c) for c in same_flavor]
            else:
                assert reason.cause is PendingCause.FRAGMENTED
                assert enough
                assert any(one_more_fits_with(free, c, said) for c in same_flavor)


def total_shortage(free: dict[str, Free], configuration: Configuration) -> dict[str, int]:
    missing = {}
    for resource, amount in configuration.total_demand.items():
        there = sum(f.amount(resource) for f in free.values() if f.flavor == configuration.flavor)
        if amount > there:
            missing[resource] = amount - there
    return missing


def one_more_fits_with(free: dict[str, Free], configuration: Configuration, extra: dict[str, int]) -> bool:
    """Whether some node could take one more replica than now if it had that much more."""
    return any(
        more.most_replicas(configuration) == f.most_replicas(configuration) + 1
        for f in free.values()
        if f.flavor == configuration.flavor
        for more in with_more(f, configuration, extra)
    )


def with_more(f: Free, configuration: Configuration, extra: dict[str, int]) -> Iterator[Free]:
    """`f` with more room; GPUs come back whole as far as possible, a part of one on any one device."""
    amounts = {r: a + extra.get(r, 0) for r, a in f.amounts.items()}
    gpu = extra.get("gpu", 0)
    if not gpu:
        yield Free(f.flavor, amounts, f.devices)
    elif configuration.demand.gpu_millis >= 1000:
        yield Free(f.flavor, amounts, f.devices + (1000,) * (gpu // 1000))
    else:
        for index in range(len(f.devices)):
            yield Free(f.flavor, amounts, tuple(d + gpu * (i == index) for i, d in enumerate(f.devices)))
        yield Free(f.flavor, amounts, (*f.devices, gpu))


@examples(120)
@given(cases())
def test_deciding_again_at_once_changes_nothing(case: Case) -> None:
    again = replace(case, world=applied(case.world, case.decide()))
    assert again.decide().changes == ()


@examples(40)
@given(cases())
def test_equal_input_gives_an_equal_plan(case: Case) -> None:
    reordered = dict(reversed(case.credits.items()))
    assert case.decide() == decide(case.world, case.shares, reordered, case.policy)


@examples(100)
@given(st.data())
def test_a_gang_finds_a_place_exactly_when_there_is_one(data: st.DataObject) -> None:
    """Against an exhaustive search over nodes and devices, on nodes that are partly taken."""
    nodes = [replace(data.draw(nodes_anyhow), name=f"n{i}", flavor="a") for i in range(data.draw(st.integers(1, 3)))]
    before = snapshot(nodes, [data.draw(jobs_anyhow(sequence)) for sequence in range(data.draw(st.integers(0, 5)))])
    world = applied(before, decide(before))
    configuration = replace(data.draw(ways_anyhow), flavor="a")
    newcomer = waiting(99, configuration, priority_class="low")
    plan = decide(snapshot(nodes, [*world.jobs, newcomer]))
    started = any(isinstance(change, Start) and change.job_id == "j99" for change in plan.changes)
    others_changed = any(change.job_id != "j99" for change in plan.changes)
    assert not others_changed
    assert started == fits_anyhow(free_by_node(world), configuration)


@examples(60)
@given(st.data())
def test_taking_and_lifting_gangs_in_any_order_leaves_no_trace(data: st.DataObject) -> None:
    nodes = [replace(data.draw(nodes_anyhow), name=f"n{i}", flavor="a") for i in range(data.draw(st.integers(1, 4)))]
    jobs = [waiting(i, way) for i, way in enumerate(data.draw(st.lists(ways_anyhow, max_size=6)))]
    live = build(snapshot(nodes, [replace_flavor(job, "a") for job in jobs]), POLICY).live
    space, kinds, kernels = empty_space(live.nodes), tabulated(live), plain()
    pristine = (space.free.copy(), space.devices.copy(), space.whole.copy(), space.slack.copy())
    pool, places = loaded(live, np.zeros(len(jobs), dtype=np.bool_))
    placed = []
    counts, fill = np.zeros(len(nodes), dtype=np.int64), np.zeros((len(nodes) + 1, 2), dtype=np.int64)
    for job in range(len(jobs)):
        first, kind = int(pool.used[0]), int(live.shapes.kind[live.shape[job], 0])
        need = int(kinds.replicas[kind])
        filled = 0
        if kernels.count_all(space, kinds, kind, 1000, counts) >= need:
            filled = kernels.choose(space, kinds, kind, need, counts, fill)
        if filled:
            pool = kernels.occupy(space, kinds, kind, fill, filled, pool, 1000)
            places.first[job], places.pieces[job], places.kind[job] = first, filled, kind
            placed.append(job)
    assert (space.free >= 0).all()
    assert (space.devices >= 0).all()
    for job in data.draw(st.permutations(placed)):
        kernels.take(space, kinds, pool, places, job, -1)
        assert kernels.holds(space, kinds, pool, places, job)
    for now, then in zip((space.free, space.devices, space.whole, space.slack), pristine, strict=True):
        assert (now == then).all()


def replace_flavor(job: Job, flavor: str) -> Job:
    ways = tuple(replace(way, flavor=flavor) for way in job.spec.configurations)
    return replace(job, spec=replace(job.spec, configurations=ways))


def test_the_exhaustive_search_of_these_tests_is_right_where_the_answer_is_known() -> None:
    two_halves = {"n1": Free("a", {"cpu": 4000}, (500, 500))}
    assert fits_anyhow(two_halves, way(gpu=0.5, replicas=2, cpu=2))
    assert not fits_anyhow(two_halves, way(gpu=0.5, replicas=2, cpu=3))
    assert not fits_anyhow(two_halves, way(gpu=1))
    assert not fits_anyhow(two_halves, way(gpu=0.3, replicas=3))

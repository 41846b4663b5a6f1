"""What the engine of a node cannot do to a running job is not planned: exact cases, then random worlds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import NEEDED_TO_DIVIDE, EngineCapability, NodeAvailability
from allocator.domain.constraints import Constraints
from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Commit, Move, Plan, Resize
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PreemptionReason, Refusal
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import build
from allocator.intake import commands as c
from allocator.rounds.decide import Decision
from allocator.rounds.decide import decide as decide_round
from allocator.rounds.settle import settle
from allocator.solvers.chain import ChainSolver
from tests.placement.small_worlds import SmallWorld, Stage, drawn, worlds_to_try
from tests.placement.worlds import LOST, NOW, POLICY, applied, decide, node, running, snapshot, told, waiting, way
from tests.rounds.engine_judge import beyond_engines

ALL = frozenset(EngineCapability)
NOTHING: frozenset[EngineCapability] = frozenset()
UNCHANGING = frozenset({EngineCapability.SPLIT_CORES, EngineCapability.SPLIT_GPUS})
"""What runs keeps what it has."""
SIZES = tuple(way(cpu=2, replicas=count, throughput=float(count) ** 0.9) for count in (1, 2, 4))


def holding(job: Job, millis: int) -> Job:
    """The same running job, holding so many thousandths of its demand."""
    assert job.allocation is not None
    return replace(job, allocation=replace(job.allocation, placement=replace(job.allocation.placement, millis=millis)))


def eight_cores(number: int, **more: Any) -> Job:
    """A divisible job that would use eight cores; all weigh the same."""
    return waiting(number, way(cpu=8), divisible=True, weight=1.0, **more)


def solved(world: Snapshot, owed: Mapping[int, float] | None = None) -> Decision:
    """A whole round's decision, with credits in seconds by sequence."""
    return decide_round(world, Memory.of(world.time, owed or {}), POLICY, ChainSolver())


def near(millis: int) -> Any:
    """As far as the solver's tolerance allows."""
    return pytest.approx(millis, abs=2)


def parts(world: Snapshot) -> dict[str, int]:
    """Thousandths of its demand that each running job holds."""
    return {job.id: job.allocation.placement.millis for job in world.jobs if job.allocation is not None}


# --- how many replicas of a gang each node takes


def test_an_engine_that_fills_nodes_itself_is_followed() -> None:
    """Three replicas of three cores on nodes with room for two each: the first by name, with its number as a number, is
    given two. Engines that can be told give one to the node that has more left over than it needs.
    """
    gang = waiting(1, way(cpu=3, replicas=3))
    there = {"n2": 1, "n10": 2}
    for capabilities, expected in ((ALL - {EngineCapability.PLACE_REPLICAS}, {"n2": 2, "n10": 1}), (ALL, there)):
        nodes = [node("n2", cpu=7, capabilities=capabilities), node("n10", cpu=6, capabilities=capabilities)]
        (started,) = applied(snapshot(nodes, [gang]), decide(snapshot(nodes, [gang]))).jobs
        assert started.allocation is not None
        assert Counter(each.node for each in started.allocation.placement.replicas) == expected


def test_it_gives_each_node_one_first_and_then_all_that_there_is_room_for() -> None:
    """As was seen of Slurm 22.05: seven on nodes with room for two, four and four are 2, 4 and 1."""
    able = ALL - {EngineCapability.PLACE_REPLICAS}
    nodes = [node(name, cpu=cpu, capabilities=able) for name, cpu in (("a1", 2), ("a2", 4), ("a3", 4))]
    gang = waiting(1, way(cpu=1, replicas=7))
    spread = replace(gang, spec=replace(gang.spec, configurations=(way(cpu=1, replicas=9),)))
    for job, expected in ((spread, {"a1": 2, "a2": 4, "a3": 3}), (gang, {"a2": 4, "a3": 3})):
        (started,) = applied(snapshot(nodes, [job]), decide(snapshot(nodes, [job]))).jobs
        assert started.allocation is not None
        assert Counter(each.node for each in started.allocation.placement.replicas) == expected


@pytest.mark.parametrize(
    ("room", "replicas", "expected"),
    [
        ({"a": 3, "b": 2}, 4, {"a": 2, "b": 2}),  # which it can be told
        ({"a": 2, "b": 1, "c": 1}, 3, {"a": 1, "b": 1, "c": 1}),  # on one node more
        ({"a": 4, "b": 4, "c": 2, "d": 2, "e": 3}, 6, {"a": 3, "e": 3}),  # where there is least room, on few
        ({"a": 3, "b": 2, "c": 1, "d": 1, "e": 1}, 5, {"a": 3, "b": 2}),  # not on five instead of two
        ({"a": 4, "b": 1}, 5, {"a": 4, "b": 1}),
    ],
)
def test_as_many_on_each_node_where_its_engine_lays_it_out(
    room: dict[str, int], replicas: int, expected: dict[str, int]
) -> None:
    able = ALL - {EngineCapability.PLACE_REPLICAS}
    nodes = [node(name, cpu=cores, capabilities=able) for name, cores in room.items()]
    gang = waiting(1, way(cpu=1, replicas=replicas))
    (started,) = applied(snapshot(nodes, [gang]), decide(snapshot(nodes, [gang]))).jobs
    assert started.allocation is not None
    assert Counter(each.node for each in started.allocation.placement.replicas) == expected


@pytest.mark.parametrize("together", [False, True])
def test_nodes_of_the_same_racks_stand_in(together: bool) -> None:
    """Of those: elsewhere it would lie across racks, or where it may not be."""
    able = ALL - {EngineCapability.PLACE_REPLICAS}
    rooms = (("a", "r1", 2), ("b", "r1", 1), ("c", "r1", 1), ("d", "r2", 1), ("e", "r2", 1))
    nodes = [node(name, cpu=cores, capabilities=able, rack=rack) for name, rack, cores in rooms]
    gang = waiting(1, way(cpu=1, replicas=3), constraints=Constraints(within="rack" if together else ""))
    (started,) = applied(snapshot(nodes, [gang]), decide(snapshot(nodes, [gang]))).jobs
    assert started.allocation is not None
    assert Counter(each.node for each in started.allocation.placement.replicas) == {"a": 1, "b": 1, "c": 1}


def test_among_nodes_with_as_much_room_it_takes_those_with_less_left_over() -> None:
    able = ALL - {EngineCapability.PLACE_REPLICAS}
    rooms = {"a": 5, "b": 4, "c": 8, "d": 4, "e": 4}
    nodes = [node(name, cpu=cores, capabilities=able) for name, cores in rooms.items()]
    gang = waiting(1, way(cpu=2, replicas=6))
    (started,) = applied(snapshot(nodes, [gang]), decide(snapshot(nodes, [gang]))).jobs
    assert started.allocation is not None
    assert Counter(each.node for each in started.allocation.placement.replicas) == {"b": 2, "d": 2, "e": 2}


# --- the part of a divisible job


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_one_node_with_and_one_without(order: tuple[int, int]) -> None:
    """Two nodes of eight cores, each held by one job, and two more jobs: four cores for each. The engine of n1 can take
    half of what its job has for somebody else; that of n2 cannot, so its job keeps all, and one of the others waits.
    """
    here, there = order
    nodes = [node("n1"), node("n2", capabilities=UNCHANGING)]
    jobs = [running(eight_cores(here), "n1", since=NOW), running(eight_cores(there), "n2", since=NOW)]
    world = snapshot(nodes, [*jobs, eight_cores(3), eight_cores(4)])
    plan = solved(world).plan
    assert {job_id: what.split()[0] for job_id, what in told(plan).items()} == {
        f"j{here}": "resizes",
        f"j{there}": "kept",
        "j3": "starts",
        "j4": "waits:",
    }
    after = applied(world, plan)
    assert parts(after) == {f"j{here}": near(500), f"j{there}": 1000, "j3": near(500)}
    assert solved(after).plan.changes == ()


def test_who_keeps_its_part_takes_turns_and_comes_back_with_the_part_that_it_is_due() -> None:
    jobs = [running(eight_cores(1), "n1"), eight_cores(2)]
    world = snapshot([node("n1", capabilities=UNCHANGING)], jobs)
    assert told(solved(world).plan) == {"j1": "kept", "j2": "waits: insufficient_capacity"}
    turn = solved(world, {2: 500.0}).plan
    assert told(turn) == {"j1": "stops for fair_share", "j2": "starts on n1"}
    after = applied(world, turn)
    back = solved(after).plan
    assert told(back) == {"j1": "starts on n1", "j2": "kept"}
    assert parts(applied(after, back)) == {"j1": near(500), "j2": near(500)}


def test_what_it_cannot_take_is_the_others() -> None:
    """One job holds a quarter of eight cores and cannot be given more: the other is promised, and gets, the rest."""
    small = holding(running(eight_cores(1), "n1", since=NOW), 250)
    for able, due in ((None, {"j1": 500, "j2": 500}), (UNCHANGING, {"j1": 250, "j2": 750})):
        world = snapshot([node("n1", capabilities=able)], [small, eight_cores(2)])
        decision = solved(world)
        formulation = decision.formulation
        owed = formulation.parts(decision.solution.shares).sum(axis=1)
        assert {job: owed[row] for job, row in formulation.rows.items()} == pytest.approx(
            {job: millis / 1000 for job, millis in due.items()}, abs=2e-3
        )
        assert parts(applied(world, decision.plan)) == pytest.approx(due, abs=2), able


def test_nothing_that_it_cannot_be_given_is_owed() -> None:
    """It holds a quarter, and would be due half: without this, its credit would grow for as long as it runs."""
    small = holding(running(eight_cores(1), "n1", since=NOW), 250)
    for able, pace in ((None, 0.25), (UNCHANGING, 0.0)):
        world = snapshot([node("n1", capabilities=able)], [small, running(eight_cores(2), "n1", since=NOW)])
        world = replace(world, jobs=(world.jobs[0], holding(world.jobs[1], 500)))
        decision = solved(world)
        nothing = Commit(world.revision, world.round, (), (), ())
        memory = settle(Memory(time=world.time), world, decision, nothing, POLICY)
        assert memory.credit(1, NOW + 100) == pytest.approx(100 * pace, abs=0.2)


def test_who_is_never_stopped_keeps_its_part_too() -> None:
    small = holding(running(eight_cores(1, preemptible=False), "n1", since=NOW), 250)
    assert told(solved(snapshot([node("n1")], [small])).plan) == {"j1": "resizes to n1"}
    assert told(solved(snapshot([node("n1", capabilities=UNCHANGING)], [small])).plan) == {"j1": "kept"}


def test_a_part_is_chosen_anew_where_it_has_to_start_anew() -> None:
    small = holding(running(eight_cores(1), "n1", since=NOW), 250)
    lost = node("n1", health=LOST, capabilities=UNCHANGING)
    (change,) = solved(snapshot([lost, node("n2", capabilities=UNCHANGING)], [small])).plan.changes
    assert isinstance(change, Move)
    assert change.placement.millis == 1000


@pytest.mark.parametrize("lacking", [capability for capability, _ in NEEDED_TO_DIVIDE])
def test_each_resource_needs_its_capability(lacking: EngineCapability) -> None:
    """A job that takes CPU only does not mind an engine that cannot limit bandwidth; one that takes both does."""
    able = frozenset(EngineCapability) - {lacking}
    both = Configuration("a", 1, Resources(cpu_millicores=8000, bandwidth_bytes_per_second=10**9))
    roomy = node("n1", capabilities=able)
    roomy = replace(roomy, capacity=replace(roomy.capacity, bandwidth_bytes_per_second=10**9))
    for ways, resource in (((way(cpu=8),), "cpu"), ((both,), "both")):
        job = running(waiting(1, *ways, divisible=True, weight=1.0), "n1", since=NOW)
        plan = solved(snapshot([roomy], [job, waiting(2, *ways, divisible=True, weight=1.0)])).plan
        changes = resource == "cpu" and lacking is EngineCapability.LIMIT_BANDWIDTH
        assert told(plan)["j1"].split()[0] == ("resizes" if changes else "kept")


def test_where_cores_are_whole_divisible_jobs_take_turns_with_all_of_their_demand() -> None:
    world = snapshot([node("n1", capabilities=NOTHING)], [eight_cores(1), eight_cores(2)])
    plan = solved(world).plan
    assert told(plan) == {"j1": "starts on n1", "j2": "waits: insufficient_capacity"}
    after = replace(applied(world, plan), time=NOW + 1000)
    assert parts(after) == {"j1": 1000}
    assert told(solved(after).plan)["j1"] == "kept"
    turn = solved(after, {1: -300.0, 2: 300.0}).plan
    assert told(turn) == {"j1": "stops for fair_share", "j2": "starts on n1"}
    assert parts(applied(after, turn)) == {"j2": 1000}


def test_who_may_run_where_cores_are_whole_holds_all_of_its_demand_elsewhere_too() -> None:
    """Otherwise it would come there with a part of its demand when it has to move."""
    nodes = [node("n1"), node("n2", flavor="b", capabilities=NOTHING)]
    both = [waiting(i, way(cpu=8), way(cpu=8, flavor="b"), divisible=True, weight=1.0) for i in (1, 2, 3)]
    assert parts(applied(snapshot(nodes, both), solved(snapshot(nodes, both)).plan)) == {"j1": 1000, "j2": 1000}
    only = [eight_cores(i) for i in (1, 2)]
    assert parts(applied(snapshot(nodes, only), solved(snapshot(nodes, only)).plan)) == {
        "j1": near(500),
        "j2": near(500),
    }


# --- the size of a resizable job


def test_a_size_that_cannot_change_changes_by_a_restart_after_the_minimum_run() -> None:
    bigger = {"j1": (0.0, 0.0, 1.0)}
    young = running(waiting(1, *SIZES, resizable=True), "n1", since=NOW)
    assert isinstance(decide(snapshot([node("n1")], [young]), bigger).changes[0], Resize)
    unable = node("n1", capabilities=ALL - {EngineCapability.CHANGE_REPLICAS})
    assert decide(snapshot([unable], [young]), bigger).changes == ()
    (change,) = decide(snapshot([unable], [running(young, "n1")]), bigger).changes
    assert isinstance(change, Move)
    assert change.reason is PreemptionReason.RECONFIGURED


def test_a_size_that_cannot_change_costs_a_restart_in_the_optimum() -> None:
    """A horizon of 1,000 s, and a restart that costs 900: in any other size it is worth a tenth for now."""
    job = running(waiting(1, *SIZES, resizable=True, restart_cost=900.0), "n1", since=NOW)
    policy = Policy(horizon_seconds=1000.0)
    free = build(snapshot([node("n1")], [job]), policy).problem.throughput
    stuck = build(snapshot([node("n1", capabilities=UNCHANGING)], [job]), policy).problem.throughput
    assert (stuck / free)[0].tolist() == pytest.approx([1.0, 0.1, 0.1])


def test_a_gang_grows_only_where_replicas_may_join() -> None:
    """n2 has more room, but its engine lets nobody join a gang that runs: the new replica goes to n3."""
    job = running(waiting(1, *SIZES, resizable=True), "n1", since=NOW)
    nodes = [node("n1", cpu=2), node("n2", cpu=16, capabilities=UNCHANGING), node("n3", cpu=2)]
    (change,) = decide(snapshot(nodes, [job]), {"j1": (0.0, 1.0, 0.0)}).changes
    assert isinstance(change, Resize)
    assert [replica.node for replica in change.placement.replicas] == ["n1", "n3"]
    assert decide(snapshot(nodes[:2], [job]), {"j1": (0.0, 1.0, 0.0)}).changes == ()


# --- parts of cores and GPUs


def test_who_asks_for_a_part_comes_only_where_it_can_be_given() -> None:
    """A rigid job of half a core, another of half a GPU: n1 would be the best fit, but gives whole ones only."""
    half = Configuration("a", 1, Resources(cpu_millicores=500))
    nodes = [node("n1", cpu=1, gpu=1, capabilities=NOTHING), node("n2", cpu=8, gpu=8)]
    jobs = [waiting(1, half), waiting(2, way(gpu=0.5)), waiting(3, way(cpu=1))]
    plan = decide(snapshot(nodes, jobs), otherwise=1.0)
    assert told(plan) == {"j1": "starts on n2", "j2": "starts on n2:0", "j3": "starts on n1"}
    alone = decide(snapshot(nodes[:1], jobs[:2]), otherwise=1.0)
    assert {reason.cause for _, reason in alone.waiting} == {PendingCause.NO_MATCHING_NODE}


def test_nodes_that_refuse_it_for_that_are_counted() -> None:
    """Two of three nodes give whole cores only, and the third is full."""
    half = Configuration("a", 1, Resources(cpu_millicores=500))
    nodes = [node("n1", capabilities=NOTHING), node("n2", capabilities=NOTHING), node("n3", cpu=1)]
    full = running(waiting(1, way(cpu=1), preemptible=False), "n3")
    ((_, reason),) = decide(snapshot(nodes, [full, waiting(2, half)]), otherwise=1.0).waiting
    (examined,) = reason.examined
    assert dict(examined.refused) == {Refusal.ENGINE: 2, Refusal.FULL: 1}


def test_nodes_in_trouble_are_counted_and_get_nothing_new() -> None:
    """Of two nodes with room one can begin nothing: who is there stays, who waits goes to the other, or nowhere."""
    nodes = [replace(node("n1", cpu=8), trouble="No space left on device"), node("n2", cpu=1)]
    jobs = [running(waiting(1, way(cpu=1)), "n1"), waiting(2, way(cpu=1)), waiting(3, way(cpu=1))]
    plan = decide(snapshot(nodes, jobs), {"j2": (1.0,)}, otherwise=1.0)
    assert told(plan) == {"j1": "kept", "j2": "starts on n2", "j3": "waits: insufficient_capacity"}
    ((_, reason),) = plan.waiting
    (examined,) = reason.examined
    assert dict(examined.refused) == {Refusal.TROUBLE: 1, Refusal.FULL: 1}
    cordoned = [replace(nodes[0], availability=NodeAvailability.CORDONED), nodes[1]]
    ((_, reason),) = decide(snapshot(cordoned, jobs), {"j2": (1.0,)}, otherwise=1.0).waiting
    assert dict(reason.examined[0].refused) == {Refusal.CLOSED: 1, Refusal.FULL: 1}


# --- random worlds


def drawn_world(seed: int, able: Callable[[random.Random], frozenset[EngineCapability] | None]) -> SmallWorld:
    """A small world in which many jobs may be resized or divided, and engines are `able` to do this and that."""
    world, dice = drawn(seed, given_shares=False), random.Random(f"capabilities {seed}")
    specs = []
    for spec in world.specs:
        one = all(each.replicas == 1 and not each.demand.gpu_millis for each in spec.configurations)
        first = spec.configurations[0]
        sizes = tuple(replace(first, replicas=n, throughput=float(n) ** 0.8) for n in (1, 2, 3))
        if one or dice.random() < 0.4:
            alone = way(flavor=first.flavor, cpu=dice.choice((3, 6, 8)))
            specs.append(replace(spec, configurations=spec.configurations if one else (alone,), divisible=True))
        elif dice.random() < 0.6:
            specs.append(replace(spec, configurations=sizes, resizable=True))
        else:
            specs.append(spec)
    nodes = tuple(replace(each, capabilities=able(dice)) for each in world.nodes)
    return replace(world, nodes=nodes, specs=tuple(specs))


def some(dice: random.Random) -> frozenset[EngineCapability] | None:
    if dice.random() < 0.4:
        return None
    able = frozenset(each for each in EngineCapability if dice.random() < 0.6)
    return able if dice.random() < 0.2 else able | UNCHANGING


def test_no_round_plans_what_an_engine_cannot_do() -> None:
    resized = kept = 0
    for seed in range(worlds_to_try(25)):
        world = drawn_world(seed, some)
        stage = Stage(world, ChainSolver())
        before = stage.jobs
        for number, played in enumerate(stage.rounds(12)):
            assert list(beyond_engines(world.nodes, before, played.after)) == [], (seed, number)
            assert not [each.why for each in played.report.commit.rejected], "the commit agrees with the plan"
            resized += any(isinstance(change, Resize) for change in played.report.plan.changes)
            fixed = played.report.formulation.fixed
            kept += fixed is not None and bool(fixed.apart.any())
            before = played.after
            if number % 3 == 2:
                stage.do(c.SubmitJobs((world.specs[number % len(world.specs)],)))
    assert resized > 10, "resizes do happen where engines allow it"
    assert kept > 100, "and jobs that keep what they have are there"


def test_engines_that_can_do_everything_change_nothing() -> None:
    def plans(seed: int, able: frozenset[EngineCapability] | None) -> list[Plan]:
        stage = Stage(drawn_world(seed, lambda _: able), ChainSolver())
        return [played.report.plan for played in stage.rounds(8)]

    for seed in range(5):
        assert plans(seed, None) == plans(seed, ALL), seed

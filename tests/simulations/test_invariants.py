"""Every promise that the invariants watch is broken here once, and the break is seen.

The reports come from a real replay; each test spoils one fact of one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from allocator.domain.placement import Allocation, DesiredReplica, Placement, ReplicaPlacement
from allocator.domain.plan import Applied, Start
from allocator.domain.policy import Policy
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.rounds.loop import run_rounds
from allocator.rounds.report import RoundOutcome, RoundReport
from allocator.solvers.chain import ChainSolver
from allocator.store.memory import MemoryStore
from simulations.agenda import Agenda
from simulations.clock import VirtualClock
from simulations.cluster import SimulatedCluster
from simulations.faults import NoFaults
from simulations.invariants import InvariantBroken, Invariants
from simulations.workload import Arrival
from simulations.world import World
from tests.simulations.worlds import node, on, spec, workload


@dataclass
class Stopped(Exception):
    """Thrown by the observer below to leave the loop in the middle."""

    report: RoundReport


class StopAtFirstRound:
    def observe(self, report: RoundReport) -> None:
        raise Stopped(report)


@pytest.fixture
def scene() -> tuple[SimulatedCluster, RoundReport]:
    """After the first round: a gang of 2 and a shared GPU run, one job is too large to run."""
    nodes = [node("a", cores=8), node("b", cores=8), node("other", "a100")]
    jobs = [
        Arrival(0.0, spec(on(replicas=2, cores=4, gpus=2)), 600.0),
        Arrival(0.0, spec(on("a100", gpus=0.5)), 600.0),
        Arrival(0.0, spec(on(cores=100)), 600.0),
    ]
    agenda, store = Agenda(0.0), MemoryStore()
    made = workload(nodes, jobs)
    cluster = SimulatedCluster(made.nodes, agenda, store)
    world = World(made, agenda, store, cluster, NoFaults())
    world.open()
    with pytest.raises(Stopped) as stopped:
        run_rounds(
            store=store,
            pusher=cluster,
            clock=VirtualClock(agenda, world, interval=60.0),
            observers=(StopAtFirstRound(),),
            solver=ChainSolver(),
            policy=Policy,
            interval=60.0,
        )
    return cluster, stopped.value.report


def check(cluster: SimulatedCluster, report: RoundReport) -> None:
    Invariants(cluster, gap=1e-4, full_every=1).observe(report)


def start_of(report: RoundReport, replicas: int) -> tuple[Applied, Placement]:
    for applied in report.commit.applied:
        if isinstance(applied.change, Start) and len(applied.change.placement.replicas) == replicas:
            return applied, applied.change.placement
    raise AssertionError(replicas)


def with_start(report: RoundReport, old: Applied, placement: Placement) -> RoundReport:
    assert old.allocation is not None
    allocation = Allocation(placement, old.allocation.epoch, old.allocation.start_time)
    new = Applied(Start(placement), allocation)
    applied = tuple(new if each is old else each for each in report.commit.applied)
    return replace(report, commit=replace(report.commit, applied=applied))


def with_replica(report: RoundReport, change: Callable[[DesiredReplica], DesiredReplica]) -> RoundReport:
    """The first replica of the first pushed node, changed."""
    state = next(each for each in report.commit.desired if each.node == "a")
    spoiled = replace(state, replicas=(change(state.replicas[0]), *state.replicas[1:]))
    desired = tuple(spoiled if each is state else each for each in report.commit.desired)
    return replace(report, commit=replace(report.commit, desired=desired))


def test_a_sound_round_passes(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    cluster, report = scene
    assert len(report.commit.applied) == 2
    check(cluster, report)


def forget_a_waiting_job(report: RoundReport) -> RoundReport:
    return replace(report, plan=replace(report.plan, waiting=()))


def keep_a_job_that_also_starts(report: RoundReport) -> RoundReport:
    return replace(report, plan=replace(report.plan, kept=(report.plan.changes[0].job_id,)))


def plan_a_stranger(report: RoundReport) -> RoundReport:
    return replace(report, plan=replace(report.plan, kept=("stranger",)))


def lose_a_job(report: RoundReport) -> RoundReport:
    snapshot = replace(report.snapshot, jobs=report.snapshot.jobs[:-1])
    return replace(report, snapshot=snapshot, plan=replace(report.plan, waiting=()))


def claim_too_much(report: RoundReport) -> RoundReport:
    return replace(report, summary=replace(report.summary, gap=0.5, bound=report.summary.objective + 1))


def exceed_the_bound(report: RoundReport) -> RoundReport:
    return replace(report, summary=replace(report.summary, bound=report.summary.objective - 1.0))


def start_half_a_gang(report: RoundReport) -> RoundReport:
    applied, placement = start_of(report, 2)
    return with_start(report, applied, replace(placement, replicas=placement.replicas[:1]))


def start_elsewhere(report: RoundReport) -> RoundReport:
    applied, placement = start_of(report, 1)
    return with_start(report, applied, replace(placement, replicas=(ReplicaPlacement("a", (0,)),)))


def start_on_no_node(report: RoundReport) -> RoundReport:
    applied, placement = start_of(report, 1)
    return with_start(report, applied, replace(placement, replicas=(ReplicaPlacement("nowhere", (0,)),)))


def start_what_never_was(report: RoundReport) -> RoundReport:
    applied, placement = start_of(report, 1)
    return with_start(report, applied, replace(placement, job_id="stranger"))


SPOILED: list[tuple[Callable[[RoundReport], RoundReport], str]] = [
    (forget_a_waiting_job, "is not in the plan"),
    (keep_a_job_that_also_starts, "is in the plan 2 times"),
    (plan_a_stranger, "job stranger of the plan is not live"),
    (lose_a_job, "2 jobs are live in the store, 3 were admitted"),
    (claim_too_much, "gap 0.5 is called optimal"),
    (exceed_the_bound, "is above its bound"),
    (start_half_a_gang, "1 of 2 replicas: half a gang"),
    (start_elsewhere, "node a of flavor t4, not a100"),
    (start_on_no_node, "which takes no new work"),
    (start_what_never_was, "job stranger changed, but is not live"),
    (lambda r: with_replica(r, lambda d: replace(d, demand=d.demand * 3)), "over its cpu by 4000"),
    (lambda r: with_replica(r, lambda d: replace(d, gpus=(0, 7))), "device 7, which does not exist"),
    (lambda r: with_replica(r, lambda d: replace(d, gpus=(0, 0))), "asks for 2000 milli-GPUs and got devices (0, 0)"),
    (lambda r: with_replica(r, lambda d: replace(d, flavor="a100")), "is meant for flavor a100"),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILED, ids=[words for _, words in SPOILED])
def test_a_broken_promise_is_seen(
    spoil: Callable[[RoundReport], RoundReport], words: str, scene: tuple[SimulatedCluster, RoundReport]
) -> None:
    cluster, report = scene
    with pytest.raises(InvariantBroken) as caught:
        check(cluster, spoil(report))
    assert words in str(caught.value)
    assert caught.value.round_number == report.summary.round


def test_one_gpu_promised_to_two_jobs_is_seen(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    """Within the node's total, but over one device."""
    cluster, report = scene
    state = next(each for each in report.commit.desired if each.node == "other")
    twice = replace(state, replicas=tuple(replace(state.replicas[0], job_id=name) for name in ("x", "y", "z")))
    desired = tuple(twice if each is state else each for each in report.commit.desired)
    with pytest.raises(InvariantBroken, match="GPU 0 of node other is promised 1500"):
        check(cluster, replace(report, commit=replace(report.commit, desired=desired)))


def test_a_replica_that_has_finished_gives_its_place_back(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    """Two replicas on a node for one: over its capacity unless one of them has finished."""
    cluster, report = scene
    applied, placement = start_of(report, 2)
    together = with_start(report, applied, replace(placement, replicas=(ReplicaPlacement("a"), ReplicaPlacement("a"))))
    small = tuple(node("a", cores=4) if each.name == "a" else each for each in report.snapshot.nodes)
    together = replace(
        together,
        snapshot=replace(report.snapshot, nodes=small),
        commit=replace(together.commit, desired=()),
    )
    assert "node a is over its cpu by 4000" in findings_in(cluster, together)
    ended = tuple(
        replace(each, allocation=replace(each.allocation, finished=frozenset({1})))
        if each.allocation is not None and len(each.allocation.placement.replicas) == 2
        else each
        for each in together.commit.applied
    )
    found = findings_in(cluster, replace(together, commit=replace(together.commit, applied=ended)))
    assert not [finding for finding in found if "is over its" in finding]


def findings_in(cluster: SimulatedCluster, report: RoundReport) -> tuple[str, ...]:
    with pytest.raises(InvariantBroken) as caught:
        check(cluster, report)
    return caught.value.findings


def test_a_removed_node_may_only_be_told_to_stop_everything(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    cluster, report = scene
    sample = report.commit.desired[0]
    assert sample.replicas
    gone = replace(sample, node="gone", replicas=())
    check(cluster, replace(report, commit=replace(report.commit, desired=(*report.commit.desired, gone))))
    asked = replace(gone, replicas=sample.replicas)
    with pytest.raises(InvariantBroken, match="node gone does not exist, and was asked to run something"):
        check(cluster, replace(report, commit=replace(report.commit, desired=(*report.commit.desired, asked))))


def test_an_inaccurate_round_may_have_a_larger_gap(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    cluster, report = scene
    summary = replace(report.summary, outcome=RoundOutcome.INACCURATE, gap=0.5, bound=report.summary.objective + 1)
    check(cluster, replace(report, summary=summary))


def test_a_cluster_that_does_not_do_what_was_committed_is_seen(scene: tuple[SimulatedCluster, RoundReport]) -> None:
    cluster, report = scene
    emptied = tuple(replace(state, replicas=()) for state in report.commit.desired)
    cluster.push(emptied)
    with pytest.raises(InvariantBroken, match="should run, but does not"):
        check(cluster, report)


@pytest.mark.parametrize(
    ("constraint", "finding"),
    [
        (SideConstraint("power", (Term("gpu", 0.5),), most=2.25, unit="kW"), None),
        (SideConstraint("power", (Term("gpu", 0.5),), most=2.2, unit="kW"), "power: 2.25 of 2.2 kW are taken"),
        (SideConstraint("cores", (Term("cpu", 1 / 3, queues=("nobody",)),), most=0.0), None),
        (SideConstraint("rack", (Term("cpu", node_labels=(("rack", "1"),)),), most=0.0), None),
        (SideConstraint("part", (Term("cpu"),), most_part=0.2), "part: 9 of 4.8 are taken"),
    ],
)
def test_an_exceeded_side_constraint_is_seen(
    scene: tuple[SimulatedCluster, RoundReport], constraint: SideConstraint, finding: str | None
) -> None:
    """The gang takes 4 GPUs and 8 cores, the other half a GPU and one core; the round did not know of the policy."""
    cluster, report = scene
    spoilt = replace(report, policy=Policy(side_constraints=(constraint,)))
    if finding is None:
        check(cluster, spoilt)
        return
    with pytest.raises(InvariantBroken, match=re.escape(finding)) as broken:
        check(cluster, spoilt)
    assert any("was started" in told for told in broken.value.findings)
    assert any("more than before" in told for told in broken.value.findings)

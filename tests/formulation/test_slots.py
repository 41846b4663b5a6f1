"""Rows that sizes, labels and taints of nodes add: what they allow, by hand, and that no placement ever breaks them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.domain.cluster import Node
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Job
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory
from allocator.formulation.build import Formulation, build
from allocator.formulation.slots import LEAST_SLOTS, MOST_ROWS
from allocator.rounds.decide import decide
from allocator.solvers import ChainSolver
from tests.placement.small_worlds import Stage, drawn
from tests.placement.worlds import POLICY, node, running, snapshot, waiting, way

GPUS, KEPT = 4, Constraints(nodes=(NodeRule("zone", ("z1",)),))


def whole(sequence: int, gpu: int, cpu: int = 0, **more: object) -> Job:
    return waiting(sequence, way(gpu=gpu, cpu=cpu), **more)  # type: ignore[arg-type] # further fields of the spec


def pinned(sequence: int, place: str, gpu: float = 1, cpu: int = 0) -> Job:
    return running(waiting(sequence, way(gpu=gpu, cpu=cpu), preemptible=False), place)


def rows(nodes: list[Node], jobs: list[Job]) -> dict[str, tuple[float, dict[str, float]]]:
    """Amount and rates by job of each row, by name."""
    found = build(snapshot(nodes, jobs), POLICY)
    names = {row: job_id for job_id, row in found.rows.items()}
    return (
        {
            name[0]: (
                limit.amount,
                {names[int(row)]: rate for terms, members in limit.parts for row in members for *_, rate in terms},
            )
            for name, limit in zip(found.slot_names, found.problem.limits[-len(found.slot_names) :], strict=True)
        }
        if found.slot_names
        else {}
    )


def about_nodes(found: dict[str, tuple[float, dict[str, float]]]) -> tuple[float, dict[str, float]]:
    (name,) = (name for name in found if name.startswith("nodes:"))
    return found[name]


def two_nodes() -> list[Node]:
    return [node("n1", gpu=GPUS), node("n2", gpu=GPUS)]


def test_slots_that_are_known_are_those_of_these_nodes_and_jobs() -> None:
    """What was found out of free nodes is looked up again: not where somebody is pinned, nor for other demands."""
    nodes = [node("n1", gpu=2), node("n2", gpu=3)]
    worlds = [
        snapshot(nodes, [whole(number, 2) for number in range(3)]),
        snapshot(nodes, [*(whole(number, 2) for number in range(3)), pinned(3, "n1:0")]),
        snapshot(nodes, [whole(number, 2, cpu=5) for number in range(3)]),
    ]
    anew = [build(world, POLICY).problem.limit_amount.tolist() for world in worlds]
    assert anew == [[2.0], [1.0], [2.0]]
    together = [replace(world, nodes=worlds[0].nodes) for world in worlds]
    for world, amounts in [*zip(together, anew, strict=True)] * 2:
        assert build(world, POLICY).problem.limit_amount.tolist() == amounts


def test_where_every_node_is_free_nothing_is_said() -> None:
    assert rows(two_nodes(), [whole(1, 4), whole(2, 2), whole(3, 1), whole(4, 4), whole(5, 4)]) == {}


def test_a_gpu_held_on_each_node_leaves_none_with_four_and_two_with_three() -> None:
    jobs = [pinned(1, "n1:0"), pinned(2, "n2:3"), whole(3, 4), whole(4, 3), whole(5, 2), whole(6, 2), whole(7, 3)]
    found = rows(two_nodes(), jobs)
    assert found["slots:4"] == (LEAST_SLOTS, {"j3": 1 / 4})
    assert "slots:3" not in found  # two of three are all of the six that are free: the capacity says so
    # two slots of two GPUs on the two nodes: one of 4 GPUs would take two, one of 3 takes one
    assert found["slots:2"] == (2.0, {"j3": 2 / 4, "j4": 1 / 3, "j5": 1 / 2, "j6": 1 / 2, "j7": 1 / 3})
    assert "slots:1" not in found


def test_a_part_of_a_gpu_that_is_held_takes_the_whole_from_whole_ones() -> None:
    jobs = [pinned(1, "n1:0", gpu=0.25), *(whole(sequence, 1) for sequence in range(2, 12))]
    amount, rates = rows(two_nodes(), jobs)["slots:1"]
    assert amount == 7.0  # of 7.75 that are free
    assert set(rates.values()) == {1.0}


def test_two_parts_above_a_half_need_two_gpus() -> None:
    jobs = [waiting(number, way(gpu=part)) for number, part in enumerate((0.55, 0.6, 0.9, 0.9, 0.45, 0.45), start=1)]
    found = rows([node("n1", gpu=2)], [*jobs, whole(7, 1)])
    amount, rates = found["slots:0.55"]
    assert amount == 2.0
    assert rates == pytest.approx({"j1": 1 / 0.55, "j2": 1 / 0.6, "j3": 1 / 0.9, "j4": 1 / 0.9, "j7": 1.0})
    # two of 0.45 fit on one; one of 0.9 takes the place of two, one of 0.6 of one, a whole GPU of two
    amount, rates = found["slots:0.45"]
    assert amount == 4.0
    assert rates["j3"] == pytest.approx(2 / 0.9)
    assert rates["j2"] == pytest.approx(1 / 0.6)
    assert rates["j7"] == 2.0


def test_cores_that_are_held_close_slots_too() -> None:
    jobs = [pinned(1, "n1", gpu=0, cpu=6), *(whole(sequence, 2, cpu=2) for sequence in range(2, 8))]
    assert rows(two_nodes(), jobs)["slots:2"][0] == 1 + 2  # n1 has 2 of its 8 cores left


def test_nodes_too_small_for_a_replica_are_not_counted() -> None:
    nodes = [node("n1", gpu=4), node("n2", gpu=2), node("n3", gpu=2)]
    assert rows(nodes, [whole(1, 4), whole(2, 4), whole(3, 1)])["slots:4"] == (1.0, {"j1": 1 / 4, "j2": 1 / 4})


def test_a_job_of_several_sizes_on_one_flavor_is_not_counted() -> None:
    either = waiting(1, way(gpu=4), way(gpu=2, replicas=3))
    jobs = [either, pinned(2, "n1:0"), whole(3, 4), whole(4, 4)]
    assert set(rows(two_nodes(), jobs)["slots:4"][1]) == {"j3", "j4"}


def test_a_gang_counts_all_its_replicas() -> None:
    gang = waiting(1, way(gpu=3, replicas=2))
    found = rows([*two_nodes(), node("n3", gpu=2)], [gang, whole(2, 3)])
    assert found["slots:3"] == (2.0, {"j1": 1 / 3, "j2": 1 / 3})  # per GPU: the gang of six takes two


def test_jobs_that_some_nodes_admit_have_those_alone() -> None:
    nodes = [node("n1", gpu=GPUS, labels=(("zone", "z1"),)), node("n2", gpu=GPUS)]
    jobs = [*(whole(number, 1, constraints=KEPT) for number in (1, 2, 3, 4, 5)), whole(6, 1)]
    found = rows(nodes, jobs)
    assert about_nodes(found) == (4.0, {f"j{number}": 1.0 for number in (1, 2, 3, 4, 5)})


def test_taints_keep_everybody_off_who_does_not_tolerate_them() -> None:
    nodes = [node("n1", gpu=GPUS, taints=(("for", "x"),)), node("n2", gpu=GPUS)]
    brave = whole(9, 1, constraints=Constraints(tolerations=(("for", "x"),)))
    found = rows(nodes, [*(whole(number, 1) for number in range(1, 7)), brave])
    assert about_nodes(found) == (4.0, {f"j{number}": 1.0 for number in range(1, 7)})


def test_the_optimum_gives_what_lies_in_pieces_to_those_who_can_use_it() -> None:
    """6 GPUs are free, in threes. The job of 4 GPUs would be promised its part of them; it keeps a claim, and whoever
    can use them has them.
    """
    jobs = [pinned(1, "n1:0"), pinned(2, "n2:0"), whole(3, 4), whole(4, 2), whole(5, 2), whole(6, 1)]
    decision = decide(snapshot(two_nodes(), jobs), Memory(), POLICY, ChainSolver())
    share = {job: decision.solution.shares[row].sum() for job, row in decision.formulation.rows.items()}
    assert share["j3"] <= LEAST_SLOTS + 1e-6
    assert share["j4"] > 0.8
    assert share["j5"] > 0.95
    assert share["j6"] == pytest.approx(1, abs=1e-3)
    started = {change.job_id for change in decision.plan.changes}
    assert started == {"j4", "j5", "j6"}


def test_no_placement_ever_breaks_a_row() -> None:
    """Whatever a round makes of random worlds, with labels, taints, gangs and pinned jobs."""
    judged = 0
    for seed in range(60):
        for played in Stage(drawn(seed, given_shares=False), ChainSolver()).rounds(3):
            formulation = played.report.formulation
            if formulation.slot_names:
                judged += 1
                assert _broken(formulation, played.after) == [], f"seed {seed}"
    assert judged > 5


def _broken(formulation: Formulation, jobs: tuple[Job, ...]) -> list[str]:
    problem = formulation.problem
    shares = np.zeros(problem.throughput.shape)
    for job in jobs:
        row = formulation.rows.get(job.id)
        if row is not None and job.allocation is not None:
            column = formulation.configurations[row].index(job.allocation.placement.configuration)
            shares[row, column] += 1 / problem.count[row]
    used = (problem.coupling @ shares.ravel())[problem.capacity.size :]
    names = zip(formulation.slot_names, used[-len(formulation.slot_names) :], strict=True)
    allowed = problem.limit_amount[-len(formulation.slot_names) :]
    return [
        f"{name}: {much} of {most}" for (name, much), most in zip(names, allowed, strict=True) if much > most + 1e-9
    ]


def test_what_a_node_has_after_it_shrank_is_never_below_nothing() -> None:
    shrunk = [Node("n1", "a", Resources(2000, 1000)), node("n2", gpu=GPUS)]
    held = pinned(1, "n1:3", cpu=8)
    found = build(snapshot(shrunk, [held, whole(2, 2), whole(3, 2), whole(4, 2)]), POLICY)
    assert (found.problem.limit_amount >= 0).all()


def test_the_money_of_who_can_have_nothing_now_is_its_siblings() -> None:
    """One of 4 GPUs and two of 1 GPU in one queue, against many: no node has 4. The two get all that the queue's half
    of the money buys.
    """
    many = [whole(number, 1) for number in range(10, 30)]
    theirs = [replace(job, spec=replace(job.spec, queue="theirs", weight=1.0)) for job in many]
    few = [whole(3, 4), whole(4, 1), whole(5, 1)]
    jobs = [pinned(1, "n1:0"), pinned(2, "n2:0"), *(replace(j, spec=replace(j.spec, weight=1.0)) for j in few), *theirs]
    world = replace(snapshot(two_nodes(), jobs), queues=(Queue("q"), Queue("theirs")))
    decision = decide(world, Memory(), POLICY, ChainSolver())
    share = {job: decision.solution.shares[row].sum() for job, row in decision.formulation.rows.items()}
    assert share["j4"] == share["j5"] == pytest.approx(1, abs=1e-2)
    assert share["j3"] <= LEAST_SLOTS + 1e-6


def test_rows_of_some_nodes_are_called_the_same_whoever_asks_first() -> None:
    nodes = [node(f"n{n}", gpu=1, labels=(("zone", f"z{n % 2}"),)) for n in range(8)]
    zones = [Constraints(nodes=(NodeRule("zone", (f"z{n}",)),)) for n in (0, 1)]
    forth = [whole(number, 1, constraints=zones[number % 2]) for number in range(1, 13)]
    back = [whole(number, 1, constraints=zones[(number + 1) % 2]) for number in range(1, 13)]
    assert sorted(rows(nodes, forth)) == sorted(rows(nodes, back))
    assert len(rows(nodes, forth)) == 2


def test_jobs_kept_to_a_node_each_add_few_rows() -> None:
    nodes = [node(f"n{n:03}", gpu=2, labels=(("host", f"h{n}"),)) for n in range(200)]
    jobs = [
        whole(number, 1, constraints=Constraints(nodes=(NodeRule("host", (f"h{number % 200}",)),)))
        for number in range(1, 801)
    ]
    assert 0 < len(rows(nodes, jobs)) <= MOST_ROWS

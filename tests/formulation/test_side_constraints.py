"""Side constraints and floating resources in a round's problem: exact rows, relaxed ones, whom they shut out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Labels, Node, NodeAvailability, NodeHealth
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import LimitExcess, PendingCause
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation import Formulation, build
from allocator.formulation.side_constraints import side_rows
from allocator.formulation.side_terms import numbered_labels
from allocator.solvers import solve
from tests.formulation.facts import amounts, job, node, snapshot, way

QUEUES = (Queue("a"), Queue("b"), Queue("c"))
POWER = SideConstraint("power", (Term("gpu", 0.7, flavors=("a100",)), Term("gpu", 0.3, flavors=("v100",))), 5.6)


def under(*constraints: SideConstraint, floating: tuple[str, ...] = ()) -> Policy:
    return Policy(side_constraints=constraints, floating_resources=floating)


def racked(name: str, number: int, flavor: str = "a100") -> Node:
    return replace(node(name, flavor), labels=(("rack", f"r{number}"),))


def power_of(number: int, most: float, name: str = "", **where: Any) -> SideConstraint:
    """700 W for each GPU in a rack."""
    term = Term("gpu", 0.7, node_labels=(("rack", f"r{number}"),), **where)
    return SideConstraint(name or f"power-r{number}", (term,), most)


def rows_of(formulation: Formulation) -> dict[str, float]:
    problem = formulation.problem
    assert problem.limit_count == len(formulation.side_constraints) + len(formulation.slot_names)
    return dict(zip(formulation.side_constraints, problem.limit_amount.tolist(), strict=False))


def counted(formulation: Formulation) -> dict[str, list[str]]:
    """By row, the jobs that it counts anything of."""
    problem, found = formulation.problem, {}
    each = problem.coupling[problem.capacity.size :].toarray().reshape(-1, problem.row_count, problem.column_count)
    for name, amounts_of in zip(formulation.side_constraints, each, strict=True):
        found[name] = sorted(job_id for job_id, row in formulation.rows.items() if amounts_of[row].any())
    return found


def test_power_is_shared_over_queues_and_flavors_as_computed_by_hand() -> None:
    """A job of each of three queues runs on 8 a100 of 700 W, or at 0.4 of that speed on 4 v100 of 300 W; 5.6 kW in all.

    A unit of utility takes 5.6 kW on a100 and 3 on v100, so the 4 v100 are used whole: 1.2 kW for 0.4. The other 4.4 kW
    yield 4.4 / 5.6 on a100. Each has a third, and what one more kW yields, 1 / 5.6, is worth that over everybody's sum.
    """
    ways = (way(demand=amounts(1, 8)), way("v100", amounts(1, 4), speed=0.4))
    nodes = [node("n1"), node("n2"), node("n3", "v100", amounts(64, 4, 512))]
    jobs = [job(number, *ways, queue=queue.name) for number, queue in enumerate(QUEUES, start=1)]
    formulation = build(snapshot(nodes, jobs, QUEUES), under(POWER))
    assert rows_of(formulation) == {"power": 5.6}
    solution = solve(formulation.problem, gap=1e-6)
    total = 0.4 + 4.4 / 5.6
    assert formulation.problem.utilities(solution.shares) == pytest.approx([total / 3] * 3, rel=1e-4)
    gpus = formulation.problem.usage(solution.shares)[:, formulation.resources.index("gpu")]
    assert gpus == pytest.approx([4.4 / 0.7, 4.0], rel=1e-4)
    assert solution.limit_prices[0] == pytest.approx(1 / 5.6 / total, rel=1e-3)


def test_terms_select_queues_with_those_below_flavors_and_exact_labels() -> None:
    queues = (Queue("a"), Queue("b"), Queue("b/c"), Queue("bb"))
    ways = (way(), way("v100"))
    jobs = [
        job(1, *ways, queue="a"),
        job(2, *ways, queue="b/c"),
        job(3, *ways, queue="bb"),
        job(4, way("v100"), queue="b/c"),
        job(5, *ways, queue="a", labels=(("kind", "x"), ("of", "y"))),
        job(6, *ways, queue="a", labels=(("kind", "xx"),)),
    ]
    formulation = build(
        snapshot([node("n1"), node("n2", "v100")], jobs, queues),
        under(
            SideConstraint("all", (Term("gpu"),), 1.0),
            SideConstraint("below", (Term("gpu", queues=("b",)),), 1.0),
            SideConstraint("some", (Term("gpu", flavors=("a100",), queues=("b", "bb")),), 1.0),
            SideConstraint("label", (Term("gpu", job_labels=(("kind", "x"),)),), 1.0),
            SideConstraint("nobody", (Term("gpu", queues=("z",)), Term("fpga"), Term("gpu", flavors=("t4",))), 1.0),
        ),
    )
    assert counted(formulation) == {
        "all": ["j1", "j2", "j3", "j4", "j5", "j6"],
        "below": ["j2", "j4"],
        "some": ["j2", "j3"],
        "label": ["j5"],
        "nobody": [],
    }


def test_jobs_are_one_row_unless_some_term_tells_them_apart() -> None:
    jobs = [job(1), job(2, labels=(("kind", "x"),)), job(3, labels=(("kind", "x"),)), job(4, labels=(("kind", "y"),))]
    facts = snapshot([node("n1")], jobs)
    by_label = SideConstraint("x", (Term("gpu", 2.0, job_labels=(("kind", "x"),)), Term("gpu")), 6.0)
    assert build(facts, under(SideConstraint("all", (Term("gpu"),), 6.0))).groups == (("j1", "j2", "j3", "j4"),)
    formulation = build(facts, under(by_label))
    assert formulation.groups == (("j1", "j4"), ("j2", "j3"))
    assert formulation.problem.limit_usage(np.array([[0.5], [1.0]])).tolist() == [2 * 0.5 + 3 * 2 * 1.0]


def test_what_pinned_jobs_take_is_taken_off_wherever_they_are() -> None:
    """4 GPUs on an open node and 2 on a cordoned one are 4.2 kW of 5.6; of less than that nothing is left."""
    nodes = [node("n1"), node("n2", availability=NodeAvailability.CORDONED), node("n3", "v100")]
    held = [
        job(1, way(demand=amounts(1, 4)), runs_on=("n1",), preemptible=False),
        job(2, way(demand=amounts(1, 2)), runs_on=("n2",)),
    ]
    facts = snapshot(nodes, [*held, job(3, way(), way("v100"))])
    assert rows_of(build(facts, under(replace(POWER, most=5.6)))) == {"power": pytest.approx(5.6 - 4.2)}
    for most in (4.2, 3.0):
        shut = build(facts, under(replace(POWER, most=most, unit="kW")))
        reason = shut.never["j3"]
        assert reason.cause is PendingCause.OVER_LIMIT
        assert reason.limits == (
            LimitExcess("power", int(4.2 * PRECISION), int(most * PRECISION), int(0.3 * PRECISION), "kW"),
        )
        assert shut.problem.row_count == 0


def test_who_takes_more_than_there_may_be_never_runs_but_in_parts() -> None:
    """Of 2 replicas of 4 GPUs, 5.6 kW, with 5 for all."""
    gang = way(demand=amounts(1, 4), replicas=2)
    facts = snapshot([node("n1"), node("n2", "v100")], [job(1, gang), job(2, gang, way("v100")), job(3, way())])
    formulation = build(facts, under(replace(POWER, most=5.0)))
    assert formulation.never["j1"].cause is PendingCause.EXCEEDS_LIMIT
    assert [(each.name, each.takes) for each in formulation.never["j1"].limits] == [("power", 5_600_000)]
    assert formulation.problem.eligible[formulation.rows["j2"]].tolist() == [False, True]
    divisible = snapshot([node("n1")], [job(1, way(demand=amounts(32)), divisible=True)])
    cores = SideConstraint("cores", (Term("cpu"),), 8.0)
    assert utilities(build(divisible, under(cores))) == {"j1": pytest.approx(0.25)}


def utilities(formulation: Formulation) -> dict[str, float]:
    """By job, of the optimum."""
    found = formulation.problem.utilities(solve(formulation.problem, gap=1e-6).shares)
    return {job_id: float(found[row]) for job_id, row in formulation.rows.items()}


def test_a_part_is_one_of_all_nodes_that_are_not_lost() -> None:
    """40 % of the 16 a100 for b and what is below; 3.2 of them are held already."""
    nodes = [
        node("n1"),
        node("n2", availability=NodeAvailability.CORDONED),
        node("n3", health=NodeHealth.LOST),
        node("n4", "v100"),
    ]
    part = SideConstraint("part", (Term("gpu", flavors=("a100",), queues=("b",)),), most_part=0.4)
    facts = snapshot(nodes, [job(1, queue="b"), job(2, queue="a")], QUEUES)
    assert rows_of(build(facts, under(part))) == {"part": pytest.approx(0.4 * 16)}
    running = job(3, way(demand=amounts(1, 4)), queue="b", runs_on=("n1",), preemptible=False)
    facts = snapshot(nodes, [job(1, queue="b"), running], QUEUES)
    formulation = build(facts, under(part))
    assert rows_of(formulation) == {"part": pytest.approx(0.4 * 16 - 4)}
    assert build(facts, under(replace(part, most_part=1.0))).side_constraints == ()  # whatever is free may be used


def test_what_exceeds_the_limit_of_a_rack_must_fit_on_the_other_nodes() -> None:
    nodes = [racked("n1", 1), racked("n2", 1), racked("n3", 2), node("n4"), node("n5", "v100")]
    facts = snapshot(nodes, [job(1, way(), way("v100"))])
    assert rows_of(build(facts, under(power_of(1, 2.8, flavors=("a100",))))) == {
        "power-r1": pytest.approx(2.8 + 0.7 * 16)
    }
    # no v100 is in the rack: what is free of them says nothing about those in it
    assert rows_of(build(facts, under(power_of(1, 2.8)))) == {"power-r1": pytest.approx(2.8 + 0.7 * 16)}
    holder = job(2, way(demand=amounts(1, 4)), runs_on=("n3",), preemptible=False)
    assert rows_of(build(snapshot(nodes, [job(1), holder]), under(power_of(1, 2.8, flavors=("a100",))))) == {
        "power-r1": pytest.approx(2.8 + 0.7 * 12)
    }
    assert build(facts, under(power_of(1, 0.7 * 16))).side_constraints == ()  # no more fits into the rack anyway
    assert build(facts, under(power_of(3, 2.8))).side_constraints == ()  # there is no such rack


def test_limits_of_racks_are_one_row_together() -> None:
    """2.8 kW and 1.4, and 5.6 on the node that is in no rack. More than a rack has is not to be had there."""
    nodes = [racked("n1", 1), racked("n2", 2), node("n3"), racked("n4", 3)]
    facts = snapshot(nodes, [job(1)])
    rows = rows_of(build(facts, under(power_of(1, 2.8), power_of(2, 1.4))))
    assert rows == {"power-r1+power-r2": pytest.approx(2.8 + 1.4 + 2 * 5.6)}
    rows = rows_of(build(facts, under(power_of(1, 2.8), power_of(2, 9.0), power_of(3, 0.7))))
    assert rows == {"power-r1+power-r3": pytest.approx(2.8 + 0.7 + 2 * 5.6)}, "r2 cannot get to its limit"
    both = under(power_of(1, 2.8), power_of(2, 1.4), power_of(1, 0.7, name="again"))
    assert rows_of(build(facts, both)) == {
        "power-r1+power-r2": pytest.approx(2.8 + 1.4 + 2 * 5.6),
        "again": pytest.approx(0.7 + 3 * 5.6),
    }
    apart = under(power_of(1, 2.8), power_of(2, 1.4, queues=("q",)))
    assert set(rows_of(build(facts, apart))) == {"power-r1", "power-r2"}
    many = [racked(f"n{number}", number) for number in range(5)]
    rows = rows_of(build(snapshot(many, [job(1)]), under(*(power_of(number, 1.4) for number in range(5)))))
    assert rows == {"power-r0+4": pytest.approx(5 * 1.4)}


def test_floating_resources_are_on_no_node_and_only_limits_bound_them() -> None:
    """Three jobs want 2, 2 and 1 of 2 licences; a demand of licences alone runs anywhere."""
    licensed = Resources(cpu_millicores=1000, extra=(("matlab", 2),))
    only = Resources(extra=(("matlab", 1),))
    facts = snapshot(
        [node("n1")], [job(1, way(demand=licensed)), job(2, way(demand=licensed)), job(3, way(demand=only))]
    )
    assert set(build(facts, under()).never) == {"j1", "j2", "j3"}
    free = build(facts, under(floating=("matlab",)))
    assert utilities(free) == pytest.approx({"j1": 1.0, "j2": 1.0, "j3": 1.0})
    licences = SideConstraint("licences", (Term("matlab"),), 2.0)
    formulation = build(facts, under(licences, floating=("matlab",)))
    solution = solve(formulation.problem, gap=1e-6)
    used = {job_id: float(solution.shares[row, 0]) for job_id, row in formulation.rows.items()}
    assert used == pytest.approx({"j1": 1 / 3, "j2": 1 / 3, "j3": 2 / 3}, rel=1e-4)
    assert solution.limit_prices[0] == pytest.approx(0.5, rel=1e-4)
    assert not solution.prices.any()
    kinds = {kind.floating for kind in formulation.live.kinds}
    assert kinds == {Resources(extra=(("matlab", 2),)), Resources(extra=(("matlab", 1),))}
    assert not any(kind.demand.extra for kind in formulation.live.kinds)


def test_what_floats_is_not_counted_on_a_node_that_says_it_has_some() -> None:
    """The node's label rule makes rows of its own for its nodes; what is called the same there is no part of them."""
    licensed = Resources(cpu_millicores=1000, extra=(("matlab", 2),))
    there = replace(racked("n1", 1), capacity=Resources(64_000, extra=(("matlab", 1),)))
    inside = Constraints(nodes=(NodeRule("rack", ("r1",)),))
    facts = snapshot([there, node("n2")], [job(1, way(demand=licensed), constraints=inside)])
    formulation = build(facts, under(SideConstraint("licences", (Term("matlab"),), 1.0), floating=("matlab",)))
    assert formulation.never["j1"].cause is PendingCause.EXCEEDS_LIMIT
    formulation = build(facts, under(SideConstraint("licences", (Term("matlab"),), 4.0), floating=("matlab",)))
    assert utilities(formulation) == pytest.approx({"j1": 1.0})


def test_licences_that_pinned_jobs_hold_are_gone() -> None:
    licensed = Resources(cpu_millicores=1000, extra=(("matlab", 2),))
    jobs = [job(1, way(demand=licensed), runs_on=("n1",), preemptible=False), job(2, way(demand=licensed))]
    licences = SideConstraint("licences", (Term("matlab"),), 5.0)
    formulation = build(snapshot([node("n1")], jobs), under(licences, floating=("matlab",)))
    assert rows_of(formulation) == {"licences": 3.0}
    assert formulation.held[0, 0, formulation.resources.index("matlab")] == 2.0


def test_what_is_too_large_is_judged_as_placement_counts() -> None:
    """Each of 6 replicas takes a third of a unit, rounded up to millionths: placement finds more than 2."""
    thirds = SideConstraint("thirds", (Term("gpu", 1 / 3),), 2.0)
    gang = job(1, way(demand=amounts(1, 1), replicas=6))
    reason = build(snapshot([node("n1")], [gang]), under(thirds)).never["j1"]
    assert reason.cause is PendingCause.EXCEEDS_LIMIT
    assert reason.limits == (LimitExcess("thirds", 0, 2_000_000, 2_000_004),)
    assert build(snapshot([node("n1")], [gang]), under(replace(thirds, most=2.000004))).rows
    tenths = SideConstraint("tenths", (Term("gpu", 0.1),), 0.6)
    assert build(snapshot([node("n1")], [gang]), under(tenths)).rows, "6 times 0.1 is 0.6, and not a little more"


def test_who_takes_more_than_any_rack_allows_never_runs() -> None:
    """5.6 kW of 5 in either rack; one that allows more, or a node outside, or a way on another flavor, is enough."""
    racks = (power_of(1, 5.0), power_of(2, 5.0))
    nodes = [racked("n1", 1), racked("n2", 2)]
    large = job(1, way(demand=amounts(1, 8)))
    reason = build(snapshot(nodes, [large, job(2)]), under(*racks)).never["j1"]
    assert reason.cause is PendingCause.EXCEEDS_LIMIT
    assert reason.limits == (LimitExcess("power-r1", 0, 5_000_000, 5_600_000),)
    assert "j2" in build(snapshot(nodes, [large, job(2)]), under(*racks)).rows
    assert build(snapshot(nodes, [large]), under(racks[0], power_of(2, 5.6))).rows
    assert build(snapshot([*nodes, node("n3")], [large]), under(*racks)).rows
    assert not build(snapshot([*nodes, node("n3", "v100")], [large]), under(*racks)).rows
    either = job(1, way(demand=amounts(1, 8)), way("v100"))
    assert build(snapshot([*nodes, node("n3", "v100")], [either]), under(*racks)).rows
    inside = job(1, way(demand=amounts(1, 8)), constraints=Constraints(nodes=(NodeRule("rack", ("r1",)),)))
    assert not build(snapshot(nodes, [inside]), under(racks[0])).rows
    assert build(snapshot(nodes, [inside]), under(racks[1])).rows
    assert build(snapshot(nodes, [replace(large, spec=replace(large.spec, divisible=True))]), under(*racks)).rows


def test_only_what_live_jobs_are_is_judged_and_only_labels_that_terms_name() -> None:
    """Of 40 kinds, each of one queue and one label of its own, no table of all with all is made."""
    jobs = [
        job(number, way(demand=amounts(number)), queue="abc"[number % 3], labels=(("user", f"u{number}"),))
        for number in range(1, 41)
    ]
    limits = [SideConstraint(f"q-{name}", (Term("cpu", queues=(name,)),), 20.0) for name in "abc"]
    limits.append(SideConstraint("user", (Term("cpu", job_labels=(("user", "u7"),)),), 5.0))
    formulation = build(snapshot([node("n1")], jobs, QUEUES), under(*limits))
    assert set(formulation.never) == {f"j{number}" for number in (7, *range(21, 41))}
    terms = [term for limit in limits for term in limit.terms]
    numbers, known = numbered_labels(terms, formulation.live)
    assert known == [(), (("user", "u7"),)]
    assert numbers.sum() == 1
    sides = side_rows(limits, formulation.live, np.zeros(40, dtype=np.bool_), formulation.resources, ())
    assert sides is not None
    assert len(sides.rows) == 4
    assert sides.takes.shape[1] < 40 + len(set(sides.sort.tolist())) + 1


# --- every placement that keeps the constraints keeps the rows ---

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)


def _takes(constraint: SideConstraint, one: Job, index: int, there: Node) -> float:
    """What a replica takes there: the definition."""
    total = 0.0
    for term in constraint.terms:
        if (
            (not term.flavors or there.flavor in term.flavors)
            and (not term.queues or any(f"{one.spec.queue}/".startswith(f"{name}/") for name in term.queues))
            and set(term.job_labels) <= set(one.spec.labels)
            and set(term.node_labels) <= set(there.labels)
        ):
            total += term.per_unit * one.spec.configurations[index].demand.get(term.resource) / 1000
    return total


@PROPERTY
@given(st.integers(0, 2**32 - 1))
def test_whatever_runs_under_the_constraints_is_within_the_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    pick: Any = random.choice
    nodes = [
        replace(
            node(f"n{number}", str(pick(["a100", "v100"])), amounts(int(pick([4, 16])), int(pick([0, 4, 8])))),
            labels=(("rack", f"r{pick([1, 2, 3])}"),) if random.random() < 0.8 else (),
        )
        for number in range(6)
    ]
    names = ["a", "b/c", "b/d"]
    terms = [
        Term(
            str(pick(["gpu", "cpu"])),
            float(pick([0.3, 0.7, 1.0])),
            flavors=("a100",) if random.random() < 0.3 else (),
            queues=(str(pick(["a", "b", "b/c"])),) if random.random() < 0.3 else (),
            job_labels=(("kind", "x"),) if random.random() < 0.3 else (),
        )
        for _ in range(3)
    ]
    constraints = []
    for number in range(5):
        place: Labels = (("rack", f"r{pick([1, 2, 3])}"),) if random.random() < 0.7 else ()
        chosen = tuple(replace(terms[at], node_labels=place) for at in random.permutation(3)[: int(pick([1, 2]))])
        if random.random() < 0.2:
            chosen = (*chosen, terms[0])
        constraints.append(SideConstraint(f"c{number}", chosen, float(pick([0.0, 2.0, 5.0, 9.0]))))
    pending, jobs, where = [], [], {}
    left = {each.name: each.capacity for each in nodes}
    room = {each.name: float(each.most or 0) for each in constraints}
    for number in range(1, 10):
        ways = tuple(
            way(flavor, amounts(int(pick([1, 2])), int(pick([0, 1, 2]))), replicas=int(pick([1, 2])))
            for flavor in ("a100", "v100")
        )
        labels = (("kind", "x"),) if random.random() < 0.5 else ()
        one = job(number, *ways, queue=str(pick(names)), labels=labels)
        index, placed = int(random.integers(2)), []
        trial, spent = dict(left), dict(room)
        for _ in range(ways[index].replicas):
            there = nodes[int(random.integers(len(nodes)))]
            if there.flavor != ways[index].flavor or not ways[index].demand.fits_in(trial[there.name]):
                break
            trial[there.name] = trial[there.name] - ways[index].demand
            for each in constraints:
                spent[each.name] -= _takes(each, one, index, there)
            placed.append(there.name)
        runs = len(placed) == ways[index].replicas and min(spent.values()) >= -1e-12
        if runs:
            left, room = trial, spent
        if runs and random.random() < 0.4:
            jobs.append(
                job(number, *ways, queue=one.spec.queue, labels=labels, runs_on=tuple(placed), configuration=index,
                    preemptible=False)
            )  # fmt: skip
            continue
        jobs.append(one)
        if runs:
            where[one.id] = index
        pending.append(one.id)
    queues = tuple(Queue(name) for name in ("a", "b", "b/c", "b/d"))
    formulation = build(snapshot(nodes, jobs, queues), under(*constraints))
    problem = formulation.problem
    shares = np.zeros(problem.throughput.shape)
    for job_id, index in where.items():
        row = formulation.rows[job_id]  # whoever runs is not shut out
        shares[row, formulation.configurations[row].index(index)] += 1 / problem.count[row]
    assert (shares[~problem.eligible] == 0).all()
    assert (problem.limit_usage(shares) <= problem.limit_amount * (1 + 1e-9) + 1e-9).all()

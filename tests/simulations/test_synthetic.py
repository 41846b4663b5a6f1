"""Made-up workloads are what the scenario says, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from simulations.faults import ListedFaults, Outage, RandomFaults
from simulations.scenario import QuotaPart, Scenario, load_scenario, read_scenario, scenario_names
from simulations.sizing import Sizing, in_proportion
from simulations.synthetic import SPREAD_LIMIT, generate, make_faults
from simulations.traces.errors import TraceError

LARGE = Scenario.model_validate(
    {
        "name": "large",
        "flavors": [{"name": "gpu", "nodes": 3, "cores": 64, "memory_gib": 256, "gpus": 8}],
        "queues": [{"name": "a", "arrivals": 3.0}, {"name": "b"}],
        "classes": [
            {"name": "x", "arrivals": 1.0, "throughput": {"gpu": 2.0}, "cores": 1.0, "memory_gib": 1.0,
             "gpus": 0.5, "median_seconds": 600.0, "sigma": 0.7},
            {"name": "y", "arrivals": 1.0, "throughput": {"gpu": 1.0}, "cores": 1.5, "memory_gib": 0.5,
             "replicas": [2, 4], "median_seconds": 100.0, "sigma": 0.0, "duration_known": True},
        ],
        "arrivals": {"per_hour": 500.0, "hours": 20.0},
    }
)  # fmt: skip


def test_the_same_seed_gives_the_same_workload_and_another_another() -> None:
    assert generate(LARGE, 3) == generate(LARGE, 3)
    assert generate(LARGE, 3).arrivals != generate(LARGE, 4).arrivals


def test_arrivals_follow_the_scenario() -> None:
    """10,000 expected; every bound is at least four standard deviations wide."""
    workload = generate(LARGE, 1)
    count = len(workload.arrivals)
    assert abs(count - 10_000) < 400
    queues = Counter(arrival.spec.queue for arrival in workload.arrivals)
    assert abs(queues["a"] / count - 0.75) < 0.02
    times = np.array([arrival.time for arrival in workload.arrivals])
    assert times.max() < 20 * 3600
    hourly = np.bincount((times // 3600).astype(int), minlength=20)
    assert abs(hourly.var() / hourly.mean() - 1) < 1.5, "a Poisson stream varies as much as its mean"


def test_jobs_follow_their_class() -> None:
    workload = generate(LARGE, 1)
    x = [arrival for arrival in workload.arrivals if arrival.spec.name.startswith("x-")]
    y = [arrival for arrival in workload.arrivals if arrival.spec.name.startswith("y-")]
    assert abs(float(np.median([arrival.duration for arrival in x])) - 600) < 40
    assert {arrival.duration for arrival in y} == {100.0}
    assert {arrival.spec.expected_duration_seconds for arrival in y} == {100.0}
    assert {arrival.spec.expected_duration_seconds for arrival in x} == {None}
    assert x[0].fastest.demand.gpu_millis == 500
    assert {arrival.fastest.replicas for arrival in y} == {2, 4}
    assert {arrival.fastest.throughput / arrival.fastest.replicas for arrival in y} == {1.0}


def spread(weight: float, throughput: float, at_start: int = 0) -> Scenario:
    changed = {"weight_sigma": weight, "throughput_sigma": throughput}
    return LARGE.model_copy(
        update={
            "classes": [each.model_copy(update=changed) for each in LARGE.classes],
            "arrivals": LARGE.arrivals.model_copy(update={"at_start": at_start}),
        }
    )


def test_jobs_at_the_start_come_before_the_stream() -> None:
    workload = generate(spread(0.0, 0.0, at_start=700), 1)
    assert sum(arrival.time == 0.0 for arrival in workload.arrivals) >= 700
    assert [arrival.time for arrival in workload.arrivals[:700]] == [0.0] * 700
    assert len(workload.arrivals) - 700 == len(generate(LARGE, 1).arrivals)


def test_jobs_of_a_class_differ_as_much_as_asked() -> None:
    """About 10,000 draws: the standard deviation of their logarithms is within 3 % of sigma."""
    workload = generate(spread(0.5, 0.2), 1)
    weights = np.array([arrival.spec.weight for arrival in workload.arrivals])
    speeds = np.array([a.fastest.throughput / a.fastest.replicas for a in workload.arrivals if a.spec.name[0] == "x"])
    assert np.log(weights).std() == pytest.approx(0.5, rel=0.03)
    assert np.log(speeds).std() == pytest.approx(0.2, rel=0.05)
    assert np.median(speeds) == pytest.approx(2.0, rel=0.02)
    assert len(set(weights)) > 0.9 * len(weights)


def test_a_spread_changes_nothing_else() -> None:
    for plain, differing in zip(generate(LARGE, 2).arrivals, generate(spread(0.5, 0.2), 2).arrivals, strict=True):
        assert (plain.time, plain.duration, plain.spec.queue) == (
            differing.time,
            differing.duration,
            differing.spec.queue,
        )
        assert [c.demand for c in plain.spec.configurations] == [c.demand for c in differing.spec.configurations]
        assert plain.spec.weight == 1.0


def test_however_wide_the_spread_jobs_can_be_admitted() -> None:
    workload = generate(spread(400.0, 400.0), 1)
    weights = {arrival.spec.weight for arrival in workload.arrivals}
    assert (min(weights), max(weights)) == (1 / SPREAD_LIMIT, SPREAD_LIMIT)


def test_a_scenario_in_another_size_keeps_the_rest() -> None:
    small = load_scenario("small")
    assert Sizing().applied_to(small) == small
    sized = Sizing(nodes=24, jobs_at_start=9, duration_factor=2.0, job_spread=0.0).applied_to(small)
    assert [flavor.nodes for flavor in sized.flavors] == [6, 10, 8]
    assert sized.arrivals == small.arrivals.model_copy(update={"at_start": 9})
    assert [each.median_seconds for each in sized.classes] == [2 * each.median_seconds for each in small.classes]
    assert (sized.queues, sized.faults, sized.policy) == (small.queues, small.faults, small.policy)


def test_quotas_keep_their_part_of_their_flavor() -> None:
    """small has 3, 5 and 4 nodes; of 12 there are then 24."""
    small = load_scenario("small")
    first = small.flavors[0].name
    quotas = [
        QuotaPart(flavor=first, resource="gpu", nominal=3, borrowing_limit=1, lending_limit=0),
        QuotaPart(flavor=first, resource="memory", nominal=10.5),
    ]
    mine = small.queues[0].model_copy(update={"quotas": quotas})
    with_quotas = small.model_copy(update={"queues": [mine, *small.queues[1:]]})
    (gpu, memory) = Sizing(nodes=24).applied_to(with_quotas).queues[0].quotas
    assert (gpu.nominal, gpu.borrowing_limit, gpu.lending_limit) == (6, 2, 0)
    assert (memory.nominal, memory.borrowing_limit, memory.lending_limit) == (21, None, None)
    assert Sizing().applied_to(with_quotas) == with_quotas


def test_every_wrong_size_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        Sizing(nodes=1, arrival_hours=-1.0, job_spread=9.0).applied_to(load_scenario("small"))
    assert [violation.field for violation in caught.value.violations] == ["nodes", "arrival-hours", "job-spread"]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 10_000))
@settings(deadline=None, derandomize=True)
def test_what_is_split_in_proportion_adds_up(parts: list[int], more: int) -> None:
    total = len(parts) + more
    counts = in_proportion(total, parts)
    assert sum(counts) == total
    assert min(counts) >= 1
    exact = [1 + more * part / sum(parts) for part in parts]
    assert all(abs(count - wished) < 1 for count, wished in zip(counts, exact, strict=True))
    with pytest.raises(ValueError, match="must be at least"):
        in_proportion(len(parts) - 1, parts)


def test_the_named_scenarios_make_workloads() -> None:
    assert "small" in scenario_names()
    for name in scenario_names():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.about
        scenario = Sizing(jobs_at_start=min(scenario.arrivals.at_start, 500), arrival_hours=0.5).applied_to(scenario)
        generate(scenario, 0).require_valid()
        assert not scenario.make_policy().violations()


TREE = """
name = "tree"
[[flavors]]
name = "gpu"
nodes = 2
cores = 8
memory_gib = 64
gpus = 4
[[queues]]
name = "lab"
arrivals = 0
quotas = [
    { flavor = "gpu", resource = "memory", nominal = 1.5 },
    { flavor = "gpu", resource = "gpu", nominal = 4, borrowing_limit = 0, lending_limit = 1.0 },
]
[[queues]]
name = "lab/a"
priority = 3
[[queues]]
name = "lab/b"
weight = 2
discipline = "fifo"
[[classes]]
name = "x"
arrivals = 1
throughput = { gpu = 1.0 }
cores = 1
memory_gib = 1
gpus = 1
median_seconds = 60
[arrivals]
per_hour = 60
hours = 1
"""


def scenario_of(text: str, folder: Path) -> Scenario:
    file = folder / "made.toml"
    file.write_text(text)
    return read_scenario(file)


def test_queues_of_a_scenario_may_be_a_tree_with_quotas(tmp_path: Path) -> None:
    made = generate(scenario_of(TREE, tmp_path), 1)
    assert made.queues == (
        Queue("lab", quotas=(Quota("gpu", "memory", 3 * 2**29), Quota("gpu", "gpu", 4000, 0, 1000))),
        Queue("lab/a", priority=3),
        Queue("lab/b", 2.0, discipline=Discipline.FIFO),
    )
    assert {arrival.spec.queue for arrival in made.arrivals} == {"lab/a", "lab/b"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lending_limit = 1.0", "lending_limit = 5.0", "queues.0.quotas[1].lending_limit: must be at most the nominal"),
        ("nominal = 4", "nominal = 4.5", "queues.0.quotas[1].nominal: must be whole GPUs"),
        ("nominal = 4", "nominal = -4", "queues.0.quotas.1.nominal: Input should be greater than or equal to 0"),
        ("nominal = 4", 'nominal = "4"', "queues.0.quotas.1.nominal: Input should be a valid number"),
        ('"gpu", nominal', '"memory", nominal', "queues.0.quotas[1]: memory on gpu was given before"),
        ('flavor = "gpu"', 'flavor = "tpu"', "queues.0.quotas.0.flavor: is not a flavor; there are gpu; got 'tpu'"),
        ("borrowing_limit", "borrow_limit", "queues.0.quotas.1.borrow_limit: Extra inputs are not permitted"),
        ("arrivals = 0", "arrivals = 1", "queues.0.arrivals: must be 0: jobs go to the queues below it"),
        ('"lab/a"', '"lap/a"', "queues.1.name: lies below 'lap', which is not there"),
        ("priority = 3", "priority = 1.5", "queues.1.priority: Input should be a valid integer"),
        ("priority = 3", "priority = 1234567", "queues.1.priority: must be a whole number from -1000000"),
        ('"fifo"', '"lifo"', "queues.2.discipline: Input should be 'fair' or 'fifo'"),
    ],
)
def test_a_wrong_queue_of_a_scenario_is_refused_by_field(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in TREE
    with pytest.raises(InvalidInput) as caught:
        scenario_of(TREE.replace(old, new, 1), tmp_path)
    assert words in str(caught.value)


def test_not_every_queue_must_submit_something_but_one(tmp_path: Path) -> None:
    quiet = TREE.replace("priority = 3", "arrivals = 0")
    assert {arrival.spec.queue for arrival in generate(scenario_of(quiet, tmp_path), 1).arrivals} == {"lab/b"}
    with pytest.raises(InvalidInput, match="queues: must hold at least one with arrivals above 0"):
        scenario_of(quiet.replace("weight = 2", "arrivals = 0"), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("per_hour = 100.0", "per_hour = 0.0", "arrivals.per_hour: Input should be greater than 0"),
        ("per_hour = 100.0", "per_hour = inf", "arrivals.per_hour: Input should be a finite number"),
        ("per_hour = 100.0", "per_day = 100.0", "arrivals.per_day: Extra inputs are not permitted"),
        ("hours = 2.0", "hours = 2.0\nat_start = -1", "arrivals.at_start: Input should be greater than or equal to 0"),
        ("sigma = 0.8", "sigma = 0.8\nweight_sigma = -1.0", "classes.0.weight_sigma: Input should be greater than"),
        ("nodes = 3", "nodes = 2.5", "flavors.0.nodes: Input should be a valid integer"),
        ("{ a100 = 3.0, t4 = 1.0 }", "{ a100 = 3.0, t5 = 1.0 }", "classes.0.throughput.t5: is not a flavor"),
        ('name = "batch"', 'name = "product"', "queues[1].name: 'product' was given before"),
        ("gpus = 0.25", "gpus = 1.25", "gpu_millis: must be at most 1000 or a multiple"),
        ('name = "research"', 'name = "Re search"', "queues[0].name: must be one or more segments"),
    ],
)
def test_a_wrong_scenario_is_refused_by_field(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "simulations/scenarios/small.toml").read_text()
    assert old in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInput) as caught:
        generate(read_scenario(file), 0)
    assert words in str(caught.value)


def test_a_scenario_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("name = small\n")
    with pytest.raises(TraceError, match="is not TOML"):
        read_scenario(file)
    with pytest.raises(TraceError, match="cannot be read"):
        load_scenario(str(tmp_path / "missing.toml"))
    with pytest.raises(InvalidInput, match="must be one of"):
        load_scenario("smal")


def test_random_faults_repeat_and_do_not_depend_on_other_nodes() -> None:
    def history(names: list[str]) -> list[Outage | None]:
        faults = RandomFaults(names, seed=5, mean_up_seconds=100.0, mean_down_seconds=10.0)
        first = faults.next_outage("a", 0.0)
        assert first is not None
        if "b" in names:
            faults.next_outage("b", 0.0)
        return [first, faults.next_outage("a", first.end)]

    assert history(["a"]) == history(["a", "b"])


def test_scenario_faults_leave_arrivals_alone() -> None:
    scenario = load_scenario("small")
    workload = generate(scenario, 2)
    assert generate(scenario.model_copy(update={"faults": None}), 2) == workload
    assert make_faults(scenario, workload, 2).next_outage(workload.nodes[0].name, 0.0) is not None


def test_listed_faults_come_in_order_and_must_not_overlap() -> None:
    faults = ListedFaults([Outage("a", 50.0, 5.0), Outage("a", 10.0, 5.0), Outage("b", 1.0, 1.0)])
    first = faults.next_outage("a", 0.0)
    assert first == Outage("a", 10.0, 5.0)
    assert faults.next_outage("a", first.end) == Outage("a", 50.0, 5.0)
    assert faults.next_outage("a", 55.0) is None
    with pytest.raises(InvalidInput, match="overlap"):
        ListedFaults([Outage("a", 1.0, 5.0), Outage("a", 2.0, 5.0)])
    with pytest.raises(InvalidInput, match="seconds: must be"):
        Outage("a", 1.0, 0.0)

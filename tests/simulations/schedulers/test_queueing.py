"""Schedulers that serve jobs in an order: cases whose answer is known, and the textbook written down once more."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.schedulers import SCHEDULERS
from simulations.traces import batsim
from simulations.workload import Arrival
from tests.simulations.schedulers import counting
from tests.simulations.schedulers.counting import Asked, Machines, simulate
from tests.simulations.schedulers.replaying import ends, machines, run, starts
from tests.simulations.worlds import node, on, spec, workload

TRACES = os.environ.get("ALLOCATOR_TRACES")


def in_order(count: int, scheduler: str, *jobs: Asked, placement: str = "") -> list[float]:
    """When each starts."""
    found = starts(run(machines(count, jobs), scheduler, placement))
    return [found[str(number)] for number in range(len(jobs))]


class TestFifo:
    def test_nobody_overtakes(self) -> None:
        jobs = Asked(0, 3, 10, 10), Asked(1, 2, 5, 5), Asked(2, 1, 1, 1)
        assert in_order(4, "fifo", *jobs) == [0, 10, 10]

    def test_who_fits_starts_in_the_same_round(self) -> None:
        assert in_order(4, "fifo", Asked(0, 2, 9, 9), Asked(0, 2, 9, 9), Asked(0, 1, 9, 9)) == [0, 0, 9]

    def test_a_job_that_the_nodes_could_never_run_keeps_nobody_waiting(self) -> None:
        result = run(machines(2, [Asked(0, 3, 9, 9), Asked(1, 2, 9, 9)]), "fifo")
        assert starts(result)["1"] == 1
        assert result.summary["jobs"]["by_state"] == {"pending": 1, "succeeded": 1}
        assert result.ending.value == "stalled"


class TestShortestFirst:
    def test_the_shortest_of_those_that_wait_is_next(self) -> None:
        jobs = Asked(0, 2, 10, 10), Asked(1, 2, 8, 8), Asked(2, 2, 3, 3), Asked(3, 2, 5, 5)
        assert in_order(2, "sjf", *jobs) == [0, 18, 10, 13]

    def test_who_does_not_fit_is_passed(self) -> None:
        jobs = Asked(0, 1, 10, 10), Asked(1, 2, 2, 2), Asked(2, 1, 5, 5)
        assert in_order(2, "sjf", *jobs) == [0, 10, 2]

    def test_jobs_that_say_nothing_are_long(self) -> None:
        made = workload(
            [node("a", gpus=1)],
            named(_arrival(0, 10), _arrival(1, 5), _arrival(2, 100, estimate=100)),
        )
        assert starts(run(made, "sjf")) == {"0": 0, "1": 110, "2": 10}


class TestEasy:
    """4 machines; the first job holds 3 of them until 10."""

    held = Asked(0, 3, 10, 10)
    head = Asked(1, 4, 5, 5)

    def test_who_is_done_before_the_first_can_start_overtakes(self) -> None:
        assert in_order(4, "easy", self.held, self.head, Asked(2, 1, 8, 8)) == [0, 10, 2]

    def test_who_is_not_does_not(self) -> None:
        assert in_order(4, "easy", self.held, self.head, Asked(2, 1, 9, 9)) == [0, 10, 15]

    def test_what_the_first_does_not_need_may_be_used_for_longer(self) -> None:
        jobs = self.held, Asked(1, 3, 5, 5), Asked(2, 1, 100, 100), Asked(3, 1, 100, 100)
        assert in_order(4, "easy", *jobs) == [0, 10, 2, 15]

    def test_only_the_first_is_protected(self) -> None:
        """The third could start at 15, behind the second; the fourth starts before and delays it."""
        jobs = Asked(0, 3, 10, 10), Asked(1, 2, 5, 5), Asked(2, 4, 5, 5), Asked(3, 1, 100, 100)
        assert in_order(4, "easy", *jobs) == [0, 10, 103, 3]
        assert in_order(4, "conservative", *jobs) == [0, 10, 15, 20]

    def test_who_ends_early_brings_the_start_forward(self) -> None:
        assert in_order(4, "easy", Asked(0, 3, 10, 4), self.head, Asked(2, 1, 2, 2)) == [0, 4, 2]

    def test_who_outlives_what_it_said_stays(self) -> None:
        """It may end at any moment, so nobody starts who would be in the way then."""
        jobs = Asked(0, 3, 10, 20), self.head, Asked(12, 1, 1, 1)
        assert in_order(4, "easy", *jobs) == [0, 20, 25]

    def test_pinned_machines_are_not_for_others(self) -> None:
        """Machine 0 is free from 1 on, 1 from 10, and 2 and 3 from 5, when the fourth job will have two of these three.
        Counting, any two: the last job may have 0 for long. Pinned, the lowest: 0 and 2.
        """
        jobs = Asked(0, 1, 1, 1), Asked(0, 1, 10, 10), Asked(0, 2, 5, 5), Asked(2, 2, 3, 3), Asked(3, 1, 100, 100)
        assert in_order(4, "easy", *jobs, placement="lowest") == [0, 0, 0, 5, 3]
        assert in_order(4, "easy-pinned", *jobs) == [0, 0, 0, 5, 5]

    @pytest.mark.skipif(TRACES is None, reason="ALLOCATOR_TRACES is not set: batsim-easy-reference is in there")
    def test_batsims_own_schedule(self) -> None:
        """A published schedule of another simulator: every start, if reservations are pinned to the lowest nodes;
        723 of 801 if they are counted, as is known of that variant.
        """
        folder = Path(TRACES or "") / "batsim-easy-reference"
        with (folder / "easy_out_jobs.csv").open() as rows:
            published = {row["job_id"]: float(row["starting_time"]) for row in csv.DictReader(rows)}
        made = batsim.read(folder)
        pinned, counted = (run(made, name, "lowest") for name in ("easy-pinned", "easy"))
        assert len(published) == 801
        assert starts(pinned) == pytest.approx(published, abs=1e-5)
        assert pinned.summary["jobs"]["wait_s"]["mean"] == pytest.approx(9.516326, abs=1e-6)
        same = sum(abs(start - published[name]) < 1e-5 for name, start in starts(counted).items())
        assert same == 723
        assert counted.summary["jobs"]["wait_s"]["mean"] == pytest.approx(8.681, abs=5e-4)


class TestConservative:
    def test_nobody_is_put_off_by_who_came_later(self) -> None:
        jobs = Asked(0, 3, 10, 10), Asked(1, 4, 5, 5), Asked(2, 2, 5, 5), Asked(3, 1, 7, 7), Asked(4, 1, 7, 7)
        assert in_order(4, "conservative", *jobs) == [0, 10, 15, 3, 15]

    def test_promises_move_forward_when_somebody_ends_early(self) -> None:
        jobs = Asked(0, 4, 10, 2), Asked(1, 3, 5, 5), Asked(1, 3, 5, 1), Asked(1, 1, 5, 5)
        assert in_order(4, "conservative", *jobs) == [0, 2, 7, 2]

    def test_a_job_that_is_late_puts_everybody_off(self) -> None:
        jobs = Asked(0, 2, 5, 9), Asked(1, 2, 5, 5), Asked(2, 2, 5, 5)
        assert in_order(2, "conservative", *jobs) == [0, 9, 14]


class TestLeastAttained:
    def test_who_has_had_an_hour_gives_way_to_who_has_not(self) -> None:
        made = workload([node("a", gpus=1)], named(_arrival(0, 10_000), _arrival(1000, 600)))
        result = run(made, "las")
        assert starts(result) == {"0": 0, "1": 3600}
        assert ends(result) == {"0": 10_600, "1": 4200}

    def test_two_gpus_attain_it_in_half_the_time(self) -> None:
        made = workload([node("a", gpus=2)], named(_arrival(0, 10_000, gpus=2), _arrival(1000, 600)))
        assert starts(run(made, "las")) == {"0": 0, "1": 1800}

    def test_nobody_is_stopped_for_one_of_the_same_queue(self) -> None:
        made = workload([node("a", gpus=1)], named(_arrival(0, 3000), _arrival(1, 10)))
        assert starts(run(made, "las")) == {"0": 0, "1": 3000}

    def test_nor_who_may_not_be_stopped(self) -> None:
        made = workload([node("a", gpus=1)], named(_arrival(0, 10_000, preemptible=False), _arrival(1, 10)))
        assert starts(run(made, "las")) == {"0": 0, "1": 10_000}

    def test_only_as_many_are_stopped_as_it_takes_the_latest_first(self) -> None:
        old = [_arrival(0, 20_000) for _ in range(4)]
        result = run(workload([node("a", gpus=4)], named(*old, _arrival(5000, 100, gpus=2))), "las")
        assert starts(result)["4"] == 5000
        assert ends(result) == {"0": 20_000, "1": 20_000, "2": 20_100, "3": 20_100, "4": 5100}

    def test_who_would_not_fit_anyway_stops_nobody(self) -> None:
        held = _arrival(0, 50_000, gpus=1, preemptible=False)
        result = run(
            workload([node("a", gpus=2)], named(held, _arrival(0, 20_000), _arrival(5000, 100, gpus=2))), "las"
        )
        assert result.summary["preemptions"]["stopped"] == 0


class TestRandom:
    JOBS = tuple(Asked(0 if number == 0 else 1, 1, 5, 5) for number in range(9))

    def test_the_seed_decides(self) -> None:
        found = [starts(run(machines(1, self.JOBS), "random", seed=seed)) for seed in (1, 1, 2)]
        assert found[0] == found[1] != found[2]
        assert sorted(found[0].values()) == [0, 5, 10, 15, 20, 25, 30, 35, 40]


class TestPlacement:
    """Nodes a, b, c with 4, 2 and 3 GPUs."""

    @pytest.mark.parametrize(
        ("placement", "where"), [("lowest", "a"), ("best-fit", "b"), ("prospects", "b"), ("fragmentation", "b")]
    )
    def test_which_node(self, placement: str, where: str) -> None:
        nodes = [node("a", gpus=4), node("b", gpus=2), node("c", gpus=3)]
        result = run(workload(nodes, named(_arrival(0, 10, gpus=2))), "fifo", placement)
        assert result.table("runs").values("first_nodes")[0] == where

    def test_lots_are_drawn_among_all_that_fit(self) -> None:
        nodes = [node(f"n{number}", gpus=1) for number in range(6)]
        made = workload(nodes, named(*(_arrival(time, 1) for time in range(60))))
        runs = run(made, "fifo", "random").table("runs")
        used = set(runs.values("first_nodes"))
        assert len(used) > 3

    def test_numbers_in_names_count_as_numbers(self) -> None:
        nodes = [node(f"n{number}", gpus=1) for number in (10, 9, 2)]
        runs = run(workload(nodes, named(_arrival(0, 10))), "fifo", "lowest").table("runs")
        assert runs.values("first_nodes")[0] == "n2"

    def test_the_fastest_flavor_that_fits_now(self) -> None:
        nodes = [node("slow", "t4", gpus=1), node("fast", "a100", gpus=1)]
        both = spec(on("t4", throughput=1.0, gpus=1), on("a100", throughput=2.0, gpus=1))
        result = run(workload(nodes, [Arrival(0, both, 10), Arrival(0, both, 10)]), "fifo")
        jobs = result.table("jobs")
        assert list(jobs.values("flavor")) == ["a100", "t4"]
        assert jobs.numbers("end_s").tolist() == [10, 20]


ASKED = st.builds(
    lambda submitted, machines, estimate, part: Asked(submitted, machines, estimate, max(1, estimate * part // 4)),
    st.integers(0, 30),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(1, 4),
)


@pytest.mark.parametrize(
    ("scheduler", "rule"),
    [("fifo", counting.fifo), ("sjf", counting.sjf), ("easy", counting.easy), ("conservative", counting.conservative)],
)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(jobs=st.lists(ASKED, min_size=1, max_size=14))
def test_as_the_textbook_has_it(scheduler: str, rule: Callable[[Machines], None], jobs: list[Asked]) -> None:
    """On identical machines, with estimates that are upper bounds: every start."""
    jobs = sorted(jobs, key=lambda asked: asked.submitted)
    assert in_order(5, scheduler, *jobs) == simulate(jobs, 5, rule)


def test_all_say_what_they_are() -> None:
    for name, scheduler in SCHEDULERS.items():
        assert scheduler.name == name
        assert scheduler.about.endswith(".")
        assert scheduler.source


def _arrival(
    time: float, seconds: float, *, gpus: float = 1, estimate: float | None = None, preemptible: bool = True
) -> Arrival:
    """One replica; it gets its name from its place in the list."""
    made = spec(on(gpus=gpus, cores=0.5), preemptible=preemptible)
    return Arrival(time, replace(made, expected_duration_seconds=estimate), seconds)


def named(*arrivals: Arrival) -> list[Arrival]:
    return [replace(arrival, spec=replace(arrival.spec, name=str(number))) for number, arrival in enumerate(arrivals)]

"""What jobs received against what they were owed: exact small cases, and the sums done again without arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.domain.policy import Policy
from allocator.rounds.report import RoundReport
from allocator.rounds.settle import running_after
from simulations.faults import ListedFaults, Outage
from simulations.replay import ReplayOptions, replay
from simulations.scenario import load_scenario
from simulations.service import Service, ServiceMeter, service_summary, time_averaged_loss
from simulations.sizing import Sizing
from simulations.synthetic import generate, make_faults
from simulations.workload import Arrival
from tests.simulations.worlds import node, on, spec, workload

PER_JOB = ("seconds", "owed", "received", "fluid", "placed", "rounds", "farthest", "behind")


def service(**columns: list[float]) -> Service:
    """Jobs with these numbers, and 100 s and 100 rounds each unless told otherwise."""
    count = len(next(iter(columns.values())))
    plain = dict.fromkeys(("owed", "received", "fluid", "placed", "farthest", "behind"), [0.0] * count)
    plain |= {"seconds": [100.0] * count, "rounds": [100.0] * count, "weight": [1.0] * count} | columns
    return Service(np.arange(count), **{name: np.array(values) for name, values in plain.items()})


def test_two_jobs_that_take_turns_on_one_node() -> None:
    """Each is owed half of the time. What they lag at a round is at most hysteresis and interval."""
    made = workload([node("a")], [Arrival(0.0, spec(on(cores=8)), 1e6) for _ in range(2)])
    options = ReplayOptions(Policy(minimum_run_seconds=0.0), interval_seconds=100.0, horizon_seconds=30_000.0)
    result = replay(made, options)
    jobs = result.table("jobs")
    assert jobs.numbers("counted_s").tolist() == [30_000.0, 30_000.0]
    assert jobs.numbers("owed_s") == pytest.approx([15_000.0, 15_000.0], rel=1e-3)
    assert jobs.numbers("received_s").sum() == 30_000.0, "one of them runs at any time"
    assert abs(jobs.numbers("received_s") - 15_000.0).max() <= 400.0
    assert 100.0 <= jobs.numbers("lag_s").max() <= 400.0
    found = result.summary["service"]
    assert found["lag_s"]["max"] == jobs.numbers("lag_s").max()
    assert found["long_lived"]["jobs"] == 2
    assert found["long_lived"]["close"] == 1.0
    assert found["rounding_loss"] == pytest.approx(0.0, abs=1e-3)
    assert result.summary["preemptions"]["per_job"] == result.summary["preemptions"]["stopped"] / 2 > 10


def test_a_job_that_is_not_preemptible_does_not_count() -> None:
    """Two that want the same place: one runs, and the other's waiting is no lag."""
    services = [Arrival(0.0, spec(on(cores=8), preemptible=False), 3000.0) for _ in range(2)]
    result = replay(workload([node("a")], services), ReplayOptions(interval_seconds=60.0))
    assert result.table("jobs").numbers("counted_s").tolist() == [0.0, 0.0]
    assert result.table("jobs").numbers("wait_s").max() == 3000.0
    assert result.summary["service"]["jobs"] == 0
    assert result.summary["service"]["rounding_loss"] is None


def test_the_last_partial_interval_is_left_out_on_both_sides() -> None:
    """It waits for the round at 60 s, and ends 10 s after the one at 120 s."""
    made = workload([node("a")], [Arrival(1.0, spec(on()), 70.0)])
    jobs = replay(made, ReplayOptions(interval_seconds=60.0)).table("jobs")
    assert [jobs.numbers(name).tolist() for name in ("counted_s", "owed_s", "received_s", "lag_s")] == [
        [60.0], [60.0], [60.0], [0.0],
    ]  # fmt: skip


def test_a_job_that_waits_for_its_node_is_owed_nothing() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 300.0), Arrival(0.0, spec(on(cores=99)), 1.0)])
    jobs = replay(made, ReplayOptions(interval_seconds=60.0)).table("jobs")
    assert jobs.numbers("counted_s")[1] == 0.0
    assert jobs.numbers("owed_s")[1] == 0.0


def test_what_nodes_force_is_not_counted_as_a_preemption_by_choice() -> None:
    made = workload([node("a")], [Arrival(0.0, spec(on()), 300.0)])
    outage = ListedFaults([Outage("a", 100.0, 200.0)])
    found = replay(made, ReplayOptions(interval_seconds=60.0), faults=outage).summary["preemptions"]
    assert found["stopped_by_reason"] == {"node_lost": 1}
    assert found["per_job"] == 0.0


# --- figures --------------------------------------------------------------------------------------------------------


def test_the_loss_lets_one_job_make_up_for_another_and_the_shortfall_does_not() -> None:
    even = service(fluid=[50.0, 50.0], placed=[40.0, 60.0])
    assert time_averaged_loss(even, 1.0) == pytest.approx((0.0, 0.1))
    assert time_averaged_loss(even, math.inf) == pytest.approx((0.0, 0.1))


@pytest.mark.parametrize(
    ("fairness", "loss"),
    [(0.0, 1 - 125 / 150), (1.0, 0.25), (2.0, 1 - 200 / 300), (math.inf, 1 - 125 / 150)],
)
def test_what_is_lost_counts_at_its_marginal_utility(fairness: float, loss: float) -> None:
    """The second job has half the utility, so at alpha = 1 each second of it is worth twice as much."""
    made = service(fluid=[100.0, 50.0], placed=[100.0, 25.0])
    assert time_averaged_loss(made, fairness) == pytest.approx((loss, loss))


def test_without_anything_owed_there_is_no_loss() -> None:
    assert time_averaged_loss(service(fluid=[0.0]), 1.0) == (None, None)
    empty = service_summary(ServiceMeter().result())
    assert empty["jobs"] == 0
    assert empty["lag_s"]["max"] is None
    assert empty["long_lived"]["close"] is None


def test_only_long_lived_jobs_are_judged_by_their_average() -> None:
    made = service(
        owed=[50.0, 50.0, 50.0, 50.0], received=[51.0, 60.0, 47.0, 0.0], rounds=[50.0, 99.0, 50.0, 49.0],
        farthest=[5.0, 10.0, 3.0, 50.0], behind=[5.0, 0.0, 3.0, 50.0],
    )  # fmt: skip
    found = service_summary(made)
    assert found["lag_s"]["max"] == found["behind_s"]["max"] == 50.0
    assert found["long_lived"] == {
        "jobs": 3,
        "close": pytest.approx(1 / 3),
        "not_behind": pytest.approx(2 / 3),
        "largest_difference": pytest.approx(0.1),
        "largest_shortfall": pytest.approx(0.03),
    }


# --- the same without arrays ----------------------------------------------------------------------------------------


class Bookkeeper:
    """Does what the meter does, job by job."""

    def __init__(self) -> None:
        self.books: dict[int, dict[str, float]] = {}
        self._rates: dict[int, dict[str, float]] = {}
        self._time = 0.0

    def observe(self, report: RoundReport) -> None:
        live = {job.sequence for job in report.snapshot.jobs}
        elapsed = report.summary.time - self._time
        for sequence in live & self._rates.keys():
            rates, book = self._rates[sequence], self.books[sequence]
            for name in ("seconds", "owed", "received", "fluid", "placed"):
                book[name] += rates[name] * elapsed
            book["rounds"] += 1
            lag = book["received"] - book["owed"]
            book["farthest"] = max(book["farthest"], abs(lag))
            book["behind"] = max(book["behind"], -lag)
        self._time, self._rates = report.summary.time, {}
        running = running_after(report.snapshot, report.commit)
        formulation, shares = report.formulation, report.solution.shares
        for job in report.snapshot.jobs:
            self.books.setdefault(job.sequence, dict.fromkeys(PER_JOB, 0.0))
            row = formulation.rows.get(job.id)
            if row is None or not job.spec.preemptible:
                continue
            columns, runs = formulation.configurations[row], running.get(job.id)
            utility = formulation.problem.utility[row]
            self._rates[job.sequence] = {
                "seconds": 1.0,
                "owed": min(1.0, sum(shares[row])),
                "received": 0.0 if runs is None else 1.0,
                "fluid": sum(u * x for u, x in zip(utility, shares[row], strict=True)),
                "placed": utility[columns.index(runs)] if runs in columns else 0.0,
            }


def test_the_sums_are_those_of_a_plain_loop() -> None:
    """A busy cluster with gangs, several flavors, failing nodes, and flavors that some jobs cannot use."""
    scenario = Sizing(nodes=9, arrivals_per_hour=150.0, arrival_hours=0.6).applied_to(load_scenario("small"))
    made = generate(scenario, 5)
    meter, bookkeeper = ServiceMeter(), Bookkeeper()
    options = ReplayOptions(scenario.make_policy(), interval_seconds=60.0, horizon_seconds=3600.0)
    replay(made, options, faults=make_faults(scenario, made, 5), observers=[meter, bookkeeper])
    found = meter.result()
    assert found.sequence.tolist() == sorted(bookkeeper.books)
    for name in PER_JOB:
        expected = [bookkeeper.books[sequence][name] for sequence in found.sequence.tolist()]
        assert getattr(found, name) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-6), name
    assert found.farthest.max() > 60.0

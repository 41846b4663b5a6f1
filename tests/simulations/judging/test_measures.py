"""Every measure by hand on a replay so small that it can be: who had what when, who was late, what lay in pieces."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from allocator.domain.policy import Policy
from allocator.domain.resources import Resources
from simulations.faults import ListedFaults, Outage
from simulations.judging.contention import Contention
from simulations.judging.evenness import error_by_round, evenness, jain_index
from simulations.judging.fragmentation import Shape, fragmentation
from simulations.judging.runs import RunLog
from simulations.judging.shares import Holders, QueueShares, queue_shares
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.workload import Arrival
from tests.simulations.worlds import node, on, spec, workload

CALM = Policy(minimum_run_seconds=1e6)
"""Nobody is stopped for another."""


def two_queues() -> ReplayResult:
    """One node of 8 cores and 2 GPUs. `main` has it wholly from 0 s to 100 s; `other` waits for it until the round at
    100 s, and has half of it until 200 s.
    """
    arrivals = [
        Arrival(0.0, spec(on(cores=8, gpus=2), queue="main"), 100.0),
        Arrival(10.0, spec(on(cores=4, gpus=1), queue="other"), 100.0),
    ]
    made = workload([node("a", gpus=2)], arrivals, ("main", "other"))
    return replay(made, ReplayOptions(CALM, interval_seconds=50.0))


@pytest.fixture(scope="module")
def found() -> ReplayResult:
    return two_queues()


def test_the_log_of_runs(found: ReplayResult) -> None:
    runs = found.table("runs")
    assert runs.numbers("start_s").tolist() == [0.0, 100.0]
    assert runs.numbers("end_s").tolist() == [100.0, 200.0]
    assert runs.values("queue") == ["main", "other"]
    assert runs.values("first_nodes") == ["a", "a"]
    assert runs.numbers("share").tolist() == [1.0, 0.5]


def test_entitlements_round_by_round(found: ReplayResult) -> None:
    """A queue that wants nothing has one row, when that begins. At 0 s only `main` wants anything; at 50 s it wants all
    and `other` half, so each is entitled to a half; from 100 s on `other` is alone.
    """
    queues = found.table("queues")
    rows = list(
        zip(
            queues.numbers("time_s").tolist(),
            queues.values("queue"),
            *(queues.numbers(f"{name}_share").tolist() for name in ("demand", "entitled", "held")),
            strict=True,
        )
    )
    assert rows[:6] == [
        (0.0, "main", 1.0, 1.0, 1.0),
        (0.0, "other", 0.0, 0.0, 0.0),
        (50.0, "main", 1.0, 0.5, 1.0),
        (50.0, "other", 0.5, 0.5, 0.0),
        (100.0, "main", 0.0, 0.0, 0.0),
        (100.0, "other", 0.5, 0.5, 0.5),
    ]


def test_fairness_between_queues(found: ReplayResult) -> None:
    """Both are wrong by a half for 50 s each, of 100 s and 150 s of wanting. Altogether `main` holds 100 and is
    entitled to 75 (in share-seconds), `other` 50 and 75.
    """
    summary = found.summary["entitlement"]
    assert summary["error"] == pytest.approx((0.5 * 50 + 0.5 * 50) / 250)
    assert summary["shortfall"] == pytest.approx(0.5 * 50 / 250)
    assert summary["error_hourly"] == pytest.approx((25 + 25) / 250), "all of it is in one hour"
    assert summary["error_altogether"] == summary["error_hourly"]
    ratios = [100 / 75, 50 / 75]
    assert summary["jain_index"] == pytest.approx(sum(ratios) ** 2 / (2 * sum(ratio**2 for ratio in ratios)))
    assert found.summary["queues"]["main"]["held_over_entitled"] == pytest.approx(100 / 75)
    assert found.summary["queues"]["other"]["entitled_share"] == pytest.approx(75 / 150)


def test_finish_time_fairness(found: ReplayResult) -> None:
    """`main` wants twice what it is entitled to in the second half of its life: contention 1.5, so rho = 1 / 1.5.
    `other` is always entitled to all it wants: rho = 190 / 100.
    """
    jobs = found.table("jobs")
    assert jobs.numbers("contention").tolist() == pytest.approx([1.5, 1.0])
    assert jobs.numbers("rho").tolist() == pytest.approx([100 / 150, 190 / 100])
    assert found.summary["entitlement"]["violations"] == 1
    assert found.summary["entitlement"]["violated"] == 0.5


def test_bounded_slowdown_counts_ten_seconds_at_least() -> None:
    """2 s long, waits 40 s for its round: 42 / 10 and not 42 / 2."""
    made = workload([node("a")], [Arrival(10.0, spec(on()), 2.0)])
    jobs = replay(made, ReplayOptions(interval_seconds=50.0)).table("jobs")
    assert jobs.numbers("slowdown").tolist() == [21.0]
    assert jobs.numbers("bounded_slowdown").tolist() == [4.2]
    short = replay(workload([node("a")], [Arrival(0.0, spec(on()), 2.0)]), ReplayOptions()).table("jobs")
    assert short.numbers("bounded_slowdown").tolist() == [1.0]


def test_throughput_and_sizes(found: ReplayResult) -> None:
    """2 GPUs x 100 s and 1 GPU x 100 s in 200 s; before the last arrival, at 10 s, nothing ends."""
    throughput = found.summary["throughput"]
    assert throughput["to_the_end"] == {
        "jobs_per_hour": pytest.approx(2 / (200 / 3600)),
        "gpu_hours_per_hour": pytest.approx(300 / 3600 / (200 / 3600)),
    }
    assert throughput["while_jobs_arrive"] == {"jobs_per_hour": 0.0, "gpu_hours_per_hour": 0.0}
    assert found.table("jobs").values("size") == ["2-8", "1"]
    assert {size: part["jobs"] for size, part in found.summary["jobs"]["by_size"].items()} == {"1": 1, "2-8": 1}


def test_jobs_that_are_left_count_with_the_time_they_had() -> None:
    """Of two jobs for one node, one ends at 100 s; the replay ends at 300 s, and of a third job nobody has heard."""
    arrivals = [Arrival(at, spec(on(cores=8), preemptible=False), 100.0 + 900 * (at > 0)) for at in (0.0, 50.0, 900.0)]
    found = replay(workload([node("a")], arrivals), ReplayOptions(horizon_seconds=300.0))
    ended = found.summary["jobs"]["completion_s"]["mean"]
    assert found.summary["run"]["end_s"] == 300.0
    assert found.summary["throughput"]["mean_time_in_system_s"] == pytest.approx((ended + 250.0) / 2)


def test_a_lost_node_ends_its_runs() -> None:
    arrivals = [Arrival(0.0, spec(on(cores=8)), 300.0), Arrival(0.0, spec(on(cores=8)), 300.0)]
    made = workload([node("a"), node("b")], arrivals)
    result = replay(made, ReplayOptions(interval_seconds=60.0), faults=ListedFaults([Outage("a", 100.0, 1000.0)]))
    runs = result.table("runs")
    first = [index for index, nodes in enumerate(runs.values("first_nodes")) if nodes == "a"]
    assert runs.numbers("end_s")[first[0]] == 100.0
    assert len(runs) == 3
    assert not np.isnan(runs.numbers("end_s")).any()


def test_prices_are_written_where_they_change() -> None:
    """One job alone has no competitor; three on two GPUs have."""
    arrivals = [Arrival(float(time), spec(on(cores=1, gpus=1)), 200.0) for time in (0, 60, 60)]
    prices = replay(workload([node("a", gpus=2)], arrivals), ReplayOptions(interval_seconds=60.0)).table("prices")
    gpu = [
        (time, price)
        for time, resource, price in zip(
            prices.numbers("time_s").tolist(), prices.values("resource"), prices.numbers("price").tolist(), strict=True
        )
        if resource == "gpu"
    ]
    assert gpu[0] == (0.0, 0.0)
    assert gpu[1][0] == 60.0
    assert gpu[1][1] > 0
    assert all(one[1] != other[1] for one, other in pairwise(gpu))


# --- the parts ------------------------------------------------------------------------------------------------------


def shares(*rows: tuple[int, int, float, float, float]) -> QueueShares:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return QueueShares(columns[0], columns[1], *(column.astype(float) for column in columns[2:]))


def test_jain_index_has_its_known_values() -> None:
    assert jain_index([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_index([]) is None


def test_taking_turns_is_no_error_over_an_hour() -> None:
    """Two queues that have everything in turns, half an hour each."""
    rows = shares(
        (0, 0, 1.0, 0.5, 1.0), (0, 1, 1.0, 0.5, 0.0), (1, 0, 1.0, 0.5, 0.0), (1, 1, 1.0, 0.5, 1.0),
    )  # fmt: skip
    found, _ = evenness(rows, np.array([0.0, 1800.0]), np.array([1800.0, 1800.0]), ["a", "b"])
    assert (found["error"], found["error_hourly"], found["jain_index"]) == (0.5, 0.0, 1.0)
    error, index = error_by_round(rows, 3)
    assert error[:2].tolist() == [0.5, 0.5]
    assert index[:2].tolist() == [0.5, 0.5]
    assert math.isnan(error[2])


def test_nobody_wants_anything() -> None:
    empty = np.zeros(0)
    nothing = QueueShares(empty.astype(int), empty.astype(int), empty, empty, empty)
    found, by_queue = evenness(nothing, empty, empty, ["a"])
    assert found["error"] is None
    assert by_queue["a"]["held_share"] is None


def test_shares_are_the_same_however_many_rounds_are_worked_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    begin = np.sort(random.uniform(0, 100, 60))
    holders = Holders(
        random.integers(0, 3, 60),
        begin,
        (begin + random.exponential(30, 60)).astype(np.float64),
        random.integers(1, 5, (60, 2)).astype(np.float64),
    )
    times, capacity = np.arange(0.0, 120.0, 7.0), np.full((18, 2), 50.0)
    at_once = queue_shares(times, capacity, ["a", "b", "c"], {}, holders, holders)
    monkeypatch.setattr("simulations.judging.shares.CELLS", 12)
    by_two = queue_shares(times, capacity, ["a", "b", "c"], {}, holders, holders)
    for name in ("at", "queue", "demand", "entitled", "held"):
        assert getattr(at_once, name).tolist() == getattr(by_two, name).tolist()
    for index, time in enumerate(times.tolist()):
        there = (holders.start <= time) & (holders.end > time) & (holders.queue == 1)
        wanted = holders.amounts[there].sum(axis=0).max() / 50
        mine = (at_once.at == index) & (at_once.queue == 1)
        assert at_once.demand[mine].sum() == pytest.approx(wanted)


def test_contention_is_the_mean_over_a_life() -> None:
    """Contention 2 from 10 s to 20 s: a life from 5 s to 15 s has seen it half the time."""
    rows = shares((1, 0, 1.0, 0.5, 0.0))
    times, seconds = np.array([0.0, 10.0, 20.0]), np.array([10.0, 10.0, 10.0])
    life = (np.array([0, 0, 0]), np.array([5.0, 10.0, 0.0]), np.array([15.0, 20.0, np.nan]))
    contention = Contention(times, seconds, 1, *life)
    contention.add(range(3), rows)
    in_parts = Contention(times, seconds, 1, *life)
    nobody = QueueShares(np.zeros(0, dtype=int), np.zeros(0, dtype=int), *np.zeros((3, 0)))
    for rounds, part in ((range(1), nobody), (range(1, 2), rows), (range(2, 3), nobody)):
        in_parts.add(rounds, part)
    found = contention.means()
    assert in_parts.means().tobytes() == found.tobytes()
    assert found[:2].tolist() == [1.5, 2.0]
    assert math.isnan(found[2])


def replica(gpus: int, devices: tuple[int, ...] = ()) -> Any:
    from allocator.domain.placement import DesiredReplica, Epoch

    demand = Resources(cpu_millicores=1000, gpu_millis=gpus)
    return DesiredReplica("j", 0, 1, Epoch(1, 1), "t4", demand, devices, Epoch(1, 1))


def test_fragmentation_by_hand() -> None:
    """Two nodes of 2 GPUs; one has one taken. Of the 3 that are free, 1 is of no use to jobs of 2, and none to jobs
    of 1; half of what is asked for is asked for in each kind, so 0.5 x 1/3.
    """
    nodes = [node("a", gpus=2), node("b", gpus=2)]
    log = RunLog()
    log.begin("j", {("a", 0): replica(1000, (0,))}, 0.0)
    one, two = (((("t4", Resources(cpu_millicores=1000, gpu_millis=1000 * gpus)),)) for gpus in (1, 2))
    found = fragmentation(nodes, log, (Shape(one, 2.0), Shape(two, 1.0)), ("gpu",), np.array([1.0]))
    assert found[0].tolist() == [pytest.approx(0.5 / 3)]


def test_parts_of_gpus_lie_on_single_devices() -> None:
    """Half of each of two GPUs is free: of no use to who wants one whole, though it adds up to one."""
    nodes = [node("a", gpus=2)]
    log = RunLog()
    for device in (0, 1):
        log.begin("j", {("a", 0): replica(500, (device,))}, 0.0)
    shapes = tuple(Shape((("t4", Resources(cpu_millicores=1000, gpu_millis=millis)),), 1.0) for millis in (1000, 500))
    instants = np.array([1.0])
    assert fragmentation(nodes, log, shapes[:1], ("gpu",), instants)[0].tolist() == [1.0]
    assert fragmentation(nodes, log, shapes[1:], ("gpu",), instants)[0].tolist() == [0.0]


def test_what_is_down_is_not_free() -> None:
    nodes = [node("a", gpus=2), node("b", gpus=2)]
    log = RunLog()
    log.node_is("a", up=False, now=0.5)
    log.node_is("a", up=True, now=1.5)
    log.begin("j", {("b", 0): replica(1000, (1,))}, 0.0)
    shape = Shape((("t4", Resources(cpu_millicores=1000, gpu_millis=2000)),), 1.0)
    found = fragmentation(nodes, log, (shape,), ("gpu",), np.array([1.0, 2.0]))
    assert found[:, 0].tolist() == [1.0, pytest.approx(1 / 3)]

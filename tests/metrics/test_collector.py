"""What a scrape shows after rounds and events, number by number."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.errors import NotFound, StoreUnavailable
from allocator.domain.job import JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Applied, Move
from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import Resources
from allocator.intake.commands import SubmitJobs
from allocator.metrics import Metrics, command_kind, error_code, names
from allocator.rounds.report import STAGES, FlavorUsage, RoundOutcome
from tests.metrics.cases import NOW, formulation, job, report, scrape, started, total, usage, value


@dataclass(frozen=True, slots=True)
class Streams:
    watchers: int
    pushes: int
    coalesced: int


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", round_interval=2.0)


def test_before_the_first_round_counters_are_zero_and_gauges_of_rounds_absent(metrics: Metrics) -> None:
    samples = scrape(metrics)
    assert value(samples, "allocator_rounds_total", outcome="optimal") == 0
    assert value(samples, "allocator_preemptions_total", reason="priority") == 0
    assert value(samples, "allocator_jobs_finished_total", state="succeeded") == 0
    assert value(samples, "allocator_gap_ratio") is None
    assert value(samples, "allocator_last_round_timestamp_seconds") is None


def test_amounts_are_in_base_units(metrics: Metrics) -> None:
    metrics.observe(
        report(
            flavors=[
                FlavorUsage("a100", "cpu", capacity=96_000, requested=120_000, allocated=48_500, price=0.0),
                FlavorUsage("a100", "gpu", capacity=8_000, requested=16_000, allocated=6_500, price=0.1),
                FlavorUsage("a100", "memory", capacity=2**40, requested=2**38, allocated=2**39, price=0.0),
                FlavorUsage("a100", "bandwidth", capacity=25 * 10**9, requested=10**9, allocated=10**9, price=0.0),
                FlavorUsage("a100", "disk", capacity=10**12, requested=0, allocated=0, price=0.0),
                FlavorUsage("a100", "licence", capacity=5, requested=2, allocated=1, price=0.0),
            ]
        )
    )
    samples = scrape(metrics)
    assert value(samples, "allocator_cpu_capacity_cores", flavor="a100") == 96
    assert value(samples, "allocator_cpu_requested_cores", flavor="a100") == 120
    assert value(samples, "allocator_cpu_allocated_cores", flavor="a100") == 48.5
    assert value(samples, "allocator_gpu_allocated_gpus", flavor="a100") == 6.5
    assert value(samples, "allocator_memory_capacity_bytes", flavor="a100") == 2**40
    assert value(samples, "allocator_bandwidth_capacity_bytes_per_second", flavor="a100") == 25e9
    assert value(samples, "allocator_disk_capacity_bytes", flavor="a100") == 1e12
    assert value(samples, "allocator_extra_allocated_units", flavor="a100", resource="licence") == 1
    assert value(samples, "allocator_utilization_ratio", flavor="a100", resource="memory") == 0.5
    assert value(samples, "allocator_utilization_ratio", flavor="a100", resource="licence") == 0.2


def test_prices_are_per_display_unit_and_comparable_as_part_of_the_budget(metrics: Metrics) -> None:
    gpu = FlavorUsage("a100", "gpu", capacity=8_000, requested=0, allocated=0, price=0.25)
    memory = FlavorUsage("a100", "memory", capacity=64 * 2**30, requested=0, allocated=0, price=0.03125)
    metrics.observe(report(flavors=[gpu, memory], budget=4.0))
    samples = scrape(metrics)
    assert value(samples, "allocator_price", flavor="a100", resource="gpu") == pytest.approx(0.25)
    assert value(samples, "allocator_price", flavor="a100", resource="memory") == pytest.approx(0.03125)
    assert value(samples, "allocator_price_budget_ratio", flavor="a100", resource="gpu") == pytest.approx(0.5)
    assert value(samples, "allocator_price_budget_ratio", flavor="a100", resource="memory") == pytest.approx(0.5)


def test_a_flavor_without_capacity_divides_by_nothing(metrics: Metrics) -> None:
    metrics.observe(report(flavors=[FlavorUsage("gone", "gpu", capacity=0, requested=0, allocated=1000, price=0.0)]))
    samples = scrape(metrics)
    assert value(samples, "allocator_utilization_ratio", flavor="gone", resource="gpu") == 0
    assert value(samples, "allocator_price", flavor="gone", resource="gpu") == 0


def test_jobs_and_shares_by_queue(metrics: Metrics) -> None:
    metrics.observe(
        report(
            queues=[usage("research", pending=3, running=2, fair=0.5, actual=0.4), usage("serving", running=1)],
            waiting=(("fragmented", 3),),
        )
    )
    samples = scrape(metrics)
    assert value(samples, "allocator_jobs", queue="research", state="pending") == 3
    assert value(samples, "allocator_jobs", queue="research", state="running") == 2
    assert value(samples, "allocator_jobs", queue="serving", state="pending") == 0
    assert value(samples, "allocator_queue_fair_share_ratio", queue="research") == 0.5
    assert value(samples, "allocator_queue_actual_share_ratio", queue="research") == 0.4
    assert value(samples, "allocator_queue_weight", queue="serving") == 1
    assert value(samples, "allocator_jobs_waiting", cause="fragmented") == 3
    assert value(samples, "allocator_jobs_waiting", cause="insufficient_capacity") == 0


def test_the_quality_of_the_answer(metrics: Metrics) -> None:
    metrics.observe(report())
    metrics.observe(report(round=2, time=NOW + 2, outcome=RoundOutcome.FALLBACK, solver="price", iterations=30))
    samples = scrape(metrics)
    assert value(samples, "allocator_objective") == 1.5
    assert value(samples, "allocator_objective_bound") == 1.6
    assert value(samples, "allocator_gap_ratio") == 0.05
    assert value(samples, "allocator_rounding_loss_ratio") == 0.25
    assert value(samples, "allocator_last_round_timestamp_seconds") == NOW + 2
    assert value(samples, "allocator_rounds_total", outcome="optimal") == 1
    assert value(samples, "allocator_rounds_total", outcome="fallback") == 1
    assert value(samples, "allocator_solves_total", solver="conic") == 1
    assert value(samples, "allocator_solver_iterations_total", solver="price") == 30


def test_a_stale_round_shows_no_answer_instead_of_zeros(metrics: Metrics) -> None:
    gpu = FlavorUsage("a100", "gpu", capacity=8_000, requested=0, allocated=4_000, price=0.0)
    metrics.observe(report(flavors=[gpu], queues=[usage("research", pending=1)]))
    metrics.observe(
        report(flavors=[gpu], queues=[usage("research", pending=1)], outcome=RoundOutcome.STALE, gap=0.0, solver="")
    )
    samples = scrape(metrics)
    shown = {name for name, _ in samples}
    assert not shown & {
        "allocator_gap_ratio",
        "allocator_objective",
        "allocator_objective_bound",
        "allocator_rounding_loss_ratio",
        "allocator_price",
        "allocator_price_budget_ratio",
        "allocator_queue_fair_share_ratio",
    }
    assert value(samples, "allocator_utilization_ratio", flavor="a100", resource="gpu") == 0.5
    assert value(samples, "allocator_rounds_total", outcome="stale") == 1
    assert total(samples, "allocator_solves_total") == 1


def test_waits_end_with_the_first_start_only(metrics: Metrics) -> None:
    fresh = job("j1", 1, submitted=NOW - 30)
    again = replace(job("j2", 2, submitted=NOW - 5000), first_start_time=NOW - 4000)
    metrics.observe(
        report(queues=[usage("research")], jobs=[fresh, again], applied=[started(fresh), started(again)], started=2)
    )
    samples = scrape(metrics)
    assert value(samples, "allocator_job_wait_seconds_count", queue="research") == 1
    assert value(samples, "allocator_job_wait_seconds_sum", queue="research") == pytest.approx(30)
    assert value(samples, "allocator_job_wait_seconds_bucket", queue="research", le="10.0") == 0
    assert value(samples, "allocator_job_wait_seconds_bucket", queue="research", le="60.0") == 1
    assert value(samples, "allocator_job_starts_total") == 2


def test_changes_and_what_they_cost_add_up(metrics: Metrics) -> None:
    runner = replace(job("j1", 1), state=JobState.RUNNING)
    place = Placement("j1", 0, (ReplicaPlacement("n2", (0,)),))
    move = Applied(Move(place, PreemptionReason.RECONFIGURED), None)
    node = Node("n2", "a100", Resources(gpu_millis=1000))
    for number in (1, 2):
        metrics.observe(
            report(
                round=number,
                nodes=[node],
                jobs=[runner],
                applied=[move],
                moved=1,
                resized=5,
                rejected=3,
                preempted=(("fair_share", 2),),
                lost=(
                    ("a100", "cpu", 4_000 * 60.0),
                    ("a100", "gpu", 1_000 * 60.0),
                    ("a100", "bandwidth", 1e9 * 60),
                    ("a100", "licence", 2 * 60.0),
                ),
            )
        )
    samples = scrape(metrics)
    assert value(samples, "allocator_preemptions_total", reason="fair_share") == 4
    assert value(samples, "allocator_preemptions_total", reason="node_lost") == 0
    assert value(samples, "allocator_job_moves_total", reason="reconfigured") == 2
    assert value(samples, "allocator_job_resizes_total") == 10
    assert value(samples, "allocator_changes_rejected_total") == 6
    assert value(samples, "allocator_cpu_lost_core_seconds_total", flavor="a100") == 480
    assert value(samples, "allocator_gpu_lost_gpu_seconds_total", flavor="a100") == 120
    assert value(samples, "allocator_bandwidth_lost_bytes_total", flavor="a100") == 120e9
    assert value(samples, "allocator_extra_lost_unit_seconds_total", flavor="a100", resource="licence") == 240


def test_stages_and_the_whole_round_are_timed(metrics: Metrics) -> None:
    metrics.observe(report(stages=tuple((stage, 0.02) for stage in STAGES)))
    samples = scrape(metrics)
    for stage in STAGES:
        assert value(samples, "allocator_round_stage_duration_seconds_count", stage=stage) == 1
    assert value(samples, "allocator_round_stage_duration_seconds_bucket", stage="solve", le="0.025") == 1
    assert value(samples, "allocator_round_duration_seconds_sum") == pytest.approx(0.02 * len(STAGES))


def test_nodes_by_what_they_are(metrics: Metrics) -> None:
    room = Resources(cpu_millicores=1000)
    metrics.observe(
        report(
            nodes=[
                Node("n1", "a100", room),
                Node("n2", "a100", room, availability=NodeAvailability.DRAINING),
                Node("n3", "a100", room, health=NodeHealth.LOST),
                Node("n4", "cpu", room, trouble="No space left on device"),
                Node("n5", "cpu", room, health=NodeHealth.LOST, trouble="No space left on device"),
            ]
        )
    )
    samples = scrape(metrics)
    assert value(samples, "allocator_nodes", flavor="a100", health="ready", availability="open") == 1
    assert value(samples, "allocator_nodes", flavor="a100", health="ready", availability="draining") == 1
    assert value(samples, "allocator_nodes", flavor="a100", health="lost", availability="open") == 1
    assert value(samples, "allocator_nodes", flavor="cpu", health="ready", availability="cordoned") == 0
    assert total(samples, "allocator_nodes") == 5
    assert value(samples, "allocator_nodes_in_trouble", flavor="cpu") == 1
    assert value(samples, "allocator_nodes_in_trouble", flavor="a100") == 0


def test_deleted_queues_and_flavors_take_their_series_with_them(metrics: Metrics) -> None:
    fresh = job("j1", 1)
    gpu = FlavorUsage("a100", "gpu", capacity=8_000, requested=0, allocated=0, price=0.0)
    licence = FlavorUsage("a100", "licence", capacity=1, requested=0, allocated=0, price=0.0)
    metrics.observe(report(queues=[usage("research")], jobs=[fresh], applied=[started(fresh)], flavors=[gpu, licence]))
    metrics.observe(report(queues=[usage("serving")], round=2))
    values = {dict(labels).get("queue") for _, labels in scrape(metrics)}
    assert values == {None, "serving"}
    assert not [labels for _, labels in scrape(metrics) if dict(labels).get("flavor") == "a100"]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    rounds=st.lists(
        st.dictionaries(st.sampled_from([f"q{i}" for i in range(9)]), st.integers(0, 5), max_size=9), max_size=6
    ),
    limit=st.integers(1, 4),
)
def test_queues_beyond_the_bound_are_summed_and_none_is_lost(rounds: list[dict[str, int]], limit: int) -> None:
    metrics = Metrics(version="1", round_interval=2.0, queue_limit=limit)
    for queues in rounds:
        metrics.observe(report(queues=[usage(queue, pending=count) for queue, count in sorted(queues.items())]))
        samples = scrape(metrics)
        shown = {dict(labels)["queue"] for name, labels in samples if name == "allocator_jobs"}
        assert shown - {names.OTHER} <= set(queues)
        assert len(shown - {names.OTHER}) == min(limit, len(queues))
        assert (names.OTHER in shown) == (len(queues) > limit)
        assert total(samples, "allocator_jobs") == sum(queues.values())


def test_a_queue_keeps_its_series_when_others_come(metrics: Metrics) -> None:
    metrics = Metrics(version="1", round_interval=2.0, queue_limit=1)
    metrics.observe(report(queues=[usage("zebra", pending=1)]))
    metrics.observe(report(queues=[usage("ant", pending=5), usage("zebra", pending=2)]))
    samples = scrape(metrics)
    assert value(samples, "allocator_jobs", queue="zebra", state="pending") == 2
    assert value(samples, "allocator_jobs", queue=names.OTHER, state="pending") == 5


def test_flavors_beyond_the_bound_keep_their_worth(metrics: Metrics) -> None:
    flavors = [
        FlavorUsage(f"f{i:03}", "gpu", capacity=1000 * (i + 1), requested=0, allocated=1000, price=float(i))
        for i in range(210)
    ]
    metrics.observe(report(flavors=flavors, budget=1.0))
    samples = scrape(metrics)
    folded = flavors[200:]
    gpus = sum(one.capacity for one in folded) / 1000
    worth = sum(one.price * one.capacity / 1000 for one in folded)
    assert value(samples, "allocator_gpu_capacity_gpus", flavor=names.OTHER) == gpus
    assert value(samples, "allocator_price", flavor=names.OTHER, resource="gpu") == pytest.approx(worth / gpus)
    assert value(samples, "allocator_utilization_ratio", flavor=names.OTHER, resource="gpu") == pytest.approx(10 / gpus)


def test_a_scrape_never_sees_half_a_round(metrics: Metrics) -> None:
    rounds = 300
    reports = [
        report(round=n, time=float(n), started=1, queues=[usage(f"q{i}", pending=n) for i in range(20)])
        for n in range(1, rounds + 1)
    ]
    metrics.observe(reports[0])

    def feed() -> None:
        for one in reports[1:]:
            metrics.observe(one)

    feeder = threading.Thread(target=feed)
    feeder.start()
    scrapes = 0
    while feeder.is_alive() or not scrapes:
        samples = scrape(metrics)
        scrapes += 1
        number = value(samples, "allocator_last_round_timestamp_seconds")
        assert number is not None
        assert value(samples, "allocator_rounds_total", outcome="optimal") == number
        assert value(samples, "allocator_job_starts_total") == number
        assert value(samples, "allocator_round_duration_seconds_count") == number
        assert total(samples, "allocator_jobs") == 20 * number
    feeder.join()
    assert value(scrape(metrics), "allocator_rounds_total", outcome="optimal") == rounds


def test_commands_and_jobs_that_came_in(metrics: Metrics) -> None:
    metrics.count_command(command_kind(SubmitJobs))
    metrics.count_command(command_kind(SubmitJobs(())), error_code(StoreUnavailable("disk full")))
    metrics.count_submitted(admitted=9, refused=1)
    metrics.count_finished(JobState.CANCELLED, 2)
    samples = scrape(metrics)
    assert value(samples, "allocator_commands_total", kind="submit_jobs", code="ok") == 1
    assert value(samples, "allocator_commands_total", kind="submit_jobs", code="store_unavailable") == 1
    assert value(samples, "allocator_jobs_submitted_total", result="admitted") == 9
    assert value(samples, "allocator_jobs_submitted_total", result="refused") == 1
    assert value(samples, "allocator_jobs_finished_total", state="cancelled") == 2


def test_only_final_states_count_as_finished(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="must be final"):
        metrics.count_finished(JobState.RUNNING)


def test_errors_are_spelt_by_their_kind() -> None:
    assert error_code(NotFound("job", "j1")) == "not_found"
    assert error_code(ZeroDivisionError()) == "internal"


def test_batches_of_the_store(metrics: Metrics) -> None:
    metrics.observe_store_batch(40, 0.004)
    samples = scrape(metrics)
    assert value(samples, "allocator_store_batch_commands_bucket", le="20.0") == 0
    assert value(samples, "allocator_store_batch_commands_bucket", le="50.0") == 1
    assert value(samples, "allocator_store_batch_duration_seconds_bucket", le="0.005") == 1


def test_calls_by_method_and_code(metrics: Metrics) -> None:
    metrics.rpc_request("/allocator.v1.JobService/GetJob", "NOT_FOUND", 0.002)
    metrics.rpc_request("/allocator.v1.JobService/WatchJobs", "OK")
    for attempt in range(500):
        metrics.rpc_request(f"/admin/{attempt}", "UNIMPLEMENTED", 0.001)
    samples = scrape(metrics)
    get = "allocator.v1.JobService/GetJob"
    assert value(samples, "allocator_rpc_requests_total", method=get, code="NOT_FOUND") == 1
    assert value(samples, "allocator_rpc_duration_seconds_count", method=get) == 1
    watch = "allocator.v1.JobService/WatchJobs"
    assert value(samples, "allocator_rpc_requests_total", method=watch, code="OK") == 1
    assert value(samples, "allocator_rpc_duration_seconds_count", method=watch) is None
    assert value(samples, "allocator_rpc_requests_total", method=names.OTHER, code="UNIMPLEMENTED") == 500


def test_what_other_parts_know_is_asked_for_at_each_scrape(metrics: Metrics) -> None:
    ages = iter([3.5, None])
    metrics.set_push_source(lambda: {"jobs": Streams(2, 10, 1)})
    metrics.set_node_source(lambda: next(ages))
    metrics.set_departure_source(lambda: 7)
    samples = scrape(metrics)
    assert value(samples, "allocator_jobs_waiting_for_departure") == 7
    assert value(samples, "allocator_watchers", stream="jobs") == 2
    assert value(samples, "allocator_pushes_total", stream="jobs") == 10
    assert value(samples, "allocator_pushes_coalesced_total", stream="jobs") == 1
    assert value(samples, "allocator_oldest_heartbeat_age_seconds") == 3.5
    assert value(scrape(metrics), "allocator_oldest_heartbeat_age_seconds") is None


def test_a_part_that_fails_costs_the_scrape_only_its_own_metrics(metrics: Metrics) -> None:
    def broken() -> float:
        raise RuntimeError("the monitor is gone")

    metrics.set_node_source(broken)
    metrics.set_push_source(lambda: {"jobs": Streams(2, 10, 1)})
    samples = scrape(metrics)
    assert value(samples, "allocator_oldest_heartbeat_age_seconds") is None
    assert value(samples, "allocator_metrics_source_failures_total", source="nodes") == 1
    assert value(samples, "allocator_watchers", stream="jobs") == 2


def test_build_info(metrics: Metrics) -> None:
    found = [dict(labels) for name, labels in scrape(metrics) if name == "allocator_build_info"]
    assert len(found) == 1
    assert found[0]["version"] == "1.2.3"


def test_the_total_weight_is_the_problems() -> None:
    assert formulation(2.5).problem.total_weight == 2.5

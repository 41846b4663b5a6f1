"""A running daemon captured over gRPC: decided again to the bit, replayed, and captured through broken connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from allocator.client import Client
from allocator.client.errors import Unreachable
from allocator.domain.errors import FailedPrecondition
from allocator.domain.job import JobState
from allocator.wire.recording import CapturedRound, CaptureEnd, CaptureGap
from simulations.capture.checking import check
from simulations.capture.file import CaptureReader, CaptureWriter
from simulations.capture.following import follow
from simulations.capture.workload import read_workload
from simulations.faults import ListedFaults
from simulations.replay import ReplayOptions, replay
from tests.client.served import Served
from tests.simulations.capture.cluster import QUICK, Captured, Story, gpu_job


def rounds_of(path: Path) -> list[CapturedRound]:
    return [one for one in CaptureReader(path) if isinstance(one, CapturedRound)]


def test_captured_rounds_decide_again_to_the_bit_across_a_change_of_the_policy(a_dozen: tuple[Path, Story]) -> None:
    path, _ = a_dozen
    rounds = rounds_of(path)
    assert [one.snapshot.round for one in rounds] == list(range(1, 13))
    assert len({id(one.policy) for one in rounds}) == 2
    assert {one.policy.fairness for one in rounds} == {1.0, float("inf")}
    result = check(CaptureReader(path))
    assert result.differences == ()
    assert (result.rounds, result.elsewhere, result.gaps, result.ended) == (12, {}, (), True)
    assert result.changes > 10


def test_what_was_seen_is_what_the_store_had(a_dozen: tuple[Path, Story]) -> None:
    path, story = a_dozen
    last = rounds_of(path)[-1]
    for job in last.snapshot.jobs:
        kept = story.served.store.get_job(job.id)
        assert (job.spec, job.submit_time, job.sequence) == (kept.spec, kept.submit_time, kept.sequence)
    ended = {job.id: job for one in rounds_of(path) for job in one.ended}
    finished = [job for job in map(story.served.store.get_job, (j.id for j in story.admitted)) if job.state.is_final]
    assert finished
    assert ended == {job.id: job for job in finished}


def test_true_run_times_are_what_was_done(a_dozen: tuple[Path, Story]) -> None:
    path, story = a_dozen
    found = read_workload(path)
    by_name = {arrival.spec.name: arrival for arrival in found.workload.arrivals}
    kept = {job.spec.name: story.served.store.get_job(job.id) for job in story.admitted}
    for name, job in kept.items():
        if job.state in (JobState.SUCCEEDED, JobState.FAILED):
            assert by_name[name].duration == pytest.approx(job.work_done_seconds)
            assert by_name[name].time == max(found.workload.start, job.submit_time)
    assert by_name["early"].duration == pytest.approx(60.0, abs=1.0)
    assert by_name["long"].duration == 500.0
    assert dict(by_name["learning"].true_speed) == {"a100": 3.0}
    assert "never" not in by_name
    assert found.workload.dropped["cancelled_before_start"] == 1
    assert found.interval_seconds == 10.0
    told = " ".join(found.workload.notes)
    assert "12 rounds were captured, 1 to 12" in told
    assert "2 jobs were there at the start" in told
    assert "Changes of the policy, 1, are not followed" in told


def test_nodes_were_out_when_they_were(a_dozen: tuple[Path, Story]) -> None:
    path, _ = a_dozen
    found = read_workload(path)
    times = [one.snapshot.time for one in rounds_of(path)]
    outages = {outage.node: outage for outage in found.outages}
    assert (outages["n2"].start, outages["n2"].end) == pytest.approx((times[3], times[4]))
    assert (outages["n9"].start, outages["n9"].end) == pytest.approx((times[0], times[4]))
    assert outages["n1"].start >= times[6]  # drained, and empty
    assert {node.name for node in found.workload.nodes} == {"n1", "n2", "n9"}


@pytest.mark.parametrize("scheduler", ["allocator", "fifo"])
def test_a_capture_is_replayed_under_its_policy_and_another_scheduler(
    a_dozen: tuple[Path, Story], scheduler: str
) -> None:
    path, _ = a_dozen
    found = read_workload(path)
    options = ReplayOptions(policy=found.policy, interval_seconds=found.interval_seconds, scheduler=scheduler)
    result = replay(found.workload, options, faults=ListedFaults(found.outages))
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(found.workload.arrivals)}


def test_a_lost_connection_leaves_a_gap_that_is_told(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "gap.capture.gz"
    captured, story = Captured(served, path, rounds=4), Story(served)
    captured.begin()
    story.submit(gpu_job(name="before"), gpu_job(name="through"))
    story.round()
    story.pass_time()
    story.round()
    captured.until(lambda progress: progress.rounds == 2)
    served.stop()
    story.finish(story.admitted[0])
    story.round()
    served.start()
    captured.until(lambda progress: progress.connections == 2)
    story.pass_time()
    story.round()
    story.pass_time()
    story.round()
    progress = captured.close()
    assert (progress.rounds, progress.missing, captured.why) == (4, 1, "so many rounds were captured")
    kinds = [type(one).__name__ for one in CaptureReader(path)]
    two = ["CaptureBegin", "CapturedRound", "CapturedRound"]
    assert kinds == [*two, "CaptureGap", *two, "CaptureEnd"]
    result = check(CaptureReader(path))
    assert (result.differences, result.rounds) == ((), 4)
    assert result.gaps == (CaptureGap("the connection was lost, or did not keep up", 2),)
    found = read_workload(path)
    told = " ".join(found.workload.notes)
    assert "1 rounds are missing in between" in told
    assert "1 jobs ended while rounds are missing" in told
    assert {arrival.spec.name for arrival in found.workload.arrivals} == {"before", "through"}


def test_where_no_daemon_answers_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "none.capture.gz"
    with Client("127.0.0.1:1", retry=QUICK) as client, pytest.raises(Unreachable):
        follow(client, CaptureWriter(path))
    assert not path.exists()


def test_a_daemon_that_is_too_old_is_told(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(FailedPrecondition, match="cannot be captured"):
            follow(client, CaptureWriter(tmp_path / "old.capture.gz"))
    finally:
        server.stop(None)
    assert list(tmp_path.iterdir()) == []


def test_a_capture_ends_when_its_time_is_over(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "short.capture.gz"
    with Client(served.address, retry=QUICK) as client:
        progress, why = follow(client, CaptureWriter(path), seconds=2.5)
    assert (progress.rounds, why) == (0, "the time was over")
    *_, last = CaptureReader(path)
    assert last == CaptureEnd("the time was over", 0)

"""A replay's rounds, captured: decided again to the bit, and read back as the workload that it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.wire.recording import CapturedRound
from simulations.capture.checking import check
from simulations.capture.file import CaptureReader
from simulations.capture.workload import read_workload
from simulations.faults import ListedFaults
from simulations.replay import ReplayOptions, ReplayResult, replay
from tests.simulations.capture.replayed import captured, captured_small, small


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayResult]:
    path = tmp_path_factory.mktemp("replay") / "replay.capture.gz"
    return path, captured(path, *small())


def test_captured_replays_decide_again_to_the_bit(replayed: tuple[Path, ReplayResult]) -> None:
    result = check(CaptureReader(replayed[0]))
    assert (result.differences, result.elsewhere, result.ended) == ((), {}, True)
    assert result.rounds > 20
    assert result.changes > 25


def test_so_do_those_of_other_schedulers(tmp_path: Path) -> None:
    path = tmp_path / "fifo.capture.gz"
    captured_small(path, "fifo")
    result = check(CaptureReader(path))
    assert (result.differences, result.ended) == ((), True)
    assert result.changes > 25


def test_capturing_changes_nothing(replayed: tuple[Path, ReplayResult]) -> None:
    workload, faults, options = small()
    assert replay(workload, options, faults=faults).summary == replayed[1].summary


def test_a_captured_replay_is_the_workload_that_it_was(replayed: tuple[Path, ReplayResult]) -> None:
    path, before = replayed
    workload, _, options = small()
    found = read_workload(path)
    assert before.summary["jobs"]["by_state"] == {"succeeded": len(workload.arrivals)}
    # Jobs that were there when the first round looked arrive with it; all others when they did.
    arrived = sorted((max(a.time, found.workload.start), a.spec.name, a.duration) for a in workload.arrivals)
    again = sorted((a.time, a.spec.name, a.duration) for a in found.workload.arrivals)
    assert [each[:2] for each in again] == [each[:2] for each in arrived]
    assert [each[2] for each in again] == pytest.approx([each[2] for each in arrived], abs=1e-3)
    assert found.workload.dropped == {}
    assert {node.name: node.capacity for node in found.workload.nodes} == {n.name: n.capacity for n in workload.nodes}
    assert {queue.name: queue.weight for queue in found.workload.queues} == {q.name: q.weight for q in workload.queues}
    assert found.policy == options.policy
    assert found.interval_seconds == options.interval_seconds
    after = replay(
        found.workload,
        ReplayOptions(policy=found.policy, interval_seconds=found.interval_seconds),
        faults=ListedFaults(found.outages),
    )
    for figure in ("completion_s", "wait_s"):
        assert after.summary["jobs"][figure]["mean"] == pytest.approx(before.summary["jobs"][figure]["mean"], rel=0.1)


def test_times_of_a_replay_are_exact(replayed: tuple[Path, ReplayResult]) -> None:
    times = [one.snapshot.time for one in CaptureReader(replayed[0]) if isinstance(one, CapturedRound)]
    assert any(round(time * 1e9) / 1e9 != time for time in times)


def test_jobs_that_learn_how_fast_they_are_are_given_back_too(tmp_path: Path) -> None:
    path = tmp_path / "learning.capture.gz"
    workload, faults, options = small(jobs=45)
    slower = (("t4", 0.5),)
    arrivals = tuple(
        replace(arrival, true_speed=slower) if arrival.fastest.flavor == "a100" else arrival
        for arrival in workload.arrivals
    )
    captured(path, replace(workload, arrivals=arrivals), faults, options)
    assert check(CaptureReader(path)).differences == ()
    found = {arrival.spec.name: arrival for arrival in read_workload(path).workload.arrivals}
    assert {arrival.true_speed for arrival in found.values()} == {(), slower}
    for arrival in arrivals:
        assert found[arrival.spec.name].duration == pytest.approx(arrival.duration, rel=0.02)

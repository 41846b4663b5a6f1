"""Logs of the Standard Workload Format are read as documented."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.resources import Resources
from simulations.traces import swf
from simulations.traces.errors import TraceError
from simulations.traces.formats import Choices
from simulations.traces.window import Window
from tests.simulations.traces.places import by_name, changed, copied, read, shapes

EPOCH = 1_600_000_000.0


def test_a_log_is_read_as_documented() -> None:
    workload = read("swf")
    jobs = by_name(workload)
    assert workload.dropped == {"fits_no_node": 1, "no_processors": 1, "no_run_time": 1, "partial_run": 2}
    assert list(jobs) == ["1", "2", "3", "5", "8", "9"]
    assert workload.start == EPOCH
    assert [node.capacity for node in workload.nodes] == [Resources(cpu_millicores=8000)] * 4
    assert [queue.name for queue in workload.queues] == ["unknown", "user-3", "user-4"]
    assert (jobs["2"].time, jobs["2"].duration, jobs["2"].spec.expected_duration_seconds) == (EPOCH + 10, 200.0, 600.0)
    assert jobs["3"].spec.expected_duration_seconds is None, "-1 is not known"
    assert jobs["5"].duration == 60.0, "longer than the 30 s it requested, as recorded"
    assert jobs["9"].duration == 500.0, "cancelled while it ran"
    assert not any(arrival.spec.preemptible for arrival in workload.arrivals)
    assert "1 jobs named a preceding job." in workload.notes


def test_processors_are_gangs_of_replicas_that_fit_nodes() -> None:
    jobs = by_name(read("swf"))
    assert shapes(jobs["2"]) == {"node": (2, 8)}
    assert shapes(jobs["3"]) == {"node": (1, 7)}, "allocated, as it does not say what it requested"
    assert shapes(jobs["8"]) == {"node": (2, 6)}
    assert shapes(jobs["5"]) == {"node": (31, 1)}
    assert jobs["1"].spec.configurations is not jobs["2"].spec.configurations


def test_jobs_alike_share_their_ways_to_run(tmp_path: Path) -> None:
    folder = copied("swf", tmp_path)
    changed(folder / "small.swf", "9 80 20 500 4 -1 -1 4", "9 80 20 500 12 -1 -1 12")
    jobs = by_name(read("swf", folder))
    assert jobs["8"].spec.configurations is jobs["9"].spec.configurations


@pytest.mark.parametrize(
    ("column", "queues"),
    [("group", ["group-1", "group-2"]), ("queue", ["queue-1", "queue-2"]), ("partition", ["partition-1", "unknown"])],
)
def test_queues_are_the_column_that_is_named(column: str, queues: list[str]) -> None:
    assert [queue.name for queue in read("swf", choices=Choices(queue_by=column)).queues] == queues


def test_another_column_is_refused() -> None:
    with pytest.raises(InvalidInput, match="queue_by: must be one of user, group, queue, partition; got 'colour'"):
        read("swf", choices=Choices(queue_by="colour"))


def test_clusters_beside_the_log_go_before_its_header(tmp_path: Path) -> None:
    folder = copied("swf", tmp_path)
    (folder / "small.swf.machines").write_text("0\tfast\t2\t8\t2\t1048576\n1\tslow\t2\t4\t1\t2097152\n")
    workload = read("swf", folder)
    job = by_name(workload)["3"]
    assert {node.flavor for node in workload.nodes} == {"fast", "slow"}
    ways = {way.flavor: way for way in job.spec.configurations}
    assert {flavor: way.throughput for flavor, way in ways.items()} == {"fast": 2.0, "slow": 1.0}
    assert ways["fast"].demand == Resources(cpu_millicores=7000, memory_bytes=7 * 1000 * 1024)
    assert ways["slow"].replicas == 7, "7 processors do not fit a node of 4"


def test_machines_in_words_go_before_everything(tmp_path: Path) -> None:
    workload = read("swf", choices=Choices(machines="2x16"))
    assert len(workload.nodes) == 2
    assert shapes(by_name(workload)["2"]) == {"node": (1, 16)}
    for words in ("2", "2x", "0x4", "2x0", "9999999x1", "x"):
        with pytest.raises(TraceError, match="NODESxCORES, such as 1024x8"):
            read("swf", choices=Choices(machines=words))


def test_what_ran_at_the_start_of_a_window_is_carried_in() -> None:
    """Job 2 ran from 15 to 215, job 9 from 100 to 600; job 8 came at 70 and its wait is 0."""
    workload = read("swf", window=Window(100.0, carry_in=True))
    assert {name: (job.time - EPOCH, job.duration) for name, job in by_name(workload).items()} == {
        "2": (100.0, 115.0),
        "8": (100.0, 70.0),
        "9": (100.0, 500.0),
    }
    assert not read("swf", window=Window(100.0)).arrivals


def test_its_dates_are_told_by_the_header(tmp_path: Path) -> None:
    folder = copied("swf", tmp_path)
    assert swf.origin(folder) == datetime.fromtimestamp(EPOCH, UTC)
    changed(folder / "small.swf", "; UnixStartTime: 1600000000\n", "")
    assert swf.origin(folder) is None
    assert read("swf", folder).start == 0.0


def test_blank_lines_crlf_and_gzip_change_nothing(tmp_path: Path) -> None:
    folder = copied("swf", tmp_path)
    plain = read("swf", folder)
    log = folder / "small.swf"
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes().replace(b"\n", b"\r\n"))
    assert read("swf", folder).arrivals == plain.arrivals
    log.with_name("small.swf.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    assert read("swf", folder).arrivals == plain.arrivals


def test_a_folder_of_several_logs_needs_one_named(tmp_path: Path) -> None:
    folder = copied("swf", tmp_path)
    (folder / "other.swf").write_text("")
    with pytest.raises(TraceError, match=r"holds several logs; name one of other\.swf, small\.swf"):
        read("swf", folder)


def test_names_of_people_in_another_encoding_are_no_hindrance_before_the_first_job(tmp_path: Path) -> None:
    """They stand in the header of real logs; what counts is read before them, or not at all."""
    folder = copied("swf", tmp_path)
    log = folder / "small.swf"
    log.write_bytes(log.read_bytes().replace(b"; Note: -1", b"; Note: \xc5ke -1"))
    assert len(read("swf", folder).arrivals) == 6

"""Google's events of tasks are followed as documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.domain.constraints import AtMost
from allocator.domain.resources import Resources
from simulations.traces.errors import TraceError
from simulations.traces.window import Window
from tests.simulations.traces.places import by_name, changed, copied, read

FIRST, SECOND = "task_events-part-00000-of-00002.csv", "task_events-part-00001-of-00002.csv"


def times(window: Window | None = None, path: Path | None = None) -> dict[str, tuple[float, float]]:
    """By job, (arrival, run time)."""
    return {name: (job.time, job.duration) for name, job in by_name(read("google", path, window)).items()}


def test_tasks_are_followed_from_event_to_event() -> None:
    workload = read("google")
    assert workload.dropped == {"asks_for_nothing": 1, "never_scheduled": 2, "request_unknown": 1}
    assert times() == {
        "100-0": (600.0, 120.0),  # there before the log, ended at 720
        "102-0": (600.0, 10.0),  # failed at 611
        "102-0#2": (611.0, 128.0),  # submitted again, killed at 740
        "102-1": (602.0, 90.0),  # evicted at 700, run again from 710 to 800
        "103-0": (730.0, 68.0),  # still ran at the end, 800
    }
    assert "The last event is at second 800; 2 tasks ran on." in workload.notes
    assert "Runs that were evicted or lost and followed by another: 1." in workload.notes
    assert "Events passed over, as they do not follow from those before (an end without a start): 1." in workload.notes


def test_amounts_are_parts_of_the_largest_machine() -> None:
    workload = read("google")
    sizes = {node.name: node.capacity for node in workload.nodes}
    assert sizes["7"] == Resources(cpu_millicores=100_000, memory_bytes=400 * 2**30)
    assert sizes["5"] == Resources(cpu_millicores=50_000, memory_bytes=100 * 2**30)
    demand = by_name(workload)["102-0"].fastest.demand
    assert demand == Resources(cpu_millicores=2499, memory_bytes=round(0.01 * 400 * 2**30))
    assert by_name(workload)["103-0"].fastest.demand.memory_bytes == 200 * 2**30, "as it was updated while it waited"


def test_priorities_and_apartness() -> None:
    jobs = by_name(read("google"))
    traits = {name: (job.spec.priority_class, job.spec.preemptible) for name, job in jobs.items()}
    assert traits["100-0"] == ("high", False)
    assert traits["102-1"] == ("low", True)
    assert traits["103-0"] == ("normal", True)
    apart = jobs["102-1"].spec
    assert apart.labels == (("job", "102"),)
    assert apart.constraints.at_most == (AtMost(1, of=(("job", "102"),)),)
    assert jobs["100-0"].spec.labels == ()
    assert jobs["102-0"].spec.constraints is apart.constraints, "shared by all tasks of the job"


def test_users_are_queues_and_the_same_whatever_is_read() -> None:
    whole, part = read("google"), read("google", window=Window(700.0))
    assert by_name(whole)["103-0"].spec.queue == by_name(part)["103-0"].spec.queue
    assert len(whole.queues) == 3


def test_windows() -> None:
    assert times(Window(700.0)) == {"103-0": (730.0, 68.0)}
    assert times(Window(715.0, carry_in=True)) == {
        "100-0": (715.0, 5.0),
        "102-0#2": (715.0, 25.0),
        "102-1": (715.0, 85.0),
        "103-0": (730.0, 68.0),
    }


def test_one_shard_alone_can_be_read(tmp_path: Path) -> None:
    folder = copied("google", tmp_path)
    assert set(times(path=folder / FIRST)) == {"100-0", "102-0", "102-0#2", "102-1"}


def test_a_shard_that_is_missing_between_others_is_named(tmp_path: Path) -> None:
    folder = copied("google", tmp_path)
    (folder / SECOND).rename(folder / "task_events-part-00002-of-00003.csv")
    with pytest.raises(TraceError, match="holds shards 0 to 2, but no number 1 of task_events"):
        read("google", folder)


REPLACED = [
    # file, what is replaced, by what, line, column, words
    (FIRST, "601000000,,102", "soon,,102", 7, "time", "must be an integer, got 'soon'"),
    (FIRST, "601000000,,102", "-601000000,,102", 7, "time", "must be between 0 and"),
    (FIRST, "601000000,,102", "599000000,,102", 7, "time", "must be at least 600000000, that of the event before"),
    (FIRST, "601000000,,102", "601000000,,1o2", 7, "job", "must be an integer, got '1o2'"),
    (FIRST, "601000000,,102,0", "601000000,,102,-1", 7, "task", "must be between 0 and"),
    (FIRST, "102,0,6,1,bob/=,0,0", "102,0,6,9,bob/=,0,0", 7, "event", "must be a number from 0 to 8, got '9'"),
    (FIRST, "102,0,6,1,bob/=,0,0", "102,0,6,1,,0,0", 7, "user", "is empty; a value is needed here"),
    (FIRST, "102,0,6,1,bob/=,0,0", "102,0,6,1,bob/=,4,0", 7, "scheduling class", "must be between 0 and 3, got 4"),
    (FIRST, "102,0,6,1,bob/=,0,0", "102,0,6,1,bob/=,0,12", 7, "priority", "must be between 0 and 11, got 12"),
    (FIRST, "0.125,0.1,0.0001,0", "1.5,0.1,0.0001,0", 1, "CPU request", "must be between 0 and 1, got 1.5"),
    (FIRST, "0.125,0.1,0.0001,0", "0.125,much,0.0001,0", 1, "memory request", "must be a number, got 'much'"),
    (FIRST, "0.125,0.1,0.0001,0", "0.125,0.1,0.0001,2", 1, "different machine", "must be 0 or 1"),
    (FIRST, "0.125,0.1,0.0001,0", "0.125,0.1,0.0001", 1, None, "has 12 fields; each line has 13 columns: time, "),
    (SECOND, "710000000,,102", "690000000,,102", 1, "time", "must be at least 700000000"),
    ("machines.csv", "6,0.5,0.5", "5,0.5,0.5", 3, "machine_id", "'5' stands on line 2 already"),
    ("machines.csv", "6,0.5,0.5", "6,2,0.5", 3, "cpu", "must be between 0 and 1, got 2"),
    ("machines.csv", "6,0.5,0.5", "6,0,0", 3, "machine_id", "must have something"),
    ("machines.csv", "memory", "ram", 1, "memory", "is missing; the header must name machine_id, cpu, memory"),
]


@pytest.mark.parametrize(("file", "old", "new", "line", "column", "words"), REPLACED)
def test_a_bad_row_is_named(
    file: str, old: str, new: str, line: int, column: str | None, words: str, tmp_path: Path
) -> None:
    folder = copied("google", tmp_path)
    changed(folder / file, old, new)
    with pytest.raises(TraceError) as caught:
        read("google", folder)
    assert (caught.value.file, caught.value.line, caught.value.column) == (folder / file, line, column)
    assert words in caught.value.what


def test_events_that_do_not_follow_are_counted_and_passed_over(tmp_path: Path) -> None:
    """Task 102-0 is submitted while it runs, which ends the run; 102-1 is scheduled without having been submitted."""
    folder = copied("google", tmp_path)
    changed(folder / FIRST, "602000000,,102,1,,0", "602000000,,102,0,,0")
    workload = read("google", folder)
    assert "Events passed over, as they do not follow from those before (an end without a start): 3." in workload.notes
    assert by_name(workload)["102-1"].time == 602.5


def test_an_event_that_is_there_twice_is_named(tmp_path: Path) -> None:
    folder = copied("google", tmp_path)
    row = "602000000,,102,1,,0,bob/=,0,0,0.02499,0.01,0.0001,1\n"
    changed(folder / FIRST, row, row + row)
    with pytest.raises(
        TraceError, match="task 102-1 was submitted at this very time before; each event once"
    ) as caught:
        read("google", folder)
    assert (caught.value.line, caught.value.column) == (9, "task")

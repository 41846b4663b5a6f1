"""Traces are read as documented, and whatever is wrong with one is said with its file, line and column."""

from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.resources import Resources
from simulations.traces import dlrm, openb, philly
from simulations.traces.errors import TraceError
from simulations.traces.window import DAY, Window, seconds_into
from simulations.workload import Workload

FIXTURES = Path(__file__).parent / "fixtures"
NODES, PODS = "openb_node_list_all_node.csv", "openb_pod_list_default.csv"
MACHINES, JOBS = "cluster_machine_list.csv", "philly_jobs.csv"
INSTANCES = "disaggregated_DLRM_trace.csv"
READERS: dict[str, Callable[..., Workload]] = {"dlrm": dlrm.read, "openb": openb.read, "philly": philly.read}
LISTS = {"dlrm": INSTANCES, "openb": PODS, "philly": JOBS}
START = 109 * DAY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the fixtures that a test may spoil."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "traces"))


# --- what is read ---------------------------------------------------------------------------------------------------


def test_openb_is_read_as_documented() -> None:
    workload = openb.read(FIXTURES / "openb")
    workload.require_valid()
    jobs = {arrival.spec.name: arrival for arrival in workload.arrivals}
    assert workload.dropped == {"fits_no_node": 1, "never_scheduled": 1, "no_run_time": 1}
    assert len(jobs) == 11
    assert workload.start == START
    assert [queue.name for queue in workload.queues] == ["be", "burstable", "guaranteed", "ls", "unknown"]

    shared = jobs["p-002"]
    assert (shared.time, shared.duration) == (START + 30, 3590.0)
    assert shared.fastest.demand == Resources(cpu_millicores=6000, gpu_millis=460, memory_bytes=12288 * 2**20)
    assert [c.flavor for c in shared.spec.configurations] == ["G2", "T4", "V100M32"]
    assert [c.flavor for c in jobs["p-003"].spec.configurations] == ["T4"]
    assert [c.flavor for c in jobs["p-004"].spec.configurations] == ["G2"], "8 GPUs fit on no other node"
    assert [c.flavor for c in jobs["p-008"].spec.configurations] == ["G2", "T4", "V100M32", "cpu"]
    stoppable = [jobs[name].spec.preemptible for name in ("p-001", "p-007", "p-002")]
    assert stoppable == [False, False, True], "LS and Guaranteed run to their end"


def test_openb_takes_a_window_and_what_ran_at_its_start() -> None:
    first = openb.read(FIXTURES / "openb", Window(START, START + 60))
    assert [arrival.spec.name for arrival in first.arrivals] == ["p-001", "p-002", "p-003"]
    carried = openb.read(FIXTURES / "openb", Window(START, START + 60, carry_in=True))
    assert (carried.arrivals[0].spec.name, carried.arrivals[0].time, carried.arrivals[0].duration) == (
        "p-000",
        START,
        5000.0,
    )


def test_philly_is_read_as_documented() -> None:
    workload = philly.read(FIXTURES / "philly")
    workload.require_valid()
    jobs = {arrival.spec.name: arrival for arrival in workload.arrivals}
    assert workload.dropped == {"fits_no_flavor": 1, "no_run_time": 1}
    assert [queue.name for queue in workload.queues] == ["team-a", "team-b", "team-c", "unknown"]
    assert {node.flavor for node in workload.nodes} == {"gpu12gb", "gpu24gb"}

    def shapes(name: str) -> dict[str, tuple[int, int]]:
        return {c.flavor: (c.replicas, c.demand.gpu_millis // 1000) for c in jobs[name].spec.configurations}

    assert shapes("0") == {"gpu12gb": (1, 1), "gpu24gb": (1, 1)}
    assert shapes("2") == {"gpu24gb": (2, 8)}, "4 machines of 2 GPUs are too few for 16"
    assert shapes("5") == {"gpu12gb": (7, 1), "gpu24gb": (1, 7)}
    assert shapes("6") == {"gpu24gb": (2, 6)}, "12 GPUs as 2 replicas of 6"
    assert shapes("7") == {"gpu12gb": (4, 2), "gpu24gb": (1, 8)}
    assert jobs["3"].spec.queue == "unknown"
    assert jobs["1"].time - workload.start == 10.0


def test_philly_jobs_leave_cpu_and_memory_to_spare() -> None:
    """Amounts nobody knows must not be what decides."""
    workload = philly.read(FIXTURES / "philly")
    for flavor in ("gpu12gb", "gpu24gb"):
        machine = next(node for node in workload.nodes if node.flavor == flavor).capacity
        for arrival in workload.arrivals:
            for way in arrival.spec.configurations:
                if way.flavor == flavor:
                    fitting = machine.gpu_millis // way.demand.gpu_millis
                    assert (way.demand * fitting).fits_in(machine)


@pytest.mark.parametrize("name", READERS)
def test_gzipped_is_read_like_plain_and_a_file_like_its_folder(name: str, folder: Path) -> None:
    plain = READERS[name](folder / name)
    list_file = folder / name / LISTS[name]
    assert READERS[name](list_file).arrivals == plain.arrivals
    packed = list_file.with_name(list_file.name + ".gz")
    packed.write_bytes(gzip.compress(list_file.read_bytes()))
    list_file.unlink()
    assert READERS[name](folder / name).arrivals == plain.arrivals


# --- what is refused ------------------------------------------------------------------------------------------------

TIMES = "9417630,9419430,9417631"
ONE_GPU = "p-001,8000,16384,1,1000"
REPLACED = [
    # trace, file, what is replaced, by what, line, column, words of the message
    ("openb", PODS, "p-001,8000,", "p-001,eight,", 3, "cpu_milli", "must be an integer, got 'eight'"),
    ("openb", PODS, "p-001,8000,", "p-001,8000.5,", 3, "cpu_milli", "must be an integer"),
    ("openb", PODS, "p-001,8000,", "p-001,-8,", 3, "cpu_milli", "between 0 and"),
    ("openb", PODS, "p-001,8000,", "p-001,,", 3, "cpu_milli", "is empty"),
    ("openb", PODS, "p-001,8000,", f"p-001,{'9' * 400},", 3, "cpu_milli", "must be an integer"),
    ("openb", PODS, "p-001,8000,", "p-001,8000,0,", 3, None, "has 12 fields; the header has 11"),
    ("openb", PODS, "p-001,", "p-000,", 3, "name", "'p-000' stands on line 2 already"),
    ("openb", PODS, ONE_GPU, "p-001,8000,16384,1,1500", 3, "gpu_milli", "between 0 and 1000"),
    ("openb", PODS, ONE_GPU, "p-001,8000,16384,1,0", 3, "gpu_milli", "must be 1 to 1000"),
    ("openb", PODS, ONE_GPU, "p-001,8000,16384,2,500", 3, "gpu_milli", "must be 1000 when num_gpu is 2"),
    ("openb", PODS, ONE_GPU, "p-001,8000,16384,0,1000", 3, "gpu_milli", "must be 0"),
    ("openb", PODS, ONE_GPU, "p-001,0,0,0,0", 3, "cpu_milli", "must ask for something"),
    ("openb", PODS, "T4|V100M32", "T4|V101", 7, "gpu_spec", "unknown GPU model 'V101'; the nodes have G2, T4, V100M32"),
    ("openb", PODS, TIMES, "-5,9419430,9417631", 3, "creation_time", "must be at least 0"),
    ("openb", PODS, TIMES, "9417630,100,9417631", 3, "deletion_time", "must be at least 9.41763e+06"),
    ("openb", PODS, TIMES, "9417630,9419430,9419431", 3, "deletion_time", "not be before scheduled_time"),
    ("openb", PODS, TIMES, "9417630,9419430,1", 3, "scheduled_time", "must be at least"),
    ("openb", PODS, TIMES, "nan,9419430,1", 3, "creation_time", "must be a number of seconds, got 'nan'"),
    ("openb", PODS, TIMES, "1e999,9419430,1", 3, "creation_time", "must be a number of seconds"),
    ("openb", PODS, TIMES, "yesterday,9419430,1", 3, "creation_time", "must be a number of seconds"),
    ("openb", PODS, ",LS,Succeeded", ",L S,Succeeded", 3, "qos", "not usable as a queue"),
    ("openb", PODS, "scheduled_time", "started", 1, "scheduled_time", "is missing; the header must name"),
    ("openb", PODS, "gpu_spec", "gpu_milli", 1, "gpu_milli", "stands twice"),
    ("openb", NODES, "sn,", "other,", 1, "sn", "is missing; the header must name"),
    ("openb", NODES, "n-t4-0,48000", "n-t4-0,0", 4, "cpu_milli", "between 1 and"),
    ("openb", NODES, "2,T4", "2,", 4, "model", "the node has 2 GPUs; name their model"),
    ("openb", NODES, "2,T4", "two,T4", 4, "gpu", "must be an integer, got 'two'"),
    ("openb", NODES, "2,T4", "2,T 4", 4, "model", "must hold only letters"),
    ("openb", NODES, "n-t4-1", "n-t4-0", 5, "sn", "stands on line 4 already"),
    ("philly", JOBS, "1,10,2,", "1,-10,2,", 3, "arrival_s", "must be at least 0 seconds, got -10"),
    ("philly", JOBS, "1,10,2,", "1,10,0,", 3, "gpus", "between 1 and"),
    ("philly", JOBS, "1,10,2,", "0,10,2,", 3, "job_id", "stands on line 2 already"),
    ("philly", JOBS, "3600,team-b", "inf,team-b", 3, "duration_s", "must be a number of seconds, got 'inf'"),
    ("philly", JOBS, "3600,team-b", "3600,Team B", 3, "vc", "not usable as a queue"),
    ("philly", JOBS, "duration_s", "seconds", 1, "duration_s", "is missing"),
    ("philly", MACHINES, "m0,2, 12GB", "m0,2, 12", 2, "single GPU mem", "must be a size such as 12GB"),
    ("philly", MACHINES, "m1,2, 12GB", "m1,4, 12GB", 3, "number of GPUs", "must be 2, as on the other gpu12gb"),
    ("philly", MACHINES, "m1,2,", "m0,2,", 3, "machineId", "stands on line 2 already"),
    ("dlrm", INSTANCES, "i-01,HN,", "i-00,HN,", 3, "instance_sn", "'i-00' stands on line 2 already"),
    ("dlrm", INSTANCES, "i-01,HN,", "i-01,GN,", 3, "role", "must be CN or HN, got 'GN'"),
    ("dlrm", INSTANCES, "i-01,HN,ads", "i-01,HN,", 3, "app_name", "is empty"),
    ("dlrm", INSTANCES, "i-01,HN,ads", "i-01,HN,A ds", 3, "app_name", "not usable as a queue"),
    ("dlrm", INSTANCES, "ads,8,8,1,1", "ads,eight,8,1,1", 2, "cpu_request", "must be a number, got 'eight'"),
    ("dlrm", INSTANCES, "ads,8,8,1,1", "ads,8,8,1.5,1", 2, "gpu_request", "must be at most 1 (a part of one GPU)"),
    ("dlrm", INSTANCES, "1,1,25,25", "1,1,101,25", 2, "rdma_request", "must be between 0 and 100, got 101"),
    ("dlrm", INSTANCES, "40.0,40.0", "-1,40.0", 2, "memory_request", "must be between 0 and"),
    ("dlrm", INSTANCES, "85.0,100.0,2,,,", "85.0,100.0,0,,,", 2, "max_instance_per_node", "must be -1 (any number)"),
    ("dlrm", INSTANCES, "85.0,100.0,2,,,", "85.0,100.0,,,,", 2, "max_instance_per_node", "is empty"),
    ("dlrm", INSTANCES, "600,605,30000", "600,599,30000", 5, "scheduled_time", "must be at least 600"),
    ("dlrm", INSTANCES, "600,605,30000", "600,605,604", 5, "deletion_time", "not be before scheduled_time (605)"),
    ("dlrm", INSTANCES, "600,605,30000", "600,605,soon", 5, "deletion_time", "must be a number of seconds"),
    ("dlrm", INSTANCES, "rdma_request", "rdma", 1, "rdma_request", "is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("trace", "file", "old", "new", "line", "column", "words"), REPLACED)
def test_a_bad_row_is_named(
    trace: str, file: str, old: str, new: str, line: int, column: str | None, words: str, folder: Path
) -> None:
    spoiled = folder / trace / file
    text = spoiled.read_text()
    assert old in text
    spoiled.write_text(text.replace(old, new, 1))
    with pytest.raises(TraceError) as caught:
        READERS[trace](folder / trace)
    error = caught.value
    assert (error.file, error.line, error.column) == (spoiled, line, column)
    assert words in error.what
    assert str(error).startswith(f"{spoiled}, line {line}")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("row", "field", "quoted", "line", "column"),
    [(3, 0, False, 4, "job_id"), (3, 5, False, 4, "vc"), (3, 5, True, 4, "vc"), (9000, 4, False, 9001, "duration_s"),
     (0, 2, False, 1, None)],
)  # fmt: skip
def test_a_byte_that_is_not_utf8_is_named_with_its_line_and_column(
    row: int, field: int, quoted: bool, line: int, column: str | None, packed: bool, folder: Path
) -> None:
    """Far into a long file, where whole pieces were decoded before, and near its start, where none was."""
    jobs = folder / "philly" / JOBS
    header = jobs.read_text().splitlines()[0]
    rows = [header.split(",")] + [[str(n), str(n), "1", "1", "600", "team-a", ""] for n in range(10_000)]
    rows[row][field] = '"a, b\udcff"' if quoted else rows[row][field] + "\udcff"
    content = "\n".join(map(",".join, rows)).encode("utf-8-sig", "surrogateescape")
    jobs.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(TraceError, match=r"not UTF-8 text \(byte 0xff\)") as caught:
        philly.read(folder / "philly")
    assert (caught.value.file, caught.value.line, caught.value.column) == (jobs, line, column)


EVERY_FILE = [("dlrm", INSTANCES), ("openb", PODS), ("openb", NODES), ("philly", JOBS), ("philly", MACHINES)]


@pytest.mark.parametrize(("trace", "file"), EVERY_FILE)
def test_a_missing_header_is_called_that(trace: str, file: str, folder: Path) -> None:
    spoiled = folder / trace / file
    header, *rows = spoiled.read_text().splitlines()
    spoiled.write_text("\n".join(rows))
    with pytest.raises(TraceError) as caught:
        READERS[trace](folder / trace)
    assert (caught.value.line, caught.value.column) == (1, None)
    assert caught.value.what.startswith("is no header: the first line must name the columns ")
    assert header.split(",")[0].strip() in caught.value.what
    assert rows[0][:3] in caught.value.what


def _truncated_gzip(file: Path) -> None:
    body = gzip.compress(file.read_bytes() + bytes(range(32, 127)) * 20)
    file.write_bytes(body[: len(body) // 2])


def _damaged_gzip(file: Path) -> None:
    body = bytearray(gzip.compress(file.read_bytes()))
    body[-5] ^= 0xFF
    file.write_bytes(bytes(body))


FILES_SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("cut short", _truncated_gzip, "in the middle of its gzip stream"),
    ("damaged", _damaged_gzip, "not a sound gzip file"),
    ("empty", lambda file: file.write_bytes(b""), "is empty"),
    ("header only", lambda file: file.write_text(file.read_text().splitlines()[0] + "\n"), "has a header and no"),
    ("not text", lambda file: file.write_bytes(file.read_bytes() + b"\xff\xfe\x00"), "not UTF-8"),
    ("unclosed quote", lambda file: file.write_text(file.read_text() + '"'), "not comma-separated text"),
    ("an endless field", lambda file: file.write_text(file.read_text() + "x" * 200_000), "not comma-separated text"),
    ("missing", lambda file: file.unlink(), "holds no"),
]


@pytest.mark.parametrize(("spoil", "words"), [case[1:] for case in FILES_SPOILED], ids=[c[0] for c in FILES_SPOILED])
@pytest.mark.parametrize(("trace", "file"), EVERY_FILE)
def test_a_bad_file_is_named(trace: str, file: str, spoil: Callable[[Path], object], words: str, folder: Path) -> None:
    spoil(folder / trace / file)
    with pytest.raises(TraceError, match=words):
        READERS[trace](folder / trace)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(TraceError, match="is not a folder; give the one that holds"):
        openb.read(Path("no/such/place"))


# --- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("109", 109 * DAY), ("109d", 109 * DAY), ("1.5", 1.5 * DAY), ("3600s", 3600.0), ("2017-08-15", 1980.0),
     ("2017-08-15T00:00", 1980.0), ("2017-08-15T02:00+02:00", 1980.0)],
)  # fmt: skip
def test_moments_are_days_seconds_or_dates(text: str, seconds: float) -> None:
    assert seconds_into(text, "from", philly.ORIGIN) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "2017-13-01", "2016-01-01", "inf", "nan", "1e5"])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="from: must be days"):
        seconds_into(text, "from", philly.ORIGIN)


def test_a_trace_without_dates_takes_none() -> None:
    with pytest.raises(InvalidInput, match=r"must be days .* or seconds"):
        seconds_into("2017-10-01", "to", None)


@pytest.mark.parametrize(("start", "end"), [(5.0, 5.0), (5.0, 1.0), (-1.0, 4.0), (math.nan, 4.0)])
def test_a_window_has_an_extent(start: float, end: float) -> None:
    with pytest.raises(InvalidInput, match="to: must be later than from"):
        Window(start, end)

"""The project's own tables: read as SCHEMA.md says, and whatever is written in them is read back the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allocator.domain.cluster import EngineCapability
from allocator.domain.constraints import AtMost
from allocator.domain.queue import Discipline
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from simulations.scenario import load_scenario
from simulations.synthetic import generate
from simulations.traces import own, own_schema, own_writing
from simulations.traces.errors import TraceError
from simulations.traces.window import Window
from simulations.workload import Workload
from tests.simulations.traces.places import by_name, changed, copied, read, shapes

GIB = 2**30


def test_tables_are_read_as_documented() -> None:
    workload = read("own")
    jobs = by_name(workload)
    assert (workload.name, workload.start, workload.notes) == ("by hand", 0.0, ("Everything here is made up.",))
    assert workload.dropped == {"fits_no_node": 1, "no_run_time": 3}, "two of them are those of the source"
    assert list(jobs) == ["j-1", "j-3", "j-2", "j-6"]
    assert workload.nodes[0].capacity == Resources(
        cpu_millicores=64_000,
        gpu_millis=4000,
        memory_bytes=512 * GIB,
        bandwidth_bytes_per_second=25 * 10**9,
        disk_bytes=1000 * GIB,
        extra=(("fpga", 2),),
    )
    assert workload.nodes[1].labels == (("rack", "r2"),)
    vision = next(queue for queue in workload.queues if queue.name == "lab/vision")
    assert (vision.weight, vision.priority, vision.discipline, vision.max_live_jobs) == (1, 5, Discipline.FIFO, 10)
    assert vision.quotas == (Quota("a100", "gpu", 4000, 4000, 2000),)


def test_a_job_may_say_everything_or_next_to_nothing() -> None:
    jobs = by_name(read("own"))
    full = jobs["j-1"]
    assert shapes(full) == {"a100": (4, 4), "cpu": (1, 100)}
    assert [way.throughput for way in full.spec.configurations] == [3.0, 2.5, 0.1]
    spec = full.spec
    assert (spec.weight, spec.priority_class, spec.preemptible, spec.restart_cost_seconds) == (2.0, "high", False, 12.5)
    assert (spec.expected_duration_seconds, spec.deadline, spec.minimum_throughput) == (900.0, 4000.0, 0.5)
    assert (spec.resizable, spec.divisible, spec.job_class, spec.labels) == (True, False, "resnet", (("app", "x"),))
    assert spec.constraints.at_most == (AtMost(1, of=(("app", "x"),)),)
    assert full.true_speed == (("a100", 0.5),)
    bare = jobs["j-6"].spec
    assert [way.flavor for way in bare.configurations] == ["a100"], "every flavor that it fits: only they have fpgas"
    assert (bare.weight, bare.preemptible, bare.restart_cost_seconds) == (1.0, True, 0.0)
    assert {way.flavor: way.throughput for way in jobs["j-2"].spec.configurations} == {"a100": 4.0, "cpu": 1.0}
    assert jobs["j-3"].fastest.demand == Resources(cpu_millicores=16_000, gpu_millis=250, memory_bytes=8 * GIB)


def test_restarts_cost_what_the_job_says_or_else_the_option() -> None:
    workload = own.read(Path(__file__).parents[1] / "fixtures" / "own", restart_cost_seconds=30.0)
    costs = {name: job.spec.restart_cost_seconds for name, job in by_name(workload).items()}
    assert (costs["j-1"], costs["j-2"]) == (12.5, 30.0)


def test_what_engines_can_do_is_read_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text(
        'node,flavor,cores,capabilities\na,std,4,"[""resize_cpu"", ""suspend""]"\nb,std,4,[]\nc,std,4,\n'
    )
    (tmp_path / "jobs.csv").write_text("run_s,job,submit_s,cores\n60,a,0,1\n")
    workload = read("own", tmp_path)
    able = {EngineCapability.RESIZE_CPU, EngineCapability.SUSPEND}
    assert [node.capabilities for node in workload.nodes] == [able, frozenset(), None]
    for kind in own_writing.KINDS:
        own_writing.write(workload, tmp_path / kind, kind)
        assert read("own", tmp_path / kind).nodes == workload.nodes


@pytest.mark.parametrize("text", ["resize_cpu", '"resize_cpu"', '["resize"]', "[1]", "{}", "[" * 100_000])
def test_engines_that_could_do_something_else_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("node;flavor;cores;capabilities\n".replace(";", ","))
    quoted = text.replace('"', '""')
    with (tmp_path / "nodes.csv").open("a") as table:
        table.write(f'a,std,4,"{quoted}"\n')
    (tmp_path / "jobs.csv").write_text("run_s,job,submit_s,cores\n60,a,0,1\n")
    with pytest.raises(TraceError, match=r"nodes.csv.*line 2.*capabilities.*must be a JSON list \[...\] of resize_cpu"):
        read("own", tmp_path)


def test_only_nodes_and_jobs_are_needed(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("node,flavor,cores\nn,std,4\n")
    (tmp_path / "jobs.csv").write_text("run_s,job,submit_s,cores\n60,b,1704448860,2\n60,a,1704448800,1\n")
    workload = read("own", tmp_path)
    assert [(job.time, job.spec.name, job.spec.queue) for job in workload.arrivals] == [
        (1704448800.0, "a", "default"),
        (1704448860.0, "b", "default"),
    ]
    assert (workload.start, workload.name) == (1704448800.0, tmp_path.name)
    assert own.origin(tmp_path) == datetime(2024, 1, 5, 10, tzinfo=UTC)


def test_windows() -> None:
    assert list(by_name(read("own", window=Window(10.0, 22.0)))) == ["j-2"]
    carried = by_name(read("own", window=Window(15.0, carry_in=True)))
    assert {name: (job.time, job.duration) for name, job in carried.items()} == {
        "j-1": (15.0, 590.0),
        "j-2": (15.0, 57.0),
        "j-6": (22.0, 50.0),
    }
    assert own.origin(Path(__file__).parents[1] / "fixtures" / "own") is None


def same(written: Workload, found: Workload) -> None:
    """But for the order of nodes and queues, which means nothing."""
    for field in ("name", "start", "notes"):
        assert getattr(written, field) == getattr(found, field)
    assert dict(written.dropped) == dict(found.dropped)
    assert sorted(written.nodes, key=lambda node: node.name) == list(found.nodes)
    assert sorted(written.queues, key=lambda queue: queue.name) == list(found.queues)
    assert written.arrivals == found.arrivals


@pytest.mark.parametrize("kind", own_writing.KINDS)
@pytest.mark.parametrize("name", ["batsim", "dlrm", "gavel", "google", "openb", "own", "philly", "slurm", "swf"])
def test_what_is_written_is_read_back(name: str, kind: str, tmp_path: Path) -> None:
    workload = read(name)
    own_writing.write(workload, tmp_path, kind)
    same(workload, read("own", tmp_path))


@pytest.mark.parametrize("kind", own_writing.KINDS)
def test_scenarios_are_written_too(kind: str, tmp_path: Path) -> None:
    workload = generate(load_scenario("small"), 3)
    named = replace(
        workload,
        arrivals=tuple(
            replace(job, spec=replace(job.spec, name=f"{index}")) for index, job in enumerate(workload.arrivals)
        ),
    )
    own_writing.write(named, tmp_path, kind)
    same(named, read("own", tmp_path))


def test_jobs_without_a_name_or_with_the_same_get_one_each(tmp_path: Path) -> None:
    workload = read("batsim")
    named = ("", "x", "x")
    jobs = tuple(
        replace(job, spec=replace(job.spec, name=name)) for job, name in zip(workload.arrivals, named, strict=True)
    )
    own_writing.write(replace(workload, arrivals=jobs), tmp_path)
    assert [job.spec.name for job in read("own", tmp_path).arrivals] == ["@0", "x", "x@2"]


def test_columns_that_say_nothing_are_left_out_and_units_stand_with_the_others(tmp_path: Path) -> None:
    own_writing.write(read("batsim"), tmp_path)
    schema = pq.read_schema(tmp_path / "jobs.parquet")
    assert schema.names == ["job", "submit_s", "run_s", "queue", "expected_s", "shape", "preemptible", "restart_cost_s"]
    assert (schema.field("run_s").metadata or {})[b"unit"] == b"s"


def test_parquet_may_have_its_own_types(tmp_path: Path) -> None:
    """Timestamps, categories, whole numbers as floats, truths, nulls."""
    ten = datetime(2024, 1, 5, 10, tzinfo=UTC)
    pq.write_table(pa.table({"node": ["n"], "flavor": ["std"], "cores": [4]}), tmp_path / "nodes.parquet")
    table = pa.table(
        {
            "job": pa.array([7, 8]),
            "submit_s": pa.array([ten, ten + timedelta(milliseconds=250)], pa.timestamp("ns", tz="UTC")),
            "run_s": pa.array([timedelta(minutes=1), timedelta(seconds=1.5)], pa.duration("ms")),
            "queue": pa.array(["a", None]).dictionary_encode(),
            "replicas": pa.array([2.0, None]),
            "cores": pa.array([1, 2], pa.int8()),
            "preemptible": pa.array([False, None]),
            "weight": pa.array([1.5, float("nan")]),
            "note": pa.array([None, None]),
        }
    )
    pq.write_table(table, tmp_path / "jobs.parquet")
    jobs = by_name(read("own", tmp_path))
    assert (jobs["8"].time, jobs["8"].duration, jobs["8"].spec.queue) == (ten.timestamp() + 0.25, 1.5, "default")
    assert (jobs["7"].duration, jobs["7"].spec.preemptible, jobs["7"].spec.weight) == (60.0, False, 1.5)
    assert (jobs["7"].fastest.replicas, jobs["8"].fastest.replicas) == (2, 1)


def test_the_document_is_what_the_reader_does() -> None:
    written = (Path(own_schema.__file__).parent / "SCHEMA.md").read_text(encoding="utf-8")
    assert written == own_schema.document(), "write it anew: python -m simulations.traces.own_schema"
    for name, (fields, _, _) in own_schema.TABLES.items():
        header = (Path(__file__).parents[1] / "fixtures" / "own" / f"{name}.csv").read_text().splitlines()[0]
        assert set(header.split(",")) <= {field.name for field in fields}


REPLACED = [
    # table, what is replaced, by what, line, column, words
    ("jobs", "j-2,10.25", "j-1,10.25", 3, "job", "'j-1' stands on line 2 already"),
    ("jobs", "j-2,10.25", "j-2,soon", 3, "submit_s", "must be a number, got 'soon'"),
    ("jobs", "j-2,10.25,60", "j-2,10.25,-60", 3, "run_s", "must be at least 0 seconds, got -60"),
    ("jobs", "j-2,10.25,60,lab/speech,12", "j-2,10.25,60,lab/speech,1", 3, "start_s", "must be between 10.25 and"),
    ("jobs", "60,lab/speech", "60,lab/music", 3, "queue", "names 'lab/music', which is none of the queues"),
    ("jobs", "900,wide", "900,narrow", 2, "shape", "names 'narrow', which is none of the shapes"),
    ("jobs", "a100|cpu,4|1", "a100|gpu,4|1", 3, "flavors", "names 'gpu'; the nodes have a100, cpu"),
    ("jobs", "a100|cpu,4|1", "a100|cpu,4", 3, "throughputs", "must be as many as flavors, 2; got 1"),
    ("jobs", "a100|cpu,4|1", "a100|cpu,4|x", 3, "throughputs", "must be a number, got 'x'"),
    ("jobs", "a100|cpu,4|1", "a100|cpu,4|1e-20", 3, "throughputs", "throughput: must be a finite number, 0 or from"),
    ("jobs", ",2,16,0.25,8", ",0,16,0.25,8", 4, "replicas", "must be between 1 and"),
    ("jobs", ",2,16,0.25,8", ",2,16,1.5,8", 4, "replicas", "demand.gpu_millis: must be at most 1000 or a multiple"),
    ("jobs", ",2,16,0.25,8", ",2,-16,0.25,8", 4, "cores", "must be between 0 and"),
    ("jobs", ",2,16,0.25,8", ",2,,,", 4, "replicas", "demand: must ask for something"),
    ("jobs", "2,high,false", "0,high,false", 2, "weight", "weight: must be a finite number from 1e-06"),
    ("jobs", "2,high,false", "2,High!,false", 2, "priority_class", "must be of a-z 0-9"),
    ("jobs", "2,high,false", "2,high,no", 2, "preemptible", "must be true or false, got 'no'"),
    ("jobs", "12.5,true,,resnet", "12.5,true,true,resnet", 2, "divisible", "only jobs of one replica"),
    ("jobs", '"{""app"": ""x""}","{""at', '"app=x","{""at', 2, "labels", "must be a JSON object {...}, got 'app=x'"),
    ("jobs", '"{""app"": ""x""}","{""at', '"{""app"": 3}","{""at', 2, "labels", "must hold texts in quotes, got '3'"),
    ("jobs", '""replicas"": 1, ', '""replica"": 1, ', 2, "constraints", "must be JSON as the API takes it: "),
    ("jobs", '""replicas"": 1, ', '""replicas"": -1, ', 2, "constraints", None),
    ("jobs", '{""a100"": 0.5}', '{""a100"": 0}', 2, "true_speed", "must hold numbers from 1e-9 to 1e9, got '0'"),
    ("jobs", "900,wide", "1e10,wide", 2, "expected_s", "must be a finite number above 0 and at most 1e+09"),
    ("nodes", "a-1,a100", "a-0,a100", 3, "node", "'a-0' stands on line 2 already"),
    ("nodes", "a-1,a100,64", "a-1,a100,1e300", 3, "cores", "must be between 0 and"),
    ("nodes", "a-1,a100,64,4", "a-1,a100,64,4.5", 3, "node", "capacity.gpu_millis: must be whole GPUs"),
    ("nodes", "a-1,a100", "a 1,a100", 3, "node", "name: must hold only letters"),
    ("nodes", '{""fpga"": 2}', '{""FPGA"": 2}', 2, "node", "must start with a lower-case letter"),
    ("nodes", '{""fpga"": 2}', '{""fpga"": 2.5}', 2, "extra", "must hold whole numbers, got '2.5' for 'fpga'"),
    ("queues", "lab/speech", "lab/vision", 4, "queue", "'lab/vision' stands on line 3 already"),
    ("queues", "fifo", "lifo", 3, "discipline", "must be fair or fifo, got 'lifo'"),
    ("queues", '""nominal"": 4', '""least"": 4', 3, "quotas", "entry 0 must have flavor and resource, and may have"),
    ("queues", '""nominal"": 4', '""nominal"": -4', 3, "quotas", "entry 0 must have a number from 0 on as nominal"),
    ("queues", '""nominal"": 4', '""nominal"": 1', 3, "quotas", "lending_limit"),
    ("shapes", "wide,cpu", "wide,tpu", 4, "flavor", "names 'tpu'; the nodes have a100, cpu"),
    ("shapes", "wide,a100,4", "wide,a100,2", 3, "shape", "has a100 with 2 replicas on an earlier row"),
    ("shapes", "replicas", "shape", 1, "shape", "stands twice in the header"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "old", "new", "line", "column", "words"), REPLACED)
def test_a_bad_row_is_named(
    table: str, old: str, new: str, line: int, column: str, words: str | None, tmp_path: Path
) -> None:
    folder = copied("own", tmp_path)
    file = folder / f"{table}.csv"
    changed(file, old, new)
    with pytest.raises(TraceError) as caught:
        read("own", folder)
    assert (caught.value.file, caught.value.line, caught.value.column) == (file, line, column)
    assert words is None or words in caught.value.what


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        ('{"start_s": 7}', None, "start_s", "is 7; it must be at most the first submit_s, 0"),
        ('{"start_s": "now"}', 1, "start_s", 'must be a number, got "now"'),
        ('{\n"notes": "x"}', 2, "notes", "must be a list"),
        ('{"dropped": {"x": -1}}', 1, "dropped.x", "must be between 0 and"),
        ('{"dropped": ', 1, None, "is not JSON"),
    ],
)
def test_what_is_wrong_about_the_workload_is_named(
    content: str, line: int | None, column: str | None, words: str, tmp_path: Path
) -> None:
    folder = copied("own", tmp_path)
    (folder / "workload.json").write_text(content)
    with pytest.raises(TraceError) as caught:
        read("own", folder)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in caught.value.what


def parquet(folder: Path) -> Path:
    """The tables as Parquet; the jobs."""
    own_writing.write(read("batsim"), folder)
    return folder / "jobs.parquet"


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    file = parquet(tmp_path)
    table = pq.read_table(file)
    runs = table.schema.get_field_index("run_s")
    pq.write_table(table.set_column(runs, "run_s", pa.array([50.0, -1.0, 20.0])), file)
    with pytest.raises(TraceError, match=r"jobs\.parquet, row 2, column 'run_s': must be at least 0 seconds, got -1"):
        read("own", tmp_path)
    pq.write_table(table.set_column(runs, "run_s", pa.array([[1.0], [2.0], [3.0]])), file)
    with pytest.raises(TraceError, match=r"column 'run_s': holds list<.*>; it must hold numbers, text, true or false"):
        read("own", tmp_path)
    pq.write_table(table.drop_columns(["run_s"]), file)
    with pytest.raises(TraceError, match=r"column 'run_s': is missing; the header must name job, submit_s, run_s"):
        read("own", tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_parquet_that_was_cut_short_or_is_none_is_named(keep: int, tmp_path: Path) -> None:
    file = parquet(tmp_path)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(TraceError, match=r"jobs\.parquet.*: is not a sound Parquet file \(.*\): get it again"):
        read("own", tmp_path)


def test_parquet_that_promises_more_than_can_be_held_is_not_unpacked(tmp_path: Path) -> None:
    """Some kilobytes that say they are 5,000,001 rows."""
    file = parquet(tmp_path)
    many = pa.nulls(5_000_001, pa.int8())
    pq.write_table(pa.table({"job": many, "submit_s": many, "run_s": many}), file)
    assert file.stat().st_size < 100_000
    with pytest.raises(TraceError, match="promises 5,000,001 rows; at most 5,000,000 can be read: split it"):
        read("own", tmp_path)


def test_the_same_table_twice_is_refused(tmp_path: Path) -> None:
    folder = copied("own", tmp_path)
    (folder / "jobs.csv.gz").write_bytes(b"")
    with pytest.raises(TraceError, match=r"holds jobs\.csv and jobs\.csv\.gz; keep one of them"):
        read("own", folder)


def test_what_is_told_about_a_workload_is_kept(tmp_path: Path) -> None:
    own_writing.write(read("swf"), tmp_path, "csv")
    about = json.loads((tmp_path / "workload.json").read_text())
    assert about["dropped"] == {"fits_no_node": 1, "no_processors": 1, "no_run_time": 1, "partial_run": 2}
    assert about["start_s"] == 1_600_000_000.0

"""What sacct and scontrol print is read as documented, in whichever order and with whatever else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.resources import Resources
from simulations.traces import slurm, slurm_words
from simulations.traces.errors import TraceError
from simulations.traces.formats import Choices
from simulations.traces.slurm_nodes import read_nodes
from simulations.traces.window import Window
from tests.simulations.traces.places import by_name, changed, copied, read

MIB = 2**20
TEN = datetime(2024, 1, 5, 10, tzinfo=UTC).timestamp()


def test_a_log_is_read_as_documented() -> None:
    workload = read("slurm")
    jobs = by_name(workload)
    assert workload.dropped == {"never_started": 2, "no_run_time": 1, "partition_unknown": 1, "requeued": 1}
    assert list(jobs) == ["100", "101_1", "103", "104", "105#2", "107"]
    assert [queue.name for queue in workload.queues] == ["bio-lab", "phys"]
    first = jobs["100"]
    assert (first.time, first.duration, first.spec.expected_duration_seconds) == (TEN, 3600.0, 7200.0)
    assert first.fastest.demand == Resources(cpu_millicores=8000, memory_bytes=16 * 2**30)
    assert jobs["101_1"].spec.expected_duration_seconds is None, "unlimited"
    assert jobs["104"].duration == 30.5, "still running when the log was taken"
    assert jobs["105#2"].duration == 120.0, "the run before it, which its node's failure ended, was for nothing"
    assert "2 rows were steps; 1 jobs still ran." in workload.notes


def test_a_job_is_one_replica_a_node_with_an_even_part() -> None:
    jobs = by_name(read("slurm"))
    wide = jobs["103"].fastest
    assert (wide.flavor, wide.replicas) == ("cpu", 2)
    assert wide.demand == Resources(cpu_millicores=48_000, memory_bytes=48 * 4000 * MIB), "4000 MiB for each CPU"
    assert jobs["107"].fastest.replicas == 3, "on two nodes"


def test_gpus_of_a_model_run_there_and_others_anywhere_in_the_partition() -> None:
    jobs = by_name(read("slurm"))
    assert [way.flavor for way in jobs["101_1"].spec.configurations] == ["a100"]
    assert [way.flavor for way in jobs["104"].spec.configurations] == ["a100", "v100"]
    assert jobs["104"].fastest.demand == Resources(cpu_millicores=4000, gpu_millis=3000), "all memory is no demand"


@pytest.mark.parametrize(
    ("by", "queues"),
    [("user", ["alice", "bob"]), ("partition", ["cpu", "cpu-long", "gpu"]), ("account", ["bio-lab", "phys"])],
)
def test_queues_are_what_is_named(by: str, queues: list[str]) -> None:
    assert [queue.name for queue in read("slurm", choices=Choices(queue_by=by)).queues] == queues


def test_queues_that_the_log_does_not_tell_are_refused() -> None:
    with pytest.raises(TraceError, match=r"column 'QOS': is missing; the header must name QOS"):
        read("slurm", choices=Choices(queue_by="qos"))
    with pytest.raises(InvalidInput, match="queue_by: must be one of account, user, partition, qos; got 'team'"):
        read("slurm", choices=Choices(queue_by="team"))


def test_any_order_of_any_of_the_columns_will_do(tmp_path: Path) -> None:
    folder = copied("slurm", tmp_path)
    (folder / "sacct.txt").write_text(
        "State|AllocTRES|End|Start|Submit|Eligible|Timelimit|JobID|Comment\n"
        "COMPLETED|billing=2,cpu=2,gres/gpu:v100=1,gres/gpu=1,mem=2G,node=1|2024-01-05T10:10:00|2024-01-05T10:05:00|"
        "2024-01-05T10:00:00|2024-01-05T10:02:00|1-00:00:00|7+1|a|b||c\n"
        "CANCELLED by 7|cpu=2|1704449400|1704449100|1704448800|Unknown|UNLIMITED|8|\n"
    )
    jobs = by_name(read("slurm", folder))
    assert (jobs["7+1"].time, jobs["7+1"].duration) == (TEN + 120, 300.0), "it arrives when it becomes eligible"
    assert jobs["7+1"].spec.expected_duration_seconds == 86400.0
    assert [way.flavor for way in jobs["7+1"].spec.configurations] == ["v100"]
    assert (jobs["8"].time, jobs["8"].duration) == (TEN, 300.0), "cancelled while it ran; times in seconds"
    assert {job.spec.queue for job in jobs.values()} == {"slurm"}


def test_windows_count_from_the_first_submission_or_are_dates() -> None:
    assert slurm.origin(Path(__file__).parents[1] / "fixtures" / "slurm") == datetime(2024, 1, 5, 10, tzinfo=UTC)
    later = read("slurm", window=Window(50.0))
    assert list(by_name(later)) == ["105#2", "107"]
    assert later.start == TEN + 50
    carried = by_name(read("slurm", window=Window(3600.0, carry_in=True)))
    assert {name: job.duration for name, job in carried.items()} == {
        "100": 60.0,
        "101_1": 3660.0,
        "103": 97_200.0 - 3583.0,
    }


def test_logs_of_several_months_are_read_together(tmp_path: Path) -> None:
    """A job that is in both is as the later one tells."""
    folder = copied("slurm", tmp_path)
    header, *rows = (folder / "sacct.txt").read_text().splitlines()
    later = rows[7].replace("RUNNING", "COMPLETED").replace("00:30.500", "00:45:00")
    (folder / "sacct2.txt").write_text(f"{header}\n{later}\n")
    workload = read("slurm", folder)
    assert by_name(workload)["104"].duration == 2700.0
    assert workload.dropped["told_again"] == 1
    alone = read("slurm", folder / "sacct2.txt")
    assert list(by_name(alone)) == ["104"], "one log, with the nodes beside it"


def test_nodes_may_be_named_elsewhere(tmp_path: Path) -> None:
    folder = copied("slurm", tmp_path)
    elsewhere = (folder / "nodes.txt").rename(tmp_path / "nodes.txt")
    with pytest.raises(TraceError, match="has no nodes beside it: save `scontrol show nodes --oneliner` there"):
        read("slurm", folder)
    assert len(read("slurm", folder, choices=Choices(machines=str(elsewhere))).nodes) == 4


SLURM_CONF = """# slurm.conf
ClusterName=test
NodeName=DEFAULT RealMemory=1000 Sockets=2 CoresPerSocket=4 ThreadsPerCore=2
NodeName=n[01-03,7] Gres=gpu:A100:2
NodeName=big CPUs=96 RealMemory=5000
PartitionName=DEFAULT MaxTime=INFINITE
PartitionName=gpu Nodes=n[01-03]
PartitionName=all Nodes=ALL Default=YES
"""
SINFO = """NODELIST|CPUS|MEMORY|GRES|PARTITION
n01|16|1000|gpu:A100:2(S:0)|gpu
n01|16|1000|gpu:A100:2(S:0)|all*
big|96|5000|(null)|all*
"""
SHOWN = """NodeName=n01 Arch=x86_64
   CPUAlloc=0 CPUTot=16 CPULoad=0.1
   Gres=(null)
   RealMemory=1000 AllocMem=0
   Partitions=gpu,all
   CfgTRES=cpu=16,mem=1000M,billing=16,gres/gpu=2,gres/gpu:A100=2

NodeName=big CPUTot=96
   RealMemory=5000
   Partitions=all
"""


@pytest.mark.parametrize("text", [SLURM_CONF, SINFO, SHOWN, SINFO.replace("|", "  ")])
def test_nodes_are_told_in_any_of_the_ways_of_slurm(text: str, tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text(text)
    cluster = read_nodes(tmp_path / "nodes")
    nodes = {node.name: node for node in cluster.nodes}
    assert nodes["n01"].capacity == Resources(cpu_millicores=16_000, gpu_millis=2000, memory_bytes=1000 * MIB)
    assert nodes["big"].capacity == Resources(cpu_millicores=96_000, memory_bytes=5000 * MIB)
    assert cluster.flavors[nodes["big"].flavor].partitions == {"all"}
    assert cluster.flavors[nodes["n01"].flavor].partitions == {"gpu", "all"}
    assert cluster.flavors[nodes["n01"].flavor].models == {"a100"}
    if text == SLURM_CONF:
        assert sorted(nodes) == ["big", "n01", "n02", "n03", "n7"]
        assert nodes["n7"].flavor == "a100-all"
        assert nodes["n01"].flavor == "a100-all-gpu"


BAD_NODES = [
    ("NodeName=n[1-3] CPUs=4\nNodeName=n[3-5] CPUs=4\n", 2, "NodeName", "n3 stands on line 1 already; each node once"),
    ("NodeName=n1 CPUs=4\nNodeName=n1 CPUs=4\n", 2, "NodeName", "n1 stands on line 1 already"),
    ("NodeName=n[1-3,2] CPUs=4\n", 1, "NodeName", "n2 stands on line 1 already; each node once, and ranges apart"),
    ("NodeName=n[3-1] CPUs=4\n", 1, "NodeName", "must hold ranges that rise"),
    ("NodeName=n[1-999999999] CPUs=4\n", 1, "NodeName", "must hold ranges that rise, of at most 200,000"),
    ("NodeName=n[1-999]x[1-999] CPUs=4\n", 1, "NodeName", "must be hosts such as node[01-16], at most 200,000"),
    ("NodeName=n[a-b] CPUs=4\n", 1, "NodeName", "must hold numbers and ranges between brackets"),
    ("NodeName=n1 CPUs=0\n", 1, "CPUs", "must be between 1 and"),
    ("NodeName=n1 CPUTot=four\n", 1, "CPUTot", "must be an integer, got 'four'"),
    ("NodeName=n1 CPUs=4 RealMemory=-1\n", 1, "RealMemory", "must be between 0 and"),
    ("NodeName=n1 CPUs=4 Gres=gpu:a:b:c:4\n", 1, "Gres", "must be such as gpu:a100:4 or gpu:2"),
    ("NodeName=n1 CPUs=4 Gres=gpu:5000\n", 1, "NodeName", "must be at most 1024000 (1024 GPUs)"),
    ("NodeName= CPUs=4\n", 1, "NodeName", "is empty"),
    ("PartitionName=x Nodes=ALL\n", None, None, "has no nodes; save `scontrol show nodes --oneliner`"),
    ("NODELIST CPUS MEMORY PARTITION\nn1 4 100 a\nn1 4 100 a*\n", 3, "NODELIST", "n1 stands on line 2 already"),
    ("NODELIST CPUS MEMORY PARTITION\nn[1-2] 4 100 a\nn[2-3] 4 200 b\n", 3, "NODELIST", "another size on line 2"),
    ("NODELIST CPUS MEMORY PARTITION\nn1 4+ 100 a\n", 2, "CPUS", "must be an integer, got '4+'"),
    ("NODELIST CPUS MEMORY PARTITION\nn1 4 100\n", 2, None, "has 3 fields; the header has 4 columns"),
    ("NODELIST CPUS RAM\nn1 4 100\n", 1, "MEMORY", "is missing; the header must name NODELIST, CPUS, MEMORY"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), BAD_NODES)
def test_bad_nodes_are_named(text: str, line: int | None, column: str | None, words: str, tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text(text)
    with pytest.raises(TraceError) as caught:
        read_nodes(tmp_path / "nodes")
    assert (caught.value.file, caught.value.line, caught.value.column) == (tmp_path / "nodes", line, column)
    assert words in caught.value.what


REPLACED = [
    # what is replaced, by what, line, column, words
    ("\n101_1|", "\n100|", 5, None, None),
    ("101_1|train|bob|Bio Lab|gpu|TIMEOUT|2024-01-05T10:00:05", "100|t|b|c|gpu|TIMEOUT|2024-01-05T10:00:00", 5, "JobID",
     "'100' with this Submit stands on line 2 already; each job once"),
    ("\n100|", "\n|", 2, "JobID", "is empty"),
    ("\n100|", "\nabc|", 2, "JobID", "must be such as 12, 12_3 or 12.batch, got 'abc'"),
    ("cpu|COMPLETED|2024", "cpu||2024", 2, "State", "is empty"),
    ("cpu|COMPLETED|2024", "cpu|2024|2024", 2, "State", "must be a word such as COMPLETED, got '2024'"),
    ("2024-01-05T10:00:00|", "yesterday|", 2, "Submit", "must be a time such as 2024-01-05T10:00:00, or Unknown"),
    ("2024-01-05T10:00:00|", "|", 2, "Submit", "is empty"),
    ("2024-01-05T10:01:00|", "2024-13-05T10:01:00|", 2, "Start", "must be a time such as"),
    ("|01:00:00|", "|-01:00:00|", 2, "Elapsed", "must be a duration such as 1-02:03:04 or 02:03:04; got '-01:00:00'"),
    ("|120|1|8|", "|-120|1|8|", 2, "TimelimitRaw", "must be between 0 and"),
    ("|120|1|8|", "|2:00|1|8|", 2, "TimelimitRaw", "must be a number, got '2:00'"),
    ("billing=8,cpu=8,mem=16G,node=1|", "billing=8,cpu=eight|", 2, "ReqTRES", "must hold whole numbers of at most"),
    ("billing=8,cpu=8,mem=16G,node=1|", "cpu=8,mem=lots|", 2, "ReqTRES", "must be an amount such as 16G, 4000M"),
    ("billing=8,cpu=8,mem=16G,node=1|", "cpu 8|", 2, "ReqTRES", "must be pairs such as cpu=4,mem=16G"),
    ("billing=8,cpu=8,mem=16G,node=1|", "cpu=8,node=9999999|", 2, "ReqTRES", "of at most 200,000, got '9999999'"),
    ("|4000Mc|", "|4000Q|", 8, "ReqMem", "must be an amount such as 16G, 4000M, 4000Mc (a CPU) or 4Gn (a node)"),
    ("|cpu|", "|", 2, None, "has 15 fields; the header has 16 columns: JobID, JobName, "),
    ("|Submit|", "|Submitted|", 1, "Submit", "is missing; the header must name JobID, Submit, Start, State"),
    ("|State|", "|Submit|", 1, "Submit", "stands twice in the header"),
    ("|End|Elapsed|", "|Finish|Took|", 1, "ElapsedRaw", "must name one of ElapsedRaw, Elapsed, End and has"),
    ("NCPUS|ReqMem|ReqTRES|AllocTRES", "A|B|C|D", 1, "ReqTRES", "must name one of ReqTRES, AllocTRES, ReqCPUS, NCPUS"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "column", "words"), REPLACED)
def test_a_bad_row_is_named(
    old: str, new: str, line: int, column: str | None, words: str | None, tmp_path: Path
) -> None:
    log = copied("slurm", tmp_path) / "sacct.txt"
    changed(log, old, new)
    if words is None:  # the same id submitted at another time is another job
        assert "100#2" in by_name(read("slurm", log.parent))
        return
    with pytest.raises(TraceError) as caught:
        read("slurm", log.parent)
    assert (caught.value.file, caught.value.line, caught.value.column) == (log, line, column)
    assert words in caught.value.what


def test_an_end_before_the_start_is_named(tmp_path: Path) -> None:
    log = copied("slurm", tmp_path) / "sacct.txt"
    changed(log, "|Elapsed|", "|Took|")
    changed(log, "2024-01-05T11:01:00", "2024-01-05T09:01:00")
    with pytest.raises(TraceError, match="must not be before Start") as caught:
        read("slurm", log.parent)
    assert (caught.value.line, caught.value.column) == (2, "End")


def test_a_log_for_people_is_called_that(tmp_path: Path) -> None:
    log = copied("slurm", tmp_path) / "sacct.txt"
    log.write_text("JobID    JobName  State\n------- -------- -----\n1 a COMPLETED\n")
    with pytest.raises(TraceError, match=r"is not separated by \|: save it with sacct --parsable2") as caught:
        read("slurm", log)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784.0), ("02:03:04", 7384.0), ("03:04", 184.0), ("03:04.5", 184.5), ("2-00", 172800.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert slurm_words.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("n[08-10],x", ["n08", "n09", "n10", "x"]),
        ("r[1-2]n[1,3]", ["r1n1", "r1n3", "r2n1", "r2n3"]),
        ("n[1-2]-ib,m", ["n1-ib", "n2-ib", "m"]),
    ],
)
def test_hosts(text: str, names: list[str]) -> None:
    assert slurm_words.hosts(text) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:A100:no_consume:4,nic:2,gpu:v100:1(IDX:0,2)", {"a100": 4, "v100": 1}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus(text: str, found: dict[str, int]) -> None:
    assert slurm_words.gpus(text) == found

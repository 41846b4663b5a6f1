"""submit, jobs, job, cancel and update against a real server."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from allocator.domain.job import JobState
from allocator.intake import commands as c
from tests.builders import configuration, node, resources, spec
from tests.cli.conftest import Run
from tests.client.served import Served


def test_flags_become_a_job(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"), node("n2", "t4")))
    ran = run(
        *(
            "submit",
            "-q",
            "q",
            "--name",
            "train",
            "--replicas",
            "2",
            "--cpu",
            "500m",
            "--gpu",
            "1",
            "--memory",
            "16GiB",
        ),
        *("--bandwidth", "10Gbit/s", "--disk", "1GB", "--resource", "license=2", "--flavor", "a100=2.5"),
        *("--flavor", "t4", "--weight", "2", "--priority-class", "high", "--non-preemptible", "--restart-cost", "30s"),
        *("--expected-duration", "1h30m", "--label", "team=vision", "--label", "k=a=b", "--allow-infeasible"),
    )
    assert (ran.code, ran.out, ran.err) == (0, "j1\n", "")
    job = served.store.get_job("j1").spec
    assert [(k.flavor, k.replicas, k.throughput) for k in job.configurations] == [("a100", 2, 2.5), ("t4", 2, 1.0)]
    demand = job.configurations[0].demand
    assert dict(demand.items()) == {
        "cpu": 500,
        "gpu": 1000,
        "memory": 16 * 2**30,
        "bandwidth": 1_250_000_000,
        "disk": 10**9,
        "license": 2,
    }
    assert (job.name, job.weight, job.priority_class, job.preemptible) == ("train", 2.0, "high", False)
    assert (job.restart_cost_seconds, job.expected_duration_seconds) == (30.0, 5400.0)
    assert job.labels == (("k", "a=b"), ("team", "vision"))


def test_without_a_flavor_every_flavor_of_the_cluster_is_accepted(served: Served, run: Run) -> None:
    served.populate(("q",))
    none = run("submit", "-q", "q", "--cpu", "1")
    assert (none.code, none.out) == (4, "")
    assert "has no nodes" in none.err
    served.populate((), (node("n1", "a100"), node("n2", "t4"), node("n3", "t4")))
    assert run("submit", "-q", "q", "--cpu", "1").code == 0
    configurations = served.store.get_job("j1").spec.configurations
    assert [(k.flavor, k.throughput) for k in configurations] == [("a100", 1.0), ("t4", 1.0)]


def test_copies_and_request_ids(served: Served, run: Run) -> None:
    served.populate()
    args = ("submit", "-q", "q", "--cpu", "1", "--flavor", "a100", "--count", "1001", "--request-id", "nightly")
    first = run(*args)
    assert first.code == 0
    assert first.out.split() == [f"j{number}" for number in range(1, 1002)]
    assert "1001 submitted, 0 refused" in first.err
    # The second of two batches is repeated by an id of its own: nothing is submitted twice.
    assert run(*args).out == first.out
    assert len(run("jobs", "--json").json) == 1001
    changed = run(*args[:-4], "--count", "2", "--request-id", "nightly")
    assert changed.code == 4
    assert "nightly" in changed.err


def test_a_file_is_submitted_item_by_item(served: Served, run: Run, tmp_path: Path) -> None:
    served.populate(("q",))
    text = "defaults: {queue: q, flavors: [a100], cpu: 1}\njobs: [{name: a}, {queue: nope}, {name: b, count: 2}]"
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    ran = run("submit", "-f", str(path))
    assert ran.code == 1
    assert ran.out == "j1\nj2\nj3\n"
    assert "item 1: queue 'nope' does not exist" in ran.err
    assert "3 submitted, 1 refused" in ran.err
    assert run("submit", "-f", "-", stdin=json.dumps([{"queue": "q", "cpu": 1, "flavors": "t4"}])).out == "j4\n"
    items = run("submit", "-f", str(path), "--json").json
    assert [item["error"]["kind"] if item["error"] else item["job"]["id"] for item in items] == [
        "j5",
        "NotFound",
        "j6",
        "j7",
    ]


def test_nothing_of_a_malformed_file_is_submitted(served: Served, run: Run, tmp_path: Path) -> None:
    served.populate(("q",))
    path = tmp_path / "jobs.yaml"
    path.write_text("- {queue: q, cpu: 1, flavors: [a]}\n- queue: q\n  cpu: 1\n  memory: 16GX\n  memroy: 1GiB\n")
    ran = run("submit", "-f", str(path))
    assert ran.code == 2
    assert [line.partition(": ")[2] for line in ran.err.splitlines()] == [
        f"{path}:4: [1].memory: unknown unit 'GX' (did you mean G?) in '16GX'; write 16GiB, 2GB or 512Mi",
        f"{path}:5: [1].memroy: unknown field; did you mean memory?",
    ]
    assert run("jobs", "--json").json == []


BAD_FLAGS = [
    (["--cpu", "1"], "--queue: is missing: name the queue that the job belongs to"),
    (["-q", "q"], "must ask for something"),
    (["-q", "q", "--cpu", "x"], "--cpu: cannot read 'x'; write 4, 0.5 or 500m"),
    (["-q", "q", "--memory", "16"], "--memory: a unit is missing in '16'; write 16GiB, 2GB or 512Mi"),
    (["-q", "q", "--gpu", "1.5"], "--gpu: must be a fraction of one GPU, or whole GPUs such as 2"),
    (["-q", "q", "--cpu", "1", "--flavor", "a=fast"], "--flavor: must be written NAME or NAME=THROUGHPUT"),
    (["-q", "q", "--cpu", "1", "--flavor", "a", "--flavor", "a"], "--flavor: 'a' is given twice"),
    (["-q", "q", "--cpu", "1", "--label", "x"], "--label: must be written KEY=VALUE, got 'x'"),
    (["-q", "q", "--cpu", "1", "--resource", "fpga"], "--resource: must be written KEY=VALUE, got 'fpga'"),
    (["-q", "q", "--cpu", "1", "--resource", "fpga=half"], "--resource fpga: cannot read 'half'"),
    (["-q", "q", "--cpu", "1", "--replicas", "0"], "--replicas: must be a whole number between 1 and 100000, got 0"),
    (["-q", "q", "--cpu", "1", "--count", "-3"], "--count: must be a whole number between 1 and 100000, got -3"),
    (["-q", "q", "--cpu", "1", "--weight", "0"], "--weight: must be a finite number"),
    (["-q", "q", "--cpu", "1", "--priority-class", "Max"], "--priority-class: must be of a-z 0-9"),
    (["-q", "q", "--cpu", "1", "--restart-cost", "soon"], "--restart-cost: cannot read 'soon'; write 30s"),
    (["-q", "q", "-f", "x.yaml"], "--file: cannot be combined with --queue: write defaults into the file"),
    (["-f", "/does/not/exist"], "/does/not/exist: cannot be read: No such file or directory"),
    (["--replicas", "many"], "Invalid value for '--replicas'"),
    (["--frobnicate"], "No such option: --frobnicate"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS)
def test_bad_flags_are_told_and_end_with_2(run: Run, flags: list[str], message: str) -> None:
    ran = run("submit", *flags)
    assert ran.code == 2
    assert ran.out == ""
    assert message in " ".join(ran.err.replace("│", " ").split())


def test_the_table_of_jobs(served: Served, run: Run) -> None:
    served.populate(("q", "other"), (node("n1", "a100"),))
    served.execute(
        c.SubmitJobs((spec("q", configuration(replicas=2, cpu=4), name="a b"), spec("q", configuration(gpu=5))))
    )
    served.round()
    served.execute(c.SubmitJobs((spec("other"),)))
    served.clock.ahead = 0
    header, *rows = run("jobs").out.splitlines()
    assert header.split() == ["JOB", "NAME", "QUEUE", "STATE", "ASKS", "AGE", "RAN", "PREEMPTED", "WHERE", "/", "WHY"]
    assert "a b" in rows[0]
    assert "2 × 4 cores, 1 GPU" in rows[0]
    assert rows[0].endswith("2 on n1")
    assert rows[1].endswith("replica larger than any node: 1 more GPU on a100")
    assert rows[2].endswith("not looked at yet")
    assert [line.split()[0] for line in run("jobs", "-q", "other").out.splitlines()[1:]] == ["j3"]
    assert [job["id"] for job in run("jobs", "--state", "running", "--json").json] == ["j1"]
    limited = run("jobs", "-n", "2")
    assert len(limited.out.splitlines()) == 3
    assert "only the first 2: there are more" in limited.err
    assert run("jobs", "-n", "3").err == ""
    served.execute(c.CancelJobs(("j1", "j2", "j3")))
    assert "no such jobs" in run("jobs").err
    assert len(run("jobs", "--all").out.splitlines()) == 4


def test_a_queue_that_does_not_exist_is_no_empty_queue(served: Served, run: Run) -> None:
    served.populate(("q",))
    empty = run("jobs", "-q", "q")
    assert (empty.code, empty.out, empty.err) == (0, "", "no such jobs\n")
    for args in (("jobs", "-q", "nope"), ("jobs", "--all", "-q", "nope"), ("watch", "-q", "nope")):
        ran = run(*args)
        assert (ran.code, ran.out, ran.err) == (3, "", "error: queue 'nope' does not exist\n")
    as_json = run("jobs", "-q", "nope", "--json")
    assert (as_json.code, as_json.out) == (3, "")
    assert json.loads(as_json.err)["error"]["kind"] == "NotFound"


def test_a_running_job_in_words(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    demand = configuration(replicas=3, cpu=4, memory_gib=2)
    served.execute(c.SubmitJobs((spec("q", demand, name="train", labels=(("k", "v"),), restart_cost_seconds=90),)))
    served.round()
    served.execute(c.ReportProgress("j1", 3.0))
    words = " ".join(run("job", "j1").out.split())
    for fact in (
        "name train queue q (holds",
        "state running runs on n1: replicas 0-2, GPUs 0-2",
        "restart cost 1m30s",
        "labels k=v",
        "> a100 3 4 cores, 1 GPU, 2 GiB memory 1*",
        "measured 3 per second on a100",
        "preempted 0 times",
    ):
        assert fact in words


def test_why_a_job_waits_in_words(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100", cpu=8, gpu=4), node("n2", "t4", cpu=8, gpu=1)))
    served.execute(c.SubmitJobs((spec("q", configuration("a100", 8, cpu=1), configuration("t4", 2, cpu=1)),)))
    served.round()
    out = " ".join(run("job", "j1").out.split())
    assert "never, as the cluster is: the gang is larger than all nodes" in out
    assert "needs 4 more GPUs on a100" in out
    assert "needs 1 more GPU on t4" in out
    assert "no round has looked at it yet" in _why_of_new(served, run)


def test_the_table_names_the_flavor_that_lacks_least_and_counts_the_others(served: Served, run: Run) -> None:
    served.populate(
        ("q",), (node("n1", "a100", cpu=8, gpu=4), node("n2", "t4", cpu=8, gpu=1), node("n3", "v100", gpu=1))
    )
    pairs = (
        (configuration("a100", gpu=8), configuration("t4", cpu=10)),  # lack 4 of 8 GPUs, 2 of 10 cores
        (configuration("a100", gpu=5), configuration("t4", cpu=10, gpu=2)),  # 1 of 5; 2 of 10 and 1 of 2
        (configuration("a100", cpu=9, gpu=5), configuration("t4", cpu=80)),  # 1 of 9 and 1 of 5; 72 of 80
        (configuration("a100", gpu=9), configuration("t4", gpu=9), configuration("v100", gpu=9)),
    )
    served.execute(c.SubmitJobs(tuple(spec("q", *pair) for pair in pairs)))
    served.round()
    assert [line.partition("any node: ")[2] for line in run("jobs").out.splitlines()[1:]] == [
        "2 more cores on t4 (or on 1 more flavor)",
        "1 more GPU on a100 (or on 1 more flavor)",
        "1 more core and 1 more GPU on a100 (or on 1 more flavor)",
        "5 more GPUs on a100 (or on 2 more flavors)",
    ]


def _why_of_new(served: Served, run: Run) -> str:
    (job,) = served.execute(c.SubmitJobs((spec("q"),)))
    return run("job", job.id).out


def test_preemption_and_end_are_told(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    served.execute(c.SubmitJobs((spec("q"),)))
    served.round()
    served.execute(c.LoseNode("n1"))
    served.round()
    assert "1 time, last because a node it ran on was lost" in run("job", "j1").out
    served.execute(c.RegisterNode(node("n1", "a100")))
    served.round()
    served.finish(served.store.get_job("j1"), c.ReplicaState.FAILED, "out of memory")
    words = " ".join(run("job", "j1").out.split())
    assert "state failed message replica 0 failed on node n1: out of memory" in words


def test_cancel_and_update_tell_every_refusal(served: Served, run: Run) -> None:
    served.populate()
    served.execute(c.SubmitJobs((spec("q"), spec("q"))))
    assert run("update", "j1", "--weight", "3", "--priority-class", "low").code == 0
    assert served.store.get_job("j1").spec.weight == 3.0
    partly = run("cancel", "j1", "j9", "-m", "enough")
    assert (partly.code, partly.out) == (1, "j1\n")
    assert "item 1: job 'j9' does not exist" in partly.err
    assert served.store.get_job("j1").message == "enough"
    assert run("cancel", "j9").code == 3
    assert run("cancel", "j9", "j8").code == 3
    assert run("cancel", "j1").code == 0
    assert run("update", "j1", "--weight", "1").code == 4
    assert run("update", "j2", "--weight", "-1").code == 2
    assert run("update", "j2").code == 2
    refused = run("update", "j2", "--weight", "0", "--priority-class", "max")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: --weight: must be a finite number")
    assert "; --priority-class: must be one of" in refused.err
    assert run("cancel", "j2", "j9", "--json").json[1]["error"] == {
        "kind": "NotFound",
        "message": "job 'j9' does not exist",
    }


def test_waiting_for_the_end(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    started = threading.Event()

    def play() -> None:
        """What the cluster does while the command waits: run two jobs, of which the second fails."""
        done = threading.Event()
        ended = served.store.subscribe(lambda _: done.set())
        while len(served.store.list_jobs()) < 2:
            done.wait(10)
            done.clear()
        ended()
        served.round()
        good, bad = served.store.list_jobs()
        served.finish(good)
        served.finish(bad, c.ReplicaState.FAILED, "exit status 1")
        started.set()

    thread = threading.Thread(target=play)
    thread.start()
    ran = run("submit", "-q", "q", "--gpu", "1", "--count", "2", "--wait", "--json")
    thread.join()
    assert ran.code == 1
    states = {(job["id"], job["state"]) for job in ran.json_lines}
    assert {("j1", "succeeded"), ("j2", "failed")} <= states


def test_waiting_for_jobs_that_have_ended_before_anybody_looked(served: Served, run: Run) -> None:
    served.populate(("q",))
    args = ("submit", "-q", "q", "--cpu", "1", "--flavor", "a", "--request-id", "r")
    assert run(*args).out == "j1\n"
    served.execute(c.CancelJobs(("j1",)))
    ran = run(*args, "--wait")
    assert (ran.code, ran.out) == (1, "j1\nj1 cancelled\n")
    assert served.store.get_job("j1").state is JobState.CANCELLED


def test_json_of_a_job_has_the_names_of_the_api(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=5), name="x"), spec("q"))))
    served.round()
    waiting, running = run("jobs", "--json").json
    assert waiting["state"] == "pending"
    assert waiting["allocation"] is None
    assert waiting["pending_reason"] == {
        "cause": "exceeds_node",
        "shortages": [{"flavor": "a100", "resource": "gpu", "missing": 1000, "held": 0}],
        "examined": [
            {
                "flavor": "a100",
                "nodes": 1,
                "refused": [{"refusal": "full", "nodes": 1}],
                "lacking": [{"resource": "gpu", "nodes": 1}],
                "replicas": 1,
                "room": 0,
                "places": 0,
            }
        ],
        "reserved_for": [],
        "reserved_until": None,
        "excesses": [],
        "limits": [],
    }
    assert running["allocation"]["replicas"] == [{"node": "n1", "gpus": [0]}]
    assert running["spec"]["configurations"][0]["demand"] == {
        "cpu_millicores": 1000,
        "gpu_millis": 1000,
        "memory_bytes": 0,
        "bandwidth_bytes_per_second": 0,
        "disk_bytes": 0,
        "extra": {},
    }
    assert running["submit_time"].endswith("Z")
    assert resources(cpu=1).cpu_millicores == 1000

"""What jobs run, in what order, and how often: in files, as flags, against a real server, and as people see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from allocator.cli import documents
from allocator.cli.jobfile import read_drafts, specs_of
from allocator.client import batches
from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobState
from allocator.domain.process import Condition, Dependency, Process, Retries
from allocator.intake import commands as c
from tests.builders import node
from tests.cli.conftest import Run
from tests.client.served import Served

PIPELINE = """
defaults: {queue: q, cpu: 1, flavors: [a100], environment: {LANG: C}}
jobs:
  - {name: prepare, command: "python prepare.py 'two words'"}
  - name: train
    command: [python, train.py]
    arguments: [--lr, "3e-4"]
    environment: {EPOCHS: "10"}
    directory: /srv/work
    output: logs/%j-%a.txt
    errors: logs/%j.err
    checkpoint_signal: SIGUSR1
    grace: 2m
    retries: {limit: 3, backoff: 1m, most_backoff: 10m}
    array: 0-4:2
    after: prepare
  - {name: report, after: [{job: train, condition: ended}, j17], retries: 2}
  - {name: one, after: ["train[2]", prepare]}
"""


def read(text: str) -> Any:
    return specs_of(read_drafts(documents.parse(text, "f.yaml", "YAML")), ())


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    return [str(violation) for violation in caught.value.violations]


def job(**fields: Any) -> str:
    return json.dumps([{"queue": "q", "cpu": 1, "flavors": ["a"], **fields}])


class TestFiles:
    def test_every_field(self) -> None:
        prepare, *train, report, one = read(PIPELINE)
        assert prepare.process == Process(("python", "prepare.py", "two words"), (("LANG", "C"),))
        assert [(spec.name, spec.array_index) for spec in train] == [("train[0]", 0), ("train[2]", 2), ("train[4]", 4)]
        assert train[0].process == Process(
            ("python", "train.py", "--lr", "3e-4"),
            (("EPOCHS", "10"), ("LANG", "C")),
            "/srv/work",
            "logs/%j-%a.txt",
            "logs/%j.err",
            "SIGUSR1",
            120.0,
        )
        assert train[0].retries == Retries(3, 60.0, 600.0)
        assert train[0].after == (Dependency("#0"),)
        ended = [Dependency(f"#{number}", Condition.ENDED) for number in (1, 2, 3)]
        assert report.after == (*ended, Dependency("j17"))
        assert read(job(retries={"limit": 1, "backoff": "2h"}))[0].retries == Retries(1, 7200.0, 7200.0)
        assert (report.retries, report.process) == (Retries(2), None)
        assert one.after == (Dependency("#2"), Dependency("#0"))

    @pytest.mark.parametrize(
        ("array", "indices"),
        [
            ("7", [7]),
            (7, [7]),
            ("0-3", [0, 1, 2, 3]),
            ("1,5-9:3", [1, 5, 8]),
            ([3, 1], [3, 1]),
            ([0, "4-5"], [0, 4, 5]),
        ],
    )
    def test_arrays(self, array: object, indices: list[int]) -> None:
        assert [spec.array_index for spec in read(job(array=array))] == indices
        assert [spec.name for spec in read(job(array=array))] == [""] * len(indices)

    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({"command": "a 'b"}, "f.yaml:1: [0].command: cannot be split into arguments: no closing quotation"),
            ({"command": ""}, "f.yaml:1: [0].command: must begin with a program"),
            ({"command": []}, "f.yaml:1: [0].command: must begin with a program"),
            ({"command": ["a", 3]}, "f.yaml:1: [0].command[1]: must be text, got 3; put it in quotes"),
            ({"command": ["a", "b\0"]}, "f.yaml:1: [0].command[1]: must hold no NUL character"),
            ({"command": 3, "directory": "/srv"}, "f.yaml:1: [0].command: must be text or a list of text, got 3"),
            ({"directory": "/srv"}, "f.yaml:1: [0].directory: goes with a command, and there is none"),
            ({"command": ["a"], "output": "../x"}, "f.yaml:1: [0].output: must be a file below the working directory"),
            ({"command": ["a"], "grace": "2h"}, "f.yaml:1: [0].grace: must be a number from 0 to 3600, got 7200.0"),
            ({"command": ["a"], "environment": {"A B": ""}}, "f.yaml:1: [0].environment.A B: must be letters, digits"),
            ({"command": ["a"], "environment": {"A": 1}}, "f.yaml:1: [0].environment.A: must be text, got 1"),
            ({"command": ["a"], "checkpoint_signal": "SIGKILL"}, "f.yaml:1: [0].checkpoint_signal: must be one of"),
            ({"retries": -1}, "f.yaml:1: [0].retries: must be a whole number between 0 and 1000"),
            ({"retries": {"backoff": "1m"}}, "f.yaml:1: [0].retries.limit: is missing"),
            ({"retries": {"limit": 1, "delay": 3}}, "f.yaml:1: [0].retries.delay: unknown field"),
            ({"array": "3-1"}, "f.yaml:1: [0].array: must go up, to 999999 at most; got '3-1'"),
            ({"array": "0-9:0"}, "f.yaml:1: [0].array: must go up"),
            ({"array": "x"}, "f.yaml:1: [0].array: must be whole numbers such as 0-99"),
            ({"array": True}, "f.yaml:1: [0].array: must be whole numbers such as 0-99"),
            ({"array": "1,0-3"}, "f.yaml:1: [0].array: 1 is given twice"),
            ({"array": "0-999999"}, "f.yaml:1: [0].array: must have at most 100000 jobs"),
            (
                {"array": "0-999", "count": 1000},
                "f.yaml:1: [0].count: and array must make at most 100000 jobs",
            ),
            ({"after": "nobody"}, "f.yaml:1: [0].after: must be the name of a job further up in the file, or an id"),
            ({"after": {"condition": "ended"}}, "f.yaml:1: [0].after.job: is missing"),
            ({"after": {"job": "j1", "condition": "done"}}, "f.yaml:1: [0].after.condition: must be one of succeeded"),
            ({"after": ["j1", "j1"]}, ""),
        ],
    )
    def test_faults_name_line_and_field(self, fields: dict[str, Any], fault: str) -> None:
        if not fault:
            assert read(job(**fields))[0].after == (Dependency("j1"),)
            return
        (told,) = faults(job(**fields))
        assert told.startswith(fault)

    def test_order_is_about_jobs_further_up(self) -> None:
        text = """
- {queue: q, cpu: 1, name: first, after: second}
- {queue: q, cpu: 1, name: second, array: 0-3}
- {queue: q, cpu: 1, after: [secnd, "second[4]"]}
- {queue: q, cpu: 1, name: many, count: 300}
- {queue: q, cpu: 1, after: many}
"""
        unknown = "must be the name of a job further up in the file, or an id such as j17"
        assert faults(text) == [
            f"f.yaml:2: [0].after: {unknown}; got 'second'",
            f"f.yaml:4: [2].after[0]: {unknown}; got 'secnd'; did you mean second?",
            "f.yaml:4: [2].after[1]: job 'second' has no array with index 4",
            "f.yaml:6: [4].after: must mean at most 256 jobs, and means 300",
        ]

    def test_a_name_that_cannot_be_read_is_one_fault_and_not_two(self) -> None:
        assert faults("- {queue: q, cpu: 1, name: 3}\n- {queue: q, cpu: 1, after: '3'}") == [
            "f.yaml:1: [0].name: must be text, got 3; put it in quotes"
        ]


class TestSubmit:
    def test_flags(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node(),))
        assert run("submit", "-q", "q", "--cpu", "1").code == 0
        ran = run(
            *("submit", "-q", "q", "--cpu", "1", "--name", "x", "--env", "A=1", "--env", "B=x=y", "--chdir", "/srv"),
            *("--output", "%j.txt", "--errors", "e.txt", "--retries", "2", "--after", "j1=ended", "--array", "3-4"),
            *("--checkpoint-signal", "SIGINT", "--grace", "1m", "--", "python", "train.py", "--lr", "3", "-q", "$HOME"),
        )
        assert (ran.code, ran.out) == (0, "j2\nj3\n")
        spec = served.store.get_job("j3").spec
        assert spec.process == Process(
            ("python", "train.py", "--lr", "3", "-q", "$HOME"),
            (("A", "1"), ("B", "x=y")),
            "/srv",
            "%j.txt",
            "e.txt",
            "SIGINT",
            60.0,
        )
        assert (spec.name, spec.array_index, spec.retries) == ("x[4]", 4, Retries(2))
        assert spec.after == (Dependency("j1", Condition.ENDED),)

    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (("--env", "A B=1", "--", "a"), "--env A B: must be letters"),
            (("--env", "A"), "--env: must be written KEY=VALUE"),
            (("--chdir", "srv", "--", "a"), "--chdir: must be an absolute path"),
            (("--chdir", "/srv"), "--chdir: goes with a command"),
            (("jobs.yaml",), "COMMAND: must stand behind --, as in `-- python train.py`; got 'jobs.yaml' (for a file"),
            (("--", ""), "COMMAND: must begin with a program"),
            (("--after", "prepare"), "--after: must be written JOB or JOB=CONDITION"),
            (("--after", "j1=done"), "--after: must be one of succeeded, ended, failed"),
            (("--array", "b"), "--array: must be whole numbers"),
            (("--after", "j9"), "there is no job 'j9'"),
        ],
    )
    def test_faults_name_the_flag(self, served: Served, run: Run, args: tuple[str, ...], told: str) -> None:
        served.populate(("q",), (node(),))
        ran = run("submit", "-q", "q", "--cpu", "1", *args)
        assert ran.code == 2
        assert told in ran.err
        assert served.store.list_jobs() == ()

    def test_a_command_does_not_go_with_a_file(self, served: Served, run: Run) -> None:
        ran = run("submit", "-f", "-", "--", "true", stdin=PIPELINE)
        assert ran.code == 2
        assert "--file: cannot be combined with COMMAND" in ran.err

    def test_dependencies_reach_over_requests_and_refusals(
        self, served: Served, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More jobs than one request takes; one that comes after a refused one is refused itself, and says so."""
        monkeypatch.setattr(batches, "MOST_JOBS", 1000)
        served.populate(("q",), (node(),))
        text = """
defaults: {queue: q, cpu: 1}
jobs:
  - {name: first}
  - {name: bad, queue: nowhere}
  - {count: 1000, after: first}
  - {name: last, after: [first, j3]}
  - {after: bad}
"""
        ran = run("submit", "-f", "-", stdin=text)
        assert ran.code == 1
        assert len(ran.out.split()) == 1002
        assert "item 1: queue 'nowhere' does not exist" in ran.err
        assert "item 1003: jobs[1003].after[0].job_id: there is no job 'item 1, which was refused'" in ran.err
        assert served.store.get_job("j1001").waits_for == ("j1",)
        assert served.store.get_job("j1002").waits_for == ("j1", "j3")

    def test_a_dry_run_knows_the_order_and_those_that_ended(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node(),))
        run("submit", "-q", "q", "--cpu", "1")
        served.execute(c.CancelJobs(("j1",)))
        served.round()
        ran = run("submit", "-f", "-", "--dry-run", "--json", stdin="- {name: a, queue: q, cpu: 1, after: {job: j1, "
                  "condition: ended}}\n- {queue: q, cpu: 1, after: a}\n- {queue: q, cpu: 1, after: j1}\n")  # fmt: skip
        assert ran.code == 0, ran.err
        submitted = [item["job"] for item in ran.json["submitted"]]
        assert [item["state"] for item in submitted] == ["pending", "pending", "failed"]
        assert submitted[1]["waits_for"] == [submitted[0]["id"]]
        text = """
defaults: {queue: q, cpu: 1}
jobs:
  - {name: b, after: j1}
  - {name: c, after: {job: j1, condition: failed}}
  - {name: d, after: c}
"""
        told = run("submit", "-f", "-", "--dry-run", stdin=text).out
        assert "b: would be admitted, and fail: never started: j1 had to succeed first, and was cancelled" in told
        assert "c: would start in the next round" in told
        assert "d: would be admitted, and wait for 1 job to end first" in told


class TestShown:
    def test_whom_it_waits_for(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node(),))
        assert run("submit", "-f", "-", stdin=PIPELINE.replace(", j17", "")).code == 0
        served.round()
        page = run("job", "j5").out
        assert "waits for j2, j3 and j4 to end" in page
        assert "up to 2, after 10s, then twice as long each time, at most 1h" in page
        assert "python train.py --lr 3e-4" in run("job", "j2").out
        table = run("jobs").out
        assert "waits for j2 and 2 more" in table
        assert "train[4]" in table
        explained = run("explain", "j6").out
        assert "waits for j3 and j1 to succeed" in explained
        assert "not now" in explained
        assert "no round has looked" not in explained
        told = run("explain", "j5", "--json").json
        assert told["reason"]["cause"] == "dependency"
        assert told["waits_for"][0] == {"job_id": "j2", "condition": "ended"}
        assert run("job", "j5", "--json").json["waits_for"] == ["j2", "j3", "j4"]

    def test_when_it_is_tried_again(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node(),))
        run("submit", "-q", "q", "--cpu", "1", "--retries", "5", "--", "false")
        for _ in range(2):
            served.round()
            served.finish(served.store.get_job("j1"), c.ReplicaState.FAILED, "exit code 1")
            served.clock.ahead += 15.0
        served.clock.ahead -= 15.0
        served.round()
        found = served.store.get_job("j1")
        assert (found.state, found.failures) == (JobState.PENDING, 2)
        page = run("job", "j1").out
        assert "failed twice, tries again at 20" in page
        assert "replica 0 failed on node n1: exit code 1" in page
        assert "failed twice, tries again at 20" in run("explain", "j1").out
        told = run("explain", "j1", "--json").json
        assert (told["failures"], told["reason"]["cause"]) == (2, "backoff")
        assert told["not_before"] == run("job", "j1", "--json").json["not_before"]
        assert told["not_before"].endswith("Z")

"""The program as a process: exit codes, pipes, Ctrl-C, JSON lines, completion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import allocator.cli
from allocator.cli.exits import MEANINGS
from allocator.intake import commands as c
from tests.builders import node, spec
from tests.client.served import Served

PROGRAM = [sys.executable, "-m", "allocator"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    made.start()
    made.populate(("q", "research"), (node("n1"),))
    made.execute(c.SubmitJobs(tuple(spec("q", name="x" * 200) for _ in range(2000))))
    yield made
    made.close()


def environment(served: Served, **more: str) -> dict[str, str]:
    """Buffered output, as users have it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return inherited | {"ALLOCATOR_ADDRESS": served.address} | more


def test_exit_codes_and_json_of_a_process(served: Served) -> None:
    good = subprocess.run(
        [*PROGRAM, "queues", "--json"], env=environment(served), capture_output=True, text=True, check=False
    )
    assert (good.returncode, good.stderr) == (0, "")
    assert [queue["name"] for queue in json.loads(good.stdout)] == ["q", "research"]
    bad = subprocess.run(
        [*PROGRAM, "job", "nope"], env=environment(served), capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stdout, bad.stderr) == (3, "", "error: job 'nope' does not exist\n")


def test_help_and_readme_tell_what_each_exit_code_means(served: Served) -> None:
    shown = subprocess.run(
        [*PROGRAM, "--help"], env=environment(served, COLUMNS="80"), capture_output=True, text=True, check=True
    )
    told = " ".join(shown.stdout.split())
    readme = (Path(allocator.cli.__file__).parent / "README.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in told
        assert f"| {code.value} | {meaning} |" in readme
    assert "no room now (a queue's max_live_jobs)" in told


def test_a_reader_that_leaves_is_no_error_message(served: Served) -> None:
    jobs = subprocess.Popen([*PROGRAM, "jobs"], env=environment(served), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert jobs.stdout is not None
    assert jobs.stderr is not None
    header = jobs.stdout.readline()
    jobs.stdout.close()
    complaint = jobs.stderr.read()
    jobs.stderr.close()
    assert jobs.wait(30) == 141
    assert header.startswith(b"JOB")
    assert b"\x1b" not in header
    assert complaint == b""


def test_a_watch_writes_lines_at_once_and_ends_by_ctrl_c(served: Served) -> None:
    watch = subprocess.Popen(
        [*PROGRAM, "watch", "--queue", "research", "--json"],
        env=environment(served),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    assert "end_of_snapshot" in json.loads(watch.stdout.readline())
    served.execute(c.SubmitJobs((spec("research", name="seen"),)))
    change = json.loads(watch.stdout.readline())["job_change"]
    assert (change["job"]["spec"]["name"], change["job"]["state"]) == ("seen", "pending")
    watch.send_signal(signal.SIGINT)
    _, complaint = watch.communicate(timeout=30)
    assert watch.returncode == 130
    assert complaint == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("allocator queues delete re", ["research"]),
        ("allocator submit --queue ", ["q", "research"]),
        ("allocator queue update re", ["research"]),
        ("allocator queues create x --quota a100/g", ["a100/gpu="]),
        ("allocator queues update q --discipline fi", ["fifo"]),
        ("allocator explain qu", ["queue"]),
        ("allocator explain queue re", ["research"]),
        ("allocator explain price a100/g", ["a100/gpu"]),
        ("allocator --address 127.0.0.1:1 queues delete re", []),
    ],
)
def test_completion_asks_the_daemon_and_is_silent_without_one(served: Served, words: str, found: list[str]) -> None:
    completed = subprocess.run(
        PROGRAM,
        env=environment(
            served,
            _ALLOCATOR_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(words.count(" ")),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.split() == found

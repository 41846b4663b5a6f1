"""Real commands: how they are started, stopped and reported, and what they cannot do."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from allocator.agent.hindrance import hindrance
from allocator.agent.runner import NOTHING_TO_RUN
from allocator.agent.supervise import fence
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.intake.commands import ReplicaState
from tests.agent.conftest import Machine, alive
from tests.agent.wanted import python, replica, shell


def test_a_command_that_ends_well_has_succeeded(machine: Machine) -> None:
    machine.want(replica(process=shell("echo done")))
    report = machine.ended()
    assert (report.state, report.exit_code, report.message) == (ReplicaState.SUCCEEDED, 0, "")
    assert machine.printed() == "done\n"


def test_it_is_not_begun_again_while_it_is_still_wanted(machine: Machine) -> None:
    wanted = replica(process=shell("echo once"))
    machine.want(wanted)
    machine.ended()
    machine.want(wanted)
    machine.want(wanted)
    machine.ended()
    assert machine.printed() == "once\n"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [("exit 3", 3, "exit code 3"), ("kill -SEGV $$", 139, "ended by SIGSEGV"), ("exit 200", 200, "exit code 200")],
)
def test_a_failure_has_its_exit_code(machine: Machine, script: str, code: int, said: str) -> None:
    machine.want(replica(process=shell(script)))
    report = machine.ended()
    assert (report.state, report.exit_code, report.message) == (ReplicaState.FAILED, code, said)


def test_a_program_that_is_not_there(machine: Machine) -> None:
    machine.want(replica(process=Process(("no-such-program", "x"))))
    report = machine.ended()
    assert report.state is ReplicaState.FAILED
    assert report.message == "could not be started: No such file or directory: 'no-such-program'"


def test_a_directory_that_is_not_there(machine: Machine) -> None:
    machine.want(replica(process=shell("true", directory="/no/such/directory")))
    assert "No such file or directory: '/no/such/directory'" in machine.ended().message


def test_nothing_to_run(machine: Machine) -> None:
    machine.want(replica(process=None))
    report = machine.ended()
    assert (report.state, report.message) == (ReplicaState.FAILED, NOTHING_TO_RUN)


def test_what_it_finds_in_its_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    process = python("import json, os", "print(json.dumps(dict(os.environ)))")
    process = Process(process.command, environment=(("CUDA_VISIBLE_DEVICES", "all"), ("GREETING", "a b;$(c)")))
    machine.want(replica(process=process, number=1, replicas=2, demand=Resources(1500, 1000), gpus=(3,)))
    machine.ended(number=1)
    found = json.loads(machine.printed())
    assert "SECRET_OF_THE_AGENT" not in found
    assert found["GREETING"] == "a b;$(c)"
    told = {name: value for name, value in found.items() if name.startswith(("ALLOCATOR", "CUDA"))}
    assert told == {
        "ALLOCATOR_JOB_ID": "j1",
        "ALLOCATOR_QUEUE": "q",
        "ALLOCATOR_RANK": "1",
        "ALLOCATOR_REPLICAS": "2",
        "ALLOCATOR_PEERS": "n,n",
        "ALLOCATOR_CORES": "1.5",
        "ALLOCATOR_ARRAY_INDEX": "",
        "ALLOCATOR_ATTEMPT": "1",
        "ALLOCATOR_PROGRESS": str(machine.state / "progress/j1.0"),
        "CUDA_VISIBLE_DEVICES": "3",
    }


def test_arguments_are_not_for_a_shell(machine: Machine) -> None:
    hostile = ["$(touch owned)", "; touch owned", "`touch owned`", "a\nb", "--", "*"]
    machine.want(replica(process=Process((sys.executable, "-c", "import sys; print(sys.argv[1:])", *hostile))))
    machine.ended()
    assert machine.printed() == f"{hostile}\n"
    assert not list((machine.state / "work").rglob("owned"))


def test_a_job_id_that_is_a_path_begins_nothing(machine: Machine) -> None:
    machine.want(replica("../../etc", process=shell("true")))
    report = machine.ended("../../etc")
    assert report.state is ReplicaState.FAILED
    assert "cannot be the name of a folder" in report.message


def test_it_runs_and_can_be_stopped_where_no_descriptor_is_left(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(pid: int) -> int:
        raise OSError(errno.EMFILE, f"Too many open files: {pid}")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    machine.want(replica(process=shell("echo ready; sleep 1000")), replica("j2", shell("true")))
    machine.says("ready")
    assert machine.report().state is ReplicaState.RUNNING
    assert machine.ended("j2").exit_code == 0
    machine.want()
    machine.gone()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EMFILE, errno.ENOSPC])
def test_what_a_busy_machine_refuses_is_begun_again_and_has_not_failed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    begin = subprocess.Popen
    refused: list[object] = []

    def refuse_once(*arguments: Any, **options: Any) -> Any:
        if not refused:
            refused.append(arguments)
            raise OSError(code, os.strerror(code))
        return begin(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse_once)
    machine.want(replica(process=shell("true")))
    assert machine.runner.reports() == ()
    assert machine.runner.take_refusal() == f"{os.strerror(code)} ({machine.state})"
    machine.want(replica(process=shell("true")))
    assert machine.ended().exit_code == 0
    assert len(refused) == 1
    assert not machine.runner.take_refusal()


def test_what_runs_is_not_given_up_when_the_agent_has_no_more_open_files(machine: Machine) -> None:
    machine.want(replica(process=shell("exec sleep 600")))
    (run,) = (machine.state / "runs").iterdir()
    machine.until((run / "started.json").exists)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            machine.runner.look()
        assert "Too many open files" in hindrance(machine.state)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert hindrance(machine.state) == ""
    assert machine.report().state is ReplicaState.RUNNING


# --- files


def test_output_files_are_made_below_the_working_directory(machine: Machine, tmp_path: Path) -> None:
    process = shell("echo out; echo err >&2", directory=str(tmp_path), output="logs/%j-%r.out", errors="%n.err")
    machine.want(replica(process=process))
    assert machine.ended().exit_code == 0
    assert (tmp_path / "logs/j1-0.out").read_text() == "out\n"
    assert (tmp_path / "n.err").read_text() == "err\n"
    assert machine.printed() == ""


@pytest.mark.parametrize("output", ["link/x", "file", "../x", "a/../../x", "pipe", "folder"])
def test_no_link_leads_the_output_out_of_it(machine: Machine, tmp_path: Path, output: str) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    (work / "folder").mkdir(parents=True)
    outside.mkdir()
    (work / "link").symlink_to(outside)
    (work / "file").symlink_to(outside / "x")
    os.mkfifo(work / "pipe")
    machine.want(replica(process=shell("echo owned", directory=str(work), output=output)))
    report = machine.ended()
    assert report.state is ReplicaState.FAILED
    assert report.message.startswith("could not be started: ")
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "x").exists()


def test_a_file_that_grows_too_large_ends_it(machine: Machine) -> None:
    demand = Resources(cpu_millicores=500, memory_bytes=2**28, disk_bytes=100_000)
    machine.want(replica(process=shell("exec cat /dev/zero"), demand=demand))
    report = machine.ended()
    assert report.message == "killed: a file grew beyond the limit for one file (ended by SIGXFSZ)"
    assert len(machine.printed()) == 100_000


def test_folders_go_when_nobody_has_used_them_for_long(machine: Machine) -> None:
    machine.want(replica("j1", shell("touch kept; echo printed")), replica("j2", shell("true")))
    machine.ended("j1")
    machine.ended("j2")
    machine.want()
    state = machine.state
    assert [entry.name for entry in state.glob("*/j*")] == ["j1"] * 3, "nothing is left of who left nothing"
    for entry in state.glob("*/j1"):
        for path in (entry, *entry.iterdir()):
            os.utime(path, (0, time.time() - 3 * 86_400))
    machine.runner.close()
    machine.runner = machine.make(keep_seconds=4 * 86_400)
    machine.runner.open()
    assert len(list(state.glob("*/j1"))) == 3
    machine.runner.close()
    machine.runner = machine.make(keep_seconds=2 * 86_400)
    machine.runner.open()
    machine.until(lambda: not [*state.glob("*/j1"), *state.glob("away")])


def test_nobody_waits_until_old_folders_are_gone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be millions of files in them, and the lease is renewed by the same hands that look."""
    old, may_go = machine.state / "work/j9", threading.Event()
    (old / "deep").mkdir(parents=True)
    for path in (old / "deep", old):
        os.utime(path, (0, 0))
    remove = shutil.rmtree

    def slowly(path: Path, ignore_errors: bool = False) -> None:
        assert may_go.wait(20.0)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("allocator.agent.sweeping.shutil.rmtree", slowly)
    machine.runner.close()
    machine.runner = machine.make()
    machine.runner.open()
    machine.until(lambda: not old.exists())
    assert len(list((machine.state / "away").iterdir())) == 1
    may_go.set()
    machine.until(lambda: not (machine.state / "away").exists())


# --- being stopped


def test_it_is_asked_to_leave_and_may_end_by_itself(machine: Machine) -> None:
    process = python(
        "import signal, sys",
        "signal.signal(signal.SIGUSR1, lambda *_: (print('saved'), sys.exit()))",
        "print('ready', flush=True)",
        "signal.pause()",
        grace=30.0,
        checkpoint_signal="SIGUSR1",
    )
    machine.want(replica(process=process))
    machine.says("ready")
    machine.want()
    assert machine.runner.reports() == (), "the daemon wants to hear nothing of what it has stopped"
    machine.gone()
    assert machine.printed() == "ready\nsaved\n"
    machine.want()
    assert machine.runner.runs() == ()
    assert list((machine.state / "runs").iterdir()) == []


def test_who_ignores_it_is_killed_after_its_grace(machine: Machine) -> None:
    machine.want(replica(process=shell("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace=0.3)))
    machine.says("ready")
    began = time.monotonic()
    machine.want()
    machine.gone()
    assert time.monotonic() - began >= 0.3


def test_nothing_is_left_of_it_not_even_what_hides(machine: Machine) -> None:
    """Daemons in sessions of their own end with the command that left them behind."""
    machine.want(
        replica(
            process=python(
                "import os, time",
                "if os.fork() == 0:",
                "    os.setsid()",
                "    if os.fork() == 0:",
                "        print(os.getpid(), flush=True)",
                "        time.sleep(600)",
                "    os._exit(0)",
                "os.wait()",
                "while not os.path.getsize('/proc/self/fd/1'): time.sleep(0.01)",
            )
        )
    )
    assert machine.ended().state is ReplicaState.SUCCEEDED
    assert not alive(int(machine.printed()))


def test_the_next_job_waits_until_the_one_before_has_left(machine: Machine) -> None:
    half = Resources(cpu_millicores=40_000, memory_bytes=2**28)
    before = replica("j1", shell("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace=0.3), demand=half)
    after = replica("j2", shell("echo begun"), demand=half, epoch=2)
    machine.want(before)
    machine.says("ready")
    machine.want(after, epoch=2)
    assert [run.replica.job_id for run in machine.runner.runs()] == ["j1"]
    machine.gone()
    machine.want(after, epoch=2)
    assert machine.ended("j2").exit_code == 0


def test_a_resized_gang_goes_on(machine: Machine) -> None:
    process = shell("echo begun; exec sleep 600")
    machine.want(replica(process=process, number=0, replicas=2), replica(process=process, number=1, replicas=2))
    machine.until(lambda: machine.printed().count("begun") == 2)
    machine.want(replica(process=process, number=0, epoch=2, start=1), epoch=2)
    machine.until(lambda: machine.runner.look() is None or sum(run.alive for run in machine.runner.runs()) == 1)
    assert machine.report().epoch.round == 2
    assert machine.printed().count("begun") == 2


# --- the agent's restarts


def test_a_new_agent_finds_what_runs(machine: Machine) -> None:
    wanted = replica(process=shell("echo $$; while ! test -e go; do sleep 0.02; done; exit 7"))
    machine.want(wanted)
    machine.says("\n")
    machine.runner.close()
    machine.runner = machine.make()
    machine.runner.open()
    assert machine.report().state is ReplicaState.RUNNING
    machine.want(wanted)
    (machine.state / "work/j1/go").touch()
    assert machine.ended().exit_code == 7
    assert machine.printed().count("\n") == 1


def test_what_ended_while_there_was_no_agent_is_reported(machine: Machine) -> None:
    wanted = replica(process=shell("while ! test -e go; do sleep 0.02; done; exit 7"))
    machine.want(wanted)
    machine.runner.close()
    (machine.state / "work/j1/go").touch()
    machine.until(lambda: bool(list((machine.state / "runs").glob("*/exit.json"))))
    machine.runner = machine.make()
    machine.runner.open()
    assert machine.report().exit_code == 7


def test_two_agents_do_not_share_a_folder(machine: Machine) -> None:
    with pytest.raises(BlockingIOError):
        machine.make().open()


def test_a_number_that_is_another_process_now_is_left_alone(machine: Machine) -> None:
    """A run whose supervisor and command are gone, and whose numbers others have: they live on."""
    machine.want(replica(process=shell("exec sleep 600")))
    (run,) = machine.runner.runs()
    folder = machine.state / "runs" / run.id
    machine.until((folder / "started.json").exists)
    started = json.loads((folder / "started.json").read_text())
    machine.runner.close()
    for pid, _ in (started["supervisor"], started["command"]):
        os.kill(pid, signal.SIGKILL)
    machine.until(lambda: not alive(started["command"][0]))
    me = os.getpid()
    (folder / "started.json").write_text(json.dumps({"supervisor": [me, 1], "command": [me, 1]}))
    machine.runner = machine.make()
    machine.runner.open()
    assert machine.report().message == "its supervisor was killed, and it with it"


def test_a_record_that_cannot_be_read_is_swept_away(machine: Machine) -> None:
    machine.want(replica(process=shell("echo $$; exec sleep 600")))
    pid = int(machine.says("\n"))
    (run,) = machine.runner.runs()
    folder = machine.state / "runs" / run.id
    machine.until((folder / "started.json").exists)
    supervisor, _ = json.loads((folder / "started.json").read_text())["supervisor"]
    machine.runner.close()
    (folder / "record.json").write_text('{"format": 1, "number": ')
    machine.runner = machine.make()
    machine.runner.open()
    assert machine.runner.runs() == ()
    assert not alive(pid)
    machine.until(lambda: not alive(supervisor))


def test_after_a_new_start_of_the_machine_it_begins_again(machine: Machine) -> None:
    wanted = replica(process=shell("echo begun; test -e again || exec sleep 600"))
    machine.want(wanted)
    machine.says("begun")
    machine.want()
    machine.gone()
    (run,) = machine.runner.runs()
    machine.runner.close()
    folder = machine.state / "runs" / run.id
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"boot": "an earlier one", "phase": "running"}))
    (folder / "exit.json").unlink()
    (machine.state / "work/j1/again").touch()
    machine.runner = machine.make()
    machine.runner.open()
    machine.want(wanted)
    assert machine.ended().exit_code == 0
    assert machine.printed() == "begun\nbegun\n"


# --- the lease


def test_without_the_daemons_word_it_stops_and_begins_again_when_it_is_back(machine: Machine) -> None:
    wanted = replica(process=shell("trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.02; done"))
    machine.want(wanted)
    machine.says("begun")
    machine.runner.close()  # the agent is dead, too: its supervisors keep the promise
    machine.renew(3.0)
    machine.until(lambda: bool(list((machine.state / "runs").glob("*/exit.json"))))
    assert "told" in machine.printed()
    machine.runner = machine.make()
    machine.runner.open()
    machine.renew()
    assert machine.runner.reports() == (), "it has not failed"
    machine.want(wanted)
    machine.until(lambda: machine.printed().count("begun") == 2)


@pytest.mark.parametrize(("grace", "told"), [(0.0, 96.0), (5.0, 91.0), (600.0, 80.0)])
def test_what_is_fenced_is_killed_before_its_jobs_may_begin_elsewhere(grace: float, told: float) -> None:
    assert fence(100.0, 100.0, grace) == pytest.approx((told, 96.0))


def test_the_lease_bounds_the_grace_of_what_is_being_stopped(machine: Machine) -> None:
    """Where nobody hears of it any more, its job may begin elsewhere when the lease is over."""
    machine.want(replica(process=shell("trap 'echo told' TERM; echo begun; while :; do sleep 0.02; done", grace=600.0)))
    machine.says("begun")
    machine.want()
    machine.says("told")
    machine.runner.close()
    machine.renew(3.0)
    machine.until(lambda: bool(list((machine.state / "runs").glob("*/exit.json"))))
    assert machine.printed().count("told") == 1
    machine.runner = machine.make()
    machine.runner.open()


def test_it_stops_even_if_what_the_lease_was_written_in_is_gone(machine: Machine) -> None:
    machine.renew(8.0)
    machine.want(replica(process=shell("trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.02; done")))
    machine.says("begun")
    (machine.state / "lease.json").unlink()
    machine.says("told")

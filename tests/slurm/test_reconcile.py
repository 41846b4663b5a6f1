"""What is done to Slurm, from what is wanted and what there is."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.intake.commands import ReplicaState
from allocator.slurm.batch import script, submission
from allocator.slurm.gangs import Gang, Run, gangs_of, run_of
from allocator.slurm.observed import SlurmJob
from allocator.slurm.reconcile import Ended, Release, Stop, Submit, actions, outcome, written_end

NODES = frozenset(("a", "b"))
RUN = Run("j1", Epoch(2, 7))
DEMAND = Resources(cpu_millicores=2000, memory_bytes=100 * 2**20, bandwidth_bytes_per_second=15 * 10**8)
TRUE = Process(("true",))


def replica(rank: int, of: int = 2, run: Run = RUN, process: Process | None = TRUE) -> DesiredReplica:
    return DesiredReplica(run.job_id, rank, of, run.start, "cpu", DEMAND, (), run.start, process=process, queue="q")


def gang(*nodes: str, of: int = 0, process: Process | None = TRUE) -> Gang:
    ranked = ((node, replica(rank, of or len(nodes), process=process)) for rank, node in enumerate(nodes))
    return Gang(RUN, tuple(ranked))


def job(number: int, state: str, run: Run = RUN, reason: str = "None", nodes: tuple[str, ...] = ("a",)) -> SlurmJob:
    return SlurmJob(str(number), state, nodes, reason, run.comment)


def test_gangs_are_put_together_from_what_nodes_are_asked_to_run() -> None:
    found = gangs_of(
        [
            NodeDesired("b", Epoch(2, 7), (replica(1), replica(2, 3))),
            NodeDesired("a", Epoch(2, 8), (replica(0),)),
        ]
    )
    assert found[RUN].nodes == ("a", "b", "b")
    assert run_of(RUN.comment) == RUN
    assert run_of("allocator: somebody's own words") is None
    assert run_of("(null)") is None


def test_a_whole_gang_is_submitted_once_and_then_released() -> None:
    wanted = {RUN: gang("a", "b")}
    assert actions({RUN: gang("a", of=2)}, [], {}, NODES, NODES) == (), "half of it is not known yet"
    assert actions(wanted, [], {}, NODES, NODES) == (Submit(wanted[RUN]),)
    held = job(1, "PENDING", reason="JobHeldUser", nodes=())
    assert actions(wanted, [held], {}, NODES, NODES) == (Release(held),)
    for state in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "FAILED", "SUSPENDED"):
        assert actions(wanted, [job(1, state)], {}, NODES, NODES) == ()


def test_what_has_ended_and_is_forgotten_is_not_run_again() -> None:
    assert actions({RUN: gang("a", "b")}, [], {RUN: Ended(ReplicaState.SUCCEEDED)}, NODES, NODES) == ()


def test_what_ended_with_its_node_is_run_again() -> None:
    wanted = {RUN: gang("a", "b")}
    assert actions(wanted, [job(1, "NODE_FAIL")], {}, NODES, NODES) == (Submit(wanted[RUN]),)
    assert actions(wanted, [job(1, "NODE_FAIL"), job(2, "RUNNING")], {}, NODES, NODES) == ()


def test_what_is_not_wanted_is_stopped_but_not_before_all_is_known() -> None:
    running, waiting = job(1, "RUNNING"), job(2, "PENDING", nodes=())
    assert actions({}, [running], {}, NODES, NODES) == (Stop(running, RUN),)
    assert actions({}, [running], {}, frozenset("b"), NODES) == ()
    assert actions({}, [waiting], {}, frozenset("a"), NODES) == ()
    assert actions({}, [waiting], {}, NODES, NODES) == (Stop(waiting, RUN),)
    assert actions({}, [job(3, "COMPLETED"), job(4, "COMPLETING")], {}, NODES, NODES) == ()


def test_a_second_one_by_a_lost_answer_is_stopped_and_the_first_stays() -> None:
    first, second = job(1, "RUNNING"), job(2, "PENDING", reason="JobHeldUser", nodes=())
    assert actions({RUN: gang("a", "b")}, [second, first], {}, NODES, NODES) == (Stop(second, RUN),)


def test_jobs_of_others_are_never_touched() -> None:
    theirs = replace(job(1, "RUNNING"), comment="theirs")
    assert actions({}, [theirs], {}, NODES, NODES) == ()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL"]), max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_one_run_is_never_there_twice(states: list[str], is_wanted: bool, is_written: bool) -> None:
    """Doing what is said leaves at most one live job of a run; none that is not wanted."""
    jobs = [job(number, state) for number, state in enumerate(states)]
    wanted = {RUN: gang("a", "b")} if is_wanted else {}
    ended = {RUN: Ended(ReplicaState.SUCCEEDED)} if is_written else {}
    found = actions(wanted, jobs, ended, NODES, NODES)
    stopped = {action.job.id for action in found if isinstance(action, Stop)}
    live = sum(each.is_live and each.id not in stopped for each in jobs)
    live += sum(isinstance(action, Submit) for action in found)
    assert live <= is_wanted


def test_how_it_ended() -> None:
    whole = gang("a", "b")
    assert outcome(whole, None, None) is None
    assert outcome(whole, job(1, "RUNNING"), None) is None
    assert outcome(whole, job(1, "COMPLETED"), None) == Ended(ReplicaState.SUCCEEDED, exit_code=0)
    assert outcome(whole, job(1, "NODE_FAIL"), None) is None
    timeout = outcome(whole, job(1, "TIMEOUT"), None)
    assert timeout is not None
    assert (timeout.state, timeout.message) == (ReplicaState.FAILED, "Slurm job 1 reached Slurm's time limit")
    assert outcome(whole, None, written_end("3\n")) == Ended(ReplicaState.FAILED, "exited with 3", 3)
    nothing = outcome(gang("a", process=None), None, None)
    assert nothing is not None
    assert "give it a command" in nothing.message
    part = replica(0, 1)
    half = Gang(RUN, (("a", replace(part, demand=Resources(cpu_millicores=500))),))
    assert actions({RUN: half}, [], {}, NODES, NODES) == ()
    assert "whole ones" in (outcome(half, None, None) or Ended(ReplicaState.RUNNING)).message


@pytest.mark.parametrize("word", ["$(touch never)", "`id`", "a'b\"c", "{braces} %s %t", "new\nline", "--flag", "\\"])
def test_no_word_of_a_job_is_read_by_a_shell(word: str, tmp_path: Path) -> None:
    """The script with srun left out: each word comes through as it is."""
    process = Process(
        ("python3", "-c", "import sys,os;print(ascii(sys.argv[1:]+[os.environ['X']]))", word), (("X", word),)
    )
    text = script(Gang(RUN, (("a", replica(0, 1, process=process)),)), tmp_path)
    (line,) = [line for line in text.splitlines() if line.strip().startswith("srun")][:1]
    assert line.split()[0] == "srun"
    plain = text.replace("srun --kill-on-bad-exit=1 --export=ALL --", "", 1)
    ran = subprocess.run(["sh", "-c", plain], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout == ascii([word, word]) + "\n"
    assert (tmp_path / f"{RUN.file_name}.exit").read_text() == "0\n"
    assert not (tmp_path / "never").exists()


def test_what_is_submitted() -> None:
    process = Process(("true",), directory="/srv/w", output="out-%j-%r-%a-%n.log")
    whole = gang("a", "a", "b", process=process)
    wanted = submission(whole, Path("/spool"), "gpu", {"bandwidth": "net_gbps", "matlab": "matlab"})
    assert {"--hold", "--no-requeue", "--nodes=2", "--ntasks=3", "--cpus-per-task=2", "--mem-per-cpu=50M"} <= set(
        wanted.arguments
    )
    assert {"--partition=gpu", "--chdir=/srv/w", "--licenses=net_gbps:5", f"--comment={RUN.comment}"} <= set(
        wanted.arguments
    )
    assert wanted.hosts == "a\na\nb\n"
    assert shlex.quote("--output=out-j1-%t--%N.log") in wanted.script

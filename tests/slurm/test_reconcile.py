"""What is done to Slurm, from what is wanted and what there is."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.engine.runs import Run, Wanted
from allocator.intake.commands import ReplicaState
from allocator.slurm.batch import submission
from allocator.slurm.gangs import Gang, comment_of, gangs_of, known_of, run_of
from allocator.slurm.observed import SlurmJob
from allocator.slurm.reconcile import (
    Ended,
    Name,
    Resume,
    Stop,
    Submit,
    Suspension,
    actions,
    may_be_lost,
    ours_in,
    outcome,
    without_room,
    written_end,
)
from allocator.slurm.translation import held_by

NODES = frozenset(("a", "b"))
RUN = Run("j1", Epoch(2, 7))
DEMAND = Resources(cpu_millicores=2000, memory_bytes=100 * 2**20, bandwidth_bytes_per_second=15 * 10**8)
TRUE = Process(("true",))
SLURMS = {**os.environ, "SLURM_JOB_ID": "17", "SLURM_PROCID": "0"}


def replica(rank: int, of: int = 2, run: Run = RUN, process: Process | None = TRUE) -> DesiredReplica:
    return DesiredReplica(run.job_id, rank, of, run.start, "cpu", DEMAND, (), run.start, process=process, queue="q")


def gang(*nodes: str, of: int = 0, process: Process | None = TRUE) -> Gang:
    ranked = (Wanted(node, replica(rank, of or len(nodes), process=process)) for rank, node in enumerate(nodes))
    return Gang(RUN, tuple(ranked))


def job(number: int, state: str, run: Run = RUN, reason: str = "None", nodes: tuple[str, ...] = ("a",)) -> SlurmJob:
    return SlurmJob(str(number), state, nodes, reason, comment_of(run))


def test_gangs_are_put_together_from_what_nodes_are_asked_to_run() -> None:
    found = gangs_of(
        [
            NodeDesired("b", Epoch(2, 7), (replica(1), replica(2, 3))),
            NodeDesired("a", Epoch(2, 8), (replica(0),)),
        ]
    )
    assert found[RUN].nodes == ("a", "b", "b")
    assert run_of(comment_of(RUN)) == RUN
    assert run_of("allocator: somebody's own words") is None
    assert run_of("(null)") is None


def test_half_of_a_gang_that_is_heard_of_later_does_not_make_it_smaller() -> None:
    """One of its nodes has been told that it is over, the other not yet: Slurm still holds both."""
    whole = gang("a", "b")
    half = Gang(RUN, (whole.replicas[1],))
    assert known_of({RUN: whole}, {RUN: half}) == {RUN: whole}
    assert known_of({RUN: half}, {RUN: whole}) == {RUN: whole}
    assert known_of({RUN: whole}, {}) == {RUN: whole}
    assert known_of({}, {RUN: half}) == {RUN: half}


def test_a_failure_that_may_be_the_nodes_is_not_the_jobs() -> None:
    assert may_be_lost(job(1, "NODE_FAIL"))
    assert may_be_lost(job(1, "RUNNING"))
    assert not may_be_lost(job(1, "FAILED"))
    assert not may_be_lost(None)


def test_a_whole_gang_is_submitted_once_and_then_named() -> None:
    wanted = {RUN: gang("a", "b")}
    assert actions({RUN: gang("a", of=2)}, [], {}, NODES, NODES) == (), "half of it is not known yet"
    assert actions(wanted, [], {}, NODES, NODES) == (Submit(wanted[RUN]),)
    waiting = job(1, "PENDING", nodes=())
    assert actions(wanted, [waiting], {}, NODES, NODES) == (Name(waiting, RUN),), "as after a lost answer"
    for state in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "FAILED", "SUSPENDED"):
        assert actions(wanted, [job(1, state)], {}, NODES, NODES, frozenset("1")) == ()


def test_what_may_still_run_on_nodes_of_others_is_waited_for() -> None:
    """The daemon knows of those, and says so to any node of the gang."""
    states = [
        NodeDesired("a", Epoch(2, 7), (replica(0),), frozenset({"j1"})),
        NodeDesired("b", Epoch(2, 7), (replica(1),)),
    ]
    assert actions(gangs_of(states), [], {}, NODES, NODES) == ()
    (running,) = [job(1, "RUNNING", nodes=("a", "b"))]
    assert actions(gangs_of(states), [running], {}, NODES, NODES, frozenset("1")) == (), "what runs goes on"
    free = gangs_of([replace(state, waiting=frozenset()) for state in states])
    assert actions(free, [], {}, NODES, NODES) == (Submit(free[RUN]),)


def test_what_has_ended_and_is_forgotten_is_not_run_again() -> None:
    assert actions({RUN: gang("a", "b")}, [], {RUN: Ended(ReplicaState.SUCCEEDED)}, NODES, NODES) == ()


def test_what_ended_with_its_node_is_run_again() -> None:
    wanted = {RUN: gang("a", "b")}
    assert actions(wanted, [job(1, "NODE_FAIL")], {}, NODES, NODES) == (Submit(wanted[RUN]),)
    second = job(2, "PENDING", nodes=())
    assert actions(wanted, [job(1, "NODE_FAIL"), second], {}, NODES, NODES) == (Name(second, RUN),)
    ended = {RUN: Ended(ReplicaState.SUCCEEDED)}
    assert actions(wanted, [job(1, "NODE_FAIL"), second], ended, NODES, NODES) == (Stop(second, RUN),), "after all"


def test_the_next_start_of_a_job_waits_until_the_last_one_has_ended() -> None:
    """It may still be writing what the next one reads, on whatever node."""
    again = Run(RUN.job_id, Epoch(3, 1))
    wanted = {again: Gang(again, (Wanted("b", replica(0, 1, again)),))}
    leaving = job(1, "RUNNING")
    assert actions(wanted, [leaving], {}, NODES, NODES) == (Stop(leaving, RUN),)
    assert actions(wanted, [job(1, "COMPLETING")], {}, NODES, NODES) == ()
    assert actions(wanted, [job(1, "CANCELLED")], {}, NODES, NODES) == (Submit(wanted[again]),)


def test_nobody_waits_for_an_end_on_a_node_that_does_not_answer() -> None:
    """There the fence keeps the last start and the next one apart."""
    again = Run(RUN.job_id, Epoch(3, 1))
    wanted = {again: Gang(again, (Wanted("b", replica(0, 1, again)),))}
    there = job(1, "RUNNING")
    found = actions(wanted, [there], {}, NODES, NODES, silent=frozenset("a"))
    assert found == (Submit(wanted[again]), Stop(there, RUN))


def test_a_suspended_job_goes_on_where_it_was_and_nowhere_else() -> None:
    again = Run(RUN.job_id, Epoch(3, 1))
    asleep = job(1, "SUSPENDED", nodes=("a", "b"))
    former = Suspension(frozenset((RUN.job_id,)), NODES, {RUN: gang("a", "b")})
    here = {again: Gang(again, (Wanted("a", replica(0, 2, again)), Wanted("b", replica(1, 2, again))))}
    assert actions(here, [asleep], {}, NODES, NODES, suspension=former) == (Resume(asleep, again),)
    not_yet = {again: replace(here[again], waits=True)}
    assert actions(not_yet, [asleep], {}, NODES, NODES, suspension=former) == (), "it is kept for when it may"
    elsewhere = {again: Gang(again, (Wanted("c", replica(0, 2, again)), Wanted("b", replica(1, 2, again))))}
    assert actions(elsewhere, [asleep], {}, NODES, NODES, suspension=former) == (Stop(asleep, RUN),), "and then starts"
    assert actions({}, [asleep], {}, NODES, NODES, suspension=former) == ()


def test_what_is_not_wanted_is_stopped_but_not_before_all_is_known() -> None:
    running, waiting = job(1, "RUNNING"), job(2, "PENDING", nodes=())
    assert actions({}, [running], {}, NODES, NODES) == (Stop(running, RUN),)
    assert actions({}, [running], {}, frozenset("b"), NODES) == ()
    assert actions({}, [waiting], {}, frozenset("a"), NODES) == ()
    assert actions({}, [waiting], {}, NODES, NODES) == (Stop(waiting, RUN),)
    assert actions({}, [job(3, "COMPLETED"), job(4, "COMPLETING")], {}, NODES, NODES) == ()


def test_what_has_succeeded_is_left_to_end_by_itself() -> None:
    """Whether it is still wanted or not, and whether it was known to be named; but not a second one of its run."""
    running, second = job(1, "RUNNING"), job(2, "RUNNING")
    ended, leaving = {RUN: Ended(ReplicaState.SUCCEEDED, exit_code=0)}, frozenset((RUN,))
    for wanted in ({RUN: gang("a", "b")}, {}):
        assert actions(wanted, [running], ended, NODES, NODES, leaving=leaving) == ()
        assert actions(wanted, [running, second], ended, NODES, NODES, leaving=leaving) == (Stop(second, RUN),)


def test_what_slurm_may_have_given_to_one_node_instead_of_another_is_ours() -> None:
    assert held_by([gang("a", "b", "b")]) == {"a": (4, 200, 0), "b": (4, 200, 0)}
    assert held_by([gang("a", "b"), gang("b")]) == {"a": (2, 100, 0), "b": (4, 200, 0)}


def test_a_second_one_by_a_lost_answer_is_stopped_and_the_first_stays() -> None:
    wanted = {RUN: gang("a", "b")}
    for first, second in ((job(1, "RUNNING"), job(2, "PENDING", nodes=())), (job(2, "RUNNING"), job(1, "PENDING"))):
        assert actions(wanted, [second, first], {}, NODES, NODES, frozenset(first.id)) == (Stop(second, RUN),)


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


def test_a_gang_that_slurm_lays_out_by_room_waits_until_what_leaves_its_nodes_has_left() -> None:
    """Else Slurm sees less room on one of them than was decided on. Who has one replica, or as many on each, need not
    wait: that Slurm does as it is told.
    """
    other = Run("j2", Epoch(1, 1))
    succeeded = job(5, "RUNNING", other, nodes=("b",))
    for places, is_submitted in ((("a", "a", "b"), False), (("a", "b"), True), (("b",), True), (("a", "a", "c"), True)):
        wanted = {RUN: gang(*places)}
        nodes = NODES | {"c"}
        held_back = without_room(wanted, ours_in([succeeded]), [other])
        found = actions(wanted, [succeeded], {}, nodes, nodes, leaving=frozenset((other,)), held_back=held_back)
        assert [type(each) for each in found] == [Submit] * is_submitted, places
    wanted = {RUN: gang("a", "a", "b")}
    assert without_room(wanted, ours_in([succeeded, job(2, "NODE_FAIL")]), [other]) == {RUN}
    assert without_room(wanted, ours_in([succeeded, job(2, "RUNNING")]), [other]) == set(), "it has begun"
    assert without_room(wanted, {}, [other]) == set(), "it has left"


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
    for words in ("", "-1", "256", "9" * 16, "well", "\u0663"):  # whoever runs jobs may write there
        assert written_end(words) == Ended(ReplicaState.FAILED, "exited with 1", 1)
    nothing = outcome(gang("a", process=None), None, None)
    assert nothing is not None
    assert "give it a command" in nothing.message
    part = replica(0, 1)
    half = Gang(RUN, (Wanted("a", replace(part, demand=Resources(cpu_millicores=500))),))
    assert actions({RUN: half}, [], {}, NODES, NODES) == ()
    assert "whole ones" in (outcome(half, None, None) or Ended(ReplicaState.RUNNING)).message


def test_what_is_submitted() -> None:
    process = Process(("true",), directory="/srv/w", output="out-%j-%r-%a-%n.log")
    whole = gang("a", "a", "b", process=process)
    wanted = submission(whole, Path("/spool"), "gpu", {"bandwidth": "net_gbps", "matlab": "matlab"}, 10.0)
    assert {"--no-requeue", "--nodes=2", "--ntasks=3", "--cpus-per-task=2", "--mem-per-cpu=50M"} <= set(
        wanted.arguments
    )
    assert {"--partition=gpu", "--chdir=/srv/w", "--licenses=net_gbps:5", f"--comment={comment_of(RUN)}"} <= set(
        wanted.arguments
    )
    assert wanted.hosts == "a\na\nb\n"
    assert "--nice=100" in wanted.arguments, "what it is given depends on who else has begun"
    even = submission(gang("a", "a", "b", "b"), Path("/spool"), "", {}, 10.0).arguments
    assert ("--ntasks-per-node=2" in even, "--nice=100" in even) == (True, False)
    assert shlex.quote("--output=./out-j1-%t--%N.log") in wanted.script

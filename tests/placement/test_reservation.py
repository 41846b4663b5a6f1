"""A large or non-preemptible job is not starved by small ones that keep slipping in."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.constraints import Constraints
from allocator.domain.job import Job
from allocator.domain.reason import PendingCause
from tests.placement.worlds import NOW, applied, decide, node, running, snapshot, told, waiting, way

NODES = [node(f"n{i}", cpu=4) for i in range(4)]


def fixed(sequence: int, *, hours: float | None = None, cpu: int = 4) -> Job:
    """A non-preemptible job of one replica."""
    seconds = None if hours is None else 3600 * hours
    return waiting(sequence, way(cpu=cpu), preemptible=False, expected_duration_seconds=seconds)


def gang(sequence: int, replicas: int = 4, *, preemptible: bool = False) -> Job:
    return waiting(sequence, way(cpu=4, replicas=replicas), preemptible=preemptible)


def test_nodes_are_kept_for_a_gang_that_is_owed_much() -> None:
    blocker = running(fixed(1), "n0")
    world = snapshot(NODES, [blocker, gang(2), fixed(3), waiting(4, way(cpu=4))])
    story = told(decide(world, credits_owed={"j2": 1000.0}))
    assert story["j2"] == "waits: insufficient_capacity"
    assert story["j3"] == "waits: reserved", "it would be in the way, nobody knows for how long"
    assert story["j4"] == "starts on n1", "it can be stopped when the gang can start"


def test_a_gang_that_is_not_owed_much_keeps_nothing() -> None:
    world = snapshot(NODES, [running(fixed(1), "n0"), gang(2), fixed(3)])
    assert told(decide(world, credits_owed={"j2": 0.0}))["j3"] == "starts on n1"
    assert told(decide(world, credits_owed={"j2": 100.0, "j3": 200.0}))["j3"] == "starts on n1"


def test_whoever_is_owed_most_of_those_who_wait_keeps_nodes() -> None:
    """However little that is: otherwise small jobs that keep coming would starve it."""
    world = snapshot(NODES, [running(fixed(1), "n0"), gang(2), fixed(3)])
    assert told(decide(world, credits_owed={"j2": 100.0}))["j3"] == "waits: reserved"


def test_a_gang_within_one_rack_keeps_the_best_rack() -> None:
    nodes = [node(f"r{rack}n{n}", cpu=4, rack=f"r{rack}") for rack in range(2) for n in range(2)]
    blockers = [running(fixed(1), "r0n0"), running(fixed(2), "r1n0"), running(fixed(3), "r1n1")]
    pair = waiting(4, way(cpu=4, replicas=2), preemptible=False, constraints=Constraints(within="rack"))
    story = told(decide(snapshot(nodes, [*blockers, pair, fixed(5)]), credits_owed={"j4": 1000.0}))
    assert story["j5"] == "waits: reserved"


def test_only_what_ends_before_the_reserved_start_is_filled_in() -> None:
    blocker = replace(running(fixed(1, hours=2.0), "n0"), last_start_time=NOW)
    world = snapshot(NODES, [blocker, gang(2), fixed(3, hours=1.0), fixed(4, hours=3.0)])
    story = told(decide(world, credits_owed={"j2": 1000.0}))
    assert story["j3"] == "starts on n1"
    assert story["j4"] == "waits: reserved"


def test_others_use_what_is_not_reserved() -> None:
    blocker = running(fixed(1), "n0")
    world = snapshot(NODES, [blocker, gang(2, 4 - 1), fixed(3), fixed(4)])
    story = told(decide(world, credits_owed={"j2": 1000.0}))
    assert story["j2"] == "starts on n1 n2 n3"
    assert (story["j3"], story["j4"]) == ("waits: insufficient_capacity", "waits: insufficient_capacity")


def test_a_gang_among_jobs_that_nobody_may_stop_starts_in_the_end() -> None:
    """Every round one of the small ones ends and two new ones come; without reservations all of them would go first."""
    jobs: list[Job] = [running(fixed(i), f"n{i}") for i in range(4)]
    jobs.append(gang(10))
    sequence, owed = 20, 0.0
    for number in range(12):
        world = snapshot(NODES, jobs, now=NOW + 100.0 * number)
        after = applied(world, decide(world, credits_owed={"j10": owed}))
        if any(job.id == "j10" and job.allocation is not None for job in after.jobs):
            return
        small = [job for job in after.jobs if job.allocation is not None]
        jobs = [job for job in after.jobs if job is not small[0]] if small else list(after.jobs)
        jobs += [fixed(sequence), fixed(sequence + 1)]
        sequence, owed = sequence + 2, owed + 200.0
    raise AssertionError("the gang never started")


def test_a_reserved_job_says_what_it_lacks_and_others_why_they_wait() -> None:
    world = snapshot(NODES, [running(fixed(1), "n0"), gang(2), fixed(3)])
    reasons = dict(decide(world, credits_owed={"j2": 1000.0}).waiting)
    assert [(s.resource, s.missing) for s in reasons["j2"].shortages] == [("cpu", 4000)]
    assert reasons["j3"].cause is PendingCause.RESERVED
    assert reasons["j3"].shortages == ()

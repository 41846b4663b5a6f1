"""Quotas in whole jobs: who grows, who moves and who stops within them. Whole rounds are in `tests.rounds`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.snapshot import Snapshot
from tests.placement.worlds import POLICY, applied, decide, node, running, snapshot, told, waiting, way


def world(nodes: Iterable[Node], jobs: Iterable[Job], most: Mapping[str, int]) -> Snapshot:
    """Queues that may use so many cores of flavor a."""
    queues = {"q": Queue("q")} | {
        name: Queue(name, quotas=(Quota("a", "cpu", 0, cores * 1000),)) for name, cores in most.items()
    }
    return replace(snapshot(nodes, jobs), queues=tuple(queues[name] for name in sorted(queues)))


def of(queue: str, job: Job) -> Job:
    return replace(job, spec=replace(job.spec, queue=queue))


def part(job: Job, millis: int) -> Job:
    """The running job, holding so much of its demand."""
    assert job.allocation is not None
    return replace(job, allocation=replace(job.allocation, placement=replace(job.allocation.placement, millis=millis)))


def test_a_divisible_job_grows_no_further_than_its_quota() -> None:
    job = part(of("a", running(waiting(1, way(cpu=8), divisible=True), "n1")), 200)
    seen = world([node("n1")], [job], {"a": 4})
    assert told(decide(seen, {"j1": (1.0,)}))["j1"] == "resizes to n1 at 500"
    assert told(decide(applied(seen, decide(seen, {"j1": (1.0,)})), {"j1": (1.0,)})) == {"j1": "kept"}


def test_two_that_grow_share_what_their_quota_leaves() -> None:
    jobs = [part(of("a", running(waiting(n, way(cpu=8), divisible=True), f"n{n}")), 200) for n in (1, 2)]
    story = told(decide(world([node("n1"), node("n2")], jobs, {"a": 5}), {"j1": (0.5,), "j2": (0.5,)}, {"j1": 10.0}))
    assert story == {"j1": "resizes to n1 at 425", "j2": "kept"}


def test_a_gang_that_lacks_room_and_quota_stops_others_for_both() -> None:
    """Its queue is full, and what its queue's own jobs leave is too little room: the rest is another queue's."""
    jobs = [
        of("a", running(waiting(1, way(cpu=4)), "n1")),
        running(waiting(2, way(cpu=4)), "n1"),
        of("a", waiting(3, way(cpu=8))),
    ]
    seen = world([node("n1")], jobs, {"a": 8})
    plan = decide(seen, credits_owed={"j3": 1000.0})
    assert told(plan) == {"j1": "stops for fair_share", "j2": "stops for fair_share", "j3": "starts on n1"}


def test_nobody_stops_for_a_quota_if_there_is_no_room_even_so() -> None:
    jobs = [
        of("a", running(waiting(1, way(cpu=4)), "n1")),
        running(waiting(2, way(cpu=4), preemptible=False), "n1"),
        of("a", waiting(3, way(cpu=8))),
    ]
    seen = world([node("n1")], jobs, {"a": 8})
    assert told(decide(seen, credits_owed={"j3": 1000.0}))["j1"] == "kept"


def test_of_those_who_could_stop_for_a_quota_the_one_whose_place_helps_does() -> None:
    """Either of its queue's jobs would do for the quota; only the place of the second is large enough."""
    jobs = [
        of("a", running(waiting(1, way(cpu=4)), "n1")),
        running(waiting(2, way(cpu=4), preemptible=False), "n1"),
        of("a", running(waiting(3, way(cpu=8)), "n2")),
        of("a", waiting(4, way(cpu=8))),
    ]
    seen = world([node("n1"), node("n2")], jobs, {"a": 12})
    story = told(decide(seen, credits_owed={"j4": 1000.0, "j1": -600.0, "j3": -400.0}))
    assert story == {"j1": "kept", "j2": "kept", "j3": "stops for fair_share", "j4": "starts on n2"}


def test_whoever_became_needless_because_a_later_one_gave_more_goes_on() -> None:
    jobs = [
        of("a", running(waiting(1, way(cpu=1)), "n1")),
        of("a", running(waiting(2, way(cpu=4)), "n2")),
        of("a", waiting(3, way(cpu=4))),
    ]
    seen = world([node("n0", cpu=1), node("n1"), node("n2"), node("n3")], jobs, {"a": 5})
    story = told(decide(seen, credits_owed={"j3": 1000.0, "j1": -600.0, "j2": -400.0}))
    assert story["j1"] == "kept"
    assert story["j2"] == "stops for quota"
    assert story["j3"].startswith("starts")


def test_whoever_stopped_for_a_quota_goes_on_if_that_is_free_again() -> None:
    """Another job of its queue loses its place to a third one: then there is quota for it again."""
    jobs = [
        of("a", running(waiting(1, way(cpu=2)), "n1")),
        of("a", running(waiting(2, way(cpu=6)), "n2")),
        of("a", waiting(3, way(cpu=2))),
        waiting(4, way(cpu=8)),
    ]
    nodes = [node("n0", cpu=2), node("n1", cpu=5), node("n2", cpu=8), node("n3", cpu=2)]
    seen = world(nodes, jobs, {"a": 8})
    story = told(decide(seen, credits_owed={"j3": 1000.0, "j4": 800.0, "j2": -600.0, "j1": -700.0}))
    assert story["j2"] == "stops for fair_share"
    assert story["j1"] == "kept"
    assert story["j3"] == "starts on n0"


def with_pieces(first: int) -> tuple[list[Node], list[Job]]:
    """Two nodes with half a place free each, and two jobs that wait for a whole one: one of queue a, one of b."""
    nodes = [node("n1"), node("n2")]
    jobs = [running(waiting(n, way(cpu=4)), f"n{n}") for n in (1, 2)]
    both = [of("a", waiting(3, way(cpu=8), weight=1.0)), of("b", waiting(4, way(cpu=8), weight=1.0))]
    return nodes, jobs + (both if first == 3 else both[::-1])


def test_a_job_beyond_its_quota_does_not_keep_others_from_moves() -> None:
    nodes, jobs = with_pieces(3)
    policy = replace(POLICY, horizon_seconds=36000.0)
    seen = world(nodes, jobs, {"a": 7, "b": 8})
    story = told(decide(seen, credits_owed={"j3": 200.0, "j4": 100.0, "j1": 90.0, "j2": 90.0}, policy=policy))
    assert story["j3"] == "waits: exceeds_quota"
    assert story["j4"].startswith("starts"), story


def test_a_job_of_a_higher_class_that_its_quota_forbids_does_not_either() -> None:
    nodes, jobs = with_pieces(3)
    jobs[2] = replace(jobs[2], spec=replace(jobs[2].spec, priority_class="high"))
    policy = replace(POLICY, horizon_seconds=36000.0)
    story = told(decide(world(nodes, jobs, {"a": 7, "b": 8}), credits_owed={"j4": 100.0, "j1": 90.0}, policy=policy))
    assert story["j4"].startswith("starts"), story


def test_the_quota_of_a_queue_with_jobs_and_queues_below_it_is_that_of_all() -> None:
    jobs = [of("r", waiting(1, way(cpu=3))), of("r/x", waiting(2, way(cpu=3))), of("r/x", waiting(3, way(cpu=3)))]
    seen = world([node("n1"), node("n2")], jobs, {"r": 6})
    seen = replace(seen, queues=(Queue("q"), *[each for each in seen.queues if each.name == "r"], Queue("r/x")))
    assert sorted(what.split()[0] for what in told(decide(seen)).values()) == ["starts", "starts", "waits:"]


def test_what_a_part_would_use_is_what_a_divisible_job_is_judged_by() -> None:
    """All it asks for is beyond its quota, the part that it would hold is not: it waits for room."""
    jobs = [running(waiting(1, way(cpu=8)), "n1"), of("a", waiting(2, way(cpu=8), divisible=True))]
    ((_, reason),) = decide(world([node("n1")], jobs, {"a": 4}), {"j2": (0.25,)}).waiting
    assert reason.cause.value == "insufficient_capacity"


def test_who_lends_everything_counts_among_those_who_are_promised_more_than_there_is() -> None:
    """Of 8 cores, 4 and 12 are promised: the first queue keeps 2 of its 4, and the second may use 6."""
    keeps = Queue("q", quotas=(Quota("a", "cpu", 4000, lending_limit=0),))
    lends = Queue("r", quotas=(Quota("a", "cpu", 12000, lending_limit=12000),))
    jobs = [of("r", waiting(n, way(cpu=3))) for n in (1, 2, 3)]
    seen = replace(snapshot([node("n1")], [*jobs, waiting(4, way(cpu=16))]), queues=(keeps, lends))
    story = told(decide(seen))
    assert [story[f"j{n}"] for n in (1, 2, 3)] == ["starts on n1", "starts on n1", "waits: over_quota"]


def test_who_can_never_run_is_promised_nothing() -> None:
    """The first queue keeps 4 of 8 cores: what the second was promised, its only job cannot use."""
    keeps = Queue("q", quotas=(Quota("a", "cpu", 4000, lending_limit=0),))
    promised = Queue("r", quotas=(Quota("a", "cpu", 12000),))
    jobs = [of("r", waiting(1, way(cpu=16))), of("s", waiting(2, way(cpu=3))), of("s", waiting(3, way(cpu=3)))]
    story = told(decide(replace(snapshot([node("n1")], jobs), queues=(keeps, promised, Queue("s")))))
    assert story == {"j1": "waits: exceeds_node", "j2": "starts on n1", "j3": "waits: over_quota"}

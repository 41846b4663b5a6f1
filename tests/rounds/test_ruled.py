"""Rounds decided by rules: what is told of them, and that nothing is made up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Plan, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.commands import CreateQueue, LoseNode, RegisterNode, SubmitJobs
from allocator.rounds.loop import quiet_until, run_round
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.report import RoundOutcome, RoundReport
from allocator.rounds.ruled import Ruled, Tally
from allocator.solvers.chain import ChainSolver
from allocator.store.memory import MemoryStore

ONE = Configuration("t4", 1, Resources(cpu_millicores=1000, gpu_millis=1000))
WAITS = PendingReason(PendingCause.INSUFFICIENT_CAPACITY)


class Still:
    """A clock that stands, and a pusher that drops everything."""

    def now(self) -> float:
        return 100.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def stopwatch(self) -> float:
        return time.perf_counter()

    def push(self, desired: object) -> None:
        pass


class FirstOnA:
    """Starts the first job on node a, and tells the others why they wait."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, again: float = math.inf) -> None:
        self.meanwhile, self.again = meanwhile, again

    def __call__(self, snapshot: Snapshot, memory: Memory, policy: Policy, solver: Solver, lap: Lap) -> Ruled:
        tally = Tally()
        for job in snapshot.jobs:
            tally.ask(job, 1)
        first, *others = snapshot.jobs
        tally.run(first, 0, 1)
        tally.causes[WAITS.cause] += len(others)
        changes: tuple[Change, ...] = (Start(Placement(first.id, 0, (ReplicaPlacement("a", (0,)),))),)
        self.meanwhile()
        plan = Plan(snapshot.revision, snapshot.round, changes, (), ((others[0].id, WAITS),), others_stay=True)
        return Ruled(plan, "first-on-a", tally, self.again)


def store_with(jobs: int) -> MemoryStore:
    store = MemoryStore()
    capacity = Resources(cpu_millicores=4000, gpu_millis=2000)
    spec = JobSpec("main", (ONE,), restart_cost_seconds=5)
    for command in (
        CreateQueue(Queue("main")),
        CreateQueue(Queue("other", weight=2.0)),
        RegisterNode(Node("a", "t4", capacity)),
        RegisterNode(Node("b", "t4", capacity)),
        SubmitJobs((spec,) * jobs),
    ):
        store.execute(command, 0.0).result()
    return store


def round_of(store: MemoryStore, decider: FirstOnA) -> RoundReport:
    still = Still()
    memory = Memory(prices={("t4", "gpu"): 3.0})
    report, after = run_round(
        store=store, pusher=still, clock=still, solver=ChainSolver(), policy=Policy(), memory=memory, decider=decider
    )
    assert after is memory
    return report


def test_what_is_not_known_is_not_made_up() -> None:
    report = round_of(store_with(3), FirstOnA())
    summary = report.summary
    assert (summary.outcome, summary.solver, summary.started, summary.kept) == (RoundOutcome.RULED, "first-on-a", 1, 0)
    assert all(map(math.isnan, (summary.gap, summary.objective, summary.bound, summary.rounding_loss)))
    assert report.market is None
    assert report.formulation.problem.row_count == 0
    assert all(math.isnan(usage.price) for usage in summary.flavors)
    gpu = next(usage for usage in summary.flavors if usage.resource == "gpu")
    assert (gpu.capacity, gpu.allocated, gpu.requested) == (4000, 1000, 3000)
    main, other = summary.queues
    assert (main.pending, main.running, main.actual_share, other.weight) == (2, 1, 0.25, 2.0)
    assert math.isnan(main.fair_share)
    assert dict(summary.waiting) == {"insufficient_capacity": 2}


def test_who_is_left_out_stays_as_it_is() -> None:
    store = store_with(3)
    round_of(store, FirstOnA())
    states = [job.state.value for job in store.list_jobs()]
    reasons = [job.pending_reason for job in store.list_jobs()]
    assert states == ["running", "pending", "pending"]
    assert reasons == [None, WAITS, None]


def test_what_was_refused_is_counted_as_it_is() -> None:
    store = store_with(2)
    report = round_of(store, FirstOnA(meanwhile=lambda: store.execute(LoseNode("a"), 100.0).result()))
    assert [refused.why for refused in report.commit.rejected] == ["node a takes no new work"]
    assert [(queue.pending, queue.running) for queue in report.summary.queues] == [(2, 0), (0, 0)]
    assert dict(report.summary.waiting)["changed_since_snapshot"] == 1
    assert report.policy is not None
    assert quiet_until(report, report.policy) <= 100.0


def test_when_to_be_asked_again_is_up_to_who_decides() -> None:
    for again in (math.inf, 250.0):
        report = round_of(store_with(2), FirstOnA(again=again))
        assert report.policy is not None
        assert quiet_until(report, report.policy) == again


def test_a_snapshot_tells_what_has_become_of_the_one_before() -> None:
    store = store_with(3)
    before = store.snapshot(1.0)
    assert store.snapshot(2.0).jobs is before.jobs
    round_of(store, FirstOnA())
    store.execute(SubmitJobs((JobSpec("main", (ONE,)),)), 5.0).result()
    after = store.snapshot(6.0)
    assert after.since is not None
    changed = {job.id: job for job in after.since.changed}
    assert after.since.jobs is before.jobs
    live = {job.id: job for job in before.jobs} | {i: job for i, job in changed.items() if not job.state.is_final}
    assert tuple(sorted(live.values(), key=lambda job: job.sequence)) == after.jobs
    assert len(changed) == 3  # one started, one was told why it waits, one is new

"""What holds for every scheduler by rules, in whole replays: nodes fail, and commits are refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobState
from allocator.domain.placement import held
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.formulation.nodes import node_arrays
from allocator.rounds.report import RoundOutcome, RoundReport
from simulations.conditions import Conditions
from simulations.faults import RandomFaults
from simulations.replay import ReplayOptions, replay
from simulations.scenario import load_scenario
from simulations.schedulers import SCHEDULERS, compiled, occupancy, roll
from simulations.schedulers.occupancy import Occupancy
from simulations.sizing import Sizing
from simulations.synthetic import generate
from simulations.workload import Arrival, Workload
from tests.simulations.schedulers.counting import Asked
from tests.simulations.schedulers.replaying import machines, run, starts
from tests.simulations.worlds import node, on, spec, workload

QUEUEING = ("fifo", "random", "sjf", "easy", "easy-pinned", "conservative", "las")
THINKING = Conditions(thinking_seconds=55.0)


class Recount:
    """An Observer that compares what a scheduler keeps between rounds with the facts."""

    def __init__(self, occupancy: Occupancy) -> None:
        self.occupancy = occupancy
        self.compared = 0

    def observe(self, report: RoundReport) -> None:
        assert report.summary.outcome is RoundOutcome.RULED
        assert math.isnan(report.summary.gap)
        running = {
            job.id: job.allocation
            for job in report.snapshot.jobs
            if job.state is JobState.RUNNING and job.allocation is not None
        }
        for applied in report.commit.applied:
            running.pop(applied.change.job_id, None)
            if applied.allocation is not None:
                running[applied.change.job_id] = applied.allocation
        self._summary(report, set(running))
        if report.commit.rejected:
            return
        self.compared += 1
        nodes = node_arrays(report.snapshot.nodes)
        free, devices = nodes.capacity.copy(), nodes.devices.copy()
        jobs = {job.id: job for job in report.snapshot.jobs}
        for job_id, allocation in running.items():
            configuration = jobs[job_id].spec.configurations[allocation.placement.configuration]
            demand = held(configuration.demand, allocation.placement.millis)
            for replica in allocation.standing:
                at = nodes.index[replica.node]
                free[at] -= [demand.get(name) for name in nodes.resources]
                devices[at, list(replica.gpus)] -= min(demand.gpu_millis, 1000)
        space = self.occupancy.scene.space
        np.testing.assert_array_equal(space.free, free)
        np.testing.assert_array_equal(space.devices, devices)

    def _summary(self, report: RoundReport, running: set[str]) -> None:
        counted = {queue.queue: (queue.pending, queue.running) for queue in report.summary.queues}
        assert sum(count for _, count in counted.values()) == len(running)
        assert sum(count for count, _ in counted.values()) == len(report.snapshot.jobs) - len(running)
        if not report.commit.rejected:
            assert sum(dict(report.summary.waiting).values()) == len(report.snapshot.jobs) - len(running)


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Recount]:
    """From now on a recount goes with every new scheduler of this name: they are in the list."""
    scheduler = SCHEDULERS[name]
    recounts: list[Recount] = []

    def make(options: object) -> object:
        decider = scheduler.make(options)  # type: ignore[arg-type] # as it came
        recounts.append(Recount(next(kept for kept in vars(decider).values() if isinstance(kept, Occupancy))))
        return decider

    monkeypatch.setitem(SCHEDULERS, name, replace(scheduler, make=make))  # type: ignore[arg-type] # as it was
    return recounts


class Late:
    """Observes with whatever is in the list when it is asked."""

    def __init__(self, recounts: list[Recount]) -> None:
        self._recounts = recounts

    def observe(self, report: RoundReport) -> None:
        for recount in self._recounts:
            recount.observe(report)


def busy(jobs: int = 40, seed: int = 3) -> Workload:
    made = Sizing(nodes=10, jobs_at_start=jobs // 2, arrivals_per_hour=jobs / 2, arrival_hours=1.0)
    return generate(made.applied_to(load_scenario("small")), seed)


def failing(made: Workload, *, after: float = 2000.0) -> RandomFaults:
    return RandomFaults((each.name for each in made.nodes), seed=5, mean_up_seconds=after, mean_down_seconds=600.0)


@pytest.mark.parametrize(
    ("scheduler", "interval"), [*((name, 0.0) for name in QUEUEING), ("easy", 60.0), ("las", 60.0)]
)
def test_nodes_fail(monkeypatch: pytest.MonkeyPatch, scheduler: str, interval: float) -> None:
    """Every job comes to its end, invariants hold after every round, and what is kept is what is true."""
    recounts, made = watched(monkeypatch, scheduler), busy()
    result = run(made, scheduler, interval=interval, faults=failing(made), observers=[Late(recounts)], horizon=90_000)
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(made.arrivals)}
    lost = [
        result.summary["preemptions"][what].get("node_lost", 0) for what in ("stopped_by_reason", "moved_by_reason")
    ]
    assert sum(lost) > 0
    assert recounts[0].compared > 20


@pytest.mark.parametrize("scheduler", ["fifo", "easy", "conservative", "las"])
def test_commits_are_refused(monkeypatch: pytest.MonkeyPatch, scheduler: str) -> None:
    """The world goes on while the scheduler thinks: jobs end and nodes are lost between snapshot and commit."""
    recounts, made = watched(monkeypatch, scheduler), busy()
    result = run(
        made,
        scheduler,
        interval=60,
        faults=failing(made, after=1000.0),
        conditions=THINKING,
        observers=[Late(recounts)],
        horizon=90_000,
    )
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(made.arrivals)}
    assert result.summary["rounds"]["rejected_changes"] > 0
    assert recounts[0].compared > 20


@pytest.mark.parametrize(
    ("scheduler", "placement"),
    [
        ("fifo", "random"),
        ("random", "lowest"),
        ("sjf", "fragmentation"),
        ("easy", "best-fit"),
        ("easy-pinned", "lowest"),
        ("conservative", "random"),
        ("las", "prospects"),
    ],
)
def test_the_same_seed_leaves_the_same_bytes(scheduler: str, placement: str) -> None:
    made = busy(12)
    first, second = (run(made, scheduler, placement, interval=60, seed=7, faults=failing(made)) for _ in range(2))
    assert first.summary == second.summary
    for one, other in zip(first.tables, second.tables, strict=True):
        for column in one.columns:
            assert repr(list(one.values(column.name))) == repr(list(other.values(column.name)))


class TestPromises:
    """Nobody who was promised a start ever waits longer, as long as what jobs say is an upper bound."""

    ASKED = st.builds(
        lambda submitted, machines, estimate, part: Asked(submitted, machines, estimate, max(1, estimate * part // 4)),
        st.integers(0, 30),
        st.integers(1, 4),
        st.integers(1, 20),
        st.integers(1, 4),
    )

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(jobs=st.lists(ASKED, min_size=2, max_size=14))
    def test_of_conservative_backfilling_only_move_forward(self, jobs: list[Asked]) -> None:
        jobs.sort(key=lambda asked: asked.submitted)
        promised: dict[str, float] = {}
        with pytest.MonkeyPatch.context() as patch:
            recounts = watched(patch, "conservative")

            class Watch:
                def observe(self, report: RoundReport) -> None:
                    occupancy = recounts[0].occupancy
                    for number in occupancy.waiting().tolist():
                        job = occupancy.jobs[number]
                        assert job is not None
                        start = float(occupancy.crowd.promised[number])
                        assert start <= promised.get(job.spec.name, math.inf)
                        promised[job.spec.name] = start

            found = starts(run(machines(4, jobs), "conservative", observers=[Watch()]))
        assert all(found[name] <= start for name, start in promised.items())

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(jobs=st.lists(ASKED, min_size=2, max_size=14), pinned=st.booleans())
    def test_of_easys_first_only_move_forward(self, jobs: list[Asked], *, pinned: bool) -> None:
        """Its reservation, once it is first: found by asking for it alone, without the others."""
        jobs.sort(key=lambda asked: asked.submitted)
        shadows: dict[str, float] = {}
        name = "easy-pinned" if pinned else "easy"
        with pytest.MonkeyPatch.context() as patch:
            recounts = watched(patch, name)

            class Watch:
                def observe(self, report: RoundReport) -> None:
                    occupancy = recounts[0].occupancy
                    waiting = occupancy.waiting()
                    if not len(waiting):
                        return
                    first = occupancy.jobs[int(waiting[0])]
                    assert first is not None
                    crowd, missing = occupancy.crowd, first.spec.configurations[0].replicas
                    free = int((occupancy.scene.space.free[:, 0] > 0).sum())
                    shadow = occupancy.now
                    for number in sorted(occupancy.running().tolist(), key=lambda each: crowd.ends[each]):
                        if free >= missing:
                            break
                        free += int(occupancy.places.pieces[number])
                        shadow = float(crowd.ends[number])
                    assert shadow <= shadows.get(first.spec.name, math.inf)
                    shadows[first.spec.name] = shadow

            found = starts(run(machines(4, jobs), name, observers=[Watch()]))
        assert all(found[name] <= shadow for name, shadow in shadows.items())


class TestWhatIsNotKnown:
    def test_quotas_are_told_to_be_ignored(self) -> None:
        made = workload([node("a")], [Arrival(0, spec(on(gpus=1)), 10)])
        made = replace(made, queues=(Queue("main", quotas=(Quota("t4", "gpu", nominal=1000, borrowing_limit=0),)),))
        assert "The scheduler fifo does not know quotas: none is kept." in assumed(made, "fifo")
        assert not any("quotas" in sentence for sentence in assumed(made, "allocator"))

    def test_unknown_run_times_are_told(self) -> None:
        made = workload([node("a")], [Arrival(0, spec(on(gpus=1)), 10)])
        assert any("1 of 1 jobs do not say how long" in sentence for sentence in assumed(made, "easy"))
        assert not any("do not say" in sentence for sentence in assumed(made, "fifo"))

    def test_side_constraints_are_refused(self) -> None:
        made = workload([node("a")], [Arrival(0, spec(on(gpus=1)), 10)])
        policy = Policy(side_constraints=(SideConstraint("power", (Term("gpu", 1.0),), most=1.0),))
        with pytest.raises(InvalidInput, match="fifo cannot keep"):
            replay(made, ReplayOptions(policy=policy, scheduler="fifo"))

    def test_there_is_no_such_placement(self) -> None:
        made = workload([node("a")], [Arrival(0, spec(on(gpus=1)), 10)])
        with pytest.raises(InvalidInput, match="placement: must be one of prospects, best-fit, fragmentation, lowest"):
            run(made, "fifo", "worst-fit")


def assumed(made: Workload, scheduler: str) -> list[str]:
    found: list[str] = run(made, scheduler, interval=60).summary["workload"]["assumptions"]
    return found


@pytest.mark.slow  # the first of each kind compiles
@pytest.mark.parametrize(
    ("scheduler", "placement"), list(zip(QUEUEING, itertools.cycle(("best-fit", "prospects", "random")), strict=False))
)
def test_compiled_kernels_decide_the_same(monkeypatch: pytest.MonkeyPatch, scheduler: str, placement: str) -> None:
    """Small clusters run the kernels as they are written; here as large ones would."""
    made = busy(30)
    found = []
    for kernels in (compiled.plain, compiled.compiled):
        for module in (roll, occupancy):
            monkeypatch.setattr(module, "kernels_for", lambda *_, chosen=kernels: chosen())
        found.append(run(made, scheduler, placement, interval=60, faults=failing(made)).summary)
    assert found[0] == found[1]

"""A replay: the same rounds as the daemon's, wired to a virtual clock, a store in memory and a simulated cluster."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import allocator
from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.policy import Policy
from allocator.domain.resources import resource_names
from allocator.rounds.loop import run_rounds
from allocator.rounds.ports import Observer, Solver
from allocator.rounds.report import RoundSummary
from allocator.solvers.chain import ChainSolver
from allocator.store.memory import MemoryStore
from simulations import summary as summaries
from simulations.agenda import Agenda
from simulations.clock import Ending, VirtualClock
from simulations.cluster import SimulatedCluster
from simulations.columns import Table
from simulations.conditions import IDEAL, Conditions
from simulations.faults import Faults, NoFaults
from simulations.gangs import Work
from simulations.invariants import Invariants
from simulations.judging.judge import Replayed, judge
from simulations.measures import JOB_COLUMNS, Measures, add_job, add_refused
from simulations.pushing import LatePusher
from simulations.schedulers import scheduler_named
from simulations.schedulers.assumptions import assumptions
from simulations.schedulers.scheduler import SchedulerOptions
from simulations.service import Service, ServiceMeter, service_summary, time_averaged_loss
from simulations.sharing import SharingMeter
from simulations.sharing_summary import sharing_summary
from simulations.thinking import Thinker
from simulations.workload import Workload
from simulations.world import World

VERSIONED = ("clarabel", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay. `horizon_seconds` ends it that long after the workload's start; infinite means: to the last job.
    With an `interval_seconds` of 0 a round follows each instant at which something happened, and there are no others.

    `seed` is recorded only: what is random was drawn when the workload and the faults were made. Without `timings` the
    columns of `rounds` that a real clock fills stay empty: then two replays of the same leave the same bytes. With
    `sharing` each round is compared with every queue having its part of the machines for itself.
    """

    policy: Policy = field(default_factory=Policy)
    interval_seconds: float = 60.0
    horizon_seconds: float = math.inf
    seed: int = 0
    full_check_every: int = 100
    timings: bool = True
    sharing: bool = False
    learning: bool = True
    """Jobs whose throughputs are declared wrongly report the true ones."""
    scheduler: str = "allocator"
    """Who decides the rounds, by its name in `simulations.schedulers`."""
    placement: str = ""
    """How a scheduler that decides by rules chooses nodes (`schedulers.occupancy.PLACEMENTS`); empty: as it does by
    itself. Ours does as the policy says."""
    conditions: Conditions = IDEAL
    """What the world is like: restarts that cost what was measured, interference, late pushes and so on."""
    document: PolicyDocument | None = None
    """A policy file that is applied at the start, its queues over those of the workload; `policy` must be its own."""

    def require_valid(self) -> None:
        """Raise InvalidInput with everything that is wrong."""
        found = list(self.policy.violations())
        if found:
            raise InvalidInput(*found)
        if not (math.isfinite(self.interval_seconds) and self.interval_seconds >= 0):
            raise InvalidInput.of("interval", f"must be a finite number, at least 0; got {self.interval_seconds}")
        self.conditions.require_valid()
        if not self.horizon_seconds > 0:
            raise InvalidInput.of("horizon", f"must be above 0, got {self.horizon_seconds}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a replay has come. `time` is virtual."""

    time: float
    jobs_done: int
    jobs_expected: int
    round: RoundSummary


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """`tables` are jobs, rounds, queues, prices, runs, fragmentation, and sharing if that was asked for; `summary` is
    ready for JSON.
    """

    tables: tuple[Table, ...]
    summary: dict[str, Any]
    ending: Ending

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)


def replay(
    workload: Workload,
    options: ReplayOptions,
    *,
    faults: Faults | None = None,
    solver: Solver | None = None,
    on_round: Callable[[Standing], None] | None = None,
    observers: Sequence[Observer] = (),
    watching: Callable[[MemoryStore], Sequence[Observer]] | None = None,
) -> ReplayResult:
    """Run the workload to its end and measure it.

    Raises InvalidInput for a workload or options that cannot be, InvariantBroken when the scheduler did what it must
    never do. `on_round` hears of each round, `observers` see its whole report, and so do those that `watching` makes,
    which may ask the store; none can change anything.
    """
    options.require_valid()
    workload.require_valid()
    scheduler = scheduler_named(options.scheduler)
    options = replace(options, policy=scheduler.policy(options.policy))
    if options.document is not None:
        _require_leaves(workload, options.document)
    interval = options.interval_seconds
    agenda = Agenda(workload.start)
    store = MemoryStore(round_retention=1, feed_limit=None if watching else 0)
    conditions = options.conditions
    cluster = SimulatedCluster(
        workload.nodes, agenda, store, tells=options.learning, conditions=conditions, seed=options.seed
    )
    faults = faults or NoFaults()
    world = World(workload, agenda, store, cluster, faults, options.document)
    clock = VirtualClock(agenda, world, interval=interval, horizon=workload.start + options.horizon_seconds)
    invariants = Invariants(cluster, gap=options.policy.gap, full_every=options.full_check_every)
    expected = len(workload.arrivals)
    pusher = _late_pusher(workload, options, agenda, cluster, invariants) if conditions.pushes_late else None
    decider = scheduler.make(SchedulerOptions(seed=options.seed, placement=options.placement))

    def tell(round_summary: RoundSummary) -> None:
        if on_round is not None:
            on_round(Standing(agenda.now, cluster.finished, expected, round_summary))

    measures = Measures(resource_names([node.capacity for node in workload.nodes]), tell, timings=options.timings)
    meter = ServiceMeter()
    sharing = [SharingMeter(options.policy)] if options.sharing else []
    usage_at_last_arrival: tuple[dict[str, float], dict[str, float]] | None = None

    def note_usage() -> None:
        nonlocal usage_at_last_arrival
        usage_at_last_arrival = cluster.usage.totals(agenda.now)

    if workload.arrivals:
        agenda.plan(workload.arrivals[-1].time, note_usage)
    world.open()
    run_rounds(
        store=store,
        pusher=pusher or cluster,
        clock=clock,
        observers=(invariants, meter, measures, *sharing, *observers, *(watching(store) if watching else ())),
        solver=solver or ChainSolver(),
        policy=lambda: options.policy,
        interval=interval,
        decider=Thinker(decider, agenda, conditions, invariants.look),
    )
    assert clock.ending is not None
    service = meter.result()
    jobs = _jobs_table(world, cluster, store, service)
    usage_at_end = cluster.usage.totals(agenda.now)
    weights = summaries.round_lengths(measures.rounds.numbers("time_s"), agenda.now)
    judged = judge(
        Replayed(
            nodes=workload.nodes,
            admitted=world.submitted,
            refused=[arrival for arrival, _ in world.refused],
            jobs=jobs,
            rounds=measures.rounds,
            queues=measures.queues,
            resources=measures.resources,
            capacity=measures.capacity(),
            weights=measures.weights,
            log=cluster.runs,
            end=agenda.now,
        ),
        weights,
    )
    jobs = judged.jobs
    per_queue, fairness = summaries.by_queue_summary(jobs, measures.queues, measures.rounds, weights)
    per_queue = {name: found | judged.by_queue.get(name, {}) for name, found in per_queue.items()}
    summary: dict[str, Any] = {
        "workload": _workload_summary(workload, world, _assumed(workload, options)),
        "run": _run_summary(options, clock.ending, agenda.now) | _world_summary(options, faults, pusher),
        "versions": _versions(),
        "jobs": summaries.jobs_summary(jobs),
        "queues": per_queue,
        "fairness": fairness,
        "service": service_summary(service) | _losses(service, options.policy.fairness),
        "rounds": summaries.rounds_summary(measures.rounds, weights),
        "preemptions": summaries.preemption_summary(measures, jobs.numbers("restart_s")),
        "utilization": {
            "while_jobs_arrive": summaries.utilization_summary(usage_at_last_arrival or usage_at_end),
            "to_the_end": summaries.utilization_summary(usage_at_end),
            "by_flavor": measures.flavors.result(agenda.now),
        },
        "invariants": {"broken": 0, "checks": invariants.checks, "full_checks": invariants.full_checks},
    } | judged.summary
    tables = [jobs, measures.rounds, judged.queues, measures.prices, judged.runs, judged.fragmentation]
    tables += [one.table for one in sharing]
    for one in sharing:
        summary["sharing"] = sharing_summary(one.table, measures.rounds, measures.queues, agenda.now)
    return ReplayResult(tuple(tables), summary, clock.ending)


def _late_pusher(
    workload: Workload, options: ReplayOptions, agenda: Agenda, cluster: SimulatedCluster, invariants: Invariants
) -> LatePusher:
    """Between scheduler and cluster, and what both must know of it."""
    names = [node.name for node in workload.nodes]
    pusher = LatePusher(cluster, agenda, options.conditions, names, seed=options.seed)
    cluster.messages = pusher
    invariants.expect_late(lambda: pusher.settled)
    return pusher


def _require_leaves(workload: Workload, document: PolicyDocument) -> None:
    """Raise InvalidInput where the policy has queues below one that the workload's jobs go to."""
    used = {arrival.spec.queue for arrival in workload.arrivals}
    parents = {queue.parent: queue.name for queue in document.queues if queue.parent in used}
    if parents:
        raise InvalidInput(
            *(
                Violation("policy", f"has queue {child} below {parent}, which the jobs of the workload go to")
                for parent, child in parents.items()
            )
        )


def _jobs_table(world: World, cluster: SimulatedCluster, store: MemoryStore, service: Service) -> Table:
    table = Table("jobs", JOB_COLUMNS)
    columns = (service.seconds, service.owed, service.received, service.farthest)
    served = dict(
        zip(service.sequence.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True)
    )
    for job_id in world.submitted:
        job = store.get_job(job_id)
        add_job(table, job, cluster.work[job_id], served.get(job.sequence, (math.nan,) * 4))
    for arrival, _ in world.refused:
        add_refused(table, Work(arrival, arrival.duration))
    return table


def _losses(service: Service, fairness: float) -> dict[str, Any]:
    loss, shortfall = time_averaged_loss(service, fairness)
    return {"rounding_loss": loss, "shortfall": shortfall}


def _assumed(workload: Workload, options: ReplayOptions) -> list[str]:
    queues = workload.queues if options.document is None else (*workload.queues, *options.document.queues)
    return [*workload.notes, *assumptions(scheduler_named(options.scheduler), workload, queues, options.policy)]


def _workload_summary(workload: Workload, world: World, assumed: list[str]) -> dict[str, Any]:
    return {
        "name": workload.name,
        "nodes": len(workload.nodes),
        "jobs": len(workload.arrivals),
        "start_s": workload.start,
        "dropped": dict(sorted(workload.dropped.items())),
        "refused": dict(sorted(Counter(type(error).__name__ for _, error in world.refused).items())),
        "assumptions": assumed,
        "notes": list(workload.notes),
    }


def _run_summary(options: ReplayOptions, ending: Ending, end: float) -> dict[str, Any]:
    return {
        "ending": ending.value,
        "end_s": end,
        "interval_s": options.interval_seconds,
        "horizon_s": summaries.number(options.horizon_seconds),
        "seed": options.seed,
        "scheduler": options.scheduler,
        **({"placement": options.placement} if options.placement else {}),
        "policy": {name: _finite(value) for name, value in asdict(options.policy).items()},
    }


def _world_summary(options: ReplayOptions, faults: Faults, pusher: LatePusher | None) -> dict[str, Any]:
    told = options.conditions.told()
    if pusher is not None:
        told |= {"pushes": pusher.sent, "pushes_lost": pusher.lost}
    return {"outages": faults.told(), "conditions": told}


def _finite(value: Any) -> Any:
    """Max-min is "inf" here, and so is what never happens: JSON has no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _versions() -> dict[str, str]:
    found = {"allocator": allocator.__version__, "python": platform.python_version()}
    for package in VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found

"""What a replay is judged by: one row per round, per round and queue, and per job.

An Observer of the rounds. What a scheduler without an optimum does not have (gap, bound, loss, prices, fair shares) is
empty. Everything in these tables follows from the workload, the policy and the seed alone, except
the columns of STAGE_COLUMNS, which hold how long the stages of each round really took; they can be left empty.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Job, JobState
from allocator.domain.plan import Move
from allocator.domain.resources import display_unit
from allocator.rounds.report import STAGES, RoundReport, RoundSummary
from simulations.columns import Column, Kind, Table
from simulations.gangs import Work
from simulations.usage import FlavorShares

FLOAT, INTEGER, TEXT = Kind.FLOAT, Kind.INTEGER, Kind.TEXT

ROUND_COLUMNS = (
    Column("round", INTEGER, "", "number of the round"),
    Column("time_s", FLOAT, "s", "virtual time of the round"),
    Column("outcome", TEXT, "", "optimal, inaccurate, fallback or stale"),
    Column("solver", TEXT, "", "the method that answered"),
    Column("status", TEXT, "", "of its answer: optimal (within the gap asked for), inaccurate or failed"),
    Column("rows", INTEGER, "1", "groups of identical jobs in the problem"),
    Column("iterations", INTEGER, "1", "iterations that all methods tried took together"),
    Column("objective", FLOAT, "1", "value of the certified shares"),
    Column("bound", FLOAT, "1", "what no shares can exceed"),
    Column("gap", FLOAT, "1", "(bound - objective) / what all utilities are worth"),
    Column("rounding_loss", FLOAT, "1", "part of the optimum's value that the integer placement does not reach"),
    Column("live", INTEGER, "jobs", "pending and running, at the snapshot"),
    Column("pending", INTEGER, "jobs", "waiting after the commit"),
    Column("running", INTEGER, "jobs", "running after the commit"),
    Column("started", INTEGER, "jobs", "started by this round"),
    Column("moved", INTEGER, "jobs", "moved by this round"),
    Column("resized", INTEGER, "jobs", "that went on with other replicas, or another part of their demand"),
    Column("preempted", INTEGER, "jobs", "stopped by this round"),
    Column("rejected", INTEGER, "jobs", "changes the store found impossible"),
)
QUEUE_COLUMNS = (
    Column("round", INTEGER, "", "number of the round"),
    Column("time_s", FLOAT, "s", "virtual time of the round"),
    Column("queue", TEXT, "", "name of the queue"),
    Column("weight", FLOAT, "1", "relative to its siblings"),
    Column("fair_share", FLOAT, "1", "dominant share that the optimum gives to its jobs"),
    Column("actual_share", FLOAT, "1", "dominant share that its jobs hold after the commit"),
    Column("pending", INTEGER, "jobs", "waiting after the commit"),
    Column("running", INTEGER, "jobs", "running after the commit"),
)
PRICE_COLUMNS = (
    Column("round", INTEGER, "", "number of the round from which on it is so"),
    Column("time_s", FLOAT, "s", "virtual time of that round"),
    Column("flavor", TEXT, "", "kind of node"),
    Column("resource", TEXT, "", "of which"),
    Column("price", FLOAT, "1", "value of one more core, GPU, GiB or GB/s, in units of the objective"),
)
JOB_COLUMNS = (
    Column("job", TEXT, "", "id in the replay; empty if it was refused at submission"),
    Column("name", TEXT, "", "id in the source"),
    Column("queue", TEXT, "", "where it was submitted"),
    Column("state", TEXT, "", "succeeded, or what it was when the replay ended; refused"),
    Column("flavor", TEXT, "", "where it ran last"),
    Column("replicas", INTEGER, "1", "of its fastest configuration"),
    Column("gpus", FLOAT, "GPUs", "of its fastest configuration, all replicas together"),
    Column("submit_s", FLOAT, "s", "virtual time of submission"),
    Column("first_start_s", FLOAT, "s", "virtual time of the first start"),
    Column("end_s", FLOAT, "s", "virtual time of the end"),
    Column("wait_s", FLOAT, "s", "first start - submission"),
    Column("completion_s", FLOAT, "s", "end - submission"),
    Column("ideal_run_s", FLOAT, "s", "true run time in the fastest configuration, undisturbed"),
    Column("slowdown", FLOAT, "1", "completion / ideal run time"),
    Column("preemptions", INTEGER, "1", "times it was stopped or moved"),
    Column("restart_s", FLOAT, "s", "time spent on restarts"),
    Column("counted_s", FLOAT, "s", "time for which the optimum said what it was owed"),
    Column("owed_s", FLOAT, "s", "of that, what the optimum gave it"),
    Column("received_s", FLOAT, "s", "of that, what it ran"),
    Column("lag_s", FLOAT, "s", "largest difference between received and owed in its life"),
)
STAGE_COLUMNS = tuple(
    Column(f"{stage}_s", FLOAT, "s", f"real time of the stage '{stage}'; empty with --no-timings", measured=True)
    for stage in STAGES
)


def utilization_columns(resources: Sequence[str]) -> tuple[Column, ...]:
    """One column per resource, after those of STAGE_COLUMNS."""
    return tuple(
        Column(
            f"utilization_{resource}", FLOAT, "1", f"{resource} held / {resource} of all ready nodes, after the commit"
        )
        for resource in resources
    )


class Measures:
    """Collects `rounds` and `queues` as an Observer; `jobs` is made at the end. Without `timings` nothing in them
    comes from a real clock.
    """

    def __init__(
        self,
        resources: Sequence[str],
        on_round: Callable[[RoundSummary], None] | None = None,
        *,
        timings: bool = True,
    ) -> None:
        self.resources = tuple(resources)
        self.timings = timings
        self.rounds = Table("rounds", (*ROUND_COLUMNS, *STAGE_COLUMNS, *utilization_columns(resources)))
        self.queues = Table("queues", QUEUE_COLUMNS)
        """Of queues with live jobs, and once where one has none any more, or none yet."""
        self.prices = Table("prices", PRICE_COLUMNS)
        """Only changes; none where there are no prices."""
        self.weights: dict[str, float] = {}
        """Of every queue, as it was last."""
        self._capacity = [array("d") for _ in self.resources]
        self._price: dict[tuple[str, str], float] = {}
        self._idle: set[str] = set()
        self.flavors = FlavorShares()
        self.lost_seconds: dict[str, float] = {}
        """Resource-seconds thrown away by preemptions and moves, by resource, in the integer unit x seconds."""
        self.preemptions: dict[str, int] = {}
        """Jobs stopped, by reason."""
        self.moves: dict[str, int] = {}
        """Jobs moved, by reason."""
        self._on_round = on_round

    def observe(self, report: RoundReport) -> None:
        """Add one round."""
        summary = report.summary
        preempted = 0
        for reason, count in summary.preempted:
            preempted += count
            self.preemptions[reason] = self.preemptions.get(reason, 0) + count
        for applied in report.commit.applied:
            if isinstance(applied.change, Move):
                reason = applied.change.reason.value
                self.moves[reason] = self.moves.get(reason, 0) + 1
        for _, resource, amount in summary.lost:
            self.lost_seconds[resource] = self.lost_seconds.get(resource, 0.0) + amount
        self.flavors.add(summary.flavors, summary.time)
        running = sum(queue.running for queue in summary.queues)
        stages = dict(summary.stages) if self.timings else {}
        self.rounds.add(
            summary.round,
            summary.time,
            summary.outcome.value,
            summary.solver,
            report.solution.status.value,
            report.formulation.problem.row_count,
            summary.iterations,
            summary.objective,
            summary.bound,
            summary.gap,
            summary.rounding_loss,
            len(report.snapshot.jobs),
            len(report.snapshot.jobs) - running,
            running,
            summary.started,
            summary.moved,
            summary.resized,
            preempted,
            summary.rejected,
            *(stages.get(stage, math.nan) for stage in STAGES),
            *self._utilization(summary),
        )
        for queue in summary.queues:
            self.weights[queue.queue] = queue.weight
            if queue.pending or queue.running:
                self._idle.discard(queue.queue)
            elif queue.queue in self._idle:
                continue
            else:
                self._idle.add(queue.queue)
            self.queues.add(
                summary.round,
                summary.time,
                queue.queue,
                queue.weight,
                queue.fair_share,
                queue.actual_share,
                queue.pending,
                queue.running,
            )
        self._note_prices(summary)
        if self._on_round is not None:
            self._on_round(summary)

    def capacity(self) -> NDArray[np.float64]:
        """(rounds, resources) what ready nodes had, in the integer units."""
        return np.array(self._capacity, dtype=np.float64).reshape(len(self.resources), -1).T

    def _note_prices(self, summary: RoundSummary) -> None:
        known = self._price
        for usage in summary.flavors:
            key = (usage.flavor, usage.resource)
            if usage.price != known.get(key) and not math.isnan(usage.price):
                known[key] = usage.price
                self.prices.add(summary.round, summary.time, usage.flavor, usage.resource, usage.price)

    def _utilization(self, summary: RoundSummary) -> list[float]:
        allocated = dict.fromkeys(self.resources, 0)
        capacity = dict.fromkeys(self.resources, 0)
        for usage in summary.flavors:
            allocated[usage.resource] += usage.allocated
            capacity[usage.resource] += usage.capacity
        for column, name in zip(self._capacity, self.resources, strict=True):
            column.append(capacity[name])
        return [allocated[name] / capacity[name] if capacity[name] else 0.0 for name in self.resources]


def add_job(table: Table, job: Job, work: Work, served: tuple[float, float, float, float]) -> None:
    """One row of JOB_COLUMNS for a job that was admitted; `served` fills the last four."""
    fastest = work.arrival.fastest
    ideal = work.arrival.duration
    end = job.end_time if job.end_time is not None else math.nan
    start = job.first_start_time if job.first_start_time is not None else math.nan
    completion = end - job.submit_time if job.state is JobState.SUCCEEDED else math.nan
    table.add(
        job.id,
        job.spec.name,
        job.spec.queue,
        job.state.value,
        work.flavor,
        fastest.replicas,
        fastest.total_demand.gpu_millis / display_unit("gpu")[1],
        job.submit_time,
        start,
        end,
        start - job.submit_time,
        completion,
        ideal,
        completion / ideal,
        job.preemption_count,
        work.restart_seconds,
        *served,
    )


def add_refused(table: Table, work: Work) -> None:
    """One row of JOB_COLUMNS for a job that was not admitted."""
    arrival = work.arrival
    fastest = arrival.fastest
    table.add(
        "",
        arrival.spec.name,
        arrival.spec.queue,
        "refused",
        "",
        fastest.replicas,
        fastest.total_demand.gpu_millis / display_unit("gpu")[1],
        arrival.time,
        *(math.nan,) * 4,
        arrival.duration,
        math.nan,
        0,
        0.0,
        *(math.nan,) * 4,
    )

"""Everything that a finished replay is judged by, in one pass: columns for its tables, two more tables, and the part of
its summary that needs no optimum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node
from allocator.domain.resources import Resources, display_unit
from simulations.columns import Column, Kind, Table
from simulations.judging.contention import Contention
from simulations.judging.entitlement import dominant_shares
from simulations.judging.evenness import Evenness
from simulations.judging.fragmentation import Popularity, fragmentation, instants_between, mean_of
from simulations.judging.runs import RunLog, amounts_of
from simulations.judging.shares import Holders, QueueShares, queue_shares_in_parts
from simulations.workload import Arrival

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOUR = 3600.0
SHORTEST_RUN = 10.0
"""Seconds; a run that is shorter counts as this long in a bounded slowdown."""
TOLERANCE = 0.1
"""By how much a job may end later than in its part of the machines before its sharing incentive is violated."""

Ways = tuple[tuple[str, Resources], ...]
"""Flavors that a job accepts, and what a replica takes there."""

SIZES = ("none", "1", "2-8", "more than 8")
WORK_DONE = {"gpu": "gpu_hours_per_hour", "cpu": "core_hours_per_hour"}
"""What a throughput in work is called, by the resource that sizes are told by."""

JOB_MEASURES = (
    Column("size", Kind.TEXT, "", "GPUs of all replicas (cores, where no node has a GPU): none, 1, 2-8, more than 8"),
    Column("bounded_slowdown", Kind.FLOAT, "1", "max(1, completion / max(ideal run time, 10 s))"),
    Column("contention", Kind.FLOAT, "1", "mean over its life of its queue's demand / entitlement, at least 1"),
    Column("rho", Kind.FLOAT, "1", "finish-time fairness: completion / (ideal run time x contention)"),
)
QUEUE_MEASURES = (
    Column("demand_share", Kind.FLOAT, "1", "dominant share that its live jobs ask for"),
    Column("entitled_share", Kind.FLOAT, "1", "dominant share it is entitled to, by weights among those that want"),
    Column("held_share", Kind.FLOAT, "1", "dominant share that its gangs hold, starts of this round included"),
)
FRAGMENTATION_COLUMNS = (
    Column("time_s", Kind.FLOAT, "s", "virtual time"),
    Column("resource", Kind.TEXT, "", "of which"),
    Column("free", Kind.FLOAT, "1", "part of all nodes' capacity that nothing holds, on nodes that are up or not"),
    Column("fragmentation", Kind.FLOAT, "1", "part of what is free where the workload's commonest replicas do not fit"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What happened. `jobs` is JOB_COLUMNS, with a row per admitted job in the order of `admitted`, then the refused;
    `capacity` (T, R) is what ready nodes had at each round, in integer units; `weights` of queues by name.
    """

    nodes: Sequence[Node]
    admitted: Mapping[str, Arrival]
    refused: Sequence[Arrival]
    jobs: Table
    rounds: Table
    queues: Table
    resources: tuple[str, ...]
    capacity: Floats
    weights: Mapping[str, float]
    log: RunLog
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """`by_queue` goes beside what is known of each queue; `summary` holds parts of the document by their names."""

    jobs: Table
    queues: Table
    runs: Table
    fragmentation: Table
    by_queue: dict[str, dict[str, Any]]
    summary: dict[str, Any]


def judge(replayed: Replayed, seconds: Floats) -> Judgement:
    """`seconds` (T,) is how long each round lasted."""
    asked = _Asked.of(replayed)
    times = replayed.rounds.numbers("time_s")
    queue_of = {job_id: arrival.spec.queue for job_id, arrival in replayed.admitted.items()}
    names = sorted(set(queue_of.values()))
    number = {name: index for index, name in enumerate(names)}
    admitted = len(replayed.admitted)
    jobs = replayed.jobs
    submit, end = jobs.numbers("submit_s"), jobs.numbers("end_s")
    queue = np.array([number[name] for name in queue_of.values()], dtype=np.int64)
    log = replayed.log
    run_queue = np.array([number[queue_of[job_id]] for job_id in log.jobs], dtype=np.int64)
    taken = log.amounts(replayed.resources)
    parts = queue_shares_in_parts(
        times,
        replayed.capacity,
        names,
        replayed.weights,
        Holders(queue, submit[:admitted], np.where(np.isnan(end), np.inf, end)[:admitted], asked.amounts[:admitted]),
        Holders(run_queue, np.array(log.start, dtype=np.float64), log.ends(), taken),
    )
    contended = Contention(times, seconds, len(names), queue, submit[:admitted], end[:admitted])
    even = Evenness(times, seconds, names)
    judged_queues = _JudgedQueues(replayed.queues, replayed.rounds, number)
    for rounds, found in parts:
        contended.add(rounds, found)
        even.add(found)
        judged_queues.add(rounds, found)
    contention = np.full(len(jobs), np.nan)
    done = np.isfinite(jobs.numbers("completion_s"))
    contention[:admitted] = contended.means()
    contention[~done] = np.nan
    jobs = _judged_jobs(jobs, asked, contention)
    overall, by_queue = even.result()
    whole = amounts_of((node.capacity for node in replayed.nodes), replayed.resources).sum(axis=0)
    fragments, fragmented = _fragments(replayed, asked.popularity, whole)
    held = dominant_shares(taken[None], whole[None])[0] if len(taken) else np.zeros(0)
    return Judgement(
        jobs=jobs,
        queues=judged_queues.table(),
        runs=log.table(queue_of, held),
        fragmentation=fragments,
        by_queue=by_queue,
        summary={
            "entitlement": overall | _finish_times(jobs),
            "throughput": _throughput(jobs, asked, admitted, replayed.end),
            "fragmentation": fragmented,
        },
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What jobs ask for in their fastest configurations, (n, R); refused ones last."""

    amounts: Floats
    unit: str
    """The resource by which sizes are told: GPUs, or cores where no node has a GPU."""
    size: Floats
    """(n,) of `unit`, in GPUs or cores."""
    popularity: Popularity

    @classmethod
    def of(cls, replayed: Replayed) -> _Asked:
        popularity = Popularity()
        demands: dict[tuple[Resources, int], int] = {}
        seen: dict[int, tuple[int, Ways, int]] = {}
        """By identity of the configurations, which many jobs share: number in `demands`, ways to run, replicas."""
        kinds = []
        for arrival in (*replayed.admitted.values(), *replayed.refused):
            ways_to_run = arrival.spec.configurations
            known = None if arrival.true_speed else seen.get(id(ways_to_run))
            if known is None:
                fastest = arrival.fastest
                kind = demands.setdefault((fastest.demand, fastest.replicas), len(demands))
                ways = tuple([(way.flavor, way.demand) for way in ways_to_run if way.throughput > 0])
                known = (kind, ways, fastest.replicas)
                if not arrival.true_speed:
                    seen[id(ways_to_run)] = known
            kinds.append(known[0])
            popularity.add(*known[1:])
        resources = replayed.resources
        totals = amounts_of((demand * replicas for demand, replicas in demands), resources)
        amounts = totals[np.array(kinds, dtype=np.int64)].reshape(-1, len(resources))
        unit = "gpu" if "gpu" in resources else "cpu"
        column = amounts[:, resources.index(unit)] if unit in resources else np.zeros(len(amounts))
        return cls(amounts, unit, column / display_unit(unit)[1], popularity)


def _judged_jobs(jobs: Table, asked: _Asked, contention: Floats) -> Table:
    completion, ideal = jobs.numbers("completion_s"), jobs.numbers("ideal_run_s")
    bounded = np.maximum(1.0, completion / np.maximum(ideal, SHORTEST_RUN))
    rho = completion / (ideal * contention)
    sizes = np.searchsorted((0.0, 1.0, 8.0), asked.size, side="left")
    return jobs.widened(JOB_MEASURES, ([SIZES[size] for size in sizes.tolist()], bounded, contention, rho))


class _JudgedQueues:
    """`queues` with QUEUE_MEASURES: zeros where a queue neither wants nor holds anything. They come in parts, so that
    not everything is in memory that is put away packed.
    """

    def __init__(self, queues: Table, rounds: Table, number: Mapping[str, int]) -> None:
        self._queues = queues
        self._further = Table(queues.name, QUEUE_MEASURES)
        self._width = max(len(number), 1)
        names, self._name = queues.numbered("queue")
        self._number = np.array([number.get(each, -1) for each in names], dtype=np.int64)
        numbers = rounds.numbers("round")
        count = np.zeros(len(rounds), dtype=np.int64)
        for block in queues.blocks("round"):
            count += np.bincount(np.searchsorted(numbers, block), minlength=len(rounds))
        self._count = count
        """(T,) rows of each round; they are in order of rounds."""
        self._first = np.append(0, np.cumsum(count))

    def add(self, rounds: range, found: QueueShares) -> None:
        """What there is to say of the rows of `rounds`, which follow those that were added before."""
        at = np.repeat(np.arange(rounds.start, rounds.stop), self._count[rounds.start : rounds.stop])
        which = self._number[self._name[self._first[rounds.start] : self._first[rounds.stop]]]
        if not len(found.at):
            self._further.add_rows(*np.zeros((len(QUEUE_MEASURES), len(at))))
            return
        key = np.where(which >= 0, at * self._width + which, -1)
        known = found.at * self._width + found.queue
        place = np.minimum(np.searchsorted(known, key), len(known) - 1)
        there = known[place] == key
        columns = (found.demand, found.entitled, found.held)
        self._further.add_rows(*(np.where(there, column[place], 0.0) for column in columns))

    def table(self) -> Table:
        """When all rounds were added."""
        return self._queues.beside(self._further)


def _finish_times(jobs: Table) -> dict[str, Any]:
    rho = jobs.numbers("rho")
    rho = rho[np.isfinite(rho)]
    late = int((rho > 1 + TOLERANCE).sum())
    return {
        "tolerance": TOLERANCE,
        "violations": late,
        "violated": late / len(rho) if len(rho) else None,
    }


def _throughput(jobs: Table, asked: _Asked, admitted: int, last_round: float) -> dict[str, Any]:
    """Per hour, of jobs that succeeded: while jobs arrive, and until the last end. Work is ideal run time x size.

    `mean_time_in_system_s` counts those that did not end with the time that they had: a mean of completion times alone
    would flatter who leaves the long ones.
    """
    submit, ended = jobs.numbers("submit_s"), jobs.numbers("end_s")
    end = np.where(np.isfinite(jobs.numbers("completion_s")), ended, np.nan)
    work = jobs.numbers("ideal_run_s") * asked.size / HOUR
    came = np.flatnonzero(submit[:admitted] <= last_round)
    stays = np.where(np.isfinite(ended), ended, last_round)[came] - submit[came]
    found: dict[str, Any] = {"mean_time_in_system_s": math.fsum(stays.tolist()) / len(stays) if len(stays) else None}
    first = float(submit.min()) if len(submit) else math.nan
    last = float(np.nanmax(end)) if np.isfinite(end).any() else math.nan
    arrived = float(submit.max()) if len(submit) else math.nan
    for name, until in (("while_jobs_arrive", arrived), ("to_the_end", last)):
        hours = (until - first) / HOUR
        done = end <= until
        there = hours > 0
        found[name] = {
            "jobs_per_hour": int(done.sum()) / hours if there else None,
            WORK_DONE[asked.unit]: math.fsum(work[done].tolist()) / hours if there else None,
        }
    return found


def _fragments(replayed: Replayed, popularity: Popularity, whole: Floats) -> tuple[Table, dict[str, Any]]:
    arrivals = [arrival.time for arrival in replayed.admitted.values()]
    first, last = (arrivals[0], max(arrivals)) if arrivals else (0.0, 0.0)
    instants = instants_between(first, last if last > first else replayed.end)
    resources = replayed.resources
    found = fragmentation(replayed.nodes, replayed.log, popularity.commonest(), resources, instants)
    free = _free(replayed, instants, whole)
    table = Table.of(
        "fragmentation",
        FRAGMENTATION_COLUMNS,
        (np.repeat(instants, len(resources)), [*resources] * len(instants), free.ravel(), found.ravel()),
    )
    return table, mean_of(dict(zip(resources, found.T, strict=True)))


def _free(replayed: Replayed, instants: Floats, whole: Floats) -> Floats:
    """(I, R) part of what all nodes have that no gang holds."""
    log = replayed.log
    taken = log.amounts(replayed.resources)
    held = np.zeros((len(instants) + 1, len(replayed.resources)))
    np.add.at(held, np.searchsorted(instants, np.array(log.start), side="left"), taken)
    np.add.at(held, np.searchsorted(instants, log.ends(), side="left"), -taken)
    left: Floats = 1 - np.cumsum(held, axis=0)[:-1] / np.maximum(whole, 1.0)
    return left

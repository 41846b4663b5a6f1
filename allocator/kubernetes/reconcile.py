"""What to do to Kubernetes so that it runs what is wanted, and what to tell the daemon of it. Pure.

Level-triggered: from what is wanted and what there is, whatever happened before. A run's Jobs are made suspended, under
names that follow from the run; released when all of the gang are there and nothing of an earlier run of the job is;
and kept by a finalizer until the daemon knows how they ended. So neither a lost answer, nor a restart of the API
server, the daemon or ourselves runs one twice, and nobody's hand can make one forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from allocator.domain.resources import Resources
from allocator.engine.runs import Run, Wanted
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.kubernetes.gangs import Gang
from allocator.kubernetes.manifest import name_of, unsuitable
from allocator.kubernetes.observed import KubeJob, KubePod
from allocator.kubernetes.template import Template


@dataclass(frozen=True, slots=True)
class Create:
    """Suspended. `peers`: names of the gang's Jobs, by rank; empty for those that have finished."""

    run: Run
    wanted: Wanted
    name: str
    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    job: KubeJob


@dataclass(frozen=True, slots=True)
class Rename:
    """It goes on as another replica of a newer epoch."""

    job: KubeJob
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Resize:
    """In place."""

    pod: KubePod
    demand: Resources


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell it to end, wait for its grace, and forget it."""

    job: KubeJob


@dataclass(frozen=True, slots=True)
class LetGo:
    """It has ended, or is being deleted, and nobody wants to know of it any more."""

    job: KubeJob


Action = Create | Release | Rename | Resize | Stop | LetGo


@dataclass(frozen=True, slots=True)
class Ended:
    """How a replica ended, as far as anybody knows."""

    state: ReplicaState
    message: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is. `known_nodes`: those whose wishes are known; nothing on another one is stopped. `ready_nodes`:
    whose word about what still runs on them can be waited for. `refused`: of names that the server will never take,
    its words. `overdue`: names of Jobs that were released long ago and have not started.
    """

    jobs: tuple[KubeJob, ...]
    pods: Mapping[str, tuple[KubePod, ...]]
    """By uid of their Job, the newest last."""
    known_nodes: frozenset[str]
    ready_nodes: frozenset[str]
    template: Template
    resizes: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    overdue: frozenset[str] = frozenset()


Belonging = Mapping[Wanted, KubeJob | None]


def belonging(gang: Gang, jobs: Iterable[KubeJob]) -> Belonging:
    """By wanted replica, its Job; None where there is none.

    Within one epoch ranks say which is which; through a resize the replicas of a job keep their order on each node.
    """
    left: dict[str, list[KubeJob]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: (job.epoch, job.rank, job.name)):
        if job.run == gang.run:
            left[job.node].append(job)
    found: dict[Wanted, KubeJob | None] = {}
    others = []
    for wanted in gang.wanted:
        there = left[wanted.node]
        same = [job for job in there if (job.epoch, job.rank) == (wanted.replica.epoch, wanted.replica.replica)]
        found[wanted] = same[0] if same else None
        if same:
            there.remove(same[0])
        else:
            others.append(wanted)
    for wanted in others:
        earlier = [job for job in left[wanted.node] if job.epoch < wanted.replica.epoch and job.is_kept]
        if earlier:
            earlier.sort(key=lambda job: job.rank)
            found[wanted] = earlier[0]
            left[wanted.node].remove(earlier[0])
    return found


def actions(wanted: Mapping[Run, Gang], sight: Sight) -> tuple[Action, ...]:
    """What to do now: what ends comes first. Empty when all is as it is wanted."""
    of_run: dict[Run, list[KubeJob]] = defaultdict(list)
    of_job: dict[str, list[KubeJob]] = defaultdict(list)
    for job in sight.jobs:
        of_run[job.run].append(job)
        of_job[job.run.job_id].append(job)
    left_over = _left_over(sight)
    ending: list[Action] = []
    beginning: list[Action] = []
    kept: set[str] = set()
    for run, gang in sorted(wanted.items()):
        theirs = belonging(gang, of_run[run])
        kept.update(job.name for job in theirs.values() if job is not None)
        earlier = [job for job in of_job[run.job_id] if job.run != run]
        beginning += _beginning(gang, theirs, of_run[run], earlier, sight, is_awaited=run.job_id in left_over)
        beginning += _changes(theirs, sight)
    for job in sight.jobs:
        if job.name in kept or job.node not in sight.known_nodes:
            continue
        if (job.has_ended or job.is_leaving) and job.is_kept:
            ending.append(LetGo(job))
        elif not job.has_ended and not job.is_leaving:
            ending.append(Stop(job))
    return (*ending, *beginning)


def _left_over(sight: Sight) -> frozenset[str]:
    """Ids of jobs of which pods run whose Jobs somebody has deleted, on nodes that can tell when they are gone."""
    uids = {job.uid for job in sight.jobs}
    return frozenset(
        pod.job_id
        for owner, pods in sight.pods.items()
        if owner not in uids
        for pod in pods
        if not pod.has_ended and pod.node in sight.ready_nodes
    )


def _beginning(
    gang: Gang,
    theirs: Belonging,
    jobs: Iterable[KubeJob],
    earlier: Iterable[KubeJob],
    sight: Sight,
    *,
    is_awaited: bool,
) -> list[Action]:
    current = [each for each in gang.current if theirs[each] is None]
    if not gang.is_complete or any(unsuitable(each.replica, sight.template) for each in gang.wanted):
        return []
    if current:
        names = _names(gang, theirs, jobs)
        ranks = {each.replica.replica: names[each] for each in gang.current}
        peers = tuple(ranks.get(rank, "") for rank in range(current[0].replica.replicas))
        return [Create(gang.run, each, names[each], peers) for each in current if names[each] not in sight.refused]
    if gang.waits or is_awaited or any(not _is_over(job) and job.node in sight.ready_nodes for job in earlier):
        return []  # it may still be writing what this one reads
    return [
        Release(job) for job in theirs.values() if job is not None and job.is_suspended and not _has_come_to_end(job)
    ]


def _names(gang: Gang, theirs: Belonging, jobs: Iterable[KubeJob]) -> Mapping[Wanted, str]:
    """What the Jobs of the gang are called, or will be."""
    taken = {job.name for job in jobs}
    found = {}
    for each in gang.current:
        job = theirs[each]
        if job is not None:
            found[each] = job.name
            continue
        number = 0
        while (name := name_of(gang.run, each.node, number)) in taken:
            number += 1
        taken.add(name)
        found[each] = name
    return found


def _changes(theirs: Belonging, sight: Sight) -> list[Action]:
    found: list[Action] = []
    for wanted, job in theirs.items():
        if job is None:
            continue
        replica = wanted.replica
        if (job.rank, job.epoch) != (replica.replica, replica.epoch):
            found.append(Rename(job, wanted))
        pod = _living(sight.pods.get(job.uid, ()))
        if sight.resizes and pod is not None and pod.has_started and _differs(pod.size, replica.demand):
            found.append(Resize(pod, replica.demand))
    return found


def _differs(size: Resources, demand: Resources) -> bool:
    """Shares are of cores and bandwidth, and network plugins look at the latter only once. Where it has been given no
    cores, none can be given in place.
    """
    return 0 < size.cpu_millicores != demand.cpu_millicores > 0


def _living(pods: Iterable[KubePod]) -> KubePod | None:
    return next((pod for pod in pods if not pod.has_ended and not pod.is_leaving), None)


def _has_come_to_end(job: KubeJob) -> bool:
    return job.has_ended or job.is_leaving


def _is_over(job: KubeJob) -> bool:
    """Whether nothing of it runs. One that is being deleted is there until its pods are gone."""
    return job.has_ended or job.is_suspended


def outcome(wanted: Wanted, job: KubeJob | None, sight: Sight, name: str = "") -> Ended | None:
    """How a wanted replica ended; None while it goes on, or is yet to begin."""
    why = unsuitable(wanted.replica, sight.template) or sight.refused.get(job.name if job is not None else name)
    if why is not None:
        return Ended(ReplicaState.FAILED, why)
    if job is None:
        return None
    if job.succeeded:
        return Ended(ReplicaState.SUCCEEDED, exit_code=0)
    pods = sight.pods.get(job.uid, ())
    if job.failed:
        return _failure(job, pods)
    if job.is_leaving:
        return Ended(ReplicaState.FAILED, f"its Job {job.name} was deleted in Kubernetes")
    if job.name in sight.overdue:
        waits = next((pod.waits_for for pod in reversed(pods) if pod.waits_for), "no pod of it was made")
        return Ended(ReplicaState.FAILED, f"has not started: {waits}")
    return None


def _failure(job: KubeJob, pods: tuple[KubePod, ...]) -> Ended | None:
    """None until the news of its pod is here, too."""
    pod = pods[-1] if pods else None
    if pod is not None and not pod.has_ended and not pod.is_leaving:
        return None
    if pod is None or (pod.exit_code is None and not pod.ended_by):
        return Ended(ReplicaState.FAILED, job.message or job.reason or f"its Job {job.name} failed in Kubernetes")
    code = pod.exit_code
    if pod.ended_by == "OOMKilled":
        return Ended(ReplicaState.FAILED, f"used more memory than it asked for ({_ending(code)})", code)
    if code is None or pod.ended_by not in ("Error", "Completed", ""):
        said = ": ".join(part for part in (pod.ended_by, pod.said) if part)
        return Ended(ReplicaState.FAILED, f"{said} ({_ending(code)})" if code is not None else said, code)
    return Ended(ReplicaState.FAILED, ": ".join(part for part in (_ending(code), pod.said) if part), code)


def _ending(code: int | None) -> str:
    return "how it ended is not known" if code is None else f"exited with {code}"


def reports_of(wanted: Mapping[Run, Gang], sight: Sight) -> Mapping[str, tuple[ReplicaReport, ...]]:
    """What to say of the replicas of each node, those that are not there yet left out."""
    of_run: dict[Run, list[KubeJob]] = defaultdict(list)
    for each_job in sight.jobs:
        of_run[each_job.run].append(each_job)
    found: dict[str, list[ReplicaReport]] = defaultdict(list)
    for run, gang in sorted(wanted.items()):
        theirs = belonging(gang, of_run[run])
        names = _names(gang, theirs, of_run[run])
        for each, job in theirs.items():
            replica = each.replica
            end = outcome(each, job, sight, names.get(each, ""))
            if end is None and job is None:
                continue
            end = end or Ended(ReplicaState.RUNNING)
            found[each.node].append(
                ReplicaReport(replica.job_id, replica.replica, replica.epoch, end.state, end.message, end.exit_code)
            )
    return {node: tuple(reports) for node, reports in found.items()}


def stranded_nodes(sight: Sight) -> frozenset[str]:
    """Where pods of ours were sent away and are not let in again, or are not let in at all."""
    found = set()
    for job in sight.jobs:
        pods = sight.pods.get(job.uid, ())
        is_there = any(pod.node and not pod.has_ended and not pod.is_evicted for pod in pods)
        is_kept_out = any(pod.is_evicted or (not pod.node and pod.waits_for) for pod in pods)
        if is_kept_out and not is_there and not job.has_ended and not job.is_leaving:
            found.add(job.node)
    return frozenset(found)

"""What an agent has to do, from what is wanted and what is there: a pure function, asked again after every change.

A run is one start of one replica's command on this machine. Wanted replicas and runs belong together by job and start
epoch: what runs since the wanted start goes on, whatever its number and limits are now. A run that no wanted replica
belongs to is stopped, and forgotten when it has ended. A wanted replica without a run begins, as soon as those that
are being stopped leave it the room: what two jobs were given one after the other they never use at the same time. Of a
job that waits (`NodeDesired.waiting`) nothing begins: an earlier start of it may still run on another node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from allocator.domain.placement import DesiredReplica, Epoch, JobStart, NodeDesired
from allocator.domain.resources import GPU_MILLIS, Resources, total


class Phase(Enum):
    """What has become of a run."""

    RUNNING = "running"
    STOPPING = "stopping"
    """It was told to end."""
    ENDED = "ended"
    """By itself: this is the replica's end, and is reported until nobody wants to know."""
    LOST = "lost"
    """Ended through no fault of its own (fenced, or the machine went down), or because it was told to. If its replica
    is still wanted, it begins again."""


@dataclass(frozen=True, slots=True)
class Run:
    """`replica`: what it was last told to be."""

    id: str
    replica: DesiredReplica
    phase: Phase

    @property
    def alive(self) -> bool:
        """Whether it still has processes."""
        return self.phase in {Phase.RUNNING, Phase.STOPPING}


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the command of a replica."""

    replica: DesiredReplica


@dataclass(frozen=True, slots=True)
class Adjust:
    """A run goes on as this replica: with this number, epoch and demand."""

    run_id: str
    replica: DesiredReplica


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell a run to end."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Nobody wants to know of this run any more, and nothing of it is left."""

    run_id: str


Action = Begin | Adjust | Stop | Forget


def plan(desired: NodeDesired, runs: Sequence[Run], capacity: Resources) -> tuple[Action, ...]:
    """What to do now: what ends comes first, then changes, then what begins. Empty when all is as it is wanted.

    `runs` in the order in which they began. Where nothing is being stopped, what is wanted begins even if it is more
    than `capacity`: it is the daemon that decides.
    """
    belonging = _belonging(desired.replicas, runs)
    kept = {run.id: replica for replica, run in belonging.items() if run is not None}
    ending: list[Action] = []
    for run in runs:
        if run.phase is Phase.LOST or (run.phase is Phase.ENDED and run.id not in kept):
            ending.append(Forget(run.id))
        elif run.phase is Phase.RUNNING and run.id not in kept:
            ending.append(Stop(run.id))
    changes = [Adjust(run.id, kept[run.id]) for run in runs if run.id in kept and kept[run.id] != run.replica]
    leaving = [run for run in runs if run.alive and run.id not in kept]
    standing = [kept[run.id] for run in runs if run.alive and run.id in kept]
    wanted = [replica for replica, run in belonging.items() if run is None and replica.job_id not in desired.waiting]
    return (*ending, *changes, *_beginning(wanted, standing, leaving, capacity))


def leaving(desired: NodeDesired, runs: Sequence[Run]) -> tuple[JobStart, ...]:
    """The starts of which something is alive that is not wanted, each once: the job must not begin elsewhere yet."""
    kept = {run.id for run in _belonging(desired.replicas, runs).values() if run is not None}
    found = {JobStart(run.replica.job_id, run.replica.start_epoch) for run in runs if run.alive and run.id not in kept}
    return tuple(sorted(found))


def _belonging(replicas: Iterable[DesiredReplica], runs: Sequence[Run]) -> dict[DesiredReplica, Run | None]:
    """By wanted replica, the run that it is; None where it has to begin.

    Within one epoch numbers say which is which; through a resize the replicas of a job keep their order.
    """
    since_start: dict[tuple[str, Epoch], list[Run]] = defaultdict(list)
    for run in runs:
        if run.phase in {Phase.RUNNING, Phase.ENDED}:
            since_start[run.replica.job_id, run.replica.start_epoch].append(run)
    for going_on in since_start.values():
        going_on.sort(key=lambda run: run.replica.replica)
    belonging: dict[DesiredReplica, Run | None] = {}
    others: list[DesiredReplica] = []
    for replica in replicas:
        going_on = since_start[replica.job_id, replica.start_epoch]
        same = [run for run in going_on if _named(run.replica) == _named(replica)]
        belonging[replica] = same[0] if same else None
        if same:
            going_on.remove(same[0])
        else:
            others.append(replica)
    for replica in others:
        earlier = [run for run in since_start[replica.job_id, replica.start_epoch] if run.replica.epoch < replica.epoch]
        if earlier:
            belonging[replica] = earlier[0]
            since_start[replica.job_id, replica.start_epoch].remove(earlier[0])
    return belonging


def _named(replica: DesiredReplica) -> tuple[int, Epoch]:
    return replica.replica, replica.epoch


def _beginning(
    wanted: Sequence[DesiredReplica],
    standing: Sequence[DesiredReplica],
    leaving: Sequence[Run],
    capacity: Resources,
) -> list[Begin]:
    held = list(standing)
    found = []
    for replica in wanted:
        if any(run.replica.job_id == replica.job_id for run in leaving):
            continue  # it may still be writing what this one reads
        if leaving and not _fit([*held, *(run.replica for run in leaving), replica], capacity):
            continue
        found.append(Begin(replica))
        held.append(replica)
    return found


def _fit(replicas: Sequence[DesiredReplica], capacity: Resources) -> bool:
    """Whether all of them have room at the same time, on the devices that they were given, too."""
    if not total([replica.demand for replica in replicas]).fits_in(capacity):
        return False
    devices: dict[int, int] = defaultdict(int)
    for replica in replicas:
        for device in replica.gpus:
            devices[device] += min(GPU_MILLIS, replica.demand.gpu_millis)
    return all(millis <= GPU_MILLIS for millis in devices.values())

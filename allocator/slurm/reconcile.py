"""What to do to Slurm so that it runs what is wanted, and what to tell the daemon of it. Pure.

Level-triggered: from what is wanted and what there is, whatever happened before. A run is submitted only when the whole
gang is known and Slurm knows nothing of it, and nobody has written down how it ended; so neither a lost answer, nor a
restart of the controller, the daemon or ourselves runs one twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from allocator.engine.runs import Run
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.slurm.batch import MOST_LATE_SECONDS, unsuitable
from allocator.slurm.gangs import Gang, run_of
from allocator.slurm.observed import SlurmJob


@dataclass(frozen=True, slots=True)
class Submit:
    gang: Gang


@dataclass(frozen=True, slots=True)
class Name:
    """Write down that it may run the job; it waits for that, where something of the job may be left for longer."""

    job: SlurmJob
    run: Run


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell it to end; whoever is still there after its grace is cancelled."""

    job: SlurmJob
    run: Run


@dataclass(frozen=True, slots=True)
class Suspend:
    """Its processes stand still, and keep their memory."""

    job: SlurmJob


@dataclass(frozen=True, slots=True)
class Resume:
    """Let it go on, as this run."""

    job: SlurmJob
    run: Run


Action = Submit | Name | Stop | Suspend | Resume


@dataclass(frozen=True, slots=True)
class Suspension:
    """What may be suspended instead of stopped. `unfinished`: jobs that the daemon starts again. `open_nodes`: those
    that Slurm does not drain. `former`: what was wanted of runs that Slurm still has.
    """

    unfinished: frozenset[str] = frozenset()
    open_nodes: frozenset[str] = frozenset()
    former: Mapping[Run, Gang] = field(default_factory=dict)

    def may_wait(self, job: SlurmJob, run: Run) -> bool:
        """Slurm gives nobody else the GPUs of a suspended job, so one that has some is stopped."""
        gang = self.former.get(run)
        return (
            run.job_id in self.unfinished
            and job.state in ("RUNNING", "SUSPENDED")
            and self.open_nodes.issuperset(job.nodes)
            and gang is not None
            and not gang.first.demand.gpu_millis
        )

    def goes_on(self, run: Run, as_run: Gang) -> bool:
        """Whether what was started as `run` is just what is wanted now; ranks may change places."""
        gang = self.former.get(run)
        return gang is not None and run.job_id == as_run.run.job_id and _what(gang) == _what(as_run)


def _what(gang: Gang) -> tuple[object, ...]:
    return sorted(gang.nodes), gang.first.demand, gang.first.process, gang.first.replicas


NO_SUSPENSION = Suspension()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, as far as anybody knows."""

    state: ReplicaState
    message: str = ""
    exit_code: int | None = None


_MOST_DIGITS, _MOST_CODE = 3, 255
"""Of an exit code. Whoever may run jobs may write others."""
GONE_WITH_ITS_NODE = frozenset(("NODE_FAIL", "PREEMPTED"))
_MEANING = {
    "TIMEOUT": "reached Slurm's time limit",
    "DEADLINE": "reached Slurm's deadline",
    "OUT_OF_MEMORY": "used more memory than it asked for",
    "CANCELLED": "was cancelled in Slurm",
    "BOOT_FAIL": "its node failed to boot",
    "REVOKED": "was revoked in Slurm",
}


def ours_in(jobs: Iterable[SlurmJob]) -> Mapping[Run, SlurmJob]:
    """Of each run, the first live job that has begun, otherwise the first live one, otherwise the last that ended.
    Another live one is there by a lost answer.
    """
    found: dict[Run, SlurmJob] = {}
    for job in sorted(jobs, key=lambda job: (job.state == "PENDING", int(job.id))):
        run = run_of(job.comment)
        if run is not None and (run not in found or not found[run].is_live):
            found[run] = job
    return found


def actions(
    wanted: Mapping[Run, Gang],
    jobs: Iterable[SlurmJob],
    ended: Mapping[Run, Ended],
    known_nodes: frozenset[str],
    all_nodes: frozenset[str],
    named: frozenset[str] = frozenset(),
    suspension: Suspension = NO_SUSPENSION,
    silent: frozenset[str] = frozenset(),
    leaving: frozenset[Run] = frozenset(),
    held_back: frozenset[Run] = frozenset(),
) -> tuple[Action, ...]:
    """`known_nodes`: those whose wishes are known; nothing on another one is stopped, and nothing that waits before all
    of them are. A job whose earlier start still ends is not started again, unless that goes on as this one: both would
    use the same files. On a `silent` node (its daemon does not answer) nobody can wait for that: there the fence keeps
    them apart. `ended` is from the spool. `named`: Slurm jobs that are known to be named as those that may run.
    `leaving`: runs that have succeeded, and whose Slurm jobs end by themselves. `held_back`: runs that are not
    submitted yet (see `without_room`).
    """
    jobs = tuple(jobs)
    mine = ours_in(jobs)
    still_there = {run.job_id for run, job in mine.items() if job.is_live and silent.isdisjoint(job.nodes)}
    found: list[Action] = []
    kept: set[str] = set()
    for run, gang in sorted(wanted.items()):
        job = mine.get(run)
        could_begin = gang.is_complete and unsuitable(gang) is None
        if _is_to_begin(job) and run not in ended and could_begin:
            waits = _waiting_for(gang, wanted, mine, suspension)
            if waits is not None:
                found += [] if gang.waits else [Resume(waits, run)]
                kept.add(waits.id)
            elif not gang.waits and run.job_id not in still_there and run not in held_back:
                found.append(Submit(gang))
        elif job is not None and job.is_live and job.id not in named and run not in leaving:
            # what was thought to be lost with its node may have come to its end after all
            found.append(Stop(job, run) if run in ended else Name(job, run))
    started_again = {run.job_id for run in wanted}
    for job in jobs:
        other = run_of(job.comment)
        if other is None or not job.is_live or job.state == "COMPLETING" or job.id in kept:
            continue
        duplicate = mine[other].id != job.id
        if other in leaving and not duplicate:
            continue
        unwanted = other not in wanted and known_nodes.issuperset(job.nodes or all_nodes)
        if unwanted and not duplicate and other.job_id not in started_again and suspension.may_wait(job, other):
            found += [] if job.state == "SUSPENDED" else [Suspend(job)]
        elif duplicate or unwanted:
            found.append(Stop(job, other))
    return tuple(found)


def without_room(wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob], leaving: Iterable[Run]) -> frozenset[Run]:
    """Gangs, unknown to Slurm, that it would lay out otherwise than decided, because it sees less room: something on
    their nodes has succeeded and is still in its books.
    """
    left = (mine[run] for run in leaving if run in mine)
    nodes = frozenset(node for job in left if job.is_live for node in job.nodes)
    return frozenset(
        run
        for run, gang in wanted.items()
        if gang.is_laid_out_by_room and not nodes.isdisjoint(gang.nodes) and _is_to_begin(mine.get(run))
    )


def _is_to_begin(job: SlurmJob | None) -> bool:
    return job is None or job.state in GONE_WITH_ITS_NODE


def _waiting_for(
    gang: Gang, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob], suspension: Suspension
) -> SlurmJob | None:
    """The job of an earlier run that can go on as this one."""
    for run, job in mine.items():
        if run not in wanted and suspension.goes_on(run, gang) and suspension.may_wait(job, run):
            return job
    return None


def settled(jobs: Iterable[SlurmJob], answering: frozenset[str]) -> tuple[tuple[Run, SlurmJob], ...]:
    """Our jobs of which nothing is left: Slurm ended them on nodes that answer."""
    return tuple(
        (run, job)
        for job in jobs
        if (run := run_of(job.comment)) is not None
        and not job.is_live
        and job.state not in GONE_WITH_ITS_NODE
        and answering.issuperset(job.nodes)
    )


def may_be_lost(job: SlurmJob | None) -> bool:
    """Whether it ended with its node, or nobody knows yet whether it did."""
    return job is not None and (job.is_live or job.state in GONE_WITH_ITS_NODE)


def outcome(gang: Gang, job: SlurmJob | None, written: Ended | None) -> Ended | None:
    """How a wanted run ended; None while it goes on, or is yet to begin."""
    why = unsuitable(gang)
    if why is not None:
        return Ended(ReplicaState.FAILED, why)
    if written is not None:
        return written
    if job is None or job.is_live or job.state in GONE_WITH_ITS_NODE:
        return None
    if job.state == "COMPLETED":
        return Ended(ReplicaState.SUCCEEDED, exit_code=0)
    meaning = _MEANING.get(job.state, f"ended in Slurm as {job.state.lower()}")
    return Ended(ReplicaState.FAILED, f"Slurm job {job.id} {meaning}")


def written_end(text: str) -> Ended:
    """From the exit code that the batch script wrote."""
    word = text.strip()
    code = int(word) if word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS else 1
    if code > _MOST_CODE:
        code = 1
    if code == 0:
        return Ended(ReplicaState.SUCCEEDED, exit_code=0)
    return Ended(ReplicaState.FAILED, f"exited with {code}", code)


def vanished(seconds: float) -> Ended:
    """Of a run that has begun, and for so long has been neither in Slurm's queue nor in the spool's exit codes.

    It is never begun again: it may have been cancelled, or killed, while nobody drove. At first what it ended with may
    still be on its way through a shared file system.
    """
    if seconds < MOST_LATE_SECONDS:
        return Ended(ReplicaState.RUNNING)
    return Ended(ReplicaState.FAILED, "it began, and neither Slurm nor its script knows how it ended")


def reports_of(gang: Gang, found: Ended | None) -> Iterator[tuple[str, ReplicaReport]]:
    """What to say of the gang's replicas, each with its node."""
    state, message, code = (ReplicaState.RUNNING, "", None) if found is None else (
        found.state, found.message, found.exit_code,
    )  # fmt: skip
    for node, replica in gang.replicas:
        yield node, ReplicaReport(replica.job_id, replica.replica, replica.epoch, state, message, code)

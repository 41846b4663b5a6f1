"""What to do to Slurm so that it runs what is wanted, and what to tell the daemon of it. Pure.

Level-triggered: from what is wanted and what there is, whatever happened before. A run is submitted only when the whole
gang is known and Slurm knows nothing of it, and nobody has written down how it ended; so neither a lost answer, nor a
restart of the controller, the daemon or ourselves runs one twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.slurm.batch import unsuitable
from allocator.slurm.gangs import Gang, Run, run_of
from allocator.slurm.observed import SlurmJob


@dataclass(frozen=True, slots=True)
class Submit:
    """Held, until it is seen in the queue."""

    gang: Gang


@dataclass(frozen=True, slots=True)
class Release:
    job: SlurmJob


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell it to end; whoever is still there after its grace is cancelled."""

    job: SlurmJob
    run: Run


Action = Submit | Release | Stop


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, as far as anybody knows."""

    state: ReplicaState
    message: str = ""
    exit_code: int | None = None


_GONE_WITH_ITS_NODE = frozenset(("NODE_FAIL", "PREEMPTED"))
_MEANING = {
    "TIMEOUT": "reached Slurm's time limit",
    "DEADLINE": "reached Slurm's deadline",
    "OUT_OF_MEMORY": "used more memory than it asked for",
    "CANCELLED": "was cancelled in Slurm",
    "BOOT_FAIL": "its node failed to boot",
    "REVOKED": "was revoked in Slurm",
}


def ours_in(jobs: Iterable[SlurmJob]) -> Mapping[Run, SlurmJob]:
    """The first live job of each run, otherwise the last that ended. Another live one is there by a lost answer."""
    found: dict[Run, SlurmJob] = {}
    for job in sorted(jobs, key=lambda job: int(job.id)):
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
) -> tuple[Action, ...]:
    """`known_nodes`: those whose wishes are known; nothing on another one is stopped, and nothing that waits before all
    of them are. `ended` is from the spool.
    """
    jobs = tuple(jobs)
    mine = ours_in(jobs)
    found: list[Action] = []
    for run, gang in sorted(wanted.items()):
        job = mine.get(run)
        lost = job is not None and job.state in _GONE_WITH_ITS_NODE
        if (job is None or lost) and run not in ended and gang.is_complete and unsuitable(gang) is None:
            found.append(Submit(gang))
        elif job is not None and job.is_held:
            found.append(Release(job))
    for job in jobs:
        other = run_of(job.comment)
        if other is None or not job.is_live or job.state == "COMPLETING":
            continue
        duplicate = mine[other].id != job.id
        unwanted = other not in wanted and known_nodes.issuperset(job.nodes or all_nodes)
        if duplicate or unwanted:
            found.append(Stop(job, other))
    return tuple(found)


def outcome(gang: Gang, job: SlurmJob | None, written: Ended | None) -> Ended | None:
    """How a wanted run ended; None while it goes on, or is yet to begin."""
    why = unsuitable(gang)
    if why is not None:
        return Ended(ReplicaState.FAILED, why)
    if job is not None and job.is_live:
        return None
    if written is not None:
        return written
    if job is None or job.state in _GONE_WITH_ITS_NODE:
        return None
    if job.state == "COMPLETED":
        return Ended(ReplicaState.SUCCEEDED, exit_code=0)
    meaning = _MEANING.get(job.state, f"ended in Slurm as {job.state.lower()}")
    return Ended(ReplicaState.FAILED, f"Slurm job {job.id} {meaning}")


def written_end(text: str) -> Ended:
    """From the exit code that the batch script wrote."""
    code = int(text) if text.strip().isdecimal() else 1
    if code == 0:
        return Ended(ReplicaState.SUCCEEDED, exit_code=0)
    return Ended(ReplicaState.FAILED, f"exited with {code}", code)


def reports_of(node: str, gang: Gang, found: Ended | None) -> tuple[ReplicaReport, ...]:
    """What to say of the gang's replicas on one node."""
    state, message, code = (ReplicaState.RUNNING, "", None) if found is None else (
        found.state, found.message, found.exit_code,
    )  # fmt: skip
    return tuple(
        ReplicaReport(replica.job_id, replica.replica, replica.epoch, state, message, code)
        for where, replica in gang.replicas
        if where == node
    )

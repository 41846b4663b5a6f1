"""The batch script of a gang, and how it is submitted: every word quoted, nothing of a job is ever read by a shell.

A task per replica, on exactly the nodes that were decided, in their order (`--distribution=arbitrary` with a list of
hosts). Slurm never starts one again by itself. What it ends with is written to a file in the spool, which outlives the
controller's memory of the job. Script and tasks look at who may run the job now (`holders`), and end if it is another.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from allocator.domain.placement import DesiredReplica
from allocator.domain.process import CHECKPOINT_SIGNALS
from allocator.domain.resources import GPU_MILLIS
from allocator.slurm.gangs import Gang, comment_of
from allocator.slurm.holders import holder_file, looks_every
from allocator.slurm.observed import MIB
from allocator.slurm.spool import exits_folder

MOST_LATE_SECONDS = 90
"""How long what a node wrote to a shared file system may take until it is seen elsewhere: NFS lists a folder anew after
60 s at most, unless it was told otherwise."""
_NICE = 100
"""What takes as much off a job's priority puts it behind others of the same user that came a little later."""


@dataclass(frozen=True, slots=True)
class Submission:
    """`arguments` of sbatch; `hosts` a line per replica."""

    arguments: tuple[str, ...]
    script: str
    hosts: str


def unsuitable(gang: Gang) -> str | None:
    """Why Slurm cannot run it as it was decided, for people; None if it can."""
    replica = gang.first
    if replica.process is None:
        return "the job says nothing that could be run; give it a command"
    if replica.demand.cpu_millicores % 1000:
        return f"asks for {replica.demand.cpu_millicores / 1000:g} cores a replica; Slurm gives whole ones"
    if replica.demand.gpu_millis % GPU_MILLIS:
        return f"asks for {replica.demand.gpu_millis / GPU_MILLIS:g} GPUs a replica; Slurm gives whole ones"
    return None


def submission(
    gang: Gang, spool: Path, partition: str, licences: Mapping[str, str], fence_seconds: float
) -> Submission:
    """`licences`: names of Slurm's by the resource that they stand for; an amount is rounded up to whole ones.
    `fence_seconds`: within so many, a job that may not run any more has ended.
    """
    replica, nodes = gang.first, gang.nodes
    cores = max(1, replica.demand.cpu_millicores // 1000)
    memory = -(-replica.demand.memory_bytes // MIB)
    arguments = [
        "--parsable", "--no-requeue",
        f"--job-name={replica.job_id}",
        f"--comment={comment_of(gang.run)}",
        f"--nodes={len(set(nodes))}",
        f"--ntasks={len(nodes)}",
        "--distribution=arbitrary",
        f"--cpus-per-task={cores}",
        f"--mem-per-cpu={max(1, -(-memory // cores))}M",
        "--export=ALL",
        f"--output={_percent(spool / (gang.run.file_name + '.log'))}",
    ]  # fmt: skip
    if gang.replicas_per_node is not None:  # or Slurm gives a core more to one node and a core less to another
        arguments.append(f"--ntasks-per-node={gang.replicas_per_node}")
    if gang.is_laid_out_by_room:  # after all others that wait: what is theirs shall not look like room for it
        arguments.append(f"--nice={_NICE}")
    if partition:
        arguments.append(f"--partition={partition}")
    if replica.demand.gpu_millis:
        arguments.append(f"--gpus-per-task={replica.demand.gpu_millis // GPU_MILLIS}")
    wanted = [
        f"{name}:{_whole(resource, amount * len(nodes))}"
        for resource, name in sorted(licences.items())
        if (amount := dict(replica.demand.items()).get(resource, 0))
    ]
    if wanted:
        arguments.append(f"--licenses={','.join(wanted)}")
    if replica.process is not None and replica.process.directory:
        arguments.append(f"--chdir={replica.process.directory}")
    return Submission(tuple(arguments), script(gang, spool, fence_seconds), "".join(f"{node}\n" for node in nodes))


def script(gang: Gang, spool: Path, fence_seconds: float) -> str:
    """Runs the command once per replica, and keeps what they ended with."""
    replica = gang.first
    process = replica.process
    assert process is not None
    ours = {
        "ALLOCATOR_JOB_ID": replica.job_id,
        "ALLOCATOR_QUEUE": replica.queue,
        "ALLOCATOR_REPLICAS": str(replica.replicas),
        "ALLOCATOR_PEERS": ",".join(gang.nodes),
        "ALLOCATOR_CORES": f"{replica.demand.cpu_millicores / 1000:g}",
        "ALLOCATOR_ARRAY_INDEX": "" if replica.array_index is None else str(replica.array_index),
        "ALLOCATOR_ATTEMPT": str(replica.failures + 1),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (*process.environment, *ours.items())]
    holder = holder_file(spool, gang.run.job_id)
    looking = shlex.join([str(holder), f"{looks_every(fence_seconds):g}"])
    exits = shlex.quote(str(exits_folder(spool)))
    signals = " ".join(name.removeprefix("SIG") for name in CHECKPOINT_SIGNALS)
    if gang.is_alone:
        text, telling = _TASK + _RUN_IT, ""
    else:
        text, telling = _TASK + _RUN_IT_AND_TELL.format(signals=signals), f'"$ALLOCATOR_MV" {exits} {len(gang.nodes)} '
    given = f'"$ALLOCATOR_STARTED" {looking} "$ALLOCATOR_SLEEP" {telling}{shlex.join(process.command)}'
    task = f"/bin/sh -c {shlex.quote(text)} {given}"
    return _SCRIPT.format(
        exports="\n".join(exports),
        signals=signals,
        command=_alone(task, gang) if gang.is_alone else _together(task, gang),
        needed=0 if gang.is_alone else len(gang.nodes),
        late=MOST_LATE_SECONDS,
        holder=shlex.quote(str(holder)),
        spool=shlex.quote(str(spool)),
        exits=exits,
    )


def _together(task: str, gang: Gang) -> str:
    """A step of a task per replica."""
    process = gang.first.process
    assert process is not None
    output = [
        # without the dot, none, all and numbers mean something else
        f"--{option}=./{_put_in(path, gang.first, rank='%t', node='%N', percent='%%')}"
        for option, path in (("output", process.output), ("error", process.errors))
        if path
    ]
    return f'"$ALLOCATOR_SRUN" {shlex.join(["--kill-on-bad-exit=1", "--export=ALL", *output, "--"])} {task}'


def _alone(task: str, gang: Gang) -> str:
    """One replica needs no step: it starts sooner, and without the controller."""
    process = gang.first.process
    assert process is not None
    output = [
        f"{sign} {shlex.quote(_put_in(path, gang.first, rank='0', node=gang.nodes[0], percent='%'))}"
        for sign, path in ((">", process.output), ("2>", process.errors))
        if path
    ]
    return " ".join([task, *output])


_TASK = """ALLOCATOR_RANK=$SLURM_PROCID; export ALLOCATOR_RANK; : > "$0/$ALLOCATOR_RANK"
ALLOCATOR_HOLDER=$1; ALLOCATOR_PAUSE=$2; ALLOCATOR_SLEEP=$3; shift 3
(
  while "$ALLOCATOR_SLEEP" "$ALLOCATOR_PAUSE" && kill -0 $$; do
    # a holder that cannot be read says nothing: only another one ends this
    if read -r ALLOCATOR_ID ALLOCATOR_REST < "$ALLOCATOR_HOLDER" && [ "$ALLOCATOR_ID" != "$SLURM_JOB_ID" ]; then
      kill -KILL 0
    fi
  done
) < /dev/null > /dev/null 2>&1 &
"""
"""What each task does first; the command is its arguments, and no part of this text. Its process group is that of all
tasks of the gang on this node. No variable of a job can have such names as those here."""

_RUN_IT = """exec "$@"
"""

_RUN_IT_AND_TELL = """ALLOCATOR_MV=$1; ALLOCATOR_EXITS=$2; ALLOCATOR_TASKS=$3; shift 3
# what tells the command to end must not end this
trap : {signals}
# it may be called as one of the shell's own is
(exec "$@")
ALLOCATOR_CODE=$?
if [ "$ALLOCATOR_CODE" -eq 0 ] && [ -d "$0.done" ]; then  # of what goes on as another run, the folder is gone
  printf '' > "$0.done/$ALLOCATOR_RANK"  # with a colon, this would end where that fails
  {{
    set -- "$0.done"/*
    [ "$#" -eq "$ALLOCATOR_TASKS" ] && read -r ALLOCATOR_ID ALLOCATOR_RUN ALLOCATOR_REST < "$ALLOCATOR_HOLDER" &&
      [ "$ALLOCATOR_ID" = "$SLURM_JOB_ID" ] && printf '0\\n' > "$0.done/part-$ALLOCATOR_RANK" &&
      "$ALLOCATOR_MV" "$0.done/part-$ALLOCATOR_RANK" "$ALLOCATOR_EXITS/$ALLOCATOR_RUN"
  }} < /dev/null > /dev/null 2>&1
fi
exit "$ALLOCATOR_CODE"
"""
"""Whoever of a gang sees that all have succeeded says so: srun tells the script some tenths of a second later. Where
nobody sees it, as on a file system that shows files late, the script says it.
"""

_SCRIPT = """#!/bin/sh
# The job's own variables, of which PATH may be one, are set for its command only: what runs beside it is found before.
ALLOCATOR_SRUN=$(command -v srun)
ALLOCATOR_SLEEP=$(command -v sleep)
ALLOCATOR_MV=$(command -v mv)
allocator_holds() {{
  {{ read -r ALLOCATOR_ID ALLOCATOR_RUN ALLOCATOR_REST < {holder}; }} 2> /dev/null &&
    [ "$ALLOCATOR_ID" = "$SLURM_JOB_ID" ]
}}
ALLOCATOR_TRIES=0
# soon after this was submitted, it is named; and where another one may still be there, waits for that
until allocator_holds && [ -z "$ALLOCATOR_REST" ]; do
  if [ "$ALLOCATOR_TRIES" -ge 6000 ]; then echo "nobody said that this may run" >&2; exit 1; fi
  ALLOCATOR_TRIES=$((ALLOCATOR_TRIES + 1))
  sleep 0.1
done
# an earlier start of it, which was lost with its node, may have written how it ended: a success counts
if [ -e {exits}/"$ALLOCATOR_RUN" ]; then
  read -r ALLOCATOR_CODE < {exits}/"$ALLOCATOR_RUN"
  if [ "$ALLOCATOR_CODE" = 0 ]; then exit 0; fi
  rm -rf {exits}/"$ALLOCATOR_RUN"
fi
# what tells the tasks to end must not end this
trap : {signals}
# the run may have become another one meanwhile, and the folder with it
allocator_all_started() {{
  ALLOCATOR_STARTED={spool}/"$ALLOCATOR_RUN.started"
  [ "$(ls "$ALLOCATOR_STARTED" | wc -l)" -ge {needed} ]
}}
# srun ends with 0 though a node has died, if all other tasks do; what they wrote may be seen late
allocator_all_succeeded() {{
  ALLOCATOR_WAITED=0
  until [ {needed} -eq 0 ] || [ ! -d "$ALLOCATOR_STARTED.done" ] ||
    [ "$(ls "$ALLOCATOR_STARTED.done" | wc -l)" -ge {needed} ]
  do
    if [ "$ALLOCATOR_WAITED" -ge {late} ]; then return 1; fi
    ALLOCATOR_WAITED=$((ALLOCATOR_WAITED + 1))
    sleep 1
  done
}}
ALLOCATOR_TRIES=0
while :; do
  ALLOCATOR_STARTED={spool}/"$ALLOCATOR_RUN.started"
  mkdir "$ALLOCATOR_STARTED" "$ALLOCATOR_STARTED.done" 2> /dev/null || {{
    rm -rf "$ALLOCATOR_STARTED" "$ALLOCATOR_STARTED.done"
    mkdir "$ALLOCATOR_STARTED" "$ALLOCATOR_STARTED.done"
  }}
  (
{exports}
exec {command}
  )
  ALLOCATOR_CODE=$?
  # srun fails by itself while the controller is away, or where a node has died: not all have begun, so that is not
  # the command's failure. It tries again, until Slurm has seen it too and ends this
  if [ "$ALLOCATOR_CODE" -eq 0 ] || [ "$ALLOCATOR_TRIES" -ge 300 ]; then break; fi
  if ! allocator_holds || allocator_all_started; then break; fi
  ALLOCATOR_TRIES=$((ALLOCATOR_TRIES + 1))
  sleep 2
done
if [ "$ALLOCATOR_CODE" -eq 0 ] && ! allocator_all_succeeded; then
  echo "a task was lost with its node" >&2
  ALLOCATOR_CODE=1
fi
if allocator_holds && [ ! -e {exits}/"$ALLOCATOR_RUN" ]; then
  ALLOCATOR_PART={spool}/"$ALLOCATOR_RUN.part"
  printf '%s\\n' "$ALLOCATOR_CODE" > "$ALLOCATOR_PART" && mv "$ALLOCATOR_PART" {exits}/"$ALLOCATOR_RUN"
fi
exit "$ALLOCATOR_CODE"
"""


def _put_in(path: str, replica: DesiredReplica, *, rank: str, node: str, percent: str) -> str:
    """With what its placeholders stand for."""
    index = "" if replica.array_index is None else str(replica.array_index)
    put_in = {"j": replica.job_id, "r": rank, "a": index, "n": node, "%": percent}
    letters = iter(path)
    return "".join(put_in[next(letters)] if letter == "%" else letter for letter in letters)


def _percent(path: Path) -> str:
    return str(path).replace("%", "%%")


def _whole(resource: str, amount: int) -> int:
    """Bandwidth is in bytes per second: a licence is 1 GB/s. Everything else is counted."""
    return -(-amount // 10**9) if resource == "bandwidth" else amount

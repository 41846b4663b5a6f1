"""The batch script of a gang, and how it is submitted: every word quoted, nothing of a job is ever read by a shell.

A task per replica, on exactly the nodes that were decided, in their order (`--distribution=arbitrary` with a list of
hosts). Slurm never starts one again by itself. What it ends with is written to a file in the spool, which outlives the
controller's memory of the job.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from allocator.domain.placement import DesiredReplica
from allocator.domain.resources import GPU_MILLIS
from allocator.slurm.gangs import Gang
from allocator.slurm.observed import MIB


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


def submission(gang: Gang, spool: Path, partition: str, licences: Mapping[str, str]) -> Submission:
    """`licences`: names of Slurm's by the resource that they stand for; an amount is rounded up to whole ones."""
    replica, nodes = gang.first, gang.nodes
    cores = max(1, replica.demand.cpu_millicores // 1000)
    memory = -(-replica.demand.memory_bytes // MIB)
    arguments = [
        "--parsable", "--hold", "--no-requeue",
        f"--job-name={replica.job_id}",
        f"--comment={gang.run.comment}",
        f"--nodes={len(set(nodes))}",
        f"--ntasks={len(nodes)}",
        "--distribution=arbitrary",
        f"--cpus-per-task={cores}",
        f"--mem-per-cpu={max(1, -(-memory // cores))}M",
        "--export=PATH,HOME,USER,LANG",
        f"--output={_percent(spool / (gang.run.file_name + '.log'))}",
    ]  # fmt: skip
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
    return Submission(tuple(arguments), script(gang, spool), "".join(f"{node}\n" for node in nodes))


def script(gang: Gang, spool: Path) -> str:
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
        "ALLOCATOR_ATTEMPT": str(replica.failures),
    }
    if replica.array_index is not None:
        ours["ALLOCATOR_ARRAY_INDEX"] = str(replica.array_index)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (*process.environment, *ours.items())]
    output = [
        f"--{option}={_in_srun(path, replica)}"
        for option, path in (("output", process.output), ("error", process.errors))
        if path
    ]
    started, ended = (spool / f"{gang.run.file_name}.{what}" for what in ("started", "exit"))
    options = ["--kill-on-bad-exit=1", "--export=ALL", *output]
    command = shlex.join(["srun", *options, "--", "sh", "-c", _TASK, str(started), *process.command])
    return _SCRIPT.format(
        exports="\n".join(exports), command=command, started=shlex.quote(str(started)), ended=shlex.quote(str(ended))
    )


_TASK = 'ALLOCATOR_RANK=$SLURM_PROCID; export ALLOCATOR_RANK; : > "$0"; exec "$@"'
"""What each task does first; the command is its arguments, and no part of this text."""

_SCRIPT = """#!/bin/sh
{exports}
tries=0
while :; do
  {command}
  code=$?
  # srun fails at once while the controller is away: then nothing has run, and it may try again
  if [ "$code" -eq 0 ] || [ -e {started} ] || [ "$tries" -ge 300 ]; then break; fi
  tries=$((tries + 1))
  sleep 2
done
printf '%s\\n' "$code" > {ended}.part && mv {ended}.part {ended}
exit "$code"
"""


def _in_srun(path: str, replica: DesiredReplica) -> str:
    """With srun's placeholders for what differs between tasks, and the rest put in."""
    index = "" if replica.array_index is None else str(replica.array_index)
    put_in = {"j": replica.job_id, "r": "%t", "a": index, "n": "%N", "%": "%%"}
    letters = iter(path)
    return "".join(put_in[next(letters)] if letter == "%" else letter for letter in letters)


def _percent(path: Path) -> str:
    return str(path).replace("%", "%%")


def _whole(resource: str, amount: int) -> int:
    """Bandwidth is in bytes per second: a licence is 1 GB/s. Everything else is counted."""
    return -(-amount // 10**9) if resource == "bandwidth" else amount

"""What a supervisor is told of one run: command, environment, files, control groups (`allocator.agent.supervise`)."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from allocator.agent import progress, records
from allocator.agent.confinement import Enclosure
from allocator.agent.environment import environment, expand
from allocator.agent.reading import size_below
from allocator.agent.records import Record
from allocator.domain.placement import DesiredReplica
from allocator.domain.process import Process


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """`user`: who jobs run as; empty: whoever the agent is. `most_file_bytes`: of one file that a job writes."""

    node: str
    state: Path
    user: str = ""
    most_processes: int = 4096
    most_memory_bytes: int | None = None
    """Of a replica that asked for none; None: as much as there is."""
    most_file_bytes: int | None = 64 * 2**30
    most_disk_bytes: int | None = 64 * 2**30
    """Of all files together in the directory that a job is given, unless it asked for less."""
    disk_look_seconds: float = 5.0
    keep_seconds: float = 7 * 86_400.0
    """How long working directories and outputs stay after they were last written to."""


def write(settings: RunnerSettings, record: Record, enclosure: Enclosure, process: Process) -> Record:
    """Into the run's folder; makes the folders that the command needs. Returns the record, which knows then where the
    command writes. Raises OSError.
    """
    replica = record.replica
    directory, kept_output = _folders(settings, record.run_id, replica, process)
    account = pwd.getpwnam(settings.user) if settings.user else pwd.getpwuid(os.getuid())
    home = account.pw_dir if Path(account.pw_dir).is_dir() else str(directory)
    output, errors = (expand(path, replica, settings.node) for path in (process.output, process.errors))
    errors = "" if errors == output else errors
    counted = settings.state / "progress" / record.run_id
    progress.prepare(counted, settings.user)
    told = {
        "command": list(process.command),
        "environment": environment(replica, process, account.pw_name, home, str(counted.absolute())),
        "directory": str(directory),
        "output": output,
        "errors": errors,
        "kept_output": str(kept_output),
        "user": settings.user,
        "join": [str(path) for path in enclosure.join],
        "quench": [[str(path), text] for path, text in enclosure.quench],
        "members": str(enclosure.members or ""),
        "most_file_bytes": min(filter(None, (settings.most_file_bytes, replica.demand.disk_bytes)), default=None),
        "lease": str(settings.state / "lease.json"),
        "signal": process.checkpoint.name,
        "grace_seconds": process.grace_seconds,
    }
    records.write_json(settings.state / "runs" / record.run_id / "instructions.json", told)
    return replace(
        record,
        output=output,
        errors=errors,
        output_begin=size_below(directory, output) if output else 0,
        errors_begin=size_below(directory, errors) if errors else 0,
    )


def _folders(settings: RunnerSettings, run_id: str, replica: DesiredReplica, process: Process) -> tuple[Path, Path]:
    """Working directory, and the file for what is printed and goes nowhere else."""
    output = settings.state / "output" / replica.job_id
    output.mkdir(mode=0o700, exist_ok=True)
    if process.directory:
        return Path(process.directory), output / f"{run_id}.out"
    directory = settings.state / "work" / replica.job_id
    directory.mkdir(mode=0o700, exist_ok=True)
    if settings.user:
        shutil.chown(directory, settings.user)
    return directory, output / f"{run_id}.out"

"""What the agent keeps of each run, in a folder of its own: it survives the agent, and is never half written.

    STATE/lease.json            until when the daemon's word holds, for supervisors
    STATE/runs/RUN/record.json  the replica, its phase and what came of it (`Record`)
                   instructions.json, stop.json    to the supervisor (`allocator.agent.supervise`)
                   started.json, exit.json         from it
                   lock                            held by it as long as it lives
    STATE/work/JOB              working directory of jobs that name none; it stays, for the next start
    STATE/output/JOB/RUN.out    what jobs print that name no file
    STATE/progress/RUN          how much of its work is done, as the command says
    STATE/ended/JOB/RUN.json    record of a run that is forgotten and has printed something: where that is

Times are seconds since boot (CLOCK_BOOTTIME).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from allocator.agent.plan import Phase
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.wire.nodes import desired_from_proto, desired_to_proto

FORMAT = 1

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
"""What may be the name of a folder."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run as it is known."""

    run_id: str
    number: int
    """Counts the runs of this state folder: their order, and their traffic class."""
    boot: str
    """In which it began: nothing of a run survives the boot."""
    replica: DesiredReplica
    phase: Phase = Phase.RUNNING
    exit_code: int | None = None
    message: str = ""
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    limited: bool = True
    """Whether its control groups hold it to what the replica may use."""
    output: str = ""
    """File below the working directory for what it prints; empty: the agent's own."""
    errors: str = ""
    """The same for its standard error; empty: with its output."""
    output_begin: int = 0
    """How many bytes were there when it began."""
    errors_begin: int = 0


def is_folder_name(job_id: str) -> bool:
    """Whether folders of a job can be named by its id."""
    return _JOB_ID.match(job_id) is not None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file as a whole. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    new.replace(path)


def overwrite_json(path: Path, content: dict[str, Any]) -> None:
    """In place, which needs no more room than there was before. Raises OSError if there is no such file."""
    with path.open("r+") as file:
        file.write(json.dumps(content).ljust(os.fstat(file.fileno()).st_size))
        file.truncate()


def read_json(path: Path) -> dict[str, Any] | None:
    """None where it is not there, or is no JSON object."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    return None


def read_exit(folder: Path) -> dict[str, Any] | None:
    """What the supervisor of a run wrote at its end; None if it has not. Raises OSError where that cannot be known."""
    try:
        found = json.loads((folder / "exit.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def save(folder: Path, record: Record) -> None:
    """Into the folder of its run."""
    save_file(folder / "record.json", record)


def save_file(path: Path, record: Record) -> None:
    """Replaces the file as a whole. Raises OSError."""
    write_json(
        path,
        {
            "format": FORMAT,
            "run_id": record.run_id,
            "number": record.number,
            "boot": record.boot,
            "replica": replica_to_json(record.replica),
            "phase": record.phase.value,
            "exit_code": record.exit_code,
            "message": record.message,
            "cpu_seconds": record.cpu_seconds,
            "peak_memory_bytes": record.peak_memory_bytes,
            "limited": record.limited,
            "output": [record.output, record.output_begin],
            "errors": [record.errors, record.errors_begin],
        },
    )


def load(folder: Path) -> Record | None:
    """None where there is none, or it cannot be understood."""
    return load_file(folder / "record.json")


def load_file(path: Path) -> Record | None:
    """As `load`."""
    found = read_json(path)
    if found is None or found.get("format") != FORMAT:
        return None
    try:
        output, output_begin = found.get("output", ("", 0))  # records of earlier versions have neither
        errors, errors_begin = found.get("errors", ("", 0))
        return Record(
            found["run_id"],
            found["number"],
            found["boot"],
            replica_from_json(found["replica"]),
            Phase(found["phase"]),
            found["exit_code"],
            found["message"],
            found["cpu_seconds"],
            found["peak_memory_bytes"],
            found["limited"],
            output,
            errors,
            output_begin,
            errors_begin,
        )
    except (KeyError, ValueError, TypeError, IndexError, json_format.ParseError):
        return None


def replica_to_json(replica: DesiredReplica) -> dict[str, Any]:
    """With the field names of the API."""
    message = desired_to_proto(NodeDesired("", Epoch(0, 0), (replica,)))
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def replica_from_json(found: dict[str, Any]) -> DesiredReplica:
    """Raises ParseError, IndexError."""
    message = desired_to_proto(NodeDesired("", Epoch(0, 0), ()))
    json_format.ParseDict(found, message, ignore_unknown_fields=True)
    return desired_from_proto(message).replicas[0]


def locked(folder: Path) -> int:
    """An open file with the lock that the supervisor of the run in `folder` holds. BlockingIOError if it is held."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def is_supervised(folder: Path) -> bool:
    """Whether a supervisor of this run lives. Raises OSError where that cannot be known (no more open files)."""
    try:
        file = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)  # also on a disk that is read-only by now
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def boot_time() -> float:
    """Seconds since boot, those in which the machine slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Different after every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def supervisor(folder: Path) -> int | None:
    """A descriptor by which the supervisor can be signalled and waited for; None if it is not there (any more)."""
    started = read_json(folder / "started.json")
    if started is None:
        return None
    pid, start_time = started["supervisor"]
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if start_ticks(pid) != start_time:  # its number is another process's now
        os.close(descriptor)
        return None
    return descriptor


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None

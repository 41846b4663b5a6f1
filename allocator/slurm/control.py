"""Slurm's stable commands, asked one at a time. What they print is read by `observed`."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from allocator.slurm.batch import Submission
from allocator.slurm.observed import JOB_FORMAT, SlurmJob, SlurmNode, jobs_of, nodes_of
from allocator.slurm.queued import FIELDS, QueuedJob, queued_of

_FOR_JOBS = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "SLURM_CONF")
"""Of our environment, what jobs see. They are given all of a small one: where sbatch shall choose itself, Slurm runs a
login shell on the node before each job, which can take seconds."""
_ID = re.compile(r"(\d+)(;.*)?\Z")
_AWAY = (
    "Unable to contact slurm controller",
    "Connection refused",
    "Socket timed out",
    "Communication connection failure",
    "Zero Bytes were transmitted",
    "slurm_receive_msg",
    "Slurm backup controller in standby mode",
    "Slurm temporarily unable",
)


class SlurmAway(Exception):
    """The controller does not answer now. Ask again later."""


class SlurmRefused(Exception):
    """The controller says no; its own words."""


class Control:
    """`timeout_seconds` for each command. Raises SlurmAway and SlurmRefused."""

    def __init__(self, timeout_seconds: float = 30.0, environment: dict[str, str] | None = None) -> None:
        self._timeout = timeout_seconds
        self._environment = dict(os.environ if environment is None else environment)
        self._environment["SLURM_TIME_FORMAT"] = "%s"

    async def nodes(self) -> tuple[SlurmNode, ...]:
        return nodes_of(await self._call("scontrol", "show", "nodes", "--oneliner"))

    async def jobs(self) -> tuple[SlurmJob, ...]:
        """Our own user's, those that ended lately included. Not everybody's: a comment is any text, with line breaks if
        its owner likes, and could make a job of theirs, or a line of its own, look like one of ours.
        """
        mine = f"--user={os.getuid()}"
        return jobs_of(await self._call("squeue", "--noheader", "--all", mine, "--states=all", "-o", JOB_FORMAT))

    async def queue(self) -> tuple[QueuedJob, ...]:
        """Everybody's that wait or run, tasks of arrays one by one, with all that they ask for."""
        states = "--states=PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING"
        return queued_of(await self._call("squeue", "--noheader", "--all", "--array", states, "-O", FIELDS))

    async def submit(self, wanted: Submission, hosts_file: Path) -> str:
        """The id of the job."""
        await asyncio.to_thread(hosts_file.write_text, wanted.hosts, encoding="utf-8")
        small = {name: value for name, value in self._environment.items() if name in _FOR_JOBS}
        answer = await self._call(
            "sbatch", *wanted.arguments, given=wanted.script, environment=small | {"SLURM_HOSTFILE": str(hosts_file)}
        )
        found = _ID.match(answer.strip())
        if found is None:
            raise SlurmRefused(f"sbatch answered {answer.strip()!r}, which is no job id")
        return found[1]

    async def signal(self, job_id: str, name: str, *, steps: bool) -> None:
        """To the tasks of its steps, or to the batch script and all that it runs."""
        whom = [] if steps else ["--full"]
        await self._call("scancel", *whom, f"--signal={name.removeprefix('SIG')}", job_id)

    async def suspend(self, job_id: str) -> None:
        """Its processes stand still. Needs an operator's rights."""
        await self._call("scontrol", "suspend", job_id)

    async def resume(self, job_id: str) -> None:
        await self._call("scontrol", "resume", job_id)

    async def rename(self, job_id: str, comment: str) -> None:
        """Give it another comment."""
        await self._call("scontrol", "update", f"JobId={job_id}", f"Comment={comment}")

    async def cancel(self, job_id: str) -> None:
        """One that has ended, or is not known, is none any more."""
        try:
            await self._call("scancel", job_id)
        except SlurmRefused as refused:
            if "Invalid job id" not in str(refused) and "already completing" not in str(refused):
                raise

    async def _call(self, *command: str, given: str | None = None, environment: dict[str, str] | None = None) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if given is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment if environment is None else environment,
        )
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate(None if given is None else given.encode())
        except TimeoutError:
            raise SlurmAway(f"{command[0]} took longer than {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()  # until its pipes are closed too, or they may outlive the event loop
        if process.returncode == 0:
            return out.decode(errors="replace")
        words = " ".join(err.decode(errors="replace").split()) or f"{command[0]} ended with {process.returncode}"
        raise SlurmAway(words) if any(away in words for away in _AWAY) else SlurmRefused(words)

"""Reads what Slurm's jobs of ours print, from the logs in the spool, a bounded piece at a time."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

from allocator.client.printed import piece_of, waiting
from allocator.domain.output import OutputFault, OutputMissing, OutputPiece, OutputQuestion
from allocator.domain.placement import Epoch
from allocator.engine.runs import Run
from allocator.slurm.gangs import Gang

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_LOG = re.compile(r"(\d+)\.(\d+)\.log\Z")


class SpoolReader:
    """`gang_of` answers the gang of a run that Slurm has or that is wanted, `is_over` whether nothing more can come."""

    def __init__(
        self, spool: Path, gang_of: Callable[[Run], Gang | None], is_over: Callable[[Run], bool]
    ) -> None:  # fmt: skip
        self._spool, self._gang_of, self._is_over = spool, gang_of, is_over

    async def answer(self, question: OutputQuestion) -> OutputPiece:
        """Waits as long as it may where there is nothing (yet). Raises OutputMissing, OSError."""
        return await waiting(question, self._piece)

    async def _piece(self, question: OutputQuestion) -> OutputPiece:
        run = await asyncio.to_thread(self._find, question)
        over = self._is_over(run)  # before it is looked how much there is, so that nothing is missed
        gang = self._gang_of(run)
        process = None if gang is None else gang.first.process
        if process is not None and (process.errors if question.errors else process.output):
            where = "Slurm writes it to the file that the job names, in its working directory on the node"
            raise OutputMissing(OutputFault.UNREADABLE, where)
        return await asyncio.to_thread(self._read, question, run, over=over)

    def _find(self, question: OutputQuestion) -> Run:
        """The newest run of the job, or the one that is asked for."""
        if not _JOB_ID.match(question.job_id):
            raise OutputMissing(OutputFault.NO_RUN, f"nothing named {question.job_id!r} can run here")
        prefix = f"{question.job_id}-"
        known = [
            Run(question.job_id, Epoch(int(found[1]), int(found[2])))
            for entry in os.scandir(self._spool)
            if entry.name.startswith(prefix) and (found := _LOG.match(entry.name[len(prefix) :]))
        ]
        wanted = [run for run in known if question.start_epoch in {None, run.start}]
        if question.run:
            wanted = [run for run in known if run.file_name == question.run]
        if not wanted:
            raise OutputMissing(OutputFault.NO_RUN, f"there is no log of job {question.job_id!r} in the spool")
        return max(wanted)

    def _read(self, question: OutputQuestion, run: Run, *, over: bool) -> OutputPiece:
        try:
            file = os.open(self._spool / f"{run.file_name}.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OutputMissing(OutputFault.GONE, "its log was removed from the spool") from None
        try:
            return piece_of(file, question, run.file_name, run.start, over=over, shared=True)
        finally:
            os.close(file)

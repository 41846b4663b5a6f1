"""Reads what runs of this machine have printed, a bounded piece at a time, for whoever asks the daemon for it.

Only files are looked at, never what the runner has in memory: it works beside it, on other threads. A run that is not
forgotten has its record in `runs/`; of a forgotten one that has printed something it is in `ended/JOB/` (`records`).

A job that names the file for its output writes it below its working directory, where it may have put anything in its
place since. So no symbolic link is followed below that directory, and only a plain file is read that belongs to the
user whom jobs run as.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allocator.agent import records
from allocator.agent.instructions import RunnerSettings
from allocator.agent.plan import Phase
from allocator.agent.reading import open_below
from allocator.agent.records import Record
from allocator.client.printed import piece_of, waiting
from allocator.domain.output import OutputFault, OutputMissing, OutputPiece, OutputQuestion


@dataclass(frozen=True, slots=True)
class _File:
    """Where a run writes: `name` below `directory`, from the byte `begin` on. `own`: the job chose the name."""

    directory: Path
    name: str
    begin: int
    own: bool


class OutputReader:
    """Answers questions about the runs of one state folder. Any number at a time."""

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings

    async def answer(self, question: OutputQuestion) -> OutputPiece:
        """Waits as long as it may where there is nothing (yet). Raises OutputMissing, OSError."""
        return await waiting(question, lambda asked: asyncio.to_thread(self.read, asked))

    def read(self, question: OutputQuestion) -> OutputPiece:
        """What there is now. Raises OutputMissing, OSError."""
        record, forgotten = self._find(question)
        # whether more can come is decided before it is looked how much there is, so that nothing is missed
        over = record.phase in {Phase.ENDED, Phase.LOST}
        place = self._place(record, errors=question.errors)
        try:
            file = self._open(place)
        except FileNotFoundError:
            if forgotten or (over and place.own and record.exit_code != _NOT_STARTED):
                raise OutputMissing(OutputFault.GONE, f"its file {place.name!r} was removed") from None
            return OutputPiece(record.run_id, record.replica.start_epoch, place.begin, b"", 0, complete=over)
        try:
            return piece_of(
                file, question, record.run_id, record.replica.start_epoch, begin=place.begin, over=over
            )  # fmt: skip
        finally:
            os.close(file)

    # --- which run

    def _find(self, question: OutputQuestion) -> tuple[Record, bool]:
        """The record of the run that is asked for, and whether the run is forgotten."""
        if not records.is_folder_name(question.job_id):
            raise OutputMissing(OutputFault.NO_RUN, f"nothing named {question.job_id!r} can run here")
        for record, forgotten in self._newest_first(question.job_id):
            if question.run:
                if record.run_id == question.run:
                    return record, forgotten
            elif record.replica.replica == question.replica and question.start_epoch in {
                None,
                record.replica.start_epoch,
            }:
                return record, forgotten
        raise OutputMissing(OutputFault.NO_RUN, f"job {question.job_id!r} has not begun here, or has left nothing")

    def _newest_first(self, job_id: str) -> Iterator[tuple[Record, bool]]:
        """Of the job, those that are not forgotten first: they are the newer ones."""
        state = self._settings.state
        prefix = f"{job_id}."
        standing = [folder for folder in (state / "runs").iterdir() if folder.name.startswith(prefix)]
        for folder in sorted(standing, key=_number, reverse=True):
            record = records.load(folder)
            if record is not None and record.replica.job_id == job_id:
                yield record, False
        kept = state / "ended" / job_id
        ended = [file for file in kept.iterdir() if file.suffix == ".json"] if kept.is_dir() else []
        for file in sorted(ended, key=lambda file: _number(file.with_suffix("")), reverse=True):
            record = records.load_file(file)
            if record is not None:
                yield record, True

    # --- which file

    def _place(self, record: Record, *, errors: bool) -> _File:
        state, process = self._settings.state, record.replica.process
        job_id = record.replica.job_id
        name, begin = record.output, record.output_begin
        if errors and record.errors:
            name, begin = record.errors, record.errors_begin
        if not name:
            return _File(state / "output" / job_id, f"{record.run_id}.out", 0, own=False)
        directory = Path(process.directory) if process is not None and process.directory else state / "work" / job_id
        return _File(directory, name, begin, own=True)

    def _open(self, place: _File) -> int:
        """Raises OutputMissing, FileNotFoundError, OSError."""
        try:
            file = open_below(place.directory, place.name)
        except (NotADirectoryError, IsADirectoryError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            why = f"{place.name!r} below the working directory cannot be read: {error.strerror}"
            raise OutputMissing(OutputFault.UNREADABLE, why) from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            os.close(file)
            raise OutputMissing(OutputFault.UNREADABLE, f"{place.name!r} is not a plain file (any more)")
        if place.own and found.st_uid != self._user_id():
            os.close(file)
            raise OutputMissing(OutputFault.UNREADABLE, f"{place.name!r} does not belong to the user whom jobs run as")
        return file

    def _user_id(self) -> int:
        return pwd.getpwnam(self._settings.user).pw_uid if self._settings.user else os.getuid()


_NOT_STARTED = 127


def _number(path: Path) -> int:
    """Of a run, by the name of its folder."""
    number = path.name.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1

"""Captures a replay's rounds: an Observer that writes what a daemon would have sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import allocator
from allocator.rounds.captured import LAST, ChangedJobs, EndedJobs, SeenRound
from allocator.rounds.machine import machine
from allocator.rounds.ports import Observer
from allocator.rounds.report import RoundReport
from allocator.wire.recording import CaptureBegin, CaptureEncoder, CaptureEnd
from simulations.capture.file import CaptureWriter


class RoundRecorder:
    """Implements `allocator.rounds.ports.Observer`. `store` is that of the replay. `begin` is the capture's, but for
    when it begins, the version and the machine.
    """

    def __init__(self, writer: CaptureWriter, store: ChangedJobs, begin: CaptureBegin) -> None:
        self._writer = writer
        self._begin = begin
        self._ended = EndedJobs(store)
        self._encoder = CaptureEncoder()
        self._rounds = 0

    def observe(self, report: RoundReport) -> None:
        seen = SeenRound.of(report)
        if not self._rounds:
            begin = replace(self._begin, version=allocator.__version__, time=seen.snapshot.time, machine=machine())
            self._writer.add(self._encoder.begin(begin).SerializeToString())
        for record in self._encoder.round(seen, self._ended.by(seen.snapshot.revision)):
            self._writer.add(record.SerializeToString())
        self._rounds += 1

    def close(self) -> None:
        """The replay has ended, and some of its jobs after its last round."""
        for record in self._encoder.ended(self._ended.by(LAST)):
            self._writer.add(record.SerializeToString())
        self._writer.close(CaptureEnd("the replay ended", self._rounds))


@contextmanager
def recording(
    path: Path | None, begin: CaptureBegin, *, force: bool = False
) -> Iterator[Callable[[ChangedJobs], Sequence[Observer]] | None]:
    """Inside, what makes the recorder of a replay for its store; None without a path. A replay that breaks leaves what
    was captured until then. Raises FailedPrecondition if the file cannot be written.
    """
    if path is None:
        yield None
        return
    with CaptureWriter(path, force=force) as writer:
        recorders: list[RoundRecorder] = []

        def made(store: ChangedJobs) -> Sequence[Observer]:
            recorders.append(RoundRecorder(writer, store, begin))
            return recorders

        yield made
        for recorder in recorders:
            recorder.close()

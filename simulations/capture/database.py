"""A daemon's database as a capture without rounds: what it keeps of jobs, and all else as it was last."""

from __future__ import annotations

from collections.abc import Iterator

import allocator
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.rounds.machine import machine
from allocator.store.standing import standing
from allocator.wire.recording import CaptureBegin, CaptureEncoder, CaptureEnd
from simulations.capture.file import CaptureWriter

USUAL_INTERVAL = 10.0
"""Seconds from one round to the next, where the database holds too few to tell."""


def capture_database(url: str, writer: CaptureWriter, *, seconds: float | None = None) -> int:
    """Write what the database holds, of jobs those that were submitted in the last so many seconds before its last
    round; how many they are. Raises what `allocator.store.standing.standing` does.
    """
    encoder = CaptureEncoder()
    count = 0
    with standing(url) as found:
        snapshot = found.snapshot
        since = -float("inf") if seconds is None else snapshot.time - seconds
        interval = found.interval_seconds or USUAL_INTERVAL
        begin = CaptureBegin(allocator.__version__, snapshot.time, interval, machine=machine())
        writer.add(encoder.begin(begin).SerializeToString())

        def ended() -> Iterator[Job]:
            nonlocal count
            for job in found.ended:
                if job.submit_time >= since:
                    count += 1
                    yield job

        for record in encoder.standing(snapshot, snapshot.policy(Policy()), ended()):
            writer.add(record.SerializeToString())
    writer.close(CaptureEnd("all that the database holds", 0))
    return count + len(snapshot.jobs)

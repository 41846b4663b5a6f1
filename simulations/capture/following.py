"""Captures from a running daemon into a file: until told to stop, through lost connections, saying what is missing.

A daemon that cannot be reached is asked again and again; when it answers, everything is captured anew, and a gap in the
file says what happened. What was received is kept as it came: this program need not know all that it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocator.domain.errors import FailedPrecondition
from allocator.wire.recording import CapturedRecord, CaptureEnd, CaptureGap, gap_record
from simulations.capture.file import CaptureWriter

if TYPE_CHECKING:
    from allocator.client import Client

BEGIN, ROUND = "begin", "round"
DONE, TIME_OVER, STOPPED = "so many rounds were captured", "the time was over", "interrupted"


@dataclass(slots=True)
class Progress:
    """How far a capture is. `missing` are rounds between two connections, as far as their numbers tell."""

    rounds: int = 0
    first_round: int = 0
    last_round: int = 0
    last_time: float = 0.0
    connections: int = 0
    missing: int = 0
    written: int = 0
    """Bytes in the file."""


def follow(
    client: Client,
    writer: CaptureWriter,
    *,
    seconds: float | None = None,
    rounds: int | None = None,
    on_change: Callable[[Progress], None] = lambda _: None,
) -> tuple[Progress, str]:
    """Capture for so long, or so many rounds, or until Ctrl-C; answers also why it ended. The file is closed then, and
    removed if no daemon answered.

    Raises what the client raises where no daemon answers, and FailedPrecondition for one that cannot be captured.
    """
    progress = Progress()
    why = STOPPED
    over = threading.Event()
    timer = threading.Timer(seconds or 0.0, _end, (client, over))
    timer.daemon = True
    if seconds is not None:
        timer.start()
    from allocator.client.errors import UnexpectedAnswer  # noqa: PLC0415 - loads gRPC, which replays do without

    try:
        for record in client.capture_rounds():
            _add(record, progress, writer)
            on_change(progress)
            if rounds is not None and progress.rounds >= rounds:
                why = DONE
                break
        else:
            why = TIME_OVER
    except KeyboardInterrupt:
        why = STOPPED
    except ValueError:  # a channel that was closed in the very moment in which it was to be used
        if not over.is_set():
            raise
        why = TIME_OVER
    except UnexpectedAnswer as error:
        if error.code != "UNIMPLEMENTED":
            raise
        what = "is of a version whose rounds cannot be captured; its database can: --database URL"
        raise FailedPrecondition(f"the daemon at {client.address}", what) from None
    finally:
        timer.cancel()
        if progress.connections:
            writer.close(CaptureEnd(why, progress.rounds))
        else:
            writer.discard()
    progress.written = writer.written
    return progress, why


def _end(client: Client, over: threading.Event) -> None:
    over.set()
    client.close()


def _add(record: CapturedRecord, progress: Progress, writer: CaptureWriter) -> None:
    if record.kind == BEGIN:
        if progress.connections and progress.rounds:
            writer.add(gap_record(CaptureGap("the connection was lost, or did not keep up", progress.last_round)))
        progress.connections += 1
    writer.add(record.content)
    if record.kind == ROUND:
        if progress.rounds:
            progress.missing += max(0, record.round - progress.last_round - 1)
        else:
            progress.first_round = record.round
        progress.rounds += 1
        progress.last_round, progress.last_time = record.round, record.time
        writer.flush()
    progress.written = writer.written

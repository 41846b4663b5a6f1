"""For agents: pieces of the files that hold what replicas print, in bounded memory, and waiting for more of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from allocator.domain.output import MOST_PIECE_BYTES, OutputFault, OutputMissing, OutputPiece, OutputQuestion
from allocator.domain.placement import Epoch

MOST_TAIL_BYTES = 64 * 2**20
"""How far back the beginning of the last lines is looked for."""
_BLOCK_BYTES = 2**16
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two looks while there is nothing new."""
_MOST_WAIT = 60.0


async def waiting(
    question: OutputQuestion, look: Callable[[OutputQuestion], Awaitable[OutputPiece]]
) -> OutputPiece:  # fmt: skip
    """What `look` finds, looked for again where that is nothing (yet), for as long as the question waits. Raises
    OutputMissing, and what `look` raises.
    """
    until = time.monotonic() + min(max(0.0, question.wait_seconds), _MOST_WAIT)
    pause = _FIRST_PAUSE
    while True:
        try:
            piece = await look(question)
            if piece.content or piece.complete or not question.most_bytes or time.monotonic() >= until:
                return piece
        except OutputMissing as missing:
            if missing.fault is not OutputFault.NO_RUN or time.monotonic() >= until:
                raise
        await asyncio.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(_LONGEST_PAUSE, pause * 2)


def piece_of(
    file: int, question: OutputQuestion, run: str, start: Epoch, *, begin: int = 0, over: bool, shared: bool = False
) -> OutputPiece:
    """Of an open file, in which the run begins at the byte `begin`. `over`: nothing more is written to it; that must be
    known before the call. Raises OutputMissing where the file has become shorter than what was read of it; OSError.
    """
    size = os.fstat(file).st_size
    offset = question.offset
    if offset is None:
        offset = min(begin, size)
        if question.tail_lines is not None:
            offset = tail_begin(file, offset, size, question.tail_lines)
    if offset > size:
        raise OutputMissing(OutputFault.GONE, f"its file was cut off at {size} bytes")
    content = os.pread(file, min(question.most_bytes, MOST_PIECE_BYTES, size - offset), offset)
    complete = over and offset + len(content) >= size
    return OutputPiece(run, start, offset, content, size, complete, shared)


def tail_begin(file: int, begin: int, size: int, lines: int) -> int:
    """Where the last `lines` lines of the bytes from `begin` to `size` begin; the last one may lack its end. What lies
    further back than MOST_TAIL_BYTES is not looked at.
    """
    if lines == 0:
        return size
    least = max(begin, size - MOST_TAIL_BYTES)
    end, wanted = size, lines
    if size > begin and os.pread(file, 1, size - 1) == b"\n":
        end -= 1
    while end > least:
        start = max(least, end - _BLOCK_BYTES)
        block = os.pread(file, end - start, start)
        if block.count(b"\n") >= wanted:
            position = len(block)
            for _ in range(wanted):
                position = block.rindex(b"\n", 0, position)
            return start + position + 1
        wanted -= block.count(b"\n")
        end = start
    return least

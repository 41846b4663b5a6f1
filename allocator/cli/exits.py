"""The exit codes of `allocator`, and which refusal gets which."""

from __future__ import annotations

from enum import IntEnum

from allocator.client import DeadlineExceeded, Unreachable
from allocator.domain.errors import (
    AllocatorError,
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ResourceExhausted,
    StoreUnavailable,
)


class ExitCode(IntEnum):
    """Stable; scripts may rely on them."""

    OK = 0
    FAILED = 1
    """It failed, some items of a batch were refused, or a job that was waited for did not succeed."""
    BAD_INPUT = 2
    """Wrong usage, a bad file, or a value that cannot mean anything."""
    NOT_FOUND = 3
    CONFLICT = 4
    """It exists already, or is not in a state that allows this."""
    UNAVAILABLE = 5
    """No daemon answers, it did not answer in time, or there is no room now (a queue's max_live_jobs)."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """The reader of the output went away."""


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed, or refused in part; with --wait: a job did not succeed",
    ExitCode.BAD_INPUT: "wrong usage, bad file or value",
    ExitCode.NOT_FOUND: "no such job, queue, node, round or policy version",
    ExitCode.CONFLICT: "exists already, or its state does not allow this",
    ExitCode.UNAVAILABLE: (
        "no daemon answers, or not in time, or no room now (a queue's max_live_jobs); trying again may help"
    ),
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.BROKEN_PIPE: "the reader of the output went away",
}

_BY_ERROR: tuple[tuple[type[AllocatorError], ExitCode], ...] = (
    (InvalidInput, ExitCode.BAD_INPUT),
    (NotFound, ExitCode.NOT_FOUND),
    (AlreadyExists, ExitCode.CONFLICT),
    (FailedPrecondition, ExitCode.CONFLICT),
    (ResourceExhausted, ExitCode.UNAVAILABLE),
    (StoreUnavailable, ExitCode.UNAVAILABLE),
    (Unreachable, ExitCode.UNAVAILABLE),
    (DeadlineExceeded, ExitCode.UNAVAILABLE),
)


def exit_code(error: AllocatorError) -> ExitCode:
    """The exit code that tells a script what kind of refusal this is."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)


def of_batch(errors: list[AllocatorError], size: int) -> ExitCode:
    """Of a batch of `size` with these refusals: FAILED, but the refusals' own code if every item got the same."""
    if not errors:
        return ExitCode.OK
    codes = {exit_code(error) for error in errors}
    return codes.pop() if len(errors) == size and len(codes) == 1 else ExitCode.FAILED


__all__ = ["MEANINGS", "ExitCode", "exit_code", "of_batch"]

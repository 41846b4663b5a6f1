"""Files that jobs write, opened from outside: no link that a job has made is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def size_below(directory: Path, name: str) -> int:
    """Bytes that are there already where a run will append; 0 where there is nothing that it could append to."""
    try:
        file = open_below(directory, name)
    except OSError:
        return 0
    try:
        found = os.fstat(file)
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    finally:
        os.close(file)


def open_below(directory: Path, name: str) -> int:
    """For reading; below `directory` no link is followed, and nothing waits for a writer. Raises OSError."""
    *folders, last = [part for part in name.split("/") if part not in {"", "."}] or [""]
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)

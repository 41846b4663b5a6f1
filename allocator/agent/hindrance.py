"""What keeps a run from beginning that is the machine's, and no fault of the job's."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from pathlib import Path

OF_THE_MACHINE = frozenset(
    (
        errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM,  # processes, open files, memory
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO,  # the disk
    )
)  # fmt: skip
"""Of what a start does before the command has its say. Who meets it has not failed."""
_ROOM = 256 * 1024
"""Bytes that there must be on the disk: a run takes a tenth of that, and many may begin at once."""


def said(error: OSError, state: Path) -> str:
    """`No space left on device (/var/lib/allocator)`: with the file, or the state folder where that is not known."""
    return f"{error.strerror or error} ({error.filename or state})"


def hindrance(state: Path) -> str:
    """Why nothing could begin now with this state folder; empty if something could. It does what a start does: a
    process, with a file that has room. Takes some 20 ms.
    """
    probe = state / "probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_ROOM))
            file.flush()
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", ""], stdin=subprocess.DEVNULL, stdout=file, env={}, check=False
            )
    except OSError as error:
        return said(error, state)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return ""

"""The lines of a file of text, plain or gzipped, in bounded memory whatever the file holds or promises.

A line has a largest length, and a packed file may not unpack to many times its size: both are met by what somebody
made to exhaust a reader, and by no log.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from simulations.traces.errors import TraceError

GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE = 1 << 20
"""Bytes."""
UNPACKED_FREELY = 32 << 20
"""Bytes that any packed file may unpack to."""
LARGEST_RATIO = 200
"""Unpacked over packed bytes, beyond that: logs reach 5 to 30."""
_BLOCK = 1 << 18


class NotText(Exception):
    """A byte that is not UTF-8: `prefix` is what stands before it in its line."""

    def __init__(self, line: int, prefix: str, byte: int) -> None:
        super().__init__(f"line {line}: byte {byte:#04x}")
        self.line, self.prefix, self.byte = line, prefix, byte

    @property
    def what(self) -> str:
        return f"is not UTF-8 text (byte {self.byte:#04x}); save it as UTF-8"


class Lines:
    """The decoded lines of one file, each with its end; `number` is that of the line given last, 0 before the first.

    A byte order mark is left out. Iterating raises TraceError for what is wrong with the file, and NotText for bytes
    that are not UTF-8, so that the caller can name the column.
    """

    def __init__(self, file: Path, stream: io.BufferedReader, comment: bytes | None) -> None:
        self.file = file
        self._comment = comment
        self.number = 0
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        try:
            for line in iter(partial(self._stream.readline, LONGEST_LINE), b""):
                self.number += 1
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    raise self._error(f"is longer than {LONGEST_LINE:,} bytes; lines of a log are shorter than that")
                yield self._decoded(line)
        except EOFError:
            self.number += 1
            raise self._error("ends in the middle of its gzip stream: it was cut short, get it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            self.number += 1
            raise self._error(f"is not a sound gzip file ({error}): get it again") from None
        except _Swollen as error:
            self.number += 1
            raise self._error(
                f"unpacks to more than {error.ratio:,} times its size; no log does, so this is none: get it again"
            ) from None

    def _decoded(self, line: bytes) -> str:
        if self._comment and line.startswith(self._comment):
            return line.decode(errors="replace")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise NotText(self.number, line[: error.start].decode(), line[error.start]) from None
        return text.removeprefix("\ufeff") if self.number == 1 else text

    def _error(self, what: str) -> TraceError:
        return TraceError(self.file, what, line=self.number)


@contextmanager
def opened(file: Path, comment: bytes | None = None) -> Iterator[Lines]:
    """The lines of a file, unpacked if need be; in those that begin with `comment` any bytes may stand.

    Raises TraceError if it is not there, no file, or may not be read.
    """
    try:
        raw = file.open("rb")
    except FileNotFoundError:
        raise TraceError(file, "does not exist") from None
    except IsADirectoryError:
        raise TraceError(file, "is a folder; a file is needed here") from None
    except PermissionError:
        raise TraceError(file, "may not be read by this user") from None
    with raw, _unpacked(raw) as stream:
        yield Lines(file, stream, comment)


def head(file: Path, most: int = 1 << 16) -> str:
    """The first `most` bytes of a file's text, as far as they can be read: to see what kind of file it is."""
    found = b""
    with suppress(OSError, EOFError, zlib.error), file.open("rb") as raw, _unpacked(raw) as stream:
        while len(found) < most and (piece := stream.read1(most - len(found))):
            found += piece
    return found.decode(errors="replace").removeprefix("\ufeff")


@contextmanager
def _unpacked(raw: BinaryIO) -> Iterator[io.BufferedReader]:
    packed = raw.read(2) == GZIP_MAGIC
    raw.seek(0)
    source = _Unpacking(raw) if packed else raw
    yield io.BufferedReader(source, _BLOCK)  # type: ignore[arg-type]  # a buffered reader may read from another


class _Swollen(Exception):
    """A packed file unpacks to more than a log would."""

    ratio = LARGEST_RATIO


class _Unpacking(io.RawIOBase):
    """What a gzip file holds, until that is more than a log would."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self._gzip = gzip.GzipFile(fileobj=raw)
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase gives a memoryview
        count = self._gzip.readinto(buffer)
        self._unpacked += count
        if self._unpacked > max(UNPACKED_FREELY, LARGEST_RATIO * self._raw.tell()):
            raise _Swollen
        return count

"""The file of a capture: written record by record, so that whatever ends the writing leaves a file that can be read.

    gzip( "allocator capture 1\\n", then per record: its length in bytes as a varint, and the record )

Records are `CaptureRecord` of protos/allocator/v1/capture_service.proto. After each round everything is on its way to
the disk, and what was compressed until then can be read without what follows. Files may be appended to one another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from allocator.domain.errors import FailedPrecondition, InvalidInput
from allocator.wire.recording import Captured, CaptureDecoder, CapturedRound, CaptureEnd, end_record
from simulations.traces.errors import TraceError

FORMAT = 1
SUFFIX = ".capture.gz"
"""Of files in a folder of captures."""
MOST_RECORD = 2**28
"""Bytes of one record: a round with 10 million live jobs."""
_FIRST_WORDS = b"allocator capture "
_FIRST_LINE = _FIRST_WORDS + b"%d\n" % FORMAT
_GZIP = 31
"""zlib's name for its format, with the largest window."""
_LEVEL = 6
_CHUNK = 1 << 16


class CaptureError(TraceError):
    """A file is not what a capture must be. Nothing of it is used."""


class CaptureWriter:
    """A new file of a capture; a context manager. Raises FailedPrecondition where there is a file, unless `force`."""

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        self.written = 0
        """Bytes in the file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("wb" if force else "xb")
        except FileExistsError:
            if not path.exists():
                raise FailedPrecondition(f"--out {path}", "cannot be written: its folder is a file") from None
            raise FailedPrecondition(
                f"--out {path}", "is there already; name another file, or use --force to replace it"
            ) from None
        except OSError as error:
            raise FailedPrecondition(f"--out {path}", f"cannot be written: {error.strerror or error}") from error
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._put(self._deflate.compress(_FIRST_LINE))
        self.flush()

    def add(self, record: bytes) -> None:
        """One record more; it is in the file for sure after `flush`."""
        self._put(self._deflate.compress(_varint(len(record)) + record))

    def flush(self) -> None:
        """What was added can be read from now on."""
        self._put(self._deflate.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def close(self, end: CaptureEnd | None = None) -> None:
        """With an end, if the capture was ended in good order. Closing again does nothing."""
        if self._file.closed:
            return
        if end is not None:
            self.add(end_record(end))
        self._put(self._deflate.flush(zlib.Z_FINISH))
        self._file.close()

    def discard(self) -> None:
        """There was nothing to write."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, content: bytes) -> None:
        self.written += len(content)
        self._file.write(content)


def _varint(number: int) -> bytes:
    """Seven bits per byte, the lowest first; the highest bit says that more follow."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


class CaptureReader:
    """What a capture holds, in order. `path` is a file, or a folder of such that follow one another in time.

    Iterating raises CaptureError for what is no capture, is of another version, or is damaged. A file that was cut off
    is read as far as it goes; afterwards `cut_off` names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_off: list[Path] = []
        self.files = _files(path)

    def __iter__(self) -> Iterator[Captured]:
        self.cut_off = []
        last = 0
        for file in self.files:
            for captured in self._read(file):
                if isinstance(captured, CapturedRound):
                    number = captured.snapshot.round
                    if number <= last:
                        raise CaptureError(
                            file,
                            f"round {number} comes after round {last}: captures of other daemons, or of the same time, "
                            "are not one; name a single file",
                        )
                    last = number
                yield captured

    def _read(self, file: Path) -> Iterator[Captured]:
        decoder = CaptureDecoder()
        ended = False
        count = 0
        for count, content in enumerate(self._records(file), start=1):
            try:
                captured = decoder.read(content)
            except InvalidInput as error:
                raise CaptureError(file, f"record {count}: {error}") from None
            ended = isinstance(captured, CaptureEnd)
            if captured is not None:
                yield captured
        if not count:
            raise CaptureError(file, "is a capture without any record: nothing was captured")
        if not ended and file not in self.cut_off:
            self.cut_off.append(file)

    def _records(self, file: Path) -> Iterator[bytes]:
        try:
            with file.open("rb") as opened:
                rest = opened.read(_CHUNK)
                if not rest:
                    raise CaptureError(file, "is empty")
                while rest:
                    member = _Member(file, opened, rest)
                    yield from member.records()
                    if not member.ended:
                        self.cut_off.append(file)
                        return
                    rest = member.rest or opened.read(_CHUNK)
        except OSError as error:
            raise CaptureError(file, f"cannot be read: {error.strerror or error}") from error


class _Member:
    """One gzip stream of a file. `ended`: it was whole; `rest` is what was read of what follows."""

    def __init__(self, path: Path, file: BinaryIO, content: bytes) -> None:
        self.ended = False
        self.rest = b""
        self._path = path
        self._file = file
        self._content = content
        self._inflate = zlib.decompressobj(_GZIP)
        self._out = bytearray()

    def records(self) -> Iterator[bytes]:
        """The whole ones. Raises CaptureError."""
        if self._first_line():
            while (length := self._length()) is not None:
                if length > MOST_RECORD:
                    raise CaptureError(self._path, f"says that a record has {length} bytes; at most {MOST_RECORD} do")
                record = self._take(length)
                if record is None:
                    return
                yield record

    def _first_line(self) -> bool:
        """False if the file was cut off within it."""
        line = bytearray()
        while len(line) < 80:
            byte = self._take(1)
            if byte is None:
                if not _FIRST_LINE.startswith(bytes(line)):
                    break
                if self.ended:
                    raise CaptureError(self._path, "is compressed, but holds nothing")
                return False
            line += byte
            if byte == b"\n":
                break
        if line == _FIRST_LINE:
            return True
        if line.startswith(_FIRST_WORDS):
            found = line[len(_FIRST_WORDS) :].decode(errors="replace").strip()
            raise CaptureError(self._path, f"is a capture of format {found}; this version reads format {FORMAT}")
        raise CaptureError(self._path, f"is no capture: it does not begin with {_FIRST_WORDS.decode()!r}")

    def _length(self) -> int | None:
        """None at the end."""
        found, shift = 0, 0
        while shift < 63:
            byte = self._take(1)
            if byte is None:
                return None
            found |= (byte[0] & 0x7F) << shift
            if not byte[0] & 0x80:
                return found
            shift += 7
        raise CaptureError(self._path, "is damaged: a record's length makes no sense")

    def _take(self, count: int) -> bytes | None:
        """Exactly so many bytes; None if there are fewer."""
        while len(self._out) < count and not self.ended:
            content = self._content or self._file.read(_CHUNK)
            self._content = b""
            if not content:
                return None
            try:
                self._out += self._inflate.decompress(content)
            except zlib.error as error:
                if "header" in str(error):
                    raise CaptureError(self._path, "is no capture: it is not compressed with gzip") from None
                raise CaptureError(self._path, f"is damaged: {error}") from None
            if self._inflate.eof:
                self.ended, self.rest = True, self._inflate.unused_data
        if len(self._out) < count:
            return None
        found = bytes(self._out[:count])
        del self._out[:count]
        return found


def _files(path: Path) -> tuple[Path, ...]:
    """In order of time, of which their names begin with."""
    if not path.is_dir():
        if not path.exists():
            raise CaptureError(path, "does not exist")
        return (path,)
    found = tuple(sorted(path.glob(f"*{SUFFIX}")))
    if not found:
        raise CaptureError(path, f"is a folder without captures: no file ends with {SUFFIX}")
    return found

"""Page tokens and cursors: opaque to clients, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass

from allocator.domain.errors import InvalidInput

DEFAULT_PAGE = 100
MAX_PAGE = 1000
LAST = 2**63 - 1
"""Behind every job that a revision changed."""

_CHANGES, _SNAPSHOT = "c", "s"


def page_size(asked: int) -> int:
    """The number of items to answer. Raises InvalidInput for a negative one."""
    if asked < 0:
        raise InvalidInput.of("page_size", f"must be at least 0 (0 means {DEFAULT_PAGE}), got {asked}")
    return min(asked or DEFAULT_PAGE, MAX_PAGE)


def page_token(after: str, *filters: str) -> str:
    """Goes on behind the item whose key is `after`, with these filters."""
    return _written(_digest(*filters), after)


def page_after(token: str, *filters: str) -> str:
    """The key that `page_token` was given; empty for an empty token. Raises InvalidInput."""
    if not token:
        return ""
    digest, after = _read("page_token", token, 2)
    if digest != _digest(*filters):
        raise InvalidInput.of("page_token", "was answered for another filter; use the filter of the first page")
    return after


def page_after_number(token: str, *filters: str) -> int | None:
    """`page_after` where keys are whole numbers; None for an empty token."""
    after = page_after(token, *filters)
    return _number("page_token", after) if after else None


@dataclass(frozen=True, slots=True)
class JobCursor:
    """A place in a WatchJobs stream.

    In the snapshot taken at `revision`: behind the job admitted as `sequence`. Otherwise in the changes: behind the job
    `sequence` as changed by `revision`.
    """

    revision: int
    sequence: int
    in_snapshot: bool = False

    def written(self, queue: str) -> str:
        """For a client that watches `queue`."""
        kind = _SNAPSHOT if self.in_snapshot else _CHANGES
        return _written(kind, str(self.revision), str(self.sequence), _digest(queue))

    @classmethod
    def read(cls, text: str, queue: str) -> JobCursor:
        """Raises InvalidInput for what `written` did not make for `queue`."""
        kind, revision, sequence, digest = _read("cursor", text, 4)
        if kind not in (_CHANGES, _SNAPSHOT):
            raise _malformed("cursor")
        if digest != _digest(queue):
            raise InvalidInput.of("cursor", "was answered for another queue; use the queue of the stream it came from")
        return cls(_number("cursor", revision), _number("cursor", sequence), kind == _SNAPSHOT)


def _digest(*filters: str) -> str:
    """Tells filters apart; a client that makes two of them collide fools only itself."""
    return f"{zlib.crc32(repr(filters).encode()):08x}"


def _written(*parts: str) -> str:
    return base64.urlsafe_b64encode("|".join(parts).encode()).decode().rstrip("=")


def _read(field: str, text: str, count: int) -> list[str]:
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("|")
    except (UnicodeError, binascii.Error):
        raise _malformed(field) from None
    if len(parts) != count:
        raise _malformed(field)
    return parts


def _number(field: str, text: str) -> int:
    # At most what a store can look up: no number that was answered is larger.
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= LAST):
        raise _malformed(field)
    return int(text)


def _malformed(field: str) -> InvalidInput:
    return InvalidInput.of(field, "must be empty, or as it was answered by this service")
